// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import { formatFinding } from "../../../src/cli/verify.ts";

const FINDING = {
  subject: "authnft-alice-7.scope, alice, open",
  cgroup: "authnft.slice/authnft-alice-7.scope",
  rows: [
    { tried: "TCP, IPv4, out", expected: "passes", seen: "passes", verdict: "ok" },
    { tried: "UDP, IPv6, out", expected: "nothing (EPERM)", seen: "passes", verdict: "leak" },
    {
      tried: "the rules in force",
      expected: "as loaded",
      seen: 'a_out has "log prefix \x1b[2J"',
      verdict: "changed",
    },
  ],
} as const;

test("a table has a line for each attempt, in columns, and nothing in it steers the terminal", () => {
  expect(formatFinding(FINDING, { colour: false })).toBe(
    `authnft-alice-7.scope, alice, open (authnft.slice/authnft-alice-7.scope)
         tried               expected         seen
ok       TCP, IPv4, out      passes           passes
leak     UDP, IPv6, out      nothing (EPERM)  passes
changed  the rules in force  as loaded        a_out has "log prefix  [2J"`,
  );
});

test("colours are for terminals, and only the verdict has one", () => {
  const lines = formatFinding(FINDING, { colour: true }).split("\n");
  expect(lines[3]).toBe("\x1b[31mleak   \x1b[0m  UDP, IPv6, out      nothing (EPERM)  passes");
});
