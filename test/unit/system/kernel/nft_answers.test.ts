// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { attribute, nested, textAttribute } from "../../../../src/system/kernel/netlink.ts";
import {
  isOutputNat,
  parseDeclaration,
  parseElements,
  parseNamed,
  parseUses,
} from "../../../../src/system/kernel/nft_answers.ts";

const HEADER = Uint8Array.of(1, 0, 0, 0);
const big = (value: number): Uint8Array => Uint8Array.of(0, 0, 0, 0, 0, 0, 0, value);
const key = (value: number): Uint8Array => nested(1, attribute(1, big(value)));
const leadsTo = (chain: Uint8Array): Uint8Array =>
  nested(2, nested(2, attribute(1, Uint8Array.of(255, 255, 255, 252)), chain));
const counts = (packets: Uint8Array, bytes: Uint8Array): Uint8Array =>
  nested(7, textAttribute(1, "counter"), nested(2, attribute(1, bytes), attribute(2, packets)));
const answer = (...elements: readonly Uint8Array[]): Uint8Array =>
  Buffer.concat([
    HEADER,
    textAttribute(1, "authnft"),
    textAttribute(2, "session_in"),
    nested(3, ...elements),
  ]);

describe("parseElements", () => {
  test("reads keys, chains and counters", () => {
    const found = parseElements(
      answer(nested(1, key(7)), nested(1, key(8), leadsTo(textAttribute(2, "in")), counts(big(3), big(9)))),
    );
    expect(found).toEqual([
      { key: Buffer.from(big(7)), chain: undefined, counter: undefined },
      { key: Buffer.from(big(8)), chain: "in", counter: { packets: 3, bytes: 9 } },
    ]);
  });

  test.each<[string, Uint8Array]>([
    ["nothing", new Uint8Array(0)],
    ["half a head", HEADER.subarray(0, 2)],
    ["no elements", answer()],
    ["something else in the list", answer(nested(2, key(7)))],
  ])("finds none in %s", (_, payload) => {
    expect(parseElements(payload)).toEqual([]);
  });

  test.each<[string, Uint8Array]>([
    ["of four bytes", counts(new Uint8Array(4), big(9))],
    ["of nine", counts(big(3), new Uint8Array(9))],
    ["without one half", nested(7, nested(2, attribute(1, big(9))))],
  ])("believes no counter %s", (_, counter) => {
    expect(parseElements(answer(nested(1, key(7), counter)))[0]?.counter).toBeUndefined();
  });

  test("a name ends at its NUL, and needs none", () => {
    const named = (bytes: string): string | undefined =>
      parseElements(answer(nested(1, key(7), leadsTo(attribute(2, Buffer.from(bytes))))))[0]?.chain;
    expect(named("in\0out\0")).toBe("in");
    expect(named("in")).toBe("in");
    expect(named("")).toBe("");
  });
});

describe("parseNamed", () => {
  const head = [HEADER, textAttribute(1, "authnft")];

  test("reads a set's flags, and an object's type, beside its name", () => {
    const set = Buffer.concat([...head, textAttribute(2, "open"), attribute(3, Uint8Array.of(0, 0, 0, 9))]);
    expect(parseNamed(set, 2)).toEqual({ table: "authnft", name: "open", flags: 9 });
  });

  test("takes a chain's name for a name", () => {
    const chain = Buffer.concat([...head, textAttribute(3, "open")]);
    expect(parseNamed(chain, 3)).toEqual({ table: "authnft", name: "open", flags: 0 });
  });
});

describe("isOutputNat", () => {
  const chain = (type: string, hook: Uint8Array): Uint8Array =>
    Buffer.concat([HEADER, textAttribute(7, type), nested(4, attribute(1, hook))]);

  test("is so for a nat chain in the output hook, and for no other", () => {
    expect(isOutputNat(chain("nat", Uint8Array.of(0, 0, 0, 3)))).toBe(true);
    expect(isOutputNat(chain("nat", Uint8Array.of(0, 0, 0, 4)))).toBe(false);
    expect(isOutputNat(chain("filter", Uint8Array.of(0, 0, 0, 3)))).toBe(false);
    expect(isOutputNat(chain("nat", Uint8Array.of(3)))).toBe(false);
    expect(isOutputNat(HEADER)).toBe(false);
  });
});

describe("parseDeclaration", () => {
  const number = (type: number, value: number): Uint8Array =>
    attribute(type, Uint8Array.of(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255));
  const set = (...parts: readonly Uint8Array[]): Uint8Array =>
    Buffer.concat([HEADER, textAttribute(1, "authnft"), textAttribute(2, "s"), nested(9), ...parts]);
  const counter = nested(17, textAttribute(1, "counter"));
  const verdicts = [number(3, 8), number(6, 0xffff_ff00)];

  // The numbers are those that nftables 1.0.6 and 1.1.3 load our table with.
  test.each<[string, Uint8Array, ReturnType<typeof parseDeclaration>]>([
    ["cgroups", set(number(4, 46)), { kind: "set", body: "typeof socket cgroupv2 level 2" }],
    [
      "cgroups and addresses",
      set(number(3, 0), number(4, 0xb88)),
      { kind: "set", body: "typeof socket cgroupv2 level 2 . ip6 saddr" },
    ],
    [
      "cgroups and what is done, counted",
      set(number(4, 46), ...verdicts, counter),
      { kind: "map", body: "typeof socket cgroupv2 level 2 : verdict; counter" },
    ],
    ["another type", set(number(4, 13)), undefined],
    ["another type besides", set(number(4, (46 << 6) | 13)), undefined],
    ["intervals", set(number(3, 4), number(4, 46)), undefined],
    ["cgroups and marks", set(number(3, 8), number(4, 46), number(6, 19)), undefined],
    ["elements that are limited", set(number(4, 46), nested(17, textAttribute(1, "limit"))), undefined],
    ["elements that expire", set(number(4, 46), attribute(11, big(1))), undefined],
    ["so many elements", Buffer.concat([set(number(4, 46)), nested(9, number(1, 2))]), undefined],
    ["nothing", new Uint8Array(0), undefined],
  ])("reads a set of %s", (_, payload, declaration) => {
    expect(parseDeclaration(payload)).toEqual(declaration);
  });
});

test("how often a chain is used is a number of four bytes, or none", () => {
  const uses = (...value: number[]) =>
    parseUses(Buffer.concat([HEADER, attribute(6, Uint8Array.from(value))]));
  expect(uses(0, 0, 1, 2)).toBe(258);
  expect(uses(1, 2, 3)).toBe(0);
  expect(uses(0, 0, 0, 0, 7)).toBe(0);
});
