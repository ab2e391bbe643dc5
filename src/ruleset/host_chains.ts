// SPDX-License-Identifier: GPL-2.0-or-later
import { TABLE } from "./table.ts";

/** The host's own chains that drop by default, by the direction that they judge; in words, with their tables. */
export type DroppingChains = { readonly in: string | undefined; readonly out: string | undefined };

/**
 * Finds the base chains on the hooks input and output whose policy is to drop.
 *
 * @param listing all chains as `nft list chains` prints them
 */
export function droppingChains(listing: string): DroppingChains {
  const found: { in: string | undefined; out: string | undefined } = { in: undefined, out: undefined };
  let table = "";
  let chain = "";
  for (const line of listing.split("\n")) {
    table = /^table (.+) \{/.exec(line)?.[1] ?? table;
    chain = /^\s+chain (\S+) \{/.exec(line)?.[1] ?? chain;
    const hook = /^\s+type filter hook (input|output) .*policy drop;/.exec(line)?.[1];
    if (hook === undefined || table === TABLE) continue;
    const direction = hook === "input" ? "in" : "out";
    found[direction] ??= `chain ${chain} of table ${table}`;
  }
  return found;
}
