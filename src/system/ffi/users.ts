// SPDX-License-Identifier: GPL-2.0-or-later
import { koffi, loadLibrary } from "./koffi.ts";
import { errnoName, SystemError } from "./libc.ts";

const libc = loadLibrary("libc.so.6");
const PasswdEntry = koffi.struct("passwd", {
  pw_name: "const char *",
  pw_passwd: "const char *",
  pw_uid: "uint32_t",
  pw_gid: "uint32_t",
  pw_gecos: "const char *",
  pw_dir: "const char *",
  pw_shell: "const char *",
});
const GroupEntry = koffi.struct("group", {
  gr_name: "const char *",
  gr_passwd: "const char *",
  gr_gid: "uint32_t",
  gr_mem: "void *",
});
/** getpwnam_r(3) and its kin: a key, and the places for the entry, its texts and the result. */
const lookUp = (name: string, key: string, entry: ReturnType<typeof koffi.struct>) =>
  libc.func(name, "int", [
    key,
    koffi.out(koffi.pointer(entry)),
    "void *",
    "size_t",
    koffi.out(koffi.pointer("void *")),
  ]);
const c = {
  getpwnam: lookUp("getpwnam_r", "const char *", PasswdEntry),
  getpwuid: lookUp("getpwuid_r", "uint32_t", PasswdEntry),
  getgrnam: lookUp("getgrnam_r", "const char *", GroupEntry),
  getgrgid: lookUp("getgrgid_r", "uint32_t", GroupEntry),
  getgrouplist: libc.func("getgrouplist", "int", [
    "const char *",
    "uint32_t",
    "_Out_ uint32_t *",
    "_Inout_ int *",
  ]),
};

/** The group whose members' sessions are filtered. */
export const GROUP = "authnft";

/** A user as the host's name service knows them. */
export type User = { readonly name: string; readonly uid: number; readonly gid: number };

/** A group as the host's name service knows it. Users with it as primary group need not be among the members. */
export type Group = { readonly name: string; readonly gid: number; readonly members: readonly string[] };

/** Large groups need large buffers; sssd's largest answers are of this order. */
const BUFFER = 1 << 20;
const GROUPS = 65536; // NGROUPS_MAX
const POINTER = 8; // bytes

/**
 * Looks a user up.
 *
 * @returns `undefined` when there is none
 * @throws {SystemError} when the name service fails, with whatever error: not to know is not "no"
 */
export function findUser(name: string): User | undefined {
  return found(`the look-up of user ${name}`, c.getpwnam, name, toUser);
}

/** Looks a user up by number; like `findUser`. @throws {SystemError} */
export function findUserById(uid: number): User | undefined {
  return found(`the look-up of user ${uid}`, c.getpwuid, uid, toUser);
}

/** Looks a group up; like `findUser`. @throws {SystemError} */
export function findGroup(name: string): Group | undefined {
  return found(`the look-up of group ${name}`, c.getgrnam, name, toGroup);
}

/** Looks a group up by number; like `findUser`. @throws {SystemError} */
export function findGroupById(gid: number): Group | undefined {
  return found(`the look-up of group ${gid}`, c.getgrgid, gid, toGroup);
}

function found<Entry, Found>(
  act: string,
  ask: ReturnType<typeof lookUp>,
  key: string | number,
  read: (entry: Entry) => Found,
): Found | undefined {
  const entry = {};
  const result: [unknown] = [null];
  const buffer = new Uint8Array(BUFFER); // what the entry points into
  const error = ask(key, entry, buffer, buffer.length, result);
  if (error !== 0) throw new SystemError(act, errnoName(error));
  if (result[0] === null) return undefined;
  const answer = read(entry as Entry);
  // The collector knows nothing of pointers. What they point into is there until they are followed, for it is used afterwards.
  buffer[0] = 0;
  return answer;
}

function toUser(entry: { pw_name: string; pw_uid: number; pw_gid: number }): User {
  return { name: entry.pw_name, uid: entry.pw_uid, gid: entry.pw_gid };
}

function toGroup(entry: { gr_name: string; gr_gid: number; gr_mem: unknown }): Group {
  const members: string[] = [];
  for (let at = 0; ; at += POINTER) {
    const member = koffi.decode(entry.gr_mem, at, "const char *") as string | null;
    if (member === null) return { name: entry.gr_name, gid: entry.gr_gid, members };
    members.push(member);
  }
}

/** Returns the numbers of a user's groups, the primary one included. @throws {SystemError} */
export function groupsOf(user: User): number[] {
  const gids = new Uint32Array(GROUPS);
  const count: [number] = [GROUPS];
  if (c.getgrouplist(user.name, user.gid, gids, count) < 0)
    throw new SystemError(`the look-up of the groups of ${user.name}`, "ERANGE");
  return [...gids.subarray(0, count[0])];
}
