// SPDX-License-Identifier: GPL-2.0-or-later
import { readdirSync } from "node:fs";
import { oneLine, Refusal } from "../refusal.ts";
import { closing, departure, isCovered, keysOf, leading } from "../ruleset/removal.ts";
import { ownObjectsIn } from "../ruleset/subject.ts";
import { TABLE_NAME } from "../ruleset/table.ts";
import { type ScopeUnit, USERS_SLICE, userSlice } from "../subjects/session/scope_unit.ts";
import { sessionSubject } from "../subjects/session/session.ts";
import { CGROUP_ROOT } from "../system/kernel/cgroup.ts";
import { change } from "./change.ts";
import { cgroupId, findSeal, firewall } from "./host.ts";
import { openUserSlice } from "./session/remove.ts";
import { setAddresses } from "./session/scope.ts";
import { compiledAnew } from "./session/standing.ts";
import { applySlicePolicy } from "./slice/policy.ts";
import { lockRuleset, lockSession, readPolicy, readRecord, swapPolicy, writeRecord } from "./store.ts";
import { mendTable, restoreTable } from "./table.ts";
import { run } from "./transaction.ts";

/** How long to wait for logins that change the table, in milliseconds: longer than those may take. */
const PATIENCE = 15_000;

/** How long systemd may take to open the second lock, in milliseconds. */
const LOCK_PATIENCE = 3000;

/**
 * Brings every live session back under its rules, in one transaction; whatever has no record has no network.
 *
 * @returns how many sessions have their rules
 * @throws {Refusal} `ruleset`, `record` or `timeout`
 */
export async function restore(): Promise<number> {
  await findSeal(performance.now() + PATIENCE);
  using _held = await lockRuleset(performance.now() + PATIENCE);
  return restoreTable();
}

/**
 * Closes what users run outside of their sessions, until a session opens.
 *
 * @throws {Refusal} `ruleset`, `record` or `timeout`
 */
export async function cover(uids: readonly number[]): Promise<void> {
  await findSeal(performance.now() + PATIENCE);
  using _held = await lockRuleset(performance.now() + PATIENCE);
  mendTable();
  for (const uid of uids) applySlicePolicy(uid);
}

/**
 * Gives what users run outside of their sessions the network of everybody: of those who are no members any more.
 *
 * @returns for each user the scopes for whose sake that cannot be yet; none where it is done
 * @throws {SystemError} when the kernel refuses
 * @throws {Refusal} `record` or `timeout`
 */
export async function uncover(uids: readonly number[]): Promise<ReadonlyMap<number, readonly ScopeUnit[]>> {
  using _held = await lockRuleset(performance.now() + PATIENCE);
  return new Map(uids.map((uid) => [uid, openUserSlice(uid)]));
}

/** Which of these users' slices are closed by default now. @throws {SystemError} */
export function closedUserSlices(uids: readonly number[]): number[] {
  return uids.filter((uid) => {
    const id = cgroupId(userSlice(uid));
    return id !== undefined && isCovered(id, firewall);
  });
}

/** The users who have a slice now. */
export function usersWithSlice(): number[] {
  try {
    return readdirSync(`${CGROUP_ROOT}/${USERS_SLICE}`).flatMap((name) => {
      const uid = /^user-([0-9]+)\.slice$/.exec(name)?.[1];
      return uid === undefined ? [] : [Number(uid)];
    });
  } catch {
    return []; // nobody has logged in yet
  }
}

/** A command that leads a cgroup to chains. */
const LEADING = /^add element \S+ \S+ session_(in|out) /;

/**
 * Gives what outlived a session its rules back, until its scope ends.
 *
 * @throws {Refusal} `request` when there is nothing to release, or that of `restore`, or as a login would
 */
export async function release(unit: ScopeUnit): Promise<void> {
  const deadline = performance.now() + PATIENCE;
  // Nobody would remove the lock of a session that is not.
  if (readRecord(unit) === undefined)
    throw new Refusal(
      "request",
      `Cannot release ${oneLine(unit)}: there is no such session; see /run/authnft/sessions.`,
    );
  using _session = await lockSession(unit, deadline);
  const record = readRecord(unit);
  if (record?.state !== "lingering" || record.lingering === "keep") {
    throw new Refusal(
      "request",
      `Cannot release ${oneLine(unit)}: it is no session that was closed and still has processes; see /run/authnft/sessions.`,
    );
  }
  if (cgroupId(record.cg_path) !== BigInt(record.cg_id)) {
    throw new Refusal("request", `Cannot release ${unit}: it is over.`);
  }
  // What an earlier release has put aside is made anew.
  const lines = readPolicy(unit, "closed") ?? compiledAnew(record);
  await change(deadline, ({ undo }) => {
    mendTable();
    undo(swapPolicy(unit, lines));
    writeRecord({ ...record, lingering: "keep" });
    undo(() => writeRecord(record));
    // Its chains first, which nothing leads to; then what leads to them in the place of what closes it, at once.
    const subject = sessionSubject(record);
    undo(() => {
      const { changes } = departure(subject.id, keysOf(subject), firewall, ownObjectsIn(lines, subject.id));
      firewall.change(TABLE_NAME, [...changes, ...closing(record.cg_id)]);
    });
    run(lines.filter((line) => !LEADING.test(line)));
    firewall.change(TABLE_NAME, leading(subject, firewall));
  });
  await setAddresses(unit, undefined, performance.now() + LOCK_PATIENCE);
}
