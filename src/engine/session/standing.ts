// SPDX-License-Identifier: GPL-2.0-or-later

// The part of the table that login sessions have, by their records.

import { Refusal } from "../../refusal.ts";
import { addSubject, closeCgroup } from "../../ruleset/subject.ts";
import { hasRules, type SessionRecord } from "../../subjects/session/record.ts";
import { SESSION_KIND, sessionSubject } from "../../subjects/session/session.ts";
import { compileFor, readWhole } from "../compile.ts";
import { cgroupId } from "../host.ts";
import { saveBestEffort } from "../saved.ts";
import { readPolicy, savePolicy } from "../store.ts";
import type { Wanted } from "../wanted.ts";
import { logWarning } from "../warning.ts";
import { readRecords } from "./records.ts";

/** Lists the records of the sessions whose scopes live. */
export function liveRecords(): SessionRecord[] {
  return readRecords().filter((record) => !SESSION_KIND.hasEnded(record, cgroupId(record.cg_path)));
}

/** Lists every live session: under its rules, or closed where it has none or they cannot be had. */
export function standingSessions(): Wanted[] {
  return liveRecords().map((record) => {
    const { cg_path: cgroup } = record;
    const lines = hasRules(record) ? (readPolicy(record.scope_unit) ?? made(record)) : undefined;
    return { kind: "session", cgroup, lines: lines ?? closeCgroup(cgroup), hasRules: lines !== undefined };
  });
}

/** Compiles and saves the rules of a session that has none saved; `undefined` where that fails. */
function made(record: SessionRecord): readonly string[] | undefined {
  const { scope_unit: unit } = record;
  try {
    const lines = compiledAnew(record);
    saveBestEffort(`${unit} has its rules again, but`, () => savePolicy(unit, lines));
    return lines;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    logWarning(`${unit} has no network, because its rules were not saved`, error);
    return undefined;
  }
}

/** Compiles the rules of a session that an earlier release opened. @returns its commands @throws {Refusal} as a login would */
export function compiledAnew(record: SessionRecord): readonly string[] {
  const subject = sessionSubject(record);
  return addSubject(subject, compileFor(subject, readWhole(record.fragment)).parts).lines;
}
