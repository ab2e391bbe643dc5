// SPDX-License-Identifier: GPL-2.0-or-later

// What the rules of a fragment may hold. Every statement is listed here; whatever else nftables may know, now or later, is
// refused.
//
// Matches are read by their form and not by a list of fields and values: a match looks at a packet, lets it go on or not, and
// changes nothing, whatever it asks for. Only its form has to be known, for behind it the next statement begins.

import { Refusal } from "../refusal.ts";
import { addressParts, checkConstant, checkKey, checkValues, keyParts } from "./host_names.ts";
import {
  MAP_REGISTER_LIMIT,
  NARROW_REGISTER_LIMIT,
  OPERATOR_LIMIT,
  REGISTER_LIMIT,
  STATEMENT_LIMIT,
} from "./limits.ts";
import { Reader, takeLimit, takeRemark } from "./reader.ts";
import { locate, type Token } from "./tokenise.ts";

/** What a rule may write to. */
const SETTABLE = [
  "meta mark",
  "ct mark",
  "meta priority",
  "ip dscp",
  "ip6 dscp",
  "tcp option maxseg size",
] as const;

const SET_TOO = new Set<string>([...SETTABLE, "mark"]);

/** Statements without more to them. */
const ALONE = ["accept", "drop", "continue", "return", "last"] as const;

const ALLOWED = `besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment's own sets, comment, and what is set: ${SETTABLE.join(", ")}`;

const NAT = ": addresses are translated in the host's own nat table; set a mark here, and match on it there";

/** Why some of what is not allowed is not, and what to write instead. */
const HINTS: Readonly<Record<string, string>> = {
  include: "; put it on a line of its own",
  masquerade: NAT,
  snat: NAT,
  dnat: NAT,
  redirect: NAT,
  tproxy: NAT,
  synproxy: NAT,
  meter:
    ': nftables makes a set of it that all sessions share; add a set of the fragment\'s own, and write "update @set { … }"',
};

/** Those that are values as well, and what they are values of. */
const VALUES_OF: Readonly<Record<string, string>> = {
  snat: "ct status",
  dnat: "ct status",
  redirect: "icmp type",
};

/**
 * Checks that a rule holds nothing but matches and statements that are listed.
 *
 * @throws {Refusal} `content`
 */
export function checkStatements(body: readonly Token[]): void {
  const reader = new Reader(withVariables(body));
  for (let count = 1; !reader.done; count++) {
    const start = reader.peek();
    const before = reader.taken;
    if (start !== undefined && count > STATEMENT_LIMIT) {
      throw new Refusal(
        "content",
        `${locate(start.place)}: here begins the statement after ${STATEMENT_LIMIT} of this rule, and the kernel takes no more; write several rules.`,
      );
    }
    if (start === undefined || takeStatement(reader)) continue;
    const here = reader.peek();
    if (reader.taken === before || here === undefined) refuse(start);
    throw new Refusal(
      "content",
      `${locate(here.place)}: "${here.text}" is not known to go on what "${start.text}" begins; see nft(8) on how that is written.`,
    );
  }
}

const NEVER = new Set(["include", "masquerade", "meter", "synproxy", "tproxy"]);

/** Refuses a word that no rule may hold, wherever it stands. @throws {Refusal} `content` */
export function checkWord(token: Token): void {
  if (NEVER.has(token.text)) refuse(token);
}

function refuse({ text, place }: Token): never {
  const hint = Object.hasOwn(HINTS, text) ? HINTS[text] : `; ${ALLOWED}`;
  throw new Refusal("content", `${locate(place)}: "${text}" has no place in a rule of a fragment${hint}.`);
}

/** A variable is one value. */
function withVariables(body: readonly Token[]): Token[] {
  return body.flatMap((token, index): Token[] => {
    if (body[index - 1]?.text === "$") return [];
    return [token.text === "$" ? { ...token, kind: "word", text: `$${body[index + 1]?.text}` } : token];
  });
}

/** Takes a statement or a match; where it is none that is known, some of it may be taken, or nothing. */
function takeStatement(reader: Reader): boolean {
  switch (reader.peek()?.text) {
    case "jump":
    case "goto":
      reader.next();
      return reader.takeName();
    case "comment":
      return reader.take("comment") && reader.takeValue();
    case "counter":
    case "log":
      return takeRemark(reader);
    case "limit":
    case "quota": {
      const kind = reader.peek()?.text ?? "";
      return reader.take(kind, "name") ? reader.takeName() : takeLimit(reader);
    }
    case "reject":
      reader.next();
      if (!reader.take("with")) return true;
      if (reader.take("tcp")) return reader.take("reset");
      if (reader.takeOne("icmp", "icmpv6", "icmpx") === undefined) return false;
      reader.take("type");
      return reader.takeValue();
    case "add":
    case "update":
    case "delete":
      // Which set it is has been looked at; in the braces only counters, limits and the like may stand, and nftables sees to that.
      if (reader.peek(1)?.text !== "@") return false;
      reader.next();
      return reader.take("@") && reader.takeName() && takeKept(reader);
  }
  if (reader.takeOne(...ALONE) !== undefined) return true;
  if (reader.peek()?.text === "ct" && reader.peek(1)?.text === "count") return takeLimit(reader);
  return takeMatch(reader);
}

/** Takes a match, a verdict map, or the setting of something that may be set. */
function takeMatch(reader: Reader): boolean {
  const first = reader.peek();
  const start = reader.taken;
  if (first === undefined || !takeField(reader)) return false;
  const field = reader.taken;
  const plain = (): boolean => takePlain(reader, () => reader.written(start, field));
  const term = (): boolean =>
    reader.attempt(() => (reader.peek()?.text === "(" && plain()) || undefined) ??
    (takeField(reader) || plain());
  if (!takeMore(reader, term, start)) return false;
  const end = reader.taken;
  const key = reader.between(start, end);
  checkSize(key, REGISTER_LIMIT);
  checkKey(key);
  if (reader.take("set")) {
    const name = reader.written(start, end);
    if (!SET_TOO.has(name)) {
      const translates = /^ip6? [sd]addr$|^(tcp|udp|th|udplite|sctp|dccp) [sd]port$/.test(name);
      throw new Refusal(
        "content",
        `${locate(first.place)}: "${name} set" has no place in a rule of a fragment${translates ? NAT : `; what may be set is ${SETTABLE.join(", ")}`}.`,
      );
    }
    const set = reader.taken;
    if (!takeTerm(reader) || !takeMore(reader, takeTerm, set)) return false;
    checkSize(reader.between(set, reader.taken), REGISTER_LIMIT);
    checkReckoning(reader.between(set, reader.taken));
    return true;
  }
  if (reader.take("vmap")) return takeMembers(reader, addressParts(key));
  if (reader.takeOne("eq", "ne", "lt", "gt", "le", "ge") === undefined)
    while (reader.takeOne("=", "!", "<", ">") !== undefined);
  // What is missing at the end is told by nftables.
  if (reader.done || takeMembers(reader, addressParts(key))) return true;
  const values = reader.taken;
  if (!plain() || !takeMore(reader, plain, values)) return false;
  checkConstants(reader.between(values, reader.taken));
  checkValues(reader.between(values, reader.taken), addressParts(key));
  return true;
}

const OPERATORS = new Set(["|", "&", "^", "and", "or", "xor", "<", ">", "lshift", "rshift"]);

/**
 * Refuses expressions of which nftables makes more than it has room for.
 *
 * @param registers how many there are for a concatenation
 * @throws {Refusal} `content`
 */
function checkSize(expression: readonly Token[], registers: number): void {
  let operators = 0;
  for (const { text, place } of outsideBraces(expression)) {
    if (OPERATORS.has(text) && ++operators > OPERATOR_LIMIT) {
      throw new Refusal(
        "content",
        `${locate(place)}: more than ${OPERATOR_LIMIT} operators in one expression, and nftables takes no more; reckon some of it yourself, or in a rule before.`,
      );
    }
  }
  const [first] = expression;
  const narrow = expression.some(({ text }) => text === "jhash");
  const limit = narrow ? NARROW_REGISTER_LIMIT : registers;
  const parts = keyParts(outsideBraces(expression));
  const size = parts.reduce((sum, part) => sum + registersOf(part), 0);
  if (first !== undefined && parts.length > 1 && size > limit) {
    throw new Refusal(
      "content",
      `${locate(first.place)}: what begins here is of ${size * 4} bytes together, and nftables takes ${limit * 4}, where a number or an IPv4 address is 4 and an IPv6 address or a name 16; leave some of it out, or match it by itself.`,
    );
  }
}

function outsideBraces(tokens: readonly Token[]): Token[] {
  let depth = 0;
  return tokens.filter(({ text }) => {
    if (text === "{") depth++;
    const outside = depth === 0;
    if (text === "}") depth--;
    return outside;
  });
}

/** How many registers a part of a concatenation takes, as far as people write it. */
function registersOf(part: readonly Token[]): number {
  const wide = part.some(({ text }) => text === "ip6" || text === "helper" || /(?:name|kind)$/.test(text));
  if (wide) return 4;
  return part.some(({ text }) => text === "ether") ? 2 : 1;
}

/** Refuses what nftables does not survive among the values of a match. @throws {Refusal} `content` */
function checkConstants(values: readonly Token[]): void {
  checkSize(values, Number.POSITIVE_INFINITY);
  // libnftables 1.0.6 aborts, for it has given the number no type yet.
  const shift = values.find(({ text }) => ["<", ">", "lshift", "rshift"].includes(text));
  if (shift === undefined) return;
  throw new Refusal(
    "content",
    `${locate(shift.place)}: "${shift.text}" cannot stand in a value that is compared; write the number that comes of it.`,
  );
}

/** Refuses ranges and prefixes of what is set, of which libnftables 1.0.6 dies. @throws {Refusal} `content` */
function checkReckoning(value: readonly Token[]): void {
  let depth = 0;
  for (const { text, place } of value) {
    if (text === "{") depth++;
    if (text === "}") depth--;
    if (depth === 0 && (text === "-" || text === "/")) {
      throw new Refusal(
        "content",
        `${locate(place)}: what is set is one value, and nftables does not reckon with "${text}"; there are and, or, xor, lshift and rshift.`,
      );
    }
  }
}

/** Takes the values, the braces and the maps that go on an expression. @param start where it begins */
function takeMore(reader: Reader, take: (reader: Reader) => boolean, start: number): boolean {
  for (let mapped = false; ; ) {
    const end = reader.taken;
    // What a map leads to is no key of another.
    if (mapped && reader.peek()?.text === "map") return false;
    if (reader.take("map")) {
      mapped = true;
      if (!takeMembers(reader, addressParts(reader.between(start, end)))) return false;
    } else if (takeJoint(reader)) {
      if (!take(reader)) return false;
    } else return true;
  }
}

function takeJoint(reader: Reader): boolean {
  return (
    reader.take("<", "<") ||
    reader.take(">", ">") ||
    reader.takeOne(".", ",", "-", "/", "|", "&", "^", "and", "or", "xor", "lshift", "rshift") !== undefined
  );
}

function takeTerm(reader: Reader): boolean {
  return takeField(reader) || takePlain(reader);
}

/**
 * Takes a value, or a parenthesis of values.
 *
 * @param of tells the field that it is compared to, where it is
 */
function takePlain(reader: Reader, of = () => ""): boolean {
  const again = (): boolean => takePlain(reader, of);
  const start = reader.taken;
  if (reader.take("(")) return again() && takeMore(reader, again, start) && reader.take(")");
  const text = reader.peek()?.text ?? "";
  const known = !Object.hasOwn(VALUES_OF, text) || VALUES_OF[text] === of();
  if (!known || !reader.takeValue()) return false;
  // An interface's name with a "*" at its end.
  if (reader.peek()?.text === "*" && !reader.peek()?.spaced) reader.take("*");
  return true;
}

/** Takes a set or a map: in braces, or by its name. @param addresses which parts of its elements are addresses */
function takeMembers(reader: Reader, addresses: readonly boolean[]): boolean {
  const start = reader.taken;
  if (reader.peek()?.text === "{") {
    if (!takeBraces(reader)) return false;
    checkMembers(reader.between(start, reader.taken));
    checkValues(reader.between(start, reader.taken), addresses);
    return true;
  }
  return reader.peek()?.text === "@" && reader.take("@") && reader.takeValue();
}

/** Refuses what nftables does not survive in the braces of a match. @throws {Refusal} `content` */
function checkMembers(members: readonly Token[]): void {
  const inner = members.slice(1, -1);
  const nested = inner.find(({ text }) => text === "{");
  if (nested !== undefined) {
    // libnftables 1.0.6 aborts.
    throw new Refusal(
      "content",
      `${locate(nested.place)}: braces in braces; write all that is in them into one pair.`,
    );
  }
  let from = 0;
  for (let at = 0; at <= inner.length; at++) {
    const ends = at === inner.length || inner[at]?.text === "," || inner[at]?.text === ":";
    if (!ends) continue;
    checkConstants(inner.slice(from, at));
    from = at + 1;
  }
}

/** Takes braces and what is in them: values, verdicts and what counts. Chains and sets in there have been looked at. */
function takeBraces(reader: Reader): boolean {
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

/** Takes the braces that say what is put into a set. */
function takeKept(reader: Reader): boolean {
  const start = reader.taken;
  if (!takeBraces(reader)) return false;
  checkKept(reader.between(start + 1, reader.taken - 1));
  const key = new Reader(reader.between(start + 1, reader.taken - 1));
  do {
    const first = key.peek();
    if (!takeField(key) && first !== undefined) checkConstant(first);
  } while (key.take("."));
  return true;
}

/** Refuses a key that is too large for a rule to put into a set. @throws {Refusal} `content` */
function checkKept(kept: readonly Token[]): void {
  const colon = kept.findIndex(({ text }) => text === ":");
  checkSize(
    colon === -1 ? kept : kept.slice(0, colon),
    colon === -1 ? NARROW_REGISTER_LIMIT : MAP_REGISTER_LIMIT,
  );
  if (colon !== -1) checkSize(kept.slice(colon + 1), MAP_REGISTER_LIMIT);
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

/** What has parts by a name of one word, besides the headers. */
const ONE_WORD = new Set(["dst", "exthdr", "frag", "hbh", "meta", "mh", "rt0", "rt2", "rt4", "srh"]);

/** What needs no "meta" before it. */
const BARE = new Set(
  "cgroup cpu day hour ibrname ibridgename ibrport iif iifgroup iifname iiftype mark obrname obridgename oif oifgroup oifname oiftype pkttype rtclassid skgid skuid time".split(
    " ",
  ),
);

/** Takes what a match looks at: a field of a packet, or what is computed from some. */
function takeField(reader: Reader): boolean {
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
      if (!["ih", "ll", "nh", "th"].includes(reader.peek(1)?.text ?? "")) return false;
      reader.next();
      return takePart(reader) && takeNumbers(reader);
    case "(":
      reader.next();
      return takeTerm(reader) && takeMore(reader, takeTerm, start) && reader.take(")");
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
      return takeTerm(reader) && takeMore(reader, takeTerm, start) && takeModulus(reader);
  }
  return false;
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
  // What is asked of an option is a part of it, or whether it is there.
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
