// SPDX-License-Identifier: GPL-2.0-or-later

// The programs of the seal, as the kernel takes them: struct bpf_insn of linux/bpf.h, eight bytes each. Pure: to load and to
// attach them is system/bpf.ts's.

import type { StampBits } from "./seal.ts";

// linux/bpf_common.h, linux/bpf.h: a class, a size or an operation, a source.
const LOAD_WORD = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const LOAD_DOUBLE = 0x79;
const LOAD_IMMEDIATE = 0x18; // 64 bits, in two instructions
const STORE_WORD = 0x63; // BPF_STX | BPF_MEM | BPF_W
const STORE_DOUBLE = 0x7b;
const MOVE = 0xb7;
const MOVE_REGISTER = 0xbf;
const ADD = 0x07;
const AND = 0x57;
const OR = 0x47;
const JUMP_IF_EQUAL = 0x15;
const JUMP_IF_NOT = 0x55;
const JUMP_IF_NOT_WORD = 0x56; // BPF_JMP32 | BPF_JNE: with the others the highest bit of the value is a sign
const CALL = 0x85;
const EXIT = 0x95;
const A_MAP = 1; // BPF_PSEUDO_MAP_FD

const FRAME = 10; // the register that points above the stack

// Functions of the kernel, by number.
const MAP_LOOKUP = 1;
const FULL_SOCKET = 95;
const NETWORK_COOKIE = 122;

// struct __sk_buff and struct bpf_sock: where the fields are.
const PACKET_MARK = 8;
const PACKET_SOCKET = 168;
const SOCKET_MARK = 16;

/** A jump names the instruction that it leads to. */
type Instruction = {
  readonly code: number;
  readonly to?: number;
  readonly from?: number;
  readonly offset?: number;
  readonly value?: number;
  readonly jump?: string;
  readonly label?: string;
};

/** What a socket's own mark has where it is in a network that the seal is not about. */
function elsewhere(bits: StampBits): number {
  return bits.in | bits.out;
}

/**
 * The program that the kernel asks about each packet that a socket sends (`out`), or is about to get (`in`): what has the
 * direction's bit in its mark passes, and loses both bits; what has not is stopped, unless the socket is in another network.
 *
 * For cgroups of type BPF_PROG_TYPE_CGROUP_SKB.
 */
export function packetProgram(direction: "in" | "out", bits: StampBits): Uint8Array {
  return assemble([
    { code: MOVE_REGISTER, to: 6, from: 1 },
    { code: LOAD_WORD, to: 1, from: 6, offset: PACKET_MARK },
    { code: MOVE_REGISTER, to: 2, from: 1 },
    { code: AND, to: 2, value: bits[direction] },
    { code: JUMP_IF_NOT, to: 2, value: 0, jump: "stamped" },
    { code: LOAD_DOUBLE, to: 1, from: 6, offset: PACKET_SOCKET },
    { code: JUMP_IF_EQUAL, to: 1, value: 0, jump: "stop" },
    { code: CALL, value: FULL_SOCKET },
    { code: JUMP_IF_EQUAL, to: 0, value: 0, jump: "stop" },
    { code: LOAD_WORD, to: 1, from: 0, offset: SOCKET_MARK },
    { code: AND, to: 1, value: elsewhere(bits) },
    { code: JUMP_IF_NOT_WORD, to: 1, value: elsewhere(bits), jump: "stop" },
    { code: LOAD_WORD, to: 1, from: 6, offset: PACKET_MARK },
    { code: AND, to: 1, value: ~elsewhere(bits), label: "stamped" },
    { code: STORE_WORD, to: 6, from: 1, offset: PACKET_MARK },
    { code: MOVE, to: 0, value: 1 },
    { code: EXIT },
    { code: MOVE, to: 0, value: 0, label: "stop" },
    { code: EXIT },
  ]);
}

/**
 * The program that the kernel asks when a socket is made: one in a network that has no table of ours gets both bits into its
 * own mark. A user may set no socket's mark but in a network that is the user's own.
 *
 * For cgroups of type BPF_PROG_TYPE_CGROUP_SOCK.
 *
 * @param networks the descriptor of a map that has the cookies of the networks that the seal is about
 */
export function socketProgram(networks: number, bits: StampBits): Uint8Array {
  return assemble([
    { code: MOVE_REGISTER, to: 6, from: 1 },
    { code: CALL, value: NETWORK_COOKIE },
    { code: STORE_DOUBLE, to: FRAME, from: 0, offset: -8 },
    { code: MOVE_REGISTER, to: 2, from: FRAME },
    { code: ADD, to: 2, value: -8 },
    { code: LOAD_IMMEDIATE, to: 1, from: A_MAP, value: networks },
    { code: 0 },
    { code: CALL, value: MAP_LOOKUP },
    { code: JUMP_IF_NOT, to: 0, value: 0, jump: "done" },
    { code: LOAD_WORD, to: 1, from: 6, offset: SOCKET_MARK },
    { code: OR, to: 1, value: elsewhere(bits) },
    { code: STORE_WORD, to: 6, from: 1, offset: SOCKET_MARK },
    { code: MOVE, to: 0, value: 1, label: "done" },
    { code: EXIT },
  ]);
}

function assemble(instructions: readonly Instruction[]): Uint8Array {
  const bytes = new Uint8Array(8 * instructions.length);
  const view = new DataView(bytes.buffer);
  for (const [index, { code, to = 0, from = 0, offset = 0, value = 0, jump }] of instructions.entries()) {
    const target = instructions.findIndex(({ label }) => label !== undefined && label === jump);
    view.setUint8(8 * index, code);
    view.setUint8(8 * index + 1, (from << 4) | to);
    // Counted from the next instruction.
    view.setInt16(8 * index + 2, jump === undefined ? offset : target - index - 1, true);
    view.setInt32(8 * index + 4, value, true);
  }
  return bytes;
}
