// SPDX-License-Identifier: GPL-2.0-or-later

// The manual pages: well-formed, and the fragments in them, and in the pages beside them, are what they say.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { compileFragment } from "../../src/policy/compile.ts";
import { readFragment } from "../../src/policy/read.ts";
import { Refusal } from "../../src/refusal.ts";
import { forSession } from "../../src/subjects/session/dialect.ts";
import { dataFiles, readData } from "../../src/system/host/shipped.ts";
import { literals } from "../man_pages.ts";

const pages = dataFiles().filter((name) => name.startsWith("man/"));

/** Whether a text is a fragment, for a session with an address of either family and for one without. */
function refusals(text: string): (string | undefined)[] {
  return [{ family: "ip", text: "192.0.2.7" } as const, { family: "ip6", text: "2001:db8::7" } as const].map(
    (address) => {
      const path = "/etc/authnft/users/alice";
      const read = (file: string) => (file === path ? Buffer.from(text) : readData("examples/group-base"));
      try {
        const subject = { id: 1000, name: "alice", address };
        compileFragment(readFragment(path, read), {
          path,
          prefix: "session_alice_1",
          level: 2,
          ...forSession(subject),
        });
        return undefined;
      } catch (error) {
        if (error instanceof Refusal) return error.message;
        throw error;
      }
    },
  );
}

const fragments = literals("man/authnft-fragment.5");

describe("authnft-fragment(5)", () => {
  test.each(fragments.filter(({ section }) => section !== "WHAT IS REFUSED"))(
    "$section: $title is taken",
    ({ text }) => {
      expect(refusals(text)).toEqual([undefined, undefined]);
    },
  );

  test.each(fragments.filter(({ section }) => section === "WHAT IS REFUSED"))(
    "$title is refused",
    ({ text }) => {
      for (const refusal of refusals(text)) expect(refusal).toMatch(/^\/etc\/authnft\/users\/alice:1:\d+: /);
    },
  );

  test("has examples of both", () => {
    expect(fragments.length).toBeGreaterThan(10);
    expect(fragments.filter(({ section }) => section === "WHAT IS REFUSED").length).toBeGreaterThan(2);
  });
});

test("the fragments in pam_authnft(8) are taken", () => {
  const texts = literals("man/pam_authnft.8")
    .map(({ text }) => text)
    .filter((text) => /^add |^include /m.test(text));
  expect(texts.length).toBeGreaterThan(0);
  for (const text of texts) expect(refusals(text)).toEqual([undefined, undefined]);
});

/** The last cell of each row that holds commands, a line each. */
const byExample = readFileSync(join(import.meta.dir, "../../docs/fragments.md"), "utf8")
  .split("\n")
  .filter((line) => /^\|.*`/.test(line))
  .map((line) => [...line.matchAll(/`([^`]+)`/g)].map(([, command]) => command).join("\n"));

test("docs/fragments.md has examples", () => {
  expect(byExample.length).toBeGreaterThan(10);
});

test.each(byExample)("docs/fragments.md: %s is taken", (text) => {
  // Not each is a whole fragment, and one without a rule is refused.
  expect(refusals(`${text}\nadd rule inet authnft egress accept\n`)).toEqual([undefined, undefined]);
});

test.each(pages)("%s is formatted without a warning", (page) => {
  const { exitCode, stderr } = Bun.spawnSync(["man", "--warnings", "--local-file", "-"], {
    stdin: readData(page),
    stdout: "ignore",
    env: { ...process.env, LC_ALL: "C.UTF-8", MANWIDTH: "80" },
  });
  expect({ exitCode, complaints: stderr.toString() }).toEqual({ exitCode: 0, complaints: "" });
});
