// SPDX-License-Identifier: GPL-2.0-or-later

/** nf_conntrack_labels(5): a flow has 128 label bits. */
const BITS = 128;

/** Six bits of 128 make 5,423,611,200 different labels: more than the 2^32 cgroups that the kernel numbers before it starts over. */
const WEIGHT = 6;

/**
 * The connection tracking label of a cgroup's flows, as the numbers of its bits.
 *
 * "Established" says only that packets went both ways, and a peer can bring that about alone. A flow that carries
 * this label was judged by the chain that sets it. Labels can be added to a flow, never taken away: so each has exactly six bits,
 * and a flow that a second session labels carries more, which is nobody's label. Its replies are then judged by the rules.
 *
 * @param cgroupId the inode of the cgroup's directory
 * @returns six different bit numbers, 0 to 127, in descending order; the `cgroupId`th combination in the combinatorial number system
 */
export function flowLabel(cgroupId: bigint): number[] {
  let rest = Number(cgroupId % BigInt(choose(BITS, WEIGHT)));
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
