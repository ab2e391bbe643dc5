// SPDX-License-Identifier: GPL-2.0-or-later

// A helper that its own filter kills: a library of the host's calls what nobody has seen it call.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { callsThatKilled } from "../../src/system/host/killed_helpers.ts";
import type { Result } from "../lab/lab.ts";
import { lab, nothingLeft, ONLY_FIRST, onThisRelease, sweep } from "./harness.ts";

/** Where the library is that the helper loads, and what the real one is called while another has its name. */
const LIBRARY = "/usr/lib/*/libnftables.so.1";
const REAL = "libnftables-real.so";

/** A library that has the real one load after it. */
async function buildLibrary(): Promise<Uint8Array> {
  const directory = await mkdtemp(join(tmpdir(), "authnft-killed-"));
  try {
    const source = join(import.meta.dir, "fixtures/killed/strays.c");
    const [stub, output] = [join(directory, REAL), join(directory, "strays.so")];
    await Bun.$`gcc -shared -o ${stub} -Wl,-soname,${REAL} -x c /dev/null`.quiet();
    await Bun.$`gcc -shared -fPIC -o ${output} ${source} -Wl,--no-as-needed ${stub}`.quiet();
    return await Bun.file(output).bytes();
  } finally {
    await rm(directory, { recursive: true });
  }
}

async function doctor(): Promise<{ level: string; what: string; mend?: string }> {
  const { stdout } = await lab.run("authnft doctor --json");
  const { findings } = JSON.parse(stdout) as {
    findings: { check: string; level: string; what: string; mend?: string }[];
  };
  const [row, ...more] = findings.filter(({ check }) => check === "killed");
  if (row === undefined || more.length > 0) throw new Error("The doctor has not one row of it.");
  return row;
}

/** What the doctor has counted. */
async function counted(): Promise<number> {
  const { what } = await doctor();
  if (what.startsWith("No ")) return 0;
  return Number(/killed the helper (?:(\d+) times )?since/.exec(what)?.[1] ?? 1);
}

/** The kernel's records of our program, of all labs of this machine: a guest cannot read them. */
function kernelLog(): string[] {
  const lines = Bun.spawnSync(["dmesg"]).stdout.toString().split("\n");
  return lines.filter((line) => line.includes("type=1326") && line.includes("/usr/lib/authnft/authnft"));
}

onThisRelease("a helper that its filter kills", () => {
  beforeAll(async () => {
    await lab.reset();
    await lab.fragment("alice", ONLY_FIRST);
  });
  afterAll(() => lab.reset());

  test("is a login refused on either via, told as such in the journal, and counted by the doctor with what to do", async () => {
    const library = await buildLibrary();
    const before = await counted();
    const known = new Set(kernelLog());
    const since = await lab.cursor();
    const logins: Result[] = [];
    try {
      await lab.output(`cd $(dirname ${LIBRARY}) && mv libnftables.so.1 ${REAL}`);
      await lab.write((await lab.output(`dirname /usr/lib/*/${REAL}`)).concat("/libnftables.so.1"), library);
      for (const through of ["shim", "exec"] as const) {
        await lab.pam("sshd", { through });
        logins.push(await lab.ssh("alice", "echo in"));
      }
      // And where systemd alone waits for it.
      expect((await lab.run("systemctl start authnft-sweep.service")).code).not.toBe(0);
    } finally {
      await lab.run(`cd $(dirname /usr/lib/*/${REAL}) && mv -f ${REAL} libnftables.so.1
        systemctl reset-failed`);
    }
    for (const { code, stdout, stderr } of logins) {
      expect(code).not.toBe(0);
      expect(stdout + stderr).toContain('run "authnft doctor"');
      expect(stdout).not.toMatch(/^in$/m);
    }
    const said = (await lab.journal({ since, match: { _UID: "0" } })).map((entry) => entry["MESSAGE"] ?? "");
    const why = "killed by a filter of system calls (SIGSYS), its own or the service's";
    expect(said.filter((line) => line.includes("(SIGSYS)"))).toEqual([
      `pam_authnft(sshd:session): session of alice refused: no answer from /usr/libexec/authnft: it was ${why}; run "authnft doctor"`,
      `The helper was ${why}: the session is refused; run "authnft doctor".`,
    ]);
    // Units of systemd's in which we have a line are counted as well: one that closes a slice before there is a login.
    const units = said.filter((line) => /^\S+\.service: .*status=31\/SYS/.test(line));
    expect(units).toContainEqual(expect.stringMatching(/^authnft-sweep/));
    const count = before + logins.length + units.length;
    expect(await counted()).toBe(count);
    expect(await doctor()).toMatchObject({
      level: "warn",
      mend: expect.stringContaining("AUTHNFT_NO_SANDBOX=1"),
    });
    // The kernel says at which call. It has a limit for how often.
    const calls = callsThatKilled(
      kernelLog()
        .filter((line) => !known.has(line))
        .join("\n"),
    );
    expect(calls).toContain("getpgid");
    // A user's words are not counted.
    await lab.output(["logger", "-p", "authpriv.err", `The helper was ${why}`], { user: "alice" });
    expect(await counted()).toBe(count);
    // And with the library as it was, all is as before.
    expect((await lab.ssh("alice", "echo in")).stdout).toBe("in\n");
    await sweep();
    await nothingLeft();
  });
});
