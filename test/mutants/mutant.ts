// SPDX-License-Identifier: GPL-2.0-or-later

/** A mistake in the sources, and the tests that have to notice it. */
export type Mutant = {
  readonly file: string;
  /** What stands there once, and only once. */
  readonly from: string;
  readonly to: string;
  readonly tests: string;
};

/** Makes mutants of a room's files. @param tests the directories or files that mirror it, with blanks between */
export function inRoom(
  room: string,
  tests: string,
  all: readonly (readonly [file: string, from: string, to: string])[],
): Mutant[] {
  return all.map(([file, from, to]) => ({ file: `${room}/${file}`, from, to, tests }));
}
