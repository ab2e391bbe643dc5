// SPDX-License-Identifier: GPL-2.0-or-later
import { attempt, Refusal, type Refused } from "../refusal.ts";
import { checkIntervals, checkSets, checkWays } from "./costs.ts";
import {
  type Addition,
  addressFamilies,
  checkAddition,
  isAddition,
  namedAtLeast,
  ownObjects,
  parseAddition,
  statements,
} from "./objects.ts";
import type { Command, Fragment } from "./read.ts";
import {
  checkBody,
  missingAddress,
  type ObjectKind,
  type OwnObjects,
  type RenderOptions,
  render,
  UnknownObject,
} from "./rule.ts";
import { checkStatements } from "./statements.ts";
import { locate, type Place, type Token } from "./tokenise.ts";

export type { Subject } from "./rule.ts";

/** An object of the fragment's own, fit for the table under the member's name and its own. */
export type CompiledObject = {
  readonly kind: ObjectKind;
  readonly name: string;
  /** What stands behind the name, braces included; empty for none. */
  readonly definition: string;
  readonly place: Place;
  /** What the definition was made of. */
  readonly tokens: readonly Token[];
};

/** Elements of a set or map of the fragment's own. */
export type CompiledElement = {
  readonly kind: "element";
  readonly name: string;
  readonly definition: string;
  readonly place: Place;
  readonly tokens: readonly Token[];
};

/** A rule of the fragment, made fit for a chain of its own. */
export type CompiledRule = {
  readonly kind: "rule";
  /** `in` for what arrives, `out` for what is sent, or a chain that the fragment adds. */
  readonly chain: string;
  readonly body: string;
  readonly place: Place;
  /** What the body was made of. */
  readonly tokens: readonly Token[];
};

/** A piece of a policy: a command of the fragment. */
export type CompiledPart = CompiledObject | CompiledElement | CompiledRule;

/** What came of a fragment, in its order, and words for the log on what was left out. */
export type Policy = {
  readonly parts: readonly CompiledPart[];
  readonly notes: readonly string[];
  /** What the fragment has of its own. */
  readonly own: OwnObjects;
};

/** What a fragment is compiled for. */
export type CompileOptions = RenderOptions & {
  /** The fragment's path, for messages. */
  readonly path: string;
};

/** The two chains that a fragment may write to, by all their names. */
const DIRECTIONS: Readonly<Record<string, "in" | "out">> = {
  filter: "in",
  egress: "out",
  "@session_chain": "in",
};

/** The rules of a policy. */
export function rulesOf({ parts }: Pick<Policy, "parts">): CompiledRule[] {
  return parts.filter((part) => part.kind === "rule");
}

/**
 * Makes a policy of a fragment. Only rules of the session's input and output are let through, objects of the fragment's own
 * and rules of its own chains; and in all of them nothing that reaches beyond the session.
 *
 * `accept` becomes a `goto` to the chain that remembers the flow.
 *
 * @param refused is told of all that is wrong, instead of the first being thrown; what comes back lacks it then
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
  const broken = new Set<Command>();
  const additions = fragment.commands.filter(isAddition).flatMap((command): Addition[] => {
    const addition = attempt(fault, () => parseAddition(command));
    if (addition !== undefined) return [addition];
    broken.add(command);
    return namedAtLeast(command);
  });
  const own = ownObjects(additions, fault);
  const parts: CompiledPart[] = [];
  const notes: string[] = [];
  const leftOut = (place: Place, what: string, missing: string): void => {
    notes.push(
      `${locate(place)}: the ${what} is left out: it needs ${missing}, which this session does not have`,
    );
  };
  const compile = (command: Command): void => {
    const place = command[0].place;
    const addition = additions.find((other) => other.command === command);
    if (addition === undefined) {
      const { chain, body } = parseAddRule(command, own);
      const missing = missingAddress(body, options.subject);
      if (missing !== undefined) leftOut(place, "rule", missing);
      else
        parts.push({
          kind: "rule",
          chain,
          body: render(body, own, { ...options, returns: own.has(chain) }),
          place,
          tokens: body,
        });
      return;
    }
    checkAddition(addition, additions, own);
    const { kind, name, body } = addition;
    const set =
      kind === "element"
        ? additions.find((other) => other.kind !== "element" && other.name === name)
        : undefined;
    const [family, ...more] = set === undefined ? [] : addressFamilies(set);
    const missing = missingAddress(body, options.subject, more.length === 0 ? family : undefined);
    if (missing !== undefined) {
      leftOut(place, "element", missing);
      return;
    }
    const created = asCreated(kind, body);
    const text = (tokens: readonly Token[]): string => render(tokens, own, { ...options, returns: true });
    parts.push({ kind, name, definition: text(created.definition), place, tokens: created.definition });
    if (created.elements.length > 0)
      parts.push({
        kind: "element",
        name,
        definition: text(created.elements),
        place,
        tokens: created.elements,
      });
  };
  for (const command of fragment.commands) if (!broken.has(command)) attempt(fault, () => compile(command));
  if (faults === 0) {
    attempt(fault, () => checkLeft(parts, notes, options));
    attempt(fault, () => checkSets(parts));
    attempt(fault, () => checkIntervals(parts));
    attempt(fault, () => checkWays(parts));
  }
  return { parts, notes, own };
}

/** Whether a fragment is for sessions with an address only: "# require address". */
export function asksForAddress({ comments }: Fragment): boolean {
  return comments.some((comment) => /^require\s+address\.?$/i.test(comment));
}

function checkWhole(fragment: Fragment, options: CompileOptions): void {
  if (options.subject.address === undefined && asksForAddress(fragment)) {
    throw new Refusal(
      "content",
      `Cannot use the fragment ${options.path}: it asks for a client address ("# require address"), and this session has none; log in over the network, or drop that line.`,
    );
  }
  if (fragment.commands.length === 0) {
    throw new Refusal(
      "content",
      `Cannot use the fragment ${options.path}: it holds no rule, and a policy must not be empty by accident; to permit everything, write "add rule inet authnft egress accept".`,
    );
  }
}

function checkLeft(parts: readonly CompiledPart[], notes: readonly string[], options: CompileOptions): void {
  if (parts.some(({ kind }) => kind === "rule")) return;
  throw new Refusal(
    "content",
    `Cannot use the fragment ${options.path}: no rule is left of it${notes.length > 0 ? `, for ${notes.join("; ")}` : ""}; add one for every session.`,
  );
}

/** A definition as nft takes it on one line behind "create", and apart from it the elements, which nft 1.0.6 passes over there. */
function asCreated(
  kind: string,
  body: readonly Token[],
): { readonly definition: readonly Token[]; readonly elements: readonly Token[] } {
  const [open, close] = [body[0], body.at(-1)];
  if (open === undefined || close === undefined || kind === "element")
    return { definition: body, elements: [] };
  const said = statements(body.slice(1, -1)).filter((statement) => statement.length > 0);
  // Behind "create", unlike behind "add", counters and the like are described without braces.
  if (kind !== "set" && kind !== "map") return { definition: said.flat(), elements: [] };
  const [, , ...elements] = said.find(([first]) => first?.text === "elements") ?? [];
  const rest = said.filter(([first]) => first?.text !== "elements");
  const end: Token = { ...close, kind: "end", text: ";", spaced: false };
  return { definition: [open, ...rest.flatMap((statement) => [...statement, end]), close], elements };
}

/** What to do about a command that no fragment may hold. */
function insteadOf([verb, object, ...rest]: Command): string {
  const ours = rest.some(({ text }) => text === "authnft");
  switch (verb.text) {
    case "insert":
    case "replace":
    case "create":
      return `write "add ${object?.text ?? "rule"} inet authnft …"`;
    case "define":
    case "redefine":
    case "undefine":
      return "write the value where it is used";
    case "table":
    case "chain":
    case "map":
    case "set":
      return "write commands instead of blocks, and what is for other tables into the host's own rules";
    case "add":
      if (object === undefined || ours) return 'write "add rule inet authnft egress …" or one of the others';
      return "put it into the host's own rules, and let them match on a mark that is set here";
  }
  // What acts on what is there: a session begins with nothing.
  return rest.length > 0 || object !== undefined
    ? "take it out, for a fragment only adds what a session begins with"
    : 'write "add rule inet authnft egress …"';
}

/** Takes `add rule inet authnft CHAIN` off a command. */
function parseAddRule(command: Command, own: OwnObjects): { chain: string; body: readonly Token[] } {
  const [verb, object, family, table, ...rest] = command;
  const said = [verb, object, family, table].map((token) => token?.text).join(" ");
  if (said !== "add rule inet authnft") {
    throw new Refusal(
      "content",
      `${locate(verb.place)}: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment's own ("add set inet authnft …") and include may stand in a fragment, not "${command
        .slice(0, 4)
        .map((token) => token.text)
        .join(" ")}"; ${insteadOf(command)}.`,
    );
  }
  const marked = rest[0]?.text === "@" && rest[1] !== undefined && !rest[1].spaced;
  const name = marked ? `@${rest[1]?.text}` : (rest[0]?.text ?? "");
  const isOwn = own.get(name) === "chain";
  const chain = isOwn ? name : Object.hasOwn(DIRECTIONS, name) ? DIRECTIONS[name] : undefined;
  if (chain === undefined) {
    throw new UnknownObject(
      `${locate((rest[0] ?? verb).place)}: a fragment's rules go to chain filter (what arrives) or egress (what is sent), or to a chain that it adds itself, not "${name}"; write one of the two, or add the chain.`,
    );
  }
  const body = rest.slice(marked ? 2 : 1);
  if (body.length === 0)
    throw new Refusal(
      "content",
      `${locate(verb.place)}: the rule is empty; say what to match and what to do.`,
    );
  checkBody(body, own);
  checkStatements(body);
  return { chain, body };
}
