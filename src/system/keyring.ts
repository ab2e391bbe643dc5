// SPDX-License-Identifier: GPL-2.0-or-later
import { koffi, loadLibrary } from "./koffi.ts";
import { errnoName, SystemError } from "./libc.ts";

const libc = loadLibrary("libc.so.6");
const syscall = libc.func(
  "long syscall(long number, long operation, long serial, _Out_ void *buffer, size_t length, long unused)",
);

// asm/unistd.h; the number differs between machines.
const SYS_KEYCTL = process.arch === "arm64" ? 219 : 250;
const KEYCTL_DESCRIBE = 6;
const KEYCTL_READ = 11;
const PAYLOAD_LIMIT = 32767; // keyrings(7): the longest payload of a "user" key

/** The type and the owner of a key of the kernel's keyrings: keyctl(2). @throws {SystemError} */
export function describeKey(serial: number): { readonly type: string; readonly uid: number } {
  // "type;uid;gid;perm;description"
  const [type = "", uid = ""] = Buffer.from(keyctl(KEYCTL_DESCRIBE, serial, 4096))
    .toString("latin1")
    .split(";");
  return { type, uid: Number(uid) };
}

/** The payload of a key. @throws {SystemError} */
export function readKey(serial: number): Uint8Array {
  return keyctl(KEYCTL_READ, serial, PAYLOAD_LIMIT);
}

function keyctl(operation: number, serial: number, room: number): Uint8Array {
  const buffer = new Uint8Array(room);
  const length = Number(syscall(SYS_KEYCTL, operation, serial, buffer, buffer.length, 0));
  if (length < 0) throw new SystemError("keyctl", errnoName(koffi.errno()));
  return buffer.subarray(0, Math.min(length, room));
}
