// SPDX-License-Identifier: GPL-2.0-or-later

import { readRecords } from "../../engine/session/records.ts";
import { closedUserSlices, usersWithSlice } from "../../engine/slice/default.ts";
import { chainOf } from "../../ruleset/removal.ts";
import { TABLE, TABLE_NAME } from "../../ruleset/table.ts";
import { hasRules } from "../../subjects/session/record.ts";
import { SLICE, sessionId } from "../../subjects/session/scope_unit.ts";
import { GROUP } from "../../system/ffi/users.ts";
import { hostCommand } from "../../system/host/host_command.ts";
import { readText } from "../../system/host/text_file.ts";
import { cgroupId, cgroupOfProcess } from "../../system/kernel/cgroup.ts";
import { standings } from "../standing.ts";
import { type Check, type Finding, fail, listed, ok, warn } from "./finding.ts";

/** The fill level from which a full connection tracking table is near, as a fraction. */
const NEARLY_FULL = 0.8;

/** Examines the rules in force, and neighbours that could get in their way. */
export const RULESET_CHECKS: readonly Check[] = [
  { name: "table", run: async () => [await checkTable()] },
  { name: "sessions", run: () => lookPatiently(checkSessions) },
  { name: "covers", run: () => lookPatiently(checkCovers) },
  { name: "conntrack", run: () => [checkConntrack()] },
  { name: "labels", run: () => checkLabels() },
  { name: "mptcp", run: () => checkMptcp() },
];

/** How many looks it takes to call something a failure, and how long a login or logout may be half done, in milliseconds. */
const LOOKS = 4;
const HALF_DONE = 250;

/** Looks again where something has failed: sessions open and close meanwhile, each in steps. */
export async function lookPatiently(
  look: () => Finding[] | Promise<Finding[]>,
  pause = HALF_DONE,
): Promise<Finding[]> {
  for (let looks = 1; ; looks++) {
    const found = await look();
    if (looks === LOOKS || !found.some(({ level }) => level === "fail")) return found;
    await Bun.sleep(pause);
  }
}

async function checkTable(): Promise<Finding> {
  const { elements } = await import("../../system/ffi/nftables.ts");
  const mend = "systemctl restart authnft.service";
  const closed = elements(TABLE_NAME, "slices_in").map(({ key }) => Buffer.from(key).readBigUInt64LE());
  if (closed.length === 0) {
    return fail({
      what: `The table ${TABLE} is not loaded.`,
      why: "Until it is, the seal leaves members without network, and where there is none they have that of everybody. A reload of the firewall that begins with a flush removes it.",
      mend,
    });
  }
  const id = cgroupId(SLICE);
  if (id === undefined || !closed.includes(id)) {
    return fail({
      what: `The table ${TABLE} is not about the cgroup that ${SLICE} has now.`,
      why: "The slice was stopped and started again since the table was loaded, so the seal alone holds members, if there is one.",
      mend,
    });
  }
  return ok(`The table ${TABLE} is loaded, and closes ${SLICE}.`);
}

/** Whether every live session is under its rules. */
async function checkSessions(): Promise<Finding[]> {
  const nftables = await import("../../system/ffi/nftables.ts");
  const live = readRecords().filter(
    (record) => hasRules(record) && cgroupId(record.cg_path) === BigInt(record.cg_id),
  );
  const astray = live.filter(
    (record) => chainOf(BigInt(record.cg_id), nftables) !== `${sessionId(record)}_out`,
  );
  // Whoever may kill a PAM process, as a user may kill the su that they started, keeps it from closing its session.
  const orphaned = live.filter(({ state, pid }) => state === "open" && cgroupOfProcess(pid) === "");
  const left = orphaned.map(({ scope_unit, user, pid }) =>
    warn({
      what: `The session of ${user} in ${scope_unit} is open, but process ${pid}, which would close it, is gone.`,
      why: "It was killed. What it has left behind keeps the session's network, as far as the policy lets it, until its scope ends.",
      mend: `systemctl stop ${scope_unit}`,
    }),
  );
  if (astray.length === 0) return [ok(`Sessions under their rules: ${live.length}.`), ...left];
  return [
    ...left,
    ...astray.map(({ scope_unit, user }) =>
      fail({
        what: `The session of ${user} in ${scope_unit} is not under its rules.`,
        why: "Its record says that it is open, but the table does not lead to its chains: somebody flushed or edited it.",
        mend: "authnft restore",
      }),
    ),
  ];
}

/** Tells whether members' slices are closed by default, and nobody else's. */
async function checkCovers(): Promise<Finding[]> {
  const users = usersWithSlice();
  const covered = new Set(closedUserSlices(users));
  const standingOf = standings();
  const records = readRecords();
  const asked = users.map((uid) => {
    const pids = records.filter((record) => record.uid === uid).map(({ pid }) => pid);
    return { uid, standing: standingOf(uid, pids) };
  });
  const members = asked.flatMap(({ uid, standing }) =>
    standing.is === "member" ? [{ uid, name: standing.name }] : [],
  );
  const open = members.filter(({ uid }) => !covered.has(uid));
  const others = asked.flatMap(({ uid, standing }) =>
    standing.is === "outside" && covered.has(uid) ? [standing.name] : [],
  );
  const doubtful = asked.flatMap(({ uid, standing }) =>
    standing.is === "unknown" && covered.has(uid) ? [`${uid} (${standing.why})`] : [],
  );
  const findings = [
    ...open.map(({ name }) =>
      fail({
        what: `What ${name} runs outside of sessions is not covered.`,
        why: "The user is a member, but the user's service manager was started before the user became one, or without the drop-in for user@.service.",
        mend: `authnft reload ${name}`,
      }),
    ),
    ...others.map((name) =>
      warn({
        what: `The slice of ${name} is closed, who is no member of group ${GROUP}.`,
        why: "It was closed while the user was one, and stays so for as long as it is there: at a login the user has no network.",
        mend: `authnft reload ${name}`,
      }),
    ),
    ...(doubtful.length === 0
      ? []
      : [
          warn({
            what: `Users whose slices are closed, and of whom it cannot be told whether they are members: ${listed(doubtful)}.`,
            why: "They stay closed until it is known.",
            mend: 'mend the name service; see "getent group authnft" and nsswitch.conf(5)',
          }),
        ]),
  ];
  return findings.length > 0
    ? findings
    : [ok(`Members' service managers that are covered: ${members.length}.`)];
}

function checkConntrack(): Finding {
  const [count, limit] = ["count", "max"].map((name) =>
    Number(readText(`/proc/sys/net/netfilter/nf_conntrack_${name}`) ?? Number.NaN),
  );
  if (count === undefined || limit === undefined || Number.isNaN(count) || Number.isNaN(limit)) {
    return ok(
      "Connection tracking is not in use: the table, which switches it on for the host, is not loaded.",
    );
  }
  return judgeConntrack(count, limit);
}

/** Judges how full the connection tracking table is. */
export function judgeConntrack(count: number, limit: number): Finding {
  if (count < limit * NEARLY_FULL) return ok(`Connection tracking has room: ${count} of ${limit} flows.`);
  return warn({
    what: `Connection tracking is nearly full: ${count} of ${limit} flows.`,
    why: "The table has the kernel track the connections of the whole host; when the table is full, new ones of everybody fail.",
    mend: `sysctl -w net.netfilter.nf_conntrack_max=${limit * 2}, and write it to /etc/sysctl.d`,
  });
}

function checkLabels(): Finding[] {
  // Terse: without the elements of sets, of which there may be very many.
  const listing = hostCommand("nft", "--terse", "list", "ruleset");
  if (listing === undefined || !listing.ok) return [];
  const tables = tablesThatSetLabels(listing.stdout).filter((table) => table !== TABLE);
  if (tables.length === 0) return [ok("No other table sets connection tracking labels.")];
  return [
    warn({
      what: `The table ${tables.join(", ")} sets connection tracking labels.`,
      why: "A flow that carries labels of another's counts as unknown, so replies may be dropped that a session's policy lets through.",
      mend: "use marks (ct mark set) in that table instead",
    }),
  ];
}

/** Returns the tables of a listing of `nft list ruleset` in which a rule sets a label. */
export function tablesThatSetLabels(listing: string): string[] {
  const tables = new Set<string>();
  let table = "";
  for (const line of listing.split("\n")) {
    const start = /^table (\S+ \S+) \{/.exec(line);
    if (start?.[1] !== undefined) table = start[1];
    else if (/\bct label set\b/.test(line)) tables.add(table);
  }
  return [...tables];
}

function checkMptcp(): Finding[] {
  // Some kernels and versions of iproute2 do not know them.
  const listing = hostCommand("ip", "mptcp", "endpoint", "show");
  return listing?.ok ? [judgeEndpoints(listing.stdout)] : [];
}

/** Judges the MPTCP endpoints of a listing of `ip mptcp endpoint show`. */
export function judgeEndpoints(listing: string): Finding {
  const endpoints = [...listing.matchAll(/^(\S+) port (\d+) id (\d+)/gm)];
  if (endpoints.length === 0) return ok("No MPTCP endpoint has a port.");
  return warn({
    what: `MPTCP endpoints with a port: ${endpoints.map(([, address, port]) => `${address} port ${port}`).join(", ")}.`,
    why: "The kernel itself listens there, outside of every session: from any address a peer may add a path to a member's MPTCP connection, and no rule judges what goes over it.",
    mend: `${endpoints.map(([, , , id]) => `ip mptcp endpoint delete id ${id}`).join("\n")}\nadd them again without a port, or sysctl -w net.mptcp.enabled=0`,
  });
}
