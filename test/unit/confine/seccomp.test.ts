// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import { join } from "node:path";

const SIGSYS = 31;

function attempt(mode: "free" | "confined", what: string): { signal: number | undefined; output: string } {
  const { signalCode, exitCode, stdout } = Bun.spawnSync(
    [process.execPath, join(import.meta.dir, "confined.ts"), mode, what],
    // As the entry has it: compiled code would need memory that is executable.
    { env: { BUN_JSC_useJIT: "0" } },
  );
  const signal = signalCode === "SIGSYS" || exitCode === 128 + SIGSYS ? SIGSYS : undefined;
  return { signal, output: stdout.toString() };
}

test.each([
  "exec",
  "kill",
  "signal to another",
  "memory made executable",
  "namespace",
  "netlink of devices",
  ...(process.arch === "x64" ? ["another architecture"] : []),
])("a call that is not on the list kills the process: %s", (what) => {
  expect(attempt("free", what)).toEqual({ signal: undefined, output: "alive\n" });
  expect(attempt("confined", what)).toEqual({ signal: SIGSYS, output: "" });
});

test.each(["allowed", "thread", "signal to itself"])(
  "calls that are on the list return as ever: %s",
  (what) => {
    expect(attempt("confined", what)).toEqual({ signal: undefined, output: "alive\n" });
  },
);

test("a library that the name service would load is refused, and kills nobody", () => {
  expect(attempt("free", "executable memory")).toEqual({ signal: undefined, output: "alive\n" });
  expect(attempt("confined", "executable memory")).toEqual({ signal: undefined, output: "EACCES\nalive\n" });
});

test("there is no internet, and asking for it kills nobody", () => {
  expect(attempt("free", "internet")).toEqual({ signal: undefined, output: "made\nalive\n" });
  expect(attempt("confined", "internet")).toEqual({ signal: undefined, output: "EAFNOSUPPORT\nalive\n" });
});

test.each([
  ["connection that is lost", "ECONNRESET"],
  ["host name", "not found"],
  ["address with an interface", "found"],
])("what seldom goes wrong is told, and kills nobody: %s", (what, output) => {
  expect(attempt("confined", what)).toEqual({ signal: undefined, output: `${output}\nalive\n` });
});
