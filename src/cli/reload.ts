// SPDX-License-Identifier: GPL-2.0-or-later
import { readFileSync } from "node:fs";
import * as v from "valibot";
import { groupFiles, groupFragments } from "../check/groups.ts";
import { confine } from "../confine/seccomp.ts";
import { type ReloadOrder, ReloadOrderSchema } from "../engine/reload_order.ts";
import { liveSessions, reloadSession } from "../engine/session/reload.ts";
import {
  closedUserSlices,
  closeUserSlices,
  openUserSlices,
  usersWithSlice,
} from "../engine/slice/default.ts";
import { Refusal } from "../refusal.ts";
import type { SessionRecord } from "../subjects/session/record.ts";
import { isLoginScope, userSlice } from "../subjects/session/scope_unit.ts";
import { SystemError } from "../system/ffi/libc.ts";
import { findUser } from "../system/ffi/users.ts";
import { goOnConfined } from "./entry.ts";
import { standings } from "./standing.ts";

/**
 * Gives live sessions the policy as it now stands, and users' slices what follows from who is a member now.
 *
 * The name service is asked first: its modules may read any file and talk to any server. A slice is opened here, too, for the
 * seal is no helper's to take off. All else that this leads to is done by the entry's run.
 *
 * @param whom users and sessions; everybody when empty
 * @returns the exit code: 0 all done, 1 some kept what they had, 2 nobody of that name is in
 */
export async function runReload(whom: readonly string[]): Promise<number> {
  if (process.geteuid?.() !== 0) {
    console.error("Cannot reload sessions: only root can change the rules; run it with sudo.");
    return 1;
  }
  try {
    const live = liveSessions();
    const named = whom.filter((one) => !live.some(({ scope_unit }) => one === scope_unit));
    const users = await settleSlices(
      live,
      whom.length === 0 ? undefined : named.map((name) => ({ name, uid: uidOf(name, live) })),
    );
    const idle = named.filter(
      (one) => !live.some(({ user }) => one === user) && !users.told.has(uidOf(one, live) ?? -1),
    );
    if (idle.length > 0) {
      console.error(
        `authnft reload: no session is open for ${idle.map((one) => JSON.stringify(one)).join(", ")}; name a user, or a scope as in /run/authnft/sessions.`,
      );
      return 2;
    }
    const chosen = live.filter(
      ({ user, uid, scope_unit }) =>
        !users.outside.has(uid) && (whom.length === 0 || whom.includes(user) || whom.includes(scope_unit)),
    );
    const order: ReloadOrder = {
      cover: users.cover,
      groups: groupsOfUsers(chosen),
      failed: users.failed,
      changed: users.told.size > 0,
    };
    goOnConfined(["reload-sessions"], JSON.stringify(order));
    return await carryOut(order);
  } catch (error) {
    if (!(error instanceof SystemError || error instanceof Refusal)) throw error;
    console.error(`authnft reload: ${error.message}; nothing else has changed.`);
    return 1;
  }
}

/** What became of users' slices, and what is left to do. */
type Settled = {
  /** Who is to be covered. */
  readonly cover: number[];
  /** Who is no member any more. */
  readonly outside: ReadonlySet<number>;
  /** Of whom something was said. */
  readonly told: ReadonlySet<number>;
  readonly failed: boolean;
};

/**
 * Opens the slices of those who are no members any more, and says so.
 *
 * @param users everybody who has a slice or a session when left out
 * @throws {SystemError}, {Refusal}
 */
async function settleSlices(
  live: readonly SessionRecord[],
  users: readonly { readonly name: string; readonly uid: number | undefined }[] | undefined,
): Promise<Settled> {
  const uids = [
    ...new Set(
      users === undefined
        ? [...usersWithSlice(), ...live.map(({ uid }) => uid)]
        : users.flatMap(({ uid }) => uid ?? []),
    ),
  ];
  const standingOf = standings();
  const covered = new Set(closedUserSlices(uids));
  const withSlice = new Set(usersWithSlice());
  const outside = new Map<number, string>();
  const told = new Set<number>();
  const cover: number[] = [];
  let failed = false;
  for (const uid of uids) {
    const open = live.filter((session) => session.uid === uid);
    if (!covered.has(uid) && !withSlice.has(uid) && open.length === 0) continue;
    const standing = standingOf(
      uid,
      open.map(({ pid }) => pid),
    );
    if (standing.is === "unknown") {
      if (!covered.has(uid)) continue;
      console.error(
        `user ${uid} is left as before, for whether it is a member cannot be told: ${standing.why}.`,
      );
      failed = true;
      told.add(uid);
    } else if (standing.is === "outside") {
      outside.set(uid, standing.name);
    } else if (withSlice.has(uid) && !covered.has(uid)) {
      console.log(`${userSlice(uid)}: closed but for sessions, since ${standing.name} is a member now`);
      cover.push(uid);
      told.add(uid);
    }
  }
  for (const [uid, name] of outside)
    for (const { scope_unit } of live.filter(
      (session) => session.uid === uid && !isLoginScope(session.scope_unit),
    )) {
      console.log(`${scope_unit}: keeps its rules until it ends, though ${name} is no member any more`);
      told.add(uid);
    }
  const leaving = [...outside.keys()].filter((uid) => covered.has(uid));
  for (const [uid, inside] of leaving.length === 0 ? [] : await openUserSlices(leaving)) {
    told.add(uid);
    const name = outside.get(uid) ?? "";
    if (inside.length === 0) {
      console.log(`${userSlice(uid)}: open, since ${name} is no member any more`);
      continue;
    }
    failed = true;
    console.error(
      `${userSlice(uid)} stays closed, though ${name} is no member any more, until ${inside.join(" and ")} in it ${inside.length === 1 ? "has" : "have"} ended: then run this again, or end ${inside.length === 1 ? "it" : "them"} by "systemctl stop ${inside.join(" ")}".`,
    );
  }
  return { cover, outside: new Set(outside.keys()), told, failed };
}

function uidOf(name: string, live: readonly SessionRecord[]): number | undefined {
  return live.find(({ user }) => user === name)?.uid ?? findUser(name)?.uid;
}

/** Carries out what is ordered on standard input. Returns the exit code. */
export async function runReloadSessions(): Promise<number> {
  return await carryOut(v.parse(ReloadOrderSchema, JSON.parse(readFileSync(0, "utf8"))));
}

async function carryOut({ cover: uids, groups, ...before }: ReloadOrder): Promise<number> {
  confine();
  let { failed } = before;
  if (uids.length > 0) {
    try {
      await closeUserSlices(uids);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      failed = true;
      console.error(`authnft reload: ${error.message}`);
    }
  }
  const chosen = liveSessions().filter(({ scope_unit }) => Object.hasOwn(groups, scope_unit));
  for (const session of chosen) {
    try {
      const path = await reloadSession(session, groups[session.scope_unit] ?? undefined);
      if (path !== undefined) console.log(`${session.scope_unit}: ${path}`);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      failed = true;
      console.error(`${session.scope_unit} keeps the rules that it has: ${error.message}`);
    }
  }
  if (chosen.length === 0 && !before.changed) console.log("No session is open.");
  return failed ? 1 : 0;
}

/** The groups with fragments of each session's user. @throws {SystemError} when the name service fails */
function groupsOfUsers(sessions: readonly SessionRecord[]): ReloadOrder["groups"] {
  const groups = groupFragments();
  const names = new Map<string, string[] | null>();
  for (const { user: name } of sessions) {
    if (names.has(name)) continue;
    const user = findUser(name);
    // An unknown user may have been deleted while logged in, or the directory is down.
    names.set(name, user === undefined ? null : groupFiles(user, groups));
  }
  return Object.fromEntries(sessions.map(({ scope_unit, user }) => [scope_unit, names.get(user) ?? null]));
}
