// SPDX-License-Identifier: GPL-2.0-or-later

// The part of the table that login sessions have, by their records.

import { Refusal } from "../../refusal.ts";
import { closeCgroup } from "../../ruleset/subject.ts";
import { hasRules, type SessionRecord } from "../../subjects/session/record.ts";
import { SESSION_KIND, sessionSubject } from "../../subjects/session/session.ts";
import { FragmentSource } from "../compile.ts";
import { cgroupId } from "../host.ts";
import { saveBestEffort } from "../saved.ts";
import { type asWanted, keepShared, readRules, rulesFor, type SavedRules } from "../shared.ts";
import { savePolicy } from "../store.ts";
import type { Wanted } from "../wanted.ts";
import { logWarning } from "../warning.ts";
import { readRecords } from "./records.ts";

/** Lists the records of the sessions whose scopes live. */
export function liveRecords(): SessionRecord[] {
  return readRecords().filter((record) => !SESSION_KIND.hasEnded(record, cgroupId(record.cg_path)));
}

/** Lists every live session: under its rules, or closed where it has none or they cannot be had. */
export function standingSessions(toWanted: ReturnType<typeof asWanted>): Wanted[] {
  return liveRecords().map((record) => {
    const { cg_path: cgroup } = record;
    const rules = hasRules(record) ? (readRules(record.scope_unit) ?? made(record)) : undefined;
    if (rules === undefined) return { kind: "session", cgroup, lines: closeCgroup(cgroup), hasRules: false };
    return { kind: "session", cgroup, ...toWanted(rules), hasRules: true };
  });
}

/** Compiles and saves the rules of a session that has none saved; `undefined` where that fails. */
function made(record: SessionRecord): SavedRules | undefined {
  const { scope_unit: unit } = record;
  try {
    const rules = compiledAnew(record);
    saveBestEffort(`${unit} has its rules again, but`, () => {
      if (rules.shared !== undefined) keepShared([rules.shared]);
      savePolicy(unit, rules.own);
    });
    return rules;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    logWarning(`${unit} has no network, because its rules were not saved`, error);
    return undefined;
  }
}

/** Compiles the rules of a session that an earlier release opened. @returns its commands @throws {Refusal} as a login would */
export function compiledAnew(record: SessionRecord): SavedRules {
  const subject = sessionSubject(record);
  return rulesFor(subject, new FragmentSource(record.fragment).compileFor(subject));
}
