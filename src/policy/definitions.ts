// SPDX-License-Identifier: GPL-2.0-or-later

// Reads what a fragment adds of its own: chains, sets, maps, counters, quotas and limits, and elements of sets and maps.

import { attempt, type Refused } from "../refusal.ts";
import { CHAINS, type Dialect, type Family, givenSet, RAW_HEADERS } from "./dialect.ts";
import { addressParts, checkElements } from "./host_names.ts";
import type { Command } from "./read.ts";
import { refuse, refuseUnknown } from "./refusals.ts";
import { type Addition, elementsIn, type ObjectKind, type OwnObjects, type Term } from "./statement.ts";
import { readTerms, type Scope } from "./terms.ts";
import type { Token } from "./tokenise.ts";

/** An `add` command whose braces are still to be read: what is in them may name what others add. */
export type Head = {
  readonly kind: Addition["kind"];
  readonly name: string;
  /** The text in braces, with them; empty for a chain and for an object without. */
  readonly body: readonly Token[];
  /** The statements in the braces of a set or a map; empty for whatever else. */
  readonly said: readonly (readonly Token[])[];
  readonly command: Command;
};

const KINDS: ReadonlySet<string> = new Set(["chain", "set", "map", "counter", "quota", "limit", "element"]);

/** An example of an object's braces. */
const NEEDED: Readonly<Record<Addition["kind"], string>> = {
  chain: "",
  set: "{ type ipv4_addr; }",
  map: "{ type inet_service : verdict; }",
  element: "{ … }",
  counter: "{ packets 0 bytes 0 }",
  quota: "{ over 500 mbytes }",
  limit: "{ rate over 10/second }",
};

/** Names that the subject's own chains have. */
const TAKEN = new Set(["in", "out", "judged", ...Object.keys(CHAINS), ...RAW_HEADERS]);

/** Whether a name means something already: one of the subject's chains, a set of the table, or what raw bits are taken from. */
function isTaken(name: string, dialect: Dialect): boolean {
  return TAKEN.has(name) || givenSet(dialect, name) !== undefined;
}

/** nftables holds 255 bytes for a name, and ours comes before it: at most 60 for user and process. */
const NAME = /^[A-Za-z][A-Za-z0-9_.-]{0,62}$/;

/** The properties of a set or map. */
const SET_WORDS = new Set(
  "type typeof flags timeout gc-interval elements size policy auto-merge comment counter limit quota".split(
    " ",
  ),
);

/** Tells whether a command adds an object or an element, as far as its first two words tell. */
export function isAddition([verb, object]: Command): boolean {
  return verb.text === "add" && KINDS.has(object?.text ?? "");
}

/**
 * Parses `add <kind> inet authnft <name> [{ … }]`, all but the braces.
 *
 * @throws {Refusal} `content`
 */
export function parseHead(command: Command, dialect: Dialect): Head {
  const [verb, object, family, table, name, ...body] = command;
  const kind = object?.text as Head["kind"];
  if (`${family?.text} ${table?.text}` !== dialect.table)
    refuse(
      family ?? verb,
      `a fragment adds to "${dialect.table}" only; write "add ${kind} ${dialect.table} <name>".`,
    );
  if (name?.kind !== "word" || !NAME.test(name.text))
    refuse(
      name ?? verb,
      `"${name?.text ?? ""}" is no name for a ${kind}; begin with a letter, and go on with at most 62 of A-Z a-z 0-9 _ . -`,
    );
  if (kind !== "element" && isTaken(name.text, dialect))
    refuse(name, `the name "${name.text}" is taken; choose another.`);
  const [first] = body;
  if (kind === "chain" && first !== undefined)
    refuse(first, "a fragment's chain has no braces, for it is no base chain; add its rules one by one.");
  const closes = closingBrace(body);
  if (first !== undefined && (first.text !== "{" || closes !== body.length - 1))
    refuse(
      (first.text === "{" ? body[closes + 1] : first) ?? verb,
      "behind the name comes what is in braces, { … }, and nothing else; take this out, or put it on a line of its own.",
    );
  if (first === undefined && (kind === "set" || kind === "map" || kind === "element"))
    refuse(
      name,
      `${kind === "element" ? "an" : "a"} ${kind} needs braces; write "add ${kind} ${dialect.table} ${name.text} ${NEEDED[kind]}".`,
    );
  const said = kind === "set" || kind === "map" ? statementsIn(body.slice(1, -1)) : [];
  return { kind, name: name.text, body, said, command };
}

/** Returns the name and the kind that an addition gives, however wrong the rest of it is: what names it is not to be blamed. */
export function namedAtLeast(command: Command): Head[] {
  const [, object, , , name] = command;
  if (object === undefined || name?.kind !== "word") return [];
  return [{ kind: object.text as Head["kind"], name: name.text, body: [], said: [], command }];
}

/** Where the first braces close; -1 where they do not. */
function closingBrace(tokens: readonly Token[]): number {
  let depth = 0;
  return tokens.findIndex(({ text }) => {
    if (text === "{") depth++;
    if (text === "}") depth--;
    return text === "}" && depth === 0;
  });
}

/** The statements in an object's braces. */
function statementsIn(inner: readonly Token[]): Token[][] {
  const found: Token[][] = [[]];
  for (const token of inner) {
    if (token.kind === "end") found.push([]);
    else found.at(-1)?.push(token);
  }
  return found.filter((statement) => statement.length > 0);
}

/** Returns the names that a fragment gives. @throws {Refusal} `content`, when one is given twice, unless somebody is to be told instead */
export function ownObjects(heads: readonly Head[], refused?: Refused): OwnObjects {
  const own = new Map<string, ObjectKind>();
  for (const { kind, name, command } of heads) {
    if (kind === "element") continue;
    attempt(refused, () => {
      if (own.has(name))
        refuse(command[0], `there is a ${own.get(name)} "${name}" already; give each its own name.`);
      own.set(name, kind);
    });
  }
  return own;
}

/**
 * Parses what is in an object's braces.
 *
 * @param head The command that adds it.
 * @param heads All of the fragment's: elements are of the type that their set was given.
 * @returns The object, or the elements of one.
 * @throws {Refusal} `content`
 */
export function parseAddition(head: Head, heads: readonly Head[], scope: Scope): Addition {
  const { kind, name, body, command } = head;
  const plain = { kind, name, elements: [], family: undefined, hasIntervals: false, place: command[0].place };
  if (kind === "set" || kind === "map") return { ...plain, ...parseSet(head, scope) };
  const inner = body.slice(1, -1);
  if (kind === "element") {
    const set = heads.find((other) => other.name === name && (other.kind === "set" || other.kind === "map"));
    if (set === undefined)
      refuseUnknown(
        command[0],
        `there is no set or map "${name}" in this fragment; add it, with "add set ${scope.dialect.table} ${name} { … }".`,
      );
    const definition = [...body.slice(0, 1), ...parseElements(inner, set, scope), ...body.slice(-1)];
    return { ...plain, definition, family: onlyFamily(set) };
  }
  const terms = readTerms(inner, scope);
  const strange = terms.find(
    ({ text, refers }) => text === "@" || text === "{" || refers?.kind === "variable",
  );
  if (strange !== undefined)
    refuse(
      strange,
      `"${strange.refers?.kind === "variable" ? "$" : strange.text}" has no place in a ${kind}; write "add ${kind} ${scope.dialect.table} ${name} ${NEEDED[kind]}".`,
    );
  // Behind "create", unlike behind "add", counters and the like are described without braces.
  return { ...plain, definition: terms.filter((term) => term.kind !== "end") };
}

/** Parses the definition of a set or map, which is one line behind "create". @throws {Refusal} `content` */
function parseSet(head: Head, scope: Scope): Pick<Addition, "definition" | "elements" | "hasIntervals"> {
  const { kind, name, body, said } = head;
  const [close] = body.slice(-1);
  const definition: Term[] = [];
  let elements: readonly Term[] = [];
  for (const [first, ...rest] of said) {
    if (first === undefined || close === undefined) continue;
    if (!SET_WORDS.has(first.text))
      refuse(
        first,
        `"${first.text}" cannot be said of a ${kind}; there are ${[...SET_WORDS].sort().join(", ")}.`,
      );
    const [again] = ["elements", "type", "typeof"].includes(first.text)
      ? (said.find(([other]) => other !== first && other?.text === first.text) ?? [])
      : [];
    // Versions of nftables differ in which of them holds.
    if (again !== undefined)
      refuse(again, `"${first.text}" is there already; say it once, with all that belongs to it.`);
    if (first.text !== "elements") {
      checkSaid(first, rest);
      const end: Token = { ...close, kind: "end", text: ";", spaced: false };
      definition.push(first, ...readTerms(rest, scope), end);
      continue;
    }
    const variable = rest.find((token) => token.text === "$");
    if (variable !== undefined)
      refuse(
        variable,
        `a variable among the elements of a definition; put it into a command of its own, "add element ${scope.dialect.table} ${name} { … }".`,
      );
    const skipped = rest[0]?.text === "=" ? 1 : 0;
    elements = parseElements(rest.slice(skipped), head, scope).slice(1 - skipped);
  }
  return {
    definition: [...body.slice(0, 1), ...definition, ...body.slice(-1)],
    elements,
    hasIntervals: hasIntervals(head),
  };
}

/** What the type of an object has behind "ct"; whatever else stands there is a part of a flow, and a value. */
const CT_OBJECTS = new Set(["expectation", "helper", "timeout"]);

/** Checks a statement of a set or map for what nftables does not survive, and for maps to objects. */
function checkSaid(first: Token, rest: readonly Token[]): void {
  const hash = rest.find(({ text }) => text === "jhash");
  // nft 1.0.6 loads it, and then dies of every listing of the ruleset.
  if (first.text === "typeof" && hash !== undefined)
    refuse(hash, '"jhash" is no type that nftables can list; write "type mark", or what is kept there.');
  const [next] = rest;
  if (["counter", "quota", "limit"].includes(first.text) && next?.text === "name")
    refuse(
      next,
      `the elements of a set have a ${first.text} each, and none with a name; write "${first.text}" alone, or name it in a rule.`,
    );
  const [value, part] = typeIn(rest).mapped;
  if (value === undefined) return;
  const isObject =
    value.text === "ct"
      ? first.text !== "typeof" || CT_OBJECTS.has(part?.text ?? "")
      : ["counter", "quota", "limit", "synproxy", "secmark"].includes(value.text);
  if (isObject) refuse(value, `a map to objects is not for fragments; name the ${value.text} in a rule.`);
}

/** Parses the elements of a set or map. @throws {Refusal} `content` */
function parseElements(tokens: readonly Token[], set: Head, scope: Scope): Term[] {
  const elements = readTerms(tokens, scope);
  // libnftables 1.0.6 dies of the element for all others, apart from the definition of a set of intervals.
  const star = elements.find(
    ({ text }, index) => text === "*" && /^[{,]?$/.test(elements[index - 1]?.text ?? ""),
  );
  if (star !== undefined && hasIntervals(set))
    refuse(
      star,
      `"*" cannot stand among the intervals of a ${set.kind}; write a rule for all others behind the one that uses it.`,
    );
  const { key, mapped } = typeOf(set);
  checkElements(elementsIn(elements), addressParts(key), addressParts(mapped));
  return elements;
}

function hasIntervals({ said }: Head): boolean {
  const flags = said.find(([first]) => first?.text === "flags") ?? [];
  return flags.some(({ text }) => text === "interval");
}

/** The family of the addresses that a set or map is keyed by; `undefined` where it is keyed by none, or by both. */
function onlyFamily(set: Head): Family | undefined {
  const { key } = typeOf(set);
  const families = (["ip", "ip6"] as const).filter((family) =>
    key.some(
      ({ text }, index) =>
        text === (family === "ip" ? "ipv4_addr" : "ipv6_addr") ||
        (text === family && /addr$/.test(key[index + 1]?.text ?? "")),
    ),
  );
  return families.length === 1 ? families[0] : undefined;
}

/** The key of a set or map, and the value of a map. */
function typeOf({ said }: Head): { key: readonly Token[]; mapped: readonly Token[] } {
  const [, ...type] = said.find(([first]) => /^type(of)?$/.test(first?.text ?? "")) ?? [];
  return typeIn(type);
}

function typeIn(type: readonly Token[]): { key: readonly Token[]; mapped: readonly Token[] } {
  const colon = type.findIndex(({ text }) => text === ":");
  return colon === -1
    ? { key: type, mapped: [] }
    : { key: type.slice(0, colon), mapped: type.slice(colon + 1) };
}
