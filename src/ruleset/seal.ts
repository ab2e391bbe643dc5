// SPDX-License-Identifier: GPL-2.0-or-later

/**
 * The bits of a packet's mark that stand for "our chains have let it pass", one a direction: the seal below the ruleset takes
 * them off again, and stops what has none.
 */
export type StampBits = { readonly in: number; readonly out: number };

/**
 * The bits unless an administrator moves them. Of what shares a mark with us, kube-proxy has bits 14 and 15, Tailscale 16 to
 * 23, and wg-quick compares with a port number, below bit 16; Calico has 16 to 31 unless it is told otherwise.
 */
export const STAMP_BITS: StampBits = { in: 0x2000_0000, out: 0x1000_0000 };

/** Returns the bits as they are written for people, for files and for nftables. */
export function hexMark(bits: number): string {
  return `0x${(bits >>> 0).toString(16).padStart(8, "0")}`;
}

/** Makes text of bits: what {@link parseStampBits} reads. */
export function formatStampBits(bits: StampBits): string {
  return `in ${hexMark(bits.in)}\nout ${hexMark(bits.out)}\n`;
}

/**
 * Reads the two bits, a line each: `in 0x20000000` and `out 0x10000000`. What follows a `#` is passed over.
 *
 * @throws {Error} a sentence that names the line, from 1
 */
export function parseStampBits(text: string): StampBits {
  const found: { in?: number; out?: number } = {};
  for (const [index, line] of text.split("\n").entries()) {
    const words = line.replace(/#.*/, "").trim();
    if (words === "") continue;
    const [, direction, digits] = /^(in|out)\s+0x([0-9a-fA-F]{1,8})$/.exec(words) ?? [];
    const bits = Number.parseInt(digits ?? "", 16);
    if ((direction !== "in" && direction !== "out") || !isOneBit(bits) || found[direction] !== undefined)
      throw new Error(
        `line ${index + 1}: write "in" or "out" and one bit of a mark, such as "in 0x20000000"`,
      );
    found[direction] = bits;
  }
  if (found.in === undefined || found.out === undefined || found.in === found.out)
    throw new Error("there have to be two lines, one for in and one for out, with different bits");
  return { in: found.in, out: found.out };
}

function isOneBit(bits: number): boolean {
  return Number.isInteger(bits) && bits > 0 && Number.isInteger(Math.log2(bits));
}
