// SPDX-License-Identifier: GPL-2.0-or-later
import { confine } from "../confine/seccomp.ts";
import { restore } from "../engine/restore.ts";
import { findLeftovers, sweep } from "../engine/sweep.ts";
import { logWarning } from "../engine/warning.ts";
import { Refusal } from "../refusal.ts";
import { SystemError } from "../system/ffi/libc.ts";
import { goOnConfined } from "./entry.ts";

/**
 * Loads the table and brings every live session back under its rules: at boot, and after whatever flushed the ruleset.
 *
 * @returns the exit code
 */
export async function runRestore(): Promise<number> {
  if (process.geteuid?.() !== 0) {
    console.error("Cannot restore the table: only root can change the rules; run it with sudo.");
    return 1;
  }
  try {
    goOnConfined(["restore"]);
    confine();
    const restored = await restore();
    await sweepQuietly();
    console.log(`The table is loaded. Sessions under their rules: ${restored}.`);
    return 0;
  } catch (error) {
    if (!(error instanceof Refusal || error instanceof SystemError)) throw error;
    console.error(`authnft restore: ${error.message}`);
    return 1;
  }
}

/** Removes what is left of sessions that are over. Where that fails, the table is loaded all the same. */
async function sweepQuietly(): Promise<void> {
  try {
    await sweep(await findLeftovers());
  } catch (error) {
    if (!(error instanceof Refusal || error instanceof SystemError)) throw error;
    logWarning("What is left of sessions that are over was not swept away", error);
  }
}
