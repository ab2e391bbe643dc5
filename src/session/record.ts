// SPDX-License-Identifier: GPL-2.0-or-later
import * as v from "valibot";
import { parseScopeUnit } from "./scope_unit.ts";

/** Where the records of live sessions are. */
export const RECORD_DIRECTORY = "/run/authnft/sessions";

const RecordSchema = v.object({
  v: v.literal(2),
  user: v.string(),
  uid: v.pipe(v.number(), v.integer(), v.minValue(0)),
  scope_unit: v.pipe(
    v.string(),
    v.check((text) => parseScopeUnit(text) !== undefined, "a scope unit of ours"),
  ),
  cg_path: v.string(),
  cg_id: v.pipe(v.number(), v.integer(), v.minValue(1)),
  remote_ip: v.string(),
  fragment: v.string(),
  claims_tag: v.string(),
  correlation: v.string(),
  service: v.string(),
  tty: v.string(),
  pid: v.pipe(v.number(), v.integer(), v.minValue(1)),
  opened_at: v.pipe(v.string(), v.isoTimestamp()),
  state: v.picklist(["open", "lingering", "refused"]),
  /** What the session sent and received, counted until its rules were removed. */
  traffic: v.optional(v.object({ packets: v.number(), bytes: v.number() })),
});

/** A live session as others may read it: `/run/authnft/sessions/<scope unit>.json`, version 2. */
export type SessionRecord = Readonly<v.InferOutput<typeof RecordSchema>>;

/** Writes a record as text. */
export function formatRecord(record: SessionRecord): string {
  return `${JSON.stringify(record)}\n`;
}

/** Reads a record; `undefined` when the text is none of ours: cut short, of another version, or somebody else's. */
export function parseRecord(text: string): SessionRecord | undefined {
  try {
    const result = v.safeParse(RecordSchema, JSON.parse(text));
    return result.success ? result.output : undefined;
  } catch {
    return undefined;
  }
}
