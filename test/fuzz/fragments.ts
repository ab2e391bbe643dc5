// SPDX-License-Identifier: GPL-2.0-or-later

// Fragments by chance that are mostly accepted, for the kernel to load: what administrators write, mixed and a little broken.

import fc from "fast-check";
import { type Address, addressElement } from "../../src/address.ts";
import { compileFragment } from "../../src/policy/compile.ts";
import { readFragment } from "../../src/policy/read.ts";
import { Refusal } from "../../src/refusal.ts";
import { subjectRemoval } from "../../src/ruleset/removal.ts";
import {
  addSubject,
  type OwnObject,
  ownObjectsIn,
  type Part,
  type Ruled,
  replaceSubject,
  subjectElements,
} from "../../src/ruleset/subject.ts";
import { TABLE } from "../../src/ruleset/table.ts";
import { forSession } from "../../src/subjects/session/dialect.ts";
import type { SubjectId } from "../../src/subjects/subject.ts";
import { REALISTIC } from "../unit/policy/realistic.ts";
import { misspelt } from "./inputs.ts";

/** Objects of a fragment's own, and rules that use them. */
export const OBJECTS: readonly string[] = [
  "add counter inet authnft hits",
  "add counter inet authnft hits2 { packets 5 bytes 7 }",
  "add quota inet authnft budget { over 5 mbytes }",
  "add limit inet authnft slow { rate over 10/second burst 5 packets }",
  "add chain inet authnft web",
  "add chain inet authnft in2",
  "add set inet authnft there { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2 } }",
  "add set inet authnft nets { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.0.2.0/24 } }",
  "add set inet authnft seen { type ipv4_addr; flags dynamic; size 16; timeout 1h; }",
  "add set inet authnft both { type ipv4_addr . inet_service\n elements = { 192.0.2.1 . 80,\n 192.0.2.1 . 443 }\n}",
  "add set inet authnft six { type ipv6_addr; elements = { 2001:db8::1 } }",
  "add set inet authnft named { typeof ip daddr . tcp dport; }",
  "add set inet authnft triple { type ipv4_addr . inet_proto . inet_service; elements = { 192.0.2.1 . tcp . ssh } }",
  "add map inet authnft flows { typeof ip daddr : ct mark; elements = { 192.0.2.1 : 7 } }",
  "add map inet authnft where { type inet_service : verdict; elements = { 80 : jump web, 443 : accept, 22 : drop } }",
  "add map inet authnft marks { type ipv4_addr : mark; elements = { 192.0.2.1 : 0x1 } }",
  "add element inet authnft there { 192.0.2.9, $user_ip }",
  "add element inet authnft where { 8080 : goto web }",
  "add rule inet authnft web ip daddr 192.0.2.1 return",
  "add rule inet authnft web drop",
  "add rule inet authnft in2 accept",
  "add rule inet authnft filter jump in2",
  "add rule inet authnft egress counter name hits",
  'add rule inet authnft egress quota name "budget" drop',
  "add rule inet authnft egress limit name slow drop",
  "add rule inet authnft egress tcp dport vmap @where",
  "add rule inet authnft egress meta mark set ip daddr map @marks",
  "add rule inet authnft egress ip daddr @there accept",
  "add rule inet authnft egress ip daddr @nets ip6 daddr @six drop",
  "add rule inet authnft egress ip daddr . tcp dport @both accept",
  "add rule inet authnft egress update @seen { ip daddr timeout 10m }",
  "add rule inet authnft egress add @seen { ip daddr limit rate 5/second }",
  "add rule inet authnft egress update @seen { ip daddr counter }",
];

/** What somebody would try who wants out; hardly any of it should be accepted. */
const HOSTILE: readonly string[] = [
  "add rule inet authnft egress jump members_in",
  "add rule inet authnft egress goto session_bob_77_judged",
  "add rule inet authnft egress ip daddr @session_bob_77_own accept",
  "add element inet authnft session_in { 1 : accept }",
  "add element inet authnft covered_slices { 1 }",
  "add set inet authnft session_map_cg { type ipv4_addr; }",
  "add chain inet authnft filter",
  "add map inet authnft out { type mark : verdict; }",
  "add counter inet other x",
  "add rule inet authnft egress update @session_map_ipv4 { socket cgroupv2 level 2 . ip saddr }",
  "add rule inet authnft egress counter name session_bob_77_hits",
  "add rule inet authnft egress ct label set 5",
  "add rule inet authnft egress socket cgroupv2 level 2 vmap @session_out",
  "add rule inet authnft egress ip daddr set 10.0.0.1",
  "add rule inet authnft egress notrack",
  "add rule inet authnft egress ct zone set 5",
  "add rule inet authnft egress queue num 3",
  "add set inet authnft session_map_ipv4 { type ipv4_addr; elements = { 192.0.2.1 } }",
  'include "/etc/passwd"',
  "flush ruleset",
];

/** A fragment that was accepted, what is in the file that it may include, and the commands of its session's life. */
export type Accepted = { readonly input: string; readonly included: string } & Life;

/** The commands that a login, a reload and a session's end would run. */
export type Life = {
  readonly add: readonly string[];
  readonly replace: readonly string[];
  readonly remove: readonly string[];
};

/** What the kernel gets to see: where the session is, what its objects are called after, and whose it is. */
export type Session = {
  readonly name: string;
  readonly path: string;
  readonly id: bigint;
  readonly addresses: readonly Address[];
  readonly comment: string;
};

/** The commands for a session with these parts. */
export function lifeOf({ name, path, id, addresses, comment }: Session, parts: readonly Part[]): Life {
  const subject = {
    id: name as SubjectId,
    cgroup: { path, id },
    addresses,
    comment,
    policy: { generation: 0 },
  };
  const add = addSubject(subject, parts).lines;
  const own = ownObjectsIn(add, name);
  return { add, replace: replaceSubject(subject, parts, own).lines, remove: removal(subject, own) };
}

/** What a session's end does by keys, in commands. */
function removal(subject: Ruled, own: readonly OwnObject[]): string[] {
  const elements = subjectElements(subject).map((line) => line.replace(/^add /, "delete "));
  const nothing = { element: () => undefined, elements: () => [], hasChain: () => true };
  const { changes } = subjectRemoval(subject.id, undefined, nothing, own);
  return [
    // An element goes by its key.
    ...elements.map((line) => line.replace(/ comment "[^"]*"( : jump \S+)?/, "")),
    ...changes.flatMap((change) => {
      if ("flush" in change) return [`flush chain ${TABLE} ${change.flush}`];
      return "kind" in change ? [`delete ${change.kind} ${TABLE} ${change.name}`] : [];
    }),
  ];
}

/** Makes fragments until so many were accepted; the same ones for the same seed. */
export function acceptedFragments(seed: number, count: number, session: Session): Accepted[] {
  const accepted: Accepted[] = [];
  const path = "/etc/authnft/users/alice";
  // With each of its addresses, and with none.
  const address = fc.constantFrom(undefined, ...session.addresses);
  const files = fc.oneof(
    { weight: 2, arbitrary: MOSTLY_ACCEPTED.map((whole) => [whole, ""] as const) },
    APART,
  );
  // Bounded: of those made for nothing else, more than a third is accepted.
  for (const [[input, included], from] of fc.sample(fc.tuple(files, address), {
    seed,
    numRuns: count * 10,
  })) {
    if (accepted.length === count) break;
    try {
      const { parts } = compileFragment(
        readFragment(path, (file) => Buffer.from(file === path ? input : included)),
        {
          path,
          prefix: session.name,
          level: 2,
          ...forSession({ id: 1000, name: "alice", address: from && addressElement(from) }),
        },
      );
      const life = lifeOf({ ...session, addresses: from === undefined ? [] : [from] }, parts);
      accepted.push({ input, included, ...life });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
    }
  }
  if (accepted.length < count) throw new Error(`Cannot find ${count} fragments that are accepted.`);
  return accepted;
}

/** A line of a fragment; once in 25 times one that somebody would try who wants out. */
const LINE = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...REALISTIC).map(([rule]) => `add rule inet authnft ${rule}`) },
  { weight: 16, arbitrary: fc.constantFrom(...OBJECTS) },
  fc.constantFrom(...HOSTILE),
);

/** What is used is mostly there, in whatever order. */
const DECLARED = OBJECTS.filter((line) => /^add (chain|set|map|counter|quota|limit)/.test(line));

const WELL_SPELT = fc
  .tuple(fc.array(LINE, { minLength: 1, maxLength: 8 }), fc.constantFrom([], DECLARED))
  .map(([lines, declared]) => [...new Set([...lines, ...declared])].join("\n"));

/** Fragments of what administrators write, mixed and a little broken. */
export const MOSTLY_ACCEPTED: fc.Arbitrary<string> = fc.oneof(
  { weight: 2, arbitrary: WELL_SPELT },
  misspelt(WELL_SPELT),
);

/** The same, with some of the lines in a file that the rest includes. */
const APART = fc
  .tuple(MOSTLY_ACCEPTED, fc.noBias(fc.nat(0xffff)), fc.integer({ min: 1, max: 3 }))
  .map(([whole, at, count]) => {
    const lines = whole.split("\n");
    const included = lines.splice(at % lines.length, count, 'include "/etc/authnft/groups/dev"');
    return [lines.join("\n"), included.join("\n")] as const;
  });
