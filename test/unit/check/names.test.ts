// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { escapedOf, groupOf, isFileName, kindOf, userOf } from "../../../src/check/names.ts";

describe("a file of the tree", () => {
  test.each([
    ["default", "fragment"],
    ["users/alice", "fragment"],
    ["groups/dev", "fragment"],
    ["users/DOM\\x5cdina", "fragment"],
    ["lib/web", "piece"],
    ["web", "piece"],
    ["lib/default", "piece"],
    ["users/alice~", "leftover"],
    ["users/alice.dpkg-old", "leftover"],
    ["lib/web.bak", "leftover"],
    // No name is escaped so.
    ["users/a b", "leftover"],
    ["users/-x", "leftover"],
    // At the limit of a user's name, and one beyond; a group's has more room.
    [`users/${"x".repeat(160)}`, "fragment"],
    [`users/${"x".repeat(161)}`, "leftover"],
    [`groups/${"x".repeat(161)}`, "fragment"],
    [`groups/${"x".repeat(255)}`, "fragment"],
  ] as const)("%s is a %s", (name, kind) => {
    expect(kindOf(`/etc/authnft/${name}`)).toBe(kind);
  });

  test("is called after its user or its group, as they are called themselves", () => {
    expect(userOf("/etc/authnft/users/DOM\\x5cdina")).toBe("DOM\\dina");
    expect(userOf("/etc/authnft/groups/dev")).toBeUndefined();
    expect(groupOf("/etc/authnft/groups/a\\x20b")).toBe("a b");
    expect(groupOf(`/etc/authnft/groups/${"x".repeat(200)}`)).toBe("x".repeat(200));
    expect(groupOf("/etc/authnft/groups/a b")).toBe("a b");
  });

  test("needs another name if its own is not escaped, but not if it is an editor's", () => {
    expect(escapedOf("/etc/authnft/users/a b")).toBe("a\\x20b");
    expect(escapedOf("/etc/authnft/users/a b~")).toBeUndefined();
    expect(escapedOf("/etc/authnft/lib/a b")).toBeUndefined();
  });
});

test("a name of 255 bytes is a file's, one of 256 is none, and characters are no bytes", () => {
  expect(isFileName(`/x/${"a".repeat(255)}`)).toBe(true);
  expect(isFileName(`/x/${"a".repeat(256)}`)).toBe(false);
  expect(isFileName(`/x/${"é".repeat(128)}`)).toBe(false);
});
