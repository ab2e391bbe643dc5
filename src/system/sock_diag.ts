// SPDX-License-Identifier: GPL-2.0-or-later
import { readdirSync, readlinkSync } from "node:fs";
import { message, NLM_F_DUMP, netlink, view } from "./netlink.ts";

const NETLINK_SOCK_DIAG = 4;
const SOCK_DIAG_BY_FAMILY = 20;
const IPPROTO_TCP = 6;
const TCP_ESTABLISHED = 1;
const AF_INET = 2;
const AF_INET6 = 10;

/**
 * The peers of a process's established TCP connections, asked of the kernel: sock_diag(7).
 *
 * @returns the addresses as text, each once; none when the process has no connection or is gone
 * @throws {SystemError}
 */
export function tcpPeers(pid: number): string[] {
  const inodes = socketInodes(pid);
  if (inodes.size === 0) return [];
  const peers = [AF_INET, AF_INET6].flatMap((family) =>
    netlink(NETLINK_SOCK_DIAG, [message(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, inetDiagRequest(family))], {
      answers: 1,
    }).flatMap(({ payload }) => peerOf(payload, inodes)),
  );
  return [...new Set(peers)];
}

/** struct inet_diag_req_v2: family, protocol, extensions, padding, a bit for each state, and no particular socket. */
function inetDiagRequest(family: number): Uint8Array {
  const request = new Uint8Array(56);
  request[0] = family;
  request[1] = IPPROTO_TCP;
  view(request).setUint32(4, 1 << TCP_ESTABLISHED, true);
  return request;
}

/** struct inet_diag_msg: the peer's address is at 24, the socket's inode at 68. */
function peerOf(payload: Uint8Array, inodes: ReadonlySet<number>): string[] {
  if (payload.length < 72 || !inodes.has(view(payload).getUint32(68, true))) return [];
  if (payload[0] === AF_INET) return [payload.subarray(24, 28).join(".")];
  const groups = Array.from({ length: 8 }, (_, index) =>
    view(payload)
      .getUint16(24 + index * 2)
      .toString(16),
  );
  return [groups.join(":")];
}

function socketInodes(pid: number): Set<number> {
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
