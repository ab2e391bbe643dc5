// SPDX-License-Identifier: GPL-2.0-or-later
import { readText } from "../host/text_file.ts";

/** Returns the parent of a process; 0 when it is gone, or has none that can be seen. */
export function parentOf(pid: number): number {
  return parentIn(readText(`/proc/${pid}/stat`) ?? "");
}

/** Returns the same from the file: proc_pid_stat(5), field 4. */
export function parentIn(stat: string): number {
  // The second field is the program's name in parentheses, which may hold anything.
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[4 - 3] ?? 0);
}
