// SPDX-License-Identifier: GPL-2.0-or-later
import * as v from "valibot";
import { LINGERING } from "./arguments.ts";
import { cgroupPath, parseScopeUnit, type ScopeUnit } from "./scope_unit.ts";

const ScopeUnitSchema = v.custom<ScopeUnit>(
  (text) => typeof text === "string" && parseScopeUnit(text) !== undefined,
  "a scope unit",
);

const RecordSchema = v.pipe(
  v.object({
    v: v.literal(2),
    user: v.string(),
    uid: v.pipe(v.number(), v.integer(), v.minValue(0)),
    scope_unit: ScopeUnitSchema,
    cg_path: v.string(),
    cg_id: v.pipe(v.number(), v.integer(), v.minValue(1)),
    remote_ip: v.string(),
    fragment: v.string(),
    claims_tag: v.string(),
    correlation: v.string(),
    service: v.string(),
    tty: v.string(),
    pid: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
    opened_at: v.pipe(v.string(), v.isoTimestamp()),
    /** The system's uptime then, in seconds: the wall clock may be set. */
    opened_uptime: v.optional(v.pipe(v.number(), v.minValue(0))),
    state: v.picklist(["open", "lingering", "refused"]),
    /** The fate of processes that outlive the logout. */
    lingering: v.optional(v.picklist(LINGERING), "quarantine"),
    /** How often its rules were replaced. */
    generation: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0)), 0),
    /** Orders a user's sessions as they were opened, whatever the clock said; from 1. */
    sequence: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0)), 0),
    /** When its process was started, in ticks since the host was; a number alone may be given again. */
    pid_started: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0))),
    /** Where its process was taken from, as `/proc` writes it: before the first of the sessions that it has open. */
    taken_from: v.optional(v.string(), ""),
    /** Others that the same process has begun and not ended, the newest first. */
    pending: v.optional(v.array(ScopeUnitSchema), []),
    /** The unit with PAMName= whose process opened it; what closes it then is not root, and cannot. */
    opened_in: v.optional(v.string(), ""),
    /** The session's traffic, counted until its rules were removed. */
    traffic: v.optional(v.object({ packets: v.number(), bytes: v.number() })),
  }),
  v.check(({ scope_unit, uid, cg_path }) => cg_path === cgroupPath(scope_unit, uid), "the scope's cgroup"),
);

/** A live session as others may read it: `/run/authnft/sessions/<scope unit>.json`, version 2. */
export type SessionRecord = Readonly<v.InferOutput<typeof RecordSchema>>;

/** Tells whether a session's rules are to be in force: while it is open, and after the logout where its processes keep them. */
export function hasRules({ state, lingering }: SessionRecord): boolean {
  return state === "open" || (state === "lingering" && lingering === "keep");
}

/** Returns the session that was opened last; `undefined` of none. Those that an earlier release opened have only the clock to tell. */
export function newestOf(records: readonly SessionRecord[]): SessionRecord | undefined {
  return records.toSorted((a, b) => a.sequence - b.sequence || a.opened_at.localeCompare(b.opened_at)).at(-1);
}

/** Writes a record as text. */
export function formatRecord(record: SessionRecord): string {
  return `${JSON.stringify(record)}\n`;
}

/** Reads a record; `undefined` for a text that is not one of ours: truncated, of another version, or somebody else's. */
export function parseRecord(text: string): SessionRecord | undefined {
  try {
    const result = v.safeParse(RecordSchema, JSON.parse(text));
    return result.success ? result.output : undefined;
  } catch {
    return undefined;
  }
}
