// SPDX-License-Identifier: GPL-2.0-or-later

import { ENTRY } from "../../paths.ts";
import { isThere } from "../../system/host/files.ts";
import { hostCommand } from "../../system/host/host_command.ts";
import { pamFiles } from "../../system/host/pam_config.ts";
import type { Trial } from "../try.ts";
import { judgeAudit, judgeCapabilities, judgeKeys, judgeLandlock, judgeProc } from "./confinement.ts";
import { type Check, type Finding, fail, ok, warn } from "./finding.ts";
import { servicesOfOurs } from "./pam.ts";

/** The helper's rights in the place where it will run: a shell's differ from a service's, and in a container it often has no filter. */
export const CONTEXT_CHECKS: readonly Check[] = [
  { name: "confinement", run: checkBoot },
  { name: "logins", run: checkLogins },
];

/** The unit that loads the table. */
const BOOT_UNIT = "authnft.service";

/** The units that log users in by a PAM service, where they are not called as it is. */
const UNITS: Readonly<Record<string, readonly string[]>> = {
  sshd: ["ssh.service", "sshd.service"],
  login: ["getty@tty1.service"],
  remote: ["telnet.service"],
};

/** The restrictions of a unit that a login's helper inherits: systemd.exec(5). */
const PROPERTIES = [
  ...["CapabilityBoundingSet", "NoNewPrivileges", "RestrictAddressFamilies", "RestrictNamespaces"],
  ...[
    "SystemCallFilter",
    "SystemCallErrorNumber",
    "SystemCallArchitectures",
    "MemoryDenyWriteExecute",
    "LockPersonality",
  ],
  ...[
    "ProtectSystem",
    "ProtectHome",
    "ProtectProc",
    "ProcSubset",
    "ProtectControlGroups",
    "ProtectKernelTunables",
  ],
  ...[
    "ReadWritePaths",
    "ReadOnlyPaths",
    "InaccessiblePaths",
    "ExecPaths",
    "NoExecPaths",
    "TemporaryFileSystem",
  ],
  ...[
    "PrivateNetwork",
    "PrivateUsers",
    "PrivateTmp",
    "PrivateDevices",
    "KeyringMode",
    "LimitNOFILE",
    "LimitAS",
  ],
];

/** How long a trial may take, in seconds. */
const PATIENCE = "10";

function checkBoot(): Finding[] {
  // A missing installation or systemd is reported elsewhere.
  if (!isThere(ENTRY) || hostCommand("systemctl", "show-environment")?.ok !== true) return [];
  const trial = tryIn(BOOT_UNIT, "try");
  if (typeof trial === "string") return [notTried(BOOT_UNIT, trial)];
  return [
    judgeLandlock(trial.landlock),
    judgeCapabilities(trial.status),
    judgeProc(trial.mountinfo),
    ...judgeKeys(trial.keys),
    ...judgeAudit(trial.audit),
    ...judgeDenied(BOOT_UNIT, trial),
  ];
}

function checkLogins(): Finding[] {
  if (!isThere(ENTRY)) return [];
  const services = servicesOfOurs(pamFiles("/"));
  const units = services
    .flatMap((service) => UNITS[service] ?? [`${service}.service`])
    .filter((unit) => propertyOf(unit, "LoadState") === "loaded");
  // Two names may be one unit's.
  const names = [...new Set(units.map((unit) => propertyOf(unit, "Id") ?? unit))];
  const findings = names.flatMap((unit): Finding[] => {
    const trial = tryIn(unit, "try-login");
    return typeof trial === "string" ? [notTried(unit, trial)] : judgeTrial(unit, trial);
  });
  if (names.length === 0 || findings.length > 0) return findings;
  return [ok(`The helper has what it needs in the services that members log in by: ${names.join(", ")}.`)];
}

function judgeTrial(unit: string, trial: Trial): Finding[] {
  const denied = judgeDenied(unit, trial);
  // Later findings may have the same cause, and another remedy.
  return denied.length > 0 ? denied : judgeSeal(unit, trial.seal);
}

function judgeDenied(unit: string, { denied }: Trial): Finding[] {
  return denied.map((sentence) => {
    const [what = "", mend = `systemctl show ${unit}, and see "Sandboxing" in systemd.exec(5)`] =
      sentence.split(/: (?=add )/);
    return fail({
      what: `${unit}: ${what.replace(/\.$/, "")}.`,
      why: "The helper cannot do its work without it, so members are refused.",
      mend: mend
        .replace(/\.$/, "")
        .replace(/ in the unit of the service .*/, ` to ${unit}, by "systemctl edit ${unit}"`),
    });
  });
}

function judgeSeal(unit: string, why: string | undefined): Finding[] {
  if (why === undefined) return [];
  return [
    warn({
      what: `${unit}: it denies the helper bpf(2) (${why}).`,
      why: "A slice that comes with a login is held by the ruleset alone, and each login says so in the journal.",
      mend: `take bpf out of the SystemCallFilter= of ${unit}`,
    }),
  ];
}

function notTried(unit: string, why: string): Finding {
  return fail({
    what: `The helper does not run as in ${unit}: ${why.replace(/\.$/, "")}.`,
    why: "A login that starts it there fails, or the table is not loaded.",
    mend: `systemctl show ${unit}, and see "Sandboxing" in systemd.exec(5)`,
  });
}

/** Runs the helper on trial in a unit that is confined as another. @returns what it has there, or why that is not known */
function tryIn(unit: string, verb: "try" | "try-login"): Trial | string {
  const shown = hostCommand("systemctl", "show", `--property=${PROPERTIES.join(",")}`, unit)?.stdout ?? "";
  const properties = shown
    .split("\n")
    .filter((line) => /^\w+=(?!$|no$|infinity$|default$|all$|0$|2147483646$)/.test(line));
  const done = hostCommand(
    ...(["systemd-run", "--wait", "--pipe", "--collect"] as const),
    ...[...properties, `RuntimeMaxSec=${PATIENCE}`].map((line) => `--property=${line}`),
    ...["--", ENTRY, verb],
  );
  if (done === undefined) return "there is no systemd-run";
  try {
    return JSON.parse(done.stdout) as Trial;
  } catch {
    const said = /^authnft: (.+)$/m.exec(done.stderr)?.[1];
    if (said !== undefined) return said;
    const end = /^Main processes terminated with: (.+)$/m.exec(done.stderr)?.[1];
    if (end === undefined) return done.stderr.split("\n").at(-1) ?? "";
    return (
      ENDS.find(([how]) => how.test(end))?.[1] ?? `it ended with ${end}; see the journal for what it said`
    );
  }
}

/** The end of a helper that cannot even speak, in systemd-run's words. */
const ENDS: readonly (readonly [RegExp, string])[] = [
  [/status=203/, `${ENTRY} cannot be executed there; see noexec mounts, NoExecPaths= and InaccessiblePaths=`],
  [/SYS/, "a system call is fatal there; see SystemCallFilter="],
];

function propertyOf(unit: string, name: string): string | undefined {
  return hostCommand("systemctl", "show", "--value", `--property=${name}`, unit)?.stdout.trim();
}
