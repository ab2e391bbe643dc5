// SPDX-License-Identifier: GPL-2.0-or-later
import { closeSync, constants, openSync } from "node:fs";
import { koffi, loadLibrary } from "./koffi.ts";
import { errnoName, SystemError } from "./libc.ts";

const libc = loadLibrary("libc.so.6");

const c = {
  unshare: libc.func("int unshare(int flags)"),
  setns: libc.func("int setns(int fd, int type)"),
};

const CLONE_NEWNET = 0x4000_0000; // linux/sched.h

/**
 * Runs something in a network namespace that is made for it and gone after it: a ruleset loaded there touches nobody.
 *
 * Both calls move the calling thread only. So the act must be synchronous, and a socket that is older than it stays
 * where it was made.
 *
 * @returns what the act returns
 * @throws {SystemError} when the kernel refuses; and whatever the act throws
 */
export function inPrivateNetwork<Result>(act: () => Result): Result {
  const home = openSync("/proc/thread-self/ns/net", constants.O_RDONLY);
  try {
    checked("unshare", c.unshare(CLONE_NEWNET));
    try {
      return act();
    } finally {
      checked("setns", c.setns(home, CLONE_NEWNET));
    }
  } finally {
    closeSync(home);
  }
}

function checked(act: string, result: number): void {
  if (result < 0) throw new SystemError(act, errnoName(koffi.errno()));
}
