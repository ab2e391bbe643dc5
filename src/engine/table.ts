// SPDX-License-Identifier: GPL-2.0-or-later

// The table as a whole: its base, and the restoration of every subject. All of it under the lock of the ruleset.

import { dirname } from "node:path";
import { blockSlice, sliceRemoval } from "../ruleset/removal.ts";
import {
  BASE_CHAINS,
  type Base,
  baseTable,
  leadRoots,
  TABLE,
  TABLE_NAME,
  tellRefused,
} from "../ruleset/table.ts";
import { ROOTS } from "../subjects/roots.ts";
import { REFUSED_CGROUP, SLICE } from "../subjects/session/scope_unit.ts";
import { SystemError } from "../system/ffi/libc.ts";
import { TransactionError } from "../system/ffi/nftables.ts";
import { cgroupId, firewall, mayBeHeldBelow, seal, stampBits } from "./host.ts";
import { rememberClosed, saveBestEffort } from "./saved.ts";
import { keepShared } from "./shared.ts";
import { closedSlices, forgetGoneDefaults } from "./slice/standing.ts";
import { isAnybodyIn, standing } from "./standing.ts";
import { type ClosedSlice, keepSlices, rememberedSlices, saveRuleset } from "./store.ts";
import { run } from "./transaction.ts";
import type { Wanted } from "./wanted.ts";
import { logWarning } from "./warning.ts";

/** The cgroups of systemd itself and of its services. Only such as never go: nft rejects a file that names an absent one. */
const OTHERS = ["init.scope", "system.slice"];

/** Returns the roots and marks of the table for the host as it is now. */
export function base(): Base {
  return {
    // The first exists before it is needed. A table that cannot close it must not be loaded silently.
    roots: ROOTS.filter(({ cgroup }, index) => index === 0 || cgroupId(cgroup) !== undefined),
    others: OTHERS.filter((cgroup) => cgroupId(cgroup) !== undefined),
    stamps: stampBits(),
  };
}

/** Makes the commands that close everything below the roots by default, and notes the roots. */
export function closeBase(): string[] {
  const now = base();
  for (const { cgroup } of now.roots) rememberClosed("slices", cgroup);
  return [
    ...leadRoots(now),
    ...(cgroupId(REFUSED_CGROUP) === undefined ? [] : [tellRefused(REFUSED_CGROUP)]),
  ];
}

/** Makes sure that the table is whole and knows the roots; restores everything where it is not. @throws {Refusal} `ruleset` */
export function repairTable(): void {
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
 * Replaces the table in one transaction: the base, every live subject, the closed slices. A packet is judged by the old rules or by
 * the new ones; where there were none, by a table that is closed until then.
 *
 * A subject whose rules cannot be loaded is skipped and stays blocked.
 *
 * @returns how many sessions are under their rules
 * @throws {Refusal} `ruleset`, when not even the base can be loaded
 */
export function restoreTable(): number {
  const lines = baseTable(base());
  // Anything of our name goes, even somebody else's.
  const fresh = [`add table ${TABLE}`, `delete table ${TABLE}`, ...lines];
  const closing = closeBase();
  keepRuleset(lines);
  const closed = (): void => run([...fresh, ...closing, ...closedSlices().flatMap(({ lines }) => lines)]);
  if (!baseIsWhole()) {
    closed();
    closeGoneSlices();
  }
  const all = standing();
  let wanted = all;
  for (let tries = 0; tries < CULPRITS; tries++) {
    const shared = sharedBy(wanted);
    const lines = [
      ...fresh,
      ...closing,
      ...shared.flatMap((one) => one.lines),
      ...wanted.flatMap((one) => one.lines),
    ];
    try {
      firewall.runTransaction(lines);
      saveBestEffort("The table is loaded, but", () => keepShared(shared));
      closeGoneSlices();
      sealAll();
      return countSessions(wanted);
    } catch (error) {
      if (!(error instanceof TransactionError)) throw error;
      const owner = ownerOf([...shared, ...wanted], (error.line ?? -1) - fresh.length - closing.length);
      // A base that does not load says so below. Else a subject's line runs on over those of others: told one by one.
      if (owner === undefined) break;
      const isCulprit = (one: Wanted): boolean =>
        one === owner || (one.shared !== undefined && one.shared === owner);
      for (const one of wanted) if (isCulprit(one)) logSkipped(one, error);
      wanted = wanted.filter((one) => !isCulprit(one));
    }
  }
  // With many culprits, searching the whole for each would take too long.
  closed();
  closeGoneSlices();
  const loaded = new Set<string>();
  const restored = wanted.filter((one) => {
    const { shared } = one;
    try {
      firewall.runTransaction([
        ...(shared === undefined || loaded.has(shared.name) ? [] : shared.lines),
        ...one.lines,
      ]);
      if (shared !== undefined) loaded.add(shared.name);
      return true;
    } catch (error) {
      if (!(error instanceof TransactionError)) throw error;
      logSkipped(one, error);
      return false;
    }
  });
  sealAll();
  return countSessions(restored);
}

/** Seals the slices that are closed by default. Rules in them are those just loaded, which stamp. */
function sealAll(): void {
  for (const slice of [SLICE, ...closedSlices().map(({ cgroup }) => cgroup)]) seal(slice);
}

/** Lists the shared policies of what is wanted, each once: subjects that share one have the same object. */
function sharedBy(wanted: readonly Wanted[]): NonNullable<Wanted["shared"]>[] {
  return [...new Set(wanted.flatMap(({ shared }) => shared ?? []))];
}

/** How many subjects with bad rules are found by trying again with all the others. */
const CULPRITS = 8;

function logSkipped({ cgroup }: Wanted, error: Error): void {
  // A cgroup that has just gone is no fault.
  if (cgroupId(cgroup) !== undefined)
    logWarning(`${cgroup} has no network, because its rules cannot be restored`, error);
}

function countSessions(wanted: readonly Wanted[]): number {
  return wanted.filter(({ kind, hasRules }) => kind === "session" && hasRules).length;
}

/** Saves the files by which nft itself restores everything. */
function keepRuleset(base: readonly string[]): void {
  saveBestEffort("The table is loaded, but", () => {
    forgetGoneDefaults();
    saveRuleset(base);
  });
}

/** Finds the owner of a line, counted from the first of theirs. */
function ownerOf<Of extends { readonly lines: readonly string[] }>(
  wanted: readonly Of[],
  line: number,
): Of | undefined {
  let left = line;
  if (left < 0) return undefined;
  return wanted.find(({ lines }) => {
    left -= lines.length;
    return left < 0;
  });
}

/** Closes the slices that are gone, too: sockets of theirs may live. Best effort, since the table is in force already. */
function closeGoneSlices(): void {
  const gone = rememberedSlices().filter(({ name, id }) => cgroupId(name) !== id);
  try {
    firewall.change(
      TABLE_NAME,
      gone.flatMap(({ set, name, id }) =>
        blockSlice({ id, chains: set === "slices" ? chainsOf(name) : undefined }),
      ),
    );
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    logWarning("Slices that are gone cannot be closed again", error);
  }
}

/** Returns the chains of a root, whether it exists or not. */
function chainsOf(root: string): Base["roots"][number]["chains"] {
  return ROOTS.find(({ cgroup }) => cgroup === root)?.chains ?? "members";
}

/** Forgets the slices that are gone, once no socket of theirs can be left. */
export function forgetGoneSlices(): void {
  const gone = forgettableSlices();
  if (gone.length === 0) return;
  firewall.change(
    TABLE_NAME,
    gone.flatMap((slice) => sliceRemoval(slice, firewall)),
  );
  keepSlices(
    rememberedSlices().filter((slice) => !gone.some(({ id, set }) => id === slice.id && set === slice.set)),
  );
}

/**
 * Lists the slices that are gone and have no socket left: nobody has a session or a slice, or the kernel no longer holds any removed
 * cgroup beside them.
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
