// SPDX-License-Identifier: GPL-2.0-or-later

// Removes what nobody removed: subjects whose clean-up never ran or never succeeded, and what killed processes left. None of it
// opens anything; but it would stay until the next boot.

import { existsSync } from "node:fs";
import { findStrays } from "../ruleset/strays.ts";
import { KEYED_SETS, SLICE_MAPS, TABLE_NAME } from "../ruleset/table.ts";
import { Level, log } from "../system/systemd/journal.ts";
import { cgroupIdsBelow, firewall, removeFile } from "./host.ts";
import type { Keeper, Leftover } from "./leftovers.ts";
import { SESSION_LEFTOVERS } from "./session/leftovers.ts";
import { dropSpares, dropUnused, sharedInUse, usesOf } from "./shared.ts";
import { SLICE_LEFTOVERS } from "./slice/leftovers.ts";
import { lockRuleset, policyNames, policyPath, unfinishedFiles } from "./store.ts";
import { forgetGoneSlices } from "./table.ts";
import { logWarning } from "./warning.ts";

/** How long to wait for logins that change the table, in milliseconds: longer than those may take. */
const PATIENCE = 15_000;

/** Every kind of subject. */
const KEEPERS: readonly Keeper[] = [SESSION_LEFTOVERS, SLICE_LEFTOVERS];

/** How each kind of leftover is named in messages. */
export const LEFTOVERS: Readonly<Record<Leftover["kind"], string>> = {
  session: "a record or rules of a session that is over",
  rules: "something of the table that is no session's",
  lock: "a lock that nobody holds",
  file: "a file that was not finished",
};

/**
 * Finds leftovers. Finds as well what is just about to be removed: see {@link sweep}.
 *
 * @throws {Refusal} `timeout` or `record`
 * @throws {SystemError} when the kernel does not tell
 */
export async function findLeftovers(): Promise<Leftover[]> {
  return (await find()).map(({ leftover }) => leftover);
}

/** A leftover, and who removes it: its kind of subject, or the sweep itself. */
type Found = { readonly leftover: Leftover; readonly keeper: Keeper | undefined };

async function find(): Promise<Found[]> {
  using _held = await lockRuleset(performance.now() + PATIENCE);
  const { named, elements } = straysOfTable();
  const ours: Leftover[] = [
    ...named.map(({ kind, name }): Leftover => ({ kind: "rules", name: `${kind} ${name}` })),
    ...elements.map(
      ({ set, key }): Leftover => ({
        kind: "rules",
        name: `element ${Buffer.from(key).toString("hex")} of ${set}`,
      }),
    ),
    ...policyNames("shared")
      .filter((name) => usesOf(name) === undefined)
      .map((name): Leftover => ({ kind: "file", name: policyPath(name, "shared") })),
    ...unfinishedFiles()
      .filter(({ writer }) => !existsSync(`/proc/${writer}`))
      .map(({ path }): Leftover => ({ kind: "file", name: path })),
  ];
  return [
    ...KEEPERS.flatMap((keeper) => keeper.find().map((leftover): Found => ({ leftover, keeper }))),
    ...ours.map((leftover): Found => ({ leftover, keeper: undefined })),
  ];
}

/**
 * Removes leftovers and logs each one: nothing should ever be found.
 *
 * @param leftovers found some time ago by `findLeftovers`; one that is gone by now was none
 * @returns the removed ones, and those that could not be removed
 * @throws {Refusal} `timeout` or `record`
 * @throws {SystemError} when the kernel does not tell
 */
export async function sweep(
  leftovers: readonly Leftover[],
): Promise<{ readonly removed: Leftover[]; readonly stays: Leftover[] }> {
  const before = new Set(leftovers.map(keyOf));
  const still = (await find()).filter(({ leftover }) => before.has(keyOf(leftover)));
  const removed: Leftover[] = [];
  const stays: Leftover[] = [];
  const settle = (one: Leftover, isDone: boolean): void => {
    (isDone ? removed : stays).push(one);
    if (isDone) log({ level: Level.notice, message: `Swept away ${LEFTOVERS[one.kind]}: ${one.name}.` });
  };
  for (const { leftover, keeper } of still)
    if (keeper !== undefined) settle(leftover, await keeper.remove(leftover));
    else if (leftover.kind === "file")
      settle(
        leftover,
        isRemoved(leftover, () => removeFile(leftover.name)),
      );
  using _held = await lockRuleset(performance.now() + PATIENCE);
  const rules = still.map(({ leftover }) => leftover).filter(({ kind }) => kind === "rules");
  if (rules.length > 0) {
    const isDone = isRemoved(rules[0] as Leftover, removeStrays);
    for (const one of rules) settle(one, isDone);
  }
  dropUnused(policyNames("shared"));
  dropSpares();
  forgetGoneSlices();
  return { removed, stays };
}

/** Tells one leftover from others. */
function keyOf({ kind, name }: Leftover): string {
  return `${kind} ${name}`;
}

/** Does what removes a leftover, and says whether it could. */
function isRemoved({ kind, name }: Leftover, remove: () => void): boolean {
  try {
    remove();
    return true;
  } catch (error) {
    logWarning(`${name} (${LEFTOVERS[kind]}) could not be swept away`, error);
    return false;
  }
}

/** Under the lock of the ruleset. */
function straysOfTable(): ReturnType<typeof findStrays> {
  const sets = [...KEYED_SETS, ...Object.keys(SLICE_MAPS), "covered_slices"];
  return findStrays(
    {
      named: firewall.named(TABLE_NAME),
      elements: sets.flatMap((set) =>
        firewall.elements(TABLE_NAME, set).map(({ key, chain }) => ({ set, key, chain })),
      ),
    },
    {
      subjects: [...KEEPERS.flatMap((keeper) => keeper.ids()), ...sharedInUse()],
      live: new Set([...cgroupIdsBelow(""), ...KEEPERS.flatMap((keeper) => keeper.cgroups())]),
    },
  );
}

/** Under the lock of the ruleset. @throws {SystemError} when the kernel refuses */
function removeStrays(): void {
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
