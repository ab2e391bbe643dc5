// SPDX-License-Identifier: GPL-2.0-or-later

// Which helpers a filter of system calls has killed since the host started, and at which calls. Whoever waited for one says
// that it was killed; at which call, the kernel alone says, in the audit trail or in its log.

import { callName } from "../ffi/libseccomp.ts";
import { hostCommand } from "./host_command.ts";

/** What is told of them. */
export type Killed = {
  /** How many there were, by what those say who waited. */
  readonly count: number;
  /** The names of the calls, each once. Empty where the kernel's log is not to be had. */
  readonly calls: readonly string[];
};

/** What the shim, the entry and systemd say, of units of ours and of those in which we have a line, from the beginning of the line: what follows a user may have chosen. */
const SAID = [
  "^pam_authnft\\([^ ]*\\): (session of [^ ]+ refused|end of session): no answer from [^ ]+ it was killed by a filter of system calls",
  "^The helper was killed by a filter of system calls",
  "^(authnft[^ ]*|user(-runtime-dir)?@[0-9]+|nftables)\\.service: (Main|Control) process exited, code=(killed|dumped), status=31/SYS",
].join("|");

/** Lines that are looked at, the latest: more of them have no other cause. */
const MOST = 1000;

/** Reads the logs. @returns `undefined` when there is no journal to be read */
export function killedHelpers(): Killed | undefined {
  const said = journal(SAID, "_UID=0", "SYSLOG_FACILITY=10", "+", "_PID=1", "EXIT_STATUS=31");
  if (said === undefined) return undefined;
  const kernel = journal("syscall=", "_TRANSPORT=kernel", "_TRANSPORT=audit") ?? "";
  // With auditd it is told, and the kernel's log is not.
  const trail = hostCommand("ausearch", "--message", "SECCOMP", "--start", "boot", "--raw")?.stdout ?? "";
  return { count: said.split("\n").filter(Boolean).length, calls: callsThatKilled(`${kernel}\n${trail}`) };
}

function journal(grep: string, ...match: readonly string[]): string | undefined {
  const done = hostCommand(
    ...(["journalctl", "--boot", "--quiet", "--no-pager", "--output=cat", `--lines=${MOST}`] as const),
    `--grep=${grep}`,
    ...match,
  );
  // It ends with 1 where nothing matches, and says nothing then.
  return done === undefined || done.stderr !== "" ? undefined : done.stdout;
}

/** The architectures as linux/audit.h numbers them. */
const ARCHITECTURES: Readonly<Record<string, string>> = { c000003e: "x64", c00000b7: "arm64" };

/**
 * Finds the system calls at which our program was killed, each once, in records of type 1326, AUDIT_SECCOMP: as the kernel
 * writes them, as journald does, and as auditd does. The names of threads differ, so it goes by the file.
 */
export function callsThatKilled(log: string): string[] {
  const numbers = log.split("\n").flatMap((line) => {
    const [, architecture = "", number] =
      /\b(?:type=1326|type=SECCOMP|SECCOMP) .*\buid=0 .*\bexe="\/usr\/lib\/authnft\/authnft" sig=31 arch=([0-9a-f]+) syscall=([0-9]+) /.exec(
        line,
      ) ?? [];
    if (number === undefined) return [];
    return ARCHITECTURES[architecture] === process.arch
      ? callName(Number(number))
      : `${number} of another architecture`;
  });
  return [...new Set(numbers)];
}
