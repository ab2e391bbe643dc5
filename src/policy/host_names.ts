// SPDX-License-Identifier: GPL-2.0-or-later

// Refuses host names: libnftables would ask a name server in the middle of a login, and keep the answer of that moment. It
// does so wherever a value is of an address's type, and which values are depends on what they are compared to.

import { refuse } from "./refusals.ts";
import { cut, type Element, type Term } from "./statement.ts";

/** The operators on an address, or between two. */
const OPERATORS = new Set(["and", "or", "xor", "lshift", "rshift", "&", "|", "^", "<", ">", "-", "/", ","]);

/** The ends of an element's key or value. */
const OPTIONS = new Set(["comment", "counter", "expires", "last", "limit", "quota", "timeout"]);

/** Finds which parts of a key are addresses: of a type, of what stands behind `typeof`, or of what a rule looks at. */
export function addressParts(key: readonly Term[]): boolean[] {
  // The result of a calculation with addresses, such as jhash, is no address.
  if (key.some(({ text }) => text === "mod")) return [];
  return keyParts(key).map(
    (part) =>
      !["arp", "ether", "fib"].includes(part[0]?.text ?? "") &&
      part.some(({ text }) => /^([dst]addr|nexthop|ipv[46]_addr)$/.test(text)),
  );
}

/** Cuts a key, or values that are compared to one, into its parts. "fib" has dots of its own: `fib saddr . iif oif`. */
export function keyParts(key: readonly Term[]): Term[][] {
  const parts: Term[][] = [];
  let open: Term[] | undefined;
  for (const piece of cut(key, ".")) {
    if (open === undefined) parts.push([...piece]);
    else for (const term of piece) open.push(term);
    const part = parts.at(-1);
    const selectorOnly = piece.length === (open === undefined ? 2 : 1);
    open = part?.[0]?.text === "fib" && selectorOnly ? part : undefined;
  }
  return parts;
}

/** Refuses names that addresses are reckoned with: `ip daddr & <name>`. @throws {Refusal} `content` */
export function checkKey(key: readonly Term[]): void {
  if (!addressParts(key).includes(true)) return;
  for (const [index, term] of key.entries())
    if (OPERATORS.has(key[index - 1]?.text ?? "")) checkConstant(term, key[index - 1]);
}

/**
 * Refuses names among the elements of a list, or of a set or map.
 *
 * @param key Which parts of each are addresses.
 * @param mapped Which parts of what each leads to are, in a map.
 * @throws {Refusal} `content`
 */
export function checkElements(
  elements: readonly Element[],
  key: readonly boolean[],
  mapped: readonly boolean[] = [],
): void {
  if (!key.includes(true) && !mapped.includes(true)) return;
  for (const [before = [], ...behind] of elements) {
    checkParts(before, key);
    checkParts(behind.flat(), mapped);
  }
}

function checkParts(value: readonly Term[], areAddresses: readonly boolean[]): void {
  const options = value.findIndex(({ text }) => OPTIONS.has(text));
  for (const [index, part] of cut(options === -1 ? value : value.slice(0, options), ".").entries())
    if (areAddresses[index]) for (const [at, term] of part.entries()) checkConstant(term, part[at - 1]);
}

/**
 * Refuses a name where an address, or what is looked at, should stand. Variables stand for addresses, and sets have names.
 *
 * @param before What stands before it, if anything.
 * @throws {Refusal} `content`
 */
export function checkConstant(value: Term, before?: Term): void {
  const { kind, text, refers } = value;
  if (kind !== "word" && kind !== "string") return;
  if (refers?.kind === "variable" || before?.text === "@" || OPERATORS.has(text)) return;
  refuse(
    value,
    `"${text.replaceAll('"', "")}" is no address, and host names are not looked up at login; write the addresses.`,
  );
}
