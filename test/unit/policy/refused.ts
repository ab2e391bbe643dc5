// SPDX-License-Identifier: GPL-2.0-or-later

/**
 * Fragments that are refused, hostile and clumsy, each with what is said of it. A place is line and column of the fragment;
 * ALICE stands for the fragment's name.
 */
export const REFUSED: readonly (readonly [text: string, message: string])[] = [
  [
    "flush ruleset",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "flush ruleset"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    "flush table inet authnft",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "flush table inet authnft"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    "flush chain inet authnft filter",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "flush chain inet authnft"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    "flush set inet authnft session_map_cg",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "flush set inet authnft"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    "delete table inet authnft",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "delete table inet authnft"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    "destroy table inet authnft",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "destroy table inet authnft"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    "delete rule inet authnft members_out handle 3",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "delete rule inet authnft"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    "delete element inet authnft session_in { 1 }",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "delete element inet authnft"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    "insert rule inet authnft filter accept",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "insert rule inet authnft"; write "add rule inet authnft …".',
  ],
  [
    "replace rule inet authnft filter handle 3 accept",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "replace rule inet authnft"; write "add rule inet authnft …".',
  ],
  [
    "create rule inet authnft filter accept",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "create rule inet authnft"; write "add rule inet authnft …".',
  ],
  [
    "rename chain inet authnft filter x",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "rename chain inet authnft"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    "list ruleset",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "list ruleset"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    "reset counters",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "reset counters"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    "reset rules inet authnft",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "reset rules inet authnft"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    "monitor",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "monitor"; write "add rule inet authnft egress …".',
  ],
  [
    "export ruleset json",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "export ruleset json"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    "describe ip saddr",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "describe ip saddr"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    "get element inet authnft session_map_cg { 1 }",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "get element inet authnft"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    "define user_ip = 0.0.0.0/0",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "define user_ip = 0.0.0.0"; write the value where it is used.',
  ],
  [
    "redefine x = 1",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "redefine x = 1"; write the value where it is used.',
  ],
  [
    "undefine x",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "undefine x"; write the value where it is used.',
  ],
  [
    'error "x"',
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "error "x""; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    "add element inet authnft session_in { 1 : accept }",
    '1:1: there is no set or map "session_in" in this fragment; add it, with "add set inet authnft session_in { … }".',
  ],
  [
    "add table inet evil",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "add table inet evil"; put it into the host\'s own rules, and let them match on a mark that is set here.',
  ],
  [
    "add flowtable inet authnft f { hook ingress priority 0; }",
    '1:55: a ";" inside braces; a fragment has no blocks, only commands.',
  ],
  [
    "add chain inet authnft x { type filter hook output priority -300; policy accept; }",
    '1:65: a ";" inside braces; a fragment has no blocks, only commands.',
  ],
  [
    "add chain inet authnft x { type filter hook output priority -300 }",
    "1:26: a fragment's chain has no braces, for it is no base chain; add its rules one by one.",
  ],
  [
    "table inet authnft { chain filter { accept } }",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "table inet authnft {"; write commands instead of blocks, and what is for other tables into the host\'s own rules.',
  ],
  [
    "#!/usr/sbin/nft -f\nflush ruleset",
    '2:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "flush ruleset"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    "add",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "add"; write "add rule inet authnft egress …" or one of the others.',
  ],
  [
    "add rule",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "add rule"; put it into the host\'s own rules, and let them match on a mark that is set here.',
  ],
  [
    "add rule inet authnft",
    '1:1: a fragment\'s rules go to chain filter (what arrives) or egress (what is sent), or to a chain that it adds itself, not ""; write one of the two, or add the chain.',
  ],
  ["add rule inet authnft filter", "1:1: the rule is empty; say what to match and what to do."],
  ["add rule inet authnft @session_chain", "1:1: the rule is empty; say what to match and what to do."],
  [
    "ADD RULE inet authnft filter accept",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "ADD RULE inet authnft"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    'add rule inet "authnft" filter accept',
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "add rule inet "authnft""; put it into the host\'s own rules, and let them match on a mark that is set here.',
  ],
  [
    "add rule authnft filter accept",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "add rule authnft filter"; write "add rule inet authnft egress …" or one of the others.',
  ],
  [
    "add rule ip authnft filter accept",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "add rule ip authnft"; write "add rule inet authnft egress …" or one of the others.',
  ],
  [
    "add rule ip6 authnft egress accept",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "add rule ip6 authnft"; write "add rule inet authnft egress …" or one of the others.',
  ],
  [
    "add rule netdev authnft egress accept",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "add rule netdev authnft"; write "add rule inet authnft egress …" or one of the others.',
  ],
  [
    "add rule inet filter input accept",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "add rule inet filter"; put it into the host\'s own rules, and let them match on a mark that is set here.',
  ],
  [
    "add inet authnft filter accept",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "add inet authnft filter"; write "add rule inet authnft egress …" or one of the others.',
  ],
  [
    "rule inet authnft filter accept",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "rule inet authnft filter"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    "accept",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "accept"; write "add rule inet authnft egress …".',
  ],
  [
    "add rule inet authnft input accept",
    '1:23: a fragment\'s rules go to chain filter (what arrives) or egress (what is sent), or to a chain that it adds itself, not "input"; write one of the two, or add the chain.',
  ],
  [
    "add rule inet authnft Filter accept",
    '1:23: a fragment\'s rules go to chain filter (what arrives) or egress (what is sent), or to a chain that it adds itself, not "Filter"; write one of the two, or add the chain.',
  ],
  [
    "add rule inet authnft filter.x accept",
    '1:23: a fragment\'s rules go to chain filter (what arrives) or egress (what is sent), or to a chain that it adds itself, not "filter.x"; write one of the two, or add the chain.',
  ],
  [
    'add rule inet authnft "filter" accept',
    '1:23: a fragment\'s rules go to chain filter (what arrives) or egress (what is sent), or to a chain that it adds itself, not ""filter""; write one of the two, or add the chain.',
  ],
  [
    "add rule inet authnft members_in accept",
    '1:23: a fragment\'s rules go to chain filter (what arrives) or egress (what is sent), or to a chain that it adds itself, not "members_in"; write one of the two, or add the chain.',
  ],
  [
    "add rule inet authnft members_out accept",
    '1:23: a fragment\'s rules go to chain filter (what arrives) or egress (what is sent), or to a chain that it adds itself, not "members_out"; write one of the two, or add the chain.',
  ],
  [
    "add rule inet authnft session_bob_77_in accept",
    '1:23: a fragment\'s rules go to chain filter (what arrives) or egress (what is sent), or to a chain that it adds itself, not "session_bob_77_in"; write one of the two, or add the chain.',
  ],
  [
    "add rule inet authnft session_alice_4711_judged accept",
    '1:23: a fragment\'s rules go to chain filter (what arrives) or egress (what is sent), or to a chain that it adds itself, not "session_alice_4711_judged"; write one of the two, or add the chain.',
  ],
  [
    "add rule inet authnft @session_in accept",
    '1:23: a fragment\'s rules go to chain filter (what arrives) or egress (what is sent), or to a chain that it adds itself, not "@session_in"; write one of the two, or add the chain.',
  ],
  [
    "add rule inet authnft @session_map_cg accept",
    '1:23: a fragment\'s rules go to chain filter (what arrives) or egress (what is sent), or to a chain that it adds itself, not "@session_map_cg"; write one of the two, or add the chain.',
  ],
  [
    "add rule inet authnft @ session_chain accept",
    '1:23: a fragment\'s rules go to chain filter (what arrives) or egress (what is sent), or to a chain that it adds itself, not "@"; write one of the two, or add the chain.',
  ],
  [
    "add rule inet authnft $user_name accept",
    '1:23: a fragment\'s rules go to chain filter (what arrives) or egress (what is sent), or to a chain that it adds itself, not "$"; write one of the two, or add the chain.',
  ],
  [
    "add rule inet authnft constructor accept",
    '1:23: a fragment\'s rules go to chain filter (what arrives) or egress (what is sent), or to a chain that it adds itself, not "constructor"; write one of the two, or add the chain.',
  ],
  [
    "add rule inet authnft __proto__ accept",
    '1:23: a fragment\'s rules go to chain filter (what arrives) or egress (what is sent), or to a chain that it adds itself, not "__proto__"; write one of the two, or add the chain.',
  ],
  [
    "add rule inet authnft filter accept; flush ruleset",
    '1:38: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "flush ruleset"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    "add rule inet authnft filter accept;flush ruleset",
    '1:37: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "flush ruleset"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    "add rule inet authnft filter accept\nflush ruleset",
    '2:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "flush ruleset"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    "add rule inet authnft filter accept # \\\nflush ruleset",
    '2:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "flush ruleset"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    "add rule inet authnft \\\n input accept",
    '2:2: a fragment\'s rules go to chain filter (what arrives) or egress (what is sent), or to a chain that it adds itself, not "input"; write one of the two, or add the chain.',
  ],
  [
    'add rule inet authnft filter log prefix "a\nflush ruleset"',
    "1:41: a string is opened here and not closed on this line; close it.",
  ],
  [
    "add rule inet authnft filter tcp dport { 22; flush ruleset }",
    '1:44: a ";" inside braces; a fragment has no blocks, only commands.',
  ],
  [
    "add rule inet authnft filter accept\radd table inet evil",
    "1:36: a carriage return; save the file with Unix line ends.",
  ],
  [
    "add rule inet authnft filter accept\u000badd table inet evil",
    '1:36: the character "\\u000b" has no meaning in nftables; take it out.',
  ],
  [
    "add rule inet authnft filter accept add table inet evil",
    '1:36: the character " " has no meaning in nftables; take it out.',
  ],
  [
    "add rule inet authnft filter jump session_bob_77_in",
    '1:30: "jump session_bob_77_in" leads to no chain that the fragment adds itself, and only such may be reached; add it, with "add chain inet authnft <name>".',
  ],
  [
    "add rule inet authnft filter goto session_bob_77_in",
    '1:30: "goto session_bob_77_in" leads to no chain that the fragment adds itself, and only such may be reached; add it, with "add chain inet authnft <name>".',
  ],
  [
    "add rule inet authnft filter goto session_alice_4711_judged",
    '1:30: "goto session_alice_4711_judged" leads to no chain that the fragment adds itself, and only such may be reached; add it, with "add chain inet authnft <name>".',
  ],
  [
    "add rule inet authnft filter tcp dport 22 \\\n jump members_out",
    '2:2: "jump members_out" leads to no chain that the fragment adds itself, and only such may be reached; add it, with "add chain inet authnft <name>".',
  ],
  [
    "add rule inet authnft filter jump { accept }",
    '1:30: "jump {" leads to no chain that the fragment adds itself, and only such may be reached; add it, with "add chain inet authnft <name>".',
  ],
  [
    "add rule inet authnft filter goto { accept; }",
    '1:43: a ";" inside braces; a fragment has no blocks, only commands.',
  ],
  [
    "add rule inet authnft filter tcp dport vmap { 22 : jump session_bob_77_in }",
    '1:52: "jump session_bob_77_in" leads to no chain that the fragment adds itself, and only such may be reached; add it, with "add chain inet authnft <name>".',
  ],
  [
    "add rule inet authnft filter tcp dport vmap {22:goto session_bob_77_in}",
    '1:49: "goto session_bob_77_in" leads to no chain that the fragment adds itself, and only such may be reached; add it, with "add chain inet authnft <name>".',
  ],
  [
    'add rule inet authnft filter comment "x"jump session_bob_77_in',
    '1:41: "jump session_bob_77_in" leads to no chain that the fragment adds itself, and only such may be reached; add it, with "add chain inet authnft <name>".',
  ],
  [
    "add rule inet authnft egress socket cgroupv2 level 2 vmap @session_out",
    '1:59: there is no map "session_out" in this fragment; add it, with "add map inet authnft <name> { type … : …; }".',
  ],
  [
    "add rule inet authnft egress socket cgroupv2 level 2 vmap @ session_out",
    '1:59: there is no map "session_out" in this fragment; add it, with "add map inet authnft <name> { type … : …; }".',
  ],
  [
    "add rule inet authnft egress socket cgroupv2 level 1 @member_slices accept",
    '1:54: cannot use the set "@member_slices"; there are @session_map_ipv4, @session_map_ipv6 and @session_map_cg, and what the fragment adds itself, with "add set inet authnft <name> { … }".',
  ],
  [
    "add rule inet authnft egress ip daddr @\\\nbob accept",
    '1:39: cannot use the set "@bob"; there are @session_map_ipv4, @session_map_ipv6 and @session_map_cg, and what the fragment adds itself, with "add set inet authnft <name> { … }".',
  ],
  [
    "add rule inet authnft egress ip daddr @constructor accept",
    '1:39: cannot use the set "@constructor"; there are @session_map_ipv4, @session_map_ipv6 and @session_map_cg, and what the fragment adds itself, with "add set inet authnft <name> { … }".',
  ],
  [
    "add rule inet authnft egress ip daddr @__proto__ accept",
    '1:39: cannot use the set "@__proto__"; there are @session_map_ipv4, @session_map_ipv6 and @session_map_cg, and what the fragment adds itself, with "add set inet authnft <name> { … }".',
  ],
  [
    "add rule inet authnft egress ip daddr @session_map_ipv4x accept",
    '1:39: cannot use the set "@session_map_ipv4x"; there are @session_map_ipv4, @session_map_ipv6 and @session_map_cg, and what the fragment adds itself, with "add set inet authnft <name> { … }".',
  ],
  [
    "add rule inet authnft egress meta mark set ip daddr map @session_map_ipv4",
    '1:57: there is no map "session_map_ipv4" in this fragment; add it, with "add map inet authnft <name> { type … : …; }".',
  ],
  [
    "add rule inet authnft egress add @session_map_ipv4 { ip daddr }",
    '1:30: "add" has no place in a rule of a fragment: it would change a set that is not the fragment\'s own; add one, with "add set inet authnft <name> { … }".',
  ],
  [
    "add rule inet authnft egress update @session_map_cg { socket cgroupv2 level 2 }",
    '1:30: "update" has no place in a rule of a fragment: it would change a set that is not the fragment\'s own; add one, with "add set inet authnft <name> { … }".',
  ],
  [
    "add rule inet authnft egress delete @ session_map_cg { socket cgroupv2 level 2 }",
    '1:30: "delete" has no place in a rule of a fragment: it would change a set that is not the fragment\'s own; add one, with "add set inet authnft <name> { … }".',
  ],
  [
    "add rule inet authnft egress set add ip daddr @session_map_ipv4",
    '1:34: "set add" has no place in a rule of a fragment; write "add @<set> { … }", with a set that the fragment adds itself.',
  ],
  [
    "add rule inet authnft egress set update ip daddr timeout 1d @session_map_ipv4",
    '1:34: "set update" has no place in a rule of a fragment; write "update @<set> { … }", with a set that the fragment adds itself.',
  ],
  [
    "add rule inet authnft egress flow add @f",
    '1:35: "flow add" has no place in a rule of a fragment; write "add @<set> { … }", with a set that the fragment adds itself.',
  ],
  [
    "add rule inet authnft egress flow offload @f",
    '1:43: cannot use the set "@f"; there are @session_map_ipv4, @session_map_ipv6 and @session_map_cg, and what the fragment adds itself, with "add set inet authnft <name> { … }".',
  ],
  [
    "add rule inet authnft filter ct label set 5",
    '1:33: "ct label set" has no place in a fragment: labels say which flows were judged; set "ct mark".',
  ],
  [
    "add rule inet authnft filter ct \\\n label \\\n set 5",
    '2:2: "ct label set" has no place in a fragment: labels say which flows were judged; set "ct mark".',
  ],
  [
    "add rule inet authnft filter ct\tlabel\tset ct mark",
    '1:33: "ct label set" has no place in a fragment: labels say which flows were judged; set "ct mark".',
  ],
  [
    "add rule inet authnft filter ip saddr $user_home accept",
    '1:39: there is no variable "$user_home"; there are $user_ip, $user_id and $user_name.',
  ],
  [
    "add rule inet authnft filter ip saddr $user_ip/24 accept",
    '1:39: there is no variable "$user_ip/24"; there are $user_ip, $user_id and $user_name.',
  ],
  [
    "add rule inet authnft filter ip saddr $",
    '1:39: there is no variable "$"; there are $user_ip, $user_id and $user_name.',
  ],
  [
    "add rule inet authnft filter ip saddr $$user_ip",
    '1:39: there is no variable "$$"; there are $user_ip, $user_id and $user_name.',
  ],
  [
    'add rule inet authnft filter ip saddr $"user_ip"',
    '1:39: there is no variable "$"user_ip""; there are $user_ip, $user_id and $user_name.',
  ],
  [
    "add rule inet authnft filter ip saddr $\u007buser_ip}",
    '1:39: there is no variable "${"; there are $user_ip, $user_id and $user_name.',
  ],
  [
    "add rule inet authnft filter ip saddr $constructor",
    '1:39: there is no variable "$constructor"; there are $user_ip, $user_id and $user_name.',
  ],
  [
    'add rule inet authnft filter include "/etc/authnft/x"',
    '1:30: "include" has no place in a rule of a fragment; put it on a line of its own.',
  ],
  [
    'include "/etc/passwd"',
    '1:1: cannot include "/etc/passwd"; name one plain file below /etc/authnft, by its full name, without "..", "*", "?" or "[".',
  ],
  [
    "add rule inet authnft filter ip saddr “192.0.2.7” accept",
    '1:39: the character "“" has no meaning in nftables; take it out.',
  ],
  [
    "add rule inet authnft filter tcp dport 8000–8099 accept",
    '1:44: the character "–" has no meaning in nftables; take it out.',
  ],
  ["add rule inet authnft filter accept", '1:22: the character " " has no meaning in nftables; take it out.'],
  [
    "add rule inet authnft filter $(id)",
    '1:30: there is no variable "$("; there are $user_ip, $user_id and $user_name.',
  ],
  ["add rule inet authnft filter `id`", '1:30: the character "`" has no meaning in nftables; take it out.'],
  [
    "<<<<<<< HEAD",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "< < < <"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    "add set inet authnft s\nadd rule inet authnft egress accept\n",
    '1:22: a set needs braces; write "add set inet authnft s { type ipv4_addr; }".',
  ],
  [
    "add set inet authnft s { }\nadd rule inet other x accept",
    '2:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "add rule inet other"; put it into the host\'s own rules, and let them match on a mark that is set here.',
  ],
  [
    "add set inet other s { type ipv4_addr; }\nadd rule inet authnft egress accept\n",
    '1:9: a fragment adds to "inet authnft" only; write "add set inet authnft <name>".',
  ],
  [
    "add set ip authnft s { type ipv4_addr; }\nadd rule inet authnft egress accept\n",
    '1:9: a fragment adds to "inet authnft" only; write "add set inet authnft <name>".',
  ],
  [
    "add set authnft s { type ipv4_addr; }\nadd rule inet authnft egress accept\n",
    '1:9: a fragment adds to "inet authnft" only; write "add set inet authnft <name>".',
  ],
  [
    "add set inet authnft 9s { type ipv4_addr; }\nadd rule inet authnft egress accept\n",
    '1:22: "9s" is no name for a set; begin with a letter, and go on with at most 62 of A-Z a-z 0-9 _ . -',
  ],
  [
    'add set inet authnft "s" { type ipv4_addr; }\nadd rule inet authnft egress accept\n',
    '1:22: ""s"" is no name for a set; begin with a letter, and go on with at most 62 of A-Z a-z 0-9 _ . -',
  ],
  [
    "add set inet authnft s/t { type ipv4_addr; }\nadd rule inet authnft egress accept\n",
    '1:22: "s/t" is no name for a set; begin with a letter, and go on with at most 62 of A-Z a-z 0-9 _ . -',
  ],
  [
    "add set inet authnft ssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssss { type ipv4_addr; }\nadd rule inet authnft egress accept\n",
    '1:22: "ssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssss" is no name for a set; begin with a letter, and go on with at most 62 of A-Z a-z 0-9 _ . -',
  ],
  [
    "add set inet authnft in { type ipv4_addr; }\nadd rule inet authnft egress accept\n",
    '1:22: the name "in" is taken; choose another.',
  ],
  [
    "add chain inet authnft out\nadd rule inet authnft egress accept\n",
    '1:24: the name "out" is taken; choose another.',
  ],
  [
    "add chain inet authnft judged\nadd rule inet authnft egress accept\n",
    '1:24: the name "judged" is taken; choose another.',
  ],
  [
    "add chain inet authnft filter\nadd rule inet authnft egress accept\n",
    '1:24: the name "filter" is taken; choose another.',
  ],
  [
    "add chain inet authnft egress\nadd rule inet authnft egress accept\n",
    '1:24: the name "egress" is taken; choose another.',
  ],
  [
    "add chain inet authnft web { }\nadd rule inet authnft egress accept\n",
    "1:28: a fragment's chain has no braces, for it is no base chain; add its rules one by one.",
  ],
  [
    "add chain inet authnft web { policy drop; }\nadd rule inet authnft egress accept\n",
    '1:41: a ";" inside braces; a fragment has no blocks, only commands.',
  ],
  [
    "add chain inet authnft web accept\nadd rule inet authnft egress accept\n",
    "1:28: a fragment's chain has no braces, for it is no base chain; add its rules one by one.",
  ],
  [
    "add set inet authnft s { type ipv4_addr; } flush ruleset\nadd rule inet authnft egress accept\n",
    "1:44: behind the name comes what is in braces, { … }, and nothing else; take this out, or put it on a line of its own.",
  ],
  [
    "add set inet authnft s { type ipv4_addr; }; flush ruleset",
    '1:45: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "flush ruleset"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    "add set inet authnft s { type ipv4_addr; hook input; }\nadd rule inet authnft egress accept\n",
    '1:42: "hook" cannot be said of a set; there are auto-merge, comment, counter, elements, flags, gc-interval, limit, policy, quota, size, timeout, type, typeof.',
  ],
  [
    "add set inet authnft s { type ipv4_addr; elements = { www.example.org } }\nadd rule inet authnft egress accept\n",
    '1:55: "www.example.org" is no address, and host names are not looked up at login; write the addresses.',
  ],
  [
    "add set inet authnft s { type ipv4_addr . inet_service; elements = { localhost . ssh } }\nadd rule inet authnft egress accept\n",
    '1:70: "localhost" is no address, and host names are not looked up at login; write the addresses.',
  ],
  [
    "add set inet authnft s { type ipv4_addr; elements = { $user_ip } }\nadd rule inet authnft egress accept\n",
    '1:55: a variable among the elements of a definition; put it into a command of its own, "add element inet authnft s { … }".',
  ],
  [
    "add set inet authnft s { type ipv4_addr; elements = { $home } }\nadd rule inet authnft egress accept\n",
    '1:55: a variable among the elements of a definition; put it into a command of its own, "add element inet authnft s { … }".',
  ],
  [
    "add map inet authnft m { type inet_service : verdict; elements = { 22 : jump session_bob_77_in } }\nadd rule inet authnft egress accept\n",
    '1:73: "jump session_bob_77_in" leads to no chain that the fragment adds itself, and only such may be reached; add it, with "add chain inet authnft <name>".',
  ],
  [
    "add map inet authnft m { type inet_service : verdict; elements = { 22 : goto members_out } }\nadd rule inet authnft egress accept\n",
    '1:73: "goto members_out" leads to no chain that the fragment adds itself, and only such may be reached; add it, with "add chain inet authnft <name>".',
  ],
  [
    "add map inet authnft m { type ipv4_addr : counter; }\nadd rule inet authnft egress accept\n",
    "1:43: a map to objects is not for fragments; name the counter in a rule.",
  ],
  [
    "add map inet authnft m { type ipv4_addr : quota; }\nadd rule inet authnft egress accept\n",
    "1:43: a map to objects is not for fragments; name the quota in a rule.",
  ],
  [
    "add map inet authnft m { typeof ip saddr : limit; }\nadd rule inet authnft egress accept\n",
    "1:44: a map to objects is not for fragments; name the limit in a rule.",
  ],
  [
    "add element inet authnft s { 192.0.2.1 }\nadd rule inet authnft egress accept\n",
    '1:1: there is no set or map "s" in this fragment; add it, with "add set inet authnft s { … }".',
  ],
  [
    "add element inet authnft session_map_cg { 1 }\nadd rule inet authnft egress accept\n",
    '1:1: there is no set or map "session_map_cg" in this fragment; add it, with "add set inet authnft session_map_cg { … }".',
  ],
  [
    "add element inet authnft covered_slices { 1 }\nadd rule inet authnft egress accept\n",
    '1:1: there is no set or map "covered_slices" in this fragment; add it, with "add set inet authnft covered_slices { … }".',
  ],
  [
    "add element inet authnft slices_out { 1 : jump users_out }\nadd rule inet authnft egress accept\n",
    '1:1: there is no set or map "slices_out" in this fragment; add it, with "add set inet authnft slices_out { … }".',
  ],
  [
    "add set inet authnft s { type ipv4_addr; }\nadd element inet authnft s\nadd rule inet authnft egress accept\n",
    '2:26: an element needs braces; write "add element inet authnft s { … }".',
  ],
  [
    "add set inet authnft s { type ipv4_addr; }\nadd element inet authnft s { example.org }\nadd rule inet authnft egress accept\n",
    '2:30: "example.org" is no address, and host names are not looked up at login; write the addresses.',
  ],
  [
    "add set inet authnft s { type ipv4_addr; }\nadd set inet authnft s { type ipv6_addr; }\nadd rule inet authnft egress accept\n",
    '2:1: there is a set "s" already; give each its own name.',
  ],
  [
    "add counter inet authnft s\nadd quota inet authnft s { 1 mbytes }\nadd rule inet authnft egress accept\n",
    '2:1: there is a counter "s" already; give each its own name.',
  ],
  [
    "add counter inet authnft c { @session_map_cg }\nadd rule inet authnft egress accept\n",
    '1:30: "@" has no place in a counter; write "add counter inet authnft c { packets 0 bytes 0 }".',
  ],
  [
    "add quota inet authnft q { over { 1 } mbytes }\nadd rule inet authnft egress accept\n",
    '1:33: "{" has no place in a quota; write "add quota inet authnft q { over 500 mbytes }".',
  ],
  [
    "add limit inet authnft l { rate $user_id/second }\nadd rule inet authnft egress accept\n",
    '1:33: there is no variable "$user_id/second"; there are $user_ip, $user_id and $user_name.',
  ],
  [
    "add rule inet authnft egress counter name c accept",
    '1:38: there is no counter "c" in this fragment; add it, with "add counter inet authnft <name>".',
  ],
  [
    'add rule inet authnft egress quota name "q" drop',
    '1:36: there is no quota "q" in this fragment; add it, with "add quota inet authnft <name>".',
  ],
  [
    "add rule inet authnft egress limit name l accept",
    '1:36: there is no limit "l" in this fragment; add it, with "add limit inet authnft <name>".',
  ],
  [
    "add counter inet authnft c\nadd rule inet authnft egress quota name c drop",
    '2:36: there is no quota "c" in this fragment; add it, with "add quota inet authnft <name>".',
  ],
  [
    "add set inet authnft s { type ipv4_addr; }\nadd rule inet authnft egress jump s",
    '2:30: "jump s" leads to no chain that the fragment adds itself, and only such may be reached; add it, with "add chain inet authnft <name>".',
  ],
  [
    "add set inet authnft s { type ipv4_addr; }\nadd rule inet authnft egress tcp dport vmap @s",
    '2:45: there is no map "s" in this fragment; add it, with "add map inet authnft <name> { type … : …; }".',
  ],
  [
    "add chain inet authnft web\nadd rule inet authnft egress ip daddr @web accept",
    '2:39: cannot use the set "@web"; there are @session_map_ipv4, @session_map_ipv6 and @session_map_cg, and what the fragment adds itself, with "add set inet authnft <name> { … }".',
  ],
  [
    "add rule inet authnft web accept",
    '1:23: a fragment\'s rules go to chain filter (what arrives) or egress (what is sent), or to a chain that it adds itself, not "web"; write one of the two, or add the chain.',
  ],
  [
    "add map inet authnft m { type mark : verdict; }\nadd rule inet authnft egress update @session_in { socket cgroupv2 level 2 : accept }",
    '2:30: "update" has no place in a rule of a fragment: it would change a set that is not the fragment\'s own; add one, with "add set inet authnft <name> { … }".',
  ],
  [
    "create set inet authnft s { type ipv4_addr; }\nadd rule inet authnft egress accept\n",
    '1:43: a ";" inside braces; a fragment has no blocks, only commands.',
  ],
  [
    "delete set inet authnft s\nadd rule inet authnft egress accept\n",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "delete set inet authnft"; take it out, for a fragment only adds what a session begins with.',
  ],
  [
    'add ct helper inet authnft h { type "ftp" protocol tcp; }\nadd rule inet authnft egress accept\n',
    '1:55: a ";" inside braces; a fragment has no blocks, only commands.',
  ],
  [
    'add secmark inet authnft x { "system_u"; }\nadd rule inet authnft egress accept\n',
    '1:40: a ";" inside braces; a fragment has no blocks, only commands.',
  ],
  [
    "add synproxy inet authnft x { mss 1460; }\nadd rule inet authnft egress accept\n",
    '1:39: a ";" inside braces; a fragment has no blocks, only commands.',
  ],
  [
    "add set inet authnft s { type ipv4_addr;\nelements = { 192.0.2.1\nadd rule inet authnft egress accept\n",
    '2:12: this "{" is never closed; write the "}" that is missing.',
  ],
  [
    "add set inet authnft s { type ipv4_addr; }}\nadd rule inet authnft egress accept\n",
    '1:43: this "}" closes nothing; take it out.',
  ],
  [
    "table inet authnft {\n set s { type ipv4_addr; }\n}",
    '2:24: a ";" inside braces; a fragment has no blocks, only commands.',
  ],
  [
    "add rule inet authnft egress meter m { ip daddr counter }",
    '1:30: "meter" has no place in a rule of a fragment: nftables makes a set of it that all sessions share; add a set of the fragment\'s own, and write "update @set { … }".',
  ],
  [
    "add rule inet authnft egress tproxy to :3128",
    '1:30: "tproxy" has no place in a rule of a fragment: addresses are translated in the host\'s own nat table; set a mark here, and match on it there.',
  ],
  [
    "add rule inet authnft egress ip daddr example.org accept",
    '1:39: "example.org" is no address, and host names are not looked up at login; write the addresses.',
  ],
  [
    "add rule inet authnft egress ip daddr { 192.0.2.1, example.org } accept",
    '1:52: "example.org" is no address, and host names are not looked up at login; write the addresses.',
  ],
  [
    'add rule inet authnft egress log prefix "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"',
    "1:41: a string of more than 127 bytes; make it shorter.",
  ],
  [
    "add rule inet authnft egress tcp dport 22accept",
    '1:42: for nftables "22" ends here, and a new word begins; put a blank between.',
  ],
  [
    "add rule inet authnft egress ip daddr set 10.0.0.1",
    '1:30: "ip daddr set" has no place in a rule of a fragment: addresses are translated in the host\'s own nat table; set a mark here, and match on it there.',
  ],
  [
    "add rule inet authnft egress ip saddr set 10.0.0.1",
    '1:30: "ip saddr set" has no place in a rule of a fragment: addresses are translated in the host\'s own nat table; set a mark here, and match on it there.',
  ],
  [
    "add rule inet authnft egress tcp dport 80 ip daddr set 10.0.0.1 accept",
    '1:43: "ip daddr set" has no place in a rule of a fragment: addresses are translated in the host\'s own nat table; set a mark here, and match on it there.',
  ],
  [
    "add rule inet authnft egress ip6 daddr set ::1",
    '1:30: "ip6 daddr set" has no place in a rule of a fragment: addresses are translated in the host\'s own nat table; set a mark here, and match on it there.',
  ],
  [
    "add rule inet authnft egress tcp dport set 8080",
    '1:30: "tcp dport set" has no place in a rule of a fragment: addresses are translated in the host\'s own nat table; set a mark here, and match on it there.',
  ],
  [
    "add rule inet authnft egress udp sport set 53",
    '1:30: "udp sport set" has no place in a rule of a fragment: addresses are translated in the host\'s own nat table; set a mark here, and match on it there.',
  ],
  [
    "add rule inet authnft egress th dport set 53",
    '1:30: "th dport set" has no place in a rule of a fragment: addresses are translated in the host\'s own nat table; set a mark here, and match on it there.',
  ],
  [
    "add rule inet authnft egress ether saddr set 00:0f:54:0c:11:04",
    '1:30: "ether saddr set" has no place in a rule of a fragment; what may be set is meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress @nh,128,32 set 0x0a000009",
    '1:30: "@nh,128,32 set" has no place in a rule of a fragment; what may be set is meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress ip ttl set 64",
    '1:30: "ip ttl set" has no place in a rule of a fragment; what may be set is meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress ip ecn set ce",
    '1:30: "ip ecn set" has no place in a rule of a fragment; what may be set is meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress notrack",
    '1:30: "notrack" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress tcp dport 80 notrack",
    '1:43: "notrack" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress ct zone set 5",
    '1:30: "ct zone set" has no place in a rule of a fragment; what may be set is meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress ct original zone set 5",
    '1:30: "ct original zone set" has no place in a rule of a fragment; what may be set is meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress ct event set new",
    '1:30: "ct event set" has no place in a rule of a fragment; what may be set is meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    'add rule inet authnft egress ct helper set "ftp"',
    '1:30: "ct helper set" has no place in a rule of a fragment; what may be set is meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    'add rule inet authnft egress ct timeout set "t"',
    '1:30: "ct timeout set" has no place in a rule of a fragment; what may be set is meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    'add rule inet authnft egress ct expectation set "e"',
    '1:30: "ct expectation set" has no place in a rule of a fragment; what may be set is meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress ct label set 1",
    '1:33: "ct label set" has no place in a fragment: labels say which flows were judged; set "ct mark".',
  ],
  [
    "add rule inet authnft egress meta nftrace set 1",
    '1:30: "meta nftrace set" has no place in a rule of a fragment; what may be set is meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress meta pkttype set host",
    '1:30: "meta pkttype set" has no place in a rule of a fragment; what may be set is meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress meta secmark set 5",
    '1:30: "meta secmark set" has no place in a rule of a fragment; what may be set is meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress meta cgroup set 5",
    '1:30: "meta cgroup set" has no place in a rule of a fragment; what may be set is meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress meta iif set lo",
    '1:30: "meta iif set" has no place in a rule of a fragment; what may be set is meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress set 5",
    '1:30: "set" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress tcp option window count set 3",
    '1:30: "tcp option window count set" has no place in a rule of a fragment; what may be set is meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress tcp option maxseg kind set 2",
    '1:30: "tcp option maxseg kind set" has no place in a rule of a fragment; what may be set is meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress reset tcp option sack-perm",
    '1:30: "reset" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress dup to 10.0.0.1",
    '1:30: "dup" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress dup to 10.0.0.1 device lo",
    '1:30: "dup" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress fwd to lo",
    '1:30: "fwd" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress queue",
    '1:30: "queue" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress queue num 3",
    '1:30: "queue" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress tcp dport 80 queue num 3 bypass",
    '1:43: "queue" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress queue to jhash ip saddr mod 2",
    '1:30: "queue" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress flow offload f",
    '1:30: "flow" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress synproxy mss 1460 wscale 7",
    '1:30: "synproxy" has no place in a rule of a fragment: addresses are translated in the host\'s own nat table; set a mark here, and match on it there.',
  ],
  [
    'add rule inet authnft egress xt target "TPROXY"',
    '1:30: "xt" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    'add rule inet authnft egress xt match "x"',
    '1:30: "xt" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress objref x",
    '1:30: "objref" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress nftrace set 1",
    '1:30: "nftrace" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress snat to 10.0.0.1",
    '1:30: "snat" has no place in a rule of a fragment: addresses are translated in the host\'s own nat table; set a mark here, and match on it there.',
  ],
  [
    "add rule inet authnft egress tcp dport 80 dnat to 10.0.0.1:8080",
    '1:43: "dnat" has no place in a rule of a fragment: addresses are translated in the host\'s own nat table; set a mark here, and match on it there.',
  ],
  [
    "add rule inet authnft egress tcp dport 80 redirect to :8080",
    '1:43: "redirect" has no place in a rule of a fragment: addresses are translated in the host\'s own nat table; set a mark here, and match on it there.',
  ],
  [
    "add rule inet authnft egress masquerade random",
    '1:30: "masquerade" has no place in a rule of a fragment: addresses are translated in the host\'s own nat table; set a mark here, and match on it there.',
  ],
  [
    "add rule inet authnft egress tproxy ip to :3128",
    '1:30: "tproxy" has no place in a rule of a fragment: addresses are translated in the host\'s own nat table; set a mark here, and match on it there.',
  ],
  [
    "add rule inet authnft egress frobnicate",
    '1:30: "frobnicate" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress tcp dport 22 frobnicate accept",
    '1:43: "frobnicate" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress tcp dport 22 acccept",
    '1:43: "acccept" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress tcp dport redirect to :22",
    '1:40: "redirect" is not known to go on what "tcp" begins; see nft(8) on how that is written.',
  ],
  [
    "add rule inet authnft egress ct state snat",
    '1:39: "snat" is not known to go on what "ct" begins; see nft(8) on how that is written.',
  ],
  [
    "add rule inet authnft egress tcp dport masquerade",
    '1:40: "masquerade" has no place in a rule of a fragment: addresses are translated in the host\'s own nat table; set a mark here, and match on it there.',
  ],
  [
    "add rule inet authnft egress tcp dport { 80, dup }",
    '1:46: "dup" is not known to go on what "tcp" begins; see nft(8) on how that is written.',
  ],
  [
    "add rule inet authnft egress tcp dport 80 { 443 }",
    '1:43: "{" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress ip daddr 10.0.0.1 10.0.0.2 accept",
    '1:48: "10.0.0.2" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress (accept)",
    '1:31: "accept" is not known to go on what "(" begins; see nft(8) on how that is written.',
  ],
  [
    "add rule inet authnft egress counter packets many",
    '1:30: "counter" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress log flags everything",
    '1:40: "everything" is not known to go on what "log" begins; see nft(8) on how that is written.',
  ],
  [
    "add rule inet authnft egress reject with force",
    '1:42: "force" is not known to go on what "reject" begins; see nft(8) on how that is written.',
  ],
  [
    "add rule inet authnft egress counter name",
    '1:38: there is no counter "" in this fragment; add it, with "add counter inet authnft <name>".',
  ],
  [
    "add rule inet authnft egress numgen random modulo 2 vmap { 0 : accept }",
    '1:44: "modulo" is not known to go on what "numgen" begins; see nft(8) on how that is written.',
  ],
  [
    "add rule inet authnft egress ip daddr 10.0.0.1, tcp dport 22",
    '1:49: "tcp" is no address, and host names are not looked up at login; write the addresses.',
  ],
  [
    "add rule inet authnft egress -j ACCEPT",
    '1:30: "-" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress -p tcp --dport 22 -j ACCEPT",
    '1:30: "-" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress allow tcp dport 22",
    '1:30: "allow" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress accept all",
    '1:37: "all" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress tcp dport 22 allow",
    '1:43: "allow" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add rule inet authnft egress deny",
    '1:30: "deny" has no place in a rule of a fragment; besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment\'s own sets, comment, and what is set: meta mark, ct mark, meta priority, ip dscp, ip6 dscp, tcp option maxseg size.',
  ],
  [
    "add set inet authnft session_map_cg { type ipv4_addr; }\nadd rule inet authnft egress ip daddr @session_map_cg accept",
    '1:22: the name "session_map_cg" is taken; choose another.',
  ],
  [
    "add set inet authnft session_map_ipv4 { type ipv4_addr; }\nadd rule inet authnft egress ip daddr @session_map_ipv4 accept",
    '1:22: the name "session_map_ipv4" is taken; choose another.',
  ],
  [
    "add set inet authnft session_map_ipv6 { type ipv4_addr; }\nadd rule inet authnft egress ip daddr @session_map_ipv6 accept",
    '1:22: the name "session_map_ipv6" is taken; choose another.',
  ],
  [
    "add set inet authnft session_v4 { type ipv4_addr; }\nadd rule inet authnft egress ip daddr @session_v4 accept",
    '1:22: the name "session_v4" is taken; choose another.',
  ],
  [
    "add set inet authnft session_cg { type ipv4_addr; }\nadd rule inet authnft egress ip daddr @session_cg accept",
    '1:22: the name "session_cg" is taken; choose another.',
  ],
  [
    "add set inet authnft th { type ipv4_addr; }\nadd rule inet authnft egress ip daddr @th accept",
    '1:22: the name "th" is taken; choose another.',
  ],
  [
    "add set inet authnft nh { type ipv4_addr; }\nadd rule inet authnft egress ip daddr @nh accept",
    '1:22: the name "nh" is taken; choose another.',
  ],
  [
    "add map inet authnft session_map_cg { type ipv4_addr : verdict; }\nadd rule inet authnft egress ip daddr @session_map_cg accept",
    '1:22: the name "session_map_cg" is taken; choose another.',
  ],
  [
    "add map inet authnft session_map_ipv4 { type ipv4_addr : verdict; }\nadd rule inet authnft egress ip daddr @session_map_ipv4 accept",
    '1:22: the name "session_map_ipv4" is taken; choose another.',
  ],
  [
    "add map inet authnft session_map_ipv6 { type ipv4_addr : verdict; }\nadd rule inet authnft egress ip daddr @session_map_ipv6 accept",
    '1:22: the name "session_map_ipv6" is taken; choose another.',
  ],
  [
    "add map inet authnft session_v4 { type ipv4_addr : verdict; }\nadd rule inet authnft egress ip daddr @session_v4 accept",
    '1:22: the name "session_v4" is taken; choose another.',
  ],
  [
    "add map inet authnft session_cg { type ipv4_addr : verdict; }\nadd rule inet authnft egress ip daddr @session_cg accept",
    '1:22: the name "session_cg" is taken; choose another.',
  ],
  [
    "add map inet authnft th { type ipv4_addr : verdict; }\nadd rule inet authnft egress ip daddr @th accept",
    '1:22: the name "th" is taken; choose another.',
  ],
  [
    "add map inet authnft nh { type ipv4_addr : verdict; }\nadd rule inet authnft egress ip daddr @nh accept",
    '1:22: the name "nh" is taken; choose another.',
  ],
  [
    "add chain inet authnft session_v6\nadd rule inet authnft egress jump session_v6",
    '1:24: the name "session_v6" is taken; choose another.',
  ],
  [
    "table ip nat {\n  chain postrouting {\n    type nat hook postrouting priority srcnat; policy accept;\n    masquerade\n  }\n}",
    '3:46: a ";" inside braces; a fragment has no blocks, only commands.',
  ],
  [
    "table ip nat { chain postrouting { masquerade } }",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "table ip nat {"; write commands instead of blocks, and what is for other tables into the host\'s own rules.',
  ],
  [
    "add rule ip nat postrouting meta mark 1 masquerade",
    '1:1: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment\'s own ("add set inet authnft …") and include may stand in a fragment, not "add rule ip nat"; put it into the host\'s own rules, and let them match on a mark that is set here.',
  ],
  [
    "add rule inet authnft egress \\x",
    "1:30: a backslash may only stand at the very end of a line; take it out.",
  ],
  [
    "add rule inet authnft egress ip daddr vmap { 10.0.0.1 : accept, localhost : drop }",
    '1:65: "localhost" is no address, and host names are not looked up at login; write the addresses.',
  ],
  [
    "add rule inet authnft egress meta mark set ip daddr map { localhost : 1 }",
    '1:59: "localhost" is no address, and host names are not looked up at login; write the addresses.',
  ],
  [
    "add rule inet authnft egress ip daddr . tcp dport { localhost . 22 } accept",
    '1:53: "localhost" is no address, and host names are not looked up at login; write the addresses.',
  ],
  [
    "add rule inet authnft egress tcp dport . ip daddr vmap { 22 . localhost : accept }",
    '1:63: "localhost" is no address, and host names are not looked up at login; write the addresses.',
  ],
  [
    "add rule inet authnft egress ip daddr & 255.0.0.0 == localhost accept",
    '1:54: "localhost" is no address, and host names are not looked up at login; write the addresses.',
  ],
  [
    "add rule inet authnft egress ip daddr & localhost == 10.0.0.1 accept",
    '1:41: "localhost" is no address, and host names are not looked up at login; write the addresses.',
  ],
  [
    "add rule inet authnft egress ip daddr 10.0.0.1-localhost accept",
    '1:48: "localhost" is no address, and host names are not looked up at login; write the addresses.',
  ],
  [
    "add rule inet authnft egress ip daddr (localhost) accept",
    '1:40: "localhost" is no address, and host names are not looked up at login; write the addresses.',
  ],
  [
    "add rule inet authnft egress rt ip nexthop localhost accept",
    '1:44: "localhost" is no address, and host names are not looked up at login; write the addresses.',
  ],
  [
    'add rule inet authnft egress ip daddr "localhost" accept',
    '1:39: "localhost" is no address, and host names are not looked up at login; write the addresses.',
  ],
  [
    'add rule inet authnft egress ip daddr { 10.0.0.1, "localhost" } accept',
    '1:51: "localhost" is no address, and host names are not looked up at login; write the addresses.',
  ],
  [
    "add map inet authnft m { type mark : ipv4_addr; elements = { 1 : localhost } }\nadd rule inet authnft egress accept",
    '1:66: "localhost" is no address, and host names are not looked up at login; write the addresses.',
  ],
  [
    "add set inet authnft s { typeof rt ip nexthop; elements = { localhost } }\nadd rule inet authnft egress accept",
    '1:61: "localhost" is no address, and host names are not looked up at login; write the addresses.',
  ],
  [
    'add set inet authnft s { type ipv4_addr; elements = { "localhost" } }\nadd rule inet authnft egress accept',
    '1:55: "localhost" is no address, and host names are not looked up at login; write the addresses.',
  ],
  [
    "add set inet authnft s { typeof jhash ip saddr mod 2; }\nadd rule inet authnft egress accept",
    '1:33: "jhash" is no type that nftables can list; write "type mark", or what is kept there.',
  ],
  [
    "add set inet authnft s { type ipv4_addr; counter name c; }\nadd rule inet authnft egress accept",
    '1:50: the elements of a set have a counter each, and none with a name; write "counter" alone, or name it in a rule.',
  ],
  [
    "add set inet authnft s { type ipv4_addr; elements = { 192.0.2.1 }; elements = { 192.0.2.2 } }\nadd rule inet authnft egress accept",
    '1:68: "elements" is there already; say it once, with all that belongs to it.',
  ],
  [
    "add map inet authnft m { typeof ip daddr : ct helper; }\nadd rule inet authnft egress accept",
    "1:44: a map to objects is not for fragments; name the ct in a rule.",
  ],
  [
    "add set inet authnft s { type ipv4_addr; flags dynamic; }\nadd rule inet authnft egress update @s { ip daddr : 1 }",
    '2:51: "s" is a set, and only a map leads to something; take out the ":" and what follows, or add a map.',
  ],
  [
    "add set inet authnft e { type ipv4_addr; flags dynamic; }\nadd rule inet authnft egress add @e { localhost } accept",
    '2:39: "localhost" is no address, and host names are not looked up at login; write the addresses.',
  ],
  [
    "add rule inet authnft egress ct label . tcp dport { 1 . 22 } accept",
    '1:33: "ct label" cannot stand together with something else; match on "ct mark", or on each by itself.',
  ],
  [
    "add rule inet authnft egress ip daddr . ct label { 192.0.2.1 . 1 } accept",
    '1:44: "ct label" cannot stand together with something else; match on "ct mark", or on each by itself.',
  ],
  [
    "add set inet authnft s { typeof ct label . ip daddr; elements = { 1 . 192.0.2.1 } }\nadd rule inet authnft egress accept",
    '1:36: "ct label" cannot stand together with something else; match on "ct mark", or on each by itself.',
  ],
  [
    "add rule inet authnft egress meta mark set 5 - 6",
    '1:46: what is set is one value, and nftables does not reckon with "-"; there are and, or, xor, lshift and rshift.',
  ],
  [
    "add rule inet authnft egress meta mark set 5 / 6",
    '1:46: what is set is one value, and nftables does not reckon with "/"; there are and, or, xor, lshift and rshift.',
  ],
  [
    "add map inet authnft m { type ipv4_addr : verdict; flags interval; elements = { 10.0.0.0/8 : accept, * : drop } }\nadd rule inet authnft egress accept",
    '1:102: "*" cannot stand among the intervals of a map; write a rule for all others behind the one that uses it.',
  ],
  [
    "add set inet authnft s { type ipv4_addr; flags interval; }\nadd element inet authnft s { * }\nadd rule inet authnft egress accept",
    '2:30: "*" cannot stand among the intervals of a set; write a rule for all others behind the one that uses it.',
  ],
  [
    "add rule inet authnft egress fib saddr . iif oif . ip daddr { 1 . localhost } drop",
    '1:67: "localhost" is no address, and host names are not looked up at login; write the addresses.',
  ],
];
