// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { flowLabel, OPENED } from "../../../src/ruleset/flow_label.ts";

/** A label as the kernel keeps it: 128 bits. */
function bitsOf(id: bigint): bigint {
  return flowLabel(id, "sent").reduce((bits, bit) => bits | (1n << BigInt(bit)), 0n);
}

/** Numbers as cgroups have them: from the first on, around 2^32, and from all over what 32 bits hold. */
function* sample(count: number): Generator<bigint> {
  yield* [0n, 2n ** 31n, 2n ** 32n - 1n];
  for (let id = 1n; id < BigInt(count) / 2n; id++) yield id;
  let state = 0x9e3779b97f4a7c15n;
  for (let i = 0; i < count / 2; i++) {
    state = (state * 6364136223846793005n + 1442695040888963407n) & 0xffff_ffff_ffff_ffffn;
    yield state >> 32n;
  }
}

test("each has eight different bits of 126, the highest first, and none that stands for any member", () => {
  for (const id of sample(50_000)) {
    const bits = flowLabel(id, "arrived");
    expect(bits).toHaveLength(8);
    let above = Math.min(OPENED.sent, OPENED.arrived);
    for (const bit of bits) {
      if (!(Number.isInteger(bit) && bit >= 0 && bit < above)) throw new Error(`${id}: ${bits}`);
      above = bit;
    }
  }
});

test("no two of 100,000 cgroups share one", () => {
  const seen = new Map<string, bigint>();
  for (const id of sample(100_000)) {
    const label = flowLabel(id, "sent").join();
    const other = seen.get(label);
    if (other !== undefined && other !== id) throw new Error(`${id} and ${other}: ${label}`);
    seen.set(label, id);
  }
  expect(seen.size).toBeGreaterThan(99_000);
});

test("a cgroup's generation, above 32 bits, does not matter", () => {
  expect(flowLabel(2n ** 32n + 5n, "sent")).toEqual(flowLabel(5n, "sent"));
});

describe("a flow that two sessions labelled", () => {
  test("is no third one's, tried on all pairs of 250 neighbours", () => {
    const labels = Array.from({ length: 250 }, (_, index) => bitsOf(100_000n + BigInt(index)));
    for (const [i, one] of labels.entries()) {
      for (const other of labels.slice(i + 1)) {
        const both = one | other;
        const owners = labels.reduce((count, label) => count + ((both & label) === label ? 1 : 0), 0);
        if (owners !== 2) throw new Error(`${owners} labels in the union of two`);
      }
    }
  });
});

test("no label of a cgroup comes again within 140 generations of either opening, nor is it another cgroup's", () => {
  const seen = new Set<string>();
  for (const id of [1n, 2n, 27711n, 2n ** 32n - 1n])
    for (let generation = 0; generation < 140; generation++)
      for (const opening of ["sent", "arrived"] as const) seen.add(flowLabel(id, opening, generation).join());
  expect(seen.size).toBe(4 * 140 * 2);
});

test("the labels of a cgroup come again, the first one first, after more than 140 generations and fewer than 150", () => {
  const first = flowLabel(27711n, "sent");
  const again = Array.from({ length: 150 }, (_, generation) => generation).filter(
    (generation) => generation > 0 && Bun.deepEquals(flowLabel(27711n, "sent", generation), first),
  );
  expect(again).toEqual([expect.any(Number)]);
  expect(again[0]).toBeGreaterThan(140);
});
