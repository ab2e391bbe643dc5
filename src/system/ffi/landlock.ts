// SPDX-License-Identifier: GPL-2.0-or-later
import { koffi, loadLibrary } from "./koffi.ts";
import { errnoName } from "./libc.ts";

const libc = loadLibrary("libc.so.6");
const syscall = libc.func("long syscall(long number, const void *attributes, size_t size, uint32_t flags)");

const LANDLOCK_CREATE_RULESET = 444; // the same on all machines
const VERSION = 1;

/** Returns which version of Landlock the kernel has, or the name of the error that it answers: `ENOSYS` where it was built without, `EOPNOTSUPP` where it does not run, `EPERM` where a system call filter denies it. */
export function landlockVersion(): number | string {
  const version = Number(syscall(LANDLOCK_CREATE_RULESET, null, 0, VERSION));
  return version >= 0 ? version : errnoName(koffi.errno());
}
