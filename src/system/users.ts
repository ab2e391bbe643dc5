// SPDX-License-Identifier: GPL-2.0-or-later
import { koffi } from "./koffi.ts";
import { errnoName, SystemError } from "./libc.ts";

const libc = koffi.load("libc.so.6");
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

/** A user as the host's name service knows them. */
export type User = { readonly name: string; readonly uid: number; readonly gid: number };

// getpwnam_r(3): these mean "no such entry" with one name service or another.
const NOT_FOUND = new Set(["OK", "ENOENT", "ESRCH", "EBADF", "EPERM"]);
/** Large groups need large buffers; sssd's largest answers are of this order. */
const BUFFER = 1 << 20;
const GROUPS = 65536; // NGROUPS_MAX

/** Looks a user up. @returns `undefined` when there is none. @throws {SystemError} when the name service fails */
export function findUser(name: string): User | undefined {
  const entry = {} as { pw_name: string; pw_uid: number; pw_gid: number };
  const result: [unknown] = [null];
  const code = errnoName(c.getpwnam(name, entry, new Uint8Array(BUFFER), BUFFER, result));
  if (code !== "OK" && !NOT_FOUND.has(code)) throw new SystemError(`the look-up of user ${name}`, code);
  return code !== "OK" || result[0] === null
    ? undefined
    : { name: entry.pw_name, uid: entry.pw_uid, gid: entry.pw_gid };
}

/** Whether a user is in a group, by primary group or otherwise. A group that does not exist has no members. @throws {SystemError} */
export function isMember(user: User, group: string): boolean {
  const entry = {} as { gr_gid: number };
  const result: [unknown] = [null];
  const code = errnoName(c.getgrnam(group, entry, new Uint8Array(BUFFER), BUFFER, result));
  if (code !== "OK" && !NOT_FOUND.has(code)) throw new SystemError(`the look-up of group ${group}`, code);
  if (code !== "OK" || result[0] === null) return false;
  const gids = new Uint32Array(GROUPS);
  const count: [number] = [GROUPS];
  if (c.getgrouplist(user.name, user.gid, gids, count) < 0)
    throw new SystemError(`the look-up of the groups of ${user.name}`, "ERANGE");
  return gids.subarray(0, count[0]).includes(entry.gr_gid);
}
