// SPDX-License-Identifier: GPL-2.0-or-later

// The effects of other modules in a stack on a member's session, and of the session on them.

import { posix } from "node:path";
import { moduleName, type PamRule, placeOf, skippedBy } from "../../system/host/pam_config.ts";
import { type Finding, fail, warn } from "./finding.ts";

/** Where a stack has our line. */
export type Place = {
  readonly index: number;
  readonly rule: PamRule;
  /** Whether a rule is one of ours. */
  readonly isOurs: (rule: PamRule) => boolean;
};

/** Modules that run programs of root's, which may want root's network: alerts, mounts, tickets. */
const RUNS_PROGRAMS = new Set(["pam_exec.so", "pam_script.so", "pam_mount.so"]);

/**
 * Names what root runs in the network of the session that opens or closes: behind us it is in the session both times, before
 * us when that closes, since PAM goes through the lines in the same order then; between pam_systemd and us at both ends, for
 * the member's slice is closed.
 */
export function judgePrograms(service: string, ours: Place, rules: readonly PamRule[]): Finding[] {
  const systemd = rules.findIndex((rule) => moduleName(rule) === "pam_systemd.so");
  return rules.flatMap((rule, index): Finding[] => {
    if (ours.isOurs(rule) || !RUNS_PROGRAMS.has(moduleName(rule)) || isOutside(rule)) return [];
    const only = onlyType(rule);
    const atOpen = index > ours.index || (systemd !== -1 && index > systemd);
    const moments = [
      ...(atOpen && only !== "close_session" ? ["opens"] : []),
      ...(only !== "open_session" ? ["closes"] : []),
    ];
    if (moments.length === 0 || (only !== undefined && !only.endsWith("_session"))) return [];
    const program = programOf(rule);
    return [
      warn({
        what: `${service}: ${placeOf(rule)} runs ${program ?? moduleName(rule)} inside a member's session, when that ${moments.join(" and ")}.`,
        why: "It has the network that the member's policy gives, or none: an alert is not sent, a mount not made, and a question to a server that fails may count as a yes.",
        mend:
          program === undefined
            ? "let the policies of members permit what it needs"
            : `have systemd run it, which is outside: write ${outside(rule, program)}`,
      }),
    ];
  });
}

/** Services by which a user inside a session becomes another user, or root. */
const RISES: readonly string[] = ["sudo", "sudo-i", "su", "su-l", "doas", "polkit-1"];

/** Modules that ask a server over sockets of their own. Those that ask a daemon of the host's (sssd, winbind, nslcd) do not. */
const ASKS_SERVERS = new Set(
  "duo radius radius_auth tacplus krb5 yubico url mysql pgsql ldap securid python".split(" ").map(moduleOf),
);

function moduleOf(name: string): string {
  return `pam_${name}.so`;
}

/**
 * Names what is asked before somebody in a session rises: a second factor, or an alert. It is asked from inside, so a member's
 * policy decides whether anybody answers.
 *
 * @param stackOf the rules of one type that a service goes through; none where there is no such service
 */
export function judgeFactors(stackOf: (service: string, type: string) => readonly PamRule[]): Finding[] {
  const found = new Map<string, { readonly rule: PamRule; readonly services: string[] }>();
  for (const service of RISES)
    for (const type of ["auth", "account"])
      for (const rule of stackOf(service, type)) {
        const only = onlyType(rule);
        const asks = RUNS_PROGRAMS.has(moduleName(rule)) || ASKS_SERVERS.has(moduleName(rule));
        if (!asks || isOutside(rule) || (only !== undefined && only !== type)) continue;
        const known = found.get(placeOf(rule)) ?? { rule, services: [] };
        found.set(placeOf(rule), { rule, services: [...new Set([...known.services, service])] });
      }
  return [...found.values()].map(({ rule, services }) => {
    const program = programOf(rule);
    return warn({
      what: `${services.join(", ")}: ${placeOf(rule)} has ${program ?? moduleName(rule)} asked inside a member's session (${rule.type}).`,
      why: "What it asks of a server goes out under the member's policy. Where that does not let it, nobody answers; and what lets pass then lets every such member pass.",
      mend:
        program === undefined
          ? "have it deny where its server does not answer (pam_duo: failmode=secure), and permit the server in the policies of members"
          : `have systemd run it, which is outside: write ${outside(rule, program)}`,
    });
  });
}

/** Modules that give a login another network: of libpam-net, and of other makes. */
const OTHER_NETWORKS = new Set("newnet usernet groupnet netns".split(" ").map(moduleOf));

/** Names the modules that take the session to another network namespace, where no rule of ours is. */
export function judgeNetworks(service: string, ours: Place, rules: readonly PamRule[]): Finding[] {
  return rules.flatMap((rule, index): Finding[] => {
    if (!OTHER_NETWORKS.has(moduleName(rule)) || isSparedMembers(index, rules)) return [];
    const mend =
      "take it out, or have members pass it by; write before it:\nsession [success=1 default=ignore] pam_succeed_if.so quiet user ingroup authnft";
    return [
      fail(
        index < ours.index
          ? {
              what: `${service}: ${placeOf(rule)} (${moduleName(rule)}) may put the login into another network namespace before ${placeOf(ours.rule)}.`,
              why: "Rules hold in the host's network alone, so a member whom it puts there is refused.",
              mend,
            }
          : {
              what: `${service}: ${placeOf(rule)} (${moduleName(rule)}) may put a member's session into another network namespace.`,
              why: "No rule of ours is there, and the seal lets other networks be: the session has all that that network has.",
              mend,
            },
      ),
    ];
  });
}

/** Whether members do not come to a rule. */
function isSparedMembers(at: number, rules: readonly PamRule[]): boolean {
  return rules
    .slice(0, at)
    .some(
      (rule, index) =>
        moduleName(rule) === "pam_succeed_if.so" &&
        /\buser ingroup authnft\b/.test(rule.args.join(" ")) &&
        skippedBy(rule) >= at - index,
    );
}

/** Modules that move the process to a cgroup of their own choice. */
const MOVERS = new Set("systemd elogind cgroup cgfs slurm_adopt".split(" ").map(moduleOf));

/** Finds modules that take the process out of the cgroup that our rules are about. */
export function judgeMoves(service: string, ours: Place, rules: readonly PamRule[]): Finding[] {
  const later = rules.slice(ours.index + 1).find((rule) => MOVERS.has(moduleName(rule)));
  if (later === undefined) return [];
  return [
    fail({
      what: `${service}: ${placeOf(ours.rule)} comes before ${moduleName(later)} in ${placeOf(later)}.`,
      why: `${moduleName(later).replace(/\.so$/, "")} moves the process to a cgroup of its own choice, out of the one that the rules are about: the member is not filtered.`,
      mend: `move ${placeOf(ours.rule)} directly after ${placeOf(later)}`,
    }),
  ];
}

/**
 * Names a job scheduler that has put the login into a job's cgroup before the session is opened.
 *
 * @param account the service's account rules
 */
export function judgeSchedulers(service: string, ours: Place, account: readonly PamRule[]): Finding[] {
  const adopts = account.find((rule) => moduleName(rule) === "pam_slurm_adopt.so");
  if (adopts === undefined) return [];
  return [
    warn({
      what: `${service}: ${placeOf(adopts)} puts a login into a job's cgroup, and ${placeOf(ours.rule)} takes a member's out of it.`,
      why: "A process is in one cgroup: what the scheduler limits, counts and ends by the job's does not hold for a member's session.",
      mend: "keep members off hosts where jobs are to hold their logins, or set limits on authnft.slice",
    }),
  ];
}

/** The program that a rule of pam_exec's names: what comes before its absolute path is for pam_exec. */
function programOf(rule: PamRule): string | undefined {
  return rule.args.find((arg) => arg.startsWith("/"));
}

/** Whether a rule has systemd run its program, in a unit outside of every session. */
function isOutside(rule: PamRule): boolean {
  return posix.basename(programOf(rule) ?? "") === "systemd-run";
}

/** The only moment at which pam_exec runs a rule's program, if it is not all. */
function onlyType({ args }: PamRule): string | undefined {
  return args.find((arg) => arg.startsWith("type="))?.slice("type=".length);
}

/** A rule of pam_exec's that has systemd run its program, with what PAM tells it. */
function outside({ type, control, args }: PamRule, program: string): string {
  const at = args.indexOf(program);
  const options = args.slice(0, at);
  const told = ["PAM_TYPE", "PAM_SERVICE", "PAM_USER", "PAM_RHOST", "PAM_TTY"];
  return [
    // Under su the program has its caller's rights without it, and systemd would not listen.
    ...[type, control, "pam_exec.so", ...(options.includes("seteuid") ? [] : ["seteuid"]), ...options],
    ...["/usr/bin/systemd-run", "--quiet", "--collect", "--wait"],
    ...(options.some((option) => option === "expose_authtok" || option === "stdout") ? ["--pipe"] : []),
    ...told.map((name) => `--setenv=${name}`),
    ...args.slice(at),
  ].join(" ");
}
