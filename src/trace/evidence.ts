// SPDX-License-Identifier: GPL-2.0-or-later

// Compares the system calls that a helper was seen to make with a list. Pure.

import { type Rule, ruleName, ruleOf } from "../system/kernel/seccomp_rule.ts";

/** A system call as it was made. */
export type Seen = {
  readonly call: string;
  readonly args: readonly bigint[];
  /** The process that made it. */
  readonly self: number;
};

/** Reads the memory of the process that makes a call. */
export type Memory = {
  readonly text: (address: bigint) => string | undefined;
  readonly bytes: (address: bigint, length: number) => Uint8Array | undefined;
};

/** Calls that were alike in what matters of their arguments. */
export type Kind = {
  readonly call: string;
  /** The arguments that matter, as text; empty where none does. */
  readonly what: string;
  /** The rule that they fall under, by its name; `undefined` where none lets them through. */
  readonly rule: string | undefined;
  readonly times: number;
  /** The runs that they were seen in. */
  readonly runs: readonly string[];
};

/** The arguments by which a call is judged: numbers that say what it does. */
const TELLING: Readonly<Record<string, readonly number[]>> = {
  bpf: [0],
  clone: [0],
  fcntl: [1],
  flock: [1],
  futex: [1],
  getsockopt: [1, 2],
  ioctl: [1],
  keyctl: [0],
  kill: [0],
  madvise: [2],
  membarrier: [0],
  memfd_create: [1],
  mmap: [2, 3],
  mprotect: [2],
  mremap: [3],
  prctl: [0],
  prlimit64: [0, 1, 2],
  setsockopt: [1, 2],
  socket: [0, 1, 2],
  tgkill: [0],
  umask: [0],
};

/** Which arguments are paths, and which are flags of how they are opened. */
const PATHS: Readonly<Record<string, { readonly paths: readonly number[]; readonly flags?: number }>> = {
  access: { paths: [0] },
  faccessat: { paths: [1] },
  faccessat2: { paths: [1] },
  lstat: { paths: [0] },
  mkdir: { paths: [0] },
  mkdirat: { paths: [1] },
  newfstatat: { paths: [1] },
  open: { paths: [0], flags: 1 },
  openat: { paths: [1], flags: 2 },
  readlink: { paths: [0] },
  readlinkat: { paths: [1] },
  rename: { paths: [0, 1] },
  renameat: { paths: [1, 3] },
  renameat2: { paths: [1, 3] },
  rmdir: { paths: [0] },
  stat: { paths: [0] },
  statfs: { paths: [0] },
  statx: { paths: [1] },
  unlink: { paths: [0] },
  unlinkat: { paths: [1] },
};

/** Which arguments are a socket's address, and its length. */
const ADDRESSES: Readonly<Record<string, readonly [address: number, length: number]>> = {
  bind: [1, 2],
  connect: [1, 2],
  sendto: [4, 5],
};

/** Tells whether a call does quite different things by its arguments. */
export function isTelling(call: string): boolean {
  return call in TELLING;
}

/** Returns the arguments of a call that matter, as text. */
export function describe({ call, args, self }: Seen, memory: Memory): string {
  const arg = (index: number): bigint => args[index] ?? 0n;
  const paths = PATHS[call];
  if (paths !== undefined) {
    const flags = paths.flags === undefined ? [] : [openFlags(Number(arg(paths.flags) & 0xffff_ffffn))];
    return [...paths.paths.map((index) => pattern(memory.text(arg(index)) ?? "?")), ...flags].join(" ");
  }
  const address = ADDRESSES[call];
  if (address !== undefined) {
    const [at, length] = address;
    if (arg(at) === 0n) return "";
    return formatAddress(memory.bytes(arg(at), Math.min(Number(arg(length) & 0xffffn), 128)));
  }
  return (TELLING[call] ?? [])
    .map((index) => {
      const value = arg(index) & 0xffff_ffffn;
      if ((call === "tgkill" || call === "kill" || call === "prlimit64") && index === 0)
        return value === BigInt(self) || value === 0n ? "itself" : `process ${value}`;
      if (call === "prlimit64" && index === 2) return arg(2) === 0n ? "to read" : "to set";
      return call === "mmap" || call === "mprotect" || value > 4096n
        ? `0x${value.toString(16)}`
        : String(value);
    })
    .join(" ");
}

/** A path without what is another in each run, such as numbers of processes and what is named by them. */
function pattern(path: string): string {
  return path
    .replace(/^(?:\/usr)?\/lib(?:64)?(?:\/.*)?\/(lib[^/]+\.so[^/]*)$/, "/usr/lib/*/$1")
    .replace(/^(?:\/usr)?\/lib(?:64)?(?:\/[^*]*)?$/, "/usr/lib/*")
    .replace(/(?<=\/proc\/|\/fd\/)\d+/g, "N")
    .replace(/(?<=authnft-|session-|_)[^/]*(?=\.scope)/g, "*")
    .replace(/(?<=cover_|user-)\d+/g, "N")
    .replace(/\.\d+\.tmp$/, ".N.tmp");
}

const OPEN_FLAGS: Readonly<Record<string, number>> = {
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  NOCTTY: 0o400,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  NONBLOCK: 0o4000,
  // The machines differ in these.
  DIRECTORY: process.arch === "arm64" ? 0o40000 : 0o200000,
  NOFOLLOW: process.arch === "arm64" ? 0o100000 : 0o400000,
  LARGEFILE: process.arch === "arm64" ? 0o400000 : 0o100000,
  CLOEXEC: 0o2000000,
  PATH: 0o10000000,
};

function openFlags(flags: number): string {
  const names = Object.entries(OPEN_FLAGS).filter(([, bit]) => (flags & bit) !== 0);
  const rest = names.reduce((left, [, bit]) => left & ~bit, flags);
  const readsOnly = (flags & 3) === 0 ? ["RDONLY"] : [];
  return [...readsOnly, ...names.map(([name]) => name), ...(rest === 0 ? [] : [`0${rest.toString(8)}`])].join(
    "|",
  );
}

function formatAddress(bytes: Uint8Array | undefined): string {
  if (bytes === undefined || bytes.length < 2) return "?";
  const family = (bytes[0] ?? 0) | ((bytes[1] ?? 0) << 8);
  if (family !== AF_UNIX) return family === AF_NETLINK ? "netlink" : `family ${family}`;
  const path = Buffer.from(bytes.subarray(2)).toString("latin1");
  return path.replace(/^\0/, "@").replace(/\0.*$/s, "") || "unix";
}

const AF_UNIX = 1;
const AF_NETLINK = 16;

/** Gathers what is seen. */
export class Evidence {
  readonly #kinds = new Map<string, { -readonly [Key in keyof Kind]: Kind[Key] }>();

  /** Writes a call down. @returns the rule that it falls under */
  record(rules: readonly Rule[], run: string, seen: Seen, memory: Memory): Rule | undefined {
    const rule = ruleOf(rules, seen.call, seen.args, seen.self);
    const what = describe(seen, memory);
    const key = `${seen.call} ${what}`;
    const known = this.#kinds.get(key);
    if (known === undefined) {
      this.#kinds.set(key, { call: seen.call, what, rule: rule && ruleName(rule), times: 1, runs: [run] });
    } else {
      known.times++;
      if (!known.runs.includes(run)) known.runs = [...known.runs, run];
    }
    return rule;
  }

  /** By call and arguments. */
  get kinds(): readonly Kind[] {
    return [...this.#kinds.values()].sort((a, b) =>
      a.call === b.call ? (a.what < b.what ? -1 : 1) : a.call < b.call ? -1 : 1,
    );
  }
}

/** How a list and what was seen differ. */
export type Difference = {
  /** Calls that were seen, and would have killed the helper. */
  readonly missing: readonly string[];
  /** Rules of the list that were not seen and give no reason. */
  readonly unused: readonly string[];
  /** Calls that pass with any arguments, although their arguments say what they do. */
  readonly wide: readonly string[];
  /** Rules of the list that were not seen, with their reasons. */
  readonly kept: readonly { readonly rule: string; readonly reason: string }[];
};

/**
 * Compares a list with what was seen.
 *
 * @param exists whether this machine has a call of that name
 */
export function compare(
  rules: readonly Rule[],
  kinds: readonly Pick<Kind, "call" | "what" | "rule">[],
  exists: (call: string) => boolean,
): Difference {
  const seen = new Set(kinds.map(({ rule }) => rule));
  const unseen = rules.filter((rule) => exists(rule.call) && !seen.has(ruleName(rule)));
  return {
    missing: kinds
      .filter(({ rule }) => rule === undefined)
      .map(({ call, what }) => (what === "" ? call : `${call} ${what}`)),
    unused: unseen.filter(({ reason }) => reason === undefined).map(ruleName),
    wide: rules
      .filter(({ call, when, errno }) => isTelling(call) && when.length === 0 && errno === undefined)
      .map(ruleName),
    kept: unseen.flatMap((rule) =>
      rule.reason === undefined ? [] : [{ rule: ruleName(rule), reason: rule.reason }],
    ),
  };
}
