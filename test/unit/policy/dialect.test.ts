// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { compileFragment } from "../../../src/policy/compile.ts";
import type { Dialect } from "../../../src/policy/dialect.ts";
import { lint } from "../../../src/policy/lint.ts";
import { readFragment } from "../../../src/policy/read.ts";

/** A kind of subject that is no login session: it has no client and no sets of addresses. */
const UNIT: Dialect = {
  noun: "unit",
  table: "inet units",
  chains: {},
  sets: {},
  variables: { unit: { kind: "text", meaning: "the unit's name" } },
};

const PATH = "/etc/authnft/default";

function compile(text: string) {
  const fragment = readFragment(PATH, () => Buffer.from(text));
  const options = { path: PATH, prefix: "unit_web", level: 4, dialect: UNIT, variables: { unit: "web" } };
  return compileFragment(fragment, options);
}

describe("another kind of subject", () => {
  test("has variables, a table and a level of its own", () => {
    const { parts } = compile(
      'add rule inet units egress log prefix $unit\nadd rule inet units egress meta cgroup "x" accept',
    );
    expect(parts.flatMap((part) => (part.kind === "rule" ? [part.body.replaceAll(/ +/g, " ")] : []))).toEqual(
      ['log prefix "web"', 'socket cgroupv2 level 4 "x" goto unit_web_judged'],
    );
  });

  test.each([
    ["add rule inet units egress ip saddr $user_ip drop", 'there is no variable "$user_ip"; there is $unit.'],
    ["add rule inet authnft egress drop", 'only "add rule inet units filter …"'],
    ["add rule inet units @session_chain drop", "a fragment's rules go to chain filter"],
    [
      "add rule inet units egress ip saddr @session_map_ipv4 drop",
      "there is only what the fragment adds itself",
    ],
    ["add rule inet units egress meter x", "that all units share"],
    ["flush ruleset", "what a unit begins with"],
    ["# require address\nadd rule inet units egress drop", "this unit has none"],
    ["add counter inet units hits", "add one for every unit"],
  ])("has none of a session's: %s", (text, message) => {
    expect(() => compile(text)).toThrow(message);
  });

  test("may give names to its own that a session has taken", () => {
    expect(() =>
      compile(
        "add set inet units session_v4 { type ipv4_addr; }\nadd rule inet units egress ip daddr @session_v4 drop",
      ),
    ).not.toThrow();
  });

  test("is spoken of by its own name", () => {
    const told = lint(
      compile("add rule inet units egress accept"),
      { drops: { in: undefined, out: undefined } },
      UNIT,
    );
    expect(told.map(({ message, advice }) => `${message}; ${advice}`)).toEqual([
      expect.stringContaining(
        'the unit may connect to everything; say for whom it is; end with "add rule inet units egress reject"',
      ),
      expect.stringContaining('what the unit offers; end with "add rule inet units filter drop"'),
    ]);
  });
});
