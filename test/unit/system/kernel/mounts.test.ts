// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import { mountOf, parseMountinfo } from "../../../../src/system/kernel/mounts.ts";

const MOUNTINFO = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 / /usr rw,nosuid shared:2 - ext4 /dev/vdb rw
31 22 0:27 / /usr/lib/a\\040b rw,noexec - tmpfs tmpfs rw
32 22 0:28 / /run rw,nosuid,nodev shared:3 master:1 - tmpfs tmpfs rw
33 22 0:29 / /run rw,noexec - tmpfs tmpfs rw
`;

const mounts = parseMountinfo(MOUNTINFO);

test("a path belongs to the longest mount point above it", () => {
  expect(mountOf("/usr/lib/authnft", mounts)?.point).toBe("/usr");
  expect(mountOf("/usr", mounts)?.point).toBe("/usr");
  expect(mountOf("/usrlocal", mounts)?.point).toBe("/");
});

test("octal digits stand for blanks", () => {
  const mount = mountOf("/usr/lib/a b/file", mounts);
  expect(mount?.options.has("noexec")).toBe(true);
  expect(mount?.type).toBe("tmpfs");
});

test("of two mounts on one point the later is seen", () => {
  expect(mountOf("/run/x", mounts)?.options.has("noexec")).toBe(true);
});

test("nothing is mounted where nothing is known", () => {
  expect(mountOf("/", [])).toBeUndefined();
});
