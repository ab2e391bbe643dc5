// SPDX-License-Identifier: GPL-2.0-or-later
import { closeSync, constants, openSync } from "node:fs";
import { koffi, loadLibrary } from "./koffi.ts";
import { errnoName, SystemError } from "./libc.ts";

const libc = loadLibrary("libc.so.6");

const c = {
  unshare: libc.func("int unshare(int flags)"),
  setns: libc.func("int setns(int fd, int type)"),
  socket: libc.func("int socket(int domain, int type, int protocol)"),
  ioctl: libc.func("int ioctl(int fd, unsigned long request, const void *argument)"),
  getsockopt: libc.func(
    "int getsockopt(int fd, int level, int name, _Out_ void *value, _Inout_ uint32_t *length)",
  ),
};

const CLONE_NEWNET = 0x4000_0000; // linux/sched.h

/**
 * Runs something in a network namespace that is made for it and gone after it: a ruleset loaded there touches nobody.
 *
 * Both calls move the calling thread only. So the act must be synchronous, and a socket that is older than it stays
 * where it was made.
 *
 * @returns what the act returns
 * @throws {SystemError} when the kernel refuses; and whatever the act throws
 */
export function inPrivateNetwork<Result>(act: () => Result): Result {
  const home = openSync("/proc/thread-self/ns/net", constants.O_RDONLY);
  try {
    checked("unshare", c.unshare(CLONE_NEWNET));
    try {
      return act();
    } finally {
      checked("setns", c.setns(home, CLONE_NEWNET));
    }
  } finally {
    closeSync(home);
  }
}

const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const SIOCSIFFLAGS = 0x8914; // linux/sockios.h
const IFF_UP = 1;

/** Moves the calling thread into a network namespace of its own, for good, where the loopback works. @throws {SystemError} */
export function leaveNetwork(): void {
  checked("unshare", c.unshare(CLONE_NEWNET));
  const fd = checked("socket", c.socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0));
  try {
    const request = Buffer.alloc(40); // struct ifreq: a name of 16 bytes, and flags of 2
    request.write("lo");
    request.writeUInt16LE(IFF_UP, 16);
    checked("ioctl", c.ioctl(fd, SIOCSIFFLAGS, request));
  } finally {
    closeSync(fd);
  }
}

/** Moves the calling thread into another process's network namespace. @throws {SystemError}, or {Error} of node:fs */
export function joinNetwork(pid: number): void {
  const network = openSync(`/proc/${pid}/ns/net`, constants.O_RDONLY);
  try {
    checked("setns", c.setns(network, CLONE_NEWNET));
  } finally {
    closeSync(network);
  }
}

const SOL_SOCKET = 1;
const SO_NETNS_COOKIE = 71; // asm-generic/socket.h

/** Returns the number that the kernel has for the network namespace of the calling thread, and for no other until the next boot. @throws {SystemError} */
export function networkCookie(): bigint {
  const fd = checked("socket", c.socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0));
  try {
    const cookie = new BigUint64Array(1);
    checked("getsockopt", c.getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, cookie, [cookie.byteLength]));
    return cookie[0] ?? 0n;
  } finally {
    closeSync(fd);
  }
}

function checked(act: string, result: number): number {
  if (result < 0) throw new SystemError(act, errnoName(koffi.errno()));
  return result;
}
