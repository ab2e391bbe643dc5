// SPDX-License-Identifier: GPL-2.0-or-later

// The removal of a session's rules from the table, and with a user's last session of those of the user's slice. All of it under
// the lock of the ruleset.

import {
  blockCgroup,
  keysOf,
  staleBlocks,
  subjectRemoval,
  type Traffic,
  unblockCgroup,
} from "../../ruleset/removal.ts";
import { sharedIn } from "../../ruleset/shared_policy.ts";
import { ownObjectsIn } from "../../ruleset/subject.ts";
import { TABLE_NAME } from "../../ruleset/table.ts";
import type { SessionRecord } from "../../subjects/session/record.ts";
import {
  isLoginScope,
  type ScopeUnit,
  SLICE,
  sessionId,
  USERS_SLICE,
} from "../../subjects/session/scope_unit.ts";
import { sessionSubject } from "../../subjects/session/session.ts";
import { SystemError } from "../../system/ffi/libc.ts";
import { cgroupIdsBelow, firewall } from "../host.ts";
import { dropUnused } from "../shared.ts";
import { saveSliceChange, slicesWithoutSession, sliceWithout } from "../slice/remove.ts";
import { readPolicy } from "../store.ts";

/** What a session sent and received, and the users whose slices have no network any more. */
export type Removal = { readonly traffic: Traffic | undefined; readonly slices: readonly number[] };

/**
 * Removes a session's rules, and its user's slice's with the user's last session; in one transaction. What is not there is
 * passed over.
 *
 * @param record names the elements; without it they are looked for
 * @param options.close whether something is left that is to have no network, rather than the network of what it lies in
 * @throws {SystemError} when the kernel refuses
 */
export function removeSession(
  unit: ScopeUnit,
  record: SessionRecord | undefined,
  options: { readonly close: boolean },
): Removal {
  try {
    return removeOnce(unit, record, options);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    // Perhaps only the answer was lost: then the rules are gone, and a failure would say that they are there.
    return removeOnce(unit, record, options);
  }
}

function removeOnce(
  unit: ScopeUnit,
  record: SessionRecord | undefined,
  options: { readonly close: boolean },
): Removal {
  const slice = record === undefined ? slicesWithoutSession() : sliceWithout(record);
  if (record?.state === "refused") {
    // It never had chains; chains of its name are another session's.
    firewall.change(TABLE_NAME, [...unblockCgroup(record.cg_id, firewall), ...slice.changes]);
    return { traffic: undefined, slices: saveSliceChange(slice) };
  }
  const subject = record && sessionSubject(record);
  const name = subject?.id ?? nameOf(unit);
  const saved = readPolicy(unit) ?? readPolicy(unit, "closed") ?? [];
  const { changes, traffic } = subjectRemoval(
    name,
    subject && keysOf(subject),
    firewall,
    ownObjectsIn(saved, name),
  );
  const closed = record !== undefined && options.close ? blockCgroup(record.cg_id) : [];
  const stale = record === undefined ? staleBlocks(liveCgroups(), firewall) : [];
  firewall.change(TABLE_NAME, [...changes, ...slice.changes, ...closed, ...stale]);
  dropUnused([sharedIn(saved), ...slice.shared]);
  return { traffic, slices: saveSliceChange(slice) };
}

/**
 * Removes from the user's slice what was a session's. The session's own rules stay.
 *
 * @returns the users whose slices have no network any more
 * @throws {SystemError} when the kernel refuses
 */
export function leaveSlice(record: SessionRecord): readonly number[] {
  const slice = sliceWithout(record);
  firewall.change(TABLE_NAME, slice.changes);
  dropUnused(slice.shared);
  return saveSliceChange(slice);
}

/** Lists the cgroups that a session may be in. */
function liveCgroups(): ReadonlySet<bigint> {
  return new Set([...cgroupIdsBelow(SLICE), ...cgroupIdsBelow(USERS_SLICE)]);
}

/** Returns the name that a session's chains begin with, where no record tells: by the unit's name, or by its rules. */
export function nameOf(unit: ScopeUnit): string {
  if (!isLoginScope(unit)) return sessionId({ scope_unit: unit, user: "", pid: 0 });
  const saved = readPolicy(unit) ?? readPolicy(unit, "closed") ?? [];
  return /^create chain \S+ \S+ (\S+)_in$/.exec(saved[0] ?? "")?.[1] ?? `session_${unit}`;
}
