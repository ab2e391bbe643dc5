// SPDX-License-Identifier: GPL-2.0-or-later
import { koffi, loadLibrary } from "./koffi.ts";
import { errnoName, SystemError } from "./libc.ts";

const libc = loadLibrary("libc.so.6");
const c = {
  read: libc.func(
    "long syscall(long number, long operation, long serial, _Out_ void *buffer, size_t length, long unused)",
  ),
  change: libc.func("long syscall(long number, long operation, long serial, long argument)"),
  add: libc.func(
    "long syscall(long number, const char *type, const char *name, const char *payload, size_t length, long keyring)",
  ),
};

// asm/unistd.h; the number differs between machines.
const SYS_KEYCTL = process.arch === "arm64" ? 219 : 250;
const SYS_ADD_KEY = process.arch === "arm64" ? 217 : 248;
const KEYCTL_SETPERM = 5;
const KEYCTL_DESCRIBE = 6;
const KEYCTL_INVALIDATE = 21;
const KEYCTL_READ = 11;
const PROCESS_KEYRING = -2; // the one whose keys this process always possesses, and which ends with it
const OWNER_READS = 0x3f03_0000; // whoever has it everything, its owner to see and to read
const PAYLOAD_LIMIT = 32767; // keyrings(7): the longest payload of a "user" key

/** Returns the type and the owner of a key of the kernel's keyrings: keyctl(2). @throws {SystemError} */
export function describeKey(serial: number): { readonly type: string; readonly uid: number } {
  // "type;uid;gid;perm;description"
  const [type = "", uid = ""] = Buffer.from(keyctl(KEYCTL_DESCRIBE, serial, 4096))
    .toString("latin1")
    .split(";");
  return { type, uid: Number(uid) };
}

/** Returns the payload of a key. @throws {SystemError} */
export function readKey(serial: number): Uint8Array {
  return keyctl(KEYCTL_READ, serial, PAYLOAD_LIMIT);
}

/**
 * Makes a key of type "user", which its owner may read, and which ends with this process at the latest.
 *
 * @returns its serial number
 * @throws {SystemError}
 */
export function makeKey(name: string, payload: string): number {
  const length = Buffer.byteLength(payload);
  const serial = checked("add_key", c.add(SYS_ADD_KEY, "user", name, payload, length, PROCESS_KEYRING));
  checked("keyctl", c.change(SYS_KEYCTL, KEYCTL_SETPERM, serial, OWNER_READS));
  return serial;
}

/** Has a key gone at once. @throws {SystemError} */
export function forgetKey(serial: number): void {
  checked("keyctl", c.change(SYS_KEYCTL, KEYCTL_INVALIDATE, serial, 0));
}

function keyctl(operation: number, serial: number, room: number): Uint8Array {
  const buffer = new Uint8Array(room);
  const length = checked("keyctl", c.read(SYS_KEYCTL, operation, serial, buffer, buffer.length, 0));
  return buffer.subarray(0, Math.min(length, room));
}

function checked(act: string, result: number | bigint): number {
  if (result < 0) throw new SystemError(act, errnoName(koffi.errno()));
  return Number(result);
}
