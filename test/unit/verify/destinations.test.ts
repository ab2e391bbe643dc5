// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { addresses6, bytesOf, destinations } from "../../../src/verify/destinations.ts";

const UNNAMED = { ip: "192.0.2.1", port: 47_011 };

function rule(body: string): string {
  return `add rule inet authnft session_alice_7_out ${body}`;
}

describe("the destinations that a policy is tried on", () => {
  test("are one that nothing names, where it names nothing", () => {
    expect(destinations([])).toEqual([UNNAMED]);
    expect(destinations([rule("ip6 daddr fd88::2 accept"), rule("reject")])).toEqual([UNNAMED]);
  });

  test("are the addresses it names, and of networks one address that it hardly names", () => {
    const named = destinations([
      rule("ip daddr 10.88.0.2 accept"),
      rule("ip daddr 10.88.0.0/24 reject"),
      rule("ip daddr { 198.51.100.7, 203.0.113.0/30 } accept"),
      "add element inet authnft session_alice_7_friends { 10.9.9.9 }",
    ]).map(({ ip }) => ip);
    expect(named).toEqual([
      "192.0.2.1",
      "10.88.0.2",
      "10.88.0.254",
      "198.51.100.7",
      "203.0.113.2",
      "10.9.9.9",
    ]);
  });

  test("are combined with the ports that it names", () => {
    expect(destinations([rule("ip daddr 10.88.0.2 tcp dport { 80, 443 } accept")])).toEqual([
      UNNAMED,
      { ip: "10.88.0.2", port: 47_011 },
      { ip: "10.88.0.2", port: 80 },
      { ip: "10.88.0.2", port: 443 },
      { ip: "192.0.2.1", port: 80 },
      { ip: "192.0.2.1", port: 443 },
    ]);
    expect(destinations([rule("udp dport 53 accept")])).toContainEqual({ ip: "192.0.2.1", port: 53 });
  });

  test("leave out what no unicast packet is sent to, and what is no address", () => {
    const lines = [
      "0.0.0.0/0",
      "127.0.0.1",
      "224.0.0.251",
      "255.255.255.255",
      "10.1.2.300",
      "10.1.2.3/40",
      "1.2.3.4.5",
    ];
    expect(destinations(lines.map((text) => rule(`ip daddr ${text} accept`)))).toEqual([UNNAMED]);
  });

  test("leave out the session's own address", () => {
    const element =
      'add element inet authnft session_map_ipv4 { "authnft.slice/authnft-alice-7.scope" . 10.77.0.2 }';
    expect(destinations([element])).toEqual([UNNAMED]);
  });

  test("are few, however many it names, and never without the one that nothing names", () => {
    const many = Array.from({ length: 300 }, (_, index) =>
      rule(`ip daddr 10.0.${index % 200}.1 tcp dport ${index + 1} accept`),
    );
    const chosen = destinations(many);
    expect(chosen).toHaveLength(12);
    expect(chosen[0]).toEqual(UNNAMED);
  });
});

describe("the IPv6 addresses that a policy is tried on", () => {
  test("are one that nothing names, those it names, and of networks one that it hardly names", () => {
    expect(
      addresses6([
        rule("ip6 daddr fd88::2 accept"),
        rule("ip6 saddr { FD88::/64, 2001:db8:0:1::2/127 } reject"),
        "add element inet authnft session_alice_7_friends { 2001:db8:1:2:3:4:5:6 }",
      ]),
    ).toEqual([
      "2001:db8::1",
      "fd88::2",
      "fd88::ffff:ffff:ffff:fffe",
      "2001:db8:0:1::2",
      "2001:db8:1:2:3:4:5:6",
    ]);
  });

  test("leave out what is no sender over a network, what is no address, and the session's own", () => {
    const lines = [
      "::1",
      "::/0",
      "::ffff:10.0.0.1",
      "ff02::1",
      "fe80::1",
      "52:54:00:12:34:56",
      "12:30:00",
      "1::2::3",
    ];
    expect(addresses6(lines.map((text) => rule(`ip6 saddr ${text} accept`)))).toEqual(["2001:db8::1"]);
    expect(
      addresses6(['add element inet authnft session_map_ipv6 { "authnft.slice/a-7.scope" . fd77::2 }']),
    ).toEqual(["2001:db8::1"]);
  });

  test("are few", () => {
    const many = Array.from({ length: 50 }, (_, index) => rule(`ip6 daddr fd88::${index + 1} accept`));
    expect(addresses6(many)).toHaveLength(6);
  });
});

test("the bytes of an address are in network order", () => {
  expect(bytesOf("10.88.0.2")).toEqual([10, 88, 0, 2]);
  expect(bytesOf("::1")).toEqual([...Array(15).fill(0), 1]);
  expect(bytesOf("fd88::2:3")).toEqual([0xfd, 0x88, ...Array(10).fill(0), 0, 2, 0, 3]);
  expect(bytesOf("1:2:3:4:5:6:7:8")).toEqual([0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 8]);
});
