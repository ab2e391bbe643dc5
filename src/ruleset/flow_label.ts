// SPDX-License-Identifier: GPL-2.0-or-later

/** Which way a flow was opened: by what somebody `sent`, or by what `arrived`. */
export type Opening = "sent" | "arrived";

/**
 * The bit that a flow has besides, once any member's rules have let its first packet through in that direction. For packets
 * of which the kernel does not say whose they are.
 */
export const OPENED: Readonly<Record<Opening, number>> = { sent: 126, arrived: 127 };

/** A flow has 128 label bits (nf_conntrack_labels), of which two are those above. */
const BITS = 126;

/** Eight bits of 126 make 1.3e12 different labels. */
const WEIGHT = 8;
const LABELS = choose(BITS, WEIGHT);

/** How many labels each cgroup has, of either opening, before they repeat. */
const GENERATIONS = Math.floor(LABELS / 2 ** 33);

/** Spreads consecutive ids over all labels: LABELS by the golden ratio, and the next number that shares no factor with it. */
const SPREAD = 776_198_143_153n;

/**
 * The connection tracking label of a cgroup's flows, as the numbers of its bits.
 *
 * "Established" says only that packets went both ways, and a peer can bring that about alone. A flow that carries
 * this label was accepted by the chain that sets it, in the direction in which it was opened: what a session sent first is no
 * answer when it is sent again. Bits can be added to a flow, never taken away, and on the loopback two sessions
 * label one flow; so a label counts as there when its eight bits are, whatever others are. No two cgroups of a boot have the
 * same label, and labels of neighbours have little in common, so that two together do not make up a third's.
 *
 * @param cgroupId the inode of the cgroup's directory
 * @param opening by what the flows were opened
 * @param generation which of the cgroup's labels, from 0: what was known under one is unknown under the next
 * @returns eight different bit numbers, 0 to 125, in descending order: the scrambled id's combination in the combinatorial number system
 */
export function flowLabel(cgroupId: bigint, opening: Opening, generation = 0): number[] {
  // The kernel numbers cgroups with 32 bits before it starts over. That leaves room for 146 generations.
  const kind = 2 * (generation % GENERATIONS) + (opening === "sent" ? 0 : 1);
  const number = BigInt.asUintN(32, cgroupId) + (BigInt(kind) << 32n);
  let rest = Number((number * SPREAD) % BigInt(LABELS));
  const bits: number[] = [];
  let bit = BITS;
  for (let weight = WEIGHT; weight > 0; weight--) {
    do bit--;
    while (choose(bit, weight) > rest);
    rest -= choose(bit, weight);
    bits.push(bit);
  }
  return bits;
}

/** The binomial coefficient: how many ways there are to take `k` of `n`. Exact up to 2^53. */
function choose(n: number, k: number): number {
  if (n < k) return 0;
  let ways = 1;
  for (let i = 1; i <= k; i++) ways = (ways * (n - k + i)) / i;
  return ways;
}
