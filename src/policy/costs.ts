// SPDX-License-Identifier: GPL-2.0-or-later

// The cost of a whole policy to the kernel, though each of its commands is right.

import type { CompiledPart, CompiledRule } from "./compile.ts";
import type { Dialect } from "./dialect.ts";
import { ANONYMOUS_SET_LIMIT, grouped, INTERVAL_LIMIT, WAY_LIMIT } from "./limits.ts";
import { refuse } from "./refusals.ts";
import { elementsIn, namesIn } from "./statement.ts";

/** Refuses more sets without a name than are found in time. @throws {Refusal} `content` */
export function checkSets(parts: readonly CompiledPart[], { table }: Pick<Dialect, "table">): void {
  let sets = 0;
  for (const part of parts) {
    if (part.kind !== "rule") continue;
    sets += setsIn(part);
    if (sets <= ANONYMOUS_SET_LIMIT) continue;
    refuse(
      part,
      `with this rule the fragment has more than ${ANONYMOUS_SET_LIMIT} sets without a name, { … }, and other logins would wait while they are loaded; name one that several rules use, with "add set ${table} <name> { … }".`,
    );
  }
}

/** Refuses more intervals than are told apart in time. @throws {Refusal} `content` */
export function checkIntervals(parts: readonly CompiledPart[]): void {
  const sets = new Set<string>();
  let elements = 0;
  for (const part of parts) {
    if (part.kind === "set" || part.kind === "map") {
      if (part.hasIntervals) sets.add(part.name);
    } else if (part.kind === "element" && sets.has(part.name)) {
      elements += elementsIn(part.terms).length;
      if (elements <= INTERVAL_LIMIT) continue;
      refuse(
        part,
        `with these elements the fragment has more than ${grouped(INTERVAL_LIMIT)} in sets and maps with "flags interval", and other logins would wait while they are loaded; put networks that lie side by side together, or single addresses into a set without that flag.`,
      );
    }
  }
}

/** Counts the anonymous sets that a rule makes; braces behind a set's name fill that set. */
function setsIn({ terms, statements }: CompiledRule): number {
  const named = statements.filter(({ kind }) => kind === "keep").length;
  return terms.filter(({ text }) => text === "{").length - named;
}

/**
 * Refuses a policy in which a packet can come by more rules than there is time to look through, on all its ways together. A
 * few chains of which each jumps to the next a few times are enough for billions.
 *
 * @throws {Refusal} `content`
 */
export function checkWays(parts: readonly CompiledPart[]): void {
  const lengthOf = wayLengths(parts);
  let length = 0;
  for (const part of parts) {
    if (part.kind !== "rule" || (part.chain !== "in" && part.chain !== "out")) continue;
    length += lengthOf(part);
    if (length <= WAY_LIMIT) continue;
    refuse(
      part,
      `with this rule there are more than ${grouped(WAY_LIMIT)} rules on all the ways through jumps that a packet can take, and each way is looked through; jump to a chain from fewer places.`,
    );
  }
}

/** Counts the rules on all ways from a rule, itself included. The kernel refuses loops; one counts once here. */
function wayLengths(parts: readonly CompiledPart[]): (rule: CompiledRule) => number {
  const rules = Map.groupBy(
    parts.filter((part) => part.kind === "rule"),
    ({ chain }) => chain,
  );
  const targets = new Map<string, string[]>();
  for (const part of parts) {
    if (part.kind !== "element") continue;
    const known = targets.get(part.name) ?? [];
    for (const name of namesIn(part.terms, "chain")) known.push(name);
    targets.set(part.name, known);
  }
  const known = new Map<string, number>();
  const ofChain = (chain: string): number => {
    const found = known.get(chain);
    if (found !== undefined) return found;
    known.set(chain, 0);
    const length = (rules.get(chain) ?? []).reduce((sum, rule) => sum + ofRule(rule), 0);
    known.set(chain, length);
    return length;
  };
  const ofRule = (rule: CompiledRule): number => {
    const mapped = namesIn(rule.terms, "set").flatMap((map) => targets.get(map) ?? []);
    return [...namesIn(rule.terms, "chain"), ...mapped].reduce((sum, chain) => sum + ofChain(chain), 1);
  };
  return ofRule;
}
