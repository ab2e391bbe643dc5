// SPDX-License-Identifier: GPL-2.0-or-later

/** Something that nobody removed: what it is, in a word, and its name. */
export type Leftover = {
  readonly kind: "session" | "rules" | "lock" | "file";
  readonly name: string;
};

/** What the sweep asks of a kind of subject. All of it under the lock of the ruleset, but for `remove`. */
export type Keeper = {
  /** Finds what is left of subjects that are gone, other than in the table. */
  readonly find: () => Leftover[];
  /** Removes one of them, and says whether it is gone; what goes wrong is logged. */
  readonly remove: (leftover: Leftover) => Promise<boolean>;
  /** Lists what names of chains in the table may begin with: the subjects that have something there, or may have. */
  readonly ids: () => string[];
  /** Lists cgroups that elements may name though they are gone. */
  readonly cgroups: () => bigint[];
};
