// SPDX-License-Identifier: GPL-2.0-or-later
import { oneLine, Refusal } from "../../refusal.ts";
import { blockCgroup, keysOf, leading, subjectRemoval } from "../../ruleset/removal.ts";
import { ownObjectsIn } from "../../ruleset/subject.ts";
import { TABLE_NAME } from "../../ruleset/table.ts";
import type { ScopeUnit } from "../../subjects/session/scope_unit.ts";
import { sessionSubject } from "../../subjects/session/session.ts";
import { change } from "../change.ts";
import { cgroupId, firewall } from "../host.ts";
import { loading, readRules } from "../shared.ts";
import { swapPolicy } from "../store.ts";
import { repairTable } from "../table.ts";
import { run } from "../transaction.ts";
import { lockSession, readRecord, writeRecord } from "./records.ts";
import { setAddresses } from "./scope.ts";
import { compiledAnew } from "./standing.ts";

/** How long to wait for logins that change the table, in milliseconds: longer than those may take. */
const PATIENCE = 15_000;

/** How long systemd may take to open the address filter, in milliseconds. */
const FILTER_PATIENCE = 3000;

/** A command that leads a cgroup to its chains. */
const LEADING = /^add element \S+ \S+ session_(in|out) /;

/**
 * Gives the processes that outlived a session its rules back, until the scope ends.
 *
 * @throws {Refusal} `request` when there is nothing to release; as a restoration or a login would
 */
export async function release(unit: ScopeUnit): Promise<void> {
  const deadline = performance.now() + PATIENCE;
  // Nobody would remove the lock of a session that does not exist.
  if (readRecord(unit) === undefined)
    throw new Refusal(
      "request",
      `Cannot release ${oneLine(unit)}: there is no such session; see /run/authnft/sessions.`,
    );
  using _session = await lockSession(unit, deadline);
  const record = readRecord(unit);
  if (record?.state !== "lingering" || record.lingering === "keep") {
    throw new Refusal(
      "request",
      `Cannot release ${oneLine(unit)}: it is no session that was closed and still has processes; see /run/authnft/sessions.`,
    );
  }
  if (cgroupId(record.cg_path) !== BigInt(record.cg_id)) {
    throw new Refusal("request", `Cannot release ${unit}: it is over.`);
  }
  // Rules that an earlier release put aside are compiled again.
  const rules = readRules(unit, "closed") ?? compiledAnew(record);
  const lines = rules.own;
  await change(deadline, ({ undo }) => {
    repairTable();
    undo(swapPolicy(unit, lines));
    writeRecord({ ...record, lingering: "keep" });
    undo(() => writeRecord(record));
    // First its chains, which nothing leads to; then at once what leads to them, in place of what closes it.
    const subject = sessionSubject(record);
    undo(() => {
      const { changes } = subjectRemoval(
        subject.id,
        keysOf(subject),
        firewall,
        ownObjectsIn(lines, subject.id),
      );
      firewall.change(TABLE_NAME, [...changes, ...blockCgroup(record.cg_id)]);
    });
    run(loading(rules).filter((line) => !LEADING.test(line)));
    firewall.change(TABLE_NAME, leading(subject, firewall));
  });
  await setAddresses(unit, undefined, performance.now() + FILTER_PATIENCE);
}
