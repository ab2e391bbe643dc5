// SPDX-License-Identifier: GPL-2.0-or-later
import { existsSync, lstatSync } from "node:fs";
import { REFUSED_UNIT, SLICE, SWEEP_TIMER } from "../../subjects/session/scope_unit.ts";
import { hostCommand } from "../../system/host/host_command.ts";
import { pamDirectory } from "../../system/host/pam_directory.ts";
import { hasContent, linkTarget } from "../../system/host/placement.ts";
import { dataFiles } from "../../system/host/shipped.ts";
import { cgroupId } from "../../system/kernel/cgroup.ts";
import { contentOf } from "../install.ts";
import { DIRECTORIES, type Item, layout, RUNTIME_DIRECTORIES } from "../layout.ts";
import { type Check, type Finding, fail, ok, warn } from "./finding.ts";

const INSTALL = "authnft install";

/** Examines the installation: whether everything that `install` lays out is there, and running. */
export const INSTALLATION_CHECKS: readonly Check[] = [
  { name: "files", run: checkFiles },
  { name: "directories", run: checkDirectories },
  { name: "group", run: () => [checkGroup()] },
  { name: "units", run: checkUnits },
];

function checkFiles(): Finding[] {
  const modules = pamDirectory("/");
  if (modules === undefined) {
    return [
      fail({
        what: "There is no directory with pam_unix.so on this host.",
        why: "Sessions are opened by PAM.",
        mend: "apt install libpam-modules",
      }),
    ];
  }
  const items = layout(modules, dataFiles());
  const missing = items.filter(({ path }) => lstatSync(path, { throwIfNoEntry: false }) === undefined);
  const faults = items.filter((item) => !missing.includes(item)).flatMap(checkItem);
  if (missing.length > 0) {
    faults.unshift(
      fail({
        what:
          missing.length === items.length
            ? "authnft is not installed on this host."
            : `Not installed: ${missing.map(({ path }) => path).join(", ")}.`,
        why: "A session needs all pieces of the program.",
        mend: INSTALL,
      }),
    );
  }
  return faults.length > 0
    ? faults
    : [ok(`All ${items.length} files are installed, as this version has them.`)];
}

function checkItem(item: Item): Finding[] {
  if (item.kind === "link") {
    if (linkTarget(item.path) === item.target) return [];
    const why = "The command in the administrator's path is another one.";
    return [warn({ what: `${item.path} does not point to ${item.target}.`, why, mend: INSTALL })];
  }
  const stat = lstatSync(item.path);
  if (!stat.isFile() || stat.uid !== 0 || (stat.mode & 0o7777) !== item.mode) {
    return [
      fail({
        what: `${item.path} is not a plain file of root's with mode ${octal(item.mode)}, but has owner ${stat.uid} and mode ${octal(stat.mode)}.`,
        why: "Root executes or obeys it at each login; nobody else may be able to change it.",
        mend: INSTALL,
      }),
    ];
  }
  if (hasContent(item.path, contentOf(item))) return [];
  return [
    warn({
      what: `${item.path} differs from what this version of authnft installs.`,
      why: "It is of another version or was changed, and the pieces are made to fit each other.",
      mend: INSTALL,
    }),
  ];
}

function checkDirectories(): Finding[] {
  const why = "Policies, records and locks are trusted because only root can write where they are.";
  const directories = [...DIRECTORIES, ...RUNTIME_DIRECTORIES].map((directory) => ({
    ...directory,
    stat: lstatSync(directory.path, { throwIfNoEntry: false }),
  }));
  const missing = directories.filter(({ stat }) => stat === undefined);
  const faults = directories.flatMap(({ path, mode, stat }): Finding[] => {
    if (stat === undefined) return [];
    // Stricter than ours is fine.
    if (stat.isDirectory() && stat.uid === 0 && (stat.mode & 0o7777 & ~mode) === 0) return [];
    return [
      fail({
        what: `${path} is not a directory of root's with mode ${octal(mode)}, but has owner ${stat.uid} and mode ${octal(stat.mode)}.`,
        why,
        mend: `chown root:root ${path} && chmod ${octal(mode)} ${path}`,
      }),
    ];
  });
  if (missing.length > 0) {
    faults.unshift(
      fail({ what: `Missing: ${missing.map(({ path }) => path).join(", ")}.`, why, mend: INSTALL }),
    );
  }
  return faults.length > 0 ? faults : [ok("The directories are there, and root's alone to write.")];
}

function checkGroup(): Finding {
  if (hostCommand("getent", "group", "authnft")?.ok) return ok("The group authnft exists.");
  return fail({
    what: "There is no group authnft.",
    why: "Its members are whom the program is about; without it there are none, and nobody is filtered.",
    mend: "groupadd --system authnft",
  });
}

function checkUnits(): Finding[] {
  // The lack of systemd was reported.
  if (!existsSync("/run/systemd/system")) return [];
  const findings: Finding[] = [];
  if (!hostCommand("systemctl", "is-enabled", "authnft.service")?.ok) {
    findings.push(
      fail({
        what: "authnft.service is not enabled.",
        why: "After the next boot there is no table until the first of them logs in, and no seal: members' service managers have the network of everybody.",
        mend: "systemctl enable authnft.service",
      }),
    );
  }
  if (!hostCommand("systemctl", "is-active", "authnft.service")?.ok) {
    findings.push(
      fail({
        what: "authnft.service is not active.",
        why: "It loads the firewall table and keeps the slice of the sessions.",
        mend: "systemctl restart authnft.service, and journalctl -u authnft.service if that fails",
      }),
    );
  }
  if (cgroupId(SLICE) === undefined) {
    findings.push(
      fail({
        what: `${SLICE} has no cgroup.`,
        why: "The ruleset closes the slice by its cgroup; without it a refused member would keep the network.",
        mend: "systemctl restart authnft.service",
      }),
    );
  }
  if (!hostCommand("systemctl", "is-active", REFUSED_UNIT)?.ok) {
    findings.push(
      warn({
        what: `${REFUSED_UNIT} is not active.`,
        why: 'Where the helper does not answer, a member whose PAM line says "optional" is held by the ruleset alone, and by nothing while that is flushed.',
        mend: `systemctl start ${REFUSED_UNIT}, and systemctl status ${REFUSED_UNIT} if that fails`,
      }),
    );
  }
  if (!hostCommand("systemctl", "is-active", SWEEP_TIMER)?.ok) {
    findings.push(
      warn({
        what: `${SWEEP_TIMER} is not active.`,
        why: "What a clean-up that was killed leaves behind stays until the next boot. It opens nothing.",
        mend: `systemctl enable --now ${SWEEP_TIMER}`,
      }),
    );
  }
  return findings.length > 0
    ? findings
    : [ok(`authnft.service and ${SLICE} are active, now and at each boot.`)];
}

function octal(mode: number): string {
  return `0${(mode & 0o7777).toString(8)}`;
}
