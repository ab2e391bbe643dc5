// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import { Refusal } from "../../../../src/refusal.ts";
import { parseUserName, type UserName } from "../../../../src/subjects/session/user_name.ts";

test.each([
  ...["a", "alice", "Alice", "_apt", "0day", "a.b", "a-b", "svc_1.2-x", "bob-", "x".repeat(32), "root"],
  ...[
    "x".repeat(256),
    "ü".repeat(128),
    ".hidden",
    "-rf",
    "a b",
    "a\\b",
    "DOMAIN\\alice",
    "alice@example.org",
  ],
  ...["alice$", "a;b", 'a"b', "a'b", "a%b", "a{b", "a*", "müller", "m\u00fcller", "mu\u0308ller", "ａlice"],
  "аlice", // Cyrillic
])("%j is a name", (name) => {
  expect(parseUserName(name)).toBe(name as UserName);
});

test.each([
  ["", "must not be empty"],
  [".", 'must not be "." or ".."'],
  ["..", 'must not be "." or ".."'],
  ["a/b", 'must not have "/" or ":"'],
  ["../../etc/shadow", 'must not have "/" or ":"'],
  ["a:b", 'must not have "/" or ":"'],
  ["a\n", "a log cannot show"],
  ["\na", "a log cannot show"],
  ["a\0", "a log cannot show"],
  ["a\u001b[31m", "a log cannot show"],
  ["a\u200b", "a log cannot show"],
  ["a\u202eb", "a log cannot show"],
  ["a\u2028b", "a log cannot show"],
  ["a\udcfcb", "not UTF-8"],
  ["a\ufffdb", "not UTF-8"],
  ["x".repeat(257), "longer than 256 bytes"],
  ["ü".repeat(129), "longer than 256 bytes"],
])("%j is none: a name %s", (name, why) => {
  expect(() => parseUserName(name)).toThrow(Refusal);
  try {
    parseUserName(name);
  } catch (error) {
    expect((error as Refusal).reason).toBe("user");
    expect((error as Refusal).message).toStartWith("Cannot open a session for user");
    expect((error as Refusal).message).toContain(why);
    expect((error as Refusal).message).toMatch(/^\P{C}{1,300}$/u);
  }
});

test("a name of a megabyte is quoted in part only", () => {
  expect(() => parseUserName("é".repeat(1 << 20))).toThrow(/^Cannot open a session for user "é{40}": /);
});
