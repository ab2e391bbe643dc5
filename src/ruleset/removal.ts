// SPDX-License-Identifier: GPL-2.0-or-later

import { type Address, addressBytes, familyOf } from "../address.ts";
import type { Subject } from "../subjects/subject.ts";
import {
  addressSet,
  clipComment,
  type OwnKind,
  type OwnObject,
  subjectChain,
  subjectChains,
} from "./subject.ts";
import { CLOSED, KEYED_SETS, type Root, SLICE_MAPS, TABLE_NAME } from "./table.ts";

type KeyedElement = { readonly set: string; readonly key: Uint8Array };
type Found = {
  readonly key: Uint8Array;
  readonly chain: string | undefined;
  readonly counter: Traffic | undefined;
};

/** The questions to the kernel's ruleset. */
export type Ruleset = {
  element(table: string, set: string, key: Uint8Array): Found | undefined;
  elements(table: string, set: string): Found[];
  hasChain(table: string, chain: string): boolean;
};

/** A step of a change to the ruleset: something that goes, or an element that leads to another chain from now on. */
export type Change =
  | (KeyedElement & {
      readonly add?: true;
      readonly goto?: string;
      readonly jump?: string;
      readonly comment?: string;
    })
  | { readonly flush: string }
  | { readonly kind: OwnKind; readonly name: string };

/** The traffic of a session, both directions together. */
export type Traffic = { readonly packets: number; readonly bytes: number };

/** The keys of a subject's elements. */
export type Keys = { readonly cgroupId: bigint; readonly addresses: readonly Address[] };

/** Returns the keys of a subject's elements. */
export function keysOf({ cgroup, addresses }: Pick<Subject, "cgroup" | "addresses">): Keys {
  return { cgroupId: cgroup.id, addresses };
}

/** The changes that remove a subject, and its traffic; `undefined` when it was not there. */
export type Removal = { readonly changes: Change[]; readonly traffic: Traffic | undefined };

/**
 * Makes the changes that remove a subject from the ruleset, whether its cgroup exists or not. Passes over what is gone already.
 *
 * @param name what the names of its chains begin with
 * @param keys of its elements; without them elements are found by the chains that they lead to
 * @param own the objects of its own
 * @throws {SystemError} when the kernel does not tell
 */
export function subjectRemoval(
  name: string,
  keys: Keys | undefined,
  ruleset: Ruleset,
  own: readonly OwnObject[] = [],
): Removal {
  const found = elementsOf(name, keys, ruleset).flatMap(({ set, key }) => {
    const element = ruleset.element(TABLE_NAME, set, key);
    return element === undefined ? [] : [{ set, key, counter: element.counter }];
  });
  // Only what exists: a refused transaction takes the kernel as long as one that does something.
  const chains = subjectChains(name).filter((chain) => ruleset.hasChain(TABLE_NAME, chain));
  const counters = found.flatMap(({ counter }) => counter ?? []);
  return {
    changes: [
      ...found.map(({ set, key }) => ({ set, key })),
      // All rules before what they name: sets, which may lead to chains, then those, then counters and the like.
      ...[...chains, ...own.filter(isChain).map(({ name }) => name)].map((flush) => ({ flush })),
      ...own.filter(isSet),
      ...chains.map((name) => ({ kind: "chain" as const, name })),
      ...own.filter(isChain),
      ...own.filter((object) => !isSet(object) && !isChain(object)),
    ],
    traffic:
      counters.length === 0
        ? undefined
        : {
            packets: counters.reduce((sum, { packets }) => sum + packets, 0),
            bytes: counters.reduce((sum, { bytes }) => sum + bytes, 0),
          },
  };
}

const isChain = ({ kind }: OwnObject): boolean => kind === "chain";
const isSet = ({ kind }: OwnObject): boolean => kind === "set" || kind === "map";

/** Makes the changes that close a cgroup within an open one: without an element its packets would pass. */
export function blockCgroup(cgroupId: number): Change[] {
  const key = cgroupKey(BigInt(cgroupId));
  return (["in", "out"] as const).map((direction) => ({
    set: `session_${direction}`,
    key,
    add: true,
    goto: CLOSED[direction],
  }));
}

/** Removes the elements that closed cgroups which are gone and have no record. @param live the cgroups that exist */
export function staleBlocks(live: ReadonlySet<bigint>, ruleset: Ruleset): Change[] {
  return (["in", "out"] as const).flatMap((direction) => {
    const set = `session_${direction}`;
    return ruleset
      .elements(TABLE_NAME, set)
      .filter(({ chain, key }) => chain === CLOSED[direction] && !live.has(idOf(key)))
      .map(({ key }) => ({ set, key }));
  });
}

/**
 * Makes the changes that close a slice that is gone, by its id, since no path leads to it any more.
 *
 * @param slice.chains the chains of a root; `undefined` for a slice below one
 */
export function blockSlice(slice: {
  readonly chains: Root["chains"] | undefined;
  readonly id: bigint;
}): Change[] {
  const key = cgroupKey(slice.id);
  const { chains } = slice;
  if (chains === undefined) return [{ set: "covered_slices", key, add: true }];
  return Object.entries(SLICE_MAPS).map(([set, end]) => ({ set, key, add: true, goto: `${chains}_${end}` }));
}

/** Makes the changes that remove the elements of a slice that is gone. */
export function sliceRemoval(
  slice: { readonly set: string; readonly id: bigint },
  ruleset: Ruleset,
): Change[] {
  const key = cgroupKey(slice.id);
  const sets = slice.set === "covered_slices" ? [slice.set] : Object.keys(SLICE_MAPS);
  return sets
    .filter((set) => ruleset.element(TABLE_NAME, set, key) !== undefined)
    .map((set) => ({ set, key }));
}

/** Tells whether a user's slice is closed by default. @throws {SystemError} when the kernel does not tell */
export function isClosedByDefault(cgroupId: bigint, ruleset: Ruleset): boolean {
  return ruleset.element(TABLE_NAME, "covered_slices", cgroupKey(cgroupId)) !== undefined;
}

/** Makes the changes that remove a cgroup's own verdicts, whatever they lead to. */
export function unblockCgroup(cgroupId: number, ruleset: Ruleset): Change[] {
  const key = cgroupKey(BigInt(cgroupId));
  return ["session_in", "session_out"]
    .filter((set) => ruleset.element(TABLE_NAME, set, key) !== undefined)
    .map((set) => ({ set, key }));
}

/** Makes the changes that lead a subject's cgroup to its chains, which must exist, whatever it led to before. */
export function leading(subject: Pick<Subject, "id" | "cgroup" | "comment">, ruleset: Ruleset): Change[] {
  const { id, cgroup, comment } = subject;
  const key = cgroupKey(cgroup.id);
  const leads = (["in", "out"] as const).map((direction) => ({
    set: `session_${direction}`,
    key,
    add: true as const,
    jump: subjectChain(id, direction),
    comment: clipComment(comment),
  }));
  return [...unblockCgroup(Number(cgroup.id), ruleset), ...leads];
}

/** Makes the changes that remove an address of a cgroup's. */
export function addressRemoval(cgroupId: bigint, address: Address, ruleset: Ruleset): Change[] {
  const element = {
    set: addressSet(familyOf(address)),
    key: Buffer.concat([cgroupKey(cgroupId), addressBytes(address)]),
  };
  return ruleset.element(TABLE_NAME, element.set, element.key) === undefined ? [] : [element];
}

/** Returns the chain that a cgroup's outgoing packets go to; `undefined` when it is closed by default. */
export function chainOf(cgroupId: bigint, ruleset: Ruleset): string | undefined {
  return ruleset.element(TABLE_NAME, "session_out", cgroupKey(cgroupId))?.chain;
}

/** Finds the keys of a subject's elements: by the record, and where the ruleset disagrees, by the chains that they lead to. */
function elementsOf(name: string, keys: Keys | undefined, ruleset: Ruleset): KeyedElement[] {
  if (keys === undefined) return findKeys(name, ruleset);
  const recorded = recordedKeys(keys);
  const chain = recorded[0] && ruleset.element(TABLE_NAME, recorded[0].set, recorded[0].key)?.chain;
  if (chain === subjectChain(name, "in") || chain === CLOSED.in) return recorded;
  if (chain !== undefined) return findKeys(name, ruleset);
  const all = [...recorded, ...findKeys(name, ruleset)];
  return [...new Map(all.map((element) => [`${element.set} ${hex(element.key)}`, element])).values()];
}

function recordedKeys({ cgroupId, addresses }: Keys): KeyedElement[] {
  const id = cgroupKey(cgroupId);
  const keys: KeyedElement[] = ["session_in", "session_out", "session_judged", "session_map_cg"].map(
    (set) => ({
      set,
      key: id,
    }),
  );
  return [
    ...keys,
    ...addresses.map((address) => ({
      set: addressSet(familyOf(address)),
      key: Buffer.concat([id, addressBytes(address)]),
    })),
  ];
}

function findKeys(name: string, ruleset: Ruleset): KeyedElement[] {
  const ids = (["in", "out"] as const).flatMap((direction) =>
    ruleset
      .elements(TABLE_NAME, `session_${direction}`)
      .filter(({ chain }) => chain === subjectChain(name, direction))
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

/** Returns a cgroup's id as the kernel keeps it in a set: 8 bytes in host order. */
function cgroupKey(id: bigint): Uint8Array {
  const key = new Uint8Array(8);
  new DataView(key.buffer).setBigUint64(0, id, true);
  return key;
}

function idOf(key: Uint8Array): bigint {
  return new DataView(key.buffer, key.byteOffset).getBigUint64(0, true);
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
