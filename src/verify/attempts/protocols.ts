// SPDX-License-Identifier: GPL-2.0-or-later

// Protocols, socket options and addresses of the attempts.

import type { Option } from "../operation.ts";

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_PACKET = 17;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const IPPROTO_ICMP = 1;
export const IPPROTO_ICMPV6 = 58;
const IPPROTO_SCTP = 132;
const IPPROTO_UDPLITE = 136;
const IPPROTO_MPTCP = 262;

export const REUSE_ADDRESS: Option = { level: 1, name: 2, value: 1 };
export const REUSE_PORT: Option = { level: 1, name: 15, value: 1 };
export const BROADCAST: Option = { level: 1, name: 6, value: 1 };
export const ON_LOOPBACK: Option = { level: 1, name: 25, value: [...Buffer.from("lo\0")] };
export const BOTH_FAMILIES: Option = { level: 41, name: 26, value: 0 };

/** An unlikely group of the block that is for use within a site. */
export const GROUP = "239.255.71.35";
/** The loopback has number 1 in every network: struct ip_mreqn. */
export const OVER_LOOPBACK: Option = { level: 0, name: 32, value: [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0] };
export const JOIN_GROUP: Option = { level: 0, name: 35, value: [239, 255, 71, 35, 0, 0, 0, 0, 1, 0, 0, 0] };

/** IP_FREEBIND, and IPv6's. */
export const ANY_SOURCE_4: Option = { level: 0, name: 15, value: 1 };
export const ANY_SOURCE_6: Option = { level: 41, name: 78, value: 1 };

/** A segment routing header of one stop (RFC 8754), by IPV6_RTHDR. */
export const ROUTING_HEADER: Option = {
  level: 41,
  name: 57,
  value: [0, 2, 4, 0, 0, 0, 0, 0, ...Array(15).fill(0), 1],
};

/** IP_OPTIONS: a loose source route by the loopback, padded. */
export const SOURCE_ROUTE: Option = { level: 0, name: 4, value: [131, 7, 4, 127, 0, 0, 1, 0] };

/** How a protocol is written in the table, and made. */
export type Protocol = { readonly name: string; readonly type: number; readonly number: number };

export const TCP: Protocol = { name: "TCP", type: SOCK_STREAM, number: 0 };
export const MPTCP: Protocol = { name: "MPTCP", type: SOCK_STREAM, number: IPPROTO_MPTCP };
export const SCTP: Protocol = { name: "SCTP", type: SOCK_STREAM, number: IPPROTO_SCTP };
export const UDP: Protocol = { name: "UDP", type: SOCK_DGRAM, number: 0 };
/** The first segment takes data along, once the server is known: the client asks for it by TCP_FASTOPEN_CONNECT. */
export const TCP_FAST_OPEN: Protocol = { name: "TCP Fast Open", type: SOCK_STREAM, number: 0 };
export const FAST_OPEN: Option = { level: 6, name: 30, value: 1 };
export const UDPLITE: Protocol = { name: "UDP-Lite", type: SOCK_DGRAM, number: IPPROTO_UDPLITE };

/** The two ends of an attempt: addresses, and the families of the sockets that use them. */
export type Ends = { readonly name: string; readonly member: End; readonly outside: End };
export type End = { readonly family: number; readonly own: string; readonly peer: string };

export const FOUR: End = { family: AF_INET, own: "127.0.0.1", peer: "127.0.0.1" };
export const SIX: End = { family: AF_INET6, own: "::1", peer: "::1" };
export const IPV4: Ends = { name: "IPv4", member: FOUR, outside: FOUR };
export const IPV6: Ends = { name: "IPv6", member: SIX, outside: SIX };
export const MAPPED: Ends = {
  name: "v4-mapped IPv6",
  member: { family: AF_INET6, own: "::", peer: "::ffff:127.0.0.1" },
  outside: FOUR,
};
