// SPDX-License-Identifier: GPL-2.0-or-later
import { Refusal } from "../refusal.ts";
import { cgroupId } from "./host.ts";
import { type ClosedSlice, rememberSlice } from "./store.ts";
import { logWarning } from "./warning.ts";

/** Changes on disk what only a later restoration needs: to close comes first, and must not fail for want of room. */
export function saveBestEffort(what: string, act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    logWarning(`${what} what a later "authnft restore" reads does not say so`, error);
  }
}

/** Remembers a slice that was closed: somebody may keep a socket of it when it is gone. */
export function rememberClosed(set: ClosedSlice["set"], name: string): void {
  const id = cgroupId(name);
  if (id !== undefined)
    saveBestEffort(`Slice ${name} is closed, but`, () => rememberSlice({ set, name, id }));
}
