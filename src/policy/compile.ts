// SPDX-License-Identifier: GPL-2.0-or-later
import { attempt, Refusal, type Refused } from "../refusal.ts";
import { checkIntervals, checkSets, checkWays } from "./costs.ts";
import type { Dialect, Family, Variables } from "./dialect.ts";
import { parseFragment } from "./parse.ts";
import type { Fragment } from "./read.ts";
import { type RenderOptions, render } from "./render.ts";
import { canBeShared, NEUTRAL, type Sharing, sharedName } from "./sharing.ts";
import type { Addition, OwnObjects, ParsedFragment, Rule, Term } from "./statement.ts";
import { locate } from "./tokenise.ts";

/** An object of the fragment's own, or elements of one, fit for the table under the subject's name and its own. */
export type CompiledAddition = Omit<Addition, "definition" | "elements"> & {
  /** The text behind the name, with braces; empty for none. */
  readonly definition: string;
  /** What the definition was made of. */
  readonly terms: readonly Term[];
};

/** A rule of the fragment, made fit for a chain of the subject's. */
export type CompiledRule = Rule & { readonly body: string };

/** A piece of a policy: a command of the fragment. */
export type CompiledPart = CompiledAddition | CompiledRule;

/** A compiled fragment, in its order, with sentences for the log about what was left out. */
export type Policy = {
  readonly parts: readonly CompiledPart[];
  readonly notes: readonly string[];
  /** What the fragment has of its own. */
  readonly own: OwnObjects;
  /** The beginning of its chains' and objects' names where many subjects can share them; `undefined` where each needs its own. */
  readonly shared?: string;
};

/** What a fragment is compiled for. */
export type CompileOptions = RenderOptions & {
  /** The fragment's path, for messages. */
  readonly path: string;
  readonly dialect: Dialect;
  /** How a policy is written that many subjects can share; when left out, each has its own. */
  readonly sharing?: Sharing;
};

/** Returns the rules of a policy. */
export function rulesOf({ parts }: Pick<Policy, "parts">): CompiledRule[] {
  return parts.filter((part) => part.kind === "rule");
}

/**
 * Parses a fragment and compiles it for a subject. Commands that need an address which the subject lacks are left out.
 *
 * @param fragment The fragment with all that it includes.
 * @param options The subject's names, place and variables.
 * @param refused Is told of all that is wrong, instead of the first being thrown; what comes back lacks it then.
 * @returns The policy.
 * @throws {Refusal} `content`
 */
export function compileFragment(fragment: Fragment, options: CompileOptions, refused?: Refused): Policy {
  let faults = 0;
  const fault =
    refused &&
    ((refusal: Refusal): void => {
      faults++;
      refused(refusal);
    });
  attempt(fault, () => checkWhole(fragment, options));
  const policy = compile(parseFragment(fragment, options.dialect, fault), options);
  if (faults === 0) {
    attempt(fault, () => checkLeft(policy, options));
    for (const check of [checkSets, checkIntervals, checkWays])
      attempt(fault, () => check(policy.parts, options.dialect));
  }
  return policy;
}

/** Compiles what was parsed: for many subjects where it can be, else for this one. Nothing is refused here. */
function compile(parsed: ParsedFragment, options: CompileOptions): Policy {
  const { sharing } = options;
  if (sharing === undefined || !canBeShared(parsed)) return compileFor(parsed, options, options);
  const neutral = compileFor(
    parsed,
    { ...options, prefix: NEUTRAL, accept: sharing.accept },
    { ...options, prefix: NEUTRAL, accept: sharing.acceptCalled },
  );
  const shared = sharedName(neutral.parts);
  const named = (text: string): string => text.replaceAll(NEUTRAL, shared);
  return {
    ...neutral,
    parts: neutral.parts.map((part) =>
      part.kind === "rule"
        ? { ...part, body: named(part.body) }
        : { ...part, definition: named(part.definition) },
    ),
    shared,
  };
}

/**
 * @param options for the rules of the subject's two chains
 * @param called for everything that may be reached by a jump: own chains, and maps
 */
function compileFor(
  { commands, own }: ParsedFragment,
  options: CompileOptions,
  called: CompileOptions,
): Policy {
  const parts: CompiledPart[] = [];
  const notes: string[] = [];
  for (const command of commands) {
    const isRule = command.kind === "rule";
    const missing = isRule
      ? missingAddress(command.terms, options)
      : missingAddress([...command.definition, ...command.elements], options, command.family);
    if (missing !== undefined)
      notes.push(
        `${locate(command.place)}: the ${isRule ? "rule" : "element"} is left out: it needs ${missing}, which this ${options.dialect.noun} does not have`,
      );
    else if (isRule)
      parts.push({
        ...command,
        body: render(command.terms, own.has(command.chain) ? called : options),
      });
    else parts.push(...compileAddition(command, called));
  }
  return { parts, notes, own };
}

/** Compiles a definition and, apart from it, its elements. */
function compileAddition(
  { definition, elements, ...addition }: Addition,
  options: CompileOptions,
): CompiledAddition[] {
  const compiled = { ...addition, definition: render(definition, options), terms: definition };
  if (elements.length === 0) return [compiled];
  return [compiled, { ...compiled, kind: "element", definition: render(elements, options), terms: elements }];
}

/**
 * Finds the address that terms need and the subject lacks.
 *
 * @param declared The family that the terms are of, where no word of theirs tells.
 * @returns It in words; `undefined` when nothing is missing.
 */
function missingAddress(
  terms: readonly Term[],
  { variables, dialect }: CompileOptions,
  declared?: Family,
): string | undefined {
  let family = declared;
  for (const { text, refers } of terms) {
    if (text === "ip" || text === "ip6") family = text;
    if (refers?.kind !== "variable" || !refers.isAddress) continue;
    const value = variables[refers.name];
    if (typeof value !== "object") return dialect.variables[refers.name]?.meaning;
    if (family !== undefined && family !== value.family)
      return family === "ip" ? "an IPv4 address" : "an IPv6 address";
  }
  return undefined;
}

function hasAddress(variables: Variables): boolean {
  return Object.values(variables).some((value) => typeof value === "object");
}

function checkWhole(fragment: Fragment, { path, dialect, variables }: CompileOptions): void {
  if (fragment.asksForAddress && !hasAddress(variables))
    throw new Refusal(
      "content",
      `Cannot use the fragment ${path}: it asks for a client address ("# require address"), and this ${dialect.noun} has none; log in over the network, or drop that line.`,
    );
  if (fragment.commands.length === 0)
    throw new Refusal(
      "content",
      `Cannot use the fragment ${path}: it holds no rule, and a policy must not be empty by accident; to permit everything, write "add rule ${dialect.table} egress accept".`,
    );
}

function checkLeft({ parts, notes }: Policy, { path, dialect }: CompileOptions): void {
  if (parts.some(({ kind }) => kind === "rule")) return;
  throw new Refusal(
    "content",
    `Cannot use the fragment ${path}: no rule is left of it${notes.length > 0 ? `, for ${notes.join("; ")}` : ""}; add one for every ${dialect.noun}.`,
  );
}
