// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import {
  attribute,
  attributes,
  eachAttribute,
  message,
  NLM_F_ACK,
  nested,
  readAnswer,
  textAttribute,
  view,
} from "../../../../src/system/kernel/netlink.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"));

describe("making", () => {
  test.each<[string, Uint8Array, string]>([
    ["no value", attribute(1, bytes("")), "0400 0100"],
    ["one byte, padded", attribute(2, bytes("aa")), "0500 0200 aa000000"],
    ["four bytes", attribute(0x1234, bytes("01020304")), "0800 3412 01020304"],
    ["five bytes, padded", attribute(3, bytes("0102030405")), "0900 0300 0102030405 000000"],
    ["a text with its NUL", textAttribute(1, "authnft"), "0c00 0100 617574686e667400"],
    ["a text that is padded", textAttribute(1, "ab"), "0700 0100 616200 00"],
    ["a text of more than ASCII", textAttribute(1, "é"), "0700 0100 c3a900 00"],
    ["one in another", nested(3, attribute(1, bytes("ff"))), "0c00 0380 0500 0100 ff000000"],
    ["nothing in another", nested(3), "0400 0380"],
    [
      "two in another, the second aligned",
      nested(1, attribute(1, bytes("ff")), attribute(2, bytes("ee"))),
      "1400 0180 0500 0100 ff000000 0500 0200 ee000000",
    ],
  ])("an attribute: %s", (_, made, expected) => {
    expect(hex(made)).toBe(expected.replaceAll(" ", ""));
  });

  test("a message: length, type, flags with the request's bit, and nothing of number and sender yet", () => {
    const made = message(0x0a0e, NLM_F_ACK, bytes("01000000"), bytes("aabb"));
    // The length is that of the content; what follows is padded so that the next message is aligned.
    expect(hex(made)).toBe(`16000000${"0e0a"}${"0500"}${"00000000"}${"00000000"}01000000aabb0000`);
  });

  test("a message without content", () => {
    expect(hex(message(16, 0))).toBe(`10000000${"1000"}${"0100"}${"0".repeat(16)}`);
  });

  test("each message has bytes of its own", () => {
    const one = message(1, 0, bytes("01"));
    const two = message(1, 0, bytes("01"));
    expect(one.buffer).not.toBe(two.buffer);
    expect(one.byteOffset).toBe(0);
  });
});

describe("reading", () => {
  const read = (text: string): [number, string][] =>
    [...eachAttribute(bytes(text))].map(([type, value]) => [type, hex(value)]);

  test.each<[string, string, [number, string][]]>([
    ["nothing", "", []],
    ["one", "0500 0200 aa000000", [[2, "aa"]]],
    [
      "two",
      "0500 0200 aa000000 0400 0300",
      [
        [2, "aa"],
        [3, ""],
      ],
    ],
    ["the last without its padding", "0500 0200 aa", [[2, "aa"]]],
    [
      "flags are no part of the type",
      "0400 0380 0400 0340 0400 03c0",
      [
        [3, ""],
        [3, ""],
        [3, ""],
      ],
    ],
    ["bytes too few for a header", "050002", []],
    ["a length of nought: no standing still", "0000 0200 0500 0200 aa000000", []],
    ["a length of less than the header", "0300 0200 0500 0200", []],
    ["a length beyond the end", "0900 0200 aabbccdd", []],
    ["the largest length", "ffff 0200 aabbccdd", []],
    ["a good one before a bad one", "0500 0100 aa000000 ff00 0200 aa", [[1, "aa"]]],
    ["rest behind the last", "0400 0100 aabb", [[1, ""]]],
  ])("%s", (_, text, expected) => {
    expect(read(text)).toEqual(expected);
  });

  test("of two of one type the last stays", () => {
    const found = attributes(bytes("0500 0100 aa000000 0500 0100 bb000000 0500 0200 cc000000"));
    expect([...found].map(([type, value]) => [type, hex(value)])).toEqual([
      [1, "bb"],
      [2, "cc"],
    ]);
  });

  test("what was made is read", () => {
    const made = nested(
      7,
      textAttribute(1, "x".repeat(100)),
      nested(2, attribute(3, bytes("0102"))),
      attribute(4, bytes("")),
    );
    const inner = attributes(attributes(made).get(7) ?? bytes(""));
    expect([...inner.keys()]).toEqual([1, 2, 4]);
    expect(Buffer.from(inner.get(1) ?? []).toString()).toBe(`${"x".repeat(100)}\0`);
    expect(hex(attributes(inner.get(2) ?? bytes("")).get(3) ?? bytes(""))).toBe("0102");
  });

  test("a part of a larger buffer is read as that part", () => {
    const larger = bytes("ffffffff 0500 0200 aa000000 ffffffff");
    expect([...attributes(larger.subarray(4, 12))].map(([type, value]) => [type, hex(value)])).toEqual([
      [2, "aa"],
    ]);
    expect(view(larger.subarray(4)).getUint16(0, true)).toBe(5);
  });

  test("cut anywhere, it yields what is whole and ends", () => {
    const whole = Buffer.concat(
      [1, 2, 3, 4, 5].map((size) => attribute(size, new Uint8Array(size).fill(size))),
    );
    for (let length = 0; length <= whole.length; length++) {
      for (const [type, value] of eachAttribute(whole.subarray(0, length))) {
        expect([...value]).toEqual(Array<number>(type).fill(type));
      }
    }
  });

  test("whatever the bytes, it ends, and nothing is read from outside", () => {
    let state = 1;
    const random = (): number => {
      state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
      return state >> 8;
    };
    for (let round = 0; round < 5000; round++) {
      // Mostly small numbers: lengths that fit.
      const noise = Uint8Array.from({ length: random() % 64 }, () =>
        random() % 3 === 0 ? random() & 255 : random() % 12,
      );
      let read = 0;
      for (const [, value] of eachAttribute(noise)) {
        read += 4 + value.length;
        expect(value.buffer).toBe(noise.buffer);
      }
      expect(read).toBeLessThanOrEqual(noise.length);
    }
  });
});

describe("readAnswer", () => {
  const DONE = message(3, 2, bytes("00000000"));
  const PART = message(20, 2, bytes("0102030405060708"));

  test("tells the parts of a dump and its end", () => {
    const answer = readAnswer(Buffer.concat([PART, PART, DONE]));
    expect(answer.parts.map(({ type, payload }) => [type, hex(payload)])).toEqual([
      [20, "0102030405060708"],
      [20, "0102030405060708"],
    ]);
    expect(answer.ends).toBe(1);
    expect(readAnswer(bytes(""))).toEqual({ parts: [], ends: 0 });
  });

  test.each<[string, Uint8Array, string]>([
    ["an error", message(2, 0, bytes("feffffff")), "ENOENT"],
    ["the error at the end of a dump", message(3, 2, bytes("f0ffffff")), "EBUSY"],
    ["what changed meanwhile", message(20, 0x10, bytes("00000000")), "EINTR"],
    // Found by chance: these threw something else, or passed for success.
    ["an error of no size", message(2, 0), "EBADMSG"],
    ["an end of a dump of no size", message(3, 2), "EBADMSG"],
    ["an error that is none", message(2, 0, bytes("01000000")), "EBADMSG"],
    ["an error of no number", message(2, 0, bytes("00000080")), "EBADMSG"],
    ["a rest", Buffer.concat([DONE, bytes("0000")]), "EBADMSG"],
    ["a length of nought", bytes("00000000 1400 0000 00000000 00000000"), "EBADMSG"],
  ])("%s", (_, answer, code) => {
    expect(() => readAnswer(answer)).toThrow(expect.objectContaining({ code }));
  });

  test("a dump that is cut anywhere never passes for the whole", () => {
    const whole = Buffer.concat([PART, PART, DONE]);
    for (let length = 1; length < whole.length; length++) {
      // Between two messages it is what came so far, without an end.
      if (length === PART.length || length === PART.length * 2)
        expect(readAnswer(whole.subarray(0, length)).ends).toBe(0);
      else
        expect(() => readAnswer(whole.subarray(0, length))).toThrow(
          expect.objectContaining({ code: "EBADMSG" }),
        );
    }
  });
});

test("the largest error that the kernel has a number for is one, and the next is none", () => {
  const error = (errno: number) => {
    const payload = new Uint8Array(4);
    new DataView(payload.buffer).setInt32(0, -errno, true);
    return message(2, 0, payload);
  };
  expect(() => readAnswer(error(4095))).toThrow(expect.not.objectContaining({ code: "EBADMSG" }));
  expect(() => readAnswer(error(4096))).toThrow(expect.objectContaining({ code: "EBADMSG" }));
});

test("what was read stays as it was when the buffer is used again", () => {
  const buffer = message(20, 2, Uint8Array.of(1, 2, 3, 4));
  const { parts } = readAnswer(buffer);
  buffer.fill(9);
  expect(parts[0]?.payload).toEqual(Uint8Array.of(1, 2, 3, 4));
});
