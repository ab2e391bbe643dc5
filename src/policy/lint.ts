// SPDX-License-Identifier: GPL-2.0-or-later

// Rules that are allowed and yet probably unintended: "authnft check" reports them, a login does not care.

import type { CompiledPart, CompiledRule, Policy } from "./compile.ts";
import type { Dialect, Direction } from "./dialect.ts";
import {
  elementsIn,
  endingOf,
  goesOn,
  namesIn,
  type Statement,
  unconditional,
  wordsOf,
} from "./statement.ts";
import type { Place } from "./tokenise.ts";

/** Something that is probably unintended. */
export type Warning = {
  readonly place: Place;
  readonly message: string;
  readonly advice: string;
  /** Whether it does not matter where another fragment that includes the same file makes use of the line. */
  readonly shared?: boolean;
};

/** Facts about the host. */
export type Host = {
  /** The host's own chains that drop by default, in words, by the direction that they judge. */
  readonly drops: { readonly in: string | undefined; readonly out: string | undefined };
};

const CHAINS = { in: "filter", out: "egress" } as const;

/**
 * Looks through a policy that was compiled without complaint.
 *
 * @param host What is known of the host.
 * @param dialect The words for the subject and its table.
 * @returns What is probably unintended, by file and line.
 */
export function lint(
  { parts, own }: Pick<Policy, "parts" | "own">,
  host: Host,
  dialect: Pick<Dialect, "noun" | "table">,
): Warning[] {
  const chains = Map.groupBy(
    parts.filter((part) => part.kind === "rule"),
    ({ chain }) => chain,
  );
  return [
    ...deadRules(chains),
    ...unreachedChains(parts, dialect),
    ...unusedObjects(parts, own),
    ...(["out", "in"] as const).flatMap((direction) => [
      ...grants(parts, chains, { direction, ...dialect }),
      ...unmarked(parts, direction, host),
    ]),
  ].sort(byPlace);
}

function byPlace(one: Warning, other: Warning): number {
  if (one.place.file !== other.place.file) return 0;
  return one.place.line - other.place.line || one.place.column - other.place.column;
}

type Chains = ReadonlyMap<string, readonly CompiledRule[]>;

/** A chain's default outcome: for a packet that meets none of its conditions; `falls` if that comes to its end. */
type End =
  | { readonly kind: "accept" | "close"; readonly rule: CompiledRule; readonly index: number }
  | { readonly kind: "falls"; readonly index?: number; readonly rule?: CompiledRule };

function endOf(chain: string, chains: Chains, above: readonly string[] = []): End {
  // nftables refuses a circle of jumps; it is not for us to follow it.
  if (above.includes(chain)) return { kind: "falls" };
  for (const [index, rule] of (chains.get(chain) ?? []).entries()) {
    const verdict = unconditional(rule.statements);
    switch (verdict?.kind) {
      case "accept":
        return { kind: "accept", rule, index };
      case "drop":
      case "reject":
        return { kind: "close", rule, index };
      case "return":
        // In the subject's own two chains nobody called: there "return" accepts.
        return { kind: above.length === 0 ? "accept" : "falls", rule, index };
      case "jump":
      case "goto": {
        const end = endOf(verdict.chain, chains, [...above, chain]);
        if (end.kind !== "falls") return { ...end, index };
        // The end of a chain that was gone to leads out of the subject's own, to where the packet is closed.
        if (verdict.kind === "goto") return { kind: above.length === 0 ? "close" : "falls", rule, index };
      }
    }
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
      },
    ];
  });
}

/** The names that a part speaks of: chains that it leads to, sets that it looks into, counters and the like. */
const namesOf = ({ terms }: CompiledPart): string[] => namesIn(terms, "chain", "object", "set");

/** The fragment's own chains that no packet ever comes to. */
function unreachedChains(parts: readonly CompiledPart[], { table }: Pick<Dialect, "table">): Warning[] {
  const reached = new Set<string>();
  const waiting: string[] = Object.keys(CHAINS);
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (reached.has(name)) continue;
    reached.add(name);
    for (const part of parts) {
      // A map leads where its elements do.
      const inside = part.kind === "rule" ? part.chain === name : part.name === name;
      if (inside) for (const next of namesOf(part)) waiting.push(next);
    }
  }
  return parts.flatMap((part) => {
    if (part.kind !== "chain" || reached.has(part.name)) return [];
    return [
      {
        place: part.place,
        message: `no rule leads to chain "${part.name}", so none of its rules can ever act`,
        advice: `add one that does, such as "add rule ${table} egress jump ${part.name}", or take the chain out`,
        shared: true,
      },
    ];
  });
}

/** The fragment's own objects that no rule uses. */
function unusedObjects(parts: readonly CompiledPart[], own: Policy["own"]): Warning[] {
  const used = new Set(parts.flatMap((part) => (part.kind === "rule" ? namesOf(part) : [])));
  return parts.flatMap((part) => {
    if (part.kind === "rule" || part.kind === "chain" || part.kind === "element") return [];
    if (used.has(part.name) || own.get(part.name) !== part.kind) return [];
    const use = part.kind === "set" || part.kind === "map" ? "@" : `${part.kind} name `;
    return [
      {
        place: part.place,
        message: `no rule uses ${part.kind} "${part.name}"`,
        advice: `name it in a rule, with "${use}${part.name}", or take it out`,
        shared: true,
      },
    ];
  });
}

/** A direction, and the words for what is judged there. */
type Judged = Pick<Dialect, "noun" | "table"> & { readonly direction: Direction };

function whom({ direction, noun }: Judged): string {
  return direction === "in"
    ? `everybody may connect to what the ${noun} offers`
    : `the ${noun} may connect to everything`;
}

/** Warns about what is open to everybody, by a rule or for lack of one. */
function grants(parts: readonly CompiledPart[], chains: Chains, judged: Judged): Warning[] {
  const { direction, table } = judged;
  const name = CHAINS[direction];
  const end = endOf(direction, chains);
  if (end.kind === "close") return wideGrants(chains, judged);
  const closing = `end with "add rule ${table} ${name} ${direction === "in" ? "drop" : "reject"}"`;
  if (end.kind === "accept") {
    return [
      {
        place: end.rule.place,
        message: `what no rule before this one of ${name} decides is accepted: ${whom(judged)}`,
        advice: `say for whom it is; ${closing}`,
      },
    ];
  }
  const rules = chains.get(direction) ?? [];
  const last = rules.at(-1) ?? parts.findLast(({ kind }) => kind === "rule");
  if (last === undefined) return [];
  const message =
    rules.length === 0
      ? `there is no rule of ${name}: ${whom(judged)}`
      : `behind this last rule of ${name}, what none has decided is accepted: ${whom(judged)}`;
  return [{ place: last.place, message, advice: closing }];
}

/** The first rule of a closed direction that accepts whatever the peer and the port. */
function wideGrants(chains: Chains, judged: Judged): Warning[] {
  const { direction } = judged;
  const seen = new Set<string>();
  const waiting: string[] = [direction];
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (seen.has(name)) continue;
    seen.add(name);
    for (const { statements, place } of chains.get(name) ?? []) {
      const { before, verdict } = endingOf(statements);
      const isWide = before.every((statement) => goesOn(statement) || holdsForMost(statement));
      if (isWide && (verdict?.kind === "goto" || verdict?.kind === "jump")) waiting.push(verdict.chain);
      if (isWide && (verdict?.kind === "accept" || (verdict?.kind === "return" && name === direction))) {
        return [
          {
            place,
            message: `this rule accepts whatever the peer and the port: ${whom(judged)}`,
            advice: "say for whom it is, by addresses or by ports",
          },
        ];
      }
      const ending = unconditional(statements);
      if (ending !== undefined && ending.kind !== "jump") break;
    }
  }
  return [];
}

const PROTOCOLS = ["tcp", "udp", "6", "17"];

/** Values that most packets have, by the field that is compared to them. */
const WIDE: Readonly<Record<string, readonly string[] | undefined>> = {
  "meta l4proto": PROTOCOLS,
  "ip protocol": PROTOCOLS,
  "ip6 nexthdr": PROTOCOLS,
  "meta nfproto": ["ipv4", "ipv6"],
  "meta protocol": ["ip", "ip6"],
  "ct state": ["new"],
};

/** Tells whether a statement is a condition that most packets meet. */
function holdsForMost(statement: Statement): boolean {
  if (statement.kind !== "match" || !["", "==", "eq"].includes(statement.operator)) return false;
  const { values } = statement;
  if (values === undefined || values.kind === "named") return false;
  const field = wordsOf(statement.key.terms);
  if (/^ip6? [sd]addr$/.test(field) && values.kind === "plain")
    return wordsOf(values.expression.terms) === (field.startsWith("ip6") ? ":: / 0" : "0.0.0.0 / 0");
  const listed = values.kind === "listed" ? values.elements : elementsIn(values.expression.terms);
  const isSimple = listed.every((element) => element.flat().length < 2);
  return isSimple && listed.some((element) => WIDE[field]?.includes(wordsOf(element.flat())));
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
        'write "meta mark set meta mark or 0x00100000 accept", and a rule for that mark there; see "A host firewall that drops by default" in docs/host-firewalls.md',
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
    const statements = part.kind === "rule" ? part.statements : [];
    const marks = marked || statements.some(setsMark);
    if (!marks && part.terms.some(({ refers, text }) => refers?.kind === "accept" && text === "accept"))
      return part;
    for (const next of namesOf(part)) {
      const found = unmarkedIn(next, marks, parts, seen);
      if (found !== undefined) return found;
    }
    // A rule that marks every packet and goes on marks what those behind it accept.
    const { before, verdict } = endingOf(statements);
    if (verdict === undefined && before.every(goesOn) && before.some(setsMark)) marked = true;
  }
  return undefined;
}

function setsMark(statement: Statement): boolean {
  return statement.kind === "assignment" && statement.to.endsWith("mark");
}
