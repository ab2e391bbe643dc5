// SPDX-License-Identifier: GPL-2.0-or-later

// What a policy costs the kernel as a whole, when each of its commands is right.

import { Refusal } from "../refusal.ts";
import type { CompiledPart, CompiledRule } from "./compile.ts";
import { ANONYMOUS_SET_LIMIT, grouped, INTERVAL_LIMIT, WAY_LIMIT } from "./limits.ts";
import { locate } from "./tokenise.ts";

/** Refuses more sets without a name than are found in time. @throws {Refusal} `content` */
export function checkSets(parts: readonly CompiledPart[]): void {
  let sets = 0;
  for (const part of parts) {
    if (part.kind !== "rule") continue;
    sets += setsIn(part);
    if (sets <= ANONYMOUS_SET_LIMIT) continue;
    throw new Refusal(
      "content",
      `${locate(part.place)}: with this rule the fragment has more than ${ANONYMOUS_SET_LIMIT} sets without a name, { … }, and other logins would wait while they are loaded; name one that several rules use, with "add set inet authnft <name> { … }".`,
    );
  }
}

/** Refuses more intervals than are told apart in time. @throws {Refusal} `content` */
export function checkIntervals(parts: readonly CompiledPart[]): void {
  const sets = new Set<string>();
  let elements = 0;
  for (const part of parts) {
    if (part.kind === "set" || part.kind === "map") {
      if (saysIntervals(part)) sets.add(part.name);
    } else if (part.kind === "element" && sets.has(part.name)) {
      elements += 1 + part.tokens.filter(({ text }) => text === ",").length;
      if (elements <= INTERVAL_LIMIT) continue;
      throw new Refusal(
        "content",
        `${locate(part.place)}: with these elements the fragment has more than ${grouped(INTERVAL_LIMIT)} in sets and maps with "flags interval", and other logins would wait while they are loaded; put networks that lie side by side together, or single addresses into a set without that flag.`,
      );
    }
  }
}

function saysIntervals({ tokens }: CompiledPart): boolean {
  const flags = tokens.findIndex(({ text }) => text === "flags");
  const said = flags === -1 ? [] : tokens.slice(flags);
  const end = said.findIndex(({ kind }) => kind === "end");
  return said.slice(0, end === -1 ? undefined : end).some(({ text }) => text === "interval");
}

/** How many sets without a name a rule makes; what stands behind a set's name is put into that one. */
function setsIn({ tokens }: CompiledRule): number {
  return tokens.filter(({ text }, index) => text === "{" && tokens[index - 2]?.text !== "@").length;
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
    throw new Refusal(
      "content",
      `${locate(part.place)}: with this rule there are more than ${grouped(WAY_LIMIT)} rules on all the ways through jumps that a packet can take, and each way is looked through; jump to a chain from fewer places.`,
    );
  }
}

/** Counts the rules on all ways from a rule, itself among them. What leads to itself is for the kernel to refuse, and counts once. */
function wayLengths(parts: readonly CompiledPart[]): (rule: CompiledRule) => number {
  const rules = Map.groupBy(
    parts.filter((part) => part.kind === "rule"),
    ({ chain }) => chain,
  );
  const targets = new Map<string, string[]>();
  for (const part of parts) {
    if (part.kind !== "element") continue;
    const known = targets.get(part.name) ?? [];
    for (const name of namedBehind(part, JUMPS)) known.push(name);
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
    const mapped = namedBehind(rule, VERDICTS).flatMap((map) => targets.get(map) ?? []);
    return [...namedBehind(rule, JUMPS), ...mapped].reduce((sum, chain) => sum + ofChain(chain), 1);
  };
  return ofRule;
}

const JUMPS: readonly string[] = ["jump", "goto"];
const VERDICTS: readonly string[] = ["@"];

function namedBehind({ tokens }: CompiledPart, words: readonly string[]): string[] {
  return tokens.flatMap(({ text }, index) => (words.includes(tokens[index - 1]?.text ?? "") ? [text] : []));
}
