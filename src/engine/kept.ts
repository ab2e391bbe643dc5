// SPDX-License-Identifier: GPL-2.0-or-later
import { Refusal } from "../refusal.ts";
import { cgroupId } from "./host.ts";
import { complain } from "./report.ts";
import { type ClosedSlice, rememberSlice } from "./store.ts";

/** Changes on disk what only a later restoration needs: to close comes first, and must not fail for want of room. */
export function kept(what: string, act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    complain(`${what} what a later "authnft restore" reads does not say so`, error);
  }
}

/** Remembers a slice that was closed: somebody may keep a socket of it when it is gone. */
export function remember(set: ClosedSlice["set"], name: string): void {
  const id = cgroupId(name);
  if (id !== undefined) kept(`Slice ${name} is closed, but`, () => rememberSlice({ set, name, id }));
}
