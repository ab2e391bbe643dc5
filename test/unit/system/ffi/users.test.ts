// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import { findGroup, findGroupById, findUser } from "../../../../src/system/ffi/users.ts";

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

test("a group is found by name and by number, with its members", () => {
  expect(findGroup("root")).toEqual({ name: "root", gid: 0, members: [] });
  expect(findGroupById(0)).toEqual(findGroup("root"));
  expect(findGroup("no such group")).toBeUndefined();
  expect(findGroup("")).toBeUndefined();
  expect(findGroupById(4_000_000_000)).toBeUndefined();
});

// The answers' strings point into a buffer of ours: one that is used again, or freed too early, would show.
test("answers do not run into one another", () => {
  for (let round = 0; round < 200; round++) {
    expect(findUser("root")?.name).toBe("root");
    expect(findUser(`nobody-${round}`)).toBeUndefined();
  }
});
