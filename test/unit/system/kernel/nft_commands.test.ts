// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import {
  asElements,
  type Declaration,
  withoutLookingAtOthers,
} from "../../../../src/system/kernel/nft_commands.ts";

/** What the kernel has, where it is asked. */
const BASE: Declaration = { kind: "map", body: "typeof socket cgroupv2 level 2 : verdict; counter" };

function put(lines: readonly string[], declared: (table: string, name: string) => Declaration | undefined) {
  return withoutLookingAtOthers(lines, declared).map(({ text }) => text);
}
const nothing = (): undefined => undefined;

describe("withoutLookingAtOthers", () => {
  test("declares a set that is there with the elements that are added to it, and asks for it once", () => {
    const asked: string[] = [];
    const lines = [
      'add element inet authnft session_in { "a.slice/b.scope" comment "x; }" : jump b_in }',
      "add element inet authnft session_in { 1 : goto c }",
    ];
    const declared = (table: string, name: string): Declaration => {
      asked.push(`${table} ${name}`);
      return BASE;
    };
    expect(put(lines, declared)).toEqual([
      `add map inet authnft session_in { ${BASE.body}; elements = { "a.slice/b.scope" comment "x; }" : jump b_in }; }`,
      `add map inet authnft session_in { ${BASE.body}; elements = { 1 : goto c }; }`,
    ]);
    expect(asked).toEqual(["authnft session_in"]);
  });

  test("declares a set of the same transaction as it is there, but for its elements", () => {
    const lines = [
      'create set inet authnft s { type ipv4_addr; comment "elements; {"; elements = { 10.0.0.1 comment ";}" }; flags interval }',
      "add element inet authnft s { 192.0.2.1 }",
    ];
    expect(put(lines, nothing)).toEqual([
      lines[0] ?? "",
      'add set inet authnft s { type ipv4_addr; comment "elements; {"; flags interval; elements = { 192.0.2.1 }; }',
    ]);
  });

  test("says how much further behind a command's elements are, in bytes", () => {
    const line = "add element inet authnft s { ü }";
    const [command] = withoutLookingAtOthers([line], () => ({ kind: "set", body: 'type mark; comment "ü"' }));
    const elements = (text: string): number => Buffer.from(text).indexOf("{ ü }");
    expect(command?.shift).toBe(elements(command?.text ?? "") - elements(line));
  });

  test.each<[string, string[]]>([
    ["of a set that nobody knows", ["add element inet authnft s { 1 }"]],
    ["of a table of another family", ["add element ip authnft s { 1 }"]],
    ["that is no list", ["add element inet authnft s $x"]],
    ["that is deleted", ["add set inet authnft s { type mark; }", "delete element inet authnft s { 1 }"]],
    [
      "of a set that was deleted before",
      [
        "add set inet authnft s { type mark; }",
        "delete set inet authnft s",
        "add element inet authnft s { 1 }",
      ],
    ],
  ])("leaves an element %s", (_, lines) => {
    expect(put(lines, nothing)).toEqual(lines);
  });

  test("does not ask for what was in a table that the transaction deletes", () => {
    const lines = [
      "add set inet authnft s { type mark; }",
      "delete table inet authnft",
      "add table inet authnft",
      "add element inet authnft s { 1 }",
    ];
    expect(put(lines, () => BASE)).toEqual(lines);
  });
});

describe("asElements", () => {
  const line = 'add element inet authnft session_in { "a.scope" comment "x; elements = { }; }" : jump b_in }';

  test("gives back the command that a declaration was made of", () => {
    const [declared = ""] = put([line], () => BASE);
    expect(declared).not.toBe(line);
    expect(asElements(declared, (name) => name === "session_in")).toBe(line);
  });

  test("leaves the declaration of another set, and every other command, as they are", () => {
    const own = "add set inet authnft b_peers { type ipv4_addr; elements = { 192.0.2.1 }; }";
    const rule = "add rule inet authnft b_in accept";
    for (const one of [own, rule, line]) expect(asElements(one, (name) => name === "session_in")).toBe(one);
  });
});
