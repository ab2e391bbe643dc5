// SPDX-License-Identifier: GPL-2.0-or-later

/**
 * Rules as administrators write them, of the session's input and output, and what they are to mean.
 *
 * `JUDGED` stands for the chain that accepted packets go to; one with `undefined` means what it says.
 */
export const REALISTIC: readonly (readonly [rule: string, meaning: string | undefined])[] = [
  // The published form, and the later placeholders.
  [
    "filter meta cgroup . ip saddr @session_map_ipv4 accept",
    "socket cgroupv2 level 2 . ip saddr @session_map_ipv4 JUDGED",
  ],
  [
    "filter meta cgroup . ip6 saddr @session_map_ipv6 accept",
    "socket cgroupv2 level 2 . ip6 saddr @session_map_ipv6 JUDGED",
  ],
  ["filter meta cgroup @session_map_cg accept", "socket cgroupv2 level 2 @session_map_cg JUDGED"],
  [
    "@session_chain meta cgroup . ip saddr @session_v4 accept",
    "socket cgroupv2 level 2 . ip saddr @session_map_ipv4 JUDGED",
  ],
  [
    "@session_chain meta cgroup . ip6 saddr @session_v6 drop",
    "socket cgroupv2 level 2 . ip6 saddr @session_map_ipv6 drop",
  ],
  ["@session_chain meta cgroup @session_cg accept", "socket cgroupv2 level 2 @session_map_cg JUDGED"],
  [
    "filter meta cgroup . ip saddr @session_map_ipv4 tcp dport { 22, 443 } accept",
    "socket cgroupv2 level 2 . ip saddr @session_map_ipv4 tcp dport { 22, 443 } JUDGED",
  ],
  [
    "filter socket cgroupv2 level 2 . ip saddr @session_map_ipv4 tcp dport 8080 accept",
    "socket cgroupv2 level 2 . ip saddr @session_map_ipv4 tcp dport 8080 JUDGED",
  ],
  // Verdicts.
  ["egress accept", "JUDGED"],
  ["egress return", "JUDGED"],
  ["filter drop", undefined],
  ["egress reject", undefined],
  ["egress reject with tcp reset", undefined],
  ["egress reject with icmpx admin-prohibited", undefined],
  ["egress counter reject with icmpx type port-unreachable", undefined],
  ["egress tcp dport 443 continue", undefined],
  // Ports and protocols.
  ["egress tcp dport 443 accept", "tcp dport 443 JUDGED"],
  ["egress tcp dport {80,443} accept", "tcp dport {80,443} JUDGED"],
  [
    "egress tcp dport { 80, 443, 8000-8099 } ct state new accept",
    "tcp dport { 80, 443, 8000-8099 } ct state new JUDGED",
  ],
  ["egress tcp dport != 25 accept", "tcp dport != 25 JUDGED"],
  ["egress tcp dport >= 1024 drop", undefined],
  ["egress udp dport 53 accept", "udp dport 53 JUDGED"],
  ["egress udp sport 1024-65535 udp dport 123 accept", "udp sport 1024-65535 udp dport 123 JUDGED"],
  ["egress meta l4proto { tcp, udp } th dport 53 accept", "meta l4proto { tcp, udp } th dport 53 JUDGED"],
  ["egress meta l4proto tcp @th,16,16 0x0016 drop", undefined],
  ["egress ip protocol icmp accept", "ip protocol icmp JUDGED"],
  [
    "egress icmp type echo-request limit rate 5/second accept",
    "icmp type echo-request limit rate 5/second JUDGED",
  ],
  [
    "egress icmpv6 type { nd-neighbor-solicit, nd-router-advert } accept",
    "icmpv6 type { nd-neighbor-solicit, nd-router-advert } JUDGED",
  ],
  ["filter tcp flags & (fin|syn|rst|ack) == syn tcp dport 8080 drop", undefined],
  ["filter tcp flags syn / syn,ack drop", undefined],
  ["egress tcp dport ssh accept", "tcp dport ssh JUDGED"],
  // Addresses.
  ["egress ip daddr 10.0.0.0/8 accept", "ip daddr 10.0.0.0/8 JUDGED"],
  [
    "egress ip daddr { 10.0.0.1, 10.0.0.5-10.0.0.9, 192.168.0.0/16 } accept",
    "ip daddr { 10.0.0.1, 10.0.0.5-10.0.0.9, 192.168.0.0/16 } JUDGED",
  ],
  ["egress ip6 daddr 2001:db8::/32 drop", undefined],
  [
    "egress ip6 daddr { ::1, fe80::/10, 2001:db8:add::face } accept",
    "ip6 daddr { ::1, fe80::/10, 2001:db8:add::face } JUDGED",
  ],
  ["egress ip6 daddr fd00::1-fd00::ff accept", "ip6 daddr fd00::1-fd00::ff JUDGED"],
  [
    "egress ip daddr . tcp dport { 10.0.0.1 . 22, 10.0.0.2 . 443 } accept",
    "ip daddr . tcp dport { 10.0.0.1 . 22, 10.0.0.2 . 443 } JUDGED",
  ],
  [
    "egress ip daddr . meta l4proto . th dport { 10.0.0.1 . tcp . ssh, 10.0.0.2 . udp . domain } accept",
    "ip daddr . meta l4proto . th dport { 10.0.0.1 . tcp . ssh, 10.0.0.2 . udp . domain } JUDGED",
  ],
  [
    "egress meta l4proto . ip daddr { tcp . 10.0.0.1 } accept",
    "meta l4proto . ip daddr { tcp . 10.0.0.1 } JUDGED",
  ],
  ["filter fib saddr . iif oif missing drop", undefined],
  ["egress tcp option @254,8,8 5 drop", undefined],
  ["egress fib daddr type local accept", "fib daddr type local JUDGED"],
  ['egress oifname "lo" accept', 'oifname "lo" JUDGED'],
  ["egress oifname lo accept", "oifname lo JUDGED"],
  ['egress oifname { "eth*", "wg0" } drop', undefined],
  ['filter iifname != "lo" tcp dport 5432 drop', undefined],
  // Variables.
  ["filter ip saddr $user_ip accept", "ip saddr 192.0.2.7 JUDGED"],
  ["filter ip saddr != $user_ip drop", "ip saddr != 192.0.2.7 drop"],
  ["egress ip daddr { $user_ip, 10.0.0.1 } accept", "ip daddr { 192.0.2.7, 10.0.0.1 } JUDGED"],
  ["egress meta skuid $user_id accept", "meta skuid 1000 JUDGED"],
  ["egress log prefix $user_name drop", 'log prefix "alice" drop'],
  // Verdict maps and maps of values.
  [
    "egress tcp dport vmap { 22 : accept, 25 : continue, 80 : drop }",
    "tcp dport vmap { 22 : JUDGED, 25 : continue, 80 : drop }",
  ],
  ["egress tcp dport vmap {22:accept,80:drop}", "tcp dport vmap {22:JUDGED,80:drop}"],
  [
    "egress ip daddr vmap { 10.0.0.0/8 : accept, 192.168.0.0/16 : drop }",
    "ip daddr vmap { 10.0.0.0/8 : JUDGED, 192.168.0.0/16 : drop }",
  ],
  [
    "egress ct state vmap { established : accept, related : accept, invalid : drop }",
    "ct state vmap { established : JUDGED, related : JUDGED, invalid : drop }",
  ],
  ["egress meta mark set tcp dport map { 22 : 1, 80 : 2 }", undefined],
  [
    "egress numgen random mod 2 vmap { 0 : accept, 1 : drop }",
    "numgen random mod 2 vmap { 0 : JUDGED, 1 : drop }",
  ],
  // State, rates, quotas, marks, time.
  ["egress ct state established,related accept", "ct state established,related JUDGED"],
  ["filter ct state { established, related } accept", "ct state { established, related } JUDGED"],
  ["filter ct direction original tcp dport 8080 accept", "ct direction original tcp dport 8080 JUDGED"],
  ["egress ct state new limit rate over 10/second burst 20 packets drop", undefined],
  ["egress limit rate over 1 mbytes/second burst 512 kbytes drop", undefined],
  ["egress quota over 500 mbytes drop", undefined],
  ["egress counter packets 0 bytes 0 accept", "counter packets 0 bytes 0 JUDGED"],
  ["egress ct count over 20 reject", undefined],
  [
    "egress meta mark set 0x1f ct mark set meta mark accept",
    "meta mark set 0x1f ct mark set meta mark JUDGED",
  ],
  ["egress ip dscp set cs1", undefined],
  ['egress meta hour "08:00"-"18:00" accept', 'meta hour "08:00"-"18:00" JUDGED'],
  ['egress meta day { "Saturday", "Sunday" } drop', undefined],
  ["egress ct bytes > 100000000 drop", undefined],
  ["egress tcp option maxseg size set 1200", undefined],
  // Logs and comments, which may say anything.
  ['egress log prefix "accept; jump " level info drop', undefined],
  ['egress tcp dport 25 drop comment "no mail, { @session_in } # ever; goto x"', undefined],
  [
    'egress log flags all prefix "authnft " accept comment "let go"',
    'log flags all prefix "authnft " JUDGED comment "let go"',
  ],
];
