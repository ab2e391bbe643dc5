// SPDX-License-Identifier: GPL-2.0-or-later
import type { Attempt, Outcome } from "./attempt.ts";

/**
 * What an attempt says of the firewall. `leak`: something got through that the policy does not let through, or that
 * nobody judged. `harm`: something of others' did not arrive. `changed`: the rules are not those that were loaded. `lost`: the policy
 * lets through what did not get through. `outside`: not ours to judge. `untried`: this host does not have what it takes.
 * `unknown`: it could not be found out.
 */
export type Verdict = "ok" | "leak" | "harm" | "changed" | "lost" | "outside" | "untried" | "unknown";

/** A line of the table. */
export type Row = {
  readonly tried: string;
  readonly expected: string;
  readonly seen: string;
  readonly verdict: Verdict;
};

/** What is known of an attempt when it is judged. */
export type Trial = {
  readonly attempt: Pick<Attempt, "name" | "judged" | "expectation">;
  /** What comes of it where no policy holds; `undefined` when that was not tried. Without it "nothing" would mean nothing. */
  readonly control: Outcome | undefined;
  /** Whether this host has the seal. */
  readonly sealed: boolean;
  /** Whether whatever is tried has no network at all. */
  readonly closed: boolean;
  /** What came of it in the private network, under the policy as it was loaded; `undefined` when it was not tried there. */
  readonly model: Outcome | undefined;
  readonly seen: Outcome;
  /** Whether the dispatch to the session's chains counted it; `undefined` when nobody asked. */
  readonly counted: boolean | undefined;
};

/** Judges an attempt. */
export function judge({ attempt, control, sealed, closed, model, seen, counted }: Trial): Row {
  const expected = expectation(attempt, closed, model);
  const row = (verdict: Verdict, remark = describe(seen)): Row => ({
    tried: attempt.name,
    expected: attempt.expectation === "maker" ? "passes, as its maker's" : describe(expected),
    seen: remark,
    verdict,
  });
  if (seen.passed === "untried") return row("untried");
  if (control !== undefined && control.passed !== true && seen.passed !== true)
    return row("untried", `untried (not even without a policy: ${control.how})`);
  if (attempt.expectation === "sealed" && !sealed) return row(seen.passed ? "outside" : "ok");
  if (attempt.expectation === "maker") return row(seen.passed ? "outside" : "lost");
  if (attempt.expectation === "passes") return row(seen.passed ? "ok" : "harm");
  // What the policy says of it cannot be learnt here; that the session's chains judged it can.
  if (expected.passed === "untried") return row(!seen.passed ? "ok" : counted ? "untried" : "unknown");
  if (seen.passed && !expected.passed) return row("leak");
  if (seen.passed && counted === false) return row("leak", "passes, unjudged");
  return row(seen.passed === expected.passed ? "ok" : "lost");
}

/** What is to come of an attempt. */
function expectation(attempt: Trial["attempt"], closed: boolean, model: Outcome | undefined): Outcome {
  if (attempt.expectation === "passes") return { passed: true, how: "" };
  if (
    attempt.expectation === "nothing" ||
    attempt.expectation === "held" ||
    attempt.expectation === "sealed" ||
    (closed && attempt.judged !== undefined)
  )
    return { passed: false, how: "" };
  return model ?? { passed: "untried", how: "" };
}

function describe({ passed, how }: Outcome): string {
  const word = passed === "untried" ? "untried" : passed ? "passes" : "nothing";
  return how === "" ? word : `${word} (${how})`;
}

/** Tells whether a row speaks of something that must not be, or may be: not to know is not "no". */
export function isBad({ verdict }: Row): boolean {
  return verdict === "leak" || verdict === "harm" || verdict === "changed" || verdict === "unknown";
}

/** Tells whether what rules let through depends on what they let through before: limits, quotas, sets that packets change. */
export function remembers(lines: readonly string[]): boolean {
  return lines.some((line) => /\b(limit|quota|ct count|last)\b|\b(add|update|delete) @|\bmeter\b/.test(line));
}

/** Returns the rules of each chain in a listing of a table, a line each. */
export function chainsOf(listing: string): Map<string, string[]> {
  const chains = new Map<string, string[]>();
  for (const [, name = "", body = ""] of listing.matchAll(/^\tchain (\S+) \{\n(.*?)^\t\}/gms)) {
    chains.set(
      name,
      body.split("\n").flatMap((line) => line.trim() || []),
    );
  }
  return chains;
}

/**
 * Compares rules that are in force with those that were loaded: what no packet of ours can show, for it is about addresses
 * that nobody can be asked from here.
 */
export function compareChains(
  tried: string,
  names: readonly string[],
  loaded: ReadonlyMap<string, readonly string[]>,
  inForce: ReadonlyMap<string, readonly string[]>,
): Row {
  const differences = names.flatMap((name) => {
    const wanted = loaded.get(name) ?? [];
    const found = inForce.get(name);
    if (found === undefined) return [`no chain ${name}`];
    if (wanted.join("\n") === found.join("\n")) return [];
    const missing = wanted.find((rule) => !found.includes(rule));
    const added = found.find((rule) => !wanted.includes(rule));
    if (missing !== undefined) return [`${name} lacks "${missing}"`];
    return [added === undefined ? `${name} is in another order` : `${name} has "${added}"`];
  });
  return {
    tried,
    expected: "as loaded",
    seen: differences.length === 0 ? "as loaded" : differences.join("; "),
    verdict: differences.length === 0 ? "ok" : "changed",
  };
}
