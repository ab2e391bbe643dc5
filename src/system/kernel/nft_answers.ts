// SPDX-License-Identifier: GPL-2.0-or-later

// Parsers of the kernel's answers about tables. No input or output.

import { attributes, eachAttribute, view } from "./netlink.ts";
import type { Declaration } from "./nft_commands.ts";

// linux/netfilter/nf_tables.h
export const NFTA_SET_ELEM_LIST_ELEMENTS = 3;
export const NFTA_LIST_ELEM = 1;
export const NFTA_SET_ELEM_KEY = 1;
export const NFTA_SET_ELEM_DATA = 2;
const NFTA_SET_ELEM_EXPR = 7;
export const NFTA_DATA_VALUE = 1;
export const NFTA_DATA_VERDICT = 2;
export const NFTA_VERDICT_CHAIN = 2;
const NFTA_EXPR_DATA = 2;
const NFTA_COUNTER_BYTES = 1;
const NFTA_COUNTER_PACKETS = 2;
const NFTA_CHAIN_HOOK = 4;
const NFTA_CHAIN_USE = 6;
const NFTA_CHAIN_TYPE = 7;
const NFTA_HOOK_HOOKNUM = 1;
const NF_INET_LOCAL_OUT = 3;
const NFTA_SET_FLAGS = 3;
const NFTA_SET_KEY_TYPE = 4;
const NFTA_SET_DATA_TYPE = 6;
const NFTA_SET_DESC = 9;
const NFTA_SET_DESC_SIZE = 1;
const NFTA_SET_TIMEOUT = 11;
const NFTA_SET_GC_INTERVAL = 12;
const NFTA_SET_EXPR = 17;
const NFTA_SET_EXPRESSIONS = 18;
const NFTA_EXPR_NAME = 1;
export const NFT_SET_MAP = 8;
const NFT_DATA_VERDICT = 0xffff_ff00;

/** Bytes before the attributes of each answer: struct nfgenmsg. */
const HEADER = 4;

/** An element of a set or map. */
export type Element = {
  /** The key as the kernel has it: here the cgroup's id in 8 bytes, then perhaps an address. */
  readonly key: Uint8Array;
  /** The chain that a verdict map's element leads to. */
  readonly chain: string | undefined;
  readonly counter: { readonly packets: number; readonly bytes: number } | undefined;
};

/** Reads the elements in an answer about a set or map. */
export function parseElements(payload: Uint8Array): Element[] {
  const list = attributes(payload.subarray(HEADER)).get(NFTA_SET_ELEM_LIST_ELEMENTS);
  if (list === undefined) return [];
  const found: Element[] = [];
  for (const [type, value] of eachAttribute(list))
    if (type === NFTA_LIST_ELEM) found.push(parseElement(value));
  return found;
}

/** Tells whether an answer about a chain is of a nat chain that sees what this host sends. */
export function isOutputNat(payload: Uint8Array): boolean {
  const chain = attributes(payload.subarray(HEADER));
  const hook = part(chain.get(NFTA_CHAIN_HOOK), NFTA_HOOK_HOOKNUM);
  return (
    text(chain.get(NFTA_CHAIN_TYPE)) === "nat" &&
    hook?.length === 4 &&
    view(hook).getUint32(0) === NF_INET_LOCAL_OUT
  );
}

/** Reads how often a chain is used, from an answer about it: by rules of its own, and by whatever leads to it. */
export function parseUses(payload: Uint8Array): number {
  const uses = attributes(payload.subarray(HEADER)).get(NFTA_CHAIN_USE);
  return uses?.length === 4 ? view(uses).getUint32(0) : 0;
}

/** The name of a chain, set or object and its table, from an answer; with the flags of a set, or an object's type. */
export type NamedAnswer = { readonly table: string; readonly name: string; readonly flags: number };

/** Reads whose a chain, set or object is, and what it is called. @param nameType the attribute that holds the name */
export function parseNamed(payload: Uint8Array, nameType: number): NamedAnswer {
  const found = attributes(payload.subarray(HEADER));
  // Of sets the flags, of objects the type: both are attribute 3, where a chain has its name.
  const flags = nameType === NFTA_SET_FLAGS ? undefined : found.get(NFTA_SET_FLAGS);
  return {
    table: text(found.get(1)),
    name: text(found.get(nameType)),
    flags: flags?.length === 4 ? view(flags).getUint32(0) : 0,
  };
}

/** What nft writes for the types of a key, by their numbers (enum datatypes in its datatype.h), which are for good: the kernel keeps them. */
const KEYS: Readonly<Record<number, string>> = {
  46: "socket cgroupv2 level 2", // of whatever level: no set keeps it
  7: "ip saddr",
  8: "ip6 saddr",
};
/** The parts of a concatenation have six bits each (TYPE_BITS there). */
const TYPE_BITS = 6;

/** Reads how a set or map is declared; `undefined` for one of other types, or with more to it, than the table of ours has. */
export function parseDeclaration(payload: Uint8Array): Declaration | undefined {
  const set = attributes(payload.subarray(HEADER));
  const number = (type: number): number => {
    const value = set.get(type);
    return value?.length === 4 ? view(value).getUint32(0) : 0;
  };
  const more = [NFTA_SET_TIMEOUT, NFTA_SET_GC_INTERVAL, NFTA_SET_EXPRESSIONS].some((type) => set.has(type));
  if (more || part(set.get(NFTA_SET_DESC), NFTA_SET_DESC_SIZE) !== undefined) return undefined;
  const keys: (string | undefined)[] = [];
  for (let left = number(NFTA_SET_KEY_TYPE); left > 0; left >>>= TYPE_BITS)
    keys.unshift(KEYS[left & ((1 << TYPE_BITS) - 1)]);
  if (keys.length === 0 || keys.includes(undefined)) return undefined;
  const expression = set.get(NFTA_SET_EXPR);
  if (expression !== undefined && text(part(expression, NFTA_EXPR_NAME)) !== "counter") return undefined;
  const counts = expression === undefined ? "" : "; counter";
  const key = `typeof ${keys.join(" . ")}`;
  if (number(NFTA_SET_FLAGS) === 0) return { kind: "set", body: `${key}${counts}` };
  if (number(NFTA_SET_FLAGS) !== NFT_SET_MAP || number(NFTA_SET_DATA_TYPE) !== NFT_DATA_VERDICT)
    return undefined;
  return { kind: "map", body: `${key} : verdict${counts}` };
}

function parseElement(bytes: Uint8Array): Element {
  const found = attributes(bytes);
  const key = part(found.get(NFTA_SET_ELEM_KEY), NFTA_DATA_VALUE) ?? new Uint8Array();
  const verdict = part(found.get(NFTA_SET_ELEM_DATA), NFTA_DATA_VERDICT);
  const chain = part(verdict, NFTA_VERDICT_CHAIN);
  const counter = part(found.get(NFTA_SET_ELEM_EXPR), NFTA_EXPR_DATA);
  return { key, chain: chain === undefined ? undefined : text(chain), counter: parseCounter(counter) };
}

function parseCounter(data: Uint8Array | undefined): Element["counter"] {
  const packets = part(data, NFTA_COUNTER_PACKETS);
  const bytes = part(data, NFTA_COUNTER_BYTES);
  if (packets?.length !== 8 || bytes?.length !== 8) return undefined;
  return { packets: Number(view(packets).getBigUint64(0)), bytes: Number(view(bytes).getBigUint64(0)) };
}

function part(bytes: Uint8Array | undefined, type: number): Uint8Array | undefined {
  return bytes === undefined ? undefined : attributes(bytes).get(type);
}

function text(bytes: Uint8Array | undefined): string {
  return Buffer.from(bytes ?? [])
    .toString("latin1")
    .replace(/\0.*$/s, "");
}
