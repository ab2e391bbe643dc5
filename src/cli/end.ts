// SPDX-License-Identifier: GPL-2.0-or-later
import { confine } from "../confine/seccomp.ts";
import { closeSessionsOf, endSession } from "../engine/session/close.ts";
import { parseScopeUnit } from "../subjects/session/scope_unit.ts";

/** Any other unit that systemd ends sessions for: one with PAMName=. */
const SERVICE = /^[A-Za-z0-9:_.\\@-]{1,247}\.service$/;

/**
 * Cleans up after a scope that has ended; systemd runs it as `authnft-end@<scope>.service`. Or closes the sessions of a service
 * that has ended, as `authnft-close@<service>.service`. Returns the exit code.
 */
export async function runEnd(name: string): Promise<number> {
  const unit = parseScopeUnit(name);
  if (unit === undefined && SERVICE.test(name)) {
    confine();
    return (await closeSessionsOf(name)) ? 0 : 1;
  }
  if (unit === undefined) {
    console.error(
      `authnft end: ${JSON.stringify(name)} is no scope of authnft; systemd runs this verb, nobody else needs to.`,
    );
    return 2;
  }
  confine();
  return (await endSession(unit)) ? 0 : 1;
}
