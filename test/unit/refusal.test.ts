// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import { oneLine, type Reason, Refusal } from "../../src/refusal.ts";

test.each<[string, string, string]>([
  ["line ends become one blank", "a\nb\r\n\tc", "a b c"],
  ["a terminal's escape loses its power", "\x1b[2Jgone\x07", "[2Jgone"],
  ["the C1 controls as well, which 8-bit terminals obey", "a\x9b2Jb", "a 2Jb"],
  ["writing direction cannot be turned", "abc\u202etxt.exe", "abc txt.exe"],
  ["invisible characters show as a gap", "al\u200bice", "al ice"],
  ["Unicode's own line and paragraph ends count", "a\u2028b\u2029c", "a b c"],
  ["NUL counts", "a\0b", "a b"],
  ["nothing is left of nothing", "\n\t ", ""],
  ["letters of all scripts stay", "Grüße, 東京 – ok", "Grüße, 東京 – ok"],
])("one line: %s", (_, text, line) => {
  expect(oneLine(text)).toBe(line);
});

test("a refusal's message is one line whatever it quotes", () => {
  expect(new Refusal("user", 'no "eve\nroot"').message).toBe('no "eve root"');
});

test.each<[Reason, boolean]>([
  ["missing", true],
  ["perms", true],
  ["content", true],
  ["nft-syntax", true],
  ["request", false],
  ["argument", false],
  ["ruleset", false],
  ["bug", false],
])("the audit trail hears of %j: %j", (reason, concerned) => {
  expect(new Refusal(reason, "x").concernsFragment).toBe(concerned);
});

test("a refusal can be told from other errors", () => {
  const refusal = new Refusal("claims", "x");
  expect(refusal).toBeInstanceOf(Error);
  expect(refusal.name).toBe("Refusal");
  expect(refusal.reason).toBe("claims");
});
