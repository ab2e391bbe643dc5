// SPDX-License-Identifier: GPL-2.0-or-later
import { confine } from "../confine/seccomp.ts";
import type { Leftover } from "../engine/leftovers.ts";
import { findLeftovers, LEFTOVERS, sweep } from "../engine/sweep.ts";
import { Refusal } from "../refusal.ts";
import { SystemError } from "../system/ffi/libc.ts";
import { goOnConfined } from "./entry.ts";

/** How long what is found has to stay, in milliseconds: a session may be ending this moment, and be tried again after 2 s. */
const SETTLING = 5000;

/**
 * Removes what nobody removed, or only shows it.
 *
 * @returns the exit code: 1 where something could not be removed
 */
export async function runSweep(options: {
  readonly dryRun: boolean;
  readonly json: boolean;
}): Promise<number> {
  if (process.geteuid?.() !== 0) {
    console.error("Cannot sweep: only root can see and remove what is left; run it with sudo.");
    return 1;
  }
  try {
    const words = [...(options.dryRun ? ["--dry-run"] : []), ...(options.json ? ["--json"] : [])];
    goOnConfined(["sweep", ...words]);
    confine();
    const first = await findLeftovers();
    if (first.length > 0) await new Promise((resolve) => setTimeout(resolve, SETTLING));
    // Also where nothing was found, for what is forgotten without a word.
    const { removed, stays } = options.dryRun
      ? { removed: [], stays: await stillThere(first) }
      : await sweep(first);
    console.log(
      options.json
        ? JSON.stringify({ removed, stays })
        : [
            ...removed.map(tell("Removed")),
            ...stays.map(tell(options.dryRun ? "Leftover" : "Not removed")),
          ].join("\n") || "Nothing is left of what is gone.",
    );
    return options.dryRun || stays.length === 0 ? 0 : 1;
  } catch (error) {
    if (!(error instanceof Refusal || error instanceof SystemError)) throw error;
    console.error(`authnft sweep: ${error.message}`);
    return 1;
  }
}

function tell(what: string): (left: Leftover) => string {
  return ({ kind, name }) => `${what}: ${name} (${LEFTOVERS[kind]}).`;
}

async function stillThere(first: readonly Leftover[]): Promise<Leftover[]> {
  if (first.length === 0) return [];
  const now = await findLeftovers();
  return first.filter(({ kind, name }) => now.some((one) => one.kind === kind && one.name === name));
}
