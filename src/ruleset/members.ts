// SPDX-License-Identifier: GPL-2.0-or-later
import { flowLabel } from "./flow_label.ts";
import { TABLE } from "./table.ts";

/** The direction that a chain judges: `in` is what arrives, `out` what is sent. */
export type Direction = "in" | "out";

/** A rule of a cgroup's own: what follows the chain's name in an `add rule` command. */
export type Rule = { readonly direction: Direction; readonly body: string };

/** What a cgroup's part of the ruleset is made from. */
export type Member = {
  /** What the chains are called after. */
  readonly stem: string;
  /** The cgroup's path without a leading slash. */
  readonly cgroupPath: string;
  /** The inode of the cgroup's directory. */
  readonly cgroupId: bigint;
  /** The address for the address sets, if there is one. */
  readonly address: { readonly family: "ip" | "ip6"; readonly text: string } | undefined;
  /** What the elements' comment says; without double quotes. */
  readonly comment: string;
  readonly rules: readonly Rule[];
};

/** The chains of a member, in an order in which they can be deleted: none is named by a later one. */
export function memberChains(stem: string): string[] {
  return [memberChain(stem, "in"), memberChain(stem, "out"), judgedChain(stem)];
}

/** The chain that judges one direction. */
export function memberChain(stem: string, direction: Direction): string {
  return `session_${stem}_${direction}`;
}

/**
 * The chain that a packet ends in when the rules accept it: it makes the flow known. A rule's `accept` is written
 * as a `goto` to it.
 */
export function judgedChain(stem: string): string {
  return `session_${stem}_judged`;
}

/**
 * The commands that put a cgroup under rules of its own; to be run in one transaction after the base table.
 *
 * The first lines and the elements are ours; each rule takes exactly one line, in the order given.
 *
 * @returns the commands, and the index of the line that the first rule is on
 */
export function addMember(member: Member): { readonly lines: string[]; readonly firstRule: number } {
  const { stem, cgroupPath: path } = member;
  const label = flowLabel(member.cgroupId).join("|");
  const judged = judgedChain(stem);
  const comment = `comment "${clipComment(member.comment)}"`;
  const set = member.address?.family === "ip6" ? "session_map_ipv6" : "session_map_ipv4";
  const head = [
    // "create" fails where "add" would lay our rules behind the leftovers of another session.
    ...memberChains(stem).map((chain) => `create chain ${TABLE} ${chain}`),
    // The elements first: then the kernel blames the rule that it cannot have in such a chain, and not the element.
    `add element ${TABLE} session_map_cg { "${path}" ${comment} }`,
    ...(member.address === undefined
      ? []
      : [`add element ${TABLE} ${set} { "${path}" . ${member.address.text} ${comment} }`]),
    ...(["in", "out"] as const).map(
      (direction) =>
        `add element ${TABLE} session_${direction} { "${path}" ${comment} : jump ${memberChain(stem, direction)} }`,
    ),
    // The opener's direction only: who joins a flow that a peer opened is judged packet by packet.
    `add rule ${TABLE} ${judged} ct direction original ct label set ${label}`,
    `add rule ${TABLE} ${judged} accept`,
    ...(["in", "out"] as const).map(
      (direction) =>
        `add rule ${TABLE} ${memberChain(stem, direction)} ct direction reply ct label & (${label}) == ${label} accept`,
    ),
  ];
  const rules = member.rules.map(
    ({ direction, body }) => `add rule ${TABLE} ${memberChain(stem, direction)} ${body}`,
  );
  const tail = (["in", "out"] as const).map(
    (direction) => `add rule ${TABLE} ${memberChain(stem, direction)} goto ${judged}`,
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
