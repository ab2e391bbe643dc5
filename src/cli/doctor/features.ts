// SPDX-License-Identifier: GPL-2.0-or-later
import type { Address } from "../../address.ts";
import { addSubject } from "../../ruleset/subject.ts";
import { baseTable } from "../../ruleset/table.ts";
import type { SubjectId } from "../../subjects/subject.ts";
import { cgroupId } from "../../system/kernel/cgroup.ts";
import { type Check, type Finding, fail, ok } from "./finding.ts";

/** The kernel features that the ruleset needs, each with its build option. */
type Feature = { readonly name: string; readonly option: string; readonly needs: readonly string[] };

/** A cgroup that every host with systemd has. */
const CGROUP = "init.scope";

const TRIAL = "inet authnft_trial";

const FEATURES: readonly Feature[] = [
  { name: "base chains at input and output", option: "CONFIG_NF_TABLES_INET", needs: [] },
  {
    name: "a verdict map keyed by a socket's cgroup",
    option: "CONFIG_NFT_SOCKET, CONFIG_SOCK_CGROUP_DATA",
    needs: [
      `add map ${TRIAL} sessions { typeof socket cgroupv2 level 2 : verdict; counter; }`,
      `add rule ${TRIAL} trial socket cgroupv2 level 2 vmap @sessions`,
    ],
  },
  {
    name: "connection tracking labels",
    option: "CONFIG_NFT_CT, CONFIG_NF_CONNTRACK_LABELS",
    needs: [`add rule ${TRIAL} trial ct label set 1|2`],
  },
  {
    name: "the kind of a destination address (fib)",
    option: "CONFIG_NFT_FIB_INET",
    needs: [
      `add rule ${TRIAL} trial fib daddr type { broadcast, multicast } accept`,
      `add rule ${TRIAL} trial fib saddr type != local fib saddr . oif type != local drop`,
    ],
  },
  {
    name: "headers that tell a packet's way",
    option: "CONFIG_NF_TABLES_INET",
    needs: [
      `add rule ${TRIAL} trial exthdr rt exists drop`,
      `add rule ${TRIAL} trial ip option lsrr exists drop`,
    ],
  },
  {
    name: "refusing with an answer (reject)",
    option: "CONFIG_NFT_REJECT_INET",
    needs: [
      `add rule ${TRIAL} trial meta l4proto tcp reject with tcp reset`,
      `add rule ${TRIAL} trial reject with icmpx admin-prohibited`,
    ],
  },
];

/** Tries the ruleset's features in a network namespace of its own. */
export const FEATURE_CHECKS: readonly Check[] = [{ name: "features", run: checkFeatures }];

async function checkFeatures(): Promise<Finding[]> {
  const { inPrivateNetwork } = await import("../../system/ffi/namespace.ts");
  const { runTransaction } = await import("../../system/ffi/nftables.ts");

  return inPrivateNetwork(() => {
    const complaintOf = (lines: readonly string[]): string | undefined => {
      try {
        runTransaction(lines);
        return undefined;
      } catch (error) {
        return (error as Error).message;
      }
    };
    const missing = FEATURES.flatMap((feature): Finding[] => {
      const complaint = complaintOf([
        `add table ${TRIAL}`,
        `add chain ${TRIAL} trial { type filter hook output priority filter - 1; policy accept; }`,
        ...feature.needs,
      ]);
      if (complaint === undefined) return [];
      return [
        fail({
          what: `The kernel or libnftables does not have ${feature.name}: ${complaint}.`,
          why: "The ruleset cannot be loaded without it, so every member's login is refused.",
          mend: `use a kernel with ${feature.option}, and nftables 1.0.6 or later`,
        }),
      ];
    });
    if (missing.length > 0) return missing;
    const parts = "The kernel and libnftables have all that the ruleset is made of";
    // Without it the cgroups are not unified, which was reported.
    if (cgroupId(CGROUP) === undefined) return [ok(`${parts}.`)];
    const complaint = complaintOf(wholeRuleset());
    if (complaint === undefined) return [ok(`${parts}; it was loaded on trial.`)];
    return [
      fail({
        what: `The ruleset cannot be loaded: ${complaint}.`,
        why: "The parts that it is made of are there, but not as this release writes them; every member's login is refused.",
        mend: "update the kernel and nftables, and report this as a bug of authnft",
      }),
    ];
  });
}

/** The ruleset with one session in it. */
function wholeRuleset(): string[] {
  const session = addSubject(
    {
      id: "trial" as SubjectId,
      cgroup: { path: CGROUP, id: 1n },
      addresses: ["2001:db8::1" as Address],
      comment: "trial",
      policy: { generation: 0 },
    },
    [{ kind: "rule", chain: "out", body: "tcp dport 443 accept" }],
  );
  return [...baseTable({ roots: [{ cgroup: CGROUP, chains: "members" }] }), ...session.lines];
}
