// SPDX-License-Identifier: GPL-2.0-or-later

// Puts one mistake after another into a copy of the sources, and says which no unit test notices.
//
//   npm run mutants                        all of them
//   npm run mutants -- session/open.ts   those in files whose path has this in it

import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { elapsed, progress } from "../lab/progress.ts";
import { ALL } from "./all.ts";
import type { Mutant } from "./mutant.ts";

/** The share of mutants that has to be noticed. */
const ENOUGH = 0.9;

const rooms = process.argv.slice(2);
const MUTANTS = ALL.filter(({ file }) => rooms.length === 0 || rooms.some((room) => file.includes(room)));

/** Milliseconds after which tests are ended, and have noticed: a mistake may be a loop without an end. */
const LONG = 60_000;

/** How many are tried side by side, each in a copy of its own. */
const WORKERS = 2;

const ROOT = join(import.meta.dir, "../..");

/** Whether the tests notice a mutant in a copy of the sources. */
async function isNoticed(copy: string, { file, from, to, tests }: Mutant): Promise<boolean> {
  const path = join(copy, file);
  const text = readFileSync(path, "utf8");
  const [before, after, ...more] = text.split(from);
  if (after === undefined || more.length > 0)
    throw new Error(`${file} no longer holds ${JSON.stringify(from)} once; write the mutant anew.`);
  writeFileSync(path, `${before}${to}${after}`);
  const passes = await pass(copy, tests);
  writeFileSync(path, text);
  return !passes;
}

/** Whether tests pass in a copy of the sources. */
async function pass(copy: string, tests: string): Promise<boolean> {
  const command = [process.execPath, "test", "--bail", "--timeout", String(LONG), ...tests.split(" ")];
  const child = Bun.spawn(command, {
    cwd: copy,
    stdio: ["ignore", "ignore", "ignore"],
    timeout: LONG,
    killSignal: "SIGKILL",
  });
  return (await child.exited) === 0;
}

/** A copy of what the tests need, with the modules of the original. */
function copied(): string {
  const copy = mkdtempSync(join(tmpdir(), "authnft-mutants-"));
  for (const name of [
    "src",
    "test",
    "native",
    "data",
    "docs",
    "package.json",
    "tsconfig.json",
    "bunfig.toml",
  ])
    cpSync(join(ROOT, name), join(copy, name), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), join(copy, "node_modules"));
  return copy;
}

const copies = Array.from({ length: WORKERS }, copied);
try {
  for (const tests of new Set(MUTANTS.map((mutant) => mutant.tests)))
    if (!(await pass(copies[0] ?? "", tests)))
      throw new Error(`${tests} fails without a mutant; mend that first.`);
  const began = performance.now();
  const queue = [...MUTANTS];
  let [tried, lived] = [0, 0];
  const work = async (copy: string): Promise<void> => {
    for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
      const { file, from, to } = mutant;
      if (!(await isNoticed(copy, mutant))) {
        lived++;
        console.log(`${file}: lives: ${JSON.stringify(from)} → ${JSON.stringify(to)}`);
      }
      if (++tried % 10 === 0)
        progress(`mutants: ${tried} of ${MUTANTS.length}, ${lived} live, ${elapsed(began)}`);
    }
  };
  await Promise.all(copies.map(work));
  const noticed = tried - lived;
  console.log(`${noticed} of ${tried} mutants are noticed.`);
  process.exitCode = tried > 0 && noticed / tried >= ENOUGH ? 0 : 1;
} finally {
  for (const copy of copies) rmSync(copy, { recursive: true });
}
