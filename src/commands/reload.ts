// SPDX-License-Identifier: GPL-2.0-or-later
import { readFileSync } from "node:fs";
import * as v from "valibot";
import { confine } from "../confine/seccomp.ts";
import { groupFragments, groupNames } from "../lifecycle/groups.ts";
import { liveSessions, reloadSession } from "../lifecycle/reload.ts";
import { Refusal } from "../refusal.ts";
import type { SessionRecord } from "../session/record.ts";
import { SystemError } from "../system/libc.ts";
import { findUser } from "../system/users.ts";
import { goOnConfined } from "./entry.ts";

/** What the entry's run is told: sessions by their scopes, each with its user's groups that there are fragments for. */
const OrderSchema = v.object({
  keepsFlows: v.boolean(),
  groups: v.record(v.string(), v.array(v.string())),
});
type Order = v.InferOutput<typeof OrderSchema>;

/**
 * Gives live sessions the policy as it now stands.
 *
 * The name service is asked first: its modules may read any file and talk to any server. What it leads to is done by the
 * entry's run.
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
  try {
    const order = { ...options, groups: groupsOfUsers(chosen) };
    goOnConfined(["reload-sessions"], JSON.stringify(order));
    return await carryOut(order);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    console.error(`authnft reload: ${error.message}; nothing has changed.`);
    return 1;
  }
}

/** Carries out what is ordered on standard input. Returns the exit code. */
export async function runReloadSessions(): Promise<number> {
  return await carryOut(v.parse(OrderSchema, JSON.parse(readFileSync(0, "utf8"))));
}

async function carryOut({ keepsFlows, groups }: Order): Promise<number> {
  confine();
  const chosen = liveSessions().filter(({ scope_unit }) => Object.hasOwn(groups, scope_unit));
  let failed = 0;
  for (const session of chosen) {
    try {
      const path = await reloadSession(session, groups[session.scope_unit] ?? [], { keepsFlows });
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

/** The groups with fragments of each session's user. @throws {SystemError} when the name service fails */
function groupsOfUsers(sessions: readonly SessionRecord[]): Record<string, string[]> {
  const groups = groupFragments();
  const names = new Map<string, string[]>();
  for (const { user: name } of sessions) {
    if (names.has(name)) continue;
    const user = findUser(name);
    names.set(name, user === undefined ? [] : groupNames(user, groups));
  }
  return Object.fromEntries(sessions.map(({ scope_unit, user }) => [scope_unit, names.get(user) ?? []]));
}
