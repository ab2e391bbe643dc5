// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { parseStatements } from "../../../src/policy/parse_rule.ts";
import type { Statement } from "../../../src/policy/statement.ts";
import { tokenise } from "../../../src/policy/tokenise.ts";
import { SESSION_DIALECT } from "../../../src/subjects/session/dialect.ts";

// What is refused, and how, is in refused.ts.

/** Rules of which nft 1.0.6 or, for inner headers and the like, a later one takes each in a filter chain. */
const ACCEPTED = `
  tcp flags & (fin|syn|rst|ack) == syn
  tcp flags != syn
  tcp flags ! syn,ack
  tcp flags syn,ack / fin,syn,rst,ack
  tcp flags { syn, ack }
  tcp option sack-permitted exists
  tcp option sack-perm missing
  tcp option maxseg size 1200-1400
  tcp option maxseg size > 1000
  tcp option timestamp tsval 5
  tcp option 6 exists
  tcp option @255,8,8 255
  tcp option sack left 1
  tcp option sack0 left 1
  tcp option window count 3
  ip option lsrr type 1
  ct original ip saddr 10.0.0.1
  ct reply ip6 daddr ::1
  ct original packets > 10
  ct bytes 100-200
  ct avgpkt > 200
  ct status assured
  ct status snat
  ct status != dnat
  ct status snat,dnat
  ct status & (snat|dnat) != 0
  ct status & dnat == dnat
  ct status { snat, dnat }
  ct state != established
  ct state ! invalid
  ct state invalid,untracked drop
  ct state new,established
  ct mark and 0x3 == 0x1
  ct mark & 0xff == 0x3
  ct mark xor 0x23 == 0x11
  ct mark or 0x23 == 0x11
  meta mark & 0xff != 0
  ct mark 0x11-0x22
  ct direction reply
  ct expiration 1d2h3m4s
  ct expiration > 4d23h
  ct expiration { 33s, 55s }
  ct helper "ftp"
  ct label 5
  ct zone 5
  ct original zone 5
  ct count 5
  ct count over 20 drop
  ct id 12345
  ct l3proto ipv4
  ct protocol tcp
  meta length 100-200
  meta length { 10, 20 }
  meta protocol ip
  meta protocol { ip, arp }
  meta nfproto ipv4
  meta l4proto 22-33
  meta l4proto tcp tcp dport 22 accept
  ip protocol tcp tcp dport 22 accept
  ip protocol udp udp dport 22
  ip6 nexthdr tcp tcp dport 22
  meta priority none
  meta priority 0x87654321
  meta priority abcd:1234
  meta mark 1 - 5
  meta iif "lo"
  meta iif lo accept
  iif lo accept
  iif != "lo" accept
  iifname eth* accept
  iifname "eth*" drop
  oifname { lo, eth0 } accept
  meta iiftype ether
  oiftype != ether
  skuid root accept
  meta skuid { 0, 1000 } accept
  meta skuid 1000-2000
  meta skgid > 100
  skgid { 1, 2 }
  meta pkttype host
  pkttype { broadcast, multicast } drop
  meta cpu 1
  cpu != 1-2
  meta iifgroup 0
  oifgroup default
  meta rtclassid cosmos
  rtclassid cosmos
  meta secpath exists
  meta ipsec exists
  meta time "2025-07-01 12:00:00"
  time > "2025-07-01 12:00:00" drop
  meta time "2025-07-01"-"2025-07-03"
  day "Friday" drop
  hour >= "17:00" drop
  meta hour "17:00"-"19:00"
  meta day 6
  ip saddr 10.0.0.0/8 ip daddr 10.0.0.1 accept
  ip saddr & 255.0.0.0 == 10.0.0.0
  ip saddr and 0.0.0.255 < 0.0.0.127
  ip saddr 10.0.0.1-10.0.0.5
  ip saddr != { 10.0.0.1, 10.0.0.2 }
  ip saddr . ip daddr { 10.0.0.1 . 10.0.0.2 }
  ip saddr . tcp dport vmap { 10.0.0.1 . 22 : accept, 10.0.0.2 . 80 : drop }
  ip saddr . ip daddr . meta l4proto { 10.0.0.1 . 10.0.0.2 . tcp } accept
  ip protocol . th dport vmap { tcp . 22 : accept, udp . 53 : drop }
  ip protocol . th dport { tcp . 22, udp . 53 } accept
  iifname . ip saddr { "lo" . 10.0.0.1 } accept
  ip dscp cs1
  ip dscp != 0x20
  ip dscp { cs1, af41 }
  ip dscp vmap { cs1 : continue , cs4 : accept }
  ip ecn ce
  ip length 333-435
  ip frag-off & 0x1fff != 0
  ip ttl > 0
  ip hdrlength 5
  ip version 4
  ip checksum 13172
  ip6 flowlabel 22
  ip6 dscp cs1
  ip6 hoplimit 1
  ip6 nexthdr { tcp, udp }
  ip6 saddr ::/64
  icmp type echo-request accept
  icmp type { echo-reply, destination-unreachable, redirect } accept
  icmp type redirect drop
  icmp type != redirect drop
  icmp code host-unreachable
  icmp id 1245
  icmp mtu 33
  icmpv6 type nd-redirect accept
  igmp type membership-query
  ether saddr 00:0f:54:0c:11:04
  ether type ip
  ether type vlan
  vlan id 4094
  vlan id 1 vlan pcp 3
  vlan type ip
  arp saddr ip 10.0.0.1
  arp daddr ether 00:0f:54:0c:11:04
  ah spi 111
  esp spi 100
  comp cpi 1
  udplite sport 80
  sctp dport 22
  sctp chunk init exists
  sctp chunk data tsn 23
  dccp type request
  dccp sport 5
  th dport 53
  th sport { 53, 54 }
  @th,0,16 0x1
  @nh,8,8 0xff
  @ll,48,48 0x0
  @ih,32,32 0x14000000
  meta l4proto tcp @th,16,16 { 22, 23, 80 } accept
  exthdr hbh exists
  exthdr frag missing
  frag frag-off 22
  frag more-fragments 1
  hbh nexthdr tcp
  rt type 0
  rt nexthdr tcp
  rt ip nexthop 10.0.0.1
  rt ip6 nexthop ::1
  rt classid 5
  rt mtu 1500
  rt ipsec exists
  srh tag 5
  mh type binding-update
  dst hdrlength 22
  fib saddr . iif oif != 0 accept
  fib saddr . iif oif 0 drop
  fib daddr . iif type local accept
  fib daddr type { local, broadcast } accept
  fib daddr . iif type vmap { blackhole : drop, prohibit : drop, unicast : accept }
  fib saddr . mark . iif oifname "lo"
  socket transparent 1 accept
  socket transparent != 1
  socket mark 0x5
  socket wildcard 0
  osf name "Linux"
  osf ttl loose name "Linux" drop
  osf ttl skip version "Linux:4.20"
  ipsec in reqid 1
  ipsec in spnum 1 reqid 2
  ipsec out ip saddr 10.0.0.1
  ipsec out ip6 daddr ::1
  ipsec in spi 1-561
  numgen inc mod 2 vmap { 0 : accept, 1 : drop }
  numgen random mod 10 offset 5 vmap { 5-9 : accept, 10-14 : drop }
  numgen inc mod 10 < 5 accept
  jhash ip saddr mod 2 vmap { 0 : accept, 1 : drop }
  jhash ip saddr . tcp dport mod 2 seed 0x1 offset 5 vmap { 5 : accept, 6 : drop }
  symhash mod 2 offset 100 vmap { 100 : accept, 101 : drop }
  jhash ip6 saddr . ip6 daddr mod 3 < 2 drop
  meta mark set jhash ip saddr mod 2 offset 1
  meta mark set jhash ip saddr . ip daddr mod 2 seed 0xdeadbeef
  meta mark set symhash mod 2
  meta mark set numgen inc mod 2 offset 100
  meta mark set numgen inc mod 2 map { 0 : 1, 1 : 2 }
  meta mark set ct mark
  meta mark set ct mark and 0xff
  meta mark set meta mark & 0xffffff00 | 0x5
  meta mark set (meta mark & 0xffffff00) | 0x5
  meta mark set ip saddr map { 10.0.0.1 : 1, 10.0.0.2 : 2 }
  meta mark set ip saddr . tcp dport map { 10.0.0.1 . 80 : 1 }
  meta mark set 0x1 meta priority set 1:2 accept
  mark set 5
  mark set mark or 5
  ct mark set meta mark accept
  ct mark set ct mark or 0x10
  ct mark set 0x11 meta mark set ct mark
  meta priority set none
  meta priority set 0x1
  meta priority set 1:10
  meta priority set "1:10"
  meta priority set ip dscp map { cs1 : 1:1 }
  ip dscp set cs1
  ip dscp set 0
  ip6 dscp set af41
  tcp option maxseg size set 1200
  tcp option maxseg size set rt mtu
  tcp flags syn tcp option maxseg size set rt mtu accept
  tcp flags & (syn|rst) == syn tcp option maxseg size set rt mtu
  log
  log level debug
  log level audit
  log prefix "x" flags tcp sequence,options
  log prefix "x" flags tcp sequence
  log flags tcp options flags ip options
  log flags skuid flags ether
  log group 2 snaplen 33 queue-threshold 2
  log group 2 prefix "x"
  limit rate 400/minute
  limit rate over 20/second
  limit rate 400/week burst 5 packets
  limit rate 1 kbytes/second
  limit rate 2 mbytes/second burst 1024 mbytes
  limit rate over 1023 bytes/second burst 512 bytes drop
  limit rate 1025 kbytes / second
  limit rate 10 / second
  quota 502 mbytes
  quota until 502 mbytes
  quota over 502 mbytes used 1024 kbytes drop
  quota 5 bytes
  counter
  counter packets 1 bytes 2 accept
  counter accept comment "x"
  counter accept comment x
  counter name queue
  limit name log drop
  tcp dport 22 jump log
  update @limit { ip daddr }
  reject with icmp host-unreachable
  reject with icmp type host-unreachable
  reject with icmpv6 no-route
  reject with icmpv6 type no-route
  reject with icmpx port-unreachable
  reject with icmpx 3
  reject with icmp 3
  reject with tcp reset
  tcp dport vmap { 22 : jump c, 80 : goto c }
  tcp dport { 22, 80 } jump c
  tcp dport 22-25 goto c
  tcp dport != { 22, 80 }
  tcp dport gt 1024
  tcp dport ne 22 tcp sport le 5
  tcp dport { ssh, http, 8000-8080 } accept
  tcp sport . tcp dport { 1 . 2 } accept
  tcp dport 22 counter accept
  tcp dport 22 tcp sport 5 tcp sequence 22 tcp window 5 accept
  udp length 5 udp checksum 5
  vxlan vni 10
  udp dport 4789 vxlan ip saddr 10.0.0.1
  udp dport 4789 vxlan tcp dport 80
  geneve vni 10
  gre protocol ip
  gre ip saddr 10.0.0.1
  ip protocol { icmp, esp, ah, comp, udp, udplite, tcp, dccp, sctp } accept
  ip protocol != tcp accept
  meta l4proto icmp accept
  meta l4proto ipv6-icmp accept
  meta l4proto { icmp, icmpv6 } accept
  meta sdif 1
  meta sdifname "x"
  meta iifkind "vrf"
  tcp dport 22 drop comment "a; b"
`;

const parse = (rule: string): Statement[] => parseStatements(tokenise("f", rule).tokens, SESSION_DIALECT);

describe("what a rule may hold", () => {
  test.each([...ACCEPTED.matchAll(/^ {2}(.*)$/gm)].map(([, rule = ""]) => rule))("%s", (rule) => {
    expect(() => parse(rule)).not.toThrow();
    // Each ends where it ends: what comes behind it is seen for what it is.
    expect(() => parse(`${rule} notrack`)).toThrow(
      `f:1:${rule.length + 2}: "notrack" has no place in a rule of a fragment; `,
    );
  });
});
