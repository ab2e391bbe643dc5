// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import { type CorrelationToken, correlationToken } from "../../../../src/subjects/session/correlation.ts";

const fresh = { unixSeconds: 1_700_000_000, pid: 4711, random: Uint8Array.of(0, 0x0a, 0xff, 0x10) };
const MADE = "authnft-1700000000-4711-000aff10" as CorrelationToken;

test.each<[string, string]>([
  ["sshd:host.1_2-3", "sshd:host.1_2-3"],
  ["x".repeat(64), "x".repeat(64)],
  ["x".repeat(65), "x".repeat(64)],
  ["a b\nc\0d", "abcd"],
  ["\x1b[31mred", "31mred"],
  ['"; drop', "drop"],
  ["é!a!é", "a"],
  // The dropped ones do not count towards the limit.
  [`${" ".repeat(100)}${"y".repeat(70)}`, "y".repeat(64)],
])("of %j is kept %j", (inherited, kept) => {
  expect(correlationToken(inherited, fresh)).toBe(kept as CorrelationToken);
});

test.each([undefined, "", " ", "\n", "äöü", "///"])("%j leaves nothing: one is made", (inherited) => {
  expect(correlationToken(inherited, fresh)).toBe(MADE);
});

test("a made one has eight hex digits, however much chance there is", () => {
  expect(correlationToken(undefined, { ...fresh, random: new Uint8Array(32) })).toBe(
    "authnft-1700000000-4711-00000000" as CorrelationToken,
  );
});
