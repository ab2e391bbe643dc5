// SPDX-License-Identifier: GPL-2.0-or-later

let isConfined = false;

/** Notes that this program has come through the entry, which has taken from it what the verb has no use for. */
export function noteConfined(): void {
  isConfined = true;
}

/** Tells whether the entry started this program. An administrator's shell may gain no privileges either, and have all that root has. */
export function cameConfined(): boolean {
  return isConfined;
}
