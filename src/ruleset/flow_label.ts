// SPDX-License-Identifier: GPL-2.0-or-later

/** nf_conntrack_labels(5): a flow has 128 label bits. */
const BITS = 128;

/** Eight bits of 128 make 1.4e12 different labels. */
const WEIGHT = 8;
const LABELS = choose(BITS, WEIGHT);

/** How many labels each cgroup can have before they come again. */
const GENERATIONS = Math.floor(LABELS / 2 ** 32);

/** Spreads consecutive ids over all labels; LABELS by the golden ratio, and the next number that shares no factor with it. */
const SPREAD = 883_604_832_989n;

/**
 * The connection tracking label of a cgroup's flows, as the numbers of its bits.
 *
 * "Established" says only that packets went both ways, and a peer can bring that about alone. A flow that carries
 * this label was accepted by the chain that sets it. Bits can be added to a flow, never taken away, and on the loopback two sessions
 * label one flow; so a label counts as there when its eight bits are, whatever others are. No two cgroups of a boot have the
 * same label, and labels of neighbours have little in common, so that two together do not make up a third's.
 *
 * @param cgroupId the inode of the cgroup's directory
 * @param generation which of the cgroup's labels, from 0: what was known under one is unknown under the next
 * @returns eight different bit numbers, 0 to 127, in descending order: the scrambled id's combination in the combinatorial number system
 */
export function flowLabel(cgroupId: bigint, generation = 0): number[] {
  // The kernel numbers cgroups with 32 bits before it starts over. That leaves room for 332 generations.
  const number = BigInt.asUintN(32, cgroupId) + (BigInt(generation % GENERATIONS) << 32n);
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
