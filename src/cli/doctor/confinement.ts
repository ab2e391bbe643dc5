// SPDX-License-Identifier: GPL-2.0-or-later
import { type Killed, killedHelpers } from "../../system/host/killed_helpers.ts";
import { readText } from "../../system/host/text_file.ts";
import { mountOf, parseMountinfo } from "../../system/kernel/mounts.ts";
import { type Check, type Finding, fail, listed, ok, warn } from "./finding.ts";

/** Examines the layers of the helper's confinement that the kernel has. */
export const CONFINEMENT_CHECKS: readonly Check[] = [
  { name: "seccomp", run: () => [judgeSeccomp(readText("/proc/sys/kernel/seccomp/actions_avail"))] },
  { name: "killed", run: () => judgeKilled(killedHelpers()) },
];

/** Judges what seccomp(2) can do: /proc/sys/kernel/seccomp/actions_avail. */
export function judgeSeccomp(actions: string | undefined): Finding {
  if (actions?.split(/\s+/).includes("kill_process"))
    return ok("System calls that the helper does not need are fatal to it (seccomp).");
  return fail({
    what: "The kernel has no seccomp filters.",
    why: "The helper refuses to work unconfined, so every member's login is refused.",
    mend: "boot a kernel with CONFIG_SECCOMP_FILTER",
  });
}

/** Judges what filters of system calls did since the host started. */
export function judgeKilled(killed: Killed | undefined): Finding[] {
  // The lack of a journal is reported elsewhere.
  if (killed === undefined) return [];
  const { count, calls } = killed;
  if (count === 0 && calls.length === 0)
    return [ok("No filter of system calls has killed the helper since the host started.")];
  const times = count > 1 ? ` ${count} times` : "";
  const where =
    calls.length > 0
      ? `, at ${listed(calls)}`
      : '; at which call, the kernel says where its log is read, in a container the host: "dmesg | grep type=1326"';
  return [
    warn({
      what: `A filter of system calls has killed the helper${times} since the host started${where}.`,
      why: "A login to which that happens is refused. The helper's own filter lacks a call that this host needs, which is a bug, or the service has one, by SystemCallFilter=.",
      mend: "report the calls, or let them through in the service's unit; until that is mended, AUTHNFT_NO_SANDBOX=1 on the PAM line leaves the helper's own filter away, see pam_authnft(8)",
    }),
  ];
}

const LANDLOCK_CALLS = "landlock_create_ruleset landlock_add_rule landlock_restrict_self";

/** The first version that judges truncation, TCP, and signals and abstract sockets. */
const TRUNCATES = 3;
const TCP = 4;
const SCOPES = 6;

/** Judges the version of Landlock, or why there is none. */
export function judgeLandlock(version: number | string): Finding {
  const why =
    "A helper that somebody has broken into could then read and write any file that root may; system calls and capabilities are confined all the same.";
  if (version === "EOPNOTSUPP") {
    return warn({
      what: "The kernel has Landlock, but it is not among the security modules that run.",
      why,
      mend: 'boot with "lsm=landlock," and what /sys/kernel/security/lsm names on the kernel\'s command line',
    });
  }
  if (version === "EPERM" || version === "EACCES") {
    return warn({
      what: `The host denies Landlock (${version}): a system call filter of the container, or of services, stands before the kernel.`,
      why,
      mend: `in a container of systemd-nspawn write SystemCallFilter=${LANDLOCK_CALLS} in the [Exec] section of its .nspawn file; elsewhere let the same calls through`,
    });
  }
  if (typeof version === "string") {
    return warn({
      what: `The kernel has no Landlock (${version}).`,
      why,
      mend: "boot a kernel with CONFIG_SECURITY_LANDLOCK, Linux 5.13 or later",
    });
  }
  const missing = [
    ...(version < TRUNCATES ? ["truncating files"] : []),
    ...(version < TCP ? ["TCP"] : []),
    ...(version < SCOPES ? ["signals and abstract sockets"] : []),
  ];
  const but = missing.length === 0 ? "" : `; a newer kernel would confine ${missing.join(", ")} as well`;
  return ok(`The helper sees no files but those that it needs (Landlock, version ${version}${but}).`);
}

/** The capabilities that the helper keeps: linux/capability.h. */
const CAP_NET_ADMIN = 12n;
const CAP_AUDIT_WRITE = 29n;

/** Judges root's capabilities here, by /proc/self/status: some containers take some away. */
export function judgeCapabilities(status: string): Finding {
  const mask = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? "0"}`);
  const has = (capability: bigint): boolean => ((mask >> capability) & 1n) === 1n;
  if (!has(CAP_NET_ADMIN)) {
    return fail({
      what: "Root does not have CAP_NET_ADMIN here.",
      why: "The helper cannot load rules without it, so every member's login is refused.",
      mend: "give it to the container, or run authnft on the host",
    });
  }
  if (!has(CAP_AUDIT_WRITE)) {
    return warn({
      what: "Root does not have CAP_AUDIT_WRITE here.",
      why: "Refusals are in the journal, but not in the audit trail.",
      mend: "give it to the container",
    });
  }
  return ok("The helper keeps CAP_NET_ADMIN and CAP_AUDIT_WRITE, and no other capability.");
}

/**
 * Judges whether the helper can see the process that logs in, by /proc/self/mountinfo. It has no right to trace processes;
 * under hidepid the kernel shows it root's only as a member of the group that the mount names, and it is in group 0 alone.
 */
export function judgeProc(mountinfo: string): Finding {
  const options = mountOf("/proc", parseMountinfo(mountinfo))?.fileSystemOptions ?? new Set();
  const hidden = [...options].find((option) => /^hidepid=(?!0$|off$)/.test(option));
  const group = [...options].find((option) => /^gid=(?!0$)/.test(option));
  const byTracing = hidden !== undefined && /=(4|ptraceable)$/.test(hidden);
  if (hidden === undefined || (group === undefined && !byTracing))
    return ok("The helper sees the processes that log in.");
  return fail({
    what: `/proc is mounted with ${[hidden, group].filter(Boolean).join(",")}.`,
    why: "The helper cannot see the process that logs in, so every member's login is refused.",
    mend: "mount -o remount,hidepid=invisible,gid=0 /proc, and the same in /etc/fstab",
  });
}

/** Judges whether claims can be read, by why not. */
export function judgeKeys(why: string | undefined): Finding[] {
  if (why === undefined) return [];
  return [
    warn({
      what: `The host denies the kernel's keyrings (${why}).`,
      why: "Where a PAM line says claims_env= and a key is named, the session is refused.",
      mend: "leave claims_env= out; or in a container of systemd-nspawn write SystemCallFilter=@keyring in the [Exec] section of its .nspawn file",
    }),
  ];
}

/** Judges whether refusals get to the audit trail, by why not. */
export function judgeAudit(why: string | undefined): Finding[] {
  if (why === undefined) return [];
  return [
    warn({
      what: `The host denies the audit trail (${why}).`,
      why: "Refusals are in the journal, but not in the audit trail.",
      mend: "a container has none by default; read the journal, or run authnft on the container's host",
    }),
  ];
}
