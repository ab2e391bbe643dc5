// SPDX-License-Identifier: GPL-2.0-or-later
import { existsSync } from "node:fs";
import { readRecords } from "../engine/session/records.ts";
import { readRules } from "../engine/shared.ts";
import { usersWithSlice } from "../engine/slice/default.ts";
import { policyVersion } from "../engine/store.ts";
import { closeCgroup } from "../ruleset/subject.ts";
import { closeUserSlice } from "../ruleset/table.ts";
import { hasRules, type SessionRecord } from "../subjects/session/record.ts";
import { isLoginScope, parseScopeUnit, SLICE, sessionId, userSlice } from "../subjects/session/scope_unit.ts";
import { sliceId } from "../subjects/slice/slice.ts";
import { findUser, findUserById, GROUP, type User } from "../system/ffi/users.ts";
import { membership } from "../system/host/membership.ts";
import { cgroupId, isPopulated } from "../system/kernel/cgroup.ts";

/** What is verified: a session, what a user runs outside of sessions, or a process of no session at all. */
export type Subject = {
  readonly title: string;
  /** Whom attempts are made as. */
  readonly user: User;
  /** The cgroup that the rules are about, without a leading slash. */
  readonly cgroup: string;
  /** Whether a process can only be in a cgroup below it. */
  readonly below: boolean;
  /** What the names of its chains begin with; `undefined` where it is to have no network. */
  readonly name: string | undefined;
  /** The commands that bring its rules, after the base table. */
  readonly lines: readonly string[];
  /** Tells whether its rules were others meanwhile, also where they are the same again. */
  readonly version: string;
  /** Whether the user's service manager runs, so that it can be asked for a process. */
  readonly managed: boolean;
};

/** A name that stands for nothing that could be verified. */
export class UnknownSubject extends Error {
  override readonly name = "UnknownSubject";
}

/** Nobody: whose processes have no privilege and no policy. */
export const NOBODY: User = { name: "nobody", uid: 65534, gid: 65534 };

/**
 * What is to be verified.
 *
 * @param name a session's scope, a user, or the slice of ours for a process of no session; everything when left out
 * @throws {UnknownSubject}
 */
export function findSubjects(name?: string): Subject[] {
  const records = readRecords().filter(({ cg_path, cg_id }) => cgroupId(cg_path) === BigInt(cg_id));
  const isMember = membership();
  if (name === undefined) {
    const covered = usersWithSlice().flatMap((uid) => {
      const user = findUserById(uid);
      return user !== undefined && isMember(user) ? [coverOf(user)] : [];
    });
    return [closedDefault(), ...covered, ...records.map(sessionOf)];
  }
  if (name === SLICE) return [closedDefault()];
  const unit = parseScopeUnit(name);
  if (unit !== undefined) {
    const record = records.find(({ scope_unit }) => scope_unit === unit);
    if (record !== undefined) return [sessionOf(record)];
    throw new UnknownSubject(
      `There is no session ${unit} now; those that there are have records in /run/authnft/sessions.`,
    );
  }
  const user = findUser(name);
  if (user === undefined) {
    throw new UnknownSubject(
      `${JSON.stringify(name)} is neither a user nor a session's scope; "ls /run/authnft/sessions" shows the sessions, "getent group ${GROUP}" the members.`,
    );
  }
  const sessions = records.filter(({ uid }) => uid === user.uid).map(sessionOf);
  const covers = isMember(user) && cgroupId(userSlice(user.uid)) !== undefined ? [coverOf(user)] : [];
  return [...covers, ...sessions];
}

/** Tells whether nobody is left in a subject's cgroup, which systemd then removes piece by piece. Our own slice is for nobody anyway. */
export function isDeserted({ cgroup }: Subject): boolean {
  return cgroup !== SLICE && !isPopulated(cgroup);
}

/** Returns a subject as it is now; `undefined` when it is over. */
export function refresh(subject: Subject): Subject | undefined {
  if (subject.cgroup === SLICE) return closedDefault();
  if (cgroupId(subject.cgroup) === undefined) return undefined;
  if (subject.below) return coverOf(subject.user);
  const record = readRecords().find(({ cg_path }) => cg_path === subject.cgroup);
  return record === undefined ? undefined : sessionOf(record);
}

function sessionOf(record: SessionRecord): Subject {
  const { scope_unit: unit, cg_path: cgroup, uid, user, state } = record;
  const version = policyVersion(unit);
  const lines = hasRules(record) ? linesOf(unit) : undefined;
  return {
    title: `${unit}, ${user}, ${state}`,
    user: findUserById(uid) ?? { name: user, uid, gid: NOBODY.gid },
    cgroup,
    below: false,
    name: lines === undefined ? undefined : sessionId(record),
    lines: [
      ...(isLoginScope(unit) ? [closeUserSlice(userSlice(uid))] : []),
      ...(lines ?? closeCgroup(cgroup)),
    ],
    version,
    managed: false,
  };
}

/** The commands that load a subject's rules into an empty table; `undefined` where they are lost. */
function linesOf(name: string): string[] | undefined {
  const rules = readRules(name);
  return rules && [...(rules.shared?.lines ?? []), ...rules.own];
}

function coverOf(user: User): Subject {
  const cgroup = userSlice(user.uid);
  const name = sliceId(user.uid);
  const version = policyVersion(name);
  const lines = linesOf(name);
  return {
    title: `${cgroup.replace(/.*\//, "")}, ${user.name}, outside of sessions`,
    user,
    cgroup,
    below: true,
    name: lines === undefined ? undefined : name,
    lines: lines ?? [closeUserSlice(cgroup)],
    version,
    managed: existsSync(`/run/user/${user.uid}/systemd/private`),
  };
}

function closedDefault(): Subject {
  return {
    title: `${SLICE}, a process of no session`,
    user: NOBODY,
    cgroup: SLICE,
    below: true,
    name: undefined,
    lines: [],
    version: "",
    managed: false,
  };
}

/** Returns where another policy of the user's holds: in another session of theirs, or below their slice; `undefined` without one. */
export function cgroupOfSibling({ user, cgroup }: Subject): { cgroup: string; below: boolean } | undefined {
  const session = readRecords().find(
    ({ uid, cg_path, cg_id }) =>
      uid === user.uid && cg_path !== cgroup && cgroupId(cg_path) === BigInt(cg_id),
  );
  if (session !== undefined) return { cgroup: session.cg_path, below: false };
  const slice = userSlice(user.uid);
  return cgroup === slice || cgroup === SLICE || cgroupId(slice) === undefined
    ? undefined
    : { cgroup: slice, below: true };
}

/** Lists the chains that a subject's commands make: its own, and those of the policy that it shares. */
export function chainsOfSubject({ lines }: Subject): string[] {
  return lines.flatMap((line) => /^(?:create|add) chain \S+ \S+ (\S+)$/.exec(line)?.[1] ?? []);
}
