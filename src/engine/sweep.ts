// SPDX-License-Identifier: GPL-2.0-or-later

// What nobody removed: sessions whose clean-up never ran or never succeeded, and what processes left that were killed. Nothing
// of it opens anything; but it would stay until the next boot.

import { existsSync } from "node:fs";
import { findStrays } from "../ruleset/strays.ts";
import { KEYED_SETS, SLICE_MAPS, TABLE_NAME } from "../ruleset/table.ts";
import type { SessionRecord } from "../subjects/session/record.ts";
import { cgroupPath, isLoginScope, type ScopeUnit, sessionId } from "../subjects/session/scope_unit.ts";
import { uidOfSlice } from "../subjects/slice/slice.ts";
import { Level, log } from "../system/systemd/journal.ts";
import { cgroupId, cgroupIdsBelow, firewall, lock, removeFile } from "./host.ts";
import { complain } from "./report.ts";
import { endSession } from "./session/close.ts";
import { nameOf } from "./session/remove.ts";
import {
  lockFile,
  lockRuleset,
  policyNames,
  readRecord,
  readRecords,
  recordedUnits,
  rememberedSlices,
  sessionsWithRules,
  unfinishedFiles,
  unitsWithLock,
} from "./store.ts";
import { forgetGoneSlices } from "./table.ts";

/** How long to wait for logins that change the table, in milliseconds: longer than those may take. */
const PATIENCE = 15_000;

/** Something that was left: what it is, in a word, and its name. */
export type Left = {
  readonly kind: "session" | "rules" | "lock" | "file";
  readonly name: string;
};

/** How each kind is told. */
export const KINDS: Readonly<Record<Left["kind"], string>> = {
  session: "a record or rules of a session that is over",
  rules: "something of the table that is no session's",
  lock: "a lock that nobody holds",
  file: "a file that was not finished",
};

/**
 * Finds what is left of what is gone. What is only about to be removed is found as well: see {@link sweep}.
 *
 * @throws {Refusal} `timeout` or `record`
 * @throws {SystemError} when the kernel does not tell
 */
export async function findLeft(): Promise<Left[]> {
  using _held = await lockRuleset(performance.now() + PATIENCE);
  const records = new Map(readRecords().map((record) => [record.scope_unit, record]));
  const recorded = new Set(recordedUnits());
  const over = new Set(
    [...recorded, ...sessionsWithRules()].filter((unit) => isOver(unit, records.get(unit))),
  );
  const { named, elements } = straysOfTable();
  return [
    ...[...over].map((name): Left => ({ kind: "session", name })),
    ...named.map(({ kind, name }): Left => ({ kind: "rules", name: `${kind} ${name}` })),
    ...elements.map(
      ({ set, key }): Left => ({
        kind: "rules",
        name: `element ${Buffer.from(key).toString("hex")} of ${set}`,
      }),
    ),
    ...unitsWithLock()
      .filter((unit) => !over.has(unit) && !recorded.has(unit) && isOver(unit, undefined))
      .map((name): Left => ({ kind: "lock", name })),
    ...unfinishedFiles()
      .filter(({ writer }) => !existsSync(`/proc/${writer}`))
      .map(({ path }): Left => ({ kind: "file", name: path })),
  ];
}

/**
 * Removes what is left of what is gone, and logs each: nothing should ever be found.
 *
 * @param left what to remove, as `findLeft` found it some time ago: what is gone meanwhile was none
 * @returns what was removed, and what could not be
 * @throws {Refusal} `timeout` or `record`
 * @throws {SystemError} when the kernel does not tell
 */
export async function sweep(
  left: readonly Left[],
): Promise<{ readonly removed: Left[]; readonly stays: Left[] }> {
  const isStill = new Set((await findLeft()).map(keyOf));
  const wanted = left.filter((one) => isStill.has(keyOf(one)));
  const removed: Left[] = [];
  const stays: Left[] = [];
  const settle = (one: Left, isDone: boolean): void => {
    (isDone ? removed : stays).push(one);
    if (isDone) log({ level: Level.notice, message: `Swept away ${KINDS[one.kind]}: ${one.name}.` });
  };
  // A session takes its rules, its lock and its files along.
  for (const one of wanted) if (one.kind === "session") settle(one, await endSession(one.name as ScopeUnit));
  for (const one of wanted) if (one.kind === "lock") settle(one, await removeLock(one.name as ScopeUnit));
  for (const one of wanted)
    if (one.kind === "file")
      settle(
        one,
        attempt(one, () => removeFile(one.name)),
      );
  using _held = await lockRuleset(performance.now() + PATIENCE);
  const rules = wanted.filter(({ kind }) => kind === "rules");
  if (rules.length > 0) {
    const isDone = attempt(rules[0] as Left, takeStraysOut);
    for (const one of rules) settle(one, isDone);
  }
  // No fault: a slice goes some time after the last of its sessions, and nobody is told.
  forgetGoneSlices();
  return { removed, stays };
}

/** Tells one that was left from others. */
function keyOf({ kind, name }: Left): string {
  return `${kind} ${name}`;
}

function attempt({ kind, name }: Left, act: () => void): boolean {
  try {
    act();
    return true;
  } catch (error) {
    complain(`${name} (${KINDS[kind]}) could not be swept away`, error);
    return false;
  }
}

/** Whether a session's scope is gone, or is another's by now. One of logind's that has no record is never known to be. */
function isOver(unit: ScopeUnit, record: SessionRecord | undefined): boolean {
  if (record !== undefined) return cgroupId(record.cg_path) !== BigInt(record.cg_id);
  return !isLoginScope(unit) && cgroupId(cgroupPath(unit, 0)) === undefined;
}

/** Under the lock of the ruleset. */
function straysOfTable(): ReturnType<typeof findStrays> {
  const records = readRecords();
  const sets = [...KEYED_SETS, ...Object.keys(SLICE_MAPS), "covered_slices"];
  return findStrays(
    {
      named: firewall.named(TABLE_NAME),
      elements: sets.flatMap((set) =>
        firewall.elements(TABLE_NAME, set).map(({ key, chain }) => ({ set, key, chain })),
      ),
    },
    {
      subjects: [
        ...records.map(sessionId),
        // Somebody may have lost the record of a session that lives.
        ...sessionsWithRules().map(nameOf),
        ...policyNames("nft").filter((name) => uidOfSlice(name) !== undefined),
      ],
      live: new Set([
        ...cgroupIdsBelow(""),
        ...records.map(({ cg_id }) => BigInt(cg_id)),
        ...rememberedSlices().map(({ id }) => id),
      ]),
    },
  );
}

/** Under the lock of the ruleset. @throws {SystemError} when the kernel refuses */
function takeStraysOut(): void {
  const { named, elements } = straysOfTable();
  const of = (...kinds: readonly string[]) => named.filter(({ kind }) => kinds.includes(kind));
  firewall.change(TABLE_NAME, [
    ...elements.map(({ set, key }) => ({ set, key })),
    // All rules before what they name: sets, which may lead to chains, then those, then counters and the like.
    ...of("chain").map(({ name }) => ({ flush: name })),
    ...of("set", "map"),
    ...of("chain"),
    ...of("counter", "quota", "limit"),
  ]);
}

async function removeLock(unit: ScopeUnit): Promise<boolean> {
  using held = await lock(lockFile(unit), performance.now());
  if (held === undefined || !isOver(unit, readRecord(unit))) return false;
  return attempt({ kind: "lock", name: unit }, () => removeFile(held.path));
}
