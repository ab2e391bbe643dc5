// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import { droppingChains } from "../../../src/ruleset/host_chains.ts";

test("droppingChains finds the host's, and not ours", () => {
  const listing = `table inet authnft {
	chain egress {
		type filter hook output priority filter - 1; policy drop;
	}
}
table inet filter {
	chain in {
		type filter hook input priority filter; policy drop;
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
	}
	chain out {
		type filter hook output priority filter; policy accept;
	}
	chain helper {
	}
}
table ip nat {
	chain later {
		type filter hook input priority 10; policy drop;
	}
}
`;
  expect(droppingChains(listing)).toEqual({ in: "chain in of table inet filter", out: undefined });
  expect(droppingChains("")).toEqual({ in: undefined, out: undefined });
});

/** The table of a host whose chain output ends in this rule. */
const ending = (rule: string): string => `table inet filter {
	set blocked {
		type ipv4_addr
	}

	chain output {
		type filter hook output priority filter; policy accept;
		ct state established,related accept
		${rule}
	}

	chain last {
		counter packets 5 bytes 7 reject with icmpx admin-prohibited
	}

	chain open {
		tcp dport 22 accept
	}
}
`;

test.each([
  "drop",
  "counter drop",
  "counter packets 0 bytes 0 drop",
  'log prefix "no: drop " level info drop',
  'counter log prefix "x" drop comment "the rest; all of it"',
  "reject",
  "reject with icmpx admin-prohibited",
  "jump last",
  "goto last",
])("a chain that ends in %j drops by default", (rule) => {
  expect(droppingChains(ending(rule))).toEqual({
    in: undefined,
    out: "chain output of table inet filter",
  });
});

test.each([
  "accept",
  "tcp dport 25 drop",
  "meta mark and 0x00100000 != 0 accept",
  "ip daddr @blocked drop",
  "limit rate over 10/second drop",
  "reject with tcp reset", // nftables adds that it is for TCP
  'counter comment "drop"',
  "jump open",
  "jump output",
  "jump nowhere",
])("a chain that ends in %j does not", (rule) => {
  expect(droppingChains(ending(rule)).out).toBeUndefined();
});

test("what is dropped before the end is not all", () => {
  const listing = ending("accept").replace("ct state established,related accept", "drop");
  expect(droppingChains(listing).out).toBeUndefined();
});

test("a chain leads to one of its own table, whatever others are called", () => {
  const listing = `table inet other {
	chain last {
		drop
	}
}
table inet filter {
	chain output {
		type filter hook output priority filter; policy accept;
		jump last
	}
	chain last {
		accept
	}
}
`;
  expect(droppingChains(listing)).toEqual({ in: undefined, out: undefined });
});
