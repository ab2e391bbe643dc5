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
