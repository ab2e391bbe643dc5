// SPDX-License-Identifier: GPL-2.0-or-later

// The removal of a user slice's rules, or of one session's part in them. All of it under the lock of the ruleset.

import { addressElement, parseAddress } from "../../address.ts";
import {
  addressRemoval,
  type Change,
  isClosedByDefault,
  sliceRemoval,
  subjectRemoval,
} from "../../ruleset/removal.ts";
import { sharedIn } from "../../ruleset/shared_policy.ts";
import { addressSet, ownObjectsIn, subjectChain } from "../../ruleset/subject.ts";
import { TABLE_NAME } from "../../ruleset/table.ts";
import type { SessionRecord } from "../../subjects/session/record.ts";
import { isLoginScope, type ScopeUnit, userSlice } from "../../subjects/session/scope_unit.ts";
import { sliceId, uidOfSlice } from "../../subjects/slice/slice.ts";
import { cgroupId, firewall, unseal } from "../host.ts";
import { saveBestEffort } from "../saved.ts";
import { readRecords } from "../session/records.ts";
import { dropUnused } from "../shared.ts";
import {
  closePolicy,
  keepSlices,
  policyNames,
  readPolicy,
  rememberedSlices,
  removePolicy,
  savePolicy,
} from "../store.ts";

/** What changes in user slices: whose are closed, and the commands to save of those that stay. */
export type SliceChange = {
  readonly closed: readonly number[];
  readonly changes: readonly Change[];
  /** The shared policies that the closed ones may be the last to use. */
  readonly shared: readonly (string | undefined)[];
  readonly files: readonly { readonly name: string; readonly lines: readonly string[] }[];
};

/** Makes the change of a user's slice for the end of one of the user's sessions. */
export function sliceWithout(record: SessionRecord): SliceChange {
  const { uid, user, scope_unit, remote_ip } = record;
  const others = readRecords({ name: user, uid }).filter(
    ({ state, scope_unit: unit }) => state === "open" && unit !== scope_unit,
  );
  if (others.length === 0) return closeSlices([uid]);
  const id = cgroupId(userSlice(uid));
  const address = parseAddress(remote_ip);
  if (id === undefined || address === undefined || others.some((other) => other.remote_ip === remote_ip))
    return { closed: [], changes: [], shared: [], files: [] };
  const name = sliceId(uid);
  const { family, text } = addressElement(address);
  const said = `${addressSet(family)} { "${userSlice(uid)}" . ${text} `;
  const lines = readPolicy(name)?.filter((line) => !line.includes(said));
  return {
    closed: [],
    changes: addressRemoval(id, address, firewall),
    shared: [],
    files: lines === undefined ? [] : [{ name, lines }],
  };
}

/** Makes the change of slices for the end of an unknown session: those without any session are closed. */
export function slicesWithoutSession(): SliceChange {
  const open = new Set(readRecords().flatMap(({ state, uid }) => (state === "open" ? [uid] : [])));
  return closeSlices(
    policyNames("nft")
      .flatMap((name) => uidOfSlice(name) ?? [])
      .filter((uid) => !open.has(uid)),
  );
}

function closeSlices(uids: readonly number[]): SliceChange {
  const open = uids.filter((uid) => firewall.hasChain(TABLE_NAME, subjectChain(sliceId(uid), "in")));
  return {
    closed: uids,
    changes: open.flatMap((uid) => {
      const name = sliceId(uid);
      return subjectRemoval(name, undefined, firewall, ownObjectsIn(readPolicy(name) ?? [], name)).changes;
    }),
    shared: open.map((uid) => sharedIn(readPolicy(sliceId(uid)) ?? [])),
    files: [],
  };
}

/**
 * Saves a change of slices that the kernel has made.
 *
 * @returns the users whose slices have no network any more. The slice of one who has left the group meanwhile is open:
 * nothing in it is cut off.
 */
export function saveSliceChange({ closed, files }: SliceChange): readonly number[] {
  for (const uid of closed)
    saveBestEffort(`${userSlice(uid)} is closed, but`, () => closePolicy(sliceId(uid)));
  for (const { name, lines } of files)
    saveBestEffort(`An address is removed from ${name}, but`, () => savePolicy(name, lines));
  return closed.filter((uid) => {
    const id = cgroupId(userSlice(uid));
    return id !== undefined && isClosedByDefault(id, firewall);
  });
}

/**
 * Opens the slice of a user who is no longer a member: what runs there outside of sessions is not filtered. Sessions in scopes of
 * ours keep their rules until they end.
 *
 * @returns the scopes in the slice that have rules of their own, or none on purpose: while there are some nothing is changed,
 * since they are judged by what closes the slice
 * @throws {SystemError} when the kernel refuses; then the slice is closed as it was
 * @throws {Refusal} `record` when what a restoration reads cannot be changed
 */
export function openUserSlice(uid: number): ScopeUnit[] {
  const slice = userSlice(uid);
  const id = cgroupId(slice);
  const inside = readRecords().filter(
    (record) =>
      record.uid === uid &&
      isLoginScope(record.scope_unit) &&
      cgroupId(record.cg_path) === BigInt(record.cg_id),
  );
  if (inside.length > 0) return inside.map(({ scope_unit }) => scope_unit);
  const { changes, shared } = closeSlices([uid]);
  // The files first: what they say is brought back by whoever restores the table.
  keepSlices(rememberedSlices().filter((one) => one.name !== slice || one.id !== id));
  removePolicy(sliceId(uid));
  if (id === undefined) {
    firewall.change(TABLE_NAME, changes);
    return [];
  }
  firewall.change(TABLE_NAME, [...changes, ...sliceRemoval({ set: "covered_slices", id }, firewall)]);
  dropUnused(shared);
  unseal(slice);
  return [];
}
