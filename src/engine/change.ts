// SPDX-License-Identifier: GPL-2.0-or-later

// How whatever changes the table does so: locked, saved first, in one transaction last, and told of when others may go on.

import type { Event, Told } from "../subjects/session/events.ts";
import { report } from "./report.ts";
import { lockRuleset } from "./store.ts";

/** What a change may ask for while it holds the lock of the ruleset. */
export type Change = {
  /** Has something undone, in reverse order, should the change fail after this. */
  undo(act: () => void): void;
  /** Has an event told once the lock is released, whether the change succeeds or not: it has happened. */
  tell(event: Event, told: Told & { readonly cg_id: number }): void;
};

/**
 * Makes a change of the table and of what is kept about it, which nobody else makes meanwhile.
 *
 * What the change saves it saves before it asks the kernel, and pushes what undoes that; the kernel comes last, with one
 * transaction. So the table and what is kept agree, whatever fails. Events are told when the lock is released: a journal that
 * hangs is nobody else's concern.
 *
 * @param deadline for the lock, on the clock of performance.now()
 * @throws {Refusal} `timeout` or `record` for the lock; what `make` throws
 */
export async function change<Made>(deadline: number, make: (change: Change) => Made): Promise<Made> {
  const events: Parameters<Change["tell"]>[] = [];
  try {
    using _held = await lockRuleset(deadline);
    using undo = new DisposableStack();
    const made = make({
      undo: (act) => undo.defer(act),
      tell: (...event) => events.push(event),
    });
    undo.move();
    return made;
  } finally {
    for (const event of events) report(...event);
  }
}
