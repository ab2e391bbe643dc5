// SPDX-License-Identifier: GPL-2.0-or-later

// Another process decides about each system call of this one: seccomp_unotify(2).

import { closeSync, openSync, readdirSync, readlinkSync, readSync } from "node:fs";
import { koffi, loadLibrary } from "./koffi.ts";
import { errnoName, SystemError } from "./libc.ts";

const libc = loadLibrary("libc.so.6");

const Program = koffi.struct("sock_fprog", { len: "uint16_t", filter: "const void *" });

const c = {
  seccomp: libc.func("syscall", "long", ["long", "long", "long", koffi.pointer(Program)]),
  pidfdOpen: libc.func("long syscall(long number, int pid, uint32_t flags)"),
  pidfdGetfd: libc.func("long syscall(long number, int pidfd, int fd, uint32_t flags)"),
  ioctl: libc.func("int ioctl(int fd, unsigned long request, _Inout_ void *argument)"),
  poll: libc.func("int poll(_Inout_ void *fds, unsigned long count, int timeout)"),
};

// asm/unistd.h
const SYS_SECCOMP = process.arch === "arm64" ? 277 : 317;
const SYS_PIDFD_OPEN = 434;
const SYS_PIDFD_GETFD = 438;

// linux/seccomp.h
const SECCOMP_SET_MODE_FILTER = 1;
const FLAG_TSYNC = 1;
const FLAG_NEW_LISTENER = 8;
const FLAG_TSYNC_ESRCH = 16;
const RET_USER_NOTIF = 0x7fc0_0000;
const NOTIF_RECV = 0xc050_2100;
const NOTIF_SEND = 0xc018_2101;
const NOTIF_ID_VALID = 0x4008_2102;
const USER_NOTIF_CONTINUE = 1;
const BPF_RET = 0x06;

const LISTENER = "anon_inode:seccomp notify";

/**
 * Has every system call of every thread of this process wait for a supervisor's word, from now on and for good. Where there
 * is no supervisor, the next call waits until somebody ends this process: nothing is let through by itself.
 *
 * The supervisor takes the listener out of this process, which cannot hand it over: that, too, would be a call that waits.
 *
 * @throws {SystemError}
 */
export function awaitSupervision(): void {
  // One instruction: struct sock_filter { code, jt, jf, k }. What machine the call is for does not matter to who watches.
  const instruction = Buffer.alloc(8);
  instruction.writeUInt16LE(BPF_RET, 0);
  instruction.writeUInt32LE(RET_USER_NOTIF, 4);
  const flags = FLAG_TSYNC | FLAG_TSYNC_ESRCH | FLAG_NEW_LISTENER;
  if (Number(c.seccomp(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, flags, { len: 1, filter: instruction })) < 0)
    throw new SystemError("seccomp", errnoName(koffi.errno()));
}

/** Tells why no process of this host can be supervised from here, such as `pidfd_getfd: EPERM` where a filter denies that; `undefined` where it can. */
export function supervisionDenied(): string | undefined {
  try {
    closeSync(take(process.pid, 2));
    return undefined;
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    return error.message;
  }
}

/** A system call that waits for an answer. */
export type Call = {
  readonly number: number;
  /** The thread that made it, by its number in this process's namespace. */
  readonly tid: number;
  readonly args: readonly bigint[];
  /** Reads text that an argument points to, up to its NUL; `undefined` where it cannot be read, or nobody waits any more. */
  readonly text: (address: bigint) => string | undefined;
  /** Reads bytes that an argument points to; likewise. */
  readonly bytes: (address: bigint, length: number) => Uint8Array | undefined;
};

/** The outcome of a call: the kernel carries it out, or it fails with an errno. `end` has the process killed. */
export type Decision = "continue" | "end" | { readonly errno: number };

/** How the watching ended: with the process, or because nothing happened for too long. */
export type Outcome = "ended" | "stuck";

/** Decides about a process's system calls. To be held with `using`. */
export class Supervisor implements Disposable {
  readonly #pid: number;
  readonly #listener: number;
  #memory: number | undefined;

  private constructor(pid: number, listener: number) {
    this.#pid = pid;
    this.#listener = listener;
  }

  /**
   * Waits until a process asks for supervision, and takes that over.
   *
   * @returns `undefined` when it ended before, or when the deadline comes, on the clock of `performance.now()`
   * @throws {SystemError} where the listener cannot be taken
   */
  static async of(pid: number, deadline: number): Promise<Supervisor | undefined> {
    for (;;) {
      const fd = listenerOf(pid);
      if (fd === "gone") return undefined;
      if (fd !== undefined) return new Supervisor(pid, take(pid, fd));
      if (performance.now() > deadline) return undefined;
      await Bun.sleep(1);
    }
  }

  /**
   * Decides about the process's calls, one after another, until it ends. Does not let anything else in this process run.
   *
   * @param patience how long there may be no call, in milliseconds
   * @throws what `decide` throws
   */
  watch(decide: (call: Call) => Decision, patience: number): Outcome {
    for (;;) {
      const outcome = this.answer(decide, patience);
      if (outcome === "ended") return "ended";
      if (outcome === "idle") return "stuck";
    }
  }

  /**
   * Decides about one call.
   *
   * @param patience how long it may take to come, in milliseconds
   * @throws {SystemError}, and what `decide` throws
   */
  answer(decide: (call: Call) => Decision, patience: number): "answered" | "idle" | "ended" {
    const waiting = Buffer.alloc(8); // struct pollfd
    waiting.writeInt32LE(this.#listener, 0);
    waiting.writeInt16LE(POLLIN, 4);
    const ready = c.poll(waiting, 1, patience);
    if (ready === 0) return "idle";
    if (ready < 0) {
      if (koffi.errno() === EINTR) return "answered";
      throw new SystemError("poll", errnoName(koffi.errno()));
    }
    if ((waiting.readInt16LE(6) & POLLIN) === 0) return "ended";
    const notification = Buffer.alloc(80); // struct seccomp_notif
    // A call that was given up, since a signal came or the process was killed, is no call.
    if (c.ioctl(this.#listener, NOTIF_RECV, notification) !== 0) return "answered";
    const id = notification.readBigUInt64LE(0);
    const decision = decide(this.#call(notification, id));
    if (decision === "end") {
      process.kill(this.#pid, "SIGKILL");
      return "answered";
    }
    const answer = Buffer.alloc(24); // struct seccomp_notif_resp
    answer.writeBigUInt64LE(id, 0);
    if (decision === "continue") answer.writeUInt32LE(USER_NOTIF_CONTINUE, 20);
    else answer.writeInt32LE(-decision.errno, 16);
    c.ioctl(this.#listener, NOTIF_SEND, answer);
    return "answered";
  }

  #call(notification: Buffer, id: bigint): Call {
    const isWaiting = (): boolean => {
      const asked = Buffer.alloc(8);
      asked.writeBigUInt64LE(id);
      return c.ioctl(this.#listener, NOTIF_ID_VALID, asked) === 0;
    };
    // The memory may be another process's by then, unless the call still waits.
    const bytes = (address: bigint, length: number): Uint8Array | undefined => {
      const read = this.#read(address, length);
      return read !== undefined && isWaiting() ? read : undefined;
    };
    return {
      tid: notification.readUInt32LE(8),
      number: notification.readInt32LE(16),
      args: [0, 1, 2, 3, 4, 5].map((index) => notification.readBigUInt64LE(32 + 8 * index)),
      bytes,
      text: (address) => {
        // Up to the end of a page first: the next one may not be there.
        const room = PAGE - Number(address % BigInt(PAGE));
        for (const length of [room, room + PAGE]) {
          const read = bytes(address, length);
          const end = read?.indexOf(0) ?? -1;
          if (read !== undefined && end >= 0) return Buffer.from(read.subarray(0, end)).toString();
        }
        return undefined;
      },
    };
  }

  #read(address: bigint, length: number): Uint8Array | undefined {
    try {
      this.#memory ??= openSync(`/proc/${this.#pid}/mem`, "r");
      const buffer = new Uint8Array(length);
      return buffer.subarray(0, readSync(this.#memory, buffer, 0, length, address));
    } catch {
      return undefined;
    }
  }

  /** A call without a decision by then fails as on a kernel without it. */
  [Symbol.dispose](): void {
    closeSync(this.#listener);
    if (this.#memory !== undefined) closeSync(this.#memory);
  }
}

const PAGE = 4096;
const POLLIN = 1;
const EINTR = 4;

function listenerOf(pid: number): number | "gone" | undefined {
  const directory = `/proc/${pid}/fd`;
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch {
    return "gone";
  }
  for (const name of names) {
    try {
      if (readlinkSync(`${directory}/${name}`) === LISTENER) return Number(name);
    } catch {
      // Closed meanwhile.
    }
  }
  return undefined;
}

function take(pid: number, fd: number): number {
  const process = checked("pidfd_open", c.pidfdOpen(SYS_PIDFD_OPEN, pid, 0));
  try {
    return checked("pidfd_getfd", c.pidfdGetfd(SYS_PIDFD_GETFD, process, fd, 0));
  } finally {
    closeSync(process);
  }
}

function checked(act: string, result: number | bigint): number {
  if (result < 0) throw new SystemError(act, errnoName(koffi.errno()));
  return Number(result);
}
