// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import { findUser, isMember } from "../../../src/system/users.ts";

// Of a host's users only root is sure to be there, with these numbers and in a group of that name.
test("root is found", () => {
  expect(findUser("root")).toEqual({ name: "root", uid: 0, gid: 0 });
});

test.each(["", "no such user", "root\n", "ROOT ", ":", "root:x:0:0", "../root", "*", "x".repeat(200)])(
  "%j is nobody",
  (name) => {
    expect(findUser(name)).toBeUndefined();
  },
);

test("a group that is not there has no members", () => {
  expect(isMember({ name: "root", uid: 0, gid: 0 }, "no such group")).toBe(false);
  expect(isMember({ name: "root", uid: 0, gid: 0 }, "")).toBe(false);
});

test("the primary group counts, for whoever has it", () => {
  expect(isMember({ name: "root", uid: 0, gid: 0 }, "root")).toBe(true);
  expect(isMember({ name: "no such user", uid: 4_000_000_000, gid: 0 }, "root")).toBe(true);
  expect(isMember({ name: "no such user", uid: 4_000_000_000, gid: 4_000_000_000 }, "root")).toBe(false);
});

// The answers' strings point into a buffer of ours: one that is used again, or freed too early, would show.
test("answers do not run into one another", () => {
  for (let round = 0; round < 200; round++) {
    expect(findUser("root")?.name).toBe("root");
    expect(findUser(`nobody-${round}`)).toBeUndefined();
  }
});
