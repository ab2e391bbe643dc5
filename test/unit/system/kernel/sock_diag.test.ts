// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { attribute, view } from "../../../../src/system/kernel/netlink.ts";
import { cgroupFilter, inodesInTable, parseSocket } from "../../../../src/system/kernel/sock_diag.ts";

const hex = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString("hex");

/** struct inet_diag_msg of a connection from port 40000 to port 22, socket 4711. */
function description(family: number, peer: readonly number[], ...extra: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(72);
  bytes[0] = family;
  bytes[1] = 1;
  view(bytes).setUint16(4, 40000);
  view(bytes).setUint16(6, 22);
  bytes.set(peer, 24);
  view(bytes).setUint32(44, 0xc0ffee, true); // the cookie
  view(bytes).setUint32(68, 4711, true);
  return Buffer.concat([bytes, ...extra]);
}

function cgroupAttribute(id: bigint): Uint8Array {
  const value = new Uint8Array(8);
  view(value).setBigUint64(0, id, true);
  return attribute(21, value);
}

const V4 = [192, 0, 2, 7];
const V6 = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];

describe("parseSocket", () => {
  test("reads IPv4", () => {
    const payload = description(2, V4, attribute(8, Uint8Array.of(3)), cgroupAttribute(0x1_0000_0007n));
    const socket = parseSocket(payload);
    expect(socket).toMatchObject({ family: 2, peer: "192.0.2.7", inode: 4711, cgroup: 0x1_0000_0007n });
    expect(hex(socket?.id)).toBe(hex(payload.subarray(4, 52)));
  });

  test("reads IPv6", () => {
    expect(parseSocket(description(10, V6))).toMatchObject({
      family: 10,
      peer: "2001:db8:0:0:0:0:0:7",
      inode: 4711,
      cgroup: undefined,
    });
  });

  test.each([0, 1, 16, 255])("knows no address of family %d", (family) => {
    expect(parseSocket(description(family, V4))).toBeUndefined();
  });

  test.each<[string, Uint8Array]>([
    ["of no bytes", attribute(21, new Uint8Array(0))],
    ["of four bytes", attribute(21, Uint8Array.of(1, 2, 3, 4))],
    ["of nine bytes", attribute(21, new Uint8Array(9))],
    ["cut short", cgroupAttribute(7n).subarray(0, 10)],
    ["with a length of nought", Uint8Array.of(0, 0, 21, 0, 7, 0, 0, 0, 0, 0, 0, 0)],
    ["with the largest length", Uint8Array.of(255, 255, 21, 0, 7, 0, 0, 0, 0, 0, 0, 0)],
  ])("believes no cgroup %s", (_, extra) => {
    expect(parseSocket(description(2, V4, extra))?.cgroup).toBeUndefined();
  });

  test("cut anywhere, it is a whole socket or none", () => {
    const whole = description(2, V4, cgroupAttribute(7n));
    for (let length = 0; length <= whole.length; length++) {
      const socket = parseSocket(whole.subarray(0, length));
      expect(socket === undefined).toBe(length < 72);
      expect(socket?.cgroup).toBe(length === whole.length ? 7n : undefined);
    }
  });
});

describe("cgroupFilter", () => {
  /** What the kernel makes of a program: inet_diag_bc_run. It passes when it ends just behind the program. */
  function passes(program: Uint8Array, cgroup: bigint): boolean {
    let at = 0;
    while (at < program.length) {
      const isJump = program[at] === 1;
      const yes = !isJump && view(program).getBigUint64(at + 4, true) === cgroup;
      at += yes ? (program[at + 1] ?? 0) : view(program).getUint16(at + 2, true);
    }
    return at === program.length;
  }

  test("is one comparison for one cgroup", () => {
    expect(hex(cgroupFilter(new Set([0x0102n])))).toBe("0d0c10000201000000000000");
  });

  test("jumps to the end from all but the last", () => {
    expect(hex(cgroupFilter(new Set([1n, 2n])))).toBe(
      `0d0c1000${"0100000000000000"}${"01041000"}0d0c1000${"0200000000000000"}`,
    );
  });

  test.each([1, 2, 3, 100, 3800])("lets %d cgroups through, and no other", (count) => {
    const ids = new Set(Array.from({ length: count }, (_, index) => BigInt(index) * 3n + (1n << 33n)));
    const program = cgroupFilter(ids) ?? new Uint8Array(0);
    for (const id of ids) expect(passes(program, id)).toBe(true);
    for (const id of [0n, (1n << 33n) + 1n, BigInt(count) * 3n + (1n << 33n)])
      expect(passes(program, id)).toBe(false);
  });

  test("is not there for none, nor for more than a program can hold", () => {
    expect(cgroupFilter(new Set())).toBeUndefined();
    expect(cgroupFilter(new Set(Array.from({ length: 5000 }, (_, index) => BigInt(index))))).toBeUndefined();
  });
});

test("the inodes in a table of /proc/net are those of its sockets, and of none that waits for its end without one", () => {
  const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 35417 1 0000000000000000 100 0 0 10 0
 101: 0202580A:1B59 0102580A:D431 06 00000000:00000000 03:000016D5 00000000     0        0 0 3 0000000000000000
  12: 0100007F:1F90 0100007F:A2C4 01 00000000:00000000 00:00000000 00000000  1000        0 4294967296 1 0000000000000000
`;
  expect(inodesInTable(table)).toEqual([35417, 4294967296]);
  expect(inodesInTable("")).toEqual([]);
});

test("the most cgroups that a program can hold are let through, and with one more there is no program", () => {
  const most = (0xf000 + 4) / 16;
  const ids = (count: number) => new Set(Array.from({ length: count }, (_, index) => BigInt(index)));
  expect(cgroupFilter(ids(Math.floor(most)))).toBeDefined();
  expect(cgroupFilter(ids(Math.floor(most) + 1))).toBeUndefined();
});
