// SPDX-License-Identifier: GPL-2.0-or-later
import { memberChain, memberChains } from "../ruleset/members.ts";
import { KEYED_SETS, TABLE_NAME } from "../ruleset/table.ts";
import { addressBytes, familyOf, parseAddress } from "./address.ts";
import type { SessionRecord } from "./record.ts";
import { objectStem, type ScopeUnit } from "./scope_unit.ts";

type KeyedElement = { readonly set: string; readonly key: Uint8Array };
type Found = {
  readonly key: Uint8Array;
  readonly chain: string | undefined;
  readonly counter: Traffic | undefined;
};

/** What is asked of the kernel's ruleset here; system/nftables.ts does it. */
export type Ruleset = {
  element(table: string, set: string, key: Uint8Array): Found | undefined;
  elements(table: string, set: string): Found[];
  hasChain(table: string, chain: string): boolean;
  remove(table: string, removals: readonly (KeyedElement | { readonly chain: string })[]): void;
};

/** What passed through a session's chains, both directions together. */
export type Traffic = NonNullable<SessionRecord["traffic"]>;

/**
 * Takes a session out of the ruleset, whether its cgroup is still there or not. What is gone already is passed over.
 *
 * @param record names the elements; without one they are looked for by the chains that they lead to
 * @returns what was counted; `undefined` when the session was not in the ruleset
 * @throws {SystemError} when the kernel refuses
 */
export function removeSession(
  unit: ScopeUnit,
  record: SessionRecord | undefined,
  ruleset: Ruleset,
): Traffic | undefined {
  const stem = objectStem(unit);
  const found = keysOf(stem, record, ruleset).flatMap(({ set, key }) => {
    const element = ruleset.element(TABLE_NAME, set, key);
    return element === undefined ? [] : [{ set, key, counter: element.counter }];
  });
  // Only what is there: a refused transaction takes the kernel as long as one that does something.
  const chains = memberChains(stem).filter((chain) => ruleset.hasChain(TABLE_NAME, chain));
  ruleset.remove(TABLE_NAME, [...found, ...chains.map((chain) => ({ chain }))]);
  const counters = found.flatMap(({ counter }) => counter ?? []);
  if (counters.length === 0) return undefined;
  return {
    packets: counters.reduce((sum, { packets }) => sum + packets, 0),
    bytes: counters.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

/** The keys of a session's elements: as the record has them, and where the ruleset does not agree, by the chains that they lead to. */
function keysOf(stem: string, record: SessionRecord | undefined, ruleset: Ruleset): KeyedElement[] {
  if (record === undefined) return findKeys(stem, ruleset);
  const recorded = recordedKeys(record);
  const chain = recorded[0] && ruleset.element(TABLE_NAME, recorded[0].set, recorded[0].key)?.chain;
  if (chain === memberChain(stem, "in")) return recorded;
  if (chain !== undefined) return findKeys(stem, ruleset);
  const keys = [...recorded, ...findKeys(stem, ruleset)];
  return [...new Map(keys.map((element) => [`${element.set} ${hex(element.key)}`, element])).values()];
}

function recordedKeys(record: SessionRecord): KeyedElement[] {
  const id = cgroupKey(BigInt(record.cg_id));
  const keys: KeyedElement[] = ["session_in", "session_out", "session_map_cg"].map((set) => ({
    set,
    key: id,
  }));
  const address = parseAddress(record.remote_ip);
  if (address !== undefined) {
    const set = familyOf(address) === "ip" ? "session_map_ipv4" : "session_map_ipv6";
    keys.push({ set, key: Buffer.concat([id, addressBytes(address)]) });
  }
  return keys;
}

function findKeys(stem: string, ruleset: Ruleset): KeyedElement[] {
  const ids = (["in", "out"] as const).flatMap((direction) =>
    ruleset
      .elements(TABLE_NAME, `session_${direction}`)
      .filter(({ chain }) => chain === memberChain(stem, direction))
      .map(({ key }) => hex(key)),
  );
  if (ids.length === 0) return [];
  return KEYED_SETS.flatMap((set) =>
    ruleset
      .elements(TABLE_NAME, set)
      .filter(({ key }) => ids.includes(hex(key.subarray(0, 8))))
      .map(({ key }) => ({ set, key })),
  );
}

/** A cgroup's id as the kernel keeps it in a set: 8 bytes in host order. */
function cgroupKey(id: bigint): Uint8Array {
  const key = new Uint8Array(8);
  new DataView(key.buffer).setBigUint64(0, id, true);
  return key;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
