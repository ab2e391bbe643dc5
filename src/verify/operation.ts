// SPDX-License-Identifier: GPL-2.0-or-later

/** Where packets go: an address and port, or the name of an abstract Unix socket. */
export type Target =
  | { readonly ip: string; readonly port: number; readonly scope?: number }
  | { readonly name: string };

/** A socket's option, by the kernel's numbers. */
export type Option = {
  readonly level: number;
  readonly name: number;
  readonly value: number | readonly number[];
};

/** What a probing process is and where: it goes there first, in this order. */
export type Station = {
  /** The process whose network it joins; `new` for a network of its own, `undefined` for the one that it begins in. */
  readonly network: number | "new" | undefined;
  /** The cgroup's path without a leading slash. */
  readonly cgroup: string;
  /** Whose ids it takes, for good; `undefined` for root's. */
  readonly user: { readonly name: string; readonly uid: number; readonly gid: number } | undefined;
};

/** What a probing process can be told to do. Sockets are named by their descriptors there. None of it waits, but `run`. */
export type Operations = {
  socket: {
    ask: { family: number; type: number; protocol: number; options?: readonly Option[] };
    answer: number;
  };
  bind: { ask: { fd: number; to: Target }; answer: number };
  listen: { ask: { fd: number }; answer: number };
  connect: { ask: { fd: number; to: Target }; answer: number };
  accept: { ask: { fd: number }; answer: number };
  send: { ask: { fd: number; data: string; to?: Target }; answer: number };
  receive: { ask: { fd: number }; answer: string };
  error: { ask: { fd: number }; answer: string };
  give: { ask: { over: number; fd: number }; answer: number };
  take: { ask: { over: number }; answer: number };
  watch: { ask: { ip: string }; answer: number };
  close: { ask: { fd: number }; answer: number };
  /** The kernel's number for the network that it is in. */
  cookie: { ask: Record<string, never>; answer: string };
  option: { ask: { fd: number; option: Option }; answer: number };
  /** Moves to another cgroup; for root. */
  move: { ask: { cgroup: string }; answer: number };
  /** Loads lines of nftables; for root. */
  load: { ask: { lines: readonly string[] }; answer: number };
  /** The table as nft prints it, without what counts; empty when there is none. For root. */
  list: { ask: { table: string }; answer: string };
  /** Runs a program to its end. */
  run: {
    ask: { argv: readonly string[]; env?: Readonly<Record<string, string>> };
    answer: { code: number; said: string };
  };
};

export type Operation = keyof Operations;

/** One thing to do, as it is sent. Data is in Latin-1: a character a byte. */
export type Request<Name extends Operation = Operation> = {
  readonly op: Name;
  readonly ask: Operations[Name]["ask"];
};

/** What came of it: a value, or the name of an error. */
export type Answer<Name extends Operation = Operation> =
  | { readonly value: Operations[Name]["answer"] }
  | { readonly error: string };
