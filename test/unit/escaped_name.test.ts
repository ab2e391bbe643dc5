// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import {
  escapeName,
  FILE_LIMIT,
  inChains,
  isEscapedName,
  NAME_LIMIT,
  RULE_LIMIT,
  unescapeName,
} from "../../src/escaped_name.ts";

/** Names, and what `systemd-escape -- NAME` of systemd 252 and 257 prints; plain ones stay what they were before there were others. */
const NAMES: readonly (readonly [string, string])[] = [
  ["alice", "alice"],
  ["a-b.c_d", "a-b.c_d"],
  ["0day", "0day"],
  ["DOM\\dina", "DOM\\x5cdina"],
  ["DOM\\al-ice", "DOM\\x5cal\\x2dice"],
  ["dina@corp.example", "dina\\x40corp.example"],
  ["Jörg Müller", "J\\xc3\\xb6rg\\x20M\\xc3\\xbcller"],
  ['a"; flush ruleset; #', "a\\x22\\x3b\\x20flush\\x20ruleset\\x3b\\x20\\x23"],
  ["$(reboot)", "\\x24\\x28reboot\\x29"],
  ["%n", "\\x25n"],
  ["-rf", "\\x2drf"],
  [".z", "\\x2ez"],
  ["a\\x2db", "a\\x5cx2db"],
  ["DOM\\x5cdina", "DOM\\x5cx5cdina"],
  ["*", "\\x2a"],
  ["𝒟", "\\xf0\\x9d\\x92\\x9f"],
];

test.each(NAMES)("%j becomes %j, and is read from it", (name, escaped) => {
  expect(escapeName(name)).toBe(escaped as ReturnType<typeof escapeName>);
  expect(unescapeName(escaped)).toBe(name);
  expect(isEscapedName(escaped)).toBe(true);
});

test.each([
  "",
  "a b",
  "DOM\\dina",
  "müller",
  "a@b",
  ".hidden",
  "-rf",
  "alice~",
  "a/b",
  "a\0",
  // Not what their names become: one would have two files.
  "a\\x2db",
  "a\\x61",
  "\\x61lice",
  "DOM\\x5Cdina",
  "DOM\\x5cal-ice",
  "a\\x00b",
  "a\\xff",
  "a\\xc3",
  "a\\x5",
  "a\\",
  "x".repeat(NAME_LIMIT + 1),
])("%j is nobody's", (text) => {
  expect(unescapeName(text)).toBeUndefined();
  expect(isEscapedName(text)).toBe(false);
});

/** Every string of up to three of these, which are what escaping turns on. */
const SIGNS = ["a", "x", "5", "c", "-", ".", "_", "\\", "/", "@", ":", "ä", "\n"];
const SHORT = [
  ...SIGNS,
  ...SIGNS.flatMap((one) => SIGNS.map((two) => one + two)),
  ...SIGNS.flatMap((one) => SIGNS.flatMap((two) => SIGNS.map((three) => one + two + three))),
  ...SIGNS.map((one) => `a\\x5${one}`),
  ...NAMES.flat(),
];

/** Names that do not fit, and differ where they are cut, behind that, or in nothing but what their escapes have in common. */
const LONG = [
  ...[0, 1, 2, 3, 4, 5].flatMap((before) => [
    `${"a".repeat(before)}${"ü".repeat(120)}`,
    `${"a".repeat(before)}${"ü".repeat(120)}a`,
  ]),
  ...[158, 159, 160, 161, 162, 255].flatMap((length) => [
    "a".repeat(length),
    `-${"a".repeat(length)}`,
    "a-".repeat(length / 2),
  ]),
  escapeName("ü".repeat(120)),
  `${"ü".repeat(120)}\\`,
];

describe.each([NAME_LIMIT, RULE_LIMIT, FILE_LIMIT])("within %j bytes", (limit) => {
  const all = [...new Set([...SHORT, ...LONG])];
  const escaped = all.map((name) => escapeName(name, limit));

  test("no two names become one", () => {
    expect(new Set(escaped).size).toBe(all.length);
  });

  test("all become names of files, units and chains", () => {
    for (const name of escaped) {
      expect(name.length).toBeLessThanOrEqual(limit);
      expect(isEscapedName(name, limit), name).toBe(true);
      expect(name).toMatch(/^(?:\w|\\x[0-9a-f]{2})(?:[\w.-]|\\x[0-9a-f]{2})*(?:\\_[0-9a-f]{32})?$/);
      expect(`s_${inChains(name)}`).toMatch(/^[A-Za-z][A-Za-z0-9/_.-]*$/);
    }
    expect(new Set(escaped.map(inChains)).size).toBe(all.length);
  });

  test("those that fit can be read, and those that were cut cannot", () => {
    for (const [index, name] of all.entries()) {
      const text = escaped[index] ?? "";
      expect(unescapeName(text, limit)).toBe(/\\_/.test(text) ? undefined : name);
    }
  });

  test("a name that was plain before has what it had", () => {
    for (const name of all.filter((one) => /^[A-Za-z0-9_][A-Za-z0-9._-]{0,31}$/.test(one)))
      expect<string>(escapeName(name, limit)).toBe(name);
  });
});

test("a name of just the limit is not cut, one byte more is; and what is longer is nobody's", () => {
  expect<string>(escapeName("x".repeat(NAME_LIMIT))).toBe("x".repeat(NAME_LIMIT));
  const cut = escapeName("x".repeat(NAME_LIMIT + 1));
  expect(cut).toHaveLength(NAME_LIMIT);
  expect(isEscapedName(cut)).toBe(true);
  expect(isEscapedName(`x${cut}`)).toBe(false);
});
