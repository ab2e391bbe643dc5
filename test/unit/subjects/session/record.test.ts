// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import {
  formatRecord,
  hasRules,
  newestOf,
  parseRecord,
  type SessionRecord,
} from "../../../../src/subjects/session/record.ts";
import type { ScopeUnit } from "../../../../src/subjects/session/scope_unit.ts";

const RECORD: SessionRecord = {
  v: 2,
  user: "alice",
  uid: 1000,
  scope_unit: "authnft-alice-4711.scope" as ScopeUnit,
  cg_path: "authnft.slice/authnft-alice-4711.scope",
  cg_id: 27711,
  remote_ip: "192.0.2.7",
  fragment: "/etc/authnft/users/alice",
  claims_tag: "",
  correlation: "authnft-1700000000-4711-000aff10",
  service: "sshd",
  tty: "ssh",
  pid: 4711,
  opened_at: "2025-11-22T01:38:00.123Z",
  state: "open",
  lingering: "quarantine",
  generation: 0,
  sequence: 0,
  taken_from: "/system.slice/ssh.service",
  pending: [],
  opened_in: "kiosk.service",
};

test("what is written is read", () => {
  expect(parseRecord(formatRecord(RECORD))).toEqual(RECORD);
  const counted = { ...RECORD, state: "lingering", traffic: { packets: 7, bytes: 4242 } } as const;
  expect(parseRecord(formatRecord(counted))).toEqual(counted);
});

test("a login session's scope is in its user's slice", () => {
  const record = {
    ...RECORD,
    scope_unit: "session-3.scope",
    cg_path: "user.slice/user-1000.slice/session-3.scope",
  };
  expect(parseRecord(JSON.stringify(record))).toEqual(record as SessionRecord);
  expect(parseRecord(JSON.stringify({ ...record, uid: 1001 }))).toBeUndefined();
});

test("a record of an earlier release says quarantine, and no reload", () => {
  const { lingering: _, generation: __, sequence: ___, ...older } = RECORD;
  expect(parseRecord(JSON.stringify(older))).toEqual(RECORD);
});

test.each<[SessionRecord["state"], SessionRecord["lingering"], boolean]>([
  ["open", "quarantine", true],
  ["open", "kill", true],
  ["lingering", "quarantine", false],
  ["lingering", "kill", false],
  ["lingering", "keep", true],
  ["refused", "keep", false],
])("%s with lingering=%s has rules: %j", (state, lingering, expected) => {
  expect(hasRules({ ...RECORD, state, lingering })).toBe(expected);
});

test("the newest session is the one that was opened last, whatever the clock said then", () => {
  const opened = (sequence: number, opened_at: string): SessionRecord => ({ ...RECORD, sequence, opened_at });
  const before = opened(0, "2025-11-22T01:38:00Z");
  const between = opened(0, "2025-11-22T02:38:00Z");
  const first = opened(1, "2025-11-23T01:38:00Z");
  const second = opened(2, "1970-01-01T00:00:07Z");
  expect(newestOf([second, first, before])).toBe(second);
  expect(newestOf([first, between, before])).toBe(first);
  expect(newestOf([between, before])).toBe(between);
  expect(newestOf([])).toBeUndefined();
});

test("a record is one line", () => {
  const text = formatRecord({ ...RECORD, tty: "a\nb", service: "\u2028\x1b" });
  expect(text.indexOf("\n")).toBe(text.length - 1);
  expect(parseRecord(text)?.tty).toBe("a\nb");
});

test("what a later release adds is passed over", () => {
  expect(parseRecord(JSON.stringify({ ...RECORD, later: { x: 1 } }))).toEqual(RECORD);
});

/** Fields that records of earlier releases do not have. */
const LATER = new Set(["lingering", "generation", "sequence", "taken_from", "pending", "opened_in"]);

describe("no record of ours", () => {
  test("however much of the end is missing", () => {
    const text = formatRecord(RECORD).trimEnd();
    for (let length = 0; length < text.length; length++)
      expect(parseRecord(text.slice(0, length))).toBeUndefined();
  });

  test.each(Object.keys(RECORD).filter((key) => !LATER.has(key)))("without %s", (key) => {
    const { [key as keyof SessionRecord]: _, ...rest } = RECORD;
    expect(parseRecord(JSON.stringify(rest))).toBeUndefined();
  });

  test.each<[string, unknown]>([
    ["v", 1],
    ["v", 3],
    ["v", "2"],
    ["user", null],
    ["uid", -1],
    ["uid", 1.5],
    ["uid", "1000"],
    ["scope_unit", "session-3.scope"],
    ["scope_unit", "authnft-alice-4712.scope"],
    ["cg_path", "authnft.slice/authnft-bob-4711.scope"],
    ["cg_path", "authnft.slice"],
    ["cg_path", "/authnft.slice/authnft-alice-4711.scope"],
    ["lingering", "for ever"],
    ["generation", -1],
    ["generation", "1"],
    ["sequence", 1.5],
    ["scope_unit", "../../etc/passwd"],
    ["scope_unit", "authnft-alice-4711.scope/../x"],
    ["scope_unit", ""],
    ["cg_id", 0],
    ["cg_id", -5],
    ["cg_id", 1.5],
    ["cg_id", "27711"],
    ["cg_id", null],
    ["remote_ip", null],
    ["pid", 0],
    ["pid", -1],
    ["pid", "1"],
    ["opened_at", ""],
    ["opened_at", "yesterday"],
    ["opened_at", 1700000000],
    ["state", "closed"],
    ["state", ""],
    ["traffic", 5],
    ["traffic", { packets: "1", bytes: 2 }],
    ["traffic", { packets: 1 }],
  ])("with %s = %j", (key, value) => {
    expect(parseRecord(JSON.stringify({ ...RECORD, [key]: value }))).toBeUndefined();
  });

  test.each(["", " ", "null", "[]", "2", '"text"', "{}", "{", "\0", "\ufeff", "v=2"])("in %j", (text) => {
    expect(parseRecord(text)).toBeUndefined();
  });

  test("with something behind it", () => {
    expect(parseRecord(`${JSON.stringify(RECORD)}x`)).toBeUndefined();
  });

  test("in a hundred thousand brackets", () => {
    expect(parseRecord("[".repeat(100_000))).toBeUndefined();
  });
});
