// SPDX-License-Identifier: GPL-2.0-or-later

// A little of what `npm run fuzz` does for as long as you like, from a seed by chance. Here the seed and the number of inputs are
// fixed, so that this finds the same on every machine, however busy. What was found so far stands as cases in the tests of
// what was at fault.

import { expect, test } from "bun:test";
import { join } from "node:path";

const RUN = join(import.meta.dir, "../fuzz/run.ts");

type Count = { readonly inputs: number; readonly taken: number; readonly branches: number };

/** Fuzzes some kinds; returns what was counted, by kind, and prints it. */
async function fuzz(inputs: number, kinds: readonly string[]): Promise<Map<string, Count>> {
  const child = Bun.spawn([process.execPath, RUN, "--inputs", String(inputs), "--seed", "1", ...kinds], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [output, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect(await child.exited, `${output}${errors}`).toBe(0);
  console.log(output.trim());
  const lines = output.matchAll(/^(\w+): (\d+) inputs .* (\d+) of (\d+) branches$/gm);
  return new Map(
    [...lines].map(([, kind = "", inputs, taken, branches]) => [
      kind,
      { inputs: Number(inputs), taken: Number(taken), branches: Number(branches) },
    ]),
  );
}

/** The least part of the branches, in percent; of "fragments" the seeds alone take 89. --uncovered lists what is left. */
const FLOORS = {
  fragments: 90,
  tokens: 95,
  requests: 90,
  records: 80,
  claims: 100,
  addresses: 85,
  answers: 95,
  attributes: 100,
  messages: 90,
  sockets: 100,
  elements: 95,
  bus: 85,
};

test("whatever comes in, it is read or it is refused, and the fuzzers get around in what reads it", async () => {
  const { fragments: _, ...others } = FLOORS;
  const [fragments, rest] = await Promise.all([fuzz(6000, ["fragments"]), fuzz(1500, Object.keys(others))]);
  const counts = new Map([...fragments, ...rest]);
  expect([...counts.keys()].sort()).toEqual(Object.keys(FLOORS).sort());
  for (const [kind, floor] of Object.entries(FLOORS)) {
    const { inputs = 0, taken = 0, branches = 0 } = counts.get(kind) ?? {};
    expect(inputs, kind).toBeGreaterThan(50);
    expect((taken * 100) / branches, kind).toBeGreaterThanOrEqual(floor);
  }
}, 60_000);
