// SPDX-License-Identifier: GPL-2.0-or-later
import { readdirSync } from "node:fs";
import { findUserById } from "../../system/ffi/users.ts";
import { hostCommand } from "../../system/host/host_command.ts";
import { membership } from "../../system/host/membership.ts";
import { pamFiles } from "../../system/host/pam_config.ts";
import { readText } from "../../system/host/text_file.ts";
import { type Check, type Finding, listed, ok, warn } from "./finding.ts";
import { loginsInScopesOfOurs } from "./pam.ts";

/** Examines the administrator's settings for logins, and whether they hold for members'. */
export const LOGIND_CHECKS: readonly Check[] = [{ name: "logind", run: checkSettings }];

/** The directories of administrators' drop-ins. The distribution's are nobody's wish. */
const UNIT_DIRECTORIES = [
  "/etc/systemd/system",
  "/etc/systemd/system.control",
  "/run/systemd/system",
  "/run/systemd/system.control",
];

function checkSettings(): Finding[] {
  const services = loginsInScopesOfOurs(pamFiles("/"));
  if (services.length === 0) return [];
  const idle = [...sliceSettings(), ...managerSettings()];
  if (idle.length === 0) return [ok("Nothing is set for logins that does not hold for members' sessions.")];
  return [
    warn({
      what: `What is set for logins, and does not hold for members' sessions: ${listed(idle)}.`,
      why: `With scope=own, as in ${services.join(", ")}, a session is below authnft.slice and not below the user's, and logind sees no process of it.`,
      mend: `write scope=session to our line in /etc/pam.d/${services.join(", /etc/pam.d/")}\nor, of limits, set them by "systemctl edit authnft.slice" for all sessions together`,
    }),
  ];
}

/** The settings of users' slices, with the files that make them: of everybody's, and of those who are members now. */
function sliceSettings(): string[] {
  const isMember = membership();
  const isAbout = (uid: string): boolean => {
    const user = uid === "" ? undefined : findUserById(Number(uid));
    return uid === "" || (user !== undefined && isMember(user));
  };
  return UNIT_DIRECTORIES.flatMap((directory) =>
    namesIn(directory).flatMap((name) => {
      const uid = /^user-([0-9]*)\.slice\.d$/.exec(name)?.[1];
      if (uid === undefined || !isAbout(uid)) return [];
      return namesIn(`${directory}/${name}`)
        .filter((file) => file.endsWith(".conf"))
        .flatMap((file) => {
          const path = `${directory}/${name}/${file}`;
          return settingsOfSlice(readText(path) ?? "").map((setting) => `${setting}= (${path})`);
        });
    }),
  );
}

/** Returns the settings that a drop-in makes for the slice itself, by systemd.syntax(7). */
export function settingsOfSlice(text: string): string[] {
  let section = "";
  const found = new Set<string>();
  for (const line of text.split("\n").map((one) => one.trim())) {
    section = /^\[(.+)\]$/.exec(line)?.[1] ?? section;
    const setting = /^([A-Za-z]+)\s*=\s*\S/.exec(line)?.[1];
    if (section === "Slice" && setting !== undefined) found.add(setting);
  }
  return [...found];
}

/** Settings of logind's that act on sessions. */
function managerSettings(): string[] {
  const is = (property: string, setting: RegExp): boolean =>
    setting.test(
      hostCommand(
        ...["busctl", "--system", "--timeout=5", "get-property", "org.freedesktop.login1"],
        ...["/org/freedesktop/login1", "org.freedesktop.login1.Manager", property],
      )?.stdout ?? "",
    );
  return [
    ...(is("KillUserProcesses", /^b true$/m) ? ["KillUserProcesses=yes (logind.conf)"] : []),
    // All ones stand for "infinity".
    ...(is("StopIdleSessionUSec", /^t (?!18446744073709551615$)/m)
      ? ["StopIdleSessionSec= (logind.conf)"]
      : []),
  ];
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch {
    return [];
  }
}
