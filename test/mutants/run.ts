// SPDX-License-Identifier: GPL-2.0-or-later

// Puts one mistake after another into a copy of the sources, and says which no unit test notices.
//
//   npm run mutants                        all of them
//   npm run mutants -- engine/open.ts   those in files whose path has this in it

import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { elapsed, progress } from "../lab/progress.ts";
import { ENGINE } from "./engine.ts";
import { POLICY } from "./policy.ts";

/** A mistake in the sources, and the tests that have to notice it. */
export type Mutant = {
  readonly file: string;
  /** What stands there once, and only once. */
  readonly from: string;
  readonly to: string;
  readonly tests: string;
};

/** The share of mutants that has to be noticed. */
const ENOUGH = 0.9;

/** Those of each room. */
const ALL: readonly Mutant[] = [...POLICY, ...ENGINE];

const rooms = process.argv.slice(2);
const MUTANTS = ALL.filter(({ file }) => rooms.length === 0 || rooms.some((room) => file.includes(room)));

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
  const command = [process.execPath, "test", "--bail", "--timeout", "60000", tests];
  return (await Bun.spawn(command, { cwd: copy, stdio: ["ignore", "ignore", "ignore"] }).exited) === 0;
}

const copy = mkdtempSync(join(tmpdir(), "authnft-mutants-"));
try {
  for (const name of ["src", "test", "data", "docs", "package.json", "tsconfig.json", "bunfig.toml"])
    cpSync(join(ROOT, name), join(copy, name), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), join(copy, "node_modules"));
  for (const tests of new Set(MUTANTS.map((mutant) => mutant.tests)))
    if (!(await pass(copy, tests))) throw new Error(`${tests} fails without a mutant; mend that first.`);
  const lived: Mutant[] = [];
  const began = performance.now();
  for (const [index, mutant] of MUTANTS.entries()) {
    const { file, from, to } = mutant;
    if (!(await isNoticed(copy, mutant))) {
      lived.push(mutant);
      console.log(`${file}: lives: ${JSON.stringify(from)} → ${JSON.stringify(to)}`);
    }
    if ((index + 1) % 10 === 0)
      progress(`mutants: ${index + 1} of ${MUTANTS.length}, ${lived.length} live, ${elapsed(began)}`);
  }
  const noticed = MUTANTS.length - lived.length;
  console.log(`${noticed} of ${MUTANTS.length} mutants are noticed.`);
  process.exitCode = noticed / MUTANTS.length < ENOUGH ? 1 : 0;
} finally {
  rmSync(copy, { recursive: true });
}
