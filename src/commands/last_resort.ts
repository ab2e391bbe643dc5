// SPDX-License-Identifier: GPL-2.0-or-later

import { REFUSED_CGROUP } from "../session/scope_unit.ts";
import { cgroupOfProcess, moveProcess } from "../system/cgroup.ts";
import { readText } from "../system/text_file.ts";

/**
 * The process that pam_exec runs in: our parent.
 *
 * @returns `undefined` when it is gone. Its child then has an adopter, systemd or a service manager, and none of those
 * must be taken for somebody who logs in, let alone be moved.
 */
export function pamProcess(): number | undefined {
  const pid = process.ppid;
  const status = readText(`/proc/${pid}/status`) ?? "";
  return pid <= 1 || isAdopter(status, cgroupOfProcess(pid)) ? undefined : pid;
}

/**
 * Whether a process that is not the first is an adopter, or is gone: users' service managers are not root's, and root's own is
 * where only root can put something. Its name alone does not tell: a program is called by that of the link it is started
 * through, and anybody can have a link to su that is called "systemd".
 *
 * @param status what /proc/PID/status says
 * @param cgroup what /proc/PID/cgroup says
 */
export function isAdopter(status: string, cgroup: string): boolean {
  const name = /^Name:\t(.*)$/m.exec(status)?.[1];
  const uid = /^Uid:\t\d+\t(\d+)\t/m.exec(status)?.[1];
  return uid !== "0" || (name === "systemd" && /\/user@0\.service\/init\.scope$/m.test(cgroup));
}

/**
 * Moves the process that pam_exec runs in, and that was to get a session, to where it has no network. Nobody stands behind
 * us who would do so, as the shim does. Needs nothing but files, for it may be the libraries that are missing.
 *
 * @returns what went wrong, if anything did
 */
export function cutOffPamProcess(): Error | undefined {
  const pid = pamProcess();
  if (pid === undefined) return undefined;
  try {
    moveProcess(pid, REFUSED_CGROUP);
    return undefined;
  } catch (error) {
    return error as Error;
  }
}
