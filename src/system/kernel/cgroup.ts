// SPDX-License-Identifier: GPL-2.0-or-later
import {
  closeSync,
  constants,
  type Dirent,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";

/** Where cgroup v2 is mounted on a host with unified cgroups; libnftables has the same path built in. */
export const CGROUP_ROOT = "/sys/fs/cgroup";

/** Returns the kernel's id of a cgroup: the inode of its directory. `undefined` when there is no such cgroup. */
export function cgroupId(path: string): bigint | undefined {
  return statSync(`${CGROUP_ROOT}/${path}`, { bigint: true, throwIfNoEntry: false })?.ino;
}

/** Returns what `/proc/<pid>/cgroup` says; empty when the process is gone, or dead and waits to be buried. */
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

/** Where the functions below look, other than in {@link CGROUP_ROOT}. */
type At = { readonly root?: string };

/** Returns the processes in a cgroup and in all below it; none when it is gone. Those of other process namespaces are left out. */
export function processesIn(path: string, { root = CGROUP_ROOT }: At = {}): number[] {
  const pids = cgroupsFrom(`${root}/${path}`).flatMap((directory) =>
    (read(`${directory}/cgroup.procs`) ?? "").split("\n").map(Number),
  );
  return pids.filter((pid) => pid > 0);
}

/** Returns the kernel's ids of a cgroup and of all below it; none when it is gone. */
export function cgroupIdsBelow(path: string, { root = CGROUP_ROOT }: At = {}): Set<bigint> {
  const ids = cgroupsFrom(`${root}/${path}`).map(
    (directory) => statSync(directory, { bigint: true, throwIfNoEntry: false })?.ino,
  );
  return new Set(ids.filter((id) => id !== undefined));
}

/** Tells whether there is a process in a cgroup or below it; not when it is gone. */
export function isPopulated(path: string, { root = CGROUP_ROOT }: At = {}): boolean {
  return /^populated 1$/m.test(read(`${root}/${path}/cgroup.events`) ?? "");
}

/**
 * Whether a cgroup that was below this one may still be held by something, such as a socket; also where the kernel does not
 * tell. Whatever holds one counts, be it only memory that is not given back yet: cgroup.stat in the kernel's cgroup-v2.rst.
 */
export function mayBeHeldBelow(path: string, { root = CGROUP_ROOT }: At = {}): boolean {
  return !/^nr_dying_descendants 0$/m.test(read(`${root}/${path}/cgroup.stat`) ?? "");
}

/**
 * Kills every process in a cgroup and below it, also those that are being born. Does not wait until they are gone;
 * see {@link isPopulated}. Nothing happens when the cgroup is gone.
 *
 * @throws {Error} of node:fs; `ENOENT` on a kernel before 5.14, which has no cgroup.kill
 */
export function killCgroup(path: string, { root = CGROUP_ROOT }: At = {}): void {
  try {
    // Not "w": in a cgroup file system a file that is not there cannot be created, and the error would be another. Nor "r+":
    // nobody may read it, and root without the capability to override that is nobody.
    const fd = openSync(`${root}/${path}/cgroup.kill`, constants.O_WRONLY);
    try {
      writeSync(fd, "1");
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (existsSync(`${root}/${path}`) && !isGone(error)) throw error;
  }
}

/** Removes a cgroup that has no process and nothing below it; any other stays. */
export function removeCgroup(path: string): void {
  try {
    rmdirSync(`${CGROUP_ROOT}/${path}`);
  } catch {
    // It is gone, or somebody is in it.
  }
}

/** The directories of a cgroup and of all below it. */
function cgroupsFrom(directory: string): string[] {
  let entries: Dirent[];
  try {
    entries = readdirSync(directory, { withFileTypes: true });
  } catch {
    return [];
  }
  return [
    directory,
    ...entries.flatMap((entry) => (entry.isDirectory() ? cgroupsFrom(`${directory}/${entry.name}`) : [])),
  ];
}

/** Reads a file of a cgroup; `undefined` when it is gone or cannot be read, as `cgroup.procs` of a threaded cgroup. */
function read(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

/** A cgroup that is removed while its file is open answers so. */
function isGone(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ENODEV";
}
