// SPDX-License-Identifier: GPL-2.0-or-later
import { koffi, loadLibrary } from "./koffi.ts";
import { errnoName, SystemError } from "./libc.ts";

const libc = loadLibrary("libc.so.6");

const c = {
  initgroups: libc.func("int initgroups(const char *user, uint32_t group)"),
  setresgid: libc.func("int setresgid(uint32_t real, uint32_t effective, uint32_t saved)"),
  setresuid: libc.func("int setresuid(uint32_t real, uint32_t effective, uint32_t saved)"),
};

/** Makes this process a user's, with the user's groups and without any privilege, for good. @throws {SystemError} */
export function becomeUser(user: {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}): void {
  checked("initgroups", c.initgroups(user.name, user.gid));
  checked("setresgid", c.setresgid(user.gid, user.gid, user.gid));
  checked("setresuid", c.setresuid(user.uid, user.uid, user.uid));
}

function checked(act: string, result: number): void {
  if (result < 0) throw new SystemError(act, errnoName(koffi.errno()));
}
