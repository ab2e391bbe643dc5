// SPDX-License-Identifier: GPL-2.0-or-later

// A little of what `npm run fuzz` does for as long as you like, from a seed by chance. Here the seed and the number of inputs are
// fixed, so that this finds the same on every machine, however busy. What was found so far stands as cases in the tests of
// what was at fault. The C targets are in test/native/fuzz.test.ts, because they need clang.

import { expect, test } from "bun:test";
import { join } from "node:path";

const RUN = join(import.meta.dir, "../fuzz/run.ts");

type Count = { readonly inputs: number; readonly endings: number };

/** Runs the fuzzer. */
async function run(...words: string[]): Promise<{ code: number; output: string; errors: string }> {
  const child = Bun.spawn([process.execPath, RUN, ...words], { stdio: ["ignore", "pipe", "pipe"] });
  const [output, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { code: await child.exited, output, errors };
}

/** Fuzzes some kinds; returns what was counted, by kind, and prints it. */
async function fuzz(inputs: number, kinds: readonly string[]): Promise<Map<string, Count>> {
  const { code, output, errors } = await run("--inputs", String(inputs), "--seed", "1", ...kinds);
  expect(code, `${output}${errors}`).toBe(0);
  console.log(output.trim());
  const lines = output.matchAll(/^(\w+): (\d+) inputs in .*, (\d+) endings$/gm);
  return new Map(
    [...lines].map(([, kind = "", inputs, endings]) => [
      kind,
      { inputs: Number(inputs), endings: Number(endings) },
    ]),
  );
}

/** In how many ways the inputs of each kind end at least: inputs that are all refused for one reason would try nothing. */
const FLOORS = {
  fragments: 70,
  tokens: 20,
  requests: 50,
  records: 4,
  claims: 6,
  addresses: 3,
  answers: 2,
  attributes: 8,
  messages: 8,
  sockets: 4,
  elements: 10,
  bus: 10,
};

test("whatever comes in, it is read or it is refused, and the fuzzers get around in what reads it", async () => {
  const { fragments: _, ...others } = FLOORS;
  const [fragments, rest] = await Promise.all([fuzz(4000, ["fragments"]), fuzz(1500, Object.keys(others))]);
  const counts = new Map([...fragments, ...rest]);
  expect([...counts.keys()].sort()).toEqual(Object.keys(FLOORS).sort());
  for (const [kind, floor] of Object.entries(FLOORS)) {
    const { inputs = 0, endings = 0 } = counts.get(kind) ?? {};
    expect(inputs, kind).toBeGreaterThan(1500);
    expect(endings, kind).toBeGreaterThanOrEqual(floor);
  }
}, 120_000);

test("a kind that is none, and a number that is none, are said", async () => {
  expect(await run("nonsense")).toMatchObject({
    code: 2,
    errors: expect.stringContaining('no kind "nonsense"'),
  });
  expect(await run("--inputs", "0.5")).toMatchObject({ code: 2 });
  expect((await run("--help")).output).toContain("--seed S");
});
