// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import { errnoName, SystemError, unixAddress } from "../../../../src/system/ffi/libc.ts";

test("the address of a Unix socket: its family in host order, the path, a NUL", () => {
  expect([...unixAddress("/dev/log")]).toEqual([1, 0, ...Buffer.from("/dev/log"), 0]);
});

test.each<[number, string]>([
  [0, "OK"],
  [1, "EPERM"],
  [2, "ENOENT"],
  [4, "EINTR"],
  [11, "EAGAIN"],
  [16, "EBUSY"],
  [17, "EEXIST"],
  [28, "ENOSPC"],
  [38, "ENOSYS"],
  [95, "ENOTSUP"],
])("errno %d is %s", (errno, name) => {
  expect(errnoName(errno)).toBe(name);
});

test("a number that nobody named is still said", () => {
  for (let errno = 1; errno < 600; errno++) expect(errnoName(errno)).toMatch(/^E[A-Z0-9]+$|\b-?\d+$/);
});

test("an error says what was tried and why it failed", () => {
  const error = new SystemError("bind", "EADDRINUSE");
  expect(error.message).toBe("bind: EADDRINUSE");
  expect(error.code).toBe("EADDRINUSE");
  expect(error).toBeInstanceOf(Error);
});

// What keyctl(2) says of a key that is not there, has expired or was revoked; the runtime's own table ends before them.
test("the errors of keys have names", () => {
  expect([126, 127, 128, 129].map(errnoName)).toEqual([
    "ENOKEY",
    "EKEYEXPIRED",
    "EKEYREVOKED",
    "EKEYREJECTED",
  ]);
});
