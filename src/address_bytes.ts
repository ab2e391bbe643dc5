// SPDX-License-Identifier: GPL-2.0-or-later
import { isIPv4 } from "node:net";

// The runtime's URL would take IPv6 addresses apart as well, but not all of them: it refuses 1:2:3:4::192.0.2.7.

/** Returns the eight groups of a text that is an IPv6 address, with or without an IPv4 address at its end. */
export function ipv6Groups(address: string): number[] {
  const [left = [], right] = address.split("::").map((half) =>
    (half === "" ? [] : half.split(":")).flatMap((group) => {
      if (!group.includes(".")) return [Number.parseInt(group, 16)];
      const [a = 0, b = 0, c = 0, d = 0] = group.split(".").map(Number);
      return [(a << 8) | b, (c << 8) | d];
    }),
  );
  if (right === undefined) return left;
  return [...left, ...Array<number>(8 - left.length - right.length).fill(0), ...right];
}

/** Returns the bytes of a text that is an address, in network order: 4 or 16 of them. */
export function bytesOfAddress(address: string): Uint8Array {
  if (isIPv4(address)) return Uint8Array.from(address.split("."), Number);
  return Uint8Array.from(ipv6Groups(address).flatMap((group) => [group >> 8, group & 255]));
}
