// SPDX-License-Identifier: GPL-2.0-or-later

// What is allowed, and yet hardly meant: told by "authnft check", of no concern to a login.

import type { CompiledPart, CompiledRule, Policy } from "./compile.ts";
import { Reader, takeComment, takeRemark } from "./reader.ts";
import type { ObjectKind } from "./rule.ts";
import type { Place, Token } from "./tokenise.ts";

/** Something that is hardly meant. */
export type Warning = {
  readonly place: Place;
  readonly message: string;
  readonly advice: string;
  /** Whether it is of no interest where another fragment that includes the same file makes use of what stands there. */
  readonly shared: boolean;
};

/** What is known of the host beside the policy. */
export type Host = {
  /** The host's own chains that drop by default, in words, by the direction that they judge. */
  readonly drops: { readonly in: string | undefined; readonly out: string | undefined };
};

const CHAINS = { in: "filter", out: "egress" } as const;
type Direction = keyof typeof CHAINS;

/** Looks through a policy that was compiled without complaint. */
export function lint({ parts, own }: Pick<Policy, "parts" | "own">, host: Host): Warning[] {
  const chains = new Map<string, CompiledRule[]>();
  for (const part of parts) {
    if (part.kind !== "rule") continue;
    const rules = chains.get(part.chain);
    if (rules === undefined) chains.set(part.chain, [part]);
    else rules.push(part);
  }
  return [
    ...deadRules(chains),
    ...unreachedChains(parts),
    ...unusedObjects(parts, own),
    ...(["out", "in"] as const).flatMap((direction) => [
      ...grants(parts, chains, direction),
      ...unmarked(parts, direction, host),
    ]),
  ].sort(byPlace);
}

function byPlace(one: Warning, other: Warning): number {
  if (one.place.file !== other.place.file) return 0;
  return one.place.line - other.place.line || one.place.column - other.place.column;
}

type Chains = ReadonlyMap<string, readonly CompiledRule[]>;

/** What a rule does to every packet that comes to it. */
type Verdict = {
  readonly verdict: "accept" | "drop" | "reject" | "return" | "goto" | "jump";
  readonly target: string;
};

/** The verdict of a rule without a condition; `undefined` for one with, and for one without a verdict. */
export function unconditional(tokens: readonly Token[]): Verdict | undefined {
  const reader = new Reader(tokens);
  while (takeMark(reader) || takeRemark(reader));
  const verdict = reader.takeOne("accept", "drop", "reject", "return", "goto", "jump");
  if (verdict === undefined) return undefined;
  const target = verdict === "goto" || verdict === "jump" ? reader.next() : "";
  // "with tcp reset" is for TCP alone, icmp and icmpv6 for one family: nftables adds that condition by itself.
  if (verdict === "reject" && reader.take("with", "icmpx")) {
    reader.take("type");
    reader.takeValue();
  }
  takeComment(reader);
  return reader.done ? { verdict, target } : undefined;
}

/** Takes the setting of a mark, whatever it is computed from. */
function takeMark(reader: Reader): boolean {
  const taken = reader.attempt(() => {
    if (reader.takeOne("meta", "ct") === undefined || !reader.take("mark", "set")) return undefined;
    do {
      const known = reader.take("meta", "mark") || reader.take("ct", "mark") || reader.takeValue();
      if (!known) return undefined;
    } while (reader.takeOne("or", "and", "xor", "|", "&", "^") !== undefined);
    return true;
  });
  return taken === true;
}

/** What becomes of a packet that no condition of a chain holds for; `falls` for one that comes to its end. */
type End =
  | { readonly kind: "accept" | "close"; readonly rule: CompiledRule; readonly index: number }
  | { readonly kind: "falls"; readonly index?: number; readonly rule?: CompiledRule };

function endOf(chain: string, chains: Chains, above: readonly string[] = []): End {
  // nftables refuses a circle of jumps; it is not for us to follow it.
  if (above.includes(chain)) return { kind: "falls" };
  for (const [index, rule] of (chains.get(chain) ?? []).entries()) {
    const found = unconditional(rule.tokens);
    if (found === undefined) continue;
    const { verdict, target } = found;
    if (verdict === "accept") return { kind: "accept", rule, index };
    if (verdict === "drop" || verdict === "reject") return { kind: "close", rule, index };
    // In the session's own two chains nobody called: there "return" accepts.
    if (verdict === "return") return { kind: above.length === 0 ? "accept" : "falls", rule, index };
    const end = endOf(target, chains, [...above, chain]);
    if (end.kind !== "falls") return { ...end, index };
    if (verdict === "goto") return { kind: "falls", rule, index };
  }
  return { kind: "falls" };
}

/** Rules that no packet comes to, because another takes them all; of each chain the first. */
function deadRules(chains: Chains): Warning[] {
  return [...chains].flatMap(([chain, rules]) => {
    const { index } = endOf(chain, chains);
    const ending = index === undefined ? undefined : rules[index];
    const dead = index === undefined ? undefined : rules[index + 1];
    if (index === undefined || ending === undefined || dead === undefined) return [];
    const more = rules.length - index - 2;
    const { file, line } = ending.place;
    const there = file === dead.place.file ? `line ${line}` : `${file}:${line}`;
    return [
      {
        place: dead.place,
        message: `this rule${more > 0 ? ` and the ${more === 1 ? "one" : more} behind it` : ""} can never act: every packet ends at ${there}`,
        advice: "put it before that line, or take it out",
        shared: false,
      },
    ];
  });
}

/** The names that a part speaks of: chains that it leads to, sets that it looks into, counters and the like. */
function namesIn({ tokens }: CompiledPart): string[] {
  return tokens.flatMap((token, index) => {
    const before = tokens[index - 1]?.text ?? "";
    if (before === "name") return [token.text.replace(/^"|"$/g, "")];
    return ["@", "jump", "goto"].includes(before) ? [token.text] : [];
  });
}

/** The fragment's own chains that no packet ever comes to. */
function unreachedChains(parts: readonly CompiledPart[]): Warning[] {
  const reached = new Set<string>();
  const waiting: string[] = Object.keys(CHAINS);
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (reached.has(name)) continue;
    reached.add(name);
    for (const part of parts) {
      // A map leads where its elements do.
      const inside = part.kind === "rule" ? part.chain === name : part.name === name;
      if (inside) for (const next of namesIn(part)) waiting.push(next);
    }
  }
  return parts.flatMap((part) => {
    if (part.kind !== "chain" || reached.has(part.name)) return [];
    return [
      {
        place: part.place,
        message: `no rule leads to chain "${part.name}", so none of its rules can ever act`,
        advice: `add one that does, such as "add rule inet authnft egress jump ${part.name}", or take the chain out`,
        shared: true,
      },
    ];
  });
}

const USES: Readonly<Record<Exclude<ObjectKind, "chain">, (name: string) => string>> = {
  set: (name) => `@${name}`,
  map: (name) => `@${name}`,
  counter: (name) => `counter name ${name}`,
  quota: (name) => `quota name ${name}`,
  limit: (name) => `limit name ${name}`,
};

/** The fragment's own objects that no rule uses. */
function unusedObjects(parts: readonly CompiledPart[], own: Policy["own"]): Warning[] {
  const used = new Set(parts.flatMap((part) => (part.kind === "rule" ? namesIn(part) : [])));
  return parts.flatMap((part) => {
    if (part.kind === "rule" || part.kind === "chain" || part.kind === "element") return [];
    if (used.has(part.name) || own.get(part.name) !== part.kind) return [];
    return [
      {
        place: part.place,
        message: `no rule uses ${part.kind} "${part.name}"`,
        advice: `name it in a rule, with "${USES[part.kind](part.name)}", or take it out`,
        shared: true,
      },
    ];
  });
}

const WHOM: Readonly<Record<Direction, string>> = {
  in: "everybody may connect to what the session offers",
  out: "the session may connect to everything",
};

/** What is open to everybody, by a rule or for want of one. */
function grants(parts: readonly CompiledPart[], chains: Chains, direction: Direction): Warning[] {
  const name = CHAINS[direction];
  const end = endOf(direction, chains);
  if (end.kind === "close") return wideGrants(chains, direction);
  const closing = `end with "add rule inet authnft ${name} ${direction === "in" ? "drop" : "reject"}"`;
  if (end.kind === "accept") {
    return [
      {
        place: end.rule.place,
        message: `what no rule before this one of ${name} decides is accepted: ${WHOM[direction]}`,
        advice: `say for whom it is; ${closing}`,
        shared: false,
      },
    ];
  }
  const rules = chains.get(direction) ?? [];
  const last = rules.at(-1) ?? parts.findLast(({ kind }) => kind === "rule");
  if (last === undefined) return [];
  const message =
    rules.length === 0
      ? `there is no rule of ${name}: ${WHOM[direction]}`
      : `behind this last rule of ${name}, what none has decided is accepted: ${WHOM[direction]}`;
  return [{ place: last.place, message, advice: closing, shared: false }];
}

/** The first rule of a closed direction that accepts whatever the peer and the port. */
function wideGrants(chains: Chains, direction: Direction): Warning[] {
  const seen = new Set<string>();
  const waiting: string[] = [direction];
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (seen.has(name)) continue;
    seen.add(name);
    for (const { tokens, place } of chains.get(name) ?? []) {
      const reader = new Reader(tokens);
      while (takeMark(reader) || takeRemark(reader) || takeWide(reader));
      const verdict = reader.takeOne("accept", "return", "goto", "jump", "drop", "reject");
      if (verdict === "goto" || verdict === "jump") waiting.push(reader.next());
      takeComment(reader);
      const accepts = verdict === "accept" || (verdict === "return" && name === direction);
      if (accepts && reader.done) {
        return [
          {
            place,
            message: `this rule accepts whatever the peer and the port: ${WHOM[direction]}`,
            advice: "say for whom it is, by addresses or by ports",
            shared: false,
          },
        ];
      }
      if (verdict !== undefined && verdict !== "jump" && unconditional(tokens) !== undefined) break;
    }
  }
  return [];
}

/** Takes a condition that holds for most packets there are. */
function takeWide(reader: Reader): boolean {
  const taken = reader.attempt(() => {
    const family = reader.takeOne("ip", "ip6");
    if (family === undefined || reader.takeOne("saddr", "daddr") === undefined) return undefined;
    takeEquals(reader);
    return reader.take(family === "ip" ? "0.0.0.0" : "::", "/", "0") || undefined;
  });
  return (
    taken ??
    reader.attempt(() => {
      const field = WIDE.find(({ words }) => reader.take(...words));
      if (field === undefined) return undefined;
      takeEquals(reader);
      const values = takeList(reader);
      return values.some((text) => field.values.includes(text)) || undefined;
    }) ??
    false
  );
}

const PROTOCOLS = ["tcp", "udp", "6", "17"];
const WIDE: readonly { readonly words: readonly string[]; readonly values: readonly string[] }[] = [
  { words: ["meta", "l4proto"], values: PROTOCOLS },
  { words: ["ip", "protocol"], values: PROTOCOLS },
  { words: ["ip6", "nexthdr"], values: PROTOCOLS },
  { words: ["meta", "nfproto"], values: ["ipv4", "ipv6"] },
  { words: ["meta", "protocol"], values: ["ip", "ip6"] },
  { words: ["ct", "state"], values: ["new"] },
];

function takeEquals(reader: Reader): void {
  if (!reader.take("eq")) reader.take("=", "=");
}

/** Takes values, in braces or not. */
function takeList(reader: Reader): string[] {
  const values: string[] = [];
  const braces = reader.take("{");
  do {
    const text = reader.peek()?.text;
    if (text === undefined || !reader.takeValue()) break; // a comma may stand before the end
    values.push(text);
  } while (reader.take(","));
  return !braces || reader.take("}") ? values : [];
}

/** The first rule that accepts what a chain of the host's then drops for want of a mark. */
function unmarked(parts: readonly CompiledPart[], direction: Direction, { drops }: Host): Warning[] {
  const chain = drops[direction];
  const found = chain === undefined ? undefined : unmarkedIn(direction, false, parts, new Set());
  if (chain === undefined || found === undefined) return [];
  return [
    {
      place: found.place,
      message: `what is accepted here is dropped nevertheless, unless ${chain} of this host lets it pass: that drops by default`,
      advice:
        'write "meta mark set meta mark or 0x00100000 accept", and a rule for that mark there; see "A host firewall that drops by default" in the README',
      shared: false,
    },
  ];
}

/** The first part that accepts without a mark, of a chain or a map, and of what it leads to. */
function unmarkedIn(
  name: string,
  alreadyMarked: boolean,
  parts: readonly CompiledPart[],
  seen: Set<string>,
): CompiledPart | undefined {
  const key = `${name} ${alreadyMarked}`;
  if (seen.has(key)) return undefined;
  seen.add(key);
  let marked = alreadyMarked;
  for (const part of parts) {
    const isOf = part.kind === "rule" ? part.chain === name : part.kind !== "chain" && part.name === name;
    if (!isOf) continue;
    const { tokens } = part;
    const marks =
      marked || tokens.some(({ text }, index) => text === "set" && tokens[index - 1]?.text === "mark");
    if (!marks && tokens.some(({ kind, text }) => kind === "word" && text === "accept")) return part;
    for (const next of namesIn(part)) {
      const found = unmarkedIn(next, marks, parts, seen);
      if (found !== undefined) return found;
    }
    // A rule that marks every packet and goes on marks what those behind it accept.
    if (part.kind === "rule" && marksAll(tokens)) marked = true;
  }
  return undefined;
}

/** Whether a rule does nothing but to mark every packet, and to tell. */
function marksAll(tokens: readonly Token[]): boolean {
  const reader = new Reader(tokens);
  while (takeMark(reader) || takeRemark(reader));
  takeComment(reader);
  return reader.done && tokens.some(({ text }) => text === "set");
}
