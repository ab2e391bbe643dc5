// SPDX-License-Identifier: GPL-2.0-or-later

/** The table that holds everything of ours. */
export const TABLE_NAME = "authnft";
export const TABLE = `inet ${TABLE_NAME}`;

/** Sets and maps whose elements are keyed by a cgroup's id, alone or followed by an address. */
export const KEYED_SETS = [
  "session_in",
  "session_out",
  "session_map_cg",
  "session_map_ipv4",
  "session_map_ipv6",
] as const;

/** The chains whose rules do not depend on sessions, and how many rules each has. */
export const BASE_CHAINS = { filter: 1, egress: 1, members_in: 5, members_out: 3 } as const;

/**
 * The part of the table that does not depend on sessions, as nftables commands.
 *
 * Loading it again changes nothing, and mends what somebody else changed: the rules of the four chains are written anew in
 * one transaction. That costs some 14 ms, for the kernel waits for readers of the old rules; see `closeSlice` for less.
 *
 * A packet of a process outside the slices meets one look-up. One from inside goes to its session's chain by verdict map;
 * where the map has no element for its cgroup, the last rule of `members_in` or `members_out` holds.
 *
 * @param slice the slice whose cgroups are closed by default. Its cgroup must exist, libnftables resolves the path.
 */
export function baseTable(slice: string): string[] {
  return [
    `add table ${TABLE}`,
    // typeof instead of a type: nftables has no type name for a cgroup.
    `add set ${TABLE} member_slices { typeof socket cgroupv2 level 1; }`,
    `add set ${TABLE} session_map_cg { typeof socket cgroupv2 level 2; }`,
    `add set ${TABLE} session_map_ipv4 { typeof socket cgroupv2 level 2 . ip saddr; }`,
    `add set ${TABLE} session_map_ipv6 { typeof socket cgroupv2 level 2 . ip6 saddr; }`,
    `add map ${TABLE} session_in { typeof socket cgroupv2 level 2 : verdict; counter; }`,
    `add map ${TABLE} session_out { typeof socket cgroupv2 level 2 : verdict; counter; }`,
    `add chain ${TABLE} filter { type filter hook input priority filter - 1; policy accept; }`,
    `add chain ${TABLE} egress { type filter hook output priority filter - 1; policy accept; }`,
    `add chain ${TABLE} members_in`,
    `add chain ${TABLE} members_out`,
    `flush chain ${TABLE} filter`,
    `flush chain ${TABLE} egress`,
    `flush chain ${TABLE} members_in`,
    `flush chain ${TABLE} members_out`,
    closeSlice(slice),
    `add rule ${TABLE} filter socket cgroupv2 level 1 @member_slices jump members_in`,
    `add rule ${TABLE} egress socket cgroupv2 level 1 @member_slices jump members_out`,
    // The kernel finds a receiver only for TCP and unicast UDP; for multicast it names whoever bound the port last,
    // and dropping then would take packets away from others.
    `add rule ${TABLE} members_in meta l4proto != { tcp, udp } accept`,
    `add rule ${TABLE} members_in fib daddr type { broadcast, multicast } accept`,
    // The answer of a reject below comes back in over the loopback; without it a refused connect would hang.
    `add rule ${TABLE} members_in iif lo tcp flags & rst == rst accept`,
    `add rule ${TABLE} members_in socket cgroupv2 level 2 vmap @session_in`,
    `add rule ${TABLE} members_in drop`,
    `add rule ${TABLE} members_out socket cgroupv2 level 2 vmap @session_out`,
    `add rule ${TABLE} members_out meta l4proto tcp reject with tcp reset`,
    `add rule ${TABLE} members_out reject with icmpx admin-prohibited`,
  ];
}

/**
 * The command that closes a slice. Where the table is whole it is all that is needed before a session's own commands:
 * the slice may have been stopped and started, and then has a new id. The old one stays in the set, for sockets outlive slices.
 */
export function closeSlice(slice: string): string {
  return `add element ${TABLE} member_slices { "${slice}" }`;
}
