// SPDX-License-Identifier: GPL-2.0-or-later
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";

/** Where cgroup v2 is mounted on a host with unified cgroups; libnftables has the same path built in. */
export const CGROUP_ROOT = "/sys/fs/cgroup";

/** The kernel's id of a cgroup: the inode of its directory. `undefined` when there is no such cgroup. */
export function cgroupId(path: string): bigint | undefined {
  return statSync(`${CGROUP_ROOT}/${path}`, { bigint: true, throwIfNoEntry: false })?.ino;
}

/** What `/proc/<pid>/cgroup` says; empty when the process is gone, or dead and waits to be buried. */
export function cgroupOfProcess(pid: number): string {
  try {
    const [, state] = /^\d+ \(.*\) (\w)/s.exec(readFileSync(`/proc/${pid}/stat`, "utf8")) ?? [];
    if (state === undefined || "ZX".includes(state)) return "";
    return readFileSync(`/proc/${pid}/cgroup`, "utf8");
  } catch {
    return "";
  }
}

/** Makes a cgroup if need be and moves a process there, without systemd. @throws {Error} of node:fs */
export function moveProcess(pid: number, path: string): void {
  mkdirSync(`${CGROUP_ROOT}/${path}`, { recursive: true, mode: 0o755 });
  writeFileSync(`${CGROUP_ROOT}/${path}/cgroup.procs`, String(pid));
}
