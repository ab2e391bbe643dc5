// SPDX-License-Identifier: GPL-2.0-or-later

// Chains, sets and elements in the table that belong to nobody.

import { KEYED_SETS, SLICE_MAPS } from "./table.ts";

/** A chain, set, map or named object of the table. */
export type Named = {
  readonly kind: "chain" | "set" | "map" | "counter" | "quota" | "limit";
  readonly name: string;
};

/** An element keyed by a cgroup, alone or followed by an address, and the chain that it leads to. */
export type Keyed = { readonly set: string; readonly key: Uint8Array; readonly chain: string | undefined };

/** The table's own names that begin like a subject's. */
const OF_THE_TABLE: ReadonlySet<string> = new Set<string>([...KEYED_SETS, ...Object.keys(SLICE_MAPS)]);

/**
 * Finds the chains, sets and objects of subjects that do not exist, and the elements of cgroups that do not.
 *
 * An element of a live cgroup is a stray if it leads to a stray chain.
 *
 * @param subjects the ids of the subjects that exist
 * @param live the ids of the cgroups that exist
 */
export function findStrays(
  table: { readonly named: readonly Named[]; readonly elements: readonly Keyed[] },
  { subjects, live }: { readonly subjects: readonly string[]; readonly live: ReadonlySet<bigint> },
): { readonly named: Named[]; readonly elements: Keyed[] } {
  const named = table.named.filter(
    ({ name }) =>
      /^(session|cover|policy)_/.test(name) &&
      !OF_THE_TABLE.has(name) &&
      !subjects.some((subject) => name.startsWith(`${subject}_`)),
  );
  const gone = new Set(named.map(({ name }) => name));
  const elements = table.elements.filter(
    ({ key, chain }) => !live.has(cgroupOf(key)) || (chain !== undefined && gone.has(chain)),
  );
  return { named, elements };
}

/** Returns the id of the cgroup that an element's key begins with: 8 bytes in host order. */
export function cgroupOf(key: Uint8Array): bigint {
  return new DataView(key.buffer, key.byteOffset).getBigUint64(0, true);
}
