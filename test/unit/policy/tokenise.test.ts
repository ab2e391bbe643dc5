// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { locate, type Token, tokenise } from "../../../src/policy/tokenise.ts";
import { Refusal } from "../../../src/refusal.ts";

const tokens = (text: string): readonly Token[] => tokenise("f", text).tokens;
const texts = (text: string): string[] => tokens(text).map((token) => token.text);

describe("pieces", () => {
  test.each<[string, string[]]>([
    ["", []],
    [" \t ", []],
    ["add rule", ["add", "rule"]],
    ["tcp dport 22 accept", ["tcp", "dport", "22", "accept"]],
    ["ip saddr 192.0.2.7", ["ip", "saddr", "192.0.2.7"]],
    ["a.b-c_d/e9", ["a.b-c_d/e9"]],
    ["_x .y", ["_x", ".y"]],
    ["{22,80}", ["{", "22", ",", "80", "}"]],
    // As long as an address can be.
    ["0000:0000:0000:0000:0000:ffff:192.168.100.200", ["0000:0000:0000:0000:0000:ffff:192.168.100.200"]],
    ["ct state established,related", ["ct", "state", "established", ",", "related"]],
    ['log prefix "a b" drop', ["log", "prefix", '"a b"', "drop"]],
    ['"" ""', ['""', '""']],
    ['"a;b#c{d}\\"', ['"a;b#c{d}\\"']],
    ["@session_map_cg $user_ip", ["@", "session_map_cg", "$", "user_ip"]],
    ["a;b", ["a", ";", "b"]],
    ["a\nb\n", ["a", "\n", "b", "\n"]],
    ["a\n\n\nb", ["a", "\n", "\n", "\n", "b"]],
  ])("of %j", (text, expected) => {
    expect(texts(text)).toEqual(expected);
  });

  test("know their kind", () => {
    expect(tokens('drop "x" 22 { ; \n').map(({ kind }) => kind)).toEqual([
      "word",
      "string",
      "number",
      "punctuation",
      "end",
      "end",
    ]);
  });

  test("know whether something stands before them", () => {
    const spaced = (text: string): boolean[] => tokens(text).map((token) => token.spaced);
    expect(spaced("a b")).toEqual([false, true]);
    expect(spaced("a{b")).toEqual([false, false, false]);
    expect(spaced("a\\\nb")).toEqual([false, true]);
    expect(spaced("a # b\nc")).toEqual([false, true, false]);
    expect(spaced("  a")).toEqual([true]);
  });
});

describe("comments", () => {
  const comments = (text: string): readonly string[] => tokenise("f", text).comments;

  test.each<[string, string[]]>([
    ["# require address", ["require address"]],
    ["#require address\n", ["require address"]],
    ["add # one\n# two\n#\n", ["one", "two", ""]],
    ["# a # b", ["a # b"]],
    ["# no \\\n# joining", ["no \\", "joining"]],
    ['log prefix "# none"', []],
    ['# "unclosed', ['"unclosed']],
    ["#\0\x1b", ["\0\x1b"]],
  ])("of %j", (text, expected) => {
    expect(comments(text)).toEqual(expected);
  });

  test("a continued line cannot come out of a comment", () => {
    expect(texts("a # \\\nflush")).toEqual(["a", "\n", "flush"]);
  });

  test("as many as fit into a policy", () => {
    expect(comments("#\n".repeat(1 << 19))).toHaveLength(1 << 19);
  });
});

describe("places", () => {
  test("count lines and columns from 1", () => {
    const found = tokens('add rule\n\n\ttcp "a b" 22;x # c\ny \\\n z').map(({ place }) => locate(place));
    expect(found).toEqual([
      "f:1:1",
      "f:1:5",
      "f:1:9",
      "f:2:1",
      "f:3:2",
      "f:3:6",
      "f:3:12",
      "f:3:14",
      "f:3:15",
      "f:3:20",
      "f:4:1",
      "f:5:2",
    ]);
  });

  test("have the file's name", () => {
    expect(locate({ file: "/etc/authnft/users/alice", line: 3, column: 7 })).toBe(
      "/etc/authnft/users/alice:3:7",
    );
  });
});

describe("refusals", () => {
  test.each<[string, string]>([
    ['log prefix "a', "f:1:12: a string is opened here and not closed on this line"],
    ['x\n"a\nb"', "f:2:1: a string is opened here and not closed on this line"],
    ['"', "f:1:1: a string is opened here"],
    ['"a""', "f:1:4: a string is opened here"],
    ["a \\ b", "f:1:3: a backslash may only stand at the very end of a line"],
    ["a \\", "f:1:3: a backslash"],
    ["a \\ \n", "f:1:3: a backslash"],
    ["a \\\r\n", "f:1:3: a backslash"],
    ["\\*", "f:1:1: a backslash"],
    ["a\r\nb", "f:1:2: a carriage return; save the file with Unix line ends"],
    ["a\rb", "f:1:2: a carriage return"],
    ["a\0b", 'f:1:2: the character "\\u0000" has no meaning in nftables'],
    ["a\fb", 'f:1:2: the character "\\f"'],
    ["a\vb", 'f:1:2: the character "\\u000b"'],
    ["\x1b[2J", 'f:1:1: the character "\\u001b"'],
    ["a\x7f", "f:1:2: the character"],
    ["a\u00a0b", "f:1:2: the character"],
    ["a\u200bb", "f:1:2: the character"],
    ["a\u2028b", "f:1:2: the character"],
    ["\u202eabc", "f:1:1: the character"],
    ["a\u0085b", "f:1:2: the character"],
    ["“a”", 'f:1:1: the character "“"'],
    ["1–2", 'f:1:2: the character "–"'],
    ["ａdd", 'f:1:1: the character "ａ"'],
    ["é", 'f:1:1: the character "é"'],
    ["😀", "f:1:1: the character"],
    ["a ? b", 'f:1:3: the character "?"'],
    ["`id`", 'f:1:1: the character "`"'],
    ["a\u0301", "f:1:2: the character"],
  ])("of %j", (text, message) => {
    expect(() => tokens(text)).toThrow(message);
    try {
      tokens(text);
    } catch (error) {
      expect(error).toBeInstanceOf(Refusal);
      expect((error as Refusal).reason).toBe("content");
      expect((error as Refusal).message).not.toMatch(/\p{Cc}/u);
    }
  });
});

test("a megabyte of anything is read in a moment, or refused", () => {
  const long = 1 << 20;
  expect(tokens("a".repeat(long))).toHaveLength(1);
  expect(tokens("0".repeat(long))).toHaveLength(1);
  expect(tokens(" ".repeat(long))).toHaveLength(0);
  expect(tokens(`"${" ".repeat(long)}"`)).toHaveLength(1);
  expect(tokens("\\\n".repeat(long / 2))).toHaveLength(0);
  expect(() => tokens(`"${" ".repeat(long)}`)).toThrow("a string is opened here");
});
