// SPDX-License-Identifier: GPL-2.0-or-later

// A login stops at the first mistake, "authnft check" tells of all: both by the same code.

import { expect, test } from "bun:test";
import { compileFragment } from "../../../src/policy/compile.ts";
import { readFragment } from "../../../src/policy/read.ts";
import { tokenAt } from "../../../src/policy/render.ts";
import { Refusal, type Refused } from "../../../src/refusal.ts";
import { forSession } from "../../../src/subjects/session/dialect.ts";

const OPTIONS = {
  path: "f",
  prefix: "session_alice_1",
  level: 2,
  ...forSession({ id: 1000, name: "alice", address: { family: "ip", text: "192.0.2.1" } }),
} as const;

function compile(text: string, refused?: Refused) {
  const files: Readonly<Record<string, string>> = {
    f: text,
    "/etc/authnft/x": "add rule inet authnft egress $y",
  };
  const fragment = readFragment(
    "f",
    (path, _, from) => {
      const found = files[path];
      if (found !== undefined) return Buffer.from(found);
      throw new Refusal("missing", `Cannot read fragment ${path}, from line ${from?.line}.`);
    },
    refused,
  );
  return compileFragment(fragment, OPTIONS, refused);
}

/** Fragments with mistakes, and the lines and columns of all that are told. */
const MISTAKES: readonly (readonly [text: string, places: readonly string[]])[] = [
  ["flush ruleset\nlist ruleset; monitor", ["1:1", "2:1", "2:15"]],
  [
    "add rule inet authnft egress 22jump `\nadd rule inet authnft egress \\ x \\ y\nflush ruleset",
    ["1:32", "2:30", "3:1"],
  ],
  [
    'include "/etc/passwd"\ninclude "/etc/authnft/x"\nadd rule inet authnft input drop',
    ["1:1", "1:30", "3:23"],
  ],
  ["add rule inet authnft egress { ; }\nflush ruleset", ["1:32"]],
  [
    "add set inet authnft s s\nadd rule inet authnft egress ip daddr @s drop\nadd element inet authnft s { 1.2.3.4 }",
    ["1:24"],
  ],
  [
    "add set inet authnft in { type ipv4_addr; }\nadd chain inet evil c\nadd rule inet authnft egress jump c",
    ["1:22", "2:11"],
  ],
  ["add chain inet authnft c; add chain inet authnft c; add rule inet authnft c $x", ["1:27", "1:77"]],
  ["add set inet authnft s { kind x; }\nadd rule inet authnft egress ip saddr a.b drop", ["1:26", "2:39"]],
  ["add counter inet authnft", ["1:1"]],
];

test.each(MISTAKES)("%j", (text, places) => {
  const told: string[] = [];
  compile(text, ({ message }) => told.push(message));
  expect(told.map((message) => /:(\d+:\d+): /.exec(message)?.[1])).toEqual([...places]);
  expect(() => compile(text)).toThrow(told[0] ?? "nothing told");
});

test("what cannot be read at all is told with what is wrong in the rest", () => {
  const told: string[] = [];
  compile('\ninclude "/etc/authnft/none"\nflush ruleset', ({ message }) => told.push(message));
  expect(told).toEqual([
    "Cannot read fragment /etc/authnft/none, from line 2.",
    expect.stringContaining("f:3:1: only "),
  ]);
});

test("a fragment that is right is the same, whether somebody wants to be told or not", () => {
  const text =
    "add set inet authnft s { type ipv4_addr; elements = { 1.2.3.4 } }\nadd rule inet authnft egress ip daddr @s accept";
  expect(compile(text, expect.unreachable)).toEqual(compile(text));
});

test("a place in compiled text leads to the word that it comes from", () => {
  const text = `add chain inet authnft far
add rule inet authnft egress meta cgroup . ip daddr {
  1.2.3.4 } tcp dport\t22 jump far
add rule inet authnft egress ip saddr $user_ip counter accept comment "x"`;
  const { parts } = compile(text);
  const origins = parts.flatMap((part) => {
    if (part.kind !== "rule") return [];
    const words = [...part.body.matchAll(/[^\s]+/g)];
    return words.map(({ 0: word, index: offset }) => {
      const { line, column } = tokenAt(part.terms, { ...OPTIONS, offset })?.place ?? {};
      return `${word} ${line}:${column}`;
    });
  });
  expect(origins).toEqual([
    ...["socket 2:30", "cgroupv2 2:30", "level 2:30", "2 2:30", ". 2:42", "ip 2:44", "daddr 2:47", "{ 2:53"],
    ...[
      "1.2.3.4 3:3",
      "} 3:11",
      "tcp 3:13",
      "dport 3:17",
      "22 3:23",
      "jump 3:26",
      "session_alice_1_far 3:26",
    ],
    ...[
      "ip 4:30",
      "saddr 4:33",
      "192.0.2.1 4:39",
      "counter 4:48",
      "goto 4:56",
      "session_alice_1_judged 4:56",
    ],
    ...["comment 4:63", '"x" 4:71'],
  ]);
  expect(tokenAt([], { ...OPTIONS, offset: 3 })).toBeUndefined();
});
