// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import { Refusal } from "../../../src/refusal.ts";
import { parseUserName, type UserName } from "../../../src/session/user_name.ts";

test.each(["a", "alice", "Alice", "_apt", "0day", "a.b", "a-b", "svc_1.2-x", "bob-", "x".repeat(32), "root"])(
  "%j is a name",
  (name) => {
    expect(parseUserName(name)).toBe(name as UserName);
  },
);

test.each([
  "",
  "x".repeat(33),
  ".",
  "..",
  ".hidden",
  "-rf",
  "a b",
  "a\n",
  "\na",
  "a\0",
  "a/b",
  "../../etc/shadow",
  "a\\b",
  "DOMAIN\\alice",
  "alice@example.org",
  "alice$",
  "a:b",
  "a;b",
  'a"b',
  "a'b",
  "a%b",
  "a{b",
  "a*",
  "müller",
  "аlice", // Cyrillic
  "a\u200b",
  "ａlice",
])("%j is none", (name) => {
  expect(() => parseUserName(name)).toThrow(Refusal);
  try {
    parseUserName(name);
  } catch (error) {
    expect((error as Refusal).reason).toBe("user");
    expect((error as Refusal).message).toStartWith("Cannot open a session for user");
    expect((error as Refusal).message.length).toBeLessThan(300);
  }
});

test("a name of a megabyte is quoted in part only", () => {
  expect(() => parseUserName("é".repeat(1 << 20))).toThrow(/^Cannot open a session for user "é{40}": /);
});
