// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import {
  type Diagnosis,
  formatDiagnosis,
  parseComplaint,
  type Showing,
} from "../../../src/policy/diagnosis.ts";

const FILE = "/etc/authnft/users/alice";

describe("parseComplaint", () => {
  test.each([
    [`${FILE}:3:14: the rule is empty; say what to do.`, 3, "the rule is empty", "say what to do"],
    [`${FILE}:3:14: write it.`, 3, "write it", undefined],
    [
      `${FILE}:1:2: a ";" inside braces; a fragment has no blocks.`,
      1,
      'a ";" inside braces',
      "a fragment has no blocks",
    ],
    [`${FILE}:1:2: no map "x"; add "map { a; b; }".`, 1, 'no map "x"', 'add "map { a; b; }"'],
    ["Cannot read it: it is not there; write it.", undefined, "Cannot read it: it is not there", "write it"],
    ["/etc/authnft/other:1:1: no; yes.", undefined, "/etc/authnft/other:1:1: no", "yes"],
  ])("%s", (text, line, message, advice) => {
    const complaint = parseComplaint(text, ["/etc/authnft/users/al", FILE]);
    expect({ line: complaint.place?.line, message: complaint.message, advice: complaint.advice }).toEqual({
      line,
      message,
      advice,
    });
  });

  test("a file may be called anything", () => {
    const file = "/tmp/a:1:2: b";
    expect(parseComplaint(`${file}:3:4: no.`, [file])).toEqual({
      place: { file, line: 3, column: 4 },
      message: "no",
      advice: undefined,
    });
  });
});

describe("formatDiagnosis", () => {
  const shown = (
    text: string,
    diagnosis: Partial<Diagnosis> = {},
    showing: Partial<Showing> = {},
  ): string[] =>
    formatDiagnosis(
      {
        level: "error",
        file: FILE,
        line: 1,
        column: 1,
        message: "no",
        advice: undefined,
        included: [],
        ...diagnosis,
      },
      { colour: false, width: 80, textOf: () => text, nameOf: (file) => file, ...showing },
    ).split("\n");

  test("place, line, caret, includes and advice", () => {
    const included = [{ file: "/etc/authnft/default", line: 7, column: 1 }];
    expect(shown("one\ntwo three", { line: 2, column: 5, advice: "write 3", included })).toEqual([
      `${FILE}:2:5: error: no`,
      "    two three",
      "        ^",
      "  included by /etc/authnft/default:7:1",
      "  help: write 3",
    ]);
  });

  test("the caret stands right below tabs and wide characters", () => {
    expect(shown("\ta\t日本x", { column: 6 }).slice(1)).toEqual(["    \ta\t日本x", "    \t \t    ^"]);
  });

  test("a whole file, and one that was not read, have no line to show", () => {
    expect(shown("one", { line: undefined, column: undefined })).toEqual([`${FILE}: error: no`]);
    expect(shown("", {}, { textOf: () => undefined })).toEqual([`${FILE}:1:1: error: no`]);
  });

  test("of a long line the part around the place", () => {
    const [, line = "", caret = ""] = shown(`${"a".repeat(500)}X${"b".repeat(500)}`, { column: 501 });
    expect(line.length).toBeLessThanOrEqual(80);
    expect(line).toStartWith("    …a");
    expect(line).toEndWith("b…");
    expect(line[caret.indexOf("^")]).toBe("X");
    const [, end = "", below = ""] = shown(`${"a".repeat(500)}X`, { column: 501 });
    expect(end[below.indexOf("^")]).toBe("X");
    expect(shown(`X${"a".repeat(500)}`)[2]).toBe("    ^");
  });

  test("nothing of a file steers the terminal", () => {
    const text = shown("\x1b[2Jone\u202e", { message: "no \x1b[31m", file: "/tmp/\x07" }).join("\n");
    expect(text).not.toMatch(/(?!\n)[\p{Cc}\p{Cf}]/u);
  });

  test("colour where it is asked for", () => {
    expect(shown("one", {}, { colour: true })[0]).toContain("\x1b[1;31merror:\x1b[0m");
  });
});
