// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import { isAdopter } from "../../../src/cli/pam_process.ts";

const MANAGER = "0::/user.slice/user-0.slice/user@0.service/init.scope\n";
const ELSEWHERE = "0::/user.slice/user-1000.slice/session-3.scope\n";

function status(name: string, uid: number): string {
  return `Name:\t${name}\nUmask:\t0022\nState:\tS (sleeping)\nUid:\t1000\t${uid}\t${uid}\t${uid}\n`;
}

test.each([
  ["su, for a user", status("su", 0), ELSEWHERE, false],
  ["su, through a link that has systemd's name", status("systemd", 0), ELSEWHERE, false],
  ["su, by root, in a session", status("su", 0), "0::/user.slice/user-0.slice/session-1.scope\n", false],
  ["root's service manager", status("systemd", 0), MANAGER, true],
  ["the same with cgroups of version 1 beside", status("systemd", 0), `1:name=x:/\n${MANAGER}`, true],
  ["what root's service manager runs itself", status("su", 0), MANAGER, false],
  ["a user's service manager", status("systemd", 1000), ELSEWHERE, true],
  ["nobody, for the process is gone", "", "", true],
])("who has adopted a child of pam_exec's is told from who logs in: %s", (_, status, cgroup, adopter) => {
  expect(isAdopter(status, cgroup)).toBe(adopter);
});
