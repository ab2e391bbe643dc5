// SPDX-License-Identifier: GPL-2.0-or-later
import { attempt, Refusal, type Refused } from "../refusal.ts";
import { addressParts, checkValues } from "./host_names.ts";
import type { Command } from "./read.ts";
import { checkBody, type ObjectKind, type OwnObjects, UnknownObject } from "./rule.ts";
import { locate, type Token } from "./tokenise.ts";

/** A command that adds something of the fragment's own, or an element to it. */
export type Addition = {
  readonly kind: ObjectKind | "element";
  readonly name: string;
  /** What stands in braces, them included; empty for a chain and for an object without. */
  readonly body: readonly Token[];
  /** The statements in the braces of a set or a map; empty for whatever else. */
  readonly said: readonly (readonly Token[])[];
  readonly command: Command;
};

const KINDS = new Set(["chain", "set", "map", "counter", "quota", "limit", "element"]);

/** What comes in an object's braces, as an example. */
const NEEDED: Readonly<Record<Addition["kind"], string>> = {
  chain: "",
  set: "{ type ipv4_addr; }",
  map: "{ type inet_service : verdict; }",
  element: "{ … }",
  counter: "{ packets 0 bytes 0 }",
  quota: "{ over 500 mbytes }",
  limit: "{ rate over 10/second }",
};

/**
 * Names that the session's own chains have, those of the two chains that a fragment's rules go to, and what means something
 * else behind "@": our sets, by all their names, and the headers that raw bits are taken from.
 */
const TAKEN = new Set([
  ...["in", "out", "judged", "filter", "egress"],
  ...["session_map_cg", "session_map_ipv4", "session_map_ipv6", "session_cg", "session_v4", "session_v6"],
  ...["ih", "ll", "nh", "th"],
]);

/** nftables holds 255 bytes for a name, and ours comes before it: at most 60 for user and process. */
const NAME = /^[A-Za-z][A-Za-z0-9_.-]{0,62}$/;

/** What may be said of a set or map. */
const SET_WORDS = new Set([
  "type",
  "typeof",
  "flags",
  "timeout",
  "gc-interval",
  "elements",
  "size",
  "policy",
  "auto-merge",
  "comment",
  "counter",
  "limit",
  "quota",
]);

/** Whether a command adds an object or an element, as far as its first two words tell. */
export function isAddition(command: Command): boolean {
  return command[0].text === "add" && KINDS.has(command[1]?.text ?? "");
}

/**
 * Reads `add <kind> inet authnft <name> [{ … }]`.
 *
 * @throws {Refusal} `content`
 */
export function parseAddition(command: Command): Addition {
  const [verb, object, family, table, name, ...body] = command;
  const kind = object?.text as Addition["kind"];
  if (family?.text !== "inet" || table?.text !== "authnft") {
    throw new Refusal(
      "content",
      `${locate((family ?? verb).place)}: a fragment adds to "inet authnft" only; write "add ${kind} inet authnft <name>".`,
    );
  }
  if (name?.kind !== "word" || !NAME.test(name.text)) {
    throw new Refusal(
      "content",
      `${locate((name ?? verb).place)}: "${name?.text ?? ""}" is no name for a ${kind}; begin with a letter, and go on with at most 62 of A-Z a-z 0-9 _ . -`,
    );
  }
  if (kind !== "element" && TAKEN.has(name.text)) {
    throw new Refusal("content", `${locate(name.place)}: the name "${name.text}" is taken; choose another.`);
  }
  if (kind === "chain" && body.length > 0) {
    throw new Refusal(
      "content",
      `${locate((body[0] ?? verb).place)}: a fragment's chain has no braces, for it is no base chain; add its rules one by one.`,
    );
  }
  const closes = closingBrace(body);
  const braced = body[0]?.text === "{" && closes === body.length - 1;
  if (body.length > 0 && !braced) {
    const stray = body[0]?.text === "{" ? body[closes + 1] : body[0];
    throw new Refusal(
      "content",
      `${locate((stray ?? verb).place)}: behind the name comes what is in braces, { … }, and nothing else; take this out, or put it on a line of its own.`,
    );
  }
  if (body.length === 0 && (kind === "set" || kind === "map" || kind === "element")) {
    throw new Refusal(
      "content",
      `${locate(name.place)}: ${kind === "element" ? "an element needs braces; write" : `a ${kind} needs braces; write`} "add ${kind} inet authnft ${name.text} ${NEEDED[kind]}".`,
    );
  }
  const said = kind === "set" || kind === "map" ? statements(body.slice(1, -1)) : [];
  return { kind, name: name.text, body, said, command };
}

/** The name and the kind that an addition gives, however wrong the rest of it is: what names it is not to be blamed. */
export function namedAtLeast(command: Command): Addition[] {
  const [, object, , , name] = command;
  if (object === undefined || name?.kind !== "word") return [];
  return [{ kind: object.text as Addition["kind"], name: name.text, body: [], said: [], command }];
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

/** The names that a fragment gives. @throws {Refusal} `content`, when one is given twice, unless somebody is to be told instead */
export function ownObjects(additions: readonly Addition[], refused?: Refused): OwnObjects {
  const own = new Map<string, ObjectKind>();
  for (const { kind, name, command } of additions) {
    if (kind === "element") continue;
    attempt(refused, () => {
      if (!own.has(name)) return own.set(name, kind);
      throw new Refusal(
        "content",
        `${locate(command[0].place)}: there is a ${own.get(name)} "${name}" already; give each its own name.`,
      );
    });
  }
  return own;
}

/**
 * Checks what is in an object's braces.
 *
 * @param additions all of the fragment's: elements are of the type that their set was given
 * @throws {Refusal} `content`
 */
export function checkAddition(addition: Addition, additions: readonly Addition[], own: OwnObjects): void {
  const { kind, name, body, command } = addition;
  const inner = body.slice(1, -1);
  if (kind === "element") {
    const set = additions.find(
      (other) => other.name === name && (other.kind === "set" || other.kind === "map"),
    );
    if (set === undefined) {
      throw new UnknownObject(
        `${locate(command[0].place)}: there is no set or map "${name}" in this fragment; add it, with "add set inet authnft ${name} { … }".`,
      );
    }
    checkElements(inner, set, own);
    return;
  }
  if (kind !== "set" && kind !== "map") {
    checkBody(inner, own);
    const strange = inner.find((token) => token.text === "@" || token.text === "{" || token.text === "$");
    if (strange !== undefined)
      throw new Refusal(
        "content",
        `${locate(strange.place)}: "${strange.text}" has no place in a ${kind}; write "add ${kind} inet authnft ${name} ${NEEDED[kind]}".`,
      );
    return;
  }
  for (const [first, ...rest] of addition.said) {
    if (first === undefined) continue;
    if (!SET_WORDS.has(first.text)) {
      throw new Refusal(
        "content",
        `${locate(first.place)}: "${first.text}" cannot be said of a ${kind}; there are ${[...SET_WORDS].sort().join(", ")}.`,
      );
    }
    const again = ["elements", "type", "typeof"].includes(first.text)
      ? addition.said.find(([other]) => other !== first && other?.text === first.text)
      : undefined;
    if (again?.[0] !== undefined) {
      // Versions of nftables differ in which of them holds.
      throw new Refusal(
        "content",
        `${locate(again[0].place)}: "${first.text}" is there already; say it once, with all that belongs to it.`,
      );
    }
    if (first.text !== "elements") {
      checkSaid(first, rest);
      checkBody(rest, own);
      continue;
    }
    const variable = rest.find((token) => token.text === "$");
    if (variable !== undefined) {
      throw new Refusal(
        "content",
        `${locate(variable.place)}: a variable among the elements of a definition; put it into a command of its own, "add element inet authnft ${name} { … }".`,
      );
    }
    checkElements(rest.slice(rest[0]?.text === "=" ? 1 : 0), addition, own);
  }
}

/** What the type of an object has behind "ct"; whatever else stands there is a part of a flow, and a value. */
const CT_OBJECTS = new Set(["expectation", "helper", "timeout"]);

/** Checks a statement of a set or map for what nftables does not survive, and for maps to objects. */
function checkSaid(first: Token, rest: readonly Token[]): void {
  const hash = rest.find(({ text }) => text === "jhash");
  if (first.text === "typeof" && hash !== undefined) {
    // nft 1.0.6 loads it, and then dies of every listing of the ruleset.
    throw new Refusal(
      "content",
      `${locate(hash.place)}: "jhash" is no type that nftables can list; write "type mark", or what is kept there.`,
    );
  }
  if (isCounting(first) && rest[0]?.text === "name") {
    throw new Refusal(
      "content",
      `${locate(rest[0].place)}: the elements of a set have a ${first.text} each, and none with a name; write "${first.text}" alone, or name it in a rule.`,
    );
  }
  const colon = rest.findIndex(({ text }) => text === ":");
  const [value, part] = colon === -1 ? [] : rest.slice(colon + 1);
  if (value === undefined) return;
  const object =
    value.text === "ct"
      ? first.text !== "typeof" || CT_OBJECTS.has(part?.text ?? "")
      : ["counter", "quota", "limit", "synproxy", "secmark"].includes(value.text);
  if (object) {
    throw new Refusal(
      "content",
      `${locate(value.place)}: a map to objects is not for fragments; name the ${value.text} in a rule.`,
    );
  }
}

function isCounting({ text }: Token): boolean {
  return text === "counter" || text === "quota" || text === "limit";
}

function checkElements(tokens: readonly Token[], set: Addition, own: OwnObjects): void {
  checkBody(tokens, own);
  checkForAll(tokens, set);
  const { key, mapped } = typeOf(set);
  checkValues(tokens, addressParts(key), addressParts(mapped));
}

/** Refuses the element for all others where libnftables 1.0.6 dies of it: apart from the definition of a set of intervals. */
function checkForAll(tokens: readonly Token[], { kind, said }: Addition): void {
  const flags = said.find(([first]) => first?.text === "flags") ?? [];
  if (!flags.some(({ text }) => text === "interval")) return;
  const star = tokens.find(
    ({ text }, index) => text === "*" && /^[{,]?$/.test(tokens[index - 1]?.text ?? ""),
  );
  if (star === undefined) return;
  throw new Refusal(
    "content",
    `${locate(star.place)}: "*" cannot stand among the intervals of a ${kind}; write a rule for all others behind the one that uses it.`,
  );
}

/** The statements in an object's braces. */
export function statements(inner: readonly Token[]): Token[][] {
  const found: Token[][] = [[]];
  for (const token of inner) {
    if (token.kind === "end") found.push([]);
    else found.at(-1)?.push(token);
  }
  return found;
}

/** The families of the addresses that a set or map is keyed by. */
export function addressFamilies(addition: Pick<Addition, "said">): ("ip" | "ip6")[] {
  const key = typeOf(addition).key.map(({ text }) => text);
  const ip = key.some(
    (text, index) => text === "ipv4_addr" || (text === "ip" && /addr$/.test(key[index + 1] ?? "")),
  );
  const ip6 = key.some(
    (text, index) => text === "ipv6_addr" || (text === "ip6" && /addr$/.test(key[index + 1] ?? "")),
  );
  return [...(ip ? (["ip"] as const) : []), ...(ip6 ? (["ip6"] as const) : [])];
}

/** What a set or map is keyed by, and what a map leads to. */
function typeOf({ said }: Pick<Addition, "said">): { key: readonly Token[]; mapped: readonly Token[] } {
  const [, ...type] = said.find(([first]) => /^type(of)?$/.test(first?.text ?? "")) ?? [];
  const colon = type.findIndex(({ text }) => text === ":");
  return colon === -1
    ? { key: type, mapped: [] }
    : { key: type.slice(0, colon), mapped: type.slice(colon + 1) };
}
