// SPDX-License-Identifier: GPL-2.0-or-later
import { confine } from "../confine/seccomp.ts";
import { groupFragments } from "../lifecycle/groups.ts";
import { liveSessions, reloadSession } from "../lifecycle/reload.ts";
import { Refusal } from "../refusal.ts";
import { findUser, groupsOf } from "../system/users.ts";

/**
 * Gives live sessions the policy as it now stands.
 *
 * The name service is asked before confinement: its modules may read any file and talk to any server.
 *
 * @param whom users and sessions; all sessions when empty
 * @returns the exit code: 0 all reloaded, 1 some kept what they had, 2 nobody of that name is in
 */
export async function runReload(
  whom: readonly string[],
  options: { readonly keepsFlows: boolean },
): Promise<number> {
  if (process.geteuid?.() !== 0) {
    console.error("Cannot reload sessions: only root can change the rules; run it with sudo.");
    return 1;
  }
  const live = liveSessions();
  const unknown = whom.filter(
    (one) => !live.some(({ user, scope_unit }) => one === user || one === scope_unit),
  );
  if (unknown.length > 0) {
    console.error(
      `authnft reload: no session is open for ${unknown.map((one) => JSON.stringify(one)).join(", ")}; name a user, or a scope as in /run/authnft/sessions.`,
    );
    return 2;
  }
  const chosen = live.filter(
    ({ user, scope_unit }) => whom.length === 0 || whom.includes(user) || whom.includes(scope_unit),
  );
  const gids = new Map(
    [...new Set(chosen.map(({ user }) => user))].map((name) => {
      const user = findUser(name);
      return [name, user === undefined ? [] : groupsOf(user)];
    }),
  );
  const groups = groupFragments();
  confine();
  let failed = 0;
  for (const session of chosen) {
    try {
      const path = await reloadSession(session, gids.get(session.user) ?? [], groups, options);
      if (path !== undefined) console.log(`${session.scope_unit}: ${path}`);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      failed++;
      console.error(`${session.scope_unit} keeps the rules that it has: ${error.message}`);
    }
  }
  if (chosen.length === 0) console.log("No session is open.");
  return failed === 0 ? 0 : 1;
}
