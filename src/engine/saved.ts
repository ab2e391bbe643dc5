// SPDX-License-Identifier: GPL-2.0-or-later
import { Refusal } from "../refusal.ts";
import { cgroupId } from "./host.ts";
import { type ClosedSlice, rememberSlice } from "./store.ts";
import { logWarning } from "./warning.ts";

/** Writes a file that only a later restoration needs: closing comes first, and must not fail for lack of room. */
export function saveBestEffort(what: string, act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    logWarning(`${what} what a later "authnft restore" reads does not say so`, error);
  }
}

/** Notes that a slice was closed: a socket of it may outlive it. */
export function rememberClosed(set: ClosedSlice["set"], name: string): void {
  const id = cgroupId(name);
  if (id !== undefined)
    saveBestEffort(`Slice ${name} is closed, but`, () => rememberSlice({ set, name, id }));
}
