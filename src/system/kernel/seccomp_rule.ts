// SPDX-License-Identifier: GPL-2.0-or-later

// The rules of a filter of system calls. Pure; system/ffi/libseccomp.ts loads it into the kernel.

/** A condition on an argument: its bits under the mask, or its lower 32 bits without one, have this value. */
export type Condition = {
  readonly argument: number;
  /** `self` is the process's own number. */
  readonly value: number | "self";
  readonly mask?: number;
};

/** A kind of calls, and its outcome. Calls without a rule kill the process. */
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
