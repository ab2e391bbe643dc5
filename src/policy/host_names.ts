// SPDX-License-Identifier: GPL-2.0-or-later

// Refuses host names: libnftables would ask a name server in the middle of a login, and keep the answer of that moment. It
// does so wherever a value is of an address's type, and which values are depends on what they are compared to.

import { Refusal } from "../refusal.ts";
import { locate, type Token } from "./tokenise.ts";

/** What reckons with an address, or stands between two. */
const OPERATORS = new Set(["and", "or", "xor", "lshift", "rshift", "&", "|", "^", "<", ">", "-", "/", ","]);

/** What ends an element's key, or its value. */
const OPTIONS = new Set(["comment", "counter", "expires", "last", "limit", "quota", "timeout"]);

/** Which parts of a key are addresses: of a type, of what stands behind `typeof`, or of what a rule looks at. */
export function addressParts(key: readonly Token[]): boolean[] {
  // What is reckoned from addresses, as jhash does, is none.
  if (key.some(({ text }) => text === "mod")) return [];
  return keyParts(key).map(
    (part) =>
      !["arp", "ether", "fib"].includes(part[0]?.text ?? "") &&
      part.some(({ text }) => /^([dst]addr|nexthop|ipv[46]_addr)$/.test(text)),
  );
}

/** The parts of a key, or of values that are compared to one. "fib" has dots of its own: `fib saddr . iif oif`. */
export function keyParts(key: readonly Token[]): Token[][] {
  const parts: Token[][] = [];
  let open: Token[] | undefined;
  for (const piece of split(key, ".")) {
    if (open === undefined) parts.push([...piece]);
    else for (const token of piece) open.push(token);
    const part = parts.at(-1);
    const selectorOnly = piece.length === (open === undefined ? 2 : 1);
    open = part?.[0]?.text === "fib" && selectorOnly ? part : undefined;
  }
  return parts;
}

/** Refuses names that addresses are reckoned with: `ip daddr & <name>`. @throws {Refusal} `content` */
export function checkKey(key: readonly Token[]): void {
  if (!addressParts(key).includes(true)) return;
  for (const [index, token] of key.entries())
    if (OPERATORS.has(key[index - 1]?.text ?? "") && isName(token, key[index - 1])) refuseName(token);
}

/**
 * Refuses names among values, which may be a list or a set in braces.
 *
 * @param key which parts of each are addresses
 * @param mapped which parts of what each leads to are, in a map
 * @throws {Refusal} `content`
 */
export function checkValues(
  values: readonly Token[],
  key: readonly boolean[],
  mapped: readonly boolean[] = [],
): void {
  if (!key.includes(true) && !mapped.includes(true)) return;
  const inner = values[0]?.text === "{" ? values.slice(1, -1) : values;
  for (const element of split(inner, ",")) {
    const [before = [], ...behind] = split(element, ":");
    checkParts(before, key);
    checkParts(behind.flat(), mapped);
  }
}

/** Refuses a name where what is looked at should stand. @throws {Refusal} `content` */
export function checkConstant(value: Token): void {
  if (isName(value, undefined)) refuseName(value);
}

function checkParts(value: readonly Token[], parts: readonly boolean[]): void {
  const options = value.findIndex(({ text }) => OPTIONS.has(text));
  for (const [index, part] of split(options === -1 ? value : value.slice(0, options), ".").entries()) {
    if (!parts[index]) continue;
    for (const [at, token] of part.entries()) if (isName(token, part[at - 1])) refuseName(token);
  }
}

/** Whether nftables would look something up. Variables stand for addresses, and sets have names. */
function isName(token: Token, before: Token | undefined): boolean {
  if (token.kind !== "word" && token.kind !== "string") return false;
  const named = token.text.startsWith("$") || /^[$@]$/.test(before?.text ?? "");
  return !named && !OPERATORS.has(token.text);
}

function split(tokens: readonly Token[], mark: string): Token[][] {
  const found: Token[][] = [[]];
  for (const token of tokens) {
    if (token.text === mark) found.push([]);
    else found.at(-1)?.push(token);
  }
  return found;
}

function refuseName(value: Token): never {
  throw new Refusal(
    "content",
    `${locate(value.place)}: "${value.text.replaceAll('"', "")}" is no address, and host names are not looked up at login; write the addresses.`,
  );
}
