// SPDX-License-Identifier: GPL-2.0-or-later

// Reads what a match looks at and what it compares to: fields, values, lists, and what joins them.
//
// Matches are read by their form and not by a list of fields and values: a match looks at a packet, lets it go on or not, and
// changes nothing, whatever it asks for. Only its form has to be known, for behind it the next statement begins.

import { checkMembers } from "./check.ts";
import { RAW_HEADERS } from "./dialect.ts";
import { addressParts, checkElements } from "./host_names.ts";
import type { Reader } from "./reader.ts";
import { type Expression, elementsIn, type Members } from "./statement.ts";

/** Those that are values as well, and what they are values of. */
const VALUES_OF: Readonly<Record<string, string>> = {
  snat: "ct status",
  dnat: "ct status",
  redirect: "icmp type",
};

/**
 * Takes what goes on an expression: values, braces and maps.
 *
 * @param start Where the expression begins; its first operand is taken.
 * @param takeOperand Takes another operand.
 * @returns The whole expression, or `undefined` where it is cut short.
 * @throws {Refusal} `content`, for what nftables does not survive in a map.
 */
export function takeExpression(
  reader: Reader,
  start: number,
  takeOperand: () => boolean,
): Expression | undefined {
  const operands = [reader.since(start)];
  const joints: string[] = [];
  for (let isMapped = false; ; ) {
    if (reader.peek()?.text === "map") {
      // A map's value is no key of another.
      if (isMapped) return undefined;
      isMapped = true;
      const addresses = addressParts(reader.since(start));
      if (!reader.take("map") || takeMembers(reader, addresses) === undefined) return undefined;
      continue;
    }
    const joint = takeJoint(reader);
    if (joint === undefined) return { operands, joints, isMapped, terms: reader.since(start) };
    const from = reader.taken;
    if (!takeOperand()) return undefined;
    operands.push(reader.since(from));
    joints.push(joint);
  }
}

function takeJoint(reader: Reader): string | undefined {
  if (reader.take("<", "<")) return "<<";
  if (reader.take(">", ">")) return ">>";
  return reader.takeOne(".", ",", "-", "/", "|", "&", "^", "and", "or", "xor", "lshift", "rshift");
}

/** Takes a field or a value. */
export function takeOperand(reader: Reader): boolean {
  return takeField(reader) || takePlain(reader);
}

/**
 * Takes a value, or a parenthesis of values.
 *
 * @param of The field that it is compared to, where there is one.
 */
export function takePlain(reader: Reader, of = ""): boolean {
  const again = (): boolean => takePlain(reader, of);
  const start = reader.taken;
  if (reader.take("("))
    return again() && takeExpression(reader, start, again) !== undefined && reader.take(")");
  const text = reader.peek()?.text ?? "";
  const known = !Object.hasOwn(VALUES_OF, text) || VALUES_OF[text] === of;
  if (!known || !reader.takeValue()) return false;
  // An interface's name with a "*" at its end.
  if (reader.peek()?.text === "*" && !reader.peek()?.spaced) reader.take("*");
  return true;
}

/**
 * Takes a set or a map: in braces, or by its name.
 *
 * @param addresses Which parts of its elements are addresses.
 * @returns The members; `undefined` where there are none, or where they are cut short.
 * @throws {Refusal} `content`, for what nftables does not survive, and for host names.
 */
export function takeMembers(reader: Reader, addresses: readonly boolean[]): Members | undefined {
  const start = reader.taken;
  const first = reader.peek();
  if (first?.text === "{") {
    if (!takeBraces(reader)) return undefined;
    const elements = elementsIn(reader.since(start));
    checkMembers(elements);
    checkElements(elements, addresses);
    return { kind: "listed", elements };
  }
  return reader.take("@") && reader.takeValue() ? { kind: "named", refers: first?.refers } : undefined;
}

/** Takes braces and what is in them: values, verdicts and what counts. Chains and sets in there have been looked at. */
export function takeBraces(reader: Reader): boolean {
  if (!reader.take("{")) return false;
  for (let depth = 1; depth > 0; ) {
    const token = reader.peek();
    if (token === undefined || NOWHERE.has(token.text)) return false;
    if (token.text === "{") depth++;
    if (token.text === "}") depth--;
    reader.next();
  }
  return true;
}

const NOWHERE = new Set(["dup", "flow", "fwd", "notrack", "queue", "set", "xt"]);

/** Takes a word that says what is looked at: neither an operator nor what begins a statement. */
function takePart(reader: Reader): boolean {
  const token = reader.peek();
  return token?.kind === "word" && !Object.hasOwn(VALUES_OF, token.text) && reader.takeValue();
}

const HEADERS = new Set(
  "ah arp comp dccp esp ether geneve gre gretap icmp icmpv6 igmp ip ip6 sctp tcp th udp udplite vlan vxlan".split(
    " ",
  ),
);
const TUNNELS = new Set(["geneve", "gre", "gretap", "vxlan"]);

/** The words, besides headers, that have parts with a name of one word. */
const ONE_WORD = new Set(["dst", "exthdr", "frag", "hbh", "meta", "mh", "rt0", "rt2", "rt4", "srh"]);

/** What needs no "meta" before it. */
const BARE = new Set(
  "cgroup cpu day hour ibrname ibridgename ibrport iif iifgroup iifname iiftype mark obrname obridgename oif oifgroup oifname oiftype pkttype rtclassid skgid skuid time".split(
    " ",
  ),
);

/** Takes what a match looks at: a field of a packet, or what is computed from some. */
export function takeField(reader: Reader): boolean {
  const first = reader.peek();
  if (first === undefined || (first.kind !== "word" && first.text !== "@" && first.text !== "("))
    return false;
  const { text } = first;
  const start = reader.taken;
  if (HEADERS.has(text)) return takeHeader(reader);
  if (ONE_WORD.has(text)) return reader.take(text) && takePart(reader);
  if (BARE.has(text)) return reader.take(text);
  switch (text) {
    case "@": // raw bits of a header: "@th,16,16"
      if (!RAW_HEADERS.has(reader.peek(1)?.text ?? "")) return false;
      reader.next();
      return takePart(reader) && takeNumbers(reader);
    case "(":
      reader.next();
      return takeOperand(reader) && takeMoreOperands(reader, start) && reader.take(")");
    case "ct":
      reader.next();
      reader.takeOne("original", "reply");
      if (reader.peek(1)?.kind === "word") reader.takeOne("ip", "ip6");
      return takePart(reader);
    case "rt":
      reader.next();
      reader.takeOne("ip", "ip6");
      return takePart(reader);
    case "fib":
      reader.next();
      do if (!takePart(reader)) return false;
      while (reader.take("."));
      return takePart(reader);
    case "socket":
      reader.next();
      return reader.take("cgroupv2") ? reader.take("level") && reader.takeValue() : takePart(reader);
    case "osf":
      reader.next();
      return (!reader.take("ttl") || takePart(reader)) && takePart(reader);
    case "ipsec":
      reader.next();
      if (reader.takeOne("in", "out") === undefined) return false;
      if (reader.take("spnum") && !reader.takeValue()) return false;
      reader.takeOne("ip", "ip6");
      return takePart(reader);
    case "numgen":
      reader.next();
      return reader.takeOne("inc", "random") !== undefined && takeModulus(reader);
    case "symhash":
      return reader.take("symhash") && takeModulus(reader);
    case "jhash":
      reader.next();
      return takeOperand(reader) && takeMoreOperands(reader, start) && takeModulus(reader);
  }
  return false;
}

function takeMoreOperands(reader: Reader, start: number): boolean {
  return takeExpression(reader, start, () => takeOperand(reader)) !== undefined;
}

function takeHeader(reader: Reader): boolean {
  let header = reader.next();
  if (TUNNELS.has(header) && HEADERS.has(reader.peek()?.text ?? "")) header = reader.next();
  if (reader.takeOne("option", "chunk") === undefined) {
    if (!takePart(reader)) return false;
    if (header === "arp") reader.takeOne("ether", "ip"); // "arp daddr ip"
    return true;
  }
  if (reader.take("@")) return reader.takeValue() && takeNumbers(reader);
  if (!reader.takeValue()) return false;
  // Of an option one asks for a part, or whether it exists.
  if (!["exists", "missing"].includes(reader.peek()?.text ?? "")) takePart(reader);
  return true;
}

/** Takes the two numbers that say where raw bits are. */
function takeNumbers(reader: Reader): boolean {
  return reader.take(",") && reader.takeValue() && reader.take(",") && reader.takeValue();
}

function takeModulus(reader: Reader): boolean {
  if (!reader.take("mod") || !reader.takeValue()) return false;
  if (reader.take("seed") && !reader.takeValue()) return false;
  return !reader.take("offset") || reader.takeValue();
}
