// SPDX-License-Identifier: GPL-2.0-or-later

// The part of the language of fragments that depends on the kind of subject.

/** An address family, by the name that nftables has for it. */
export type Family = "ip" | "ip6";

/** The direction that a chain judges: `in` is what arrives, `out` what is sent. */
export type Direction = "in" | "out";

/** An address as it is written in a rule. */
export type Address = { readonly family: Family; readonly text: string };

/** The values of a subject's variables, by name. An address may be unknown. */
export type Variables = Readonly<Record<string, Address | number | string | undefined>>;

/** The names that fragments for one kind of subject may use, besides their own. */
export type Dialect = {
  /** The kind of subject in one word, for messages. */
  readonly noun: string;
  /** The table that fragments add to: a family and a name. */
  readonly table: string;
  /** More names of the two chains that rules go to, besides `filter` and `egress`. */
  readonly chains: Readonly<Record<string, Direction>>;
  /** The table's sets that a rule may look into, by name. */
  readonly sets: Readonly<Record<string, GivenSet>>;
  /** The variables, by name. */
  readonly variables: Readonly<Record<string, Variable>>;
};

/** A set of the table that a rule may look into. */
export type GivenSet = {
  /** Other names that fragments may use for it. */
  readonly aliases: readonly string[];
  /** The family of the subject's own peers, where the set holds these and, for the subject's cgroup, nobody else. */
  readonly holds?: Family;
};

/** A variable of a fragment. */
export type Variable = {
  readonly kind: "address" | "number" | "text";
  /** What it stands for, in words. */
  readonly meaning: string;
};

/** The two chains that a fragment's rules go to, and the direction that each judges. */
export const CHAINS: Readonly<Record<string, Direction>> = { filter: "in", egress: "out" };

/** The headers that raw bits are taken from: they stand behind "@", as the names of sets do. */
export const RAW_HEADERS: ReadonlySet<string> = new Set(["ih", "ll", "nh", "th"]);

/** Finds a set of the table by any of its names. @returns its own name and the set, or `undefined` for another */
export function givenSet(
  { sets }: Dialect,
  name: string,
): { readonly name: string; readonly set: GivenSet } | undefined {
  for (const [own, set] of Object.entries(sets))
    if (own === name || set.aliases.includes(name)) return { name: own, set };
  return undefined;
}

/** Lists names in a sentence: "a, b and c". */
export function listed(names: readonly string[]): string {
  const last = names.at(-1) ?? "";
  return names.length < 2 ? last : `${names.slice(0, -1).join(", ")} and ${last}`;
}
