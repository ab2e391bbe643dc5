// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { compileFragment } from "../../../src/policy/compile.ts";
import { type Host, lint } from "../../../src/policy/lint.ts";
import { parseFragment } from "../../../src/policy/parse.ts";
import { readFragment } from "../../../src/policy/read.ts";
import { unconditional } from "../../../src/policy/statement.ts";
import { forSession, SESSION_DIALECT } from "../../../src/subjects/session/dialect.ts";

const QUIET: Host = { drops: { in: undefined, out: undefined } };

/** What is said of a fragment whose two chains are closed at the end; rules without "inet authnft", to be short. */
function warnings(text: string, { host = QUIET, closed = true } = {}): string[] {
  const commands = `${text}\n${closed ? "add rule egress reject\nadd rule filter drop\n" : ""}`;
  const fragment = readFragment("f", () =>
    Buffer.from(commands.replace(/^add (\w+) /gm, "add $1 inet authnft ")),
  );
  const subject = { id: 1, name: "alice", address: undefined };
  const policy = compileFragment(fragment, { path: "f", prefix: "p", level: 2, ...forSession(subject) });
  return lint(policy, host, SESSION_DIALECT).map(({ place, message }) => `${place.line} ${message}`);
}

describe("rules without a condition", () => {
  /** The verdict that a rule has for every packet. */
  function verdictOf(rule: string): string | undefined {
    const objects = ["add chain", "add counter", "add quota"].map(
      (add, index) => `${add} inet authnft ${["web", "hits", "q"][index]}\n`,
    );
    const text = `${objects.join("")}add rule inet authnft egress ${rule}`;
    const { commands } = parseFragment(
      readFragment("f", () => Buffer.from(text)),
      SESSION_DIALECT,
    );
    const [parsed] = commands.filter(({ kind }) => kind === "rule");
    return parsed?.kind === "rule" ? unconditional(parsed.statements)?.kind : undefined;
  }

  test.each([
    ["accept", "accept"],
    ["counter accept", "accept"],
    ['counter name hits log prefix "x" level info drop comment "done"', "drop"],
    ["meta mark set meta mark or 0x00100000 accept", "accept"],
    ["mark set 1 drop", "drop"],
    ["last drop", "drop"],
    ["log prefix $user_name drop", "drop"],
    ["meta mark set $user_id accept", "accept"],
    ["ct mark set 5 counter packets 0 bytes 0 accept", "accept"],
    ["reject", "reject"],
    ["reject with icmpx type admin-prohibited", "reject"],
    ["reject with icmpx admin-prohibited", "reject"],
    ["return", "return"],
    ["goto web", "goto"],
    ["jump web", "jump"],
  ])("%s", (rule, verdict) => {
    expect(verdictOf(rule)).toBe(verdict);
  });

  test.each([
    "tcp dport 22 accept",
    "reject with tcp reset",
    "reject with icmp host-unreachable",
    "limit rate 10/second accept",
    "quota name q drop",
    "ip saddr 10.0.0.1 drop",
    "counter",
    "tcp dport vmap { 22 : accept }",
    "meta mark 5 accept",
    "meta mark set tcp dport map { 22 : 1 } accept",
    "meta mark set ip dscp accept",
    "meta mark set mark map { 1 : 2 } accept",
    "continue",
  ])("but not %s", (rule) => {
    expect(verdictOf(rule)).toBeUndefined();
  });
});

test("what is closed and used is not spoken of", () => {
  expect(
    warnings(`add set allowed { type ipv4_addr; elements = { 192.0.2.1 } }
add counter hits
add quota budget { over 5 mbytes }
add chain web
add chain deep
add map where { type inet_service : verdict; elements = { 80 : jump web } }
add rule egress counter name hits
add rule egress quota name "budget" drop
add rule egress ip daddr @allowed accept
add rule egress tcp dport vmap @where
add rule web tcp dport 81 goto deep
add rule web return
add rule deep drop`),
  ).toEqual([]);
});

describe("rules that can never act", () => {
  test("behind a verdict for all", () => {
    expect(
      warnings(
        "add rule egress drop\nadd rule egress tcp dport 1 accept\nadd rule filter tcp dport 1 accept",
      ),
    ).toEqual(["2 this rule and the one behind it can never act: every packet ends at line 1"]);
  });

  test("behind a jump to a chain that lets none return", () => {
    expect(
      warnings(
        "add chain web\nadd rule web counter drop\nadd rule egress jump web\nadd rule egress tcp dport 1 accept",
      ),
    ).toEqual(["4 this rule and the one behind it can never act: every packet ends at line 3"]);
  });

  test("but not behind a jump to one that does", () => {
    expect(warnings("add chain web\nadd rule web tcp dport 80 drop\nadd rule egress jump web")).toEqual([]);
    expect(warnings("add chain web\nadd rule web return\nadd rule egress jump web")).toEqual([]);
  });

  test("in a chain of the fragment's own, be it called or not", () => {
    expect(
      warnings("add chain web\nadd rule web drop\nadd rule web accept\nadd rule egress tcp dport 1 jump web"),
    ).toEqual(["3 this rule can never act: every packet ends at line 2"]);
  });
});

describe("what is of no use", () => {
  test("a chain that nothing leads to, not even through another such", () => {
    expect(
      warnings(
        "add chain a\nadd chain b\nadd rule a jump b\nadd rule b drop\nadd map m { type inet_service : verdict; elements = { 1 : jump b } }",
      ),
    ).toEqual([
      '1 no rule leads to chain "a", so none of its rules can ever act',
      '2 no rule leads to chain "b", so none of its rules can ever act',
      '5 no rule uses map "m"',
    ]);
  });

  test("a circle, which nftables refuses, is followed once", () => {
    expect(
      warnings("add chain a\nadd chain b\nadd rule a jump b\nadd rule b jump a\nadd rule egress jump a"),
    ).toEqual([]);
  });

  test.each([
    ["set", "{ type ipv4_addr; }"],
    ["counter", ""],
    ["quota", "{ over 1 mbytes }"],
    ["limit", "{ rate 1/second }"],
  ])("a %s that no rule names", (kind, definition) => {
    expect(warnings(`add ${kind} it ${definition}`)).toEqual([`1 no rule uses ${kind} "it"`]);
  });

  test("elements alone are no use", () => {
    expect(warnings("add set s { type ipv4_addr; }\nadd element s { 192.0.2.1 }")).toEqual([
      '1 no rule uses set "s"',
    ]);
  });
});

describe("grants to everybody", () => {
  test.each([
    [
      "add rule egress counter accept\nadd rule filter drop",
      ["1 what no rule before this one of egress decides is accepted: the session may connect to everything"],
    ],
    [
      "add rule egress reject\nadd rule filter return",
      [
        "2 what no rule before this one of filter decides is accepted: everybody may connect to what the session offers",
      ],
    ],
    [
      "add rule egress tcp dport 22 drop\nadd rule filter drop",
      [
        "1 behind this last rule of egress, what none has decided is accepted: the session may connect to everything",
      ],
    ],
    [
      "add rule egress reject",
      ["1 there is no rule of filter: everybody may connect to what the session offers"],
    ],
    ["add chain c\nadd rule c reject\nadd rule egress goto c\nadd rule filter drop", []],
    ["add chain c\nadd rule c return\nadd rule egress goto c\nadd rule filter drop", []],
    [
      "add chain c\nadd chain d\nadd rule d return\nadd rule c goto d\nadd rule egress jump c\nadd rule filter drop",
      [
        "5 behind this last rule of egress, what none has decided is accepted: the session may connect to everything",
      ],
    ],
  ])("%j", (text, expected) => {
    expect(warnings(text, { closed: false })).toEqual(expected);
  });
});

describe("rules that accept whatever the peer", () => {
  const everything =
    "this rule accepts whatever the peer and the port: the session may connect to everything";

  test.each([
    "ip daddr 0.0.0.0/0 accept",
    "ip daddr == 0.0.0.0/0 counter accept",
    "ip6 daddr ::/0 accept",
    "ip saddr 0.0.0.0/0 ip daddr 0.0.0.0/0 accept",
    "meta l4proto { tcp, udp } accept",
    "meta l4proto tcp accept",
    "ip protocol { udp, icmp, } accept",
    "ip6 nexthdr 6 accept",
    "meta nfproto ipv4 accept",
    "meta nfproto { ipv4, ipv6 } meta l4proto tcp log accept",
    "ct state new accept",
    "ct state { new, established } accept",
    "ct state new,established return",
    "meta mark set 5 meta l4proto tcp accept",
  ])("%s", (rule) => {
    expect(warnings(`add rule egress ${rule}`)).toEqual([`1 ${everything}`]);
  });

  test.each([
    "ip daddr 10.0.0.0/8 accept",
    "ip daddr != 0.0.0.0/0 accept",
    "meta l4proto != { tcp, udp } accept",
    "meta l4proto { icmp, icmpv6 } accept",
    "meta l4proto { tcp, udp } th dport 53 accept",
    "meta nfproto ipv4 ip daddr 10.0.0.1 accept",
    "ct state established,related accept",
    "meta l4proto { tcp, udp } drop",
    "meta l4proto tcp limit rate 5/second accept",
  ])("but not %s", (rule) => {
    expect(warnings(`add rule egress ${rule}`)).toEqual([]);
  });

  test("once a direction, of those that arrive as well, and in chains that are reached like that", () => {
    expect(
      warnings(`add chain web
add rule web ip daddr 10.0.0.1 accept
add rule web meta l4proto udp accept
add rule egress meta l4proto tcp jump web
add rule egress meta l4proto udp accept
add rule filter ip saddr 0.0.0.0/0 accept`),
    ).toEqual([
      "5 this rule accepts whatever the peer and the port: the session may connect to everything",
      "6 this rule accepts whatever the peer and the port: everybody may connect to what the session offers",
    ]);
    expect(
      warnings("add chain web\nadd rule web meta l4proto udp accept\nadd rule egress ct state new jump web"),
    ).toEqual([`2 ${everything}`]);
    // Where only some packets come is no grant to everybody.
    expect(
      warnings(
        "add chain web\nadd rule web meta l4proto udp accept\nadd rule egress ip daddr 10.0.0.1 jump web",
      ),
    ).toEqual([]);
    // What is closed before is closed.
    expect(warnings("add rule egress drop\nadd rule egress meta l4proto udp accept")).toEqual([
      "2 this rule and the one behind it can never act: every packet ends at line 1",
    ]);
  });
});

describe("an accept that a host's chain drops", () => {
  const host: Host = { drops: { in: undefined, out: "chain output of table inet filter" } };
  const lines = (text: string) =>
    warnings(text, { host }).map((warning) => warning.replace(/ what is .*/, ""));

  test.each<[string, string, string[]]>([
    [
      "in a chain that is jumped to",
      "add chain web\nadd rule web tcp dport 80 accept\nadd rule egress ip daddr 10.0.0.1 jump web",
      ["2"],
    ],
    [
      "behind two jumps",
      "add chain a\nadd chain b\nadd rule b tcp dport 80 accept\nadd rule a goto b\nadd rule egress jump a",
      ["3"],
    ],
    ["in a verdict map", "add rule egress tcp dport vmap { 22 : accept }", ["1"]],
    [
      "in a map of the fragment's own",
      "add map m { type inet_service : verdict; elements = { 22 : accept } }\nadd rule egress tcp dport vmap @m",
      ["1"],
    ],
    [
      "in a chain that such a map leads to",
      "add chain web\nadd rule web ip daddr 10.0.0.1 accept\nadd map m { type inet_service : verdict; elements = { 22 : jump web } }\nadd rule egress tcp dport vmap @m",
      ["2"],
    ],
    [
      "by one way with a mark and by another without",
      "add chain web\nadd rule web tcp dport 80 accept\nadd rule egress ip daddr 10.0.0.1 meta mark set 1 jump web\nadd rule egress jump web",
      ["2"],
    ],
    [
      "but not by a jump that sets the mark",
      "add chain web\nadd rule web tcp dport 80 accept\nadd rule egress ip daddr 10.0.0.1 meta mark set 1 jump web",
      [],
    ],
    [
      "but not behind a rule that marks everything",
      "add rule egress meta mark set meta mark or 0x00100000\nadd rule egress tcp dport 80 accept",
      [],
    ],
    [
      "and behind one that marks something",
      "add rule egress udp dport 53 meta mark set 1\nadd rule egress tcp dport 80 accept",
      ["2"],
    ],
    [
      "but not what leads to the other direction only",
      "add chain web\nadd rule web tcp dport 80 accept\nadd rule filter jump web",
      [],
    ],
    [
      "in a circle",
      "add chain a\nadd rule a jump a\nadd rule a tcp dport 1 accept\nadd rule egress jump a",
      ["3"],
    ],
  ])("%s", (_, text, expected) => {
    expect(lines(text)).toEqual(expected);
  });
});

test("an accept that a host's chain then drops, unless it sets a mark", () => {
  const host: Host = { drops: { in: undefined, out: "chain output of table inet filter" } };
  const text = "add rule egress tcp dport 1 meta mark set 1 accept\nadd rule filter tcp dport 1 accept";
  expect(warnings(text, { host })).toEqual([]);
  expect(
    warnings(`${text}\nadd rule egress tcp dport 2 accept\nadd rule egress tcp dport 3 accept`, { host }),
  ).toEqual([
    "3 what is accepted here is dropped nevertheless, unless chain output of table inet filter of this host lets it pass: that drops by default",
  ]);
});
