// SPDX-License-Identifier: GPL-2.0-or-later

// Fragments by chance that are mostly accepted, for the kernel to load: what administrators write, mixed and a little broken.

import { compileFragment } from "../../src/policy/compile.ts";
import { readFragment } from "../../src/policy/read.ts";
import { Refusal } from "../../src/refusal.ts";
import { addMember } from "../../src/ruleset/members.ts";
import { REALISTIC } from "../unit/policy/realistic.ts";
import { Chance, mutated } from "./chance.ts";

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
  'include "/etc/passwd"',
  "flush ruleset",
];

/** A fragment that was accepted, and the commands that a login would run for it. */
export type Accepted = { readonly input: string; readonly lines: readonly string[] };

/** What the kernel gets to see: where the session is, and what its objects are called after. */
export type Session = { readonly name: string; readonly path: string; readonly id: bigint };

/** Makes fragments until so many were accepted; the same ones for the same seed. */
export function acceptedFragments(seed: number, count: number, session: Session): Accepted[] {
  const accepted: Accepted[] = [];
  for (let at = 0; accepted.length < count; at++) {
    const chance = new Chance(Math.imul(seed + at, 0x9e3779b1));
    const input = mostlyAccepted(chance);
    const path = "/etc/authnft/users/alice";
    try {
      const { parts } = compileFragment(
        readFragment(path, () => Buffer.from(input)),
        {
          path,
          prefix: session.name,
          level: 2,
          subject: { id: 1000, name: "alice", address: { family: "ip", text: "192.0.2.7" } },
        },
      );
      const member = {
        name: session.name,
        cgroupPath: session.path,
        cgroupId: session.id,
        addresses: [],
        comment: "alice",
      };
      accepted.push({ input, lines: addMember({ ...member, parts }).lines });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
    }
  }
  return accepted;
}

/** A fragment of what administrators write, mixed and a little broken. */
export function mostlyAccepted(chance: Chance): string {
  const lines: string[] = [];
  for (let count = 1 + chance.below(8); count > 0; count--) {
    const [rule] = chance.one(REALISTIC);
    const line = chance.one([`add rule inet authnft ${rule}`, chance.one(OBJECTS), chance.one(OBJECTS)]);
    lines.push(chance.below(25) === 0 ? chance.one(HOSTILE) : line);
  }
  // What is used is mostly there, in whatever order.
  if (chance.below(2) === 0)
    lines.push(...OBJECTS.filter((line) => /^add (chain|set|map|counter|quota|limit)/.test(line)));
  const unique = [...new Set(lines)].join("\n");
  return chance.below(3) === 0 ? mutated(unique, chance) : unique;
}
