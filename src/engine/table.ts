// SPDX-License-Identifier: GPL-2.0-or-later

// The table as a whole: what is loaded where nobody has a session, and what brings everybody back. All of it under the lock
// of the ruleset.

import { dirname } from "node:path";
import { closingSlice, sliceDeparture } from "../ruleset/removal.ts";
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
import { closedSlices, forgetGoneDefaults } from "./slice/standing.ts";
import { isAnybodyIn, standing } from "./standing.ts";
import { type ClosedSlice, keepSlices, rememberedSlices, saveRuleset } from "./store.ts";
import { run } from "./transaction.ts";
import type { Wanted } from "./wanted.ts";
import { logWarning } from "./warning.ts";

/** Where systemd itself is, and its services. Only what never goes: nft takes nothing of a file that names what is not there. */
const OTHERS = ["init.scope", "system.slice"];

/** What the table looks into, as it is now. */
export function base(): Base {
  return {
    // The first is made before it is needed, and a table that cannot close it is not to be loaded without a word.
    roots: ROOTS.filter(({ cgroup }, index) => index === 0 || cgroupId(cgroup) !== undefined),
    others: OTHERS.filter((cgroup) => cgroupId(cgroup) !== undefined),
    stamps: stampBits(),
  };
}

/** The commands that close what is below the roots by default. These are remembered. */
export function closeBase(): string[] {
  const now = base();
  for (const { cgroup } of now.roots) rememberClosed("slices", cgroup);
  return [
    ...leadRoots(now),
    ...(cgroupId(REFUSED_CGROUP) === undefined ? [] : [tellRefused(REFUSED_CGROUP)]),
  ];
}

/** Sees to it that the table is whole and knows the slices; brings everything back where it is not. @throws {Refusal} `ruleset` */
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
 * Writes the table anew in one transaction: the base, every subject that is to have rules, the slices that are closed. A packet is judged
 * by the old rules or by the new ones; where there were none, by a table that is closed until then.
 *
 * Whose rules are not to be had is left out, and has no network.
 *
 * @returns how many sessions are under their rules
 * @throws {Refusal} `ruleset`, when not even the base can be loaded
 */
export function restoreTable(): number {
  const lines = baseTable(base());
  // Whatever is there under our name goes, be it somebody else's.
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
  while (all.length - wanted.length < CULPRITS) {
    const lines = [...fresh, ...closing, ...wanted.flatMap((one) => one.lines)];
    try {
      firewall.runTransaction(lines);
      closeGoneSlices();
      sealAll();
      return countSessions(wanted);
    } catch (error) {
      if (!(error instanceof TransactionError)) throw error;
      const culprit = ownerOf(wanted, (error.line ?? -1) - fresh.length - closing.length);
      if (culprit === undefined)
        run(lines); // says what is wrong with the base
      else logSkipped(culprit, error);
      wanted = wanted.filter((one) => one !== culprit);
    }
  }
  // To find each of many in the whole would take too long.
  closed();
  closeGoneSlices();
  const restored = wanted.filter((one) => {
    try {
      firewall.runTransaction(one.lines);
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

/** Seals what is closed by default. What has rules in it has those of the table that has just been loaded, which stamp. */
function sealAll(): void {
  for (const slice of [SLICE, ...closedSlices().map(({ cgroup }) => cgroup)]) seal(slice);
}

/** How many whose rules are not to be had are told from the rest by trying again with all others. */
const CULPRITS = 8;

function logSkipped({ cgroup }: Wanted, error: Error): void {
  // A cgroup that has just gone needs nobody's attention.
  if (cgroupId(cgroup) !== undefined)
    logWarning(`${cgroup} has no network, for its rules cannot be brought back`, error);
}

function countSessions(wanted: readonly Wanted[]): number {
  return wanted.filter(({ kind, hasRules }) => kind === "session" && hasRules).length;
}

/** Keeps what nft itself needs to bring everything back. */
function keepRuleset(base: readonly string[]): void {
  saveBestEffort("The table is loaded, but", () => {
    forgetGoneDefaults();
    saveRuleset(base);
  });
}

/** Whose a line is, counted from the first of theirs. */
function ownerOf(wanted: readonly Wanted[], line: number): Wanted | undefined {
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
    firewall.change(
      TABLE_NAME,
      gone.flatMap(({ set, name, id }) =>
        closingSlice({ id, chains: set === "slices" ? chainsOf(name) : undefined }),
      ),
    );
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    logWarning("Slices that are gone cannot be closed again", error);
  }
}

/** The chains of a root, be it there or not. */
function chainsOf(root: string): Base["roots"][number]["chains"] {
  return ROOTS.find(({ cgroup }) => cgroup === root)?.chains ?? "members";
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
