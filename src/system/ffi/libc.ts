// SPDX-License-Identifier: GPL-2.0-or-later
import { getSystemErrorName } from "node:util";
import { koffi, loadLibrary } from "./koffi.ts";

const libc = loadLibrary("libc.so.6");

const c = {
  socket: libc.func("int socket(int domain, int type, int protocol)"),
  bind: libc.func("int bind(int fd, const void *address, uint32_t length)"),
  setsockopt: libc.func("int setsockopt(int fd, int level, int name, const void *value, uint32_t length)"),
  sendto: libc.func(
    "long sendto(int fd, const void *data, size_t length, int flags, const void *to, uint32_t toLength)",
  ),
  recv: libc.func("long recv(int fd, _Out_ void *data, size_t length, int flags)"),
  close: libc.func("int close(int fd)"),
  memfdCreate: libc.func("int memfd_create(const char *name, uint32_t flags)"),
  openat: libc.func("int openat(int directory, const char *name, int flags)"),
  flock: libc.func("int flock(int fd, int operation)"),
  prctl: libc.func("int prctl(int option, unsigned long value, long, long, long)"),
};

/** A system call that failed: what was tried, and the kernel's name for why. */
export class SystemError extends Error {
  override readonly name = "SystemError";

  constructor(
    act: string,
    readonly code: string,
  ) {
    super(`${act}: ${code}`);
  }
}

/** Returns what a call of libc returned. @throws {SystemError} when that is negative. */
function checked(act: string, result: number | bigint): number {
  if (result >= 0) return Number(result);
  throw new SystemError(act, errnoName(koffi.errno()));
}

/** asm-generic/errno.h: the errors of keys, which the runtime has no names for. */
const KEY_ERRORS: Readonly<Record<number, string>> = {
  126: "ENOKEY",
  127: "EKEYEXPIRED",
  128: "EKEYREVOKED",
  129: "EKEYREJECTED",
};

/** Returns the symbolic name of an errno, such as `ENOENT`. */
export function errnoName(errno: number): string {
  return errno === 0 ? "OK" : (KEY_ERRORS[errno] ?? getSystemErrorName(-errno));
}

const SOCK_CLOEXEC = 0o2000000;
const MSG_NOSIGNAL = 0x4000;
const SOL_SOCKET = 1;
const EINTR = 4;
const SO_RCVTIMEO = 20;
const SO_SNDTIMEO = 21;

/** A socket of a kind that the runtime does not offer. To be held with `using`. */
export class Socket implements Disposable {
  readonly #fd: number;

  /** @throws {SystemError} */
  constructor(domain: number, type: number, protocol: number) {
    this.#fd = checked("socket", c.socket(domain, type | SOCK_CLOEXEC, protocol));
  }

  /** Bounds how long `send` and `receive` may wait. @throws {SystemError} */
  setTimeout(milliseconds: number): void {
    const timeval = new BigInt64Array([
      BigInt(Math.floor(milliseconds / 1000)),
      BigInt(milliseconds % 1000) * 1000n,
    ]);
    for (const option of [SO_RCVTIMEO, SO_SNDTIMEO]) {
      checked("setsockopt", c.setsockopt(this.#fd, SOL_SOCKET, option, timeval, timeval.byteLength));
    }
  }

  /** @throws {SystemError} */
  bind(address: Uint8Array): void {
    checked("bind", c.bind(this.#fd, address, address.length));
  }

  /** Sends one message. @throws {SystemError} */
  send(data: Uint8Array, to: Uint8Array): void {
    checked("sendto", c.sendto(this.#fd, data, data.length, MSG_NOSIGNAL, to, to.length));
  }

  /** Receives into `buffer`; returns the part that was filled. @throws {SystemError} */
  receive(buffer: Uint8Array): Uint8Array {
    // With a timeout the kernel does not begin again by itself after a signal, such as the garbage collector's.
    for (;;) {
      const length = c.recv(this.#fd, buffer, buffer.length, 0);
      if (length >= 0 || koffi.errno() !== EINTR) return buffer.subarray(0, checked("recv", length));
    }
  }

  [Symbol.dispose](): void {
    c.close(this.#fd);
  }
}

export const AF_UNIX = 1;
export const AF_NETLINK = 16;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;

/** Returns the address of a Unix socket in the file system: unix(7). */
export function unixAddress(path: string): Uint8Array {
  return Buffer.concat([Uint8Array.of(AF_UNIX, 0), Buffer.from(path), Uint8Array.of(0)]);
}

const LOCK_EX = 2;
const LOCK_NB = 4;

/** Takes an exclusive flock(2) without waiting. @returns whether it was free. @throws {SystemError} */
export function tryLock(fd: number): boolean {
  if (c.flock(fd, LOCK_EX | LOCK_NB) === 0) return true;
  const code = errnoName(koffi.errno());
  if (code === "EAGAIN" || code === "EINTR") return false;
  throw new SystemError("flock", code);
}

const O_CLOEXEC = 0o2000000;

/** Opens what has this name in an open directory. @returns its descriptor, to be closed by the caller. @throws {SystemError} */
export function openAt(directory: number, name: string, flags: number): number {
  return checked("openat", c.openat(directory, name, flags | O_CLOEXEC));
}

const MFD_CLOEXEC = 1;

/** Makes a file that only this process has. @returns its descriptor, to be closed by the caller. @throws {SystemError} */
export function memoryFile(name: string): number {
  return checked("memfd_create", c.memfdCreate(name, MFD_CLOEXEC));
}

const PR_SET_DUMPABLE = 4;

/** Has this process leave no core, and be traced by nobody who is not privileged: ptrace(2). @throws {SystemError} */
export function setNotDumpable(): void {
  checked("prctl", c.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
}
