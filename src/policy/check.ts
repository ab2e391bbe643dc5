// SPDX-License-Identifier: GPL-2.0-or-later

// Refuses what nftables would take and not survive. The parser shows each expression as it is made, so that no statement holds
// one that is refused here.

import { keyParts } from "./host_names.ts";
import { MAP_REGISTER_LIMIT, NARROW_REGISTER_LIMIT, OPERATOR_LIMIT, REGISTER_LIMIT } from "./limits.ts";
import { refuse } from "./refusals.ts";
import type { Element, Term } from "./statement.ts";

const OPERATORS = new Set(["|", "&", "^", "and", "or", "xor", "<", ">", "lshift", "rshift"]);

/**
 * Refuses expressions of which nftables makes more than it has room for.
 *
 * @param registers How many there are for a concatenation, of 4 bytes each.
 * @throws {Refusal} `content`
 */
export function checkSize(expression: readonly Term[], registers = REGISTER_LIMIT): void {
  const outside = outsideBraces(expression);
  const tooMany = outside.filter(({ text }) => OPERATORS.has(text))[OPERATOR_LIMIT];
  if (tooMany !== undefined)
    refuse(
      tooMany,
      `more than ${OPERATOR_LIMIT} operators in one expression, and nftables takes no more; reckon some of it yourself, or in a rule before.`,
    );
  const [first] = expression;
  const limit = expression.some(({ text }) => text === "jhash") ? NARROW_REGISTER_LIMIT : registers;
  const parts = keyParts(outside);
  const size = parts.reduce((sum, part) => sum + registersOf(part), 0);
  if (first !== undefined && parts.length > 1 && size > limit)
    refuse(
      first,
      `what begins here is of ${size * 4} bytes together, and nftables takes ${limit * 4}, where a number or an IPv4 address is 4 and an IPv6 address or a name 16; leave some of it out, or match it by itself.`,
    );
}

function outsideBraces(terms: readonly Term[]): Term[] {
  let depth = 0;
  return terms.filter(({ text }) => {
    if (text === "{") depth++;
    const isOutside = depth === 0;
    if (text === "}") depth--;
    return isOutside;
  });
}

/** Returns the number of registers that a part of a concatenation takes, for the parts that people write. */
function registersOf(part: readonly Term[]): number {
  const isWide = part.some(({ text }) => text === "ip6" || text === "helper" || /(?:name|kind)$/.test(text));
  if (isWide) return 4;
  return part.some(({ text }) => text === "ether") ? 2 : 1;
}

/** Refuses what nftables does not survive among the values of a match. @throws {Refusal} `content` */
export function checkConstants(values: readonly Term[]): void {
  checkSize(values, Number.POSITIVE_INFINITY);
  // libnftables 1.0.6 aborts, for it has given the number no type yet.
  const shift = values.find(({ text }) => ["<", ">", "lshift", "rshift"].includes(text));
  if (shift !== undefined)
    refuse(
      shift,
      `"${shift.text}" cannot stand in a value that is compared; write the number that comes of it.`,
    );
}

/** Refuses ranges and prefixes of what is set, of which libnftables 1.0.6 dies. @throws {Refusal} `content` */
export function checkReckoning(value: readonly Term[]): void {
  const found = outsideBraces(value).find(({ text }) => text === "-" || text === "/");
  if (found !== undefined)
    refuse(
      found,
      `what is set is one value, and nftables does not reckon with "${found.text}"; there are and, or, xor, lshift and rshift.`,
    );
}

/** Refuses what nftables does not survive in the braces of a match. @throws {Refusal} `content` */
export function checkMembers(elements: readonly Element[]): void {
  const nested = elements.flat(2).find(({ text }) => text === "{");
  // libnftables 1.0.6 aborts.
  if (nested !== undefined) refuse(nested, "braces in braces; write all that is in them into one pair.");
  for (const values of elements.flat()) checkConstants(values);
}

/** Refuses a key that is too large for a rule to put into a set. @throws {Refusal} `content` */
export function checkKept(kept: readonly Term[]): void {
  const colon = kept.findIndex(({ text }) => text === ":");
  if (colon === -1) checkSize(kept, NARROW_REGISTER_LIMIT);
  else for (const part of [kept.slice(0, colon), kept.slice(colon + 1)]) checkSize(part, MAP_REGISTER_LIMIT);
}
