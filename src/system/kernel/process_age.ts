// SPDX-License-Identifier: GPL-2.0-or-later
import { readText } from "../host/text_file.ts";

/** The unit of times in /proc/PID/stat, per second: USER_HZ in the kernel's asm-generic/param.h. */
const TICKS = 100;

/**
 * How long ago this process was started, in milliseconds: when it was forked, and not when it became this program. To
 * within 20 ms; 0 where /proc does not tell.
 *
 * @param since when it could begin, in milliseconds since the host was started, where that was later
 */
export function processAge(since?: number): number {
  const now = since === undefined ? undefined : uptime();
  if (since !== undefined && now !== undefined) return Math.max(0, now * 1000 - since);
  return ageFrom(readText("/proc/self/stat") ?? "", readText("/proc/uptime") ?? "");
}

/** Returns how long the system has been up, suspended or not, in seconds; `undefined` where /proc does not tell. */
export function uptime(): number | undefined {
  const seconds = Number.parseFloat(readText("/proc/uptime") ?? "");
  return Number.isFinite(seconds) ? seconds : undefined;
}

/** Returns when a process was started, in ticks since the host was: with its number, what no other process has. */
export function startOf(pid: number): number | undefined {
  const ticks = Number(ticksIn(readText(`/proc/${pid}/stat`) ?? ""));
  return Number.isSafeInteger(ticks) ? ticks : undefined;
}

/** Returns the same from the two files: proc_pid_stat(5), field 22, and proc_uptime(5). */
export function ageFrom(stat: string, uptime: string): number {
  const age = Number.parseFloat(uptime) * 1000 - (Number(ticksIn(stat)) * 1000) / TICKS;
  return age > 0 ? age : 0;
}

function ticksIn(stat: string): string {
  // The second field is the program's name in parentheses, which may hold anything.
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[22 - 3] ?? "NaN";
}
