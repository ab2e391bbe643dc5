// SPDX-License-Identifier: GPL-2.0-or-later

// The table as a whole: what is loaded where nobody has a session, and what brings everybody back. All of it under the lock
// of the ruleset.

import { dirname } from "node:path";
import { escapeName } from "../escaped_name.ts";
import { Refusal } from "../refusal.ts";
import { addMember, closeMember, type Member, withOwnNames } from "../ruleset/members.ts";
import {
  BASE_CHAINS,
  baseTable,
  closeSlices,
  coverSlice,
  type Slices,
  TABLE,
  TABLE_NAME,
  tellRefused,
} from "../ruleset/table.ts";
import { addressElement, parseAddress } from "../session/address.ts";
import { hasRules, newestOf, type SessionRecord } from "../session/record.ts";
import { closingSlice, sliceDeparture } from "../session/removal.ts";
import {
  coveredUser,
  coverName,
  isLoginScope,
  REFUSED_CGROUP,
  SLICE,
  sessionName,
  USERS_SLICE,
  userSlice,
} from "../session/scope_unit.ts";
import { SystemError } from "../system/libc.ts";
import { TransactionError } from "../system/nftables.ts";
import { cgroupId, firewall, mayBeHeldBelow, seal, stampBits } from "./host.ts";
import { compileFor, type Person, readWhole } from "./policy.ts";
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
    firewall.runTransaction(lines);
  } catch (error) {
    if (!(error instanceof TransactionError)) throw error;
    const where = error.line === undefined ? undefined : place(error.line);
    if (where !== undefined)
      throw new Refusal(
        "nft-syntax",
        `${where}: nftables does not take what it says: ${withOwnNames(error.complaint, lines)}; see nft(8).`,
      );
    throw new Refusal(
      "ruleset",
      `Cannot load the rules into table ${TABLE}: ${error.complaint} (${lines[error.line ?? -1] ?? "the transaction as a whole"}); run "authnft doctor", and if the table is somebody else's, "nft delete table ${TABLE}".`,
    );
  }
}

/** Where systemd itself is, and its services. Only what never goes: nft takes nothing of a file that names what is not there. */
const OTHERS = ["init.scope", "system.slice"];

/** The slices as they are now. */
export function slices(): Slices {
  return {
    closed: SLICE,
    users: cgroupId(USERS_SLICE) !== undefined ? USERS_SLICE : undefined,
    others: OTHERS.filter((cgroup) => cgroupId(cgroup) !== undefined),
    stamps: stampBits(),
  };
}

/** The commands that close what is below the slices by default. The slices are remembered. */
export function closeBase(): string[] {
  const now = slices();
  for (const name of [now.closed, now.users]) if (name !== undefined) remember("slices", name);
  return [
    ...closeSlices(now),
    ...(cgroupId(REFUSED_CGROUP) === undefined ? [] : [tellRefused(REFUSED_CGROUP)]),
  ];
}

/** Remembers a slice that was closed: somebody may keep a socket of it when it is gone. */
export function remember(set: ClosedSlice["set"], name: string): void {
  const id = cgroupId(name);
  if (id !== undefined) kept(`Slice ${name} is closed, but`, () => rememberSlice({ set, name, id }));
}

/** Changes on disk what only a later restoration needs: to close comes first, and must not fail for want of room. */
export function kept(what: string, act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    complain(`${what} what a later "authnft restore" reads does not say so`, error);
  }
}

/** Sees to it that the table is whole and knows the slices; brings everything back where it is not. @throws {Refusal} `ruleset` */
export function mendTable(): void {
  if (!baseIsWhole()) {
    restoreTable();
    return;
  }
  run(closeBase());
  seal(SLICE);
}

function baseIsWhole(): boolean {
  return Object.entries(BASE_CHAINS).every(
    ([chain, rules]) => firewall.countRules(TABLE_NAME, chain) === rules,
  );
}

/**
 * Writes the table anew in one transaction: the base, every session that is to have rules, the covers. A packet is judged
 * by the old rules or by the new ones; where there were none, by a table that is closed until then.
 *
 * Whose rules are not to be had is left out, and has no network.
 *
 * @returns how many sessions are under their rules
 * @throws {Refusal} `ruleset`, when not even the base can be loaded
 */
export function restoreTable(): number {
  const base = baseTable(slices());
  // Whatever is there under our name goes, be it somebody else's.
  const fresh = [`add table ${TABLE}`, `delete table ${TABLE}`, ...base];
  const closing = closeBase();
  keepRuleset(base);
  const closed = (): void => run([...fresh, ...closing, ...closedCovers().flatMap(({ lines }) => lines)]);
  if (!baseIsWhole()) {
    closed();
    closeGoneSlices();
  }
  const all = members();
  let wanted = all;
  while (all.length - wanted.length < CULPRITS) {
    const lines = [...fresh, ...closing, ...wanted.flatMap((member) => member.lines)];
    try {
      firewall.runTransaction(lines);
      closeGoneSlices();
      sealAll();
      return countSessions(wanted);
    } catch (error) {
      if (!(error instanceof TransactionError)) throw error;
      const culprit = memberAt(wanted, (error.line ?? -1) - fresh.length - closing.length);
      if (culprit === undefined)
        run(lines); // says what is wrong with the base
      else giveUp(culprit, error);
      wanted = wanted.filter((member) => member !== culprit);
    }
  }
  // To find each of many in the whole would take too long.
  closed();
  closeGoneSlices();
  const restored = wanted.filter((member) => {
    try {
      firewall.runTransaction(member.lines);
      return true;
    } catch (error) {
      if (!(error instanceof TransactionError)) throw error;
      giveUp(member, error);
      return false;
    }
  });
  sealAll();
  return countSessions(restored);
}

/** Seals what is closed by default. What has rules in it has those of the table that has just been loaded, which stamp. */
function sealAll(): void {
  for (const slice of [SLICE, ...closedCovers().map(({ cgroup }) => cgroup)]) seal(slice);
}

/** How many whose rules are not to be had are told from the rest by trying again with all others. */
const CULPRITS = 8;

function giveUp({ cgroup }: Wanted, error: Error): void {
  // A cgroup that has just gone needs nobody's attention.
  if (cgroupId(cgroup) !== undefined)
    complain(`${cgroup} has no network, for its rules cannot be brought back`, error);
}

function countSessions(members: readonly Wanted[]): number {
  return members.filter(({ isSession }) => isSession).length;
}

/** Keeps what nft itself needs to bring everything back. */
function keepRuleset(base: readonly string[]): void {
  kept("The table is loaded, but", () => {
    // What closes a slice that is gone would make nft take nothing of it.
    for (const name of policyNames("slice")) {
      const uid = coveredUser(name);
      if (uid !== undefined && cgroupId(userSlice(uid)) === undefined) removePolicy(name);
    }
    saveRuleset(base);
  });
}

/** The member that a line, counted from the first of theirs, is of. */
function memberAt(wanted: readonly Wanted[], line: number): Wanted | undefined {
  let left = line;
  if (left < 0) return undefined;
  return wanted.find(({ lines }) => {
    left -= lines.length;
    return left < 0;
  });
}

/** Closes the slices that were, too: sockets of theirs may live. Best effort, for the table is in force already. */
function closeGoneSlices(): void {
  const gone = rememberedSlices().filter(({ name, id }) => cgroupId(name) !== id);
  try {
    firewall.change(TABLE_NAME, gone.flatMap(closingSlice));
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    complain("Slices that are gone cannot be closed again", error);
  }
}

/** Forgets the slices that were, once nothing is left that could be a socket of theirs. */
export function forgetGoneSlices(): void {
  const gone = forgettableSlices();
  if (gone.length === 0) return;
  firewall.change(
    TABLE_NAME,
    gone.flatMap((slice) => sliceDeparture(slice, firewall)),
  );
  keepSlices(
    rememberedSlices().filter((slice) => !gone.some(({ id, set }) => id === slice.id && set === slice.set)),
  );
}

/**
 * The slices that were, and of which no socket can be left: nobody has a session or a slice, or the kernel holds no cgroup any
 * more that is gone from beside them.
 */
export function forgettableSlices(): ClosedSlice[] {
  const all = rememberedSlices();
  const isGone = ({ name, id }: ClosedSlice): boolean => cgroupId(name) !== id;
  const gone = all.filter(isGone);
  if (gone.length === 0) return [];
  if (!isAnybodyIn() && !all.some((slice) => slice.set === "covered_slices" && !isGone(slice))) return gone;
  const held = new Map(
    [...new Set(gone.map(({ name }) => dirname(name)))].map((path) => [path, mayBeHeldBelow(path)]),
  );
  return gone.filter(({ name }) => held.get(dirname(name)) === false);
}

/** Something that belongs into the table besides its base. */
type Wanted = { readonly cgroup: string; readonly lines: readonly string[]; readonly isSession: boolean };

/** What belongs into the table, by the records. */
function members(): Wanted[] {
  const live = readRecords().filter(({ cg_path, cg_id }) => cgroupId(cg_path) === BigInt(cg_id));
  const sessions = live.map((record): Wanted => {
    const { cg_path: cgroup } = record;
    const lines = hasRules(record) ? (readPolicy(record.scope_unit) ?? sessionAnew(record)) : undefined;
    return { cgroup, lines: lines ?? closeMember(cgroup), isSession: lines !== undefined };
  });
  coversAnew(live.filter(({ state }) => state === "open"));
  const open = policyNames("nft").flatMap((name): Wanted[] => {
    const uid = coveredUser(name);
    const lines = readPolicy(name);
    if (uid === undefined || lines === undefined || cgroupId(userSlice(uid)) === undefined) return [];
    return [{ cgroup: userSlice(uid), lines, isSession: false }];
  });
  return [...closedCovers(), ...open, ...sessions];
}

/** What closes the slices that are covered. */
function closedCovers(): Wanted[] {
  return rememberedSlices().flatMap(({ set, name, id }): Wanted[] =>
    set === "covered_slices" && cgroupId(name) === id
      ? [{ cgroup: name, lines: [coverSlice(name)], isSession: false }]
      : [],
  );
}

/** The commands for a session whose rules were not kept; they are from then on. `undefined` where they cannot be had. */
function sessionAnew(record: SessionRecord): readonly string[] | undefined {
  const { scope_unit: unit } = record;
  try {
    const lines = compiledAnew(record);
    kept(`${unit} has its rules again, but`, () => savePolicy(unit, lines));
    return lines;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    complain(`${unit} has no network, for its rules were not kept`, error);
    return undefined;
  }
}

/** The commands for a session whose rules were not kept: one that an earlier release opened. @throws {Refusal} as a login would */
export function compiledAnew(record: SessionRecord): readonly string[] {
  const { scope_unit: unit, user, uid, fragment: path } = record;
  const address = parseAddress(record.remote_ip);
  const name = sessionName(record);
  const { parts } = compileFor({ name: user, uid }, readWhole(path), {
    path,
    chains: name,
    level: isLoginScope(unit) ? 3 : 2,
    address,
  });
  return addMember({
    name,
    cgroupPath: record.cg_path,
    cgroupId: BigInt(record.cg_id),
    addresses: address === undefined ? [] : [addressElement(address)],
    generation: record.generation,
    comment: sessionComment(record),
    parts,
  }).lines;
}

/** Makes and keeps the rules of those slices anew of which none were kept, though a session is open. */
function coversAnew(open: readonly SessionRecord[]): void {
  for (const records of Map.groupBy(open, ({ uid }) => uid).values()) {
    const newest = newestOf(records);
    if (newest === undefined || readPolicy(coverName(newest.uid)) !== undefined) continue;
    const { user: name, uid, fragment: path } = newest;
    const chains = coverName(uid);
    try {
      const address = parseAddress(newest.remote_ip);
      const { parts } = compileFor({ name, uid }, readWhole(path), { path, chains, level: 2, address });
      const member = coverMember({ name, uid }, parts, records);
      if (member === undefined) continue;
      savePolicy(chains, [coverSlice(member.cgroupPath), ...addMember(member).lines]);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      complain(`${userSlice(uid)} has no network, for its rules were not kept`, error);
    }
  }
}

/**
 * What a user runs outside of sessions, as a member of the table.
 *
 * @param parts compiled for the cover's own chains
 * @param open the records of all open sessions of the user
 * @returns `undefined` where the user has no slice
 */
export function coverMember(
  { name, uid }: Person,
  parts: Member["parts"],
  open: readonly SessionRecord[],
): Member | undefined {
  const slice = userSlice(uid);
  const id = cgroupId(slice);
  if (id === undefined) return undefined;
  return {
    name: coverName(uid),
    cgroupPath: slice,
    cgroupId: id,
    addresses: [...new Set(open.flatMap(({ remote_ip }) => parseAddress(remote_ip) ?? []))].map(
      addressElement,
    ),
    comment: `${escapeName(name)} (UID:${uid})`,
    parts,
  };
}

/** What the elements of a session say. */
export function sessionComment({ user, pid, claims_tag: tag }: SessionRecord): string {
  return `${escapeName(user)} (PID:${pid})${tag === "" ? "" : ` [${tag}]`}`;
}
