// SPDX-License-Identifier: GPL-2.0-or-later

// The process that does the trying: in a session's cgroup, as the session's user, or outside as root. It does what it is
// told, a line at a time, and ends when nobody tells it anything any more.

import { readFileSync, readSync, writeFileSync, writeSync } from "node:fs";
import { becomeUser } from "../system/ffi/identity.ts";
import * as sockets from "../system/ffi/inet_socket.ts";
import { errnoName, SystemError } from "../system/ffi/libc.ts";
import { joinNetwork, leaveNetwork, networkCookie } from "../system/ffi/namespace.ts";
import { CGROUP_ROOT } from "../system/kernel/cgroup.ts";
import type { Answer, Operation, Operations, Request, Station } from "./operation.ts";

/** How long a program that is run may take, in milliseconds. */
const PATIENCE = 3000;

const PING_GROUPS = "/proc/sys/net/ipv4/ping_group_range";

const OPERATIONS: { [Name in Operation]: (ask: Operations[Name]["ask"]) => Operations[Name]["answer"] } = {
  socket({ family, type, protocol, options = [] }) {
    const fd = sockets.openSocket(family, type, protocol);
    for (const option of options) sockets.setOption(fd, option);
    return fd;
  },
  bind({ fd, to }) {
    sockets.bindSocket(fd, to);
    return "port" in to ? sockets.portOf(fd) : 0;
  },
  listen({ fd }) {
    sockets.listenSocket(fd);
    return 0;
  },
  connect({ fd, to }) {
    sockets.connectSocket(fd, to);
    return 0;
  },
  accept: ({ fd }) => sockets.acceptSocket(fd),
  send({ fd, data, to }) {
    sockets.sendBytes(fd, Buffer.from(data, "latin1"), to);
    return 0;
  },
  receive: ({ fd }) => Buffer.from(sockets.receiveBytes(fd)).toString("latin1"),
  error: ({ fd }) => sockets.pendingError(fd),
  give({ over, fd }) {
    sockets.giveDescriptor(over, fd);
    return 0;
  },
  take: ({ over }) => sockets.takeDescriptor(over),
  watch: ({ ip }) => sockets.watchLoopback(ip),
  close({ fd }) {
    sockets.closeSocket(fd);
    return 0;
  },
  cookie: () => String(networkCookie()),
  option({ fd, option }) {
    sockets.setOption(fd, option);
    return 0;
  },
  move({ cgroup }) {
    enter(cgroup);
    return 0;
  },
  load({ lines }) {
    nftables.runTransaction(lines);
    return 0;
  },
  list: ({ table }) => nftables.listTable(table),
  run({ argv, env = {} }) {
    const done = Bun.spawnSync([...argv], {
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C.UTF-8", ...env },
      cwd: "/",
      stdio: ["ignore", "ignore", "pipe"],
      timeout: PATIENCE,
    });
    return { code: done.exitCode ?? -1, said: done.stderr.toString().trim() };
  },
};

/** Only root's probes load rules; a user's need not have the library opened. */
let nftables: typeof import("../system/ffi/nftables.ts");

/** Goes to its station, and does what it is told on standard input until that ends. @returns the exit code */
export async function runProbe(): Promise<number> {
  const lines = linesOf(0);
  const first = lines.next();
  if (first.done) return 0;
  const station = JSON.parse(first.value) as Station;
  if (station.user === undefined) nftables = await import("../system/ffi/nftables.ts");
  say(outcomeOf(() => takeStation(station)));
  for (const line of lines) say(obey(JSON.parse(line) as Request));
  return 0;
}

function takeStation({ network, cgroup, user }: Station): number {
  if (network === "new") {
    // What users may do with ping is the administrator's to say, and a new network does not inherit it.
    const groups = readFileSync(PING_GROUPS, "utf8");
    leaveNetwork();
    try {
      writeFileSync(PING_GROUPS, groups);
    } catch {
      // Then ICMP cannot be tried there.
    }
  } else if (network !== undefined) joinNetwork(network);
  enter(cgroup);
  if (user !== undefined) becomeUser(user);
  return 0;
}

/** Not made where it is gone: then the session is over. */
function enter(cgroup: string): void {
  writeFileSync(`${CGROUP_ROOT}/${cgroup}/cgroup.procs`, "0", { flag: "r+" });
}

function obey({ op, ask }: Request): Answer {
  return outcomeOf(() =>
    (OPERATIONS[op] as (ask: unknown) => Answer extends { value: infer V } ? V : never)(ask),
  );
}

function outcomeOf(act: () => unknown): Answer {
  try {
    return { value: act() } as Answer;
  } catch (error) {
    if (error instanceof SystemError) return { error: error.code };
    const { code, errno, message } = error as NodeJS.ErrnoException;
    return { error: code ?? (errno === undefined ? message : errnoName(Math.abs(errno))) };
  }
}

function say(answer: Answer): void {
  const bytes = Buffer.from(`${JSON.stringify(answer)}\n`);
  for (let written = 0; written < bytes.length; ) written += writeSync(1, bytes, written);
}

/** The lines that come in, waited for: everything here is done on one thread, for a network is a thread's. */
function* linesOf(fd: number): Generator<string> {
  const buffer = Buffer.alloc(1 << 16);
  let rest = Buffer.alloc(0);
  while (true) {
    const end = rest.indexOf(10);
    if (end !== -1) {
      yield rest.subarray(0, end).toString();
      rest = rest.subarray(end + 1);
      continue;
    }
    const got = readSync(fd, buffer, 0, buffer.length, null);
    if (got === 0) return;
    rest = Buffer.concat([rest, buffer.subarray(0, got)]);
  }
}
