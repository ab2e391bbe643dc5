// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { Refusal } from "../../../../src/refusal.ts";
import {
  type ClaimsTag,
  claimsTag,
  type KeySerial,
  parseKeySerial,
} from "../../../../src/subjects/session/claims.ts";

describe("a key's serial", () => {
  test.each<[string, number]>([
    ["1", 1],
    ["2147483647", 0x7fff_ffff],
    ["0000000012", 12],
  ])("%j is %j", (text, serial) => {
    expect(parseKeySerial(text)).toBe(serial as KeySerial);
  });

  test.each([
    "",
    "0",
    "-1",
    "-3", // KEY_SPEC_SESSION_KEYRING: would be the helper's own
    "+5",
    "2147483648",
    "4294967295",
    "4294967293",
    "99999999999999999999",
    "1e3",
    "0x10",
    "1.0",
    " 5",
    "5 ",
    "5\n",
    "5\0",
    "５",
    "NaN",
    "@s",
    "user:claims",
    "[object Object]",
  ])("%j is none", (text) => {
    expect(() => parseKeySerial(text)).toThrow(Refusal);
    expect(() => parseKeySerial(text)).toThrow(/is no key serial; have the module that sets the variable/);
  });

  test("a long one is quoted in part", () => {
    expect(() => parseKeySerial("9".repeat(100_000))).toThrow(/^Cannot read the claims: "9{40}" is no/);
  });
});

describe("a key's payload as a tag", () => {
  const tagOf = (payload: string | Uint8Array): string =>
    claimsTag(typeof payload === "string" ? Buffer.from(payload) : payload);

  test.each<[string, string | Uint8Array, string]>([
    ["what is allowed stays", "audit-session:7f3e9a,x=1;y.z/A_b", "audit-session:7f3e9a,x=1;y.z/A_b"],
    ["blanks and quotes go", 'a "b" c', "a__b__c"],
    ["brackets go: they end the comment's tag", "a]b[c", "a_b_c"],
    ["line ends go", "a\nb\r", "a_b_"],
    ["escapes go", "\x1b[31m", "__31m"],
    ["backslashes go", "\\x", "_x"],
    ["the first NUL ends it", "ab\0cd", "ab"],
    ["each byte of UTF-8 is one", "é", "__"],
    ["bytes that are no UTF-8 as well", Uint8Array.of(0xff, 0xfe, 0x41, 0x80), "__A_"],
    ["192 bytes stay", "x".repeat(192), "x".repeat(192)],
    ["193 do not", "x".repeat(193), "x".repeat(192)],
    ["the NUL may stand behind the limit", `${"x".repeat(200)}\0y`, "x".repeat(192)],
    ["the limit may cut a character", `${"x".repeat(191)}é`, `${"x".repeat(191)}_`],
    ["32 KiB, the longest there is", new Uint8Array(32767).fill(0x61), "a".repeat(192)],
    ["one NUL behind", "a\0", "a"],
  ])("%s", (_, payload, tag) => {
    expect(tagOf(payload)).toBe(tag as ClaimsTag);
  });

  test("of every byte there is one character, and that is of the allowed", () => {
    const all = Uint8Array.from({ length: 255 }, (_, index) => index + 1);
    for (const byte of all) expect(tagOf(Uint8Array.of(byte))).toMatch(/^[A-Za-z0-9_=,.:;/-]$/);
  });

  test.each<[string, Uint8Array]>([
    ["no byte", new Uint8Array()],
    ["a NUL first", Buffer.from("\0secret")],
    ["NULs only", new Uint8Array(100)],
  ])("%s makes no tag", (_, payload) => {
    expect(() => claimsTag(payload)).toThrow("Cannot read the claims: the key is empty");
  });
});

test("a serial has ten digits at most, whatever number they make", () => {
  expect(parseKeySerial("0000000001")).toBe(1 as KeySerial);
  expect(() => parseKeySerial("00000000001")).toThrow("no key serial");
});
