// SPDX-License-Identifier: GPL-2.0-or-later
import { addressElement, type Family } from "../address.ts";
import type { Cgroup, Subject } from "../subjects/subject.ts";
import { flowLabel, OPENED, type Opening } from "./flow_label.ts";
import { CLOSED, STAMP, TABLE } from "./table.ts";

/** The direction that a chain judges: `in` is what arrives, `out` what is sent. */
export type Direction = "in" | "out";

/** A part of a subject's policy: a rule, an object, or elements of one. */
export type Part =
  | {
      readonly kind: "rule";
      /** `in`, `out`, or a chain of the subject's own. */
      readonly chain: string;
      /** What follows the chain's name in an `add rule` command. */
      readonly body: string;
    }
  | {
      readonly kind: OwnKind | "element";
      readonly name: string;
      /** What follows the name; empty for nothing. */
      readonly definition: string;
    };

/** The kinds of object that a subject may have of its own, by nft's names. */
export type OwnKind = "chain" | "counter" | "quota" | "limit" | "set" | "map";

/** An object of a subject's own, by its name in the table. */
export type OwnObject = { readonly kind: OwnKind; readonly name: string };

/** The facts about a subject that its part of the ruleset is made from. */
export type Ruled = Pick<Subject, "id" | "addresses" | "comment"> & {
  readonly cgroup: Pick<Cgroup, "path" | "id">;
  readonly policy: Pick<Subject["policy"], "generation"> & {
    /** Whether rules that it shares with others accept by its cgroup. */
    readonly isListed?: boolean;
  };
};

/** Lists the chains that every subject has, in an order in which they can be deleted: no later one names an earlier one. */
export function subjectChains(name: string): string[] {
  return [subjectChain(name, "in"), subjectChain(name, "out"), judgedChain(name)];
}

/** Names a chain of a subject: one that judges a direction, or one of its own. */
export function subjectChain(name: string, chain: string): string {
  return `${name}_${chain}`;
}

/**
 * Names the chain that a packet ends in when the rules accept it: it makes the flow known. A rule's `accept` is written as a `goto`
 * to it.
 */
export function judgedChain(name: string): string {
  return `${name}_judged`;
}

/** Commands for one transaction after the base table, each on one line. */
export type Commands = {
  readonly lines: readonly string[];
  /** For each line the index of the part that it comes from; `undefined` for a line of ours. */
  readonly sources: readonly (number | undefined)[];
};

type Line = readonly [text: string, source?: number];

/**
 * Makes the commands that put a subject's cgroup under its rules.
 *
 * @param parts in the order of the fragment; a part may name earlier parts, and later ones that are objects
 * @example
 * const { lines } = addSubject(subject, [{ kind: "rule", chain: "out", body: "tcp dport 443 accept" }]);
 * runTransaction(lines);
 */
export function addSubject(subject: Ruled, parts: readonly Part[]): Commands {
  return commands([
    // "create" fails where "add" would lay our rules behind the leftovers of another.
    ...subjectChains(subject.id).map((chain): Line => [`create chain ${TABLE} ${chain}`]),
    ...contents(subject, parts),
  ]);
}

/**
 * Makes the commands for a subject that may exist already: they replace its rules and its own objects, and add to its elements. No
 * packet sees a state in between.
 *
 * @param previous the objects of its own that it has now
 */
export function replaceSubject(
  subject: Ruled,
  parts: readonly Part[],
  previous: readonly OwnObject[],
): Commands {
  const chains = subjectChains(subject.id);
  const ownChains = previous.filter(({ kind }) => kind === "chain");
  // Rules go before what they name: sets, which may lead to chains, then those, then counters and the like.
  const leaving = [
    ...previous.filter(({ kind }) => kind === "set" || kind === "map"),
    ...ownChains,
    ...previous.filter(({ kind }) => !["chain", "set", "map"].includes(kind)),
  ];
  return commands([
    ...chains.map((chain): Line => [`add chain ${TABLE} ${chain}`]),
    ...[...chains, ...ownChains.map(({ name }) => name)].map(
      (chain): Line => [`flush chain ${TABLE} ${chain}`],
    ),
    ...leaving.map(({ kind, name }): Line => [`delete ${kind} ${TABLE} ${name}`]),
    ...contents(subject, parts),
  ]);
}

/** Lists the objects that commands create, chains included. */
export function sharedObjectsIn(lines: readonly string[]): OwnObject[] {
  return lines.flatMap((line) => {
    const [, kind, name] = /^create (chain|set|map|counter|quota|limit) inet \S+ (\S+)/.exec(line) ?? [];
    return kind === undefined || name === undefined ? [] : [{ kind: kind as OwnKind, name }];
  });
}

/** Lists the objects of a subject's own that commands create, by their names in the table. */
export function ownObjectsIn(lines: readonly string[], id: string): OwnObject[] {
  return sharedObjectsIn(lines).filter(({ name }) => !subjectChains(id).includes(name));
}

/** Replaces the table's names of subjects' own objects by those in their fragments. @param lines the commands of the subjects */
export function withOwnNames(text: string, lines: readonly string[]): string {
  const ids = lines.flatMap((line) => /^(?:add|create) chain \S+ \S+ (\S+_)judged$/.exec(line)?.[1] ?? []);
  // An own chain may be called "x_judged"; the subject's id is the shorter one.
  return ids
    .sort((one, other) => one.length - other.length)
    .reduce((said, name) => said.replaceAll(name, ""), text);
}

function commands(all: readonly Line[]): Commands {
  return { lines: all.map(([text]) => text), sources: all.map(([, source]) => source) };
}

/** The order in which objects can be made: maps name chains, rules name everything. */
const MAKING: readonly OwnKind[] = ["chain", "counter", "quota", "limit", "set", "map"];

/** Makes the commands that add objects and their elements, each with the number of its part. @param id what their names begin with */
export function objectCommands(
  id: string,
  parts: readonly Part[],
): { readonly text: string; readonly source: number }[] {
  const own = (kind: OwnKind | "element", verb: string): { text: string; source: number }[] =>
    parts.flatMap((part, source) =>
      part.kind === "rule" || part.kind !== kind
        ? []
        : [{ text: `${verb} ${kind} ${TABLE} ${id}_${part.name} ${part.definition}`.trimEnd(), source }],
    );
  return [...MAKING.flatMap((kind) => own(kind, "create")), ...own("element", "add")];
}

function contents(subject: Ruled, parts: readonly Part[]): Line[] {
  const { id: name, cgroup, policy } = subject;
  const labelOf = (opening: Opening): string => flowLabel(cgroup.id, opening, policy.generation).join("|");
  const has = (opening: Opening, is = "=="): string =>
    `ct label & (${labelOf(opening)}) ${is} ${labelOf(opening)}`;
  const known = (opening: Opening): string =>
    `ct direction original ct label set ${labelOf(opening)}|${OPENED[opening]}`;
  const judged = judgedChain(name);
  const directions = ["in", "out"] as const;
  const chain = (direction: Direction): string => subjectChain(name, direction);
  return [
    ...objectCommands(name, parts).map(({ text, source }): Line => [text, source]),
    // The elements first: then the kernel blames the rule that it cannot have in such a chain, and not the element.
    ...subjectElements(subject).map((line): Line => [line]),
    // The opener's direction only: who joins a flow that a peer opened is judged packet by packet. What arrives has no
    // device that it leaves by.
    [`add rule ${TABLE} ${judged} oif != 0 ${known("sent")}`],
    [`add rule ${TABLE} ${judged} oif != 0 goto ${STAMP.out}`],
    [`add rule ${TABLE} ${judged} ${known("arrived")}`],
    [`add rule ${TABLE} ${judged} goto ${STAMP.in}`],
    // What answers a flow of this generation. Of a flow within the session, which it sent and which arrived, either end could
    // pass for the other: only TCP tells who began, by a SYN, which is never an answer.
    [`add rule ${TABLE} ${chain("in")} ct direction reply ${has("sent")} goto ${STAMP.in}`],
    [
      `add rule ${TABLE} ${chain("out")} meta l4proto tcp ct direction reply ${has("arrived")} goto ${STAMP.out}`,
    ],
    [
      `add rule ${TABLE} ${chain("out")} ct direction reply ${has("arrived")} ${has("sent", "!=")} goto ${STAMP.out}`,
    ],
    ...parts.flatMap((part, index): Line[] =>
      part.kind === "rule"
        ? [[`add rule ${TABLE} ${subjectChain(name, part.chain)} ${part.body}`, index]]
        : [],
    ),
    ...directions.map((direction): Line => [`add rule ${TABLE} ${chain(direction)} goto ${judged}`]),
  ];
}

/** Makes the commands that lead a cgroup's packets to a subject's chains, which must exist, and put it into the sets. */
export function subjectElements({ id, cgroup: { path }, comment, addresses, policy }: Ruled): string[] {
  const said = `comment "${clipComment(comment)}"`;
  return [
    `add element ${TABLE} session_map_cg { "${path}" ${said} }`,
    ...addresses
      .map(addressElement)
      .map(
        ({ family, text }) => `add element ${TABLE} ${addressSet(family)} { "${path}" . ${text} ${said} }`,
      ),
    ...(["in", "out"] as const).map(
      (direction) =>
        `add element ${TABLE} session_${direction} { "${path}" ${said} : jump ${subjectChain(id, direction)} }`,
    ),
    ...(policy.isListed
      ? [`add element ${TABLE} session_judged { "${path}" ${said} : goto ${judgedChain(id)} }`]
      : []),
  ];
}

/** Names the set that holds addresses of a family. */
export function addressSet(family: Family): "session_map_ipv4" | "session_map_ipv6" {
  return family === "ip6" ? "session_map_ipv6" : "session_map_ipv4";
}

/** Makes the commands that close a cgroup by elements of its own, though the cgroup around it is open. */
export function closeCgroup(path: string): string[] {
  return (["in", "out"] as const).map(
    (direction) => `add element ${TABLE} session_${direction} { "${path}" : goto ${CLOSED[direction]} }`,
  );
}

/** Bytes of a comment: nftables keeps 128, the terminating NUL included (NFTNL_UDATA_COMMENT_MAXLEN). */
const COMMENT_LIMIT = 127;

/** Cuts a comment to the length that nftables keeps; a tag in brackets keeps its closing bracket. */
export function clipComment(comment: string): string {
  if (comment.length <= COMMENT_LIMIT) return comment;
  return comment.endsWith("]") ? `${comment.slice(0, COMMENT_LIMIT - 1)}]` : comment.slice(0, COMMENT_LIMIT);
}
