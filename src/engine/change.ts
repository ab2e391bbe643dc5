// SPDX-License-Identifier: GPL-2.0-or-later

// The way of every change to the table: under the lock, saved first, in one transaction last, reported when others may go on.

import { lockRuleset } from "./store.ts";

/** Offers a change what it needs while it holds the lock of the ruleset. */
export type Change = {
  /** Has something undone, in reverse order, should the change fail after this. */
  undo(act: () => void): void;
  /** Has something reported once the lock is released, whether the change succeeds or not: it has happened. */
  afterwards(report: () => void): void;
};

/**
 * Makes a change to the table and to the files about it. Nobody else makes one meanwhile.
 *
 * A change saves before it asks the kernel, and pushes the undoing of each step; the kernel comes last, with one transaction. So
 * table and files agree, whatever fails. Reports wait until the lock is released: a journal that hangs delays nobody else.
 *
 * @param deadline for the lock, on the clock of `performance.now()`, in milliseconds
 * @param make makes the change
 * @returns what `make` returns
 * @throws {Refusal} `timeout` or `record` for the lock; what `make` throws
 */
export async function change<Made>(deadline: number, make: (change: Change) => Made): Promise<Made> {
  const reports: (() => void)[] = [];
  try {
    using _held = await lockRuleset(deadline);
    using undo = new DisposableStack();
    const made = make({
      undo: (act) => undo.defer(act),
      afterwards: (report) => reports.push(report),
    });
    undo.move();
    return made;
  } finally {
    for (const report of reports) report();
  }
}
