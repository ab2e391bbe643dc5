// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import {
  BASE_CHAINS,
  type Base,
  baseTable,
  CLOSED,
  closeUserSlice,
  KEYED_SETS,
  leadRoots,
  STAMP,
  TABLE,
  tellRefused,
} from "../../../src/ruleset/table.ts";
import { ROOTS } from "../../../src/subjects/roots.ts";

const SLICES: Base = { roots: ROOTS };
const lines = baseTable(SLICES);

/** The rules of a chain, in order. */
function rulesOf(chain: string): string[] {
  const prefix = `add rule ${TABLE} ${chain} `;
  return lines.filter((line) => line.startsWith(prefix)).map((line) => line.slice(prefix.length));
}

test("every command is of our table, stands on one line and adds, but for what is written anew", () => {
  for (const line of lines) {
    expect(line).toMatch(/^(add (table|set|map|chain|rule|element)|flush chain) inet authnft\b/);
    expect(line).not.toMatch(/[\n\r]/);
  }
});

test("the chains that are hooked accept: what is not a member's is nobody's business here", () => {
  const hooked = lines.filter((line) => line.includes(" hook "));
  expect(hooked).toEqual([
    `add chain ${TABLE} sources { type filter hook output priority -450; policy accept; }`,
    `add chain ${TABLE} filter { type filter hook input priority filter - 1; policy accept; }`,
    `add chain ${TABLE} translated { type filter hook input priority 101; policy accept; }`,
    `add chain ${TABLE} egress { type filter hook output priority filter - 1; policy accept; }`,
  ]);
});

test("whose packet it is, is asked once in each chain that is hooked, and once more below user.slice", () => {
  expect(rulesOf("sources")).toEqual(["meta nfproto ipv6 socket cgroupv2 level 1 vmap @slices_sources"]);
  expect(rulesOf("filter")).toEqual(["socket cgroupv2 level 1 vmap @slices_in", "goto unowned_in"]);
  expect(rulesOf("translated")).toEqual([
    "ct status dnat ct direction reply socket cgroupv2 level 1 vmap @slices_in",
  ]);
  expect(rulesOf("egress")).toEqual([
    "socket cgroupv2 level 1 vmap @slices_out",
    "tcp flags & (syn | ack) == syn | ack ct direction reply ct label 127 goto stamp_out",
  ]);
  expect(rulesOf("users_sources")).toEqual(["socket cgroupv2 level 2 @covered_slices goto members_sources"]);
  for (const direction of ["in", "out"])
    expect(rulesOf(`users_${direction}`)).toEqual([
      `socket cgroupv2 level 2 @covered_slices goto members_${direction}`,
      "accept",
    ]);
});

test("a packet of a member that no session answers for ends here", () => {
  expect(rulesOf("members_in").at(-1)).toBe("drop");
  expect(rulesOf(CLOSED.in)).toEqual(["drop"]);
  // A reset would not reach a socket that is locked to no address.
  expect(rulesOf(CLOSED.out)).toEqual(["reject with icmpx admin-prohibited"]);
  expect(rulesOf("members_out").slice(-3)).toEqual([
    "socket cgroupv2 level 2 @refused goto closed_out",
    "meta l4proto tcp reject with tcp reset",
    "reject with icmpx admin-prohibited",
  ]);
  // Before the default stand the look-ups, the deeper cgroup's first, and only what has no judge passes before those.
  expect(rulesOf("members_out").slice(3, -3)).toEqual([
    "ct direction reply tcp flags & (fin | syn | rst | ack) == syn drop",
    "socket cgroupv2 level 3 vmap @session_out",
    "socket cgroupv2 level 2 vmap @session_out",
  ]);
  expect(rulesOf("members_in").slice(-3, -1)).toEqual([
    "socket cgroupv2 level 3 vmap @session_in",
    "socket cgroupv2 level 2 vmap @session_in",
  ]);
  expect(rulesOf("members_in").slice(0, -3)).toEqual([
    "iif lo tcp flags & rst == rst goto stamp_in",
    "iif lo fib saddr type != local drop",
    "meta l4proto != { tcp, udp } jump errors_in",
    "fib daddr type { broadcast, multicast } accept",
    "ct direction reply tcp flags & (fin | syn | rst | ack) == syn drop",
  ]);
});

test("an error is passed on if it is about a flow that a member's rules let begin, or this host's own", () => {
  expect(rulesOf("errors_in")).toEqual([
    "iif lo ct state related,untracked goto stamp_in",
    "ct state related ct label 126 goto stamp_in",
    "ct state related ct label 127 goto stamp_in",
    "ct state != untracked drop",
  ]);
});

test("what a member sends has an address of the host's own and goes where it says, whoever else would answer it", () => {
  expect(rulesOf("members_sources")).toEqual([
    "exthdr rt exists drop",
    "fib saddr type != local fib saddr . oif type != local drop",
  ]);
  // What over IPv4 only root could do.
  expect(rulesOf("members_out").slice(0, 3)).toEqual([
    "ip option lsrr exists drop",
    "ip option ssrr exists drop",
    "meta nfproto ipv4 fib saddr type != local fib saddr . oif type != local drop",
  ]);
});

test("what is of no member's and never goes is let pass by one look-up", () => {
  const known = baseTable({ ...SLICES, others: ["system.slice"] });
  expect(known).toContain(`add element ${TABLE} slices_in { "system.slice" : accept }`);
  expect(known).toContain(`add element ${TABLE} slices_out { "system.slice" : accept }`);
  expect(lines.filter((line) => line.includes(": accept"))).toEqual([]);
});

test("of packets that are nobody's, answers to members are stamped, and what follows a SYN; a SYN never is", () => {
  expect(rulesOf("unowned_in")).toEqual([
    "meta l4proto != { tcp, udp } ct direction reply ct label 126 goto stamp_in",
    "tcp flags & (syn | ack) != syn ct direction original ct label 127 goto stamp_in",
  ]);
});

test("a stamp is one bit of the mark, which of them is to choose, and the others stay as they are", () => {
  expect(rulesOf(STAMP.in)).toEqual(["meta mark set meta mark or 0x20000000 accept"]);
  expect(rulesOf(STAMP.out)).toEqual(["meta mark set meta mark or 0x10000000 accept"]);
  const moved = baseTable({ ...SLICES, stamps: { in: 0x8000_0000, out: 1 } });
  expect(moved).toContain(`add rule ${TABLE} stamp_in meta mark set meta mark or 0x80000000 accept`);
  expect(moved).toContain(`add rule ${TABLE} stamp_out meta mark set meta mark or 0x00000001 accept`);
});

test("each chain has as many rules as is said of it, and starts from none", () => {
  for (const [chain, count] of Object.entries(BASE_CHAINS)) {
    expect(rulesOf(chain)).toHaveLength(count);
    const flushed = lines.indexOf(`flush chain ${TABLE} ${chain}`);
    expect(flushed).toBeGreaterThan(
      lines.findIndex((line) => line.startsWith(`add chain ${TABLE} ${chain}`)),
    );
    expect(flushed).toBeLessThan(lines.findIndex((line) => line.startsWith(`add rule ${TABLE} ${chain}`)));
  }
  expect(lines.filter((line) => line.startsWith("add rule"))).toHaveLength(
    Object.values(BASE_CHAINS).reduce((sum, count) => sum + count, 0),
  );
});

test("nothing that sessions added is flushed", () => {
  expect(lines.filter((line) => /flush (set|map|table)|delete|destroy/.test(line))).toEqual([]);
});

test("the sets and maps that sessions are in are made, those that all packets of a session meet with a counter for each element", () => {
  for (const set of KEYED_SETS) {
    const made = lines.filter((line) => new RegExp(`^add (set|map) ${TABLE} ${set} `).test(line));
    expect(made).toHaveLength(1);
    expect(made[0]).toContain("typeof socket cgroupv2 level 2");
    expect(made[0]?.includes("counter;")).toBe(set === "session_in" || set === "session_out");
  }
});

test("who was refused is told so where there is a cgroup for them, and without one the base loads all the same", () => {
  expect(tellRefused("authnft.slice/some.mount")).toBe(
    `add element ${TABLE} refused { "authnft.slice/some.mount" }`,
  );
  expect(lines.filter((line) => line.startsWith(`add element ${TABLE} refused`))).toEqual([]);
});

test("a map is made before an element goes in, and the slices are closed before a rule looks for them", () => {
  expect(leadRoots(SLICES)).toEqual([
    `add element ${TABLE} slices_sources { "authnft.slice" : jump members_sources }`,
    `add element ${TABLE} slices_in { "authnft.slice" : jump members_in }`,
    `add element ${TABLE} slices_out { "authnft.slice" : jump members_out }`,
    `add element ${TABLE} slices_sources { "user.slice" : jump users_sources }`,
    `add element ${TABLE} slices_in { "user.slice" : jump users_in }`,
    `add element ${TABLE} slices_out { "user.slice" : jump users_out }`,
  ]);
  for (const line of leadRoots(SLICES)) {
    const at = lines.indexOf(line);
    expect(at).toBeGreaterThan(lines.findIndex((made) => made.includes("add map inet authnft slices_out ")));
    expect(at).toBeLessThan(lines.findIndex((made) => made.startsWith("add rule")));
  }
});

test("a host without user.slice has a table all the same", () => {
  expect(baseTable({ roots: ROOTS.slice(0, 1) }).join()).not.toContain("user.slice");
});

test("a covered slice is one of the set", () => {
  expect(closeUserSlice("user.slice/user-1000.slice")).toBe(
    `add element ${TABLE} covered_slices { "user.slice/user-1000.slice" }`,
  );
});
