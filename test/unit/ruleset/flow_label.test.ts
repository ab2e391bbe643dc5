// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { flowLabel } from "../../../src/ruleset/flow_label.ts";

/** A label as the kernel keeps it: 128 bits. */
function bitsOf(id: bigint): bigint {
  return flowLabel(id).reduce((bits, bit) => bits | (1n << BigInt(bit)), 0n);
}

function weight(bits: bigint): number {
  return bits.toString(2).replaceAll("0", "").length;
}

/** C(128, 6): from here on labels come again. */
const LABELS = 5_423_611_200n;

/** Numbers as cgroups have them: from the first, around 2^32, and from all over what 64 bits hold. */
function* sample(count: number): Generator<bigint> {
  const edges = [0n, 1n, 2n ** 31n, 2n ** 32n, 2n ** 32n + 1n, LABELS - 1n];
  yield* edges;
  for (let id = 2n; id < BigInt(count) / 2n; id++) yield id;
  let state = 0x9e3779b97f4a7c15n;
  for (let i = 0; i < count / 2; i++) {
    state = (state * 6364136223846793005n + 1442695040888963407n) & 0xffff_ffff_ffff_ffffn;
    yield state >> 1n;
  }
}

test.each<[bigint, number[]]>([
  [0n, [5, 4, 3, 2, 1, 0]],
  [1n, [6, 4, 3, 2, 1, 0]],
  [6n, [6, 5, 4, 3, 2, 1]],
  [7n, [7, 4, 3, 2, 1, 0]],
  [LABELS - 1n, [127, 126, 125, 124, 123, 122]],
  [LABELS, [5, 4, 3, 2, 1, 0]],
])("the label of cgroup %d", (id, bits) => {
  expect(flowLabel(id)).toEqual(bits);
});

test("each has six different bits of 128", () => {
  for (const id of sample(50_000)) {
    const bits = flowLabel(id);
    expect(bits).toHaveLength(6);
    let above = 128;
    for (const bit of bits) {
      if (!(Number.isInteger(bit) && bit >= 0 && bit < above)) throw new Error(`${id}: ${bits}`);
      above = bit;
    }
  }
});

test("no two of 100,000 cgroups share one", () => {
  const seen = new Map<string, bigint>();
  for (const id of sample(100_000)) {
    const label = flowLabel(id).join();
    const other = seen.get(label);
    if (other !== undefined && (other - id) % LABELS !== 0n) throw new Error(`${id} and ${other}: ${label}`);
    seen.set(label, id);
  }
  expect(seen.size).toBeGreaterThan(99_000);
});

test("the whole of each neighbourhood is told apart", () => {
  for (const start of [0n, 4_294_960_000n, LABELS - 5000n, 123_456_789_012n]) {
    const labels = Array.from({ length: 5000 }, (_, index) => flowLabel(start + BigInt(index)).join());
    expect(new Set(labels).size).toBe(5000);
  }
});

describe("a flow that two sessions labelled", () => {
  const labels = [...sample(3000)].map(bitsOf);

  test("has more than six bits, so it is nobody's", () => {
    for (let index = 1; index < labels.length; index++) {
      const [one = 0n, other = 0n] = [labels[index - 1], labels[index]];
      if (one !== other) expect(weight(one | other)).toBeGreaterThan(6);
    }
  });

  test("is no third one's, tried on all pairs of the nearest", () => {
    const near = labels.slice(0, 150);
    const all = new Set(labels);
    for (const one of near)
      for (const other of near) if (one !== other) expect(all.has(one | other)).toBe(false);
  });
});

test("the largest number that the kernel can have is taken", () => {
  expect(flowLabel(2n ** 64n - 1n)).toHaveLength(6);
});
