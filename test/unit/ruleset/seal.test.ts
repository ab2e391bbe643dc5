// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import {
  formatStampBits,
  hexMark,
  parseStampBits,
  STAMP_BITS,
  type StampBits,
} from "../../../src/ruleset/seal.ts";
import { packetProgram, socketProgram } from "../../../src/ruleset/seal_program.ts";

test("bits are read as they are written, in either order, with remarks", () => {
  expect(parseStampBits(formatStampBits(STAMP_BITS))).toEqual(STAMP_BITS);
  expect(parseStampBits("# ours\n\nout 0x1 # the lowest\n  in\t0x80000000\n")).toEqual({
    in: 0x8000_0000,
    out: 1,
  });
});

test.each([
  ["", "two lines"],
  ["in 0x20000000\n", "two lines"],
  ["in 0x20000000\nout 0x20000000\n", "different bits"],
  ["in 0x30000000\nout 0x1\n", "line 1"],
  ["in 0x1\nout 0\n", "line 2"],
  ["in 0x1\nout 0x0\n", "line 2"],
  ["in 0x1\nout 0x100000000\n", "line 2"],
  ["in 1\nout 0x2\n", "line 1"],
  ["in 0x1 0x2\nout 0x4\n", "line 1"],
  ["in 0x1\nforward 0x2\n", "line 2"],
  ["in 0x1\nout 0x2\nin 0x4\n", "line 3"],
])("what is no pair of bits is refused with its place: %j", (text, said) => {
  expect(() => parseStampBits(text)).toThrow(said);
});

test("the highest bit is written as one, whatever sign a number has for it", () => {
  expect(hexMark(0x8000_0000 | 0x4000_0000)).toBe("0xc0000000");
});

/**
 * What a program does, by running it, with what the kernel's functions answer.
 *
 * @param mark the packet's, or that of the socket that is made
 * @param socket the packet's
 * @param isOurs whether the network of a socket that is made is in the map
 */
function run(program: Uint8Array, mark: number, socket: { mark: number } | undefined, isOurs = false) {
  const view = new DataView(program.buffer);
  const packet = { mark };
  const registers: unknown[] = [];
  const field: Record<number, () => unknown> = {
    8: () => packet.mark,
    16: () => packet.mark,
    168: () => socket ?? 0,
  };
  for (let at = 0; at < program.length / 8; at++) {
    const code = view.getUint8(8 * at);
    const to = view.getUint8(8 * at + 1) & 15;
    const from = view.getUint8(8 * at + 1) >> 4;
    const offset = view.getInt16(8 * at + 2, true);
    const value = view.getInt32(8 * at + 4, true);
    switch (code) {
      case 0xbf: // a register
        registers[to] = registers[from];
        break;
      case 0xb7:
        registers[to] = value;
        break;
      case 0x61: // a word of the packet, or of its socket
      case 0x79:
        registers[to] = from === 6 ? field[offset]?.() : socket?.mark;
        break;
      case 0x57:
        registers[to] = (Number(registers[to]) & value) >>> 0;
        break;
      case 0x63:
        packet.mark = Number(registers[from]);
        break;
      // Of 64 bits, the value with its sign: a register that has a word is never a negative one.
      case 0x15:
        if (registers[to] === value) at += offset;
        break;
      case 0x55:
        if (registers[to] !== value) at += offset;
        break;
      case 0x56: // of 32
        if (Number(registers[to]) >>> 0 !== value >>> 0) at += offset;
        break;
      case 0x47:
        registers[to] = (Number(registers[to]) | value) >>> 0;
        break;
      case 0x85:
        // The look-up in the map, the whole socket, the cookie of its network.
        registers[0] = { 1: Number(isOurs), 95: registers[1], 122: 7 }[value];
        break;
      case 0x18: // two instructions
        at++;
        break;
      case 0x07: // where the key is
      case 0x7b:
        break;
      case 0x95:
        return { passes: registers[0] === 1, mark: packet.mark };
      default:
        throw new Error(`instruction ${at}: ${code}`);
    }
  }
  throw new Error("it does not end");
}

/** A pair as it is, one that has the highest bit of a mark, and one that has the lowest. */
const PAIRS: readonly StampBits[] = [
  STAMP_BITS,
  { in: 0x8000_0000, out: 0x4000_0000 },
  { in: 0x4000_0000, out: 0x8000_0000 },
  { in: 1, out: 2 },
];

test.each(PAIRS.flatMap((bits) => (["in", "out"] as const).map((direction) => ({ direction, ...bits }))))(
  "what is stamped for %p passes and loses both bits, and nothing else",
  ({ direction, ...bits }) => {
    const program = packetProgram(direction, bits);
    const other = direction === "in" ? bits.out : bits.in;
    const both = (bits.in | bits.out) >>> 0;
    expect(run(program, 0, { mark: 0 })).toEqual({ passes: false, mark: 0 });
    expect(run(program, 0x0f00, undefined)).toEqual({ passes: false, mark: 0x0f00 });
    expect(run(program, other, { mark: 0 })).toEqual({ passes: false, mark: other });
    expect(run(program, (bits[direction] | 0x0800_0010) >>> 0, { mark: 0 })).toEqual({
      passes: true,
      mark: 0x0800_0010,
    });
    expect(run(program, both, undefined)).toEqual({ passes: true, mark: 0 });
    // A socket of another network has both bits for its own.
    expect(run(program, 4, { mark: (both | 8) >>> 0 })).toEqual({ passes: true, mark: 4 });
    expect(run(program, 4, { mark: bits[direction] })).toEqual({ passes: false, mark: 4 });
  },
);

test.each(PAIRS)("a socket of a network that is not ours gets %p both, and one of ours neither", (bits) => {
  const program = socketProgram(77, bits);
  const both = (bits.in | bits.out) >>> 0;
  expect(run(program, 8, undefined, true)).toEqual({ passes: true, mark: 8 });
  expect(run(program, 8, undefined, false)).toEqual({ passes: true, mark: (both | 8) >>> 0 });
});

test("the program for sockets names the map by its descriptor, and no jump leads out of it", () => {
  const program = socketProgram(77, STAMP_BITS);
  const view = new DataView(program.buffer);
  const loads = [...Array(program.length / 8).keys()].filter((at) => view.getUint8(8 * at) === 0x18);
  expect(loads.map((at) => [view.getUint8(8 * at + 1) >> 4, view.getInt32(8 * at + 4, true)])).toEqual([
    [1, 77],
  ]);
  for (const program of [socketProgram(1, STAMP_BITS), packetProgram("in", STAMP_BITS)])
    for (let at = 0; at < program.length / 8; at++) {
      const code = new DataView(program.buffer).getUint8(8 * at);
      const offset = new DataView(program.buffer).getInt16(8 * at + 2, true);
      if ([0x15, 0x55, 0x56].includes(code)) {
        expect(offset).toBeGreaterThan(0);
        expect(at + 1 + offset).toBeLessThan(program.length / 8);
      }
    }
});
