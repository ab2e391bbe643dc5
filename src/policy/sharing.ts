// SPDX-License-Identifier: GPL-2.0-or-later

// Policies that many subjects can share: those that hold nothing of one subject's own.

import { createHash } from "node:crypto";
import type { CompiledPart } from "./compile.ts";
import type { ParsedFragment, Term } from "./statement.ts";

/** The two forms of `accept` in a policy that many share. */
export type Sharing = {
  /** In the two chains that a subject's own chains jump to: back to these, which accept. */
  readonly accept: string;
  /** In chains and maps of the fragment's own, where going back would not end the judgement. */
  readonly acceptCalled: string;
};

/** Stands for the name until it is known. No fragment can hold it. */
export const NEUTRAL = "\u0001";

/**
 * Words that count, limit or remember. Shared, they would do so for all subjects together.
 *
 * `counter` is such a word though it changes no verdict: an administrator reads it as the subject's.
 */
const OF_ONE = new Set(["counter", "quota", "limit", "dynamic", "timeout", "last", "numgen"]);

/** Tells whether many subjects can share what a fragment says. */
export function canBeShared({ commands, own }: ParsedFragment): boolean {
  return commands.every((command) => {
    if (command.kind === "rule")
      return (
        !command.statements.some(({ kind }) => kind === "keep" || kind === "limit") &&
        isForMany(command.terms) &&
        (own.has(command.chain) || !leavesForGood(command.terms))
      );
    if (command.kind === "counter" || command.kind === "quota" || command.kind === "limit") return false;
    const terms = [...command.definition, ...command.elements];
    return isForMany(terms) && !leavesForGood(terms);
  });
}

/**
 * Tells whether terms go to a chain for good. From a subject's own chain, the end of such a chain leads out to where the packet
 * is closed; from a shared one it would lead back to the subject's, which accepts.
 */
function leavesForGood(terms: readonly Term[]): boolean {
  return terms.some(({ text, refers }) => refers?.kind === "chain" && text === "goto");
}

function isForMany(terms: readonly Term[]): boolean {
  return !terms.some(({ kind, text }) => kind === "word" && OF_ONE.has(text));
}

/** Tells whether a policy is the same for every subject at its level: nothing in it stands for the subject or its peer. */
export function isForAnybody(parts: readonly CompiledPart[]): boolean {
  return parts.every(({ terms }) =>
    terms.every(({ refers }) =>
      refers?.kind === "set" ? refers.holds === undefined : refers?.kind !== "variable",
    ),
  );
}

/** Bytes of the hash in a name. Among 10,000 policies two have the same name by chance in one case of 10^11. */
const HASH_BYTES = 8;

/** Names a policy by what it says, so that equal ones have the same name. @param parts with {@link NEUTRAL} for the name */
export function sharedName(parts: readonly CompiledPart[]): string {
  const hash = createHash("sha256");
  for (const part of parts)
    hash.update(
      part.kind === "rule"
        ? `rule ${part.chain} ${part.body}\n`
        : `${part.kind} ${part.name} ${part.definition}\n`,
    );
  return `policy_${hash.digest("hex").slice(0, 2 * HASH_BYTES)}`;
}
