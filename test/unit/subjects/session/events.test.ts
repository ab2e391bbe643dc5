// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { describeEvent, type Event, type Told } from "../../../../src/subjects/session/events.ts";

const TOLD: Told = {
  user: "alice",
  cg_path: "authnft.slice/authnft-alice-4711.scope",
  cg_id: 27711,
  remote_ip: "192.0.2.7",
  fragment: "/etc/authnft/users/alice",
  claims_tag: "role=dev",
  scope_unit: "authnft-alice-4711.scope",
  correlation: "a:b",
};

/** The fields that come with each event. */
const FIELDS = {
  AUTHNFT_USER: "alice",
  AUTHNFT_CG_PATH: "authnft.slice/authnft-alice-4711.scope",
  AUTHNFT_CG_ID: "27711",
  AUTHNFT_REMOTE_IP: "192.0.2.7",
  AUTHNFT_FRAGMENT: "/etc/authnft/users/alice",
  AUTHNFT_CLAIMS_TAG: "role=dev",
  AUTHNFT_SCOPE_UNIT: "authnft-alice-4711.scope",
  AUTHNFT_CORRELATION: "a:b",
};

const EVENTS: [string, Event, Record<string, string>, string][] = [
  [
    "open",
    { kind: "open" },
    {},
    "Session of alice from 192.0.2.7 is filtered by /etc/authnft/users/alice in authnft-alice-4711.scope.",
  ],
  [
    "refuse",
    { kind: "refuse", reason: "perms", why: "Cannot read it." },
    { AUTHNFT_REASON: "perms" },
    "Session of alice from 192.0.2.7 is refused: Cannot read it.",
  ],
  [
    "close",
    { kind: "close", how: "pam", keeps: false },
    { AUTHNFT_HOW: "pam" },
    "Session of alice in authnft-alice-4711.scope was closed; its rules are gone.",
  ],
  [
    "close, lost",
    { kind: "close", how: "lost" },
    { AUTHNFT_HOW: "lost" },
    "Session of alice in authnft-alice-4711.scope was lost without being closed.",
  ],
  [
    "end",
    { kind: "end", seconds: 3661.23456, traffic: undefined },
    { AUTHNFT_DURATION_SEC: "3661.235" },
    "Session of alice in authnft-alice-4711.scope is over after 3661.2 s.",
  ],
  [
    "end, counted",
    { kind: "end", seconds: 0, traffic: { packets: 12, bytes: 34567 } },
    { AUTHNFT_DURATION_SEC: "0.000", AUTHNFT_PACKETS: "12", AUTHNFT_BYTES: "34567" },
    "Session of alice in authnft-alice-4711.scope is over after 0.0 s.",
  ],
];

test.each(EVENTS)("%s", (_, event, extra, sentence) => {
  const { message, fields } = describeEvent(event, TOLD);
  expect(message).toBe(sentence);
  expect(fields).toEqual({ AUTHNFT_EVENT: event.kind, ...FIELDS, ...extra });
});

describe("message ids", () => {
  const idOf = (event: Event): string => describeEvent(event, TOLD).messageId;

  test("have the form of sd-id128(3)", () => {
    for (const [, event] of EVENTS) expect(idOf(event)).toMatch(/^[0-9a-f]{32}$/);
  });

  test("there are as many as kinds", () => {
    expect(new Set(EVENTS.map(([, event]) => idOf(event))).size).toBe(4);
  });

  // Consumers match on them: they are part of the interface and never change.
  test("stay", () => {
    expect(idOf({ kind: "open" })).toBe("9930e8a9f61c4e01a64c7d44b98bb72d");
    expect(idOf({ kind: "refuse", reason: "bug", why: "" })).toBe("b43bebd99b744eaf8448078ffc57d28f");
    expect(idOf({ kind: "close", how: "pam", keeps: true })).toBe("511925b3701b4b558683dea8eef2c521");
    expect(idOf({ kind: "end", seconds: 1, traffic: undefined })).toBe("8e3314e2019447d59bbdceff3cf692f0");
  });
});

test("what is not known is an empty field, not a missing one", () => {
  const nothing: Told = {
    user: "alice",
    cg_path: "",
    cg_id: undefined,
    remote_ip: "",
    fragment: "",
    claims_tag: "",
    scope_unit: "",
    correlation: "",
  };
  const { message, fields } = describeEvent({ kind: "refuse", reason: "argument", why: "No." }, nothing);
  expect(message).toBe("Session of alice is refused: No.");
  expect(Object.keys(fields).sort()).toEqual(
    ["AUTHNFT_EVENT", "AUTHNFT_REASON", ...Object.keys(FIELDS)].sort(),
  );
  expect(fields["AUTHNFT_CG_ID"]).toBe("");
});

// A name service may answer with any text, and a name that is refused for it is logged as it came.
test("a user's name cannot add a line to the log", () => {
  const { message } = describeEvent(
    { kind: "refuse", reason: "user", why: "It is no name." },
    { ...TOLD, user: "eve\n<86>sshd[1]: Accepted password for root\x1b[2J" },
  );
  expect(message).not.toMatch(/\p{Cc}/u);
});

test("a name that is no word is in quotes, and makes no second line", () => {
  const event = { kind: "close", how: "lost" } as const;
  const message = (user: string, scope_unit = TOLD.scope_unit): string =>
    describeEvent(event, { ...TOLD, user, scope_unit }).message;
  expect(message("a in b")).toStartWith('Session of "a in b" in ');
  expect(message('a"b')).toStartWith('Session of "a\\"b" in ');
  expect(message("alice", "x\nSession of root")).not.toContain("\n");
});
