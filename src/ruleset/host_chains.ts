// SPDX-License-Identifier: GPL-2.0-or-later
import { TABLE } from "./table.ts";

/** The host's own chains that drop by default, by the direction that they judge; in words, with their tables. */
export type DroppingChains = { readonly in: string | undefined; readonly out: string | undefined };

/** A chain as nft prints it: its own line, and its rules. */
type Chain = { readonly table: string; readonly name: string; header: string; readonly rules: string[] };

/**
 * Finds the base chains on the hooks input and output that drop what they have not accepted: by their policy, or by their
 * last rule.
 *
 * @param listing the tables of the host as `nft list table` prints them
 */
export function droppingChains(listing: string): DroppingChains {
  const found: { in: string | undefined; out: string | undefined } = { in: undefined, out: undefined };
  const chains = chainsIn(listing);
  for (const chain of chains) {
    const [, hook, policy] = /^type filter hook (input|output) .*policy (\w+);/.exec(chain.header) ?? [];
    if (hook === undefined || chain.table === TABLE) continue;
    if (policy !== "drop" && !endsInDrop(chain, chains, [])) continue;
    const direction = hook === "input" ? "in" : "out";
    found[direction] ??= `chain ${chain.name} of table ${chain.table}`;
  }
  return found;
}

function chainsIn(listing: string): Chain[] {
  const chains: Chain[] = [];
  let table = "";
  let chain: Chain | undefined;
  for (const line of listing.split("\n")) {
    table = /^table (.+) \{/.exec(line)?.[1] ?? table;
    const name = /^\s+chain (\S+) \{/.exec(line)?.[1];
    if (name !== undefined) {
      chain = { table, name, header: "", rules: [] };
      chains.push(chain);
    } else if (/^\t?\}/.test(line)) chain = undefined;
    else if (/^\s+type .* hook /.test(line) && chain?.rules.length === 0) chain.header = line.trim();
    else if (line.trim() !== "") chain?.rules.push(line.trim());
  }
  return chains;
}

/** The statements that an unconditional rule may have before its verdict. */
const REMARK = /^(counter( packets \d+ bytes \d+)?|log( (prefix|level|group|snaplen|flags) \S+)*) /;

/** Tells whether a chain's last rule drops or rejects every packet, itself or by a chain that it leads to. */
function endsInDrop(chain: Chain, chains: readonly Chain[], above: readonly Chain[]): boolean {
  let rule = chain.rules.at(-1)?.replace(/"[^"]*"/g, '""') ?? "";
  while (REMARK.test(rule)) rule = rule.replace(REMARK, "");
  const [, verdict, target] =
    /^(?:(drop|reject)(?: with icmpx .*)?|(?:jump|goto) (\S+))(?: comment "")?$/.exec(rule) ?? [];
  if (verdict !== undefined) return true;
  const next = chains.find(({ table, name }) => table === chain.table && name === target);
  return next !== undefined && !above.includes(next) && endsInDrop(next, chains, [...above, chain]);
}
