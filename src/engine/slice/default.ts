// SPDX-License-Identifier: GPL-2.0-or-later

// The default of users' slices, while no session is open: closed for members, open for others.

import { readdirSync } from "node:fs";
import { isClosedByDefault } from "../../ruleset/removal.ts";
import { type ScopeUnit, USERS_SLICE, userSlice } from "../../subjects/session/scope_unit.ts";
import { CGROUP_ROOT } from "../../system/kernel/cgroup.ts";
import { cgroupId, findSeal, firewall } from "../host.ts";
import { lockRuleset } from "../store.ts";
import { repairTable } from "../table.ts";
import { applySlicePolicy } from "./policy.ts";
import { openUserSlice } from "./remove.ts";

/** How long to wait for logins that change the table, in milliseconds: longer than those may take. */
const PATIENCE = 15_000;

/**
 * Closes users' slices, until a session opens.
 *
 * @throws {Refusal} `ruleset`, `record` or `timeout`
 */
export async function closeUserSlices(uids: readonly number[]): Promise<void> {
  await findSeal(performance.now() + PATIENCE);
  using _held = await lockRuleset(performance.now() + PATIENCE);
  repairTable();
  for (const uid of uids) applySlicePolicy(uid);
}

/**
 * Opens the slices of users who are no longer members.
 *
 * @returns for each user the scopes that stand in the way for now; none where it is done
 * @throws {SystemError} when the kernel refuses
 * @throws {Refusal} `record` or `timeout`
 */
export async function openUserSlices(
  uids: readonly number[],
): Promise<ReadonlyMap<number, readonly ScopeUnit[]>> {
  using _held = await lockRuleset(performance.now() + PATIENCE);
  return new Map(uids.map((uid) => [uid, openUserSlice(uid)]));
}

/** Selects the users whose slices are closed by default. @throws {SystemError} */
export function closedUserSlices(uids: readonly number[]): number[] {
  return uids.filter((uid) => {
    const id = cgroupId(userSlice(uid));
    return id !== undefined && isClosedByDefault(id, firewall);
  });
}

/** Lists the users who have a slice now. */
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
