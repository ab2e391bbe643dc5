// SPDX-License-Identifier: GPL-2.0-or-later
import { confine } from "../confine/seccomp.ts";
import { release } from "../engine/session/release.ts";
import { Refusal } from "../refusal.ts";
import { parseScopeUnit } from "../subjects/session/scope_unit.ts";
import { SystemError } from "../system/ffi/libc.ts";
import { goOnConfined } from "./entry.ts";

/** Gives processes that outlived sessions their rules back. @returns the exit code */
export async function runRelease(units: readonly string[]): Promise<number> {
  if (process.geteuid?.() !== 0) {
    console.error("Cannot release sessions: only root can change the rules; run it with sudo.");
    return 1;
  }
  goOnConfined(["release", ...units]);
  confine();
  let code = 0;
  for (const text of units) {
    try {
      const unit = parseScopeUnit(text);
      if (unit === undefined) {
        console.error(
          `authnft release: ${JSON.stringify(text)} is no scope of a session; its name is that of its record in /run/authnft/sessions, without ".json".`,
        );
        return 2;
      }
      await release(unit);
      console.log(`${unit} has the rules of its session again, until it ends.`);
    } catch (error) {
      if (!(error instanceof Refusal || error instanceof SystemError)) throw error;
      console.error(`authnft release: ${error.message}`);
      code = 1;
    }
  }
  return code;
}
