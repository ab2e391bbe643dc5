// SPDX-License-Identifier: GPL-2.0-or-later

// The records and locks of sessions.

import { escapeName } from "../../escaped_name.ts";
import { LOCK_DIRECTORY, NAMES_DIRECTORY, RECORD_DIRECTORY } from "../../paths.ts";
import { formatRecord, parseRecord, type SessionRecord } from "../../subjects/session/record.ts";
import { parseScopeUnit, type ScopeUnit } from "../../subjects/session/scope_unit.ts";
import type { Lock } from "../../system/host/files.ts";
import { Level, log } from "../../system/systemd/journal.ts";
import { makeDirectory, overwriteFile, readText, removeFile, replaceFile } from "../host.ts";
import { namesIn, notKept, policyNames, removeUnfinished, takeLock } from "../store.ts";

/** Takes the lock of a session. @throws {Refusal} `timeout` or `record` */
export function lockSession(unit: ScopeUnit, deadline: number): Promise<Lock> {
  return takeLock(unit, deadline, `systemctl status authnft-end@${unit}.service`);
}

/** Returns the path of a session's lock. */
export function lockFile(unit: ScopeUnit): string {
  return `${LOCK_DIRECTORY}/${unit}`;
}

/** Lists the sessions that have a lock, held or not. */
export function unitsWithLock(): ScopeUnit[] {
  return namesIn(LOCK_DIRECTORY).flatMap((name) => parseScopeUnit(name) ?? []);
}

/** Writes a session's record. @throws {Refusal} `record` */
export function writeRecord(record: SessionRecord): void {
  const path = recordPath(record.scope_unit);
  try {
    makeDirectory(RECORD_DIRECTORY, 0o755);
    replaceFile(path, formatRecord(record));
  } catch (error) {
    // With no room for a second file the record is overwritten in place: better read half written for a moment than saying something
    // other than the rules.
    if (overwriteFile(path, formatRecord(record))) return;
    throw notKept(`write the record of ${record.scope_unit}`, error);
  }
}

/** Reads a session's record; `undefined` when there is none, or none to be believed. */
export function readRecord(unit: ScopeUnit): SessionRecord | undefined {
  const text = readText(recordPath(unit));
  if (text === undefined) return undefined;
  const record = parseRecord(text);
  if (record?.scope_unit === unit) return record;
  log({
    level: Level.warning,
    message: `The record ${recordPath(unit)} is not one of ours; the ruleset is asked instead.`,
  });
  return undefined;
}

/** Reads all records, or those of a uid under all its names. */
export function readRecords(user?: { readonly name: string; readonly uid: number }): SessionRecord[] {
  // For one user's, the sessions of others need not be read. The name of a login session's scope does not tell its user.
  const names = user === undefined ? undefined : [escapeName(user.name), ...namesOf(user.uid)];
  const isOthers = (unit: string): boolean =>
    names !== undefined &&
    unit.startsWith("authnft-") &&
    !names.some((name) => unit.startsWith(`authnft-${name}-`));
  return namesIn(RECORD_DIRECTORY).flatMap((file) => {
    const unit = /^(.*)\.json$/.exec(file)?.[1];
    if (unit === undefined || isOthers(unit)) return [];
    const record = readRecord(unit as ScopeUnit);
    return record === undefined || (user !== undefined && record.uid !== user.uid) ? [] : [record];
  });
}

/** Lists the sessions that have a record, believable or not. */
export function recordedUnits(): ScopeUnit[] {
  return namesIn(RECORD_DIRECTORY).flatMap((file) => {
    const unit = /^(.*)\.json$/.exec(file)?.[1];
    return unit === undefined ? [] : (parseScopeUnit(unit) ?? []);
  });
}

/** Notes that a uid has sessions under this name, for `readRecords`. @throws {Refusal} `record` */
export function rememberName({ name, uid }: { readonly name: string; readonly uid: number }): void {
  const names = namesOf(uid);
  const escaped = escapeName(name);
  if (names.includes(escaped)) return;
  try {
    makeDirectory(NAMES_DIRECTORY, 0o700);
    replaceFile(`${NAMES_DIRECTORY}/${uid}`, `${[...names, escaped].join("\n")}\n`, 0o600);
  } catch (error) {
    throw notKept(`write the names of uid ${uid}`, error);
  }
}

/** Tells whether a uid has had a session since the boot. */
export function hasNames(uid: number): boolean {
  return namesOf(uid).length > 0;
}

function namesOf(uid: number): string[] {
  return (readText(`${NAMES_DIRECTORY}/${uid}`) ?? "").split("\n").filter((name) => name !== "");
}

/** Removes a session's record. @throws {Error} of node:fs */
export function removeRecord(unit: ScopeUnit): void {
  removeFile(recordPath(unit));
  removeUnfinished(RECORD_DIRECTORY, unit);
}

function recordPath(unit: string): string {
  return `${RECORD_DIRECTORY}/${unit}.json`;
}

/** Lists the sessions with saved commands, in force or put aside. */
export function sessionsWithRules(): ScopeUnit[] {
  return [...policyNames("nft"), ...policyNames("closed")].flatMap((name) => parseScopeUnit(name) ?? []);
}

/** Tells whether there is a record of any session, open or not. */
export function hasSessions(): boolean {
  return namesIn(RECORD_DIRECTORY).length > 0;
}
