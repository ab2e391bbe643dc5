// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import type { CorrelationToken } from "../../../../src/subjects/session/correlation.ts";
import { formatReply } from "../../../../src/subjects/session/reply.ts";
import type { ScopeUnit } from "../../../../src/subjects/session/scope_unit.ts";

test("a session that is open", () => {
  expect(
    formatReply({
      result: "ok",
      session: "authnft-alice-12.scope" as ScopeUnit,
      correlation: "a:b" as CorrelationToken,
    }),
  ).toBe("authnft 1\nresult=ok\nsession=authnft-alice-12.scope\ncorrelation=a:b\nend\n");
});

test("a session that is closed", () => {
  expect(formatReply({ result: "ok" })).toBe("authnft 1\nresult=ok\nend\n");
});

test("a session that is refused", () => {
  expect(formatReply({ result: "refused", say: "Ask." })).toBe("authnft 1\nresult=refused\nsay=Ask.\nend\n");
});

/** What the shim would take for the sentence. */
function said(say: string): string {
  const lines = formatReply({ result: "refused", say }).split("\n");
  expect(lines).toHaveLength(5);
  expect(lines[3]).toBe("end");
  expect(lines[4]).toBe("");
  return lines[2]?.replace(/^say=/, "") ?? "";
}

test.each<[string, string]>([
  ["a\nend\nresult=ok", "a end result=ok"],
  ["a\r\n\0b", "a b"],
  ["\x1b]0;title\x07x", "]0;title x"],
  ["=", "="],
  ["", ""],
])("no sentence can end the reply: %j", (say, line) => {
  expect(said(say)).toBe(line);
});

test("a long sentence is cut between characters, within what the shim takes", () => {
  for (const character of ["x", "é", "€", "😀"]) {
    for (let before = 0; before < 5; before++) {
      const line = said("-".repeat(before) + character.repeat(600));
      const bytes = Buffer.from(line);
      expect(bytes.length).toBeLessThanOrEqual(512);
      expect(bytes.length).toBeGreaterThan(490);
      expect(line).not.toContain("\ufffd");
      expect(line.replaceAll(character, "").replaceAll("-", "")).toBe("");
    }
  }
});

test("half a character is none", () => {
  expect(() => new TextDecoder("utf-8", { fatal: true }).decode(Buffer.from(said("a\ud83d")))).not.toThrow();
});

test("the cgroup where a process belongs is told if the shim takes it: 500 bytes at most, and none that would end the line", () => {
  const back = (path: string): string | undefined =>
    /^back=(.*)$/m.exec(formatReply({ result: "ok", back: path }))?.[1];
  const longest = `/${"x".repeat(499)}`;
  expect(back("/user.slice/a@b\\x2d.scope")).toBe("/user.slice/a@b\\x2d.scope");
  expect(back(longest)).toBe(longest);
  for (const path of [`${longest}x`, "/a b", "/a\nsession=x", "a", ""]) expect(back(path)).toBeUndefined();
});
