// SPDX-License-Identifier: GPL-2.0-or-later

// Tries inputs, keeps those that take a branch as none did before, and makes new ones of them.

import type { Branches } from "./branches.ts";
import { Chance } from "./chance.ts";
import type { Mutate } from "./mutate.ts";

/** What became of an input: how it ended, in a word; or the promise that it broke. */
export type Verdict = { readonly ended: string } | { readonly complaint: string };

/** Something that reads what comes from outside. */
export type Target = {
  /** Where the inputs come from at first. */
  readonly seeds: readonly string[];
  readonly mutate: Mutate;
  /** Makes inputs of nothing, too, where there is a way to. */
  readonly invent?: (chance: Chance) => string;
  /** Has an input read, and judges. What is thrown breaks a promise. */
  readonly judge: (input: string) => Verdict | Promise<Verdict>;
};

/** An input that broke a promise, and which. */
export type Finding = { readonly input: string; readonly complaint: string };

/** What came of a run. */
export type Outcome = {
  readonly executions: number;
  /** How many inputs were kept. */
  readonly corpus: number;
  /** In how many different ways the inputs ended. */
  readonly endings: number;
  /** For each branch, whether an input took it. */
  readonly reached: readonly boolean[];
  readonly finding: Finding | undefined;
};

/** How a run is bounded and watched. */
export type Plan = {
  readonly seed: number;
  /** Whether there is time for more after so many. Asked after each 64 inputs; each seed is tried in any case. */
  readonly more: (executions: number) => boolean;
  /** Is told of each input before it is tried, in case that it never ends. */
  readonly trying?: (input: string) => void;
};

/** Runs inputs until one breaks a promise, or there is no more time. */
export async function guided(target: Target, branches: Branches, plan: Plan): Promise<Outcome> {
  const chance = new Chance(plan.seed);
  const corpus: string[] = [];
  const seen = new Uint32Array(branches.counts.length);
  const endings = new Set<string>();
  let executions = 0;
  const attempt = async (input: string): Promise<string | undefined> => {
    plan.trying?.(input);
    executions++;
    branches.counts.fill(0);
    let verdict: Verdict;
    try {
      const judged = target.judge(input);
      verdict = judged instanceof Promise ? await judged : judged;
    } catch (error) {
      return `it throws ${error instanceof Error ? error.stack : error}`;
    }
    if ("complaint" in verdict) return verdict.complaint;
    const size = endings.size;
    endings.add(verdict.ended);
    if (isNew(branches.counts, seen) || endings.size > size) corpus.push(input);
    return undefined;
  };
  const outcome = (finding?: Finding): Outcome => ({
    executions,
    corpus: corpus.length,
    endings: endings.size,
    reached: Array.from(seen, (count) => count > 0),
    finding,
  });
  for (const input of target.seeds) {
    const complaint = await attempt(input);
    if (complaint !== undefined) return outcome({ input, complaint });
  }
  while (plan.more(executions)) {
    for (let round = 0; round < 64; round++) {
      const invented = target.invent !== undefined && chance.below(8) === 0;
      const input = invented ? (target.invent?.(chance) ?? "") : descendant(target, corpus, chance);
      const complaint = await attempt(input);
      if (complaint !== undefined) return outcome({ input, complaint });
    }
  }
  return outcome();
}

function descendant({ mutate, seeds }: Target, corpus: readonly string[], chance: Chance): string {
  const from = corpus.length === 0 ? seeds : corpus;
  // The later ones are of rarer kinds, and of two the shorter is faster and mostly says as much.
  const late = Math.floor(from.length / 2);
  const any = chance.one(from);
  const rare = from[late + chance.below(from.length - late)] ?? any;
  const parent = chance.one([any, rare, any.length < rare.length ? any : rare]);
  return mutate(parent, chance.one(from), chance);
}

/** Whether a branch was taken that never was, or more often than ever, in steps of twice as often. */
function isNew(counts: Uint32Array, seen: Uint32Array): boolean {
  let isNew = false;
  for (let index = 0; index < counts.length; index++) {
    const count = counts[index] ?? 0;
    if (count === 0) continue;
    const step = 1 << Math.min(8, 31 - Math.clz32(count));
    if (((seen[index] ?? 0) & step) !== 0) continue;
    seen[index] = (seen[index] ?? 0) | step;
    isNew = true;
  }
  return isNew;
}

/** A message without what is of this input alone. */
export function sketch(message: string): string {
  return message.replaceAll(/"(?:[^"\\]|\\.)*"|\/[^\s:]*|[$@]?\w*\d\w*/g, "…").slice(0, 60);
}
