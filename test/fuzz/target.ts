// SPDX-License-Identifier: GPL-2.0-or-later

// What is fuzzed, and how fast-check does it: it makes the inputs, and of one that breaks a promise the smallest that still does.

import fc from "fast-check";

/** What became of an input: how it ended, in a word; or the promise that it broke. */
export type Verdict = { readonly ended: string } | { readonly complaint: string };

/** Something that reads what comes from outside. */
export type Target = {
  /** Inputs that are worth to be tried as they are, before any other. */
  readonly seeds: readonly string[];
  readonly inputs: fc.Arbitrary<string>;
  /** Has an input read, and judges. What is thrown breaks a promise. */
  readonly judge: (input: string) => Verdict | Promise<Verdict>;
};

/** How a run is bounded and watched. */
export type Plan = {
  readonly seed: number;
  /** How many inputs beside the seeds; or for how many milliseconds. */
  readonly inputs: number | undefined;
  readonly milliseconds: number;
  /** Is told of each input before it is tried. */
  readonly trying: (input: string, count: number) => void;
};

/** What came of a run. */
export type Outcome = {
  readonly executions: number;
  /** In how many different ways the inputs ended. */
  readonly endings: number;
  /** The smallest input that was found to break a promise, and which. */
  readonly finding: { readonly input: string; readonly complaint: string } | undefined;
};

/** More than there is time for. */
const ENDLESS = 2 ** 31 - 1;

/** Runs inputs until one breaks a promise, or there is no more time; the same ones for the same seed. */
export async function fuzz({ seeds, inputs, judge }: Target, plan: Plan): Promise<Outcome> {
  const endings = new Set<string>();
  let executions = 0;
  const property = fc.asyncProperty(inputs, async (input) => {
    plan.trying(input, ++executions);
    const verdict = await judge(input);
    if ("complaint" in verdict) throw new Broken(verdict.complaint);
    endings.add(verdict.ended);
  });
  const bounds: fc.Parameters<[string]> =
    plan.inputs === undefined
      ? { numRuns: ENDLESS, interruptAfterTimeLimit: plan.milliseconds }
      : { numRuns: seeds.length + plan.inputs };
  const found = await fc.check(property, {
    seed: plan.seed,
    examples: seeds.map((seed) => [seed]),
    ...bounds,
  });
  const [input] = found.counterexample ?? [];
  const { errorInstance: error } = found;
  return {
    executions,
    endings: endings.size,
    finding:
      input === undefined
        ? undefined
        : { input, complaint: error instanceof Broken ? error.message : `it throws ${stackOf(error)}` },
  };
}

/** A promise that is broken. */
class Broken extends Error {}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** A message without what is of this input alone. */
export function sketch(message: string): string {
  return message.replaceAll(/"(?:[^"\\]|\\.)*"|\/[^\s:]*|[$@]?\w*\d\w*/g, "…").slice(0, 60);
}
