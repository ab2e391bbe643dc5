// SPDX-License-Identifier: GPL-2.0-or-later

import { version } from "../../package.json" with { type: "json" };
import { groupFiles, groupFragments } from "../check/groups.ts";
import { RULES } from "../confine/allowlist.ts";
import { fragmentOf } from "../engine/session/fragment.ts";
import { ENTRY } from "../paths.ts";
import { oneLine, Refusal } from "../refusal.ts";
import { SystemError } from "../system/ffi/libc.ts";
import { hasCall } from "../system/ffi/libseccomp.ts";
import { supervisionDenied } from "../system/ffi/seccomp_notify.ts";
import { findUser, GROUP, type User } from "../system/ffi/users.ts";
import { isThere } from "../system/host/files.ts";
import { hostCommand } from "../system/host/host_command.ts";
import { membership } from "../system/host/membership.ts";
import { ownCommand } from "../system/host/shipped.ts";
import { compare, type Difference, type Kind } from "../trace/evidence.ts";
import { type Trace, trace } from "../trace/trace.ts";
import type { Terminal } from "./program.ts";

/**
 * Runs the helper for real in all that it does, and prints which system calls it makes once it is confined, or how the
 * shipped list differs from them.
 *
 * @returns the exit code: 1 when a call is missing from the list, or a run did not do what it should; 2 for no such member
 */
export async function runTrace(
  options: Terminal & { readonly user: string | undefined; readonly json: boolean; readonly diff: boolean },
): Promise<number> {
  if (process.geteuid?.() !== 0) {
    console.error("Cannot trace the helper: only root can open sessions; run it with sudo.");
    return 1;
  }
  if (!isThere(ENTRY)) {
    console.error(`Cannot trace the helper: there is no ${ENTRY}; run "authnft install" first.`);
    return 1;
  }
  const denied = supervisionDenied();
  if (denied !== undefined) {
    console.error(
      `Cannot trace the helper: this host does not let one process decide about another's system calls (${denied}); run it where no filter of a container's stands before the kernel (systemd-nspawn: SystemCallFilter=pidfd_getfd in its .nspawn file).`,
    );
    return 1;
  }
  const stopping = new AbortController();
  const stop = (): void => stopping.abort(new Error("stopped by a signal"));
  process.once("SIGINT", stop).once("SIGTERM", stop).once("SIGHUP", stop);
  try {
    const user = chosenUser(options.user);
    if (user === undefined) {
      console.error(
        options.user === undefined
          ? `Cannot trace the helper: no member of group ${GROUP} has a fragment; name one with --user.`
          : `Cannot trace the helper: ${JSON.stringify(options.user)} is no member of group ${GROUP}.`,
      );
      return 2;
    }
    let number = 0;
    const progress = (run: string): void => {
      number++;
      if (process.stderr.isTTY) console.error(`${number}: ${run} …`);
    };
    const found = await trace(user, {
      standIn: [...ownCommand(), "trace-stand-in"],
      progress,
      signal: stopping.signal,
    });
    return print(found, options);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    console.error(`Cannot trace the helper: ${oneLine(error.message)}`);
    return 1;
  }
}

/** The user of that name if a member, or the first member who has a fragment. @throws {SystemError} */
function chosenUser(name: string | undefined): User | undefined {
  if (name !== undefined) {
    const user = findUser(name);
    return user !== undefined && membership()(user) ? user : undefined;
  }
  const members = hostCommand("getent", "group", GROUP)?.stdout.trim().split(":")[3]?.split(",") ?? [];
  for (const member of members) {
    const user = findUser(member);
    if (user === undefined || user.uid === 0) continue;
    try {
      fragmentOf({ name: user.name, groups: groupFiles(user, groupFragments()) });
      return user;
    } catch (error) {
      if (!(error instanceof Refusal || error instanceof SystemError)) throw error;
    }
  }
  return undefined;
}

function print(
  { evidence, runs, leftOut }: Trace,
  options: Terminal & { readonly json: boolean; readonly diff: boolean },
): number {
  const { kinds } = evidence;
  const difference = compare(RULES, kinds, hasCall);
  const failed = runs.filter((run) => run.failed !== undefined);
  const ok = difference.missing.length === 0 && failed.length === 0;
  if (options.json) {
    const found = options.diff ? { diff: difference } : { calls: kinds };
    console.log(JSON.stringify({ version, ok, runs, leftOut, ...found }, undefined, 2));
  } else {
    console.log(options.diff ? formatDifference(difference) : formatKinds(kinds, options));
    const calls = runs.reduce((sum, run) => sum + run.calls, 0);
    console.log(
      `\n${runs.length} runs, ${calls} calls, ${new Set(kinds.map(({ call }) => call)).size} different ones.`,
    );
    for (const why of leftOut) console.log(`Left out: ${oneLine(why)}`);
  }
  for (const { name, failed: why } of failed)
    console.error(`Did not do what it should: ${name}: ${oneLine(why ?? "")}`);
  return ok ? 0 : 1;
}

/** Makes a table of what was seen, a call after another. */
export function formatKinds(kinds: readonly Kind[], terminal: Pick<Terminal, "colour">): string {
  const bold = (text: string): string => (terminal.colour ? `\x1b[1m${text}\x1b[22m` : text);
  const lines: string[] = [];
  let last = "";
  for (const { call, what, rule, times } of kinds) {
    if (call !== last) lines.push(bold(call));
    last = call;
    const named =
      rule === undefined ? "  NOT ON THE LIST" : rule === call ? "" : `  ${rule.slice(call.length + 1)}`;
    lines.push(`${String(times).padStart(8)}  ${oneLine(what)}${named}`.trimEnd());
  }
  return lines.join("\n");
}

/** Says how the list differs from what was seen. */
export function formatDifference({ missing, unused, wide, kept }: Difference): string {
  const part = (title: string, lines: readonly string[]): string[] => [
    `${title}: ${lines.length === 0 ? "none" : lines.length}`,
    ...lines.map((line) => `  ${oneLine(line)}`),
  ];
  const width = Math.max(0, ...kept.map(({ rule }) => rule.length));
  return [
    ...part("Missing, and would kill the helper", missing),
    ...part("On the list, not seen and without a reason", unused),
    ...part("Let through with any argument", wide),
    ...part(
      "On the list, not seen, with a reason",
      kept.map(({ rule, reason }) => `${rule.padEnd(width)}  ${reason}`),
    ),
  ].join("\n");
}
