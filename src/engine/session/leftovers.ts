// SPDX-License-Identifier: GPL-2.0-or-later
import type { SessionRecord } from "../../subjects/session/record.ts";
import { cgroupPath, isLoginScope, type ScopeUnit, sessionId } from "../../subjects/session/scope_unit.ts";
import { SESSION_KIND } from "../../subjects/session/session.ts";
import { cgroupId, lock, removeFile } from "../host.ts";
import type { Keeper, Leftover } from "../leftovers.ts";
import { logWarning } from "../warning.ts";
import { endSession } from "./close.ts";
import {
  lockFile,
  readRecord,
  readRecords,
  recordedUnits,
  sessionsWithRules,
  unitsWithLock,
} from "./records.ts";
import { nameOf } from "./remove.ts";

/** The leftovers of sessions whose clean-up never ran or never succeeded. */
export const SESSION_LEFTOVERS: Keeper = {
  find: () => {
    const records = new Map(readRecords().map((record) => [record.scope_unit, record]));
    const recorded = new Set(recordedUnits());
    const over = new Set(
      [...recorded, ...sessionsWithRules()].filter((unit) => isOver(unit, records.get(unit))),
    );
    return [
      // A session takes its rules, its lock and its files along.
      ...[...over].map((name): Leftover => ({ kind: "session", name })),
      ...unitsWithLock()
        .filter((unit) => !over.has(unit) && !recorded.has(unit) && isOver(unit, undefined))
        .map((name): Leftover => ({ kind: "lock", name })),
    ];
  },
  remove: async ({ kind, name }) =>
    kind === "lock" ? await removeLock(name as ScopeUnit) : await endSession(name as ScopeUnit),
  // The record of a live session may be lost.
  ids: () => [...readRecords().map(sessionId), ...sessionsWithRules().map(nameOf)],
  cgroups: () => readRecords().map(({ cg_id }) => BigInt(cg_id)),
};

/** Whether a session's scope is gone, or belongs to another session by now. Without a record that cannot be known of logind's scopes. */
function isOver(unit: ScopeUnit, record: SessionRecord | undefined): boolean {
  if (record !== undefined) return SESSION_KIND.hasEnded(record, cgroupId(record.cg_path));
  return !isLoginScope(unit) && cgroupId(cgroupPath(unit, 0)) === undefined;
}

async function removeLock(unit: ScopeUnit): Promise<boolean> {
  using held = await lock(lockFile(unit), performance.now());
  if (held === undefined || !isOver(unit, readRecord(unit))) return false;
  try {
    removeFile(held.path);
    return true;
  } catch (error) {
    logWarning(`The lock ${unit} could not be removed`, error);
    return false;
  }
}
