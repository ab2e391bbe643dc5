// SPDX-License-Identifier: GPL-2.0-or-later
import { readText } from "../host/text_file.ts";

/** The descriptor on which the entry hands on the process that asks (native/entry.c). */
const ASKER = 3;

/**
 * The number of the process that asks, as /proc has it now: by the descriptor, which cannot become another's.
 *
 * @returns 0 when the process is gone; `undefined` where there is no such descriptor
 */
export function askerNumber(): number | undefined {
  return askerIn(readText(`/proc/self/fdinfo/${ASKER}`) ?? "");
}

/** Returns the same from the file: proc_pid_fdinfo(5), of a process. */
export function askerIn(fdinfo: string): number | undefined {
  const pid = /^Pid:\t(-?\d+)$/m.exec(fdinfo)?.[1];
  return pid === undefined ? undefined : Math.max(0, Number(pid));
}

/** Tells whether a number is still that of the process that asks. Where that cannot be told it is taken to be. */
export function isAsker(pid: number): boolean {
  const now = askerNumber();
  return now === undefined || now === pid;
}
