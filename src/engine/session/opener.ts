// SPDX-License-Identifier: GPL-2.0-or-later

// The process that opens sessions, identified by its number and start time. It can have several sessions and is in one scope at a
// time: the record of that scope says where the process came from, and which other sessions it has begun and not ended.

import type { SessionRecord } from "../../subjects/session/record.ts";
import { placeOfProcess, type ScopeUnit, scopeUnit } from "../../subjects/session/scope_unit.ts";
import type { UserName } from "../../subjects/session/user_name.ts";
import { cgroupOfProcess, startOf } from "../host.ts";
import { lockRuleset } from "../store.ts";
import { readRecord, writeRecord } from "./records.ts";

/** Tells whether a live process is the one that opened a session. A number alone may be another process's by now. */
export function isOpener({ pid, pid_started: started }: SessionRecord, process: number): boolean {
  // A record of an earlier release has no start.
  return pid === process && (started === undefined || started === startOf(process));
}

/** Tells whether the process that opened a session is gone. */
export function isOpenerGone(record: SessionRecord): boolean {
  return cgroupOfProcess(record.pid) === "" || !isOpener(record, record.pid);
}

/** Returns the session in whose scope a process is, if it opened it itself. */
export function sessionAround(pid: number): SessionRecord | undefined {
  const place = placeOfProcess(cgroupOfProcess(pid));
  const record = place && readRecord(place.unit);
  return record !== undefined && isOpener(record, pid) ? record : undefined;
}

/** Lists the sessions that a process has begun and not ended, newest first, by the record of the one around it. */
export function unended(around: SessionRecord | undefined): readonly ScopeUnit[] {
  if (around === undefined) return [];
  return around.state === "lingering" ? around.pending : [around.scope_unit, ...around.pending];
}

/** How many sessions of a process are noted: as many as the names of its scopes can tell apart. */
const PENDING = 99;

/**
 * Notes that a process stays in a session's scope though its next session was refused, until it ends that one, too.
 *
 * @returns a name for the refused one
 * @throws {Refusal} `timeout` or `record`
 */
export async function keepPending(
  around: SessionRecord,
  user: UserName,
  deadline: number,
): Promise<ScopeUnit> {
  using _held = await lockRuleset(deadline);
  const record = readRecord(around.scope_unit) ?? around;
  const taken = new Set([record.scope_unit, ...record.pending]);
  let attempt = 1;
  while (taken.has(scopeUnit(user, record.pid, attempt))) attempt++;
  const unit = scopeUnit(user, record.pid, attempt);
  writeRecord({ ...record, pending: [unit, ...record.pending].slice(0, PENDING) });
  return unit;
}

/**
 * Notes that a process has ended a session.
 *
 * @param around the session around the process
 * @param ended the one that it has ended
 * @returns the cgroup where the process belongs now, with a leading slash: the scope of another session of its, or after the last
 *   the one that it came from; `undefined` where it stays
 * @throws {Refusal} `timeout` or `record`
 */
export async function settle(
  around: SessionRecord,
  ended: ScopeUnit,
  deadline: number,
): Promise<string | undefined> {
  if (ended === around.scope_unit && around.pending.length === 0) return around.taken_from || undefined;
  using _held = await lockRuleset(deadline);
  const record = readRecord(around.scope_unit) ?? around;
  const pending = record.pending.filter((unit) => unit !== ended);
  if (pending.length < record.pending.length) writeRecord({ ...record, pending });
  if (ended !== record.scope_unit && record.state !== "lingering") return undefined;
  if (pending.length === 0) return record.taken_from || undefined;
  for (const unit of pending) {
    const next = readRecord(unit);
    if (next === undefined || next.state === "lingering" || !isOpener(next, record.pid)) continue;
    writeRecord({ ...next, pending: pending.filter((other) => other !== unit) });
    return `/${next.cg_path}`;
  }
  return undefined;
}
