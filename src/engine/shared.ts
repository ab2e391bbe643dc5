// SPDX-License-Identifier: GPL-2.0-or-later

// Policies that many subjects share: loaded with their first subject, removed with their last. All of it under the lock of the
// ruleset.

import { locate } from "../policy/tokenise.ts";
import { jumpsTo, sharedIn } from "../ruleset/shared_policy.ts";
import type { Commands, OwnObject, Part, Ruled } from "../ruleset/subject.ts";
import { addSubject, sharedObjectsIn, subjectChain } from "../ruleset/subject.ts";
import { TABLE_NAME } from "../ruleset/table.ts";
import { SESSION_KIND } from "../subjects/session/session.ts";
import type { Subject } from "../subjects/subject.ts";
import type { Compiled, SharedRules } from "./compile.ts";
import { firewall } from "./host.ts";
import { saveBestEffort } from "./saved.ts";
import { makeSpare, policyNames, readPolicy, removePolicyFile, savePolicy } from "./store.ts";
import type { Wanted } from "./wanted.ts";
import { logWarning } from "./warning.ts";

/** A subject as the table is to have it: with rules of its own, or under a shared policy. */
export type Layout = {
  readonly subject: Ruled;
  readonly parts: readonly Part[];
  /** The policy that its rules jump to; `undefined` where they are its own. */
  readonly shared: SharedRules | undefined;
  /** Maps a line of the subject's commands to its location in a fragment. */
  readonly placesIn: (commands: Commands) => ((line: number) => string | undefined) | undefined;
};

/** Lays a policy out for a subject. */
export function layOut(subject: Subject, compiled: Compiled): Layout {
  const { shared } = compiled;
  if (shared === undefined) {
    const { parts } = compiled;
    return {
      subject,
      parts,
      shared,
      placesIn:
        ({ sources }) =>
        (line) => {
          const part = parts[sources[line] ?? -1];
          return part && locate(part.place);
        },
    };
  }
  return {
    subject: { ...subject, policy: { ...subject.policy, isListed: shared.isListed } },
    parts: jumpsTo(shared.name, subject.policy.fragment),
    shared,
    placesIn: () => undefined,
  };
}

/** Selects the shared policies that the table does not have yet, each once. @throws {SystemError} when the kernel does not tell */
export function lacking<Of extends { readonly name: string }>(policies: readonly (Of | undefined)[]): Of[] {
  const byName = new Map(policies.flatMap((policy) => (policy === undefined ? [] : [[policy.name, policy]])));
  return [...byName.values()].filter(({ name }) => usesOf(name) === undefined);
}

/**
 * Saves the commands of a shared policy for restorations, unless they are there.
 *
 * @returns the undoing
 * @throws {Refusal} `record`
 */
export function saveShared({ name, lines }: SavedPolicy): () => void {
  if (readPolicy(name, "shared") === undefined) savePolicy(name, lines, "shared");
  return () => {
    dropUnused([name]);
    dropSpares();
  };
}

/**
 * Reads the saved commands of a subject with those of the policy that it shares.
 *
 * @returns `undefined` where either is lost
 */
export function readRules(name: string, kind: "nft" | "closed" = "nft"): SavedRules | undefined {
  const own = readPolicy(name, kind);
  if (own === undefined) return undefined;
  const sharedName = sharedIn(own);
  if (sharedName === undefined) return { own, shared: undefined };
  const lines = sharedLinesFor(sharedName);
  return lines === undefined ? undefined : { own, shared: { name: sharedName, lines } };
}

/** Saves the commands of shared policies that the table has. @throws {Refusal} `record` */
export function keepShared(policies: readonly SavedPolicy[]): void {
  for (const { name, lines } of policies)
    if (readPolicy(name, "shared") === undefined) {
      savePolicy(name, lines, "shared");
      removePolicyFile(name, "spare");
    }
}

/** The saved commands of a shared policy. */
export type SavedPolicy = { readonly name: string; readonly lines: readonly string[] };

/** The saved commands of a subject, and those of the policy that it shares. */
export type SavedRules = {
  readonly own: readonly string[];
  readonly shared: SavedPolicy | undefined;
};

/** Makes the commands of a subject under a policy, as they are saved. */
export function rulesFor(subject: Subject, compiled: Compiled): SavedRules {
  const { subject: ruled, parts, shared } = layOut(subject, compiled);
  return {
    own: addSubject(ruled, parts).lines,
    shared: shared && { name: shared.name, lines: shared.lines },
  };
}

/** Makes a function that turns saved rules into parts of the table; those that share a policy get the same object for it. */
export function asWanted(): (rules: SavedRules) => Pick<Wanted, "lines" | "shared"> {
  const policies = new Map<string, SavedPolicy>();
  return ({ own, shared }) => {
    if (shared === undefined) return { lines: own };
    const known = policies.get(shared.name) ?? shared;
    policies.set(shared.name, known);
    return { lines: own, shared: known };
  };
}

/**
 * Returns the commands that load saved rules into the table as it is.
 *
 * @throws {SystemError} when the kernel does not tell
 * @throws {Refusal} `record`
 */
export function loading({ own, shared }: SavedRules): string[] {
  if (shared === undefined || usesOf(shared.name) !== undefined) return [...own];
  keepShared([shared]);
  return [...shared.lines, ...own];
}

/** Lists the shared policies that subjects use. @throws {SystemError} when the kernel does not tell */
export function sharedInUse(): string[] {
  return policyNames("shared").filter((name) => (usesOf(name) ?? 0) > 0);
}

/**
 * Removes shared policies that no subject uses any more from the table. Their commands stay as spares, until {@link dropSpares}.
 * Best effort, since they harm nobody: the next one or the sweep tries again.
 */
export function dropUnused(names: Iterable<string | undefined>): void {
  for (const name of new Set(names)) {
    if (name === undefined) continue;
    try {
      const uses = usesOf(name);
      if (uses !== undefined && uses > 0) continue;
      if (uses === 0) firewall.change(TABLE_NAME, removalOf(name));
      makeSpare(name);
    } catch (error) {
      logWarning(`The policy ${name}, which nobody uses, could not be removed`, error);
    }
  }
}

/** Removes the spares that no closed session could need to get its rules back. Best effort. */
export function dropSpares(): void {
  const spares = policyNames("spare");
  if (spares.length === 0) return;
  const wanted = new Set(
    policyNames("closed")
      .filter(SESSION_KIND.isKeptAs)
      .map((closed) => sharedIn(readPolicy(closed, "closed") ?? [])),
  );
  saveBestEffort("Policies that nobody uses are gone, but", () => {
    for (const name of spares) if (!wanted.has(name)) removePolicyFile(name, "spare");
  });
}

function sharedLinesFor(name: string): string[] | undefined {
  return readPolicy(name, "shared") ?? readPolicy(name, "spare");
}

/**
 * Counts the subjects' chains that jump to a shared policy.
 *
 * @returns `undefined` where the table does not have it
 */
export function usesOf(name: string): number | undefined {
  const chain = subjectChain(name, "in");
  const uses = firewall.usesOf(TABLE_NAME, chain);
  if (uses === undefined) return undefined;
  // The kernel counts a chain's own rules, too.
  const begin = `add rule inet ${TABLE_NAME} ${chain} `;
  const lines = sharedLinesFor(name);
  const rules =
    lines === undefined
      ? firewall.countRules(TABLE_NAME, chain)
      : lines.filter((line) => line.startsWith(begin)).length;
  return uses - rules;
}

type Removal = Parameters<typeof firewall.change>[1];

function removalOf(name: string): Removal {
  const lines = sharedLinesFor(name);
  const objects: readonly OwnObject[] =
    lines === undefined
      ? firewall.named(TABLE_NAME).filter((named) => named.name.startsWith(`${name}_`))
      : sharedObjectsIn(lines);
  const isChain = ({ kind }: OwnObject): boolean => kind === "chain";
  return [
    ...objects.filter(isChain).map((chain) => ({ flush: chain.name })),
    ...objects.filter((object) => !isChain(object)),
    ...objects.filter(isChain),
  ];
}
