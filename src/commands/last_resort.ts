// SPDX-License-Identifier: GPL-2.0-or-later

import { REFUSED_CGROUP } from "../session/scope_unit.ts";
import { moveProcess } from "../system/cgroup.ts";
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
  const name = /^Name:\t(.*)$/m.exec(status)?.[1];
  const uid = /^Uid:\t\d+\t(\d+)\t/m.exec(status)?.[1];
  return pid <= 1 || uid !== "0" || name === "systemd" ? undefined : pid;
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
