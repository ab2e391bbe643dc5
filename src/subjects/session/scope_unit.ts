// SPDX-License-Identifier: GPL-2.0-or-later
import type { Brand } from "valibot";
import { ESCAPED_NAME, type EscapedName, escapeName, inChains, NAME_LIMIT } from "../../escaped_name.ts";
import type { SubjectId } from "../subject.ts";
import type { UserName } from "./user_name.ts";

/**
 * The systemd unit that a session lives in: a scope of ours, `authnft-<user>-<pid>.scope`, the user's name escaped, or with
 * `-2`, `-3` … before the dot; or with `scope=session` the login session's own, `session-<id>.scope`.
 */
export type ScopeUnit = string & Brand<"ScopeUnit">;

/** The slice that every scope of ours is in. */
export const SLICE = "authnft.slice";

/** The slice of every user's slice. */
export const USERS_SLICE = "user.slice";

/** A unit in it whose cgroup is denied every address, whatever becomes of the ruleset. */
export const REFUSED_UNIT = "run-authnft-refused.mount";

/** The units that load the seal, and keep it. */
export const SEAL_UNITS = { load: "authnft-seal.service", keep: "run-authnft-bpf.mount" } as const;

/** The unit that has what is left of sessions removed, daily. */
export const SWEEP_TIMER = "authnft-sweep.timer";

/** Where a process goes whose session is refused and that systemd does not take: below the slice, without an element. */
export const REFUSED_CGROUP = `${SLICE}/${REFUSED_UNIT}`;

// A number of one or two digits behind a process id counts that process's sessions. A user's name may end like that, too;
// which of the two is meant decides only how the chains are called, and each unit has chains of its own either way.
const OWN_SCOPE = new RegExp(
  `^authnft-(${ESCAPED_NAME})-([1-9][0-9]{0,9}(?:-(?:[2-9]|[1-9][0-9]))?)\\.scope$`,
);

/** The user and the process that a scope of ours is named after; `undefined` for every other text. */
function readOwnScope(text: string): { readonly user: EscapedName; readonly pid: string } | undefined {
  const [, user, pid] = OWN_SCOPE.exec(text) ?? [];
  if (user === undefined || pid === undefined || user.length > NAME_LIMIT) return undefined;
  return { user: user as EscapedName, pid };
}

/** systemd-logind's: the audit session's number, or `c` and a number of its own. */
const LOGIN_SCOPE = /^session-[A-Za-z0-9]{1,32}\.scope$/;

/** Names the scope of a session. `attempt` counts from 1; later ones serve a process that opens more than one session. */
export function scopeUnit(user: UserName, pid: number, attempt: number): ScopeUnit {
  return `authnft-${escapeName(user)}-${pid}${attempt === 1 ? "" : `-${attempt}`}.scope` as ScopeUnit;
}

/** Reads the name of a scope that a session may live in; `undefined` for every other text. */
export function parseScopeUnit(text: string): ScopeUnit | undefined {
  return readOwnScope(text) !== undefined || LOGIN_SCOPE.test(text) ? (text as ScopeUnit) : undefined;
}

/** Tells whether the scope is the login session's own, and no scope of ours. */
export function isLoginScope(unit: ScopeUnit): boolean {
  return LOGIN_SCOPE.test(unit);
}

/** Returns the path of a user's slice below the root of cgroup v2, without a leading slash, as nftables takes it. */
export function userSlice(uid: number): string {
  return `${USERS_SLICE}/user-${uid}.slice`;
}

/** Returns the path of the cgroup of a user's scope, without a leading slash. */
export function cgroupPath(unit: ScopeUnit, uid: number): string {
  return `${isLoginScope(unit) ? userSlice(uid) : SLICE}/${unit}`;
}

/** Returns what the names of a session's chains begin with: `session_<user>_<pid>`, the user's name escaped, with slashes. */
export function sessionId(session: {
  readonly scope_unit: ScopeUnit;
  readonly user: string;
  readonly pid: number;
}): SubjectId {
  const { user, pid } = readOwnScope(session.scope_unit) ?? {
    user: escapeName(session.user),
    pid: session.pid,
  };
  return `session_${inChains(user)}_${pid}` as SubjectId;
}

/** Returns the path of a process's cgroup, with a leading slash, from its `/proc/<pid>/cgroup`; empty when there is none. */
export function cgroupIn(procCgroup: string): string {
  // Version-1 hierarchies have lines of their own where a host mounts them; version 2 is the one with index 0.
  const line = procCgroup.split("\n").find((candidate) => candidate.startsWith("0::"));
  return (line ?? "").slice("0::".length);
}

/** A process's place in a session: the scope, and its user where the path tells. */
export type Place = { readonly unit: ScopeUnit; readonly uid: number | undefined };

/** Returns the scope that a process is in, from its `/proc/<pid>/cgroup`; `undefined` outside scopes that a session may live in. */
export function placeOfProcess(procCgroup: string): Place | undefined {
  const [, slice, second, third] = cgroupIn(procCgroup).split("/");
  if (slice === SLICE && second !== undefined && readOwnScope(second) !== undefined)
    return { unit: second as ScopeUnit, uid: undefined };
  const uid = /^user-(0|[1-9][0-9]{0,9})\.slice$/.exec(second ?? "")?.[1];
  if (slice === USERS_SLICE && uid !== undefined && third !== undefined && LOGIN_SCOPE.test(third))
    return { unit: third as ScopeUnit, uid: Number(uid) };
  return undefined;
}
