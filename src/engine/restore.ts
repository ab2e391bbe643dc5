// SPDX-License-Identifier: GPL-2.0-or-later
import { findSeal } from "./host.ts";
import { lockRuleset } from "./store.ts";
import { restoreTable } from "./table.ts";

/** How long to wait for logins that change the table, in milliseconds: longer than those may take. */
const PATIENCE = 15_000;

/**
 * Brings every live subject back under its rules in one transaction. A cgroup without a record has no network.
 *
 * @returns how many sessions have their rules
 * @throws {Refusal} `ruleset`, `record` or `timeout`
 */
export async function restore(): Promise<number> {
  await findSeal(performance.now() + PATIENCE);
  using _held = await lockRuleset(performance.now() + PATIENCE);
  return restoreTable();
}
