// SPDX-License-Identifier: GPL-2.0-or-later

// A policy that many subjects share: it is in the table once, and each of its subjects jumps to it from its own two chains.

import type { Sharing } from "../policy/sharing.ts";
import {
  type Commands,
  clipComment,
  type Direction,
  objectCommands,
  type Part,
  subjectChain,
} from "./subject.ts";
import { acceptedChain, TABLE } from "./table.ts";

/** A policy in its shared form. */
export type SharedPolicy = {
  /** What the names of its chains and objects begin with. */
  readonly name: string;
  readonly parts: readonly Part[];
};

/**
 * Returns how a policy accepts that subjects at a level share. From its two chains it goes back to the subject's, which accepts;
 * from elsewhere that would go on with the rule after a jump, so the subject is looked up by its cgroup.
 */
export function sharingAt(level: number): Sharing {
  return { accept: "return", acceptCalled: `goto ${acceptedChain(level)}` };
}

/** Makes the commands that load a shared policy into a table that does not have it. */
export function addShared({ name, parts }: SharedPolicy): Commands {
  const chains = (["in", "out"] as const).map((direction) => subjectChain(name, direction));
  const objects = objectCommands(name, parts);
  const rules = parts.flatMap((part, source) =>
    part.kind === "rule"
      ? [{ text: `add rule ${TABLE} ${subjectChain(name, part.chain)} ${part.body}`, source }]
      : [],
  );
  return {
    lines: [
      ...chains.map((chain) => `create chain ${TABLE} ${chain}`),
      ...objects.map(({ text }) => text),
      ...rules.map(({ text }) => text),
    ],
    sources: [...chains.map(() => undefined), ...[...objects, ...rules].map(({ source }) => source)],
  };
}

/** Makes the rules of a subject under a shared policy. @param fragment the path that an administrator finds beside the name */
export function jumpsTo(name: string, fragment: string): Part[] {
  return (["in", "out"] as const).map((direction: Direction) => ({
    kind: "rule",
    chain: direction,
    body: `jump ${subjectChain(name, direction)} comment "${clipComment(fragment)}"`,
  }));
}

/** Tells whether a shared policy accepts by the subject's cgroup, which then has to be listed. */
export function asksForSubject({ parts }: SharedPolicy): boolean {
  return parts.some((part) => /\bgoto accepted_\d/.test(part.kind === "rule" ? part.body : part.definition));
}

/** Finds the shared policy that a subject's commands jump to; `undefined` where its rules are its own. */
export function sharedIn(lines: readonly string[]): string | undefined {
  for (const line of lines) {
    const name = /^add rule \S+ \S+ \S+_(?:in|out) jump (policy_[0-9a-f]{16})_(?:in|out) /.exec(line)?.[1];
    if (name !== undefined) return name;
  }
  return undefined;
}

/** Tells whether something of the table belongs to a shared policy, by its name. @returns the policy's name */
export function sharedOf(name: string): string | undefined {
  return /^(policy_[0-9a-f]{16})_/.exec(name)?.[1];
}
