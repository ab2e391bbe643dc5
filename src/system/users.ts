// SPDX-License-Identifier: GPL-2.0-or-later
import { koffi, loadLibrary } from "./koffi.ts";
import { errnoName, SystemError } from "./libc.ts";

const libc = loadLibrary("libc.so.6");
const Passwd = koffi.struct("passwd", {
  pw_name: "const char *",
  pw_passwd: "const char *",
  pw_uid: "uint32_t",
  pw_gid: "uint32_t",
  pw_gecos: "const char *",
  pw_dir: "const char *",
  pw_shell: "const char *",
});
const Group = koffi.struct("group", {
  gr_name: "const char *",
  gr_passwd: "const char *",
  gr_gid: "uint32_t",
  gr_mem: "void *",
});
const out = (type: ReturnType<typeof koffi.struct>) => koffi.out(koffi.pointer(type));
const c = {
  getpwnam: libc.func("getpwnam_r", "int", [
    "const char *",
    out(Passwd),
    "void *",
    "size_t",
    koffi.out(koffi.pointer("void *")),
  ]),
  getpwuid: libc.func("getpwuid_r", "int", [
    "uint32_t",
    out(Passwd),
    "void *",
    "size_t",
    koffi.out(koffi.pointer("void *")),
  ]),
  getgrnam: libc.func("getgrnam_r", "int", [
    "const char *",
    out(Group),
    "void *",
    "size_t",
    koffi.out(koffi.pointer("void *")),
  ]),
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
  return found(`the look-up of user ${name}`, (entry, result) =>
    c.getpwnam(name, entry, new Uint8Array(BUFFER), BUFFER, result),
  );
}

/** Looks a user up by number; like `findUser`. @throws {SystemError} */
export function findUserById(uid: number): User | undefined {
  return found(`the look-up of user ${uid}`, (entry, result) =>
    c.getpwuid(uid, entry, new Uint8Array(BUFFER), BUFFER, result),
  );
}

function found(act: string, ask: (entry: object, result: [unknown]) => number): User | undefined {
  const entry = {} as { pw_name: string; pw_uid: number; pw_gid: number };
  const result: [unknown] = [null];
  const error = ask(entry, result);
  if (error !== 0) throw new SystemError(act, errnoName(error));
  return result[0] === null ? undefined : { name: entry.pw_name, uid: entry.pw_uid, gid: entry.pw_gid };
}

/**
 * Whether a user is in a group: by primary group, by the group's own list, or by what the name service says of the user.
 * A group that does not exist has no members.
 *
 * @throws {SystemError} when the name service fails
 */
export function isMember(user: User, group: string): boolean {
  const entry = {} as { gr_gid: number; gr_mem: unknown };
  const result: [unknown] = [null];
  const buffer = new Uint8Array(BUFFER); // gr_mem points into it
  const error = c.getgrnam(group, entry, buffer, BUFFER, result);
  if (error !== 0) throw new SystemError(`the look-up of group ${group}`, errnoName(error));
  if (result[0] === null) return false;
  for (let at = 0; ; at += POINTER) {
    const member = koffi.decode(entry.gr_mem, at, "const char *") as string | null;
    if (member === null) break;
    if (member === user.name) return true;
  }
  return groupsOf(user).includes(entry.gr_gid);
}

/** The numbers of a user's groups, the primary one included. @throws {SystemError} */
export function groupsOf(user: User): number[] {
  const gids = new Uint32Array(GROUPS);
  const count: [number] = [GROUPS];
  if (c.getgrouplist(user.name, user.gid, gids, count) < 0)
    throw new SystemError(`the look-up of the groups of ${user.name}`, "ERANGE");
  return [...gids.subarray(0, count[0])];
}

/** A group's number; `undefined` when there is no such group. @throws {SystemError} when the name service fails */
export function groupId(name: string): number | undefined {
  const entry = {} as { gr_gid: number };
  const result: [unknown] = [null];
  const error = c.getgrnam(name, entry, new Uint8Array(BUFFER), BUFFER, result);
  if (error !== 0) throw new SystemError(`the look-up of group ${name}`, errnoName(error));
  return result[0] === null ? undefined : entry.gr_gid;
}
