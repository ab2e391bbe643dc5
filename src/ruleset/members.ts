// SPDX-License-Identifier: GPL-2.0-or-later
import { flowLabel } from "./flow_label.ts";
import { CLOSED, TABLE } from "./table.ts";

/** The direction that a chain judges: `in` is what arrives, `out` what is sent. */
export type Direction = "in" | "out";

/** A rule of a cgroup's own: what follows the chain's name in an `add rule` command. */
export type Rule = { readonly direction: Direction; readonly body: string };

/** An address for the address sets. */
export type Address = { readonly family: "ip" | "ip6"; readonly text: string };

/** What a cgroup's part of the ruleset is made from. */
export type Member = {
  /** What the names of its chains begin with. */
  readonly name: string;
  /** The cgroup's path without a leading slash. */
  readonly cgroupPath: string;
  /** The inode of the cgroup's directory. */
  readonly cgroupId: bigint;
  readonly addresses: readonly Address[];
  /** What the elements' comment says; without double quotes. */
  readonly comment: string;
  readonly rules: readonly Rule[];
};

/** The chains of a member, in an order in which they can be deleted: none is named by a later one. */
export function memberChains(name: string): string[] {
  return [memberChain(name, "in"), memberChain(name, "out"), judgedChain(name)];
}

/** The chain that judges one direction. */
export function memberChain(name: string, direction: Direction): string {
  return `${name}_${direction}`;
}

/**
 * The chain that a packet ends in when the rules accept it: it makes the flow known. A rule's `accept` is written
 * as a `goto` to it.
 */
export function judgedChain(name: string): string {
  return `${name}_judged`;
}

/**
 * The commands that put a cgroup under rules of its own; to be run in one transaction after the base table.
 *
 * The first lines and the elements are ours; each rule takes exactly one line, in the order given.
 *
 * @returns the commands, and the index of the line that the first rule is on
 */
export function addMember(member: Member): { readonly lines: string[]; readonly firstRule: number } {
  const head = [
    // "create" fails where "add" would lay our rules behind the leftovers of another.
    ...memberChains(member.name).map((chain) => `create chain ${TABLE} ${chain}`),
    // The elements first: then the kernel blames the rule that it cannot have in such a chain, and not the element.
    ...memberElements(member),
  ];
  const { lines, firstRule } = memberRules(member);
  return { lines: [...head, ...lines], firstRule: head.length + firstRule };
}

/** Like `addMember`, for a member that may be there already: its rules are replaced, and it gets elements besides those that it has. */
export function replaceMember(member: Member): string[] {
  return [
    ...memberChains(member.name).flatMap((chain) => [
      `add chain ${TABLE} ${chain}`,
      `flush chain ${TABLE} ${chain}`,
    ]),
    ...memberElements(member),
    ...memberRules(member).lines,
  ];
}

/** The commands that lead a cgroup's packets to a member's chains, which must be there, and put it into the sets. */
export function memberElements({ name, cgroupPath: path, comment, addresses }: Member): string[] {
  const said = `comment "${clipComment(comment)}"`;
  return [
    `add element ${TABLE} session_map_cg { "${path}" ${said} }`,
    ...addresses.map(
      ({ family, text }) => `add element ${TABLE} ${addressSet(family)} { "${path}" . ${text} ${said} }`,
    ),
    ...(["in", "out"] as const).map(
      (direction) =>
        `add element ${TABLE} session_${direction} { "${path}" ${said} : jump ${memberChain(name, direction)} }`,
    ),
  ];
}

/** The set that holds addresses of a family. */
export function addressSet(family: Address["family"]): "session_map_ipv4" | "session_map_ipv6" {
  return family === "ip6" ? "session_map_ipv6" : "session_map_ipv4";
}

/** The commands that close a cgroup by elements of its own, though what it lies in is open. */
export function closeMember(path: string): string[] {
  return (["in", "out"] as const).map(
    (direction) => `add element ${TABLE} session_${direction} { "${path}" : goto ${CLOSED[direction]} }`,
  );
}

function memberRules(member: Member): { readonly lines: string[]; readonly firstRule: number } {
  const { name } = member;
  const label = flowLabel(member.cgroupId).join("|");
  const judged = judgedChain(name);
  const head = [
    // The opener's direction only: who joins a flow that a peer opened is judged packet by packet.
    `add rule ${TABLE} ${judged} ct direction original ct label set ${label}`,
    `add rule ${TABLE} ${judged} accept`,
    ...(["in", "out"] as const).map(
      (direction) =>
        `add rule ${TABLE} ${memberChain(name, direction)} ct direction reply ct label & (${label}) == ${label} accept`,
    ),
  ];
  const rules = member.rules.map(
    ({ direction, body }) => `add rule ${TABLE} ${memberChain(name, direction)} ${body}`,
  );
  const tail = (["in", "out"] as const).map(
    (direction) => `add rule ${TABLE} ${memberChain(name, direction)} goto ${judged}`,
  );
  return { lines: [...head, ...rules, ...tail], firstRule: head.length };
}

/** nftables keeps 128 bytes for a comment, its terminating NUL included. */
const COMMENT_LIMIT = 127;

/** Cuts a comment to what nftables holds; a tag in brackets keeps its closing bracket. */
function clipComment(comment: string): string {
  if (comment.length <= COMMENT_LIMIT) return comment;
  return comment.endsWith("]") ? `${comment.slice(0, COMMENT_LIMIT - 1)}]` : comment.slice(0, COMMENT_LIMIT);
}
