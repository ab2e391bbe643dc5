// SPDX-License-Identifier: GPL-2.0-or-later

/** The table that holds everything of ours. */
export const TABLE_NAME = "authnft";
export const TABLE = `inet ${TABLE_NAME}`;

/** Sets and maps whose elements are keyed by a member cgroup's id, alone or followed by an address. */
export const KEYED_SETS = [
  "session_in",
  "session_out",
  "session_map_cg",
  "session_map_ipv4",
  "session_map_ipv6",
] as const;

/**
 * The chains that a cgroup's element leads to when it has no network whatever stands above it, and is locked to no address
 * besides. Such a lock would keep a reset from the socket, and leave it waiting; an ICMP error arrives.
 */
export const CLOSED = { in: "closed_in", out: "closed_out" } as const;

/** The chains whose rules do not depend on sessions, and how many rules each has. */
export const BASE_CHAINS = {
  filter: 1,
  egress: 1,
  users_in: 1,
  users_out: 1,
  members_in: 6,
  members_out: 5,
  closed_in: 1,
  closed_out: 1,
} as const;

/** The two slices that the table looks into. Their cgroups must exist, for libnftables resolves the paths. */
export type Slices = {
  /** The slice whose cgroups are closed by default. */
  readonly closed: string;
  /** The slice of everybody's slices, of which the covered ones are closed by default; `undefined` where it does not exist. */
  readonly users: string | undefined;
};

/**
 * The part of the table that does not depend on sessions, as nftables commands.
 *
 * Loading it again changes nothing, and mends what somebody else changed: the rules of its chains are written anew in
 * one transaction. That costs some 14 ms, for the kernel waits for readers of the old rules; see `closeSlices` for less.
 *
 * A packet of a process outside the two slices meets one look-up, one of a user's who is not covered two. One from
 * inside goes to the chain of its cgroup by verdict map; where the map has no element for it, the last rules of
 * `members_in` and `members_out` hold.
 */
export function baseTable(slices: Slices): string[] {
  return [
    `add table ${TABLE}`,
    // typeof instead of a type: nftables has no type name for a cgroup. It does not hold the level: ids of one level and
    // of another are never the same.
    `add map ${TABLE} slices_in { typeof socket cgroupv2 level 1 : verdict; }`,
    `add map ${TABLE} slices_out { typeof socket cgroupv2 level 1 : verdict; }`,
    `add set ${TABLE} covered_slices { typeof socket cgroupv2 level 2; }`,
    `add set ${TABLE} refused { typeof socket cgroupv2 level 2; }`,
    `add set ${TABLE} session_map_cg { typeof socket cgroupv2 level 2; }`,
    `add set ${TABLE} session_map_ipv4 { typeof socket cgroupv2 level 2 . ip saddr; }`,
    `add set ${TABLE} session_map_ipv6 { typeof socket cgroupv2 level 2 . ip6 saddr; }`,
    `add map ${TABLE} session_in { typeof socket cgroupv2 level 2 : verdict; counter; }`,
    `add map ${TABLE} session_out { typeof socket cgroupv2 level 2 : verdict; counter; }`,
    `add chain ${TABLE} filter { type filter hook input priority filter - 1; policy accept; }`,
    `add chain ${TABLE} egress { type filter hook output priority filter - 1; policy accept; }`,
    ...chains.map((chain) => `add chain ${TABLE} ${chain}`),
    ...Object.keys(BASE_CHAINS).map((chain) => `flush chain ${TABLE} ${chain}`),
    ...closeSlices(slices),
    `add rule ${TABLE} filter socket cgroupv2 level 1 vmap @slices_in`,
    `add rule ${TABLE} egress socket cgroupv2 level 1 vmap @slices_out`,
    `add rule ${TABLE} users_in socket cgroupv2 level 2 @covered_slices goto members_in`,
    `add rule ${TABLE} users_out socket cgroupv2 level 2 @covered_slices goto members_out`,
    // The kernel finds a receiver only for TCP and unicast UDP; for multicast it names whoever bound the port last,
    // and dropping then would take packets away from others.
    `add rule ${TABLE} members_in meta l4proto != { tcp, udp } accept`,
    `add rule ${TABLE} members_in fib daddr type { broadcast, multicast } accept`,
    // The answer of a reject below comes back in over the loopback; without it a refused connect would hang.
    `add rule ${TABLE} members_in iif lo tcp flags & rst == rst accept`,
    // The deeper cgroup first: a login session's scope lies in its user's slice.
    `add rule ${TABLE} members_in socket cgroupv2 level 3 vmap @session_in`,
    `add rule ${TABLE} members_in socket cgroupv2 level 2 vmap @session_in`,
    `add rule ${TABLE} members_in drop`,
    `add rule ${TABLE} members_out socket cgroupv2 level 3 vmap @session_out`,
    `add rule ${TABLE} members_out socket cgroupv2 level 2 vmap @session_out`,
    `add rule ${TABLE} members_out socket cgroupv2 level 2 @refused goto ${CLOSED.out}`,
    `add rule ${TABLE} members_out meta l4proto tcp reject with tcp reset`,
    `add rule ${TABLE} members_out reject with icmpx admin-prohibited`,
    `add rule ${TABLE} ${CLOSED.in} drop`,
    `add rule ${TABLE} ${CLOSED.out} reject with icmpx admin-prohibited`,
  ];
}

/** The chains of the base table that are no base chains, in nft's sense of the word. */
const chains = Object.keys(BASE_CHAINS).filter((chain) => chain !== "filter" && chain !== "egress");

/**
 * The commands that make the table look into the slices. Where the table is whole they are all that is needed before a
 * session's own commands: a slice may have been stopped and started, and then has a new id. The old one stays, for
 * sockets outlive slices.
 */
export function closeSlices({ closed, users }: Slices): string[] {
  return [
    `add element ${TABLE} slices_in { "${closed}" : jump members_in }`,
    `add element ${TABLE} slices_out { "${closed}" : jump members_out }`,
    ...(users === undefined
      ? []
      : [
          `add element ${TABLE} slices_in { "${users}" : jump users_in }`,
          `add element ${TABLE} slices_out { "${users}" : jump users_out }`,
        ]),
  ];
}

/**
 * The command that has whoever was moved to a cgroup be told at once that nothing leaves it: it is closed already, and locked
 * to no address besides. No part of the base, which must load even where there is no such cgroup.
 */
export function tellRefused(cgroup: string): string {
  return `add element ${TABLE} refused { "${cgroup}" }`;
}

/** The command that closes a user's slice by default. Elements of slices that are gone stay: sockets outlive slices. */
export function coverSlice(slice: string): string {
  return `add element ${TABLE} covered_slices { "${slice}" }`;
}
