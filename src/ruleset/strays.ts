// SPDX-License-Identifier: GPL-2.0-or-later

// What stands in the table and belongs to nobody. No input or output.

import { KEYED_SETS, SLICE_MAPS } from "./table.ts";

/** Something of the table that has a name: a chain, set, map or named object. */
export type Named = {
  readonly kind: "chain" | "set" | "map" | "counter" | "quota" | "limit";
  readonly name: string;
};

/** An element that is keyed by a cgroup, alone or followed by an address; and where it leads. */
export type Keyed = { readonly set: string; readonly key: Uint8Array; readonly chain: string | undefined };

/** Names that begin like a subject's and are the table's own. */
const OF_THE_TABLE: ReadonlySet<string> = new Set<string>([...KEYED_SETS, ...Object.keys(SLICE_MAPS)]);

/**
 * Finds the chains, sets and objects of subjects that are not there, and the elements of cgroups that are not.
 *
 * An element of a cgroup that lives is a stray where it leads to a chain that is one.
 *
 * @param subjects what the names of the chains of those that are there begin with
 * @param live the numbers of the cgroups that are there
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

/** The number of the cgroup that an element's key begins with: 8 bytes in host order. */
export function cgroupOf(key: Uint8Array): bigint {
  return new DataView(key.buffer, key.byteOffset).getBigUint64(0, true);
}
