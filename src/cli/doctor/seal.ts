// SPDX-License-Identifier: GPL-2.0-or-later

import { isSealed, SETTINGS, sealState, stampBits, wantedBits } from "../../engine/seal.ts";
import { usersWithSlice } from "../../engine/slice/default.ts";
import { Refusal } from "../../refusal.ts";
import { formatStampBits, hexMark, type StampBits } from "../../ruleset/seal.ts";
import { TABLE, TABLE_NAME } from "../../ruleset/table.ts";
import { SEAL_UNITS, SLICE, userSlice } from "../../subjects/session/scope_unit.ts";
import { hostCommand } from "../../system/host/host_command.ts";
import { readText } from "../../system/host/text_file.ts";
import { cgroupId } from "../../system/kernel/cgroup.ts";
import { type Check, type Finding, fail, ok, warn } from "./finding.ts";

/** Examines the seal, and looks for other users of its marks. */
export const SEAL_CHECKS: readonly Check[] = [
  { name: "seal", run: checkSeal },
  { name: "marks", run: async () => [...checkSettings(), ...checkMarks()] },
];

/** Judges /proc/1/uid_map: outside of every user namespace each number there is stands for itself. */
export function isInUserNamespace(map: string | undefined): boolean {
  return map !== undefined && !/^\s*0\s+0\s+4294967295\s*$/.test(map);
}

async function checkSeal(): Promise<Finding[]> {
  const seal = sealState();
  const mend = `systemctl restart ${SEAL_UNITS.load} && authnft restore`;
  if (seal.state === "denied") {
    return [
      warn({
        what: `This host has no seal below the ruleset: ${seal.why}.`,
        why: "The ruleset holds alone: after a flush members have the network of everybody until a restoration, and what is not TCP or UDP reaches them unjudged.",
        mend: isInUserNamespace(readText("/proc/1/uid_map"))
          ? "in a user namespace the kernel has none for us: have the container run without one (systemd-nspawn: PrivateUsers=no), or give the container's host the firewall"
          : `use a kernel with CONFIG_CGROUP_BPF; in a container, have its manager let bpf(2) through (systemd-nspawn: SystemCallFilter=bpf in its .nspawn file); see whether ${SEAL_UNITS.keep} is mounted; then ${mend}`,
      }),
    ];
  }
  if (seal.state === "missing") {
    return [
      fail({
        what: `The seal below the ruleset is not loaded: ${SEAL_UNITS.load} has not run, or what it has loaded is gone.`,
        why: "What is sealed already stays so; a slice that comes now is held by the ruleset alone.",
        mend,
      }),
    ];
  }
  const { elements } = await import("../../system/ffi/nftables.ts");
  const covered = new Set(
    elements(TABLE_NAME, "covered_slices").map(({ key }) => Buffer.from(key).readBigUInt64LE()),
  );
  const closed = [SLICE, ...usersWithSlice().map(userSlice)].filter((slice) => {
    const id = cgroupId(slice);
    return id !== undefined && (slice === SLICE || covered.has(id));
  });
  const open = closed.filter((slice) => !isSealed(slice));
  if (open.length === 0) return [ok(`Slices that are sealed below the ruleset: ${closed.length}.`)];
  return [
    fail({
      what: `Not sealed below the ruleset: ${open.join(", ")}.`,
      why: "The ruleset alone holds what is in there; somebody took the seal off, or it was put there before there was one.",
      mend,
    }),
  ];
}

function checkSettings(): Finding[] {
  const wanted = wantedBits();
  if (wanted instanceof Refusal) {
    return [
      fail({
        what: wanted.message,
        why: "The bits in force stay until the next boot, and from then on the usual ones hold, which others on this host may use.",
        mend: `write "in" and "out" with one bit each, as pam_authnft(8) says, into a file that is root's alone; then systemctl restart ${SEAL_UNITS.load}`,
      }),
    ];
  }
  if (formatStampBits(wanted) === formatStampBits(stampBits())) return [];
  return [
    warn({
      what: `The bits that ${SETTINGS} names are not in force yet.`,
      why: "They hold from the next boot on: what carries them may not change under those who are logged in.",
      mend: "reboot",
    }),
  ];
}

function checkMarks(): Finding[] {
  // Terse: without the elements of sets, of which there may be very many.
  const listing = hostCommand("nft", "--terse", "list", "ruleset");
  const rules = hostCommand("ip", "rule");
  const bits = stampBits();
  const users = [
    ...(listing?.ok ? tablesThatUse(bits, listing.stdout) : []),
    ...(rules?.ok && usesBits(bits, rules.stdout.replace(/fwmark/g, "mark")) ? ["the routing rules"] : []),
  ].filter((user) => user !== `table ${TABLE}`);
  const named = `${hexMark(bits.in)} and ${hexMark(bits.out)}`;
  if (users.length === 0)
    return [ok(`Nobody else uses the bits of marks that stand for "may pass" (${named}).`)];
  return [
    warn({
      what: `The bits of marks that stand for "may pass" (${named}) are used by ${users.join(", ")}, too.`,
      why: "A packet that gets such a bit from somebody else is let through unjudged where no rule of ours drops it, and what others do with the bit happens to members' packets.",
      mend: "choose two bits that are free, in /etc/authnft/seal, as pam_authnft(8) says, and reboot",
    }),
  ];
}

/** Returns the tables of a listing of `nft list ruleset` that match or set one of the bits. */
export function tablesThatUse(bits: StampBits, listing: string): string[] {
  return listing
    .split(/^(?=table )/m)
    .filter((table) => usesBits(bits, table))
    .flatMap((table) => /^(table \S+ \S+)/.exec(table)?.[1] ?? []);
}

/** Whether a line that speaks of a mark has a number with one of the bits. */
function usesBits(bits: StampBits, text: string): boolean {
  return text.split("\n").some((line) => {
    const [, said] = /\bmark\b(.*)/.exec(line) ?? [];
    return [...(said ?? "").matchAll(/\b0x[0-9a-f]+\b/gi)].some(([number]) =>
      hasBit(bits, Number.parseInt(number, 16)),
    );
  });
}

/** A mask of more than half of the bits clears somebody's own bits and leaves the others alone. */
const HALF = 16;

function hasBit(bits: StampBits, value: number): boolean {
  const count = value.toString(2).replace(/0/g, "").length;
  return count <= HALF && (value & (bits.in | bits.out)) >>> 0 !== 0;
}
