// SPDX-License-Identifier: GPL-2.0-or-later
import { confine } from "../confine/seccomp.ts";
import { endSession } from "../lifecycle/close.ts";
import { parseScopeUnit } from "../session/scope_unit.ts";

/** Cleans up after a scope that has ended; systemd runs it as `authnft-end@<scope>.service`. Returns the exit code. */
export async function runEnd(name: string): Promise<number> {
  const unit = parseScopeUnit(name);
  if (unit === undefined) {
    console.error(
      `authnft end: ${JSON.stringify(name)} is no scope of authnft; systemd runs this verb, nobody else needs to.`,
    );
    return 2;
  }
  confine();
  return (await endSession(unit)) ? 0 : 1;
}
