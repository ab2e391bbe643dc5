// SPDX-License-Identifier: GPL-2.0-or-later

import { readText } from "../system/host/text_file.ts";
import { cgroupOfProcess } from "../system/kernel/cgroup.ts";
import { parentOf } from "../system/kernel/parent.ts";

/**
 * The process that pam_exec runs in: the parent of our parent, which is the entry, and waits for us.
 *
 * @returns `undefined` when it is gone. Its child then has an adopter, systemd or a service manager, and none of those
 * must be taken for somebody who logs in, let alone be moved.
 */
export function pamProcess(): number | undefined {
  const pid = parentOf(process.ppid);
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
