// SPDX-License-Identifier: GPL-2.0-or-later

// What the kernel answers about tables, read. No input or output.

import { attributes, eachAttribute, view } from "./netlink.ts";

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
const NFTA_CHAIN_TYPE = 7;
const NFTA_HOOK_HOOKNUM = 1;
const NF_INET_LOCAL_OUT = 3;

/** What stands before the attributes of each answer: struct nfgenmsg. */
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

/** Whether an answer about a chain is of a nat chain that sees what this host sends. */
export function isOutputNat(payload: Uint8Array): boolean {
  const chain = attributes(payload.subarray(HEADER));
  const hook = part(chain.get(NFTA_CHAIN_HOOK), NFTA_HOOK_HOOKNUM);
  return (
    text(chain.get(NFTA_CHAIN_TYPE)) === "nat" &&
    hook?.length === 4 &&
    view(hook).getUint32(0) === NF_INET_LOCAL_OUT
  );
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
