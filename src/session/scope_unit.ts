// SPDX-License-Identifier: GPL-2.0-or-later
import type { Brand } from "valibot";
import type { UserName } from "./user_name.ts";

/** The systemd unit that a session lives in: `authnft-<user>-<pid>.scope`, or with `-2`, `-3` … before the dot. */
export type ScopeUnit = string & Brand<"ScopeUnit">;

/** The slice that every session's scope is in. */
export const SLICE = "authnft.slice";

/** Where a process goes whose session is refused and that systemd does not take: below the slice, without an element. */
export const REFUSED_CGROUP = `${SLICE}/refused`;

// A number of one or two digits behind a process id counts that process's sessions. A user's name may end like that, too;
// which of the two is meant decides only how the chains are called, and each unit has chains of its own either way.
const SCOPE_UNIT =
  /^authnft-([A-Za-z0-9_][A-Za-z0-9._-]{0,31}?)-([1-9][0-9]{0,9}(?:-(?:[2-9]|[1-9][0-9]))?)\.scope$/;

/** Names the scope of a session. `attempt` counts from 1; later ones serve a process that opens more than one session. */
export function scopeUnit(user: UserName, pid: number, attempt: number): ScopeUnit {
  return `authnft-${user}-${pid}${attempt === 1 ? "" : `-${attempt}`}.scope` as ScopeUnit;
}

/** Reads the name of a scope of ours; `undefined` for every other text. */
export function parseScopeUnit(text: string): ScopeUnit | undefined {
  return SCOPE_UNIT.test(text) ? (text as ScopeUnit) : undefined;
}

/** The path of a scope's cgroup below the root of cgroup v2, without a leading slash, as nftables takes it. */
export function cgroupPath(unit: ScopeUnit): string {
  return `${SLICE}/${unit}`;
}

/** What a session's objects in the ruleset are called after: `<user>_<pid>`. */
export function objectStem(unit: ScopeUnit): string {
  const parts = SCOPE_UNIT.exec(unit);
  return `${parts?.[1]}_${parts?.[2]}`;
}

/** The unit whose cgroup a process is in, from its `/proc/<pid>/cgroup`; `undefined` outside our scopes. */
export function scopeOfProcess(procCgroup: string): ScopeUnit | undefined {
  // Version-1 hierarchies have lines of their own where a host mounts them; version 2 is the one with index 0.
  const line = procCgroup.split("\n").find((candidate) => candidate.startsWith("0::"));
  const [, slice, unit] = (line ?? "").slice(3).split("/");
  return slice === SLICE && unit !== undefined ? parseScopeUnit(unit) : undefined;
}
