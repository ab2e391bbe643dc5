// SPDX-License-Identifier: GPL-2.0-or-later

/** Something that nobody removed: its kind and its name. */
export type Leftover = {
  readonly kind: "session" | "rules" | "lock" | "file";
  readonly name: string;
};

/** The questions of the sweep to a kind of subject. All but `remove` are asked under the lock of the ruleset. */
export type Keeper = {
  /** Finds what is left of subjects that are gone, outside the table. */
  readonly find: () => Leftover[];
  /** Removes one of them, and says whether it is gone; what goes wrong is logged. */
  readonly remove: (leftover: Leftover) => Promise<boolean>;
  /** Lists the ids of subjects that may have chains in the table. */
  readonly ids: () => string[];
  /** Lists the cgroups that may have elements in the table though they are gone. */
  readonly cgroups: () => bigint[];
};
