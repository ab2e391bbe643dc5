// SPDX-License-Identifier: GPL-2.0-or-later

// The part of the table that members' user slices have.

import { Refusal } from "../../refusal.ts";
import { closeUserSlice } from "../../ruleset/table.ts";
import { newestOf, type SessionRecord } from "../../subjects/session/record.ts";
import { userSlice } from "../../subjects/session/scope_unit.ts";
import { SLICE_KIND, sliceId, uidOfSlice } from "../../subjects/slice/slice.ts";
import { placed } from "../../subjects/subject.ts";
import { FragmentSource } from "../compile.ts";
import { cgroupId } from "../host.ts";
import { liveRecords } from "../session/standing.ts";
import { type asWanted, keepShared, readRules, rulesFor } from "../shared.ts";
import { policyNames, rememberedSlices, removePolicy, savePolicy } from "../store.ts";
import type { Wanted } from "../wanted.ts";
import { logWarning } from "../warning.ts";

/** Lists the slices that are closed by default, with the commands that close them. */
export function closedSlices(): Wanted[] {
  return rememberedSlices().flatMap(({ set, name, id }): Wanted[] =>
    set === "covered_slices" && cgroupId(name) === id
      ? [{ kind: "slice", cgroup: name, lines: [closeUserSlice(name)], hasRules: false }]
      : [],
  );
}

/** Forgets the commands that close slices that are gone: nft rejects a file that names one. @throws {Error} of node:fs */
export function forgetGoneDefaults(): void {
  for (const name of policyNames("slice")) {
    const uid = uidOfSlice(name);
    if (uid !== undefined && cgroupId(userSlice(uid)) === undefined) removePolicy(name);
  }
}

/** Lists the slices of members with an open session, under its rules. Compiles and saves rules that are not there. */
export function openSlices(toWanted: ReturnType<typeof asWanted>): Wanted[] {
  for (const records of Map.groupBy(
    liveRecords().filter(({ state }) => state === "open"),
    ({ uid }) => uid,
  ).values())
    makeAnew(records);
  return policyNames("nft").flatMap((name): Wanted[] => {
    const uid = uidOfSlice(name);
    const rules = readRules(name);
    if (uid === undefined || rules === undefined || cgroupId(userSlice(uid)) === undefined) return [];
    return [{ kind: "slice", cgroup: userSlice(uid), ...toWanted(rules), hasRules: true }];
  });
}

/** @param open the records of all open sessions of a user */
function makeAnew(open: readonly SessionRecord[]): void {
  const newest = newestOf(open);
  if (newest === undefined || readRules(sliceId(newest.uid)) !== undefined) return;
  const plan = SLICE_KIND.plan({ name: newest.user, uid: newest.uid, open });
  try {
    const compiled = new FragmentSource(newest.fragment).compileFor(plan);
    const id = cgroupId(plan.cgroup.path);
    if (id === undefined) return;
    const { own, shared } = rulesFor(placed(plan, id), compiled);
    if (shared !== undefined) keepShared([shared]);
    savePolicy(plan.id, [closeUserSlice(plan.cgroup.path), ...own]);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    logWarning(`${plan.cgroup.path} has no network, because its rules were not saved`, error);
  }
}
