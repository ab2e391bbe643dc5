// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import { settingsOfSlice } from "../../../../src/cli/doctor/logind.ts";
import { loginsInScopesOfOurs } from "../../../../src/cli/doctor/pam.ts";

test("a drop-in's settings of the slice are told, and neither what it resets nor what is the unit's", () => {
  const text =
    "[Unit]\nDescription=x\n[Slice]\n# MemoryMax=1G\nIPAddressDeny = any\nTasksMax=\nIPAddressDeny=192.0.2.1\n";
  expect(settingsOfSlice(text)).toEqual(["IPAddressDeny"]);
});

test("logins in scopes of ours are those with pam_systemd and without scope=session, su and jobs left out", () => {
  const file = (name: string, ...lines: string[]) => ({
    name,
    path: `/etc/pam.d/${name}`,
    text: lines.map((line) => `session ${line}`).join("\n"),
  });
  const [systemd, ours] = ["optional pam_systemd.so", "required pam_authnft.so"];
  expect(
    loginsInScopesOfOurs([
      file("sshd", systemd, ours),
      file("login", systemd, `${ours} scope=session`),
      file("su", systemd, ours),
      file("cron", ours),
      file("lightdm", systemd),
    ]),
  ).toEqual(["sshd"]);
});
