// SPDX-License-Identifier: GPL-2.0-or-later

// Who leaves the table: a session, and with a user's last session the policy of the user's slice. All of it under the lock of the ruleset.

import { addressElement, parseAddress } from "../../address.ts";
import {
  addressDeparture,
  type Change,
  closing,
  departure,
  isCovered,
  keysOf,
  opening,
  sliceDeparture,
  staleClosings,
  type Traffic,
} from "../../ruleset/removal.ts";
import { addressSet, ownObjectsIn, subjectChain } from "../../ruleset/subject.ts";
import { TABLE_NAME } from "../../ruleset/table.ts";
import type { SessionRecord } from "../../subjects/session/record.ts";
import {
  isLoginScope,
  type ScopeUnit,
  SLICE,
  sessionId,
  USERS_SLICE,
  userSlice,
} from "../../subjects/session/scope_unit.ts";
import { sessionSubject } from "../../subjects/session/session.ts";
import { sliceId, uidOfSlice } from "../../subjects/slice/slice.ts";
import { SystemError } from "../../system/ffi/libc.ts";
import { cgroupId, cgroupIdsBelow, firewall, unseal } from "../host.ts";
import { kept } from "../kept.ts";
import {
  closePolicy,
  keepSlices,
  policyNames,
  readPolicy,
  readRecords,
  rememberedSlices,
  removePolicy,
  savePolicy,
} from "../store.ts";

/** What a session sent and received, and whose slices have no network any more. */
export type Left = { readonly traffic: Traffic | undefined; readonly slices: readonly number[] };

/**
 * Takes a session's rules out, and their slice's with the user's last; in one transaction. What was not there is passed over.
 *
 * @param record names the elements; without it they are looked for
 * @param options.close whether something is left that is to have no network, rather than that of what it lies in
 * @throws {SystemError} when the kernel refuses
 */
export function removeSession(
  unit: ScopeUnit,
  record: SessionRecord | undefined,
  options: { readonly close: boolean },
): Left {
  try {
    return attempt(unit, record, options);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    // It may be the answer that was lost: then the rules are gone, and whoever is told of a failure says that they are there.
    return attempt(unit, record, options);
  }
}

function attempt(
  unit: ScopeUnit,
  record: SessionRecord | undefined,
  options: { readonly close: boolean },
): Left {
  const slice = record === undefined ? slicesWithoutSession() : sliceWithout(record);
  if (record?.state === "refused") {
    // It never had chains; those of its name are somebody else's.
    firewall.change(TABLE_NAME, [...opening(record.cg_id, firewall), ...slice.changes]);
    return settle(slice, undefined);
  }
  const subject = record && sessionSubject(record);
  const name = subject?.id ?? nameOf(unit);
  const saved = readPolicy(unit) ?? readPolicy(unit, "closed") ?? [];
  const { changes, traffic } = departure(
    name,
    subject && keysOf(subject),
    firewall,
    ownObjectsIn(saved, name),
  );
  const closed = record !== undefined && options.close ? closing(record.cg_id) : [];
  const stale = record === undefined ? staleClosings(liveCgroups(), firewall) : [];
  firewall.change(TABLE_NAME, [...changes, ...slice.changes, ...closed, ...stale]);
  return settle(slice, traffic);
}

/** Takes out what of the user's slice was a session's, whose own rules stay. @throws {SystemError} when the kernel refuses */
export function leaveSlice(record: SessionRecord): Left {
  const slice = sliceWithout(record);
  firewall.change(TABLE_NAME, slice.changes);
  return settle(slice, undefined);
}

/**
 * Gives what a user runs outside of sessions the network of everybody: of a user who is no member any more. Sessions in scopes
 * of ours keep their rules until they end.
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
  const changes = closeSlices([uid]).changes;
  // The files first: what they say is brought back by whoever restores the table.
  keepSlices(rememberedSlices().filter((one) => one.name !== slice || one.id !== id));
  removePolicy(sliceId(uid));
  if (id === undefined) {
    firewall.change(TABLE_NAME, changes);
    return [];
  }
  firewall.change(TABLE_NAME, [...changes, ...sliceDeparture({ set: "covered_slices", id }, firewall)]);
  unseal(slice);
  return [];
}

/** Writes down what has become of the slices. */
function settle({ closed, kept: files }: SliceChange, traffic: Traffic | undefined): Left {
  for (const uid of closed) kept(`${userSlice(uid)} is closed, but`, () => closePolicy(sliceId(uid)));
  for (const { name, lines } of files)
    kept(`An address is taken out of ${name}, but`, () => savePolicy(name, lines));
  // The slice of one who has left the group meanwhile is open: nothing in it is cut off.
  return { traffic, slices: closed.filter(isClosed) };
}

function isClosed(uid: number): boolean {
  const id = cgroupId(userSlice(uid));
  return id !== undefined && isCovered(id, firewall);
}

/** The cgroups that a session may be in. */
function liveCgroups(): ReadonlySet<bigint> {
  return new Set([...cgroupIdsBelow(SLICE), ...cgroupIdsBelow(USERS_SLICE)]);
}

/** What the name of a session's chains begins with, where no record tells: as the unit is called, or as its rules say. */
export function nameOf(unit: ScopeUnit): string {
  if (!isLoginScope(unit)) return sessionId({ scope_unit: unit, user: "", pid: 0 });
  const saved = readPolicy(unit) ?? readPolicy(unit, "closed") ?? [];
  return /^create chain \S+ \S+ (\S+)_in$/.exec(saved[0] ?? "")?.[1] ?? `session_${unit}`;
}

/** What has to change in user slices: whose are closed, and what is kept of those that stay. */
type SliceChange = {
  readonly closed: readonly number[];
  readonly changes: readonly Change[];
  readonly kept: readonly { readonly name: string; readonly lines: readonly string[] }[];
};

/** What becomes of a user's slice without one of the user's sessions. */
function sliceWithout(record: SessionRecord): SliceChange {
  const { uid, user, scope_unit, remote_ip } = record;
  const others = readRecords({ name: user, uid }).filter(
    ({ state, scope_unit: unit }) => state === "open" && unit !== scope_unit,
  );
  if (others.length === 0) return closeSlices([uid]);
  const id = cgroupId(userSlice(uid));
  const address = parseAddress(remote_ip);
  if (id === undefined || address === undefined || others.some((other) => other.remote_ip === remote_ip))
    return { closed: [], changes: [], kept: [] };
  const name = sliceId(uid);
  const { family, text } = addressElement(address);
  const said = `${addressSet(family)} { "${userSlice(uid)}" . ${text} `;
  const lines = readPolicy(name)?.filter((line) => !line.includes(said));
  return {
    closed: [],
    changes: addressDeparture(id, address, firewall),
    kept: lines === undefined ? [] : [{ name, lines }],
  };
}

/** What becomes of the slices when a session ends of which nothing is known: those without any session are closed. */
function slicesWithoutSession(): SliceChange {
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
      return departure(name, undefined, firewall, ownObjectsIn(readPolicy(name) ?? [], name)).changes;
    }),
    kept: [],
  };
}
