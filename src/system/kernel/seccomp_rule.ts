// SPDX-License-Identifier: GPL-2.0-or-later

// What a filter is made of, and what it says to a call. Pure: the kernel's own judgement is system/libseccomp.ts.

/** What an argument has to be: under the mask, or in its lower 32 bits where there is none, that value. */
export type Condition = {
  readonly argument: number;
  /** `self` is the process's own number. */
  readonly value: number | "self";
  readonly mask?: number;
};

/** A kind of calls, and what becomes of it. What no rule speaks of kills the process. */
export type Rule = {
  readonly call: string;
  /** All of them; any arguments where there are none. */
  readonly when: readonly Condition[];
  /** What the conditions stand for, in the manual's words. */
  readonly named?: string;
  /** The errno that such a call fails with, in place of being carried out. */
  readonly errno?: number;
  /** The only machine that it is meant for: there it is another call's stand-in. */
  readonly machine?: "arm64";
  /** Why it is on the list, where a trace need not show it. */
  readonly reason?: string;
};

/** An int's bits: what is above them the kernel does not look at. */
const INT = 0xffff_ffffn;

/**
 * The rule that a call falls under; `undefined` for one that kills.
 *
 * @param self the number of the process that calls
 */
export function ruleOf(
  rules: readonly Rule[],
  call: string,
  args: readonly bigint[],
  self: number,
): Rule | undefined {
  return rules.find(
    (rule) =>
      rule.call === call &&
      rule.when.every(({ argument, value, mask }) => {
        const bits = mask === undefined ? INT : BigInt(mask);
        return ((args[argument] ?? 0n) & bits) === BigInt(value === "self" ? self : value);
      }),
  );
}

/** Names a rule: by its call, and what its conditions stand for. */
export function ruleName({ call, named }: Rule): string {
  return named === undefined ? call : `${call} ${named}`;
}
