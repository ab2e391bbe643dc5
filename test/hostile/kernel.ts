// SPDX-License-Identifier: GPL-2.0-or-later

// System calls as they are, without a library that would be kinder.

import { ptr } from "bun:ffi";
import { koffi, loadLibrary } from "../../src/system/ffi/koffi.ts";
import { errnoName } from "../../src/system/ffi/libc.ts";

const libc = loadLibrary("libc.so.6");
const raw = libc.func("long syscall(long number, long a, long b, long c, long d, long e, long f)");

/** What the kernel answered instead of doing it. */
export class Denied extends Error {}

/** Numbers of x86-64, which is what the lab is. */
const NUMBERS = {
  mmap: 9,
  mprotect: 10,
  socket: 41,
  connect: 42,
  sendto: 44,
  clone: 56,
  fork: 57,
  execve: 59,
  kill: 62,
  fcntl: 72,
  chmod: 90,
  chown: 92,
  ptrace: 101,
  capset: 126,
  mknod: 133,
  prctl: 157,
  mount: 165,
  umount2: 166,
  init_module: 175,
  tgkill: 234,
  keyctl: 250,
  unshare: 272,
  perf_event_open: 298,
  prlimit64: 302,
  setns: 308,
  process_vm_readv: 310,
  seccomp: 317,
  memfd_create: 319,
  bpf: 321,
  pidfd_send_signal: 424,
  io_uring_setup: 425,
  pidfd_open: 434,
  pipe2: 293,
  recvfrom: 45,
} as const;

type Argument = number | bigint | string | NodeJS.TypedArray;

/** Keeps what the kernel is to read or write where it is while the call lasts. */
const pinned: NodeJS.TypedArray[] = [];

function word(argument: Argument): number | bigint {
  if (typeof argument === "number" || typeof argument === "bigint") return argument;
  const bytes = typeof argument === "string" ? Buffer.from(`${argument}\0`) : argument;
  pinned.push(bytes);
  return ptr(bytes);
}

/** Makes a system call, by its name or by a number that no table has. @throws {Denied} with the errno's name */
export function call(name: keyof typeof NUMBERS | number, ...args: Argument[]): number {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = args.map(word);
  const result = Number(raw(typeof name === "number" ? name : NUMBERS[name], a, b, c, d, e, f));
  if (result === -1) throw new Denied(errnoName(koffi.errno()));
  return result;
}

/** The address of bytes, as a number to be written into a structure. */
export function addressOf(bytes: NodeJS.TypedArray): bigint {
  pinned.push(bytes);
  return BigInt(ptr(bytes));
}

/** A pipe: the end to read from, and the end to write to. */
export function pipe(): [number, number] {
  const ends = new Int32Array(2);
  call("pipe2", ends, 0);
  return [ends[0] ?? -1, ends[1] ?? -1];
}

/** Gives up all capabilities but these, in this thread: it is the one that makes the attempts. */
export function keepCapabilities(kept: bigint): void {
  const low = Number(kept & 0xffff_ffffn);
  const high = Number(kept >> 32n);
  call("capset", Uint32Array.of(0x2008_0522, 0), Uint32Array.of(low, low, 0, high, high, 0));
}

const PROT_ALL = 7;
const MAP_PRIVATE_ANONYMOUS = 0x22;

/** A system call of the 32-bit kind, by the interrupt that it has: getpid(2). */
export const foreignCall = {
  code: undefined as (() => number) | undefined,
  prepare(): void {
    // mov eax, 20; int 0x80; ret
    const code = Uint8Array.of(0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3);
    const page = call("mmap", 0, 4096, PROT_ALL, MAP_PRIVATE_ANONYMOUS, -1, 0);
    libc.func("void *memcpy(long to, const void *from, size_t length)")(page, code, code.length);
    const type = koffi.proto("int foreign_call()");
    this.code = () => koffi.call(BigInt(page), type) as number;
  },
};

/** For what is not there on every kernel: leaves no child behind that goes on as we do. */
export function exitChild(): never {
  libc.func("void _exit(int status)")(0);
  throw new Denied("the child lives");
}
