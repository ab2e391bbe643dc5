// SPDX-License-Identifier: GPL-2.0-or-later
import { isIPv4, isIPv6 } from "node:net";
import { bytesOfAddress } from "../address_bytes.ts";
import { type CompiledRule, type Policy, rulesOf } from "./compile.ts";
import type { Address, Direction, Family } from "./dialect.ts";
import {
  type Expression,
  endingOf,
  goesOn,
  type Statement,
  type Term,
  unconditional,
  wordsOf,
} from "./statement.ts";

/** Addresses that begin with the same bits. */
export type Prefix = {
  readonly family: "ip" | "ip6";
  /** In network order, 4 or 16 bytes; the bits that do not count are 0. */
  readonly address: Uint8Array;
  /** How many bits count. */
  readonly length: number;
};

/** The only addresses that packets may go to or come from. */
export type AddressList = { readonly allow: readonly Prefix[] };

/**
 * How many prefixes a list may have. Each is written to a unit's file and into a table of the kernel's while a login
 * waits: 1,000 take some 10 ms.
 */
const LIST_LIMIT = 1000;

/**
 * Lists the addresses of all peers that a policy can ever accept packets to or from, for an address filter that knows of
 * nothing else and holds for protocols, too, that the rules do not judge.
 *
 * A list that is too short would break the policy; so there is none unless each rule that accepts says outright which
 * peers it is for, every direction ends with a drop for all others, and nothing is in the way that is not understood here.
 *
 * @param address The subject's own peer, which the variables and sets of addresses stand for.
 * @returns The list, in order and each address once; `undefined` where there can be none.
 */
export function addressList(
  policy: Pick<Policy, "parts">,
  address: Address | undefined,
): AddressList | undefined {
  const found: Prefix[] = [];
  for (const direction of ["in", "out"] as const) {
    const rules = rulesOf(policy).filter(({ chain }) => chain === direction);
    const peers = acceptedPeers(rules, direction, address);
    if (peers === undefined) return undefined;
    for (const peer of peers) found.push(peer);
  }
  const allow = sorted(found);
  return allow.length > LIST_LIMIT || allow.some(isForMany) ? undefined : { allow };
}

/** The peers that the rules of one direction accept; `undefined` when they cannot be listed. */
function acceptedPeers(
  rules: readonly CompiledRule[],
  direction: Direction,
  address: Address | undefined,
): Prefix[] | undefined {
  const found: Prefix[] = [];
  for (const rule of rules) {
    const verdict = unconditional(rule.statements)?.kind;
    if (verdict === "drop" || verdict === "reject") return found;
    if (isHarmless(rule, direction)) continue;
    const peers = peersOfRule(rule.statements, direction, address);
    if (peers === undefined) return undefined;
    for (const peer of peers) found.push(peer);
  }
  // A packet without a verdict is accepted.
  return undefined;
}

/**
 * Whether a rule can neither let a packet pass nor send it elsewhere, nor answer what is sent with a reset: that arrives in the
 * peer's name, and a filter without the peer would swallow it. An ICMP error is not delivered as a packet, and passes.
 */
function isHarmless({ statements, terms }: CompiledRule, direction: Direction): boolean {
  if (terms.some(({ refers }) => refers?.kind === "accept" || refers?.kind === "chain")) return false;
  return statements.every((statement) => {
    if (statement.kind === "vmap") return false;
    if (statement.kind === "reject") return direction === "in" || statement.answer !== "tcp";
    return statement.kind !== "assignment" || /(mark|dscp|size)$/.test(statement.to);
  });
}

/** The peers that a rule is for which accepts or resets; `undefined` when it does not say, or not in a way that is understood. */
function peersOfRule(
  statements: readonly Statement[],
  direction: Direction,
  address: Address | undefined,
): Prefix[] | undefined {
  const { before, verdict } = endingOf(statements);
  const resets = verdict?.kind === "reject" && verdict.answer === "tcp";
  if (!resets && !["accept", "return", "goto"].includes(verdict?.kind ?? "")) return undefined;
  let peers: Prefix[] | undefined;
  for (const statement of before) {
    if (goesOn(statement) || statement.kind === "limit") continue;
    if (statement.kind !== "match") return undefined;
    // Of two conditions on the peer one is enough: both have to be met.
    const found = listedPeers(statement, direction, address) ?? ownPeer(statement, direction, address);
    if (found !== undefined) peers ??= found;
    else if (!isUnderstood(statement)) return undefined;
  }
  return peers;
}

type Match = Extract<Statement, { kind: "match" }>;

/** The addresses that `ip daddr …` of what is sent, or `ip saddr …` of what arrives, is compared to. */
function listedPeers(
  { key, operator, values }: Match,
  direction: Direction,
  address: Address | undefined,
): Prefix[] | undefined {
  const [, family] = /^(ip6?) ([sd]addr)$/.exec(wordsOf(key.terms)) ?? [];
  const peer = direction === "in" ? "saddr" : "daddr";
  if (family === undefined || wordsOf(key.terms) !== `${family} ${peer}`) return undefined;
  if (!["", "==", "eq"].includes(operator) || values === undefined || values.kind === "named")
    return undefined;
  const listed = values.kind === "plain" ? [[values.expression.terms]] : [...values.elements];
  // A comma may stand before the end.
  if (listed.length > 1 && listed.at(-1)?.flat().length === 0) listed.pop();
  const prefixes = listed.flatMap(([value = [], ...more]): Prefix[] => {
    const prefix = more.length > 0 ? undefined : prefixOf(value, family as Family, address);
    return prefix === undefined ? [] : [prefix];
  });
  return prefixes.length === listed.length ? prefixes : undefined;
}

function prefixOf(
  [first, slash, bits, ...more]: readonly Term[],
  family: Family,
  own: Address | undefined,
): Prefix | undefined {
  const isOwn = first?.refers?.kind === "variable" && first.refers.isAddress;
  const text = (isOwn ? own?.text : first?.text) ?? "";
  if (!(family === "ip" ? isIPv4(text) : isIPv6(text)) || more.length > 0) return undefined;
  const address = bytesOfAddress(text);
  const whole = address.length * 8;
  if (slash === undefined) return { family, address, length: whole };
  const length = Number(bits?.text);
  if (slash.text !== "/" || !/^(0|[1-9][0-9]{0,2})$/.test(bits?.text ?? "") || length > whole)
    return undefined;
  return { family, address: masked(address, length), length };
}

/** The subject's own peer, where its cgroup and the sender are looked up in a set that holds nobody else. */
function ownPeer(
  { key, operator, values }: Match,
  direction: Direction,
  address: Address | undefined,
): Prefix[] | undefined {
  if (direction === "out") return undefined; // there the sender is this host
  const [, family] =
    /^(?:meta cgroup|socket cgroupv2 level [0-9]+) \. (ip6?) saddr$/.exec(wordsOf(key.terms)) ?? [];
  if (family === undefined || operator !== "" || values?.kind !== "named") return undefined;
  if (values.refers?.kind !== "set" || values.refers.holds !== family) return undefined;
  if (address?.family !== family) return [];
  const bytes = bytesOfAddress(address.text);
  return [{ family, address: bytes, length: bytes.length * 8 }];
}

/** Further conditions that a rule may have: each makes it hold for fewer packets. */
const ASKED: ReadonlySet<string> = new Set([
  ...["iif", "iifname", "oif", "oifname", "meta cgroup", "fib saddr type", "fib daddr type"],
  ...fieldsOf("ct", "state direction mark status bytes packets"),
  ...fieldsOf("icmp", "type code"),
  ...fieldsOf("icmpv6", "type code"),
  ...fieldsOf("ip", "saddr daddr protocol dscp ttl length"),
  ...fieldsOf("ip6", "saddr daddr nexthdr dscp hoplimit length"),
  ...fieldsOf("meta", "l4proto nfproto protocol length mark skuid skgid pkttype"),
  ...fieldsOf("meta", "iif iifname oif oifname hour day time"),
  ...fieldsOf("tcp", "dport sport flags"),
  ...fieldsOf("th", "dport sport"),
  ...fieldsOf("udp", "dport sport"),
]);

function fieldsOf(header: string, fields: string): string[] {
  return fields.split(" ").map((field) => `${header} ${field}`);
}

/** Tells whether a condition is understood, with the value, values or set that it compares to. */
function isUnderstood({ key, values }: Match): boolean {
  const asked = wordsOf(key.terms);
  if (!ASKED.has(asked) && !/^socket cgroupv2 level [0-9]+$/.test(asked)) return false;
  if (values?.kind === "plain") return isPlain(values.expression);
  // In a list are values; verdicts would stand behind "vmap".
  return values?.kind === "named" || (values?.elements.every(({ length }) => length === 1) ?? false);
}

/** Tells whether values are single words, listed, or the two ends of a range. */
function isPlain({ operands, joints, isMapped }: Expression): boolean {
  return (
    !isMapped &&
    operands.every(({ length }) => length === 1) &&
    joints.every((joint) => [",", "-", "/"].includes(joint))
  );
}

/** Tells whether a prefix stands for groups of receivers, which answer from addresses of their own. */
function isForMany({ family, address, length }: Prefix): boolean {
  const first = address[0] ?? 0;
  if (family === "ip6") return first === 0xff && length >= 8;
  return (first >= 224 && first < 240 && length >= 4) || address.every((byte) => byte === 255);
}

/** In order, each once. */
function sorted(prefixes: readonly Prefix[]): Prefix[] {
  const byText = new Map(
    prefixes.map((prefix) => {
      const { family, address, length } = prefix;
      return [`${family === "ip" ? 4 : 6} ${Buffer.from(address).toString("hex")} ${length}`, prefix];
    }),
  );
  return [...byText].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, prefix]) => prefix);
}

function masked(address: Uint8Array, length: number): Uint8Array {
  return address.map((byte, index) => byte & (0xff00 >> Math.min(Math.max(length - index * 8, 0), 8)));
}
