// SPDX-License-Identifier: GPL-2.0-or-later

/** `warn`: it works, but should not stay so. `fail`: logins fail, or a member is unfiltered. */
export type Level = "ok" | "warn" | "fail";

/** What an examination found. Each field is made of whole sentences, but for `mend`: a command or what to do, one a line. */
export type Finding = {
  readonly level: Level;
  readonly what: string;
  readonly why?: string;
  readonly mend?: string;
};

/** Something wrong: why it matters, and what mends it. */
export type Fault = { readonly what: string; readonly why: string; readonly mend: string };

/** How many of a kind are named: a host that has more has them from one cause. */
export const TOLD = 8;

/** Names in a sentence: the first few, and how many more there are. */
export function listed(names: readonly string[]): string {
  const told = names.slice(0, TOLD).join(", ");
  return names.length > TOLD ? `${told} and ${names.length - TOLD} more` : told;
}

/** An examination. What it throws becomes a finding of its own. */
export type Check = { readonly name: string; readonly run: () => Finding[] | Promise<Finding[]> };

export function ok(what: string): Finding {
  return { level: "ok", what };
}

export function warn(fault: Fault): Finding {
  return { level: "warn", ...fault };
}

export function fail(fault: Fault): Finding {
  return { level: "fail", ...fault };
}

/**
 * Makes a fault of a message in the style of the house: "Cannot do it: the cause; what to do."
 *
 * @param mend what to do where the message does not say
 */
export function faultOf(message: string, why: string, mend: string): Fault {
  const at = message.lastIndexOf("; ");
  if (at === -1) return { what: message, why, mend };
  return { what: `${message.slice(0, at)}.`, why, mend: message.slice(at + 2).replace(/\.$/, "") };
}
