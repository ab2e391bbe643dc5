// SPDX-License-Identifier: GPL-2.0-or-later

import { hasSessions } from "./session/records.ts";
import { standingSessions } from "./session/standing.ts";
import { asWanted } from "./shared.ts";
import { closedSlices, openSlices } from "./slice/standing.ts";
import type { Wanted } from "./wanted.ts";

/**
 * Lists what belongs into the table besides its base, for every kind of subject. Closing commands come first: of two elements
 * for one cgroup the later one holds.
 */
export function standing(): Wanted[] {
  const toWanted = asWanted();
  const sessions = standingSessions(toWanted);
  return [...closedSlices(), ...openSlices(toWanted), ...sessions];
}

/** Tells whether any kind has a subject whose processes may hold sockets. */
export function isAnybodyIn(): boolean {
  return hasSessions();
}
