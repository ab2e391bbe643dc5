// SPDX-License-Identifier: GPL-2.0-or-later

// The table as it is loaded: what is put in, brought back and taken out. All of it under the lock of the ruleset.

import { existsSync } from "node:fs";
import { Refusal } from "../refusal.ts";
import {
  type Address as AddressElement,
  addressSet,
  closeMember,
  type Member,
  memberChain,
  memberElements,
  ownObjectsIn,
  replaceMember,
} from "../ruleset/members.ts";
import {
  BASE_CHAINS,
  baseTable,
  closeSlices,
  coverSlice,
  type Slices,
  TABLE,
  TABLE_NAME,
} from "../ruleset/table.ts";
import { type Address, familyOf, parseAddress } from "../session/address.ts";
import { hasRules, type SessionRecord } from "../session/record.ts";
import {
  addressDeparture,
  type Change,
  chainOf,
  closing,
  closingSlice,
  departure,
  sliceDeparture,
  staleClosings,
  type Traffic,
} from "../session/removal.ts";
import {
  coverName,
  isLoginScope,
  type ScopeUnit,
  SLICE,
  sessionName,
  USERS_SLICE,
  userSlice,
} from "../session/scope_unit.ts";
import { CGROUP_ROOT, cgroupId, cgroupIdsBelow } from "../system/cgroup.ts";
import * as nftables from "../system/nftables.ts";
import { complain } from "./report.ts";
import {
  type ClosedSlice,
  isAnybodyIn,
  keepSlices,
  policyNames,
  readPolicy,
  readRecords,
  rememberedSlices,
  rememberSlice,
  removePolicy,
  savePolicy,
  saveRuleset,
} from "./store.ts";

/** A member of the group, as far as the table is concerned. */
export type Person = { readonly name: string; readonly uid: number };

/**
 * Runs a transaction.
 *
 * @param place tells the place in a fragment that a line, from 0, comes from
 * @throws {Refusal} `nft-syntax` for a line that comes from a fragment, `ruleset` for any other
 */
export function run(
  lines: readonly string[],
  place: (line: number) => string | undefined = () => undefined,
): void {
  try {
    nftables.runTransaction(lines);
  } catch (error) {
    if (!(error instanceof nftables.TransactionError)) throw error;
    const where = error.line === undefined ? undefined : place(error.line);
    if (where !== undefined)
      throw new Refusal(
        "nft-syntax",
        `${where}: nftables does not take what it says: ${error.complaint}; see nft(8).`,
      );
    throw new Refusal(
      "ruleset",
      `Cannot load the rules into table ${TABLE}: ${error.complaint} (${lines[error.line ?? -1] ?? "the transaction as a whole"}); run "authnft doctor", and if the table is somebody else's, "nft delete table ${TABLE}".`,
    );
  }
}

/** The slices as they are now. */
export function slices(): Slices {
  return { closed: SLICE, users: existsSync(`${CGROUP_ROOT}/${USERS_SLICE}`) ? USERS_SLICE : undefined };
}

/** Closes what is below the slices, and remembers them. @throws {Refusal} `ruleset` or `record` */
export function closeBase(): string[] {
  const now = slices();
  for (const name of [now.closed, now.users]) if (name !== undefined) remember("slices", name);
  return closeSlices(now);
}

function coverLine(slice: string): string {
  remember("covered_slices", slice);
  return coverSlice(slice);
}

function remember(set: "slices" | "covered_slices", name: string): void {
  const id = cgroupId(name);
  if (id !== undefined) kept(`Slice ${name} is closed, but`, () => rememberSlice({ set, name, id }));
}

/** Keeps on disk what only a later restoration needs: to close comes first, and must not fail for want of room. */
function kept(what: string, act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    complain(`${what} a later "authnft restore" may miss something`, error);
  }
}

/** Sees to it that the table is whole and knows the slices; brings everything back where it is not. @throws {Refusal} `ruleset` */
export function mendTable(): void {
  if (baseIsWhole()) run(closeBase());
  else restoreTable();
}

function baseIsWhole(): boolean {
  return Object.entries(BASE_CHAINS).every(
    ([chain, rules]) => nftables.countRules(TABLE_NAME, chain) === rules,
  );
}

/**
 * Writes the table anew in one transaction: the base, every session that is to have rules, the covers. A packet is judged
 * by the old rules or by the new ones.
 *
 * @returns how many sessions are under their rules
 * @throws {Refusal} `ruleset`, when not even the base can be loaded
 */
export function restoreTable(): number {
  const base = baseTable(slices());
  // Whatever is there under our name goes, be it somebody else's.
  const fresh = [`add table ${TABLE}`, `delete table ${TABLE}`, ...base];
  closeBase();
  kept("The table is loaded, but", () => {
    // What closed a slice that is gone would make nft take nothing of it.
    for (const name of policyNames("closed")) {
      const uid = coveredUid(name);
      if (uid !== undefined && cgroupId(userSlice(uid)) === undefined) removePolicy(name);
    }
    saveRuleset(base);
  });
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const wanted = members();
    try {
      run([...fresh, ...wanted.flatMap(({ lines }) => lines)]);
      closeGoneSlices();
      return wanted.filter(({ isSession }) => isSession).length;
    } catch (error) {
      // A cgroup that goes this very moment fails the whole, and is not among those of the next attempt.
      if (attempt === ATTEMPTS) complain("The table cannot be brought back in one transaction", error);
    }
  }
  // Somebody's rules are not to be had. All slices are closed first, then whoever is left is brought back one by one.
  run([...fresh, ...closedCovers().flatMap(({ lines }) => lines)]);
  closeGoneSlices();
  let restored = 0;
  for (const { what, lines, isSession } of members()) {
    try {
      run(lines);
      if (isSession) restored++;
    } catch (error) {
      complain(`${what} has no network, for its rules cannot be brought back`, error);
    }
  }
  return restored;
}

/** How often the whole is tried: each time may fail over another cgroup that has just gone. */
const ATTEMPTS = 10;

/** Closes the slices that were, too: sockets of theirs may live. */
function closeGoneSlices(): void {
  const gone = rememberedSlices().filter(({ name, id }) => cgroupId(name) !== id);
  nftables.change(TABLE_NAME, gone.flatMap(closingSlice));
}

/** Forgets the slices that were, once nobody is left who could have kept a socket of theirs. */
export function forgetGoneSlices(): void {
  if (isAnybodyIn()) return;
  const all = rememberedSlices();
  const isGone = ({ name, id }: ClosedSlice): boolean => cgroupId(name) !== id;
  const gone = all.filter(isGone);
  if (gone.length === 0 || all.some((slice) => slice.set === "covered_slices" && !isGone(slice))) return;
  nftables.change(
    TABLE_NAME,
    gone.flatMap((slice) => sliceDeparture(slice, nftables)),
  );
  keepSlices(all.filter((slice) => !gone.includes(slice)));
}

type Wanted = { readonly what: string; readonly lines: readonly string[]; readonly isSession: boolean };

/** What belongs into the table besides its base, by the records. */
function members(): Wanted[] {
  const sessions = readRecords().flatMap((record): Wanted[] => {
    const { scope_unit: unit, cg_path: path } = record;
    if (cgroupId(path) !== BigInt(record.cg_id)) return [];
    const lines = hasRules(record) ? readPolicy(unit) : undefined;
    return [{ what: unit, lines: lines ?? closeMember(path), isSession: lines !== undefined }];
  });
  const open = policyNames("nft").flatMap((name): Wanted[] => {
    const uid = coveredUid(name);
    const lines = readPolicy(name);
    if (uid === undefined || lines === undefined || cgroupId(userSlice(uid)) === undefined) return [];
    return [{ what: userSlice(uid), lines, isSession: false }];
  });
  return [...closedCovers(), ...open, ...sessions];
}

/** What closes the slices that are covered. */
function closedCovers(): Wanted[] {
  return rememberedSlices().flatMap(({ set, name, id }): Wanted[] =>
    set === "covered_slices" && cgroupId(name) === id
      ? [{ what: name, lines: [coverSlice(name)], isSession: false }]
      : [],
  );
}

function coveredUid(policyName: string): number | undefined {
  const uid = /^cover_([0-9]+)$/.exec(policyName)?.[1];
  return uid === undefined ? undefined : Number(uid);
}

/** An address as the table's sets have it. */
export function addressElement(address: Address): AddressElement {
  return { family: familyOf(address), text: address };
}

/**
 * The commands that put what a user runs outside of sessions under the rules of a session that opens.
 *
 * @param parts compiled for the cover's own chains
 * @param open the records of all open sessions of the user
 * @returns none where the user has no slice
 */
export function openCover(
  { name, uid }: Person,
  parts: Member["parts"],
  open: readonly SessionRecord[],
  options: { readonly keepsFlows?: boolean } = {},
): string[] {
  const slice = userSlice(uid);
  const id = cgroupId(slice);
  if (id === undefined) return [];
  const member: Member = {
    name: coverName(uid),
    cgroupPath: slice,
    cgroupId: id,
    generation: Math.max(...open.map(({ generation }) => generation)),
    keepsFlows: options.keepsFlows === true,
    addresses: [...new Set(open.flatMap(({ remote_ip }) => parseAddress(remote_ip) ?? []))].map(
      addressElement,
    ),
    comment: `${name} (UID:${uid})`,
    parts,
  };
  const before = readPolicy(member.name) ?? [];
  const saved = [coverLine(slice), ...replaceMember(member, []).lines];
  savePolicy(member.name, saved);
  const inForce = chainOf(id, nftables) === memberChain(member.name, "out");
  // To delete rules makes the kernel wait for their readers: only where they differ.
  if (inForce && policyIn(before) === policyIn(saved)) return [coverSlice(slice), ...memberElements(member)];
  const previous = inForce ? ownObjectsIn(before, member.name) : [];
  return [coverLine(slice), ...replaceMember(member, previous).lines];
}

/** What lines bring besides the elements that lead to it. */
function policyIn(lines: readonly string[]): string {
  return lines
    .filter(
      (line) => /^(create|add rule) /.test(line) || (/^add element /.test(line) && !OUR_ELEMENT.test(line)),
    )
    .join("\n");
}

/** An element of ours: one that leads to a member's chains, closes a slice or holds an address. */
const OUR_ELEMENT = /^add element \S+ \S+ (covered_slices|session_(in|out|map_\w+)) /;

/**
 * Closes a user's slice by default, or leads it to the rules that it had where a session of theirs is open. The slice is
 * another one after each of the user's last logouts.
 *
 * @throws {Refusal} `ruleset` or `record`
 */
export function coverUser(uid: number): void {
  const slice = userSlice(uid);
  if (cgroupId(slice) === undefined) return;
  const name = coverName(uid);
  const lines = readPolicy(name) ?? [coverLine(slice)];
  // Where the rules are in force already, the new slice is led to them.
  const there = nftables.hasChain(TABLE_NAME, memberChain(name, "in"));
  run(there ? lines.filter((line) => OUR_ELEMENT.test(line)) : lines);
  remember("covered_slices", slice);
  if (policyNames("nft").includes(name)) return;
  kept(`${slice} is closed, but`, () => {
    savePolicy(name, [coverSlice(slice)], "closed");
  });
}

/**
 * Takes a session's rules out, and the cover's with the user's last; in one transaction. What was not there is passed over.
 *
 * @param record names the elements; without it they are looked for
 * @param options.close whether something is left that is to have no network, rather than that of what it lies in
 * @returns what was counted, and the cgroups that have no network any more
 * @throws {SystemError} when the kernel refuses
 */
export function takeOut(
  unit: ScopeUnit,
  record: SessionRecord | undefined,
  options: { readonly close: boolean },
): { readonly traffic: Traffic | undefined; readonly covers: readonly number[] } {
  const name = record === undefined ? nameOf(unit) : sessionName(record);
  const saved = readPolicy(unit) ?? readPolicy(unit, "closed") ?? [];
  const { changes, traffic } = departure(name, record, nftables, ownObjectsIn(saved, name));
  const cover = record === undefined ? coversWithoutSession() : coverWithout(record);
  const closed = record !== undefined && options.close ? closing(record.cg_id) : [];
  const stale = record === undefined ? staleClosings(liveCgroups(), nftables) : [];
  nftables.change(TABLE_NAME, [...changes, ...cover.changes, ...closed, ...stale]);
  for (const uid of cover.fallen) {
    kept(`The cover of user ${uid} is closed, but`, () => {
      if (cgroupId(userSlice(uid)) === undefined) removePolicy(coverName(uid));
      else savePolicy(coverName(uid), [coverSlice(userSlice(uid))], "closed");
    });
  }
  return { traffic, covers: cover.fallen };
}

/** The cgroups that a session may be in. */
function liveCgroups(): ReadonlySet<bigint> {
  return new Set([...cgroupIdsBelow(SLICE), ...cgroupIdsBelow(USERS_SLICE)]);
}

/** What the name of a session's chains begins with, where no record tells: as the unit is called, or as its rules say. */
function nameOf(unit: ScopeUnit): string {
  if (!isLoginScope(unit)) return sessionName({ scope_unit: unit, user: "", pid: 0 });
  const saved = readPolicy(unit) ?? readPolicy(unit, "closed") ?? [];
  return /^create chain \S+ \S+ (\S+)_in$/.exec(saved[0] ?? "")?.[1] ?? `session_${unit}`;
}

/** What has to change in the covers, and whose falls back to no network. */
type Fall = { readonly fallen: readonly number[]; readonly changes: readonly Change[] };

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
    return { fallen: [], changes: [] };
  const name = coverName(uid);
  const { family, text } = addressElement(address);
  const said = `${addressSet(family)} { "${userSlice(uid)}" . ${text} `;
  const lines = readPolicy(name);
  if (lines !== undefined) {
    kept(`${text} is taken out of ${name}, but`, () =>
      savePolicy(
        name,
        lines.filter((line) => !line.includes(said)),
      ),
    );
  }
  return { fallen: [], changes: addressDeparture(id, address, nftables) };
}

/** What becomes of the covers when a session ends of which nothing is known: those without any session fall. */
function coversWithoutSession(): Fall {
  const open = new Set(readRecords().flatMap(({ state, uid }) => (state === "open" ? [uid] : [])));
  return fall(
    policyNames("nft")
      .flatMap((name) => coveredUid(name) ?? [])
      .filter((uid) => !open.has(uid)),
  );
}

function fall(uids: readonly number[]): Fall {
  const open = uids.filter((uid) => nftables.hasChain(TABLE_NAME, memberChain(coverName(uid), "in")));
  return {
    fallen: uids,
    changes: open.flatMap((uid) => {
      const name = coverName(uid);
      return departure(name, undefined, nftables, ownObjectsIn(readPolicy(name) ?? [], name)).changes;
    }),
  };
}
