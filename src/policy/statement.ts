// SPDX-License-Identifier: GPL-2.0-or-later

// A fragment as it was understood: what the parser makes, and what all others look at.

import type { Direction, Family } from "./dialect.ts";
import type { Place, Token } from "./tokenise.ts";

/** The kinds of object that a fragment may add, by nft's names. */
export type ObjectKind = "chain" | "set" | "map" | "counter" | "quota" | "limit";

/** A fragment's own objects, by the names that it gives them. */
export type OwnObjects = ReadonlyMap<string, ObjectKind>;

/** The meaning of a token that the table has other words for. All but variables and verdicts are two tokens long. */
export type Reference =
  /** `$<name>`, made one token. */
  | { readonly kind: "variable"; readonly name: string; readonly isAddress: boolean }
  /** A verdict that accepts. */
  | { readonly kind: "accept" }
  /** `jump <chain>` or `goto <chain>`. */
  | { readonly kind: "chain"; readonly name: string }
  /** `name <object>`, behind `counter`, `quota` or `limit`. */
  | { readonly kind: "object"; readonly name: string }
  /** `@<set>`. `holds` is the family of the subject's own peers where it holds only those. */
  | { readonly kind: "set"; readonly name: string; readonly isOwn: boolean; readonly holds?: Family }
  /** `meta cgroup`. */
  | { readonly kind: "cgroup" };

/** A token and what it stands for; itself, for most. */
export type Term = Token & { readonly refers?: Reference };

/** Fields or values, and what joins them. */
export type Expression = {
  readonly operands: readonly (readonly Term[])[];
  /** The operators between the operands, one fewer. */
  readonly joints: readonly string[];
  /** Whether it contains a look-up in a map. */
  readonly isMapped: boolean;
  /** All of it, as it is written. */
  readonly terms: readonly Term[];
};

/** An element of a list, cut at each ":": its key, and what that leads to. */
export type Element = readonly (readonly Term[])[];

/** The members that a field is looked up among: in braces, or in a set or map with a name. */
export type Members =
  | { readonly kind: "listed"; readonly elements: readonly Element[] }
  | { readonly kind: "named"; readonly refers: Reference | undefined };

/** What a match compares to. */
export type Values = Members | { readonly kind: "plain"; readonly expression: Expression };

/** A verdict that ends a rule. */
export type Verdict =
  | { readonly kind: "accept" | "drop" | "continue" | "return" }
  /** `answer` is `icmpx` where nothing is said: with the others, nftables makes the rule hold for fewer packets. */
  | { readonly kind: "reject"; readonly answer: "tcp" | "icmp" | "icmpv6" | "icmpx" }
  | { readonly kind: "jump" | "goto"; readonly chain: string };

/** A part of a rule, in the order in which the kernel goes through them. */
export type Statement =
  | Verdict
  /** Counts or logs, and lets every packet go on. */
  | { readonly kind: "remark" }
  /** Lets packets go on by quantity: a limit, a quota, or a count of connections. */
  | { readonly kind: "limit" }
  /** Adds to a set of the fragment's own, or takes from it. */
  | { readonly kind: "keep" }
  /** Explains the rule. */
  | { readonly kind: "comment" }
  | { readonly kind: "assignment"; readonly to: string; readonly value: Expression }
  | {
      readonly kind: "match";
      readonly key: Expression;
      /** As it is written; empty for none. */
      readonly operator: string;
      /** `undefined` where the rule ends before them, which nftables refuses. */
      readonly values: Values | undefined;
    }
  | { readonly kind: "vmap"; readonly key: Expression; readonly members: Members };

/** A rule of a fragment. */
export type Rule = {
  readonly kind: "rule";
  /** The direction of a chain of the subject's, or the name of a chain of the fragment's own. */
  readonly chain: Direction | (string & {});
  readonly statements: readonly Statement[];
  /** The terms behind the chain's name. */
  readonly terms: readonly Term[];
  readonly place: Place;
};

/** An object of a fragment's own, or elements of one. */
export type Addition = {
  readonly kind: ObjectKind | "element";
  readonly name: string;
  /** The terms behind the name, on one line and fit to follow "create"; empty for nothing. */
  readonly definition: readonly Term[];
  /** The elements of a definition, which nft 1.0.6 passes over behind "create"; empty for none. */
  readonly elements: readonly Term[];
  /** The family of the addresses that it is keyed by; `undefined` where it is keyed by none, or by both. */
  readonly family: Family | undefined;
  /** Whether it has "flags interval". */
  readonly hasIntervals: boolean;
  readonly place: Place;
};

/** A fragment with all that it includes, parsed. */
export type ParsedFragment = {
  readonly commands: readonly (Rule | Addition)[];
  readonly own: OwnObjects;
};

/** Finds the names that terms refer to, by the kinds of what is named. */
export function namesIn(terms: readonly Term[], ...kinds: readonly ("chain" | "object" | "set")[]): string[] {
  return terms.flatMap(({ refers }) =>
    refers !== undefined && "name" in refers && kinds.some((kind) => kind === refers.kind)
      ? [refers.name]
      : [],
  );
}

/** Writes terms with a blank between two, to compare them with what is known. */
export function wordsOf(terms: readonly Term[]): string {
  return terms.map(({ text }) => text).join(" ");
}

/** Takes a rule apart: what comes before its verdict, and that; a comment at its end is passed over. */
export function endingOf(statements: readonly Statement[]): {
  readonly before: readonly Statement[];
  /** `undefined` for a rule that ends without one. */
  readonly verdict: Verdict | undefined;
} {
  const all = statements.at(-1)?.kind === "comment" ? statements.slice(0, -1) : statements;
  const last = all.at(-1);
  return last !== undefined && isVerdict(last)
    ? { before: all.slice(0, -1), verdict: last }
    : { before: all, verdict: undefined };
}

const VERDICTS: ReadonlySet<string> = new Set([
  "accept",
  "drop",
  "continue",
  "return",
  "reject",
  "jump",
  "goto",
]);

function isVerdict(statement: Statement): statement is Verdict {
  return VERDICTS.has(statement.kind);
}

/** Finds the verdict of a rule that has one for every packet; `undefined` for one with a condition, and for one that goes on. */
export function unconditional(statements: readonly Statement[]): Verdict | undefined {
  const { before, verdict } = endingOf(statements);
  if (verdict === undefined || verdict.kind === "continue" || !before.every(goesOn)) return undefined;
  // "with tcp reset" is for TCP alone, icmp and icmpv6 for one family: nftables adds that condition by itself.
  return verdict.kind === "reject" && verdict.answer !== "icmpx" ? undefined : verdict;
}

const SIMPLE_JOINTS = new Set(["or", "and", "xor", "|", "&", "^"]);

/** Tells whether a statement lets every packet go on, to the same place: it counts, logs or sets a mark. */
export function goesOn(statement: Statement): boolean {
  if (statement.kind !== "assignment") return statement.kind === "remark";
  const { to, value } = statement;
  // A field that a packet lacks ends the rule, and so does a map without the key.
  const isSimple = (operand: readonly Term[]): boolean =>
    operand.length === 1 || ["meta mark", "ct mark"].includes(wordsOf(operand));
  return (
    to.endsWith("mark") &&
    !value.isMapped &&
    value.operands.every(isSimple) &&
    value.joints.every((joint) => SIMPLE_JOINTS.has(joint))
  );
}

/** Cuts terms at each that is `mark`. @returns the pieces without it, one more than there were marks */
export function cut(terms: readonly Term[], mark: string): Term[][] {
  const pieces: Term[][] = [[]];
  for (const term of terms) {
    if (term.text === mark) pieces.push([]);
    else pieces.at(-1)?.push(term);
  }
  return pieces;
}

/** Cuts a list, in braces or not, into its elements. */
export function elementsIn(list: readonly Term[]): Element[] {
  const inner = list[0]?.text === "{" ? list.slice(1, -1) : list;
  return cut(inner, ",").map((element) => cut(element, ":"));
}
