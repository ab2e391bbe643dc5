// SPDX-License-Identifier: GPL-2.0-or-later
import { readdirSync, readlinkSync } from "node:fs";
import { SystemError } from "../ffi/libc.ts";
import { readText } from "../host/text_file.ts";
import { attribute, attributes, message, NLM_F_ACK, NLM_F_DUMP, netlink, view } from "./netlink.ts";

const NETLINK_SOCK_DIAG = 4;
const AF_INET = 2;
const AF_INET6 = 10;
const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;

// linux/sock_diag.h, linux/inet_diag.h
const SOCK_DIAG_BY_FAMILY = 20;
const SOCK_DESTROY = 21;
const INET_DIAG_REQ_BYTECODE = 1;
const INET_DIAG_CGROUP_ID = 21;
const INET_DIAG_BC_JMP = 1;
const INET_DIAG_BC_CGROUP_COND = 13;

// States of sockets: net/tcp_states.h. UDP knows the first, for connected sockets, and "closed" for the others.
const ESTABLISHED = 1 << 1;
const SYN_RECV = 1 << 3;
const TIME_WAIT = 1 << 6;
/** Half-open connections belong to their listener and go with it; one in TIME_WAIT belongs to nobody any more. */
const LIVING = 0xfff & ~(SYN_RECV | TIME_WAIT);

const NO_SOCKET = new Uint8Array(48);

/** A socket as the kernel describes it. */
export type InetSocket = {
  /** struct inet_diag_sockid: addresses, ports, interface and the cookie that no other socket ever has. */
  readonly id: Uint8Array;
  readonly family: number;
  /** The peer's address as text; for IPv6 without any shortening. */
  readonly peer: string;
  readonly inode: number;
  /** The cgroup that it was made in, also if that is gone since; `undefined` where the kernel does not say. */
  readonly cgroup: bigint | undefined;
};

/**
 * The peers of those of some sockets that are established TCP connections, asked of the kernel: sock_diag(7).
 *
 * @returns the addresses as text, each once
 * @throws {SystemError}
 */
export function tcpPeers(inodes: ReadonlySet<number>): string[] {
  if (inodes.size === 0) return [];
  const peers = [AF_INET, AF_INET6].flatMap((family) =>
    dump(family, IPPROTO_TCP, ESTABLISHED)
      .filter(({ inode }) => inodes.has(inode))
      .map(({ peer }) => peer),
  );
  return [...new Set(peers)];
}

/**
 * Ends every TCP and UDP socket that was made in one of some cgroups, whoever holds it now: whoever waits on it gets
 * ECONNABORTED at once, and a TCP peer a reset unless a rule or a lock stops it. Listeners end too. A UDP socket gets the error and loses its peer,
 * but can be used again.
 *
 * The kernel walks through all sockets of the host and compares each with the ids, which costs some 0.1 µs; copied out and read
 * here, as happens with more ids than a filter holds, each takes 3 µs..
 *
 * @returns how many were ended; one that goes meanwhile is not counted
 * @throws {SystemError} `EOPNOTSUPP` where the kernel is built without INET_DIAG_DESTROY
 */
export function destroySockets(cgroupIds: ReadonlySet<bigint>): number {
  let destroyed = 0;
  if (cgroupIds.size === 0) return destroyed;
  for (const protocol of [IPPROTO_TCP, IPPROTO_UDP]) {
    for (const family of [AF_INET, AF_INET6]) {
      for (const { cgroup, id } of dump(family, protocol, LIVING, cgroupFilter(cgroupIds))) {
        if (cgroup !== undefined && cgroupIds.has(cgroup) && destroy(family, protocol, id)) destroyed++;
      }
    }
  }
  return destroyed;
}

/**
 * How often a socket without a peer is asked for. The kernel looks a socket up by addresses and ports, and compares the cookie
 * after that: of several that share a port (SO_REUSEPORT) it finds one, and which one depends on the peer's port.
 */
const ATTEMPTS = 64;

function destroy(family: number, protocol: number, id: Uint8Array): boolean {
  const connected = view(id).getUint16(2) !== 0;
  for (let attempt = 0; attempt < (connected ? 1 : ATTEMPTS); attempt++) {
    const asked = id.slice();
    if (!connected) view(asked).setUint16(2, attempt);
    try {
      netlink(
        NETLINK_SOCK_DIAG,
        [message(SOCK_DESTROY, NLM_F_ACK, inetDiagRequest(family, protocol, 0, asked))],
        { answers: 1 },
      );
      return true;
    } catch (error) {
      // Gone, or another that shares the port.
      if (error instanceof SystemError && (error.code === "ENOENT" || error.code === "ESTALE")) continue;
      throw error;
    }
  }
  return false;
}

function dump(family: number, protocol: number, states: number, filter?: Uint8Array): InetSocket[] {
  const parts = [inetDiagRequest(family, protocol, states, NO_SOCKET)];
  if (filter !== undefined) parts.push(attribute(INET_DIAG_REQ_BYTECODE, filter));
  return netlink(NETLINK_SOCK_DIAG, [message(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, ...parts)], {
    answers: 1,
  }).flatMap(({ payload }) => parseSocket(payload) ?? []);
}

/** struct inet_diag_req_v2: family, protocol, extensions, padding, a bit for each state, and the socket. */
function inetDiagRequest(family: number, protocol: number, states: number, id: Uint8Array): Uint8Array {
  const request = new Uint8Array(56);
  request[0] = family;
  request[1] = protocol;
  view(request).setUint32(4, states, true);
  request.set(id, 8);
  return request;
}

/** The most bytes of a program: its jumps count in 16 bits, and so do the attribute's. */
const FILTER_LIMIT = 0xf000;

/**
 * The program for the kernel that lets sockets of some cgroups through: after each comparison a jump to the end, which the last
 * one does not need. It is read one comparison after the other. `undefined` when there are too many; then all sockets are read.
 */
export function cgroupFilter(cgroupIds: ReadonlySet<bigint>): Uint8Array | undefined {
  const size = cgroupIds.size * 16 - 4;
  if (cgroupIds.size === 0 || size > FILTER_LIMIT) return undefined;
  const program = view(new Uint8Array(size));
  let at = 0;
  for (const id of cgroupIds) {
    // struct inet_diag_bc_op: what to do, how far to go if it is so and if not. 4 bytes past the end means no.
    program.setUint8(at, INET_DIAG_BC_CGROUP_COND);
    program.setUint8(at + 1, 12);
    program.setUint16(at + 2, 16, true);
    program.setBigUint64(at + 4, id, true);
    at += 12;
    if (at === size) break;
    program.setUint8(at, INET_DIAG_BC_JMP);
    program.setUint8(at + 1, 4);
    program.setUint16(at + 2, size - at, true);
    at += 4;
  }
  return new Uint8Array(program.buffer);
}

/** Reads struct inet_diag_msg and the attributes behind it; `undefined` for what is cut short, or of another family. */
export function parseSocket(payload: Uint8Array): InetSocket | undefined {
  const [family] = payload;
  if (payload.length < 72 || (family !== AF_INET && family !== AF_INET6)) return undefined;
  const cgroup = attributes(payload.subarray(72)).get(INET_DIAG_CGROUP_ID);
  return {
    id: payload.slice(4, 52),
    family,
    peer: family === AF_INET ? payload.subarray(24, 28).join(".") : groups(payload.subarray(24, 40)),
    inode: view(payload).getUint32(68, true),
    cgroup: cgroup?.length === 8 ? view(cgroup).getBigUint64(0, true) : undefined,
  };
}

function groups(address: Uint8Array): string {
  return Array.from({ length: 8 }, (_, index) =>
    view(address)
      .getUint16(index * 2)
      .toString(16),
  ).join(":");
}

/** Returns the inodes of a process's TCP sockets; none where it is gone, or has more rights than we have. */
export function tcpSocketInodes(pid: number): Set<number> {
  const tables = ["tcp", "tcp6"].map((table) => readText(`/proc/${pid}/net/${table}`) ?? "");
  const tcp = new Set(tables.flatMap(inodesInTable));
  return new Set([...socketInodes(pid)].filter((inode) => tcp.has(inode)));
}

/** Returns the inodes of the sockets in a table of /proc/net: the tenth word of each line but the first. proc_pid_net(5). */
export function inodesInTable(table: string): number[] {
  return table
    .split("\n")
    .slice(1)
    .flatMap((line) => {
      const inode = Number(line.trim().split(/\s+/)[9]);
      return inode > 0 ? [inode] : [];
    });
}

/** Returns the inodes of a process's sockets; none where it is gone, or has more rights than we have. */
export function socketInodes(pid: number): Set<number> {
  const inodes = new Set<number>();
  let names: string[];
  try {
    names = readdirSync(`/proc/${pid}/fd`);
  } catch {
    return inodes;
  }
  for (const name of names) {
    try {
      const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${name}`))?.[1];
      if (inode !== undefined) inodes.add(Number(inode));
    } catch {
      // closed in the meantime
    }
  }
  return inodes;
}
