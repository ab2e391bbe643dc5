// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { addressList, type Prefix } from "../../../src/policy/address_list.ts";
import { compileFragment } from "../../../src/policy/compile.ts";
import { readFragment } from "../../../src/policy/read.ts";
import { Refusal } from "../../../src/refusal.ts";
import { forSession, type SessionSubject } from "../../../src/subjects/session/dialect.ts";
import { REALISTIC } from "./realistic.ts";

const V4: SessionSubject["address"] = { family: "ip", text: "192.0.2.7" };
const V6: SessionSubject["address"] = { family: "ip6", text: "2001:db8::7" };

/** The list of a fragment's rules as texts, each "filter …" or "egress …"; `undefined` when there is none. */
function list(rules: readonly string[]): string[] | undefined {
  return listFor(V4, rules);
}

function listFor(address: SessionSubject["address"], rules: readonly string[]): string[] | undefined {
  const text = rules.map((rule) => `add rule inet authnft ${rule}\n`).join("");
  const path = "/etc/authnft/users/alice";
  const policy = compileFragment(
    readFragment(path, () => Buffer.from(text)),
    { path, prefix: "session_alice_4711", level: 2, ...forSession({ id: 1000, name: "alice", address }) },
  );
  return addressList(policy, address)?.allow.map(show);
}

function show({ family, address, length }: Prefix): string {
  if (family === "ip") return `${address.join(".")}/${length}`;
  const groups = Array.from({ length: 8 }, (_, index) =>
    (((address[index * 2] ?? 0) << 8) | (address[index * 2 + 1] ?? 0)).toString(16),
  );
  return `${groups.join(":")}/${length}`;
}

const CLOSED = ["filter drop", "egress drop"];

describe("there is a list", () => {
  test.each<[string, string[], string[]]>([
    ["for nobody", [], []],
    ["for an address", ["egress ip daddr 10.0.0.1 accept"], ["10.0.0.1/32"]],
    ["for an address that is compared", ["egress ip daddr == 10.0.0.1 accept"], ["10.0.0.1/32"]],
    ["for an address that is compared in words", ["egress ip daddr eq 10.0.0.1 accept"], ["10.0.0.1/32"]],
    ["for return as for accept", ["egress ip daddr 10.0.0.1 return"], ["10.0.0.1/32"]],
    ["for a prefix", ["egress ip daddr 10.0.0.0/8 accept"], ["10.0.0.0/8"]],
    ["for a prefix written with blanks", ["egress ip daddr 10.0.0.0 / 8 accept"], ["10.0.0.0/8"]],
    [
      "for a prefix of an address: its bits do not count",
      ["egress ip daddr 10.9.8.7/12 accept"],
      ["10.0.0.0/12"],
    ],
    [
      // Found by chance in PAM_RHOST: the runtime's URL takes no such address.
      "for an IPv6 address that ends as an IPv4 one",
      ["egress ip6 daddr 1:2:3:4::192.0.2.7 accept"],
      ["1:2:3:4:0:0:c000:207/128"],
    ],
    ["for a prefix of no bit", ["egress ip daddr 1.2.3.4/0 accept"], ["0.0.0.0/0"]],
    [
      "for a list",
      ["egress ip daddr { 192.0.2.1, 10.0.0.0/8, 192.0.2.1 } accept"],
      ["10.0.0.0/8", "192.0.2.1/32"],
    ],
    ["for a list that ends in a comma", ["egress ip daddr {10.0.0.1,} accept"], ["10.0.0.1/32"]],
    [
      "for a list over lines",
      ["egress ip daddr {\n10.0.0.1,\n10.0.0.2\n} accept"],
      ["10.0.0.1/32", "10.0.0.2/32"],
    ],
    ["for IPv6", ["egress ip6 daddr 2001:DB8::1 accept"], ["2001:db8:0:0:0:0:0:1/128"]],
    [
      "for IPv6 in a list",
      ["egress ip6 daddr { ::1, fe80::/10 } accept"],
      ["0:0:0:0:0:0:0:1/128", "fe80:0:0:0:0:0:0:0/10"],
    ],
    [
      "for IPv6 of odd bits",
      ["egress ip6 daddr 2001:ffff:ffff::/33 accept"],
      ["2001:ffff:8000:0:0:0:0:0/33"],
    ],
    ["for IPv6 with an IPv4 end", ["egress ip6 daddr ::ffff:10.0.0.1 accept"], ["0:0:0:0:0:ffff:a00:1/128"]],
    ["for who may come", ["filter ip saddr 10.0.0.1 tcp dport 22 accept"], ["10.0.0.1/32"]],
    [
      "for both directions, in order",
      ["filter ip saddr 10.0.0.9 accept", "egress ip6 daddr ::1 accept", "egress ip daddr 9.0.0.0/8 accept"],
      ["9.0.0.0/8", "10.0.0.9/32", "0:0:0:0:0:0:0:1/128"],
    ],
    [
      "for two lengths of one address",
      ["egress ip daddr { 10.0.0.0/9, 10.0.0.0/8 } accept"],
      ["10.0.0.0/8", "10.0.0.0/9"],
    ],
    ["with a port behind", ["egress ip daddr 10.0.0.1 tcp dport { 80, 443 } accept"], ["10.0.0.1/32"]],
    ["with a port before", ["egress udp dport 53 ip daddr 10.0.0.1 accept"], ["10.0.0.1/32"]],
    [
      "with protocols",
      ["egress meta l4proto { tcp, udp } th dport 53 ip daddr 10.0.0.1 accept"],
      ["10.0.0.1/32"],
    ],
    ["with a state", ["egress ct state new,established ip daddr 10.0.0.1 accept"], ["10.0.0.1/32"]],
    ["with a state that is denied", ["egress ct state != invalid ip daddr 10.0.0.1 accept"], ["10.0.0.1/32"]],
    ["with an interface", ['egress oifname "eth0" ip daddr 10.0.0.1 accept'], ["10.0.0.1/32"]],
    ["with hours", ['egress meta hour "08:00"-"18:00" ip daddr 10.0.0.1 accept'], ["10.0.0.1/32"]],
    ["with a kind of address", ["egress fib daddr type local ip daddr 10.0.0.1 accept"], ["10.0.0.1/32"]],
    ["with the user", ["egress meta skuid $user_id ip daddr 10.0.0.1 accept"], ["10.0.0.1/32"]],
    [
      "with a mark that keeps others",
      ["egress ip daddr 10.0.0.1 meta mark set meta mark or 0x1 accept"],
      ["10.0.0.1/32"],
    ],
    ["with the time of the last packet", ["egress ip daddr 10.0.0.1 last accept"], ["10.0.0.1/32"]],
    [
      "for what is no multicast",
      ["egress ip daddr { 223.255.255.255, 240.0.0.1 } accept"],
      ["223.255.255.255/32", "240.0.0.1/32"],
    ],
    ["with exceptions", ["egress ip daddr 10.0.0.0/8 ip daddr != 10.0.0.1 accept"], ["10.0.0.0/8"]],
    [
      "with exceptions first",
      ["egress ip daddr != { 10.0.0.1, 10.0.0.3-10.0.0.9 } ip daddr 10.0.0.0/8 accept"],
      ["10.0.0.0/8"],
    ],
    ["with the own address", ["egress ip saddr 10.1.0.1 ip daddr 10.0.0.1 accept"], ["10.0.0.1/32"]],
    [
      "with a rate",
      ["egress ip daddr 10.0.0.1 limit rate 10/second burst 5 packets accept"],
      ["10.0.0.1/32"],
    ],
    [
      "with a rate of bytes",
      ["egress ip daddr 10.0.0.1 limit rate until 1 mbytes/second burst 512 kbytes accept"],
      ["10.0.0.1/32"],
    ],
    ["with a quota", ["egress ip daddr 10.0.0.1 quota until 500 mbytes accept"], ["10.0.0.1/32"]],
    ["with a count", ["egress ip daddr 10.0.0.1 ct count over 20 accept"], ["10.0.0.1/32"]],
    ["with a counter", ["egress ip daddr 10.0.0.1 counter packets 0 bytes 0 accept"], ["10.0.0.1/32"]],
    [
      "with a log",
      ['egress ip daddr 10.0.0.1 log prefix "goto accept" level info flags all accept comment "x"'],
      ["10.0.0.1/32"],
    ],
    [
      "with a mark",
      ["egress ip daddr 10.0.0.1 meta mark set 0x1f ct mark set meta mark accept"],
      ["10.0.0.1/32"],
    ],
    ["with ICMP", ["egress ip daddr 10.0.0.1 icmp type echo-request accept"], ["10.0.0.1/32"]],
    ["with flags", ["egress ip daddr 10.0.0.1 tcp flags syn / syn,ack accept"], ["10.0.0.1/32"]],
    [
      "with rules before that only tell",
      [
        "egress counter",
        'egress log prefix "accept" level info',
        "egress meta mark set 1",
        "egress ip dscp set cs1",
      ],
      [],
    ],
    [
      "with rules before that only deny",
      [
        "egress tcp dport 25 drop",
        "filter tcp dport 22 reject with tcp reset",
        "filter limit rate over 5/second drop",
      ],
      [],
    ],
    ["with a map of values", ["egress meta mark set tcp dport map { 22 : 1, 80 : 2 }"], []],
    ["with verdicts in a text", ['egress log prefix "accept; vmap " drop'], []],
    [
      "for the client",
      ["filter ip saddr $user_ip accept", "egress ip daddr { $user_ip, 10.0.0.1 } accept"],
      ["10.0.0.1/32", "192.0.2.7/32"],
    ],
    [
      "for the client by the set",
      ["filter meta cgroup . ip saddr @session_map_ipv4 tcp dport 22 accept"],
      ["192.0.2.7/32"],
    ],
    [
      "for the client by the set's other name",
      ["@session_chain meta cgroup . ip saddr @session_v4 accept"],
      ["192.0.2.7/32"],
    ],
    [
      "for the client, in full",
      ["filter socket cgroupv2 level 2 . ip saddr @session_map_ipv4 accept"],
      ["192.0.2.7/32"],
    ],
    [
      "and the set of the other family is empty",
      ["filter meta cgroup . ip6 saddr @session_map_ipv6 accept"],
      [],
    ],
    [
      "and every session is in the set of cgroups",
      ["egress meta cgroup @session_map_cg ip daddr 10.0.0.1 accept"],
      ["10.0.0.1/32"],
    ],
  ])("%s", (_, rules, expected) => {
    expect(list([...rules, ...CLOSED])).toEqual(expected);
  });

  test("for the client of IPv6", () => {
    const rules = [
      "filter meta cgroup . ip6 saddr @session_map_ipv6 accept",
      "filter meta cgroup . ip saddr @session_map_ipv4 accept",
    ];
    expect(listFor(V6, [...rules, ...CLOSED])).toEqual(["2001:db8:0:0:0:0:0:7/128"]);
  });

  test("for nobody when the session has no client address", () => {
    expect(listFor(undefined, ["filter meta cgroup . ip saddr @session_map_ipv4 accept", ...CLOSED])).toEqual(
      [],
    );
  });

  test.each([
    "drop",
    "counter drop",
    "reject",
    "reject with icmpx admin-prohibited",
    "reject with icmpx type port-unreachable",
    'counter log prefix "no: " level info drop comment "the rest"',
    "meta mark set 7 drop",
    "meta mark set meta mark or 7 drop",
    "last drop",
  ])("when a direction ends in %s, whatever stands behind", (end) => {
    const rules = [
      `filter ${end}`,
      "filter accept",
      "egress ip daddr 10.0.0.1 accept",
      `egress ${end}`,
      "egress accept",
    ];
    expect(list(rules)).toEqual(["10.0.0.1/32"]);
  });
});

describe("there is no list", () => {
  test.each<[string, string[]]>([
    ["when nothing is dropped", ["egress ip daddr 10.0.0.1 accept"]],
    ["when what arrives is not dropped", ["egress ip daddr 10.0.0.1 accept", "egress drop"]],
    ["when what is sent is not dropped", ["filter drop"]],
    ...(
      [
        "tcp dport 25 drop",
        "limit rate over 5/second drop",
        "quota over 1 mbytes drop",
        "ct count over 5 drop",
        "ip daddr 10.0.0.1 drop",
        "meta l4proto tcp drop",
        "reject with tcp reset",
        "reject with icmp type host-unreachable",
        "reject with icmpv6 type admin-prohibited",
        "reject with icmp host-unreachable",
        "counter",
        "continue",
        "tcp dport vmap { 22 : drop, 80 : drop }",
      ] as const
    ).map((end): [string, string[]] => [`when the last rule is "${end}"`, ["filter drop", `egress ${end}`]]),
  ])("%s", (_, rules) => {
    expect(list(rules)).toBeUndefined();
  });

  test.each([
    "egress accept",
    "egress return",
    "egress counter accept",
    "egress tcp dport 80 accept",
    "egress ct state established accept",
    "egress ct state established,related accept",
    "egress ip daddr != 10.0.0.1 accept",
    "egress ip daddr ne 10.0.0.1 accept",
    "egress ip daddr ! = 10.0.0.1 accept",
    "egress ip daddr != { 10.0.0.1, 10.0.0.2 } accept",
    "egress ip daddr < 10.0.0.1 accept",
    "egress ip daddr <= 10.0.0.1 accept",
    "egress ip daddr 10.0.0.1-10.0.0.9 accept",
    "egress ip daddr { 10.0.0.1, 10.0.0.5-10.0.0.9 } accept",
    "egress ip daddr { 10.0.0.1-10.0.0.9 } accept",
    "egress ip daddr 10.0.0.1,10.0.0.2 accept",
    "egress ip daddr 10.0.0.1 | 0.0.0.2 accept",
    "egress ip daddr 10.0.0.1 or 0.0.0.2 accept",
    "egress ip daddr 10.0.0.1 xor 0.0.0.2 accept",
    "egress ip daddr 10.0.0.1 & 255.0.0.0 accept",
    "egress ip daddr & 255.0.0.0 == 10.0.0.0 accept",
    "egress ip daddr and 255.0.0.0 == 10.0.0.0 accept",
    "egress ip daddr 10.0.0.0/33 accept",
    "egress ip daddr 10.0.0.0/08 accept",
    "egress ip daddr 10.0.0.0/255.0.0.0 accept",
    "egress ip daddr 10.0.0.0/8/9 accept",
    "egress ip daddr 167772161 accept",
    "egress ip daddr 0x0a000001 accept",
    "egress ip daddr 10.0.0.256 accept",
    "egress ip daddr 010.0.0.1 accept",
    "egress ip daddr ::1 accept",
    "egress ip6 daddr 10.0.0.1 accept",
    "egress ip6 daddr ::/129 accept",
    "egress ip6 daddr fd00::1-fd00::ff accept",
    "egress ip daddr { } accept",
    "egress ip daddr { , 10.0.0.1 } accept",
    "egress ip daddr { 10.0.0.1 10.0.0.2 } accept",
    "egress ip daddr . tcp dport { 10.0.0.1 . 22 } accept",
    "egress tcp dport . ip daddr { 22 . 10.0.0.1 } accept",
    "egress ip saddr . ip daddr { 10.0.0.1 . 10.0.0.2 } accept",
    "egress ip daddr vmap { 10.0.0.0/8 : accept, 192.168.0.0/16 : drop }",
    "egress ip daddr 10.0.0.1 tcp dport vmap { 22 : accept, 80 : drop }",
    "egress ip daddr 10.0.0.1 tcp dport vmap { 22 : continue } accept",
    "egress tcp dport vmap { 22 : drop }",
    // The reset comes in the name of a peer that is not in the lock.
    "egress reject with tcp reset",
    "egress tcp dport 25 reject with tcp reset",
    "egress ip daddr != 10.0.0.1 reject with tcp reset",
    // A condition on somebody else.
    "egress ip saddr 10.0.0.1 accept",
    "filter ip daddr 10.0.0.1 accept",
    "filter ip6 daddr ::1 tcp dport 80 accept",
    "egress meta cgroup . ip saddr @session_map_ipv4 accept",
    "filter meta cgroup @session_map_cg accept",
    "filter meta cgroup . ip saddr != @session_map_ipv4 accept",
    "filter meta cgroup . ip daddr @session_map_ipv4 accept",
    "filter meta cgroup . ip6 saddr @session_map_ipv4 accept",
    "filter meta cgroup . ip saddr . tcp dport @session_map_ipv4 accept",
    "filter ip saddr . meta cgroup @session_map_ipv4 accept",
    // The words are there, and mean something else.
    "egress ct original ip daddr 10.0.0.1 accept",
    "egress ct reply ip daddr 10.0.0.1 accept",
    "egress ipsec out ip daddr 10.0.0.1 accept",
    "egress vxlan ip daddr 10.0.0.1 accept",
    "egress gre ip daddr 10.0.0.1 accept",
    "egress rt ip daddr 10.0.0.1 accept",
    "egress arp daddr ip 10.0.0.1 accept",
    "egress meta mark set ip daddr & 0xff accept",
    "egress @nh,128,32 0x0a000001 accept",
    'egress oifname "ip daddr 10.0.0.1" accept',
    'egress tcp dport 80 accept comment "ip daddr 10.0.0.1"',
    'egress log prefix "ip daddr 10.0.0.1 " accept',
    // What is not understood.
    "egress ip daddr 10.0.0.1 numgen random mod 2 0 accept",
    "egress ip daddr 10.0.0.1 meta mark & 0xff == 1 accept",
    "egress ip daddr 10.0.0.1 tcp flags & (syn | ack) == syn accept",
    "egress ip daddr 10.0.0.1 accept accept",
    "egress ip daddr 10.0.0.1 accept tcp dport 80",
    // Who answers has an address of his own.
    "egress ip daddr 224.0.0.251 udp dport 5353 accept",
    "egress ip daddr 239.255.255.250 udp dport 1900 accept",
    "egress ip daddr 232.0.0.0/8 accept",
    "egress ip daddr 255.255.255.255 accept",
    "egress ip6 daddr ff02::fb accept",
  ])("because of: %s", (rule) => {
    expect(list([rule, ...CLOSED])).toBeUndefined();
  });

  // Of what is refused there are no statements that a list could be made of.
  test.each([
    "egress ip daddr 10.0.0.1 . tcp dport accept",
    "egress ip daddr 10.0.0.1 queue",
    "egress tcp dport 80 queue num 3 bypass",
    "egress queue flags bypass to 1",
    "egress dup to 10.0.0.1",
    "egress icmp mtu ip daddr 10.0.0.1 accept",
    "egress meta mark set ip daddr 10.0.0.1 accept",
    "egress ct mark set ip daddr 10.0.0.1 accept",
    "egress tcp dport { 22, 80 } { 10.0.0.1 } accept",
    "egress ip daddr 10.0.0.1 constructor accept",
    "egress constructor name ip daddr 10.0.0.1 accept",
    "egress ip daddr set 10.0.0.9",
    "egress ip daddr 10.0.0.1 ip daddr set 10.0.0.9 accept",
    "egress ip6 daddr set ::1",
    "egress @nh,128,32 set 0x0a000009",
  ])("where no fragment may hold it: %s", (rule) => {
    expect(() => list([rule, ...CLOSED])).toThrow(Refusal);
  });

  test("for more addresses than a login should wait for", () => {
    const addresses = (count: number): string =>
      Array.from({ length: count }, (_, index) => `10.0.${index >> 8}.${index & 255}`).join(", ");
    expect(list([`egress ip daddr { ${addresses(1000)} } accept`, ...CLOSED])).toHaveLength(1000);
    expect(list([`egress ip daddr { ${addresses(1001)} } accept`, ...CLOSED])).toBeUndefined();
  });

  const realistic = REALISTIC.map(([rule]) => rule);
  const accepting = realistic.filter((rule) => /accept|return/.test(rule.replace(/"[^"]*"/g, "")));

  test.each(accepting.filter((rule) => !/ip6? [sd]addr/.test(rule)))(
    "because of a rule that accepts whatever the peer: %s",
    (rule) => {
      expect(list([rule, ...CLOSED])).toBeUndefined();
    },
  );

  const ends = /^\w+ (counter |log prefix ("[^"]*"|\S+) (level \w+ )?)*(drop|reject)( with icmpx.*)?$/;
  const harmless = realistic.filter(
    (rule) => !accepting.includes(rule) && !ends.test(rule) && !rule.includes("tcp reset"),
  );

  test.each(harmless)("lost because of a rule that accepts nothing: %s", (rule) => {
    expect(list([rule, "egress ip daddr 10.0.0.1 accept", ...CLOSED])).toEqual(["10.0.0.1/32"]);
  });
});
