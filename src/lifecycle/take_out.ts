// SPDX-License-Identifier: GPL-2.0-or-later

// Who leaves the table: a session, and with a user's last session the user's cover. All of it under the lock of the ruleset.

import { addressSet, memberChain, ownObjectsIn } from "../ruleset/members.ts";
import { TABLE_NAME } from "../ruleset/table.ts";
import { addressElement, parseAddress } from "../session/address.ts";
import type { SessionRecord } from "../session/record.ts";
import {
  addressDeparture,
  type Change,
  closing,
  departure,
  isCovered,
  opening,
  sliceDeparture,
  staleClosings,
  type Traffic,
} from "../session/removal.ts";
import {
  coveredUser,
  coverName,
  isLoginScope,
  type ScopeUnit,
  SLICE,
  sessionName,
  USERS_SLICE,
  userSlice,
} from "../session/scope_unit.ts";
import { SystemError } from "../system/libc.ts";
import { cgroupId, cgroupIdsBelow, firewall, unseal } from "./host.ts";
import {
  closePolicy,
  keepSlices,
  policyNames,
  readPolicy,
  readRecords,
  rememberedSlices,
  removePolicy,
  savePolicy,
} from "./store.ts";
import { kept } from "./table.ts";

/** What a session sent and received, and whose slices have no network any more. */
export type Left = { readonly traffic: Traffic | undefined; readonly covers: readonly number[] };

/**
 * Takes a session's rules out, and the cover's with the user's last; in one transaction. What was not there is passed over.
 *
 * @param record names the elements; without it they are looked for
 * @param options.close whether something is left that is to have no network, rather than that of what it lies in
 * @throws {SystemError} when the kernel refuses
 */
export function takeOut(
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
  const cover = record === undefined ? coversWithoutSession() : coverWithout(record);
  if (record?.state === "refused") {
    // It never had chains; those of its name are somebody else's.
    firewall.change(TABLE_NAME, [...opening(record.cg_id, firewall), ...cover.changes]);
    return settle(cover, undefined);
  }
  const name = record === undefined ? nameOf(unit) : sessionName(record);
  const saved = readPolicy(unit) ?? readPolicy(unit, "closed") ?? [];
  const { changes, traffic } = departure(name, record, firewall, ownObjectsIn(saved, name));
  const closed = record !== undefined && options.close ? closing(record.cg_id) : [];
  const stale = record === undefined ? staleClosings(liveCgroups(), firewall) : [];
  firewall.change(TABLE_NAME, [...changes, ...cover.changes, ...closed, ...stale]);
  return settle(cover, traffic);
}

/** Takes out what of the cover was a session's, whose own rules stay. @throws {SystemError} when the kernel refuses */
export function leaveCover(record: SessionRecord): Left {
  const cover = coverWithout(record);
  firewall.change(TABLE_NAME, cover.changes);
  return settle(cover, undefined);
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
export function uncoverUser(uid: number): ScopeUnit[] {
  const slice = userSlice(uid);
  const id = cgroupId(slice);
  const inside = readRecords().filter(
    (record) =>
      record.uid === uid &&
      isLoginScope(record.scope_unit) &&
      cgroupId(record.cg_path) === BigInt(record.cg_id),
  );
  if (inside.length > 0) return inside.map(({ scope_unit }) => scope_unit);
  const changes = fall([uid]).changes;
  // The files first: what they say is brought back by whoever restores the table.
  keepSlices(rememberedSlices().filter((one) => one.name !== slice || one.id !== id));
  removePolicy(coverName(uid));
  if (id === undefined) {
    firewall.change(TABLE_NAME, changes);
    return [];
  }
  firewall.change(TABLE_NAME, [...changes, ...sliceDeparture({ set: "covered_slices", id }, firewall)]);
  unseal(slice);
  return [];
}

/** Writes down what has become of the covers. */
function settle({ fallen, kept: files }: Fall, traffic: Traffic | undefined): Left {
  for (const uid of fallen) kept(`${userSlice(uid)} is closed, but`, () => closePolicy(coverName(uid)));
  for (const { name, lines } of files)
    kept(`An address is taken out of ${name}, but`, () => savePolicy(name, lines));
  // The slice of one who has left the group meanwhile is open: nothing in it is cut off.
  return { traffic, covers: fallen.filter(isClosed) };
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
  if (!isLoginScope(unit)) return sessionName({ scope_unit: unit, user: "", pid: 0 });
  const saved = readPolicy(unit) ?? readPolicy(unit, "closed") ?? [];
  return /^create chain \S+ \S+ (\S+)_in$/.exec(saved[0] ?? "")?.[1] ?? `session_${unit}`;
}

/** What has to change in the covers, whose falls back to no network, and what is kept of those that stay. */
type Fall = {
  readonly fallen: readonly number[];
  readonly changes: readonly Change[];
  readonly kept: readonly { readonly name: string; readonly lines: readonly string[] }[];
};

/** What becomes of a user's cover without one of the user's sessions. */
function coverWithout(record: SessionRecord): Fall {
  const { uid, user, scope_unit, remote_ip } = record;
  const others = readRecords({ name: user, uid }).filter(
    ({ state, scope_unit: unit }) => state === "open" && unit !== scope_unit,
  );
  if (others.length === 0) return fall([uid]);
  const id = cgroupId(userSlice(uid));
  const address = parseAddress(remote_ip);
  if (id === undefined || address === undefined || others.some((other) => other.remote_ip === remote_ip))
    return { fallen: [], changes: [], kept: [] };
  const name = coverName(uid);
  const { family, text } = addressElement(address);
  const said = `${addressSet(family)} { "${userSlice(uid)}" . ${text} `;
  const lines = readPolicy(name)?.filter((line) => !line.includes(said));
  return {
    fallen: [],
    changes: addressDeparture(id, address, firewall),
    kept: lines === undefined ? [] : [{ name, lines }],
  };
}

/** What becomes of the covers when a session ends of which nothing is known: those without any session fall. */
function coversWithoutSession(): Fall {
  const open = new Set(readRecords().flatMap(({ state, uid }) => (state === "open" ? [uid] : [])));
  return fall(
    policyNames("nft")
      .flatMap((name) => coveredUser(name) ?? [])
      .filter((uid) => !open.has(uid)),
  );
}

function fall(uids: readonly number[]): Fall {
  const open = uids.filter((uid) => firewall.hasChain(TABLE_NAME, memberChain(coverName(uid), "in")));
  return {
    fallen: uids,
    changes: open.flatMap((uid) => {
      const name = coverName(uid);
      return departure(name, undefined, firewall, ownObjectsIn(readPolicy(name) ?? [], name)).changes;
    }),
    kept: [],
  };
}
