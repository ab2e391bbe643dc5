// SPDX-License-Identifier: GPL-2.0-or-later
import { isIPv4, isIPv6 } from "node:net";
import { bytesOfAddress } from "../address_bytes.ts";
import { type Policy, rulesOf, type Subject } from "./compile.ts";
import { Reader, takeComment, takeLimit, takeRemark } from "./reader.ts";
import { type Token, tokenise } from "./tokenise.ts";

/** Addresses that begin with the same bits. */
export type Prefix = {
  readonly family: "ip" | "ip6";
  /** In network order, 4 or 16 bytes; the bits that do not count are 0. */
  readonly address: Uint8Array;
  /** How many bits count. */
  readonly length: number;
};

/** The only addresses that there may be packets to or from. */
export type AddressLock = { readonly allow: readonly Prefix[] };

/**
 * How many addresses a lock may have. Each is written to a unit's file and into a table of the kernel's while a login
 * waits: 1,000 take some 10 ms.
 */
const LOCK_LIMIT = 1000;

/**
 * The addresses of all peers that a policy can ever accept packets to or from, for a second lock that knows of nothing but
 * addresses and holds for protocols, too, that the rules do not judge.
 *
 * A lock that is too narrow would break the policy; so there is none unless each rule that accepts says outright which
 * peers it is for, every direction ends with a drop for all others, and nothing is in the way that is not understood here.
 *
 * @param address the session's own client address, which the address sets stand for
 */
export function addressLock(
  policy: Pick<Policy, "parts">,
  address: Subject["address"],
): AddressLock | undefined {
  const found: Prefix[] = [];
  for (const direction of ["in", "out"] as const) {
    const bodies = rulesOf(policy)
      .filter(({ chain }) => chain === direction)
      .map(({ body, place }) => tokenise(place.file, body).tokens);
    const peers = acceptedPeers(bodies, direction, address);
    if (peers === undefined) return undefined;
    for (const peer of peers) found.push(peer);
  }
  const allow = sorted(found);
  return allow.length > LOCK_LIMIT || allow.some(isForMany) ? undefined : { allow };
}

type Direction = "in" | "out";

/** The peers that the rules of one direction accept; `undefined` when they cannot be listed. */
function acceptedPeers(
  rules: readonly (readonly Token[])[],
  direction: Direction,
  address: Subject["address"],
): Prefix[] | undefined {
  const found: Prefix[] = [];
  for (const tokens of rules) {
    if (endsAll(tokens)) return found;
    if (isHarmless(tokens, direction)) continue;
    const peers = peersOfRule(tokens, direction, address);
    if (peers === undefined) return undefined;
    for (const peer of peers) found.push(peer);
  }
  // What no rule has judged is accepted.
  return undefined;
}

/** Whether a rule drops or rejects every packet that comes to it, so that none behind it matters. */
function endsAll(tokens: readonly Token[]): boolean {
  const reader = new Reader(tokens);
  while (takeRemark(reader));
  if (reader.take("reject")) {
    // "with tcp reset" is for TCP alone, icmp and icmpv6 for one family: nftables adds that condition by itself.
    if (reader.take("with", "icmpx")) {
      reader.take("type");
      if (!reader.takeValue()) return false;
    }
  } else if (!reader.take("drop")) return false;
  takeComment(reader);
  return reader.done;
}

/** Words of rules that let packets pass, here or elsewhere, or that may. "accept" is written as a "goto" in compiled rules. */
const PASSES = new Set(["accept", "return", "goto", "jump", "queue", "vmap", "dup", "fwd", "flow"]);

/** What may be written to without a change of where a packet goes. */
const SETTABLE = new Set(["mark", "dscp", "size"]);

/**
 * Whether a rule can neither let a packet pass nor send it elsewhere, nor answer what is sent with a reset: that arrives in the
 * peer's name, and a lock without the peer would swallow it. An ICMP error is not delivered as a packet, and passes.
 */
function isHarmless(tokens: readonly Token[], direction: Direction): boolean {
  if (direction === "out" && tokens.some(({ text }) => text === "reset")) return false;
  return tokens.every(
    ({ text }, index) => !PASSES.has(text) && (text !== "set" || SETTABLE.has(tokens[index - 1]?.text ?? "")),
  );
}

/** The peers that a rule is for which accepts or resets; `undefined` when it does not say, or not in a way that is understood. */
function peersOfRule(
  tokens: readonly Token[],
  direction: Direction,
  address: Subject["address"],
): Prefix[] | undefined {
  const reader = new Reader(tokens);
  let peers: Prefix[] | undefined;
  while (!reader.done) {
    const resets = reader.take("reject", "with", "tcp", "reset");
    if (resets || reader.take("goto")) {
      const known = resets || reader.takeValue();
      takeComment(reader);
      return known && reader.done ? peers : undefined;
    }
    // Of two conditions on the peer one is enough: both have to be met.
    const condition = takePeers(reader, direction) ?? takeClient(reader, direction, address);
    if (condition !== undefined) peers ??= condition;
    else if (!takeRemark(reader) && !takeLimit(reader) && !takeMatch(reader)) return undefined;
  }
  return undefined;
}

/** Takes `ip daddr …` of what is sent, `ip saddr …` of what arrives, with addresses that are listed. */
function takePeers(reader: Reader, direction: Direction): Prefix[] | undefined {
  return reader.attempt(() => {
    const family = reader.takeOne("ip", "ip6");
    if (family === undefined || !reader.take(direction === "in" ? "saddr" : "daddr")) return undefined;
    if (!reader.take("eq")) reader.take("=", "=");
    if (!reader.take("{")) {
      const only = takePrefix(reader, family);
      return only && [only];
    }
    const list: Prefix[] = [];
    do {
      const prefix = reader.attempt(() => takePrefix(reader, family));
      if (prefix === undefined) break; // a comma may stand before the end
      list.push(prefix);
    } while (reader.take(","));
    return list.length > 0 && reader.take("}") ? list : undefined;
  });
}

function takePrefix(reader: Reader, family: "ip" | "ip6"): Prefix | undefined {
  const text = reader.next();
  if (!(family === "ip" ? isIPv4(text) : isIPv6(text))) return undefined;
  const whole = family === "ip" ? 32 : 128;
  if (!reader.take("/")) return { family, address: bytesOfAddress(text), length: whole };
  const length = reader.next();
  if (!/^(0|[1-9][0-9]{0,2})$/.test(length) || Number(length) > whole) return undefined;
  return { family, address: masked(bytesOfAddress(text), Number(length)), length: Number(length) };
}

/** Takes the look-up of a packet's cgroup and sender in an address set: that holds nobody but the session's own client. */
function takeClient(reader: Reader, direction: Direction, address: Subject["address"]): Prefix[] | undefined {
  if (direction === "out") return undefined; // there the sender is this host
  return reader.attempt(() => {
    if (!takeCgroup(reader) || !reader.take(".")) return undefined;
    const family = reader.takeOne("ip", "ip6");
    if (family === undefined || !reader.take("saddr", "@")) return undefined;
    if (!reader.take(family === "ip" ? "session_map_ipv4" : "session_map_ipv6")) return undefined;
    if (address?.family !== family) return [];
    const bytes = bytesOfAddress(address.text);
    return [{ family, address: bytes, length: bytes.length * 8 }];
  });
}

function takeCgroup(reader: Reader): boolean {
  return reader.take("socket", "cgroupv2", "level") && /^[0-9]+$/.test(reader.next());
}

/** What a rule may ask of a packet besides. Whatever the answer, that makes the rule hold for fewer packets. */
const ASKED: Readonly<Record<string, readonly string[]>> = {
  ct: ["state", "direction", "mark", "status", "bytes", "packets"],
  icmp: ["type", "code"],
  icmpv6: ["type", "code"],
  ip: ["saddr", "daddr", "protocol", "dscp", "ttl", "length"],
  ip6: ["saddr", "daddr", "nexthdr", "dscp", "hoplimit", "length"],
  meta: [
    ...["l4proto", "nfproto", "protocol", "length", "mark", "skuid", "skgid", "pkttype"],
    ...["iif", "iifname", "oif", "oifname", "hour", "day", "time"],
  ],
  tcp: ["dport", "sport", "flags"],
  th: ["dport", "sport"],
  udp: ["dport", "sport"],
};

/** Takes one condition with the value, the values or the set that it compares to. */
function takeMatch(reader: Reader): boolean {
  if (!takeAsked(reader)) return false;
  if (reader.takeOne("eq", "ne", "lt", "gt", "le", "ge") === undefined)
    while (reader.takeOne("=", "!", "<", ">") !== undefined);
  if (reader.take("@")) return reader.takeValue();
  if (reader.take("{")) {
    // A list of values; one of verdicts would stand behind "vmap".
    while (!reader.done) {
      const text = reader.next();
      if (text === "}") return true;
      if (text === "{" || text === ":") return false;
    }
    return false;
  }
  do {
    if (!reader.takeValue()) return false;
  } while (reader.takeOne(",", "-", "/") !== undefined);
  return true;
}

function takeAsked(reader: Reader): boolean {
  if (reader.takeOne("iif", "iifname", "oif", "oifname") !== undefined) return true;
  const fib = reader.attempt(() => {
    const asked = reader.take("fib") && reader.takeOne("saddr", "daddr") !== undefined;
    return asked && reader.take("type") ? true : undefined;
  });
  const cgroup = fib ?? reader.attempt(() => (takeCgroup(reader) ? true : undefined));
  const field = reader.attempt(() => {
    const of = reader.next();
    return Object.hasOwn(ASKED, of) ? reader.takeOne(...(ASKED[of] ?? [])) : undefined;
  });
  return cgroup !== undefined || field !== undefined;
}

/** Whether a prefix stands for groups of receivers, whose answers come from addresses of their own. */
function isForMany({ family, address, length }: Prefix): boolean {
  const first = address[0] ?? 0;
  if (family === "ip6") return first === 0xff && length >= 8;
  return (first >= 224 && first < 240 && length >= 4) || address.every((byte) => byte === 255);
}

/** In order, each once. */
function sorted(prefixes: readonly Prefix[]): Prefix[] {
  const byText = new Map(
    prefixes.map((prefix) => {
      const { family, address, length } = prefix;
      return [`${family === "ip" ? 4 : 6} ${Buffer.from(address).toString("hex")} ${length}`, prefix];
    }),
  );
  return [...byText].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, prefix]) => prefix);
}

function masked(address: Uint8Array, length: number): Uint8Array {
  return address.map((byte, index) => byte & (0xff00 >> Math.min(Math.max(length - index * 8, 0), 8)));
}
