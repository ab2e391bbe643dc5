// SPDX-License-Identifier: GPL-2.0-or-later
import { OPENED } from "./flow_label.ts";
import { hexMark, STAMP_BITS, type StampBits } from "./seal.ts";

/** The table that holds everything of ours. */
export const TABLE_NAME = "authnft";
export const TABLE = `inet ${TABLE_NAME}`;

/** Sets and maps whose elements are keyed by a member cgroup's id, alone or followed by an address. */
export const KEYED_SETS = [
  "session_in",
  "session_out",
  "session_judged",
  "session_map_cg",
  "session_map_ipv4",
  "session_map_ipv6",
] as const;

/**
 * The chains that a cgroup's element leads to when it has no network whatever stands above it, and is locked to no address
 * besides. Such a lock would keep a reset from the socket, and leave it waiting; an ICMP error arrives.
 */
export const CLOSED = { in: "closed_in", out: "closed_out" } as const;

/**
 * The chains that a packet ends in when it may pass: they set the bit of its mark that the seal looks for. No rule of a
 * member's comes behind that could undo it.
 */
export const STAMP = { in: "stamp_in", out: "stamp_out" } as const;

/**
 * Names the chain by which a rule of a policy that many share accepts, from wherever it stands: it leads a packet to the chain
 * of its own subject that makes the flow known.
 *
 * @param level how deep the cgroups of the subjects lie, one of {@link LEVELS}
 */
export function acceptedChain(level: number): string {
  return `accepted_${level}`;
}

/** The chains whose rules do not depend on sessions, and how many rules each has. */
export const BASE_CHAINS = {
  sources: 1,
  users_sources: 1,
  members_sources: 2,
  filter: 2,
  translated: 1,
  egress: 2,
  users_in: 2,
  users_out: 2,
  members_in: 8,
  errors_in: 4,
  members_out: 9,
  unowned_in: 2,
  closed_in: 1,
  closed_out: 1,
  stamp_in: 1,
  stamp_out: 1,
  accepted_3: 2,
  accepted_2: 2,
} as const;

/** The maps that lead what belongs to a slice to chains, and what the names of those chains end in. */
export const SLICE_MAPS = { slices_sources: "sources", slices_in: "in", slices_out: "out" } as const;

/**
 * The sets and maps of the base. typeof instead of a type: nftables has no type name for a cgroup. It does not hold the
 * level: ids of one level and of another are never the same.
 */
export const BASE_SETS = [
  ...Object.keys(SLICE_MAPS).map((name) => ({
    kind: "map",
    name,
    definition: "typeof socket cgroupv2 level 1 : verdict",
  })),
  { kind: "set", name: "covered_slices", definition: "typeof socket cgroupv2 level 2" },
  { kind: "set", name: "refused", definition: "typeof socket cgroupv2 level 2" },
  { kind: "set", name: "session_map_cg", definition: "typeof socket cgroupv2 level 2" },
  { kind: "set", name: "session_map_ipv4", definition: "typeof socket cgroupv2 level 2 . ip saddr" },
  { kind: "set", name: "session_map_ipv6", definition: "typeof socket cgroupv2 level 2 . ip6 saddr" },
  { kind: "map", name: "session_in", definition: "typeof socket cgroupv2 level 2 : verdict; counter" },
  { kind: "map", name: "session_out", definition: "typeof socket cgroupv2 level 2 : verdict; counter" },
  { kind: "map", name: "session_judged", definition: "typeof socket cgroupv2 level 2 : verdict" },
] as const;

/** A cgroup whose subjects the table knows: it leads what is below it to `<chains>_sources`, `<chains>_in` and `<chains>_out`. */
export type Root = {
  /** The path of its cgroup, which must exist: libnftables resolves it. */
  readonly cgroup: string;
  /** `members` closes all that is below it, `users` only the slices that are in `covered_slices`. */
  readonly chains: "members" | "users";
};

/**
 * How deep subjects may lie, from 1, in the order in which they are looked for: the deeper first, for a login session's scope lies
 * in its user's slice.
 */
export const LEVELS: readonly number[] = [3, 2];

/** What the table looks into. */
export type Base = {
  readonly roots: readonly Root[];
  /** Cgroups beside them that are always there and hold no subject: what is in them need not be looked at any further. */
  readonly others?: readonly string[];
  /** The bits of marks that stand for a packet that may pass; those of {@link STAMP_BITS} when left out. */
  readonly stamps?: StampBits;
};

/** From an address that this host does not have. */
const NOT_OURS = "fib saddr type != local fib saddr . oif type != local";

/** A segment that begins a connection and answers nothing. */
const SYN_ALONE = "tcp flags & (fin | syn | rst | ack) == syn";

/**
 * The part of the table that does not depend on sessions, as nftables commands.
 *
 * Loading it again changes nothing, and mends what somebody else changed: the rules of its chains are written anew in
 * one transaction. That costs some 14 ms, for the kernel waits for readers of the old rules; see `leadRoots` for less.
 *
 * A packet of a process outside the roots meets two look-ups on its way out and one on its way in, and the rules for
 * packets of which the kernel does not say whose they are. One from inside goes to the chain of its cgroup by verdict map;
 * where the map has no element for it, the last rules of `members_in` and `members_out` hold.
 */
export function baseTable(base: Base): string[] {
  const stamps = base.stamps ?? STAMP_BITS;
  const dispatch = (direction: "in" | "out"): string[] =>
    LEVELS.map(
      (level) =>
        `add rule ${TABLE} members_${direction} socket cgroupv2 level ${level} vmap @session_${direction}`,
    );
  return [
    `add table ${TABLE}`,
    ...BASE_SETS.map(({ kind, name, definition }) => `add ${kind} ${TABLE} ${name} { ${definition}; }`),
    // Before whoever might answer, or translate, or remember what has to be dropped: connection tracking takes fragments
    // together at -400, and the first tables of others are at -300.
    `add chain ${TABLE} sources { type filter hook output priority -450; policy accept; }`,
    `add chain ${TABLE} filter { type filter hook input priority filter - 1; policy accept; }`,
    // After the address of whom a member called has been put back (priority 100), if the host's nat on output has changed it:
    // before, the kernel finds no socket for the answer.
    `add chain ${TABLE} translated { type filter hook input priority 101; policy accept; }`,
    `add chain ${TABLE} egress { type filter hook output priority filter - 1; policy accept; }`,
    ...chains.map((chain) => `add chain ${TABLE} ${chain}`),
    ...Object.keys(BASE_CHAINS).map((chain) => `flush chain ${TABLE} ${chain}`),
    ...leadRoots(base),
    ...(base.others ?? []).flatMap((cgroup) =>
      ["in", "out"].map((direction) => `add element ${TABLE} slices_${direction} { "${cgroup}" : accept }`),
    ),
    // Over IPv4 the kernel lets nobody but root do this.
    `add rule ${TABLE} sources meta nfproto ipv6 socket cgroupv2 level 1 vmap @slices_sources`,
    `add rule ${TABLE} filter socket cgroupv2 level 1 vmap @slices_in`,
    `add rule ${TABLE} filter goto unowned_in`,
    `add rule ${TABLE} translated ct status dnat ct direction reply socket cgroupv2 level 1 vmap @slices_in`,
    `add rule ${TABLE} egress socket cgroupv2 level 1 vmap @slices_out`,
    // A half-open connection has no cgroup, and its answer is of it. That it may be opened was judged when the SYN arrived.
    `add rule ${TABLE} egress tcp flags & (syn | ack) == syn | ack ct direction reply ${opened("arrived")} goto ${STAMP.out}`,
    `add rule ${TABLE} users_sources socket cgroupv2 level 2 @covered_slices goto members_sources`,
    ...(["in", "out"] as const).flatMap((direction) => [
      `add rule ${TABLE} users_${direction} socket cgroupv2 level 2 @covered_slices goto members_${direction}`,
      `add rule ${TABLE} users_${direction} accept`,
    ]),
    // Of a source-routed packet the rules see the first hop, not the destination.
    `add rule ${TABLE} members_sources exthdr rt exists drop`,
    ...["lsrr", "ssrr"].map((option) => `add rule ${TABLE} members_out ip option ${option} exists drop`),
    // Anybody may send from any IPv6 address. Whatever answers such a packet, a reject of anybody's or the kernel, sends the
    // answer there, with what the sender wrote. The second question is for addresses that a VRF has for itself.
    `add rule ${TABLE} members_sources ${NOT_OURS} drop`,
    `add rule ${TABLE} members_out meta nfproto ipv4 ${NOT_OURS} drop`,
    // The answer of a reject comes back in over the loopback, from whom it speaks for; without it a refused connect would hang.
    `add rule ${TABLE} members_in iif lo tcp flags & rst == rst goto ${STAMP.in}`,
    // An address that is not the sender's again: others of this host's, to a member who lets that address in.
    `add rule ${TABLE} members_in iif lo fib saddr type != local drop`,
    // Of other protocols the kernel finds a receiver for errors alone: the socket whose packet they quote.
    `add rule ${TABLE} members_in meta l4proto != { tcp, udp } jump errors_in`,
    // For multicast it names whoever bound the port last, and dropping then would take packets away from others. The seal is
    // asked for each receiver.
    `add rule ${TABLE} members_in fib daddr type { broadcast, multicast } accept`,
    // The opener of a connection is judged, whatever went the other way between the two ports before.
    `add rule ${TABLE} members_in ct direction reply ${SYN_ALONE} drop`,
    ...dispatch("in"),
    `add rule ${TABLE} members_in drop`,
    // An error of this host's is about a packet sent here; a reject is about one without a flow yet.
    `add rule ${TABLE} errors_in iif lo ct state related,untracked goto ${STAMP.in}`,
    // One about a packet that nobody was let send is somebody's message, with what they like in it. That its flow is known
    // says little: a peer makes one by sending to a port on which nobody listens yet.
    `add rule ${TABLE} errors_in ct state related ${opened("sent")} goto ${STAMP.in}`,
    `add rule ${TABLE} errors_in ct state related ${opened("arrived")} goto ${STAMP.in}`,
    // Where the host tracks no connections, the rules judge everything.
    `add rule ${TABLE} errors_in ct state != untracked drop`,
    `add rule ${TABLE} members_out ct direction reply ${SYN_ALONE} drop`,
    ...dispatch("out"),
    `add rule ${TABLE} members_out socket cgroupv2 level 2 @refused goto ${CLOSED.out}`,
    `add rule ${TABLE} members_out meta l4proto tcp reject with tcp reset`,
    `add rule ${TABLE} members_out reject with icmpx admin-prohibited`,
    // Of these the kernel does not say whose they are: answers to what a member was let send, of protocols whose ports it
    // does not know, and what follows a SYN that a member was let receive, until the connection has a socket of its own.
    `add rule ${TABLE} unowned_in meta l4proto != { tcp, udp } ct direction reply ${opened("sent")} goto ${STAMP.in}`,
    `add rule ${TABLE} unowned_in tcp flags & (syn | ack) != syn ct direction original ${opened("arrived")} goto ${STAMP.in}`,
    `add rule ${TABLE} ${CLOSED.in} drop`,
    `add rule ${TABLE} ${CLOSED.out} reject with icmpx admin-prohibited`,
    `add rule ${TABLE} ${STAMP.in} meta mark set meta mark or ${hexMark(stamps.in)} accept`,
    `add rule ${TABLE} ${STAMP.out} meta mark set meta mark or ${hexMark(stamps.out)} accept`,
    ...LEVELS.flatMap((level) => [
      `add rule ${TABLE} ${acceptedChain(level)} socket cgroupv2 level ${level} vmap @session_judged`,
      `add rule ${TABLE} ${acceptedChain(level)} drop`,
    ]),
  ];
}

/** A flow that some member's rules have let begin, opened so. */
function opened(opening: keyof typeof OPENED): string {
  return `ct label ${OPENED[opening]}`;
}

/** The base chains, in nft's sense of the word. */
const HOOKED: readonly string[] = ["sources", "filter", "translated", "egress"];

/** The chains of the base table that are no base chains. */
const chains = Object.keys(BASE_CHAINS).filter((chain) => !HOOKED.includes(chain));

/**
 * Makes the commands by which the table looks into the roots. Where the table is whole they are all that is needed before a
 * session's own commands: a slice may have been stopped and started, and then has a new id. The old one stays, for
 * sockets outlive slices.
 */
export function leadRoots({ roots }: Pick<Base, "roots">): string[] {
  return roots.flatMap(({ cgroup, chains }) =>
    Object.entries(SLICE_MAPS).map(
      ([map, end]) => `add element ${TABLE} ${map} { "${cgroup}" : jump ${chains}_${end} }`,
    ),
  );
}

/**
 * The command that has whoever was moved to a cgroup be told at once that nothing leaves it: it is closed already, and locked
 * to no address besides. No part of the base, which must load even where there is no such cgroup.
 */
export function tellRefused(cgroup: string): string {
  return `add element ${TABLE} refused { "${cgroup}" }`;
}

/** Returns the command that closes a user's slice by default. Elements of slices that are gone stay: sockets outlive slices. */
export function closeUserSlice(slice: string): string {
  return `add element ${TABLE} covered_slices { "${slice}" }`;
}
