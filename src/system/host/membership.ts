// SPDX-License-Identifier: GPL-2.0-or-later

// Who is a member, as native/membership.c tells it for a login and authnft-member: test/native/member.test.ts compares the three.

import { SystemError } from "../ffi/libc.ts";
import {
  findGroup,
  findGroupById,
  findUser,
  findUserById,
  GROUP,
  type Group,
  groupsOf,
  type User,
} from "../ffi/users.ts";
import { readText } from "./text_file.ts";

/** How many members of no local file are asked for their uids: each may be a question to a server. */
const OTHERS = 64;

/** How long a look-up may have taken for anything to be asked that concerns others, in milliseconds. */
const OTHERS_MS = 250;

/** What the local files say, read once. */
export type LocalFiles = { readonly users: readonly User[]; readonly groups: readonly Group[] };

/** Reads the host's own users and groups. A line that is none is left out. */
export function localFiles(): LocalFiles {
  return parseLocalFiles(readText("/etc/passwd") ?? "", readText("/etc/group") ?? "");
}

/** Parses passwd(5) and group(5). A line that is none is left out. */
export function parseLocalFiles(passwd: string, group: string): LocalFiles {
  const rows = (text: string): string[][] => text.split("\n").map((line) => line.split(":"));
  return {
    users: rows(passwd).flatMap(([name = "", , uid = "", gid = ""]) =>
      name !== "" && NUMBER.test(uid) && NUMBER.test(gid)
        ? [{ name, uid: Number(uid), gid: Number(gid) }]
        : [],
    ),
    groups: rows(group).flatMap(([name = "", , gid = "", list = ""]) =>
      name !== "" && NUMBER.test(gid)
        ? [{ name, gid: Number(gid), members: list.split(",").filter((member) => member !== "") }]
        : [],
    ),
  };
}

const NUMBER = /^\d{1,10}$/;

/**
 * Makes the question whether a user is a member. The local files and the group are read once for all answers.
 *
 * The kernel knows no names, so a uid is a member's if any of its names is one: all that the local file has, the one that
 * the name service has for the number, and of other members those who are looked up, which are 64 at most. What concerns
 * others is only ever a "yes": nobody is kept out because it is not to be had.
 *
 * The question takes a process, too, whose supplementary groups count where its parent has not got them: PAM gave them.
 *
 * @returns a function that throws a `SystemError` when the name service fails for the user: not to know is not "no"
 */
export function membership(files = localFiles()): (user: User, pid?: number) => boolean {
  const namesakes = new Map<number, User[]>();
  for (const user of files.users) namesakes.set(user.uid, [...(namesakes.get(user.uid) ?? []), user]);
  const local = files.groups.find(({ name }) => name === GROUP);
  const named = new Set(files.groups.map(({ gid }) => gid));
  let asked: Group | undefined | null = null;
  let others: readonly User[] | undefined;
  return (user, pid) => {
    if (user.uid === 0) return false;
    const deadline = performance.now() + OTHERS_MS;
    const inTime = (): boolean => performance.now() < deadline;
    const names = [user, ...(namesakes.get(user.uid) ?? [])];
    if (local !== undefined && names.some((one) => belongs(one, local))) return true;
    if (asked === null) asked = findGroup(GROUP);
    const groups = [local, asked].filter((group) => group !== undefined);
    if (names.some((one) => groups.some((group) => belongs(one, group)))) return true;
    if (groups.length === 0) return false;
    const isOurs = (gid: number): boolean => groups.some((group) => group.gid === gid);
    const gids = groupsOf(user);
    if (gids.some(isOurs)) return true;
    return (
      (local !== undefined &&
        perhaps(() =>
          gids.some((gid) => !named.has(gid) && inTime() && findGroupById(gid)?.name === GROUP),
        )) ||
      perhaps(() => {
        const byNumber = findUserById(user.uid);
        const more = byNumber === undefined ? names : [...names, byNumber];
        return more.some(
          (one) =>
            one.name !== user.name &&
            (groups.some((group) => belongs(one, group)) || (inTime() && groupsOf(one).some(isOurs))),
        );
      }) ||
      perhaps(() => {
        others ??= lookedUp(groups, new Set(files.users.map(({ name }) => name)), inTime);
        return others.some(({ uid }) => uid === user.uid);
      }) ||
      (pid !== undefined && givenGroups(pid).some(isOurs))
    );
  };
}

function belongs(user: User, group: Group): boolean {
  return user.gid === group.gid || group.members.includes(user.name);
}

/** The members whom the local file does not know, by name. */
function lookedUp(groups: readonly Group[], local: ReadonlySet<string>, inTime: () => boolean): User[] {
  const names = [...new Set(groups.flatMap(({ members }) => members))].filter((name) => !local.has(name));
  const found: User[] = [];
  for (const name of names.sort().slice(0, OTHERS)) {
    if (!inTime()) break;
    const user = findUser(name);
    if (user !== undefined) found.push(user);
  }
  return found;
}

/** The supplementary groups of a process that its parent does not have. */
function givenGroups(pid: number): number[] {
  const status = readText(`/proc/${pid}/status`) ?? "";
  const parent = /^PPid:\t(\d+)$/m.exec(status)?.[1] ?? "0";
  const inherited = new Set(groupsIn(readText(`/proc/${parent}/status`) ?? ""));
  return groupsIn(status).filter((gid) => !inherited.has(gid));
}

function groupsIn(status: string): number[] {
  return (/^Groups:\t(.*)$/m.exec(status)?.[1] ?? "")
    .split(" ")
    .filter((word) => word !== "")
    .map(Number);
}

/** "No" where the name service fails. */
function perhaps(ask: () => boolean): boolean {
  try {
    return ask();
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    return false;
  }
}
