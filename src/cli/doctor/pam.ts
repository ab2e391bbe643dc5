// SPDX-License-Identifier: GPL-2.0-or-later

import { readdirSync } from "node:fs";
import { posix } from "node:path";
import { ENTRY, MEMBER } from "../../paths.ts";
import { Refusal } from "../../refusal.ts";
import { parseArguments } from "../../subjects/session/arguments.ts";
import { hostCommand } from "../../system/host/host_command.ts";
import {
  moduleName,
  type PamFile,
  type PamRule,
  pamFiles,
  pamStack,
  placeOf,
  skippedBy,
} from "../../system/host/pam_config.ts";
import { readText } from "../../system/host/text_file.ts";
import { EXEC_LINES, SHIM_LINE } from "../pam_lines.ts";
import { type Check, type Finding, fail, faultOf, ok, warn } from "./finding.ts";
import { judgeFactors, judgeMoves, judgeNetworks, judgePrograms, judgeSchedulers } from "./pam_neighbours.ts";

/** Examines /etc/pam.d: which services open sessions, and whether in the right place. */
export const PAM_CHECKS: readonly Check[] = [
  { name: "pam", run: () => checkPam(pamFiles("/")) },
  { name: "servers", run: checkServersWithoutPam },
];

/** Files that services include, by the names that distributions give them; none is a service itself. */
const PART = /^(common|system|password|fingerprint|smartcard|postlogin)(-|$)/;

/** Names of what package managers and editors leave: no service has a dot in its name. */
const LEFTOVER = /[.~#]/;

/** Services that have session rules, and open no login sessions: the user manager's, and two that only ask for a password. */
const NO_LOGINS = new Set(["systemd-user", "chfn", "chsh"]);

/** Services that run users' deferred jobs. They have no pam_systemd, and nobody logs in by them. */
const JOBS = new Set(["cron", "crond", "atd"]);

/** A rule that calls us, through the module or through pam_exec. */
type Hook = {
  readonly rule: PamRule;
  readonly index: number;
  readonly kind: "shim" | "exec";
  /** The program that pam_exec runs. */
  readonly command: string;
  readonly args: readonly string[];
  /** pam_exec's own arguments. */
  readonly options: readonly string[];
};

/** Returns the services that open sessions of ours, by name. */
export function servicesOfOurs(files: readonly PamFile[]): string[] {
  return sessionRules(files).flatMap(({ name, rules }) => (hooksOf(rules).length > 0 ? [name] : []));
}

function sessionRules(files: readonly PamFile[]): { readonly name: string; readonly rules: PamRule[] }[] {
  const byName = new Map(files.map((file) => [file.name, file]));
  return files
    .filter(({ name }) => !PART.test(name) && !LEFTOVER.test(name))
    .map(({ name }) => ({ name, rules: stackOf(byName, name, "session") }));
}

function stackOf(byName: ReadonlyMap<string, PamFile>, service: string, type: string): PamRule[] {
  const file = byName.get(service);
  return file === undefined ? [] : pamStack(file, type, (name) => byName.get(posix.basename(name)));
}

/** Judges all PAM services of a host. */
export function checkPam(files: readonly PamFile[]): Finding[] {
  const byName = new Map(files.map((file) => [file.name, file]));
  const stack = (service: string, type: string): PamRule[] => stackOf(byName, service, type);
  const services = sessionRules(files);
  const hooked = services.filter(({ rules }) => hooksOf(rules).length > 0);
  const findings = hooked.flatMap(({ name, rules }) => judgeService(name, rules, stack(name, "account")));
  if (hooked.length > 0) findings.push(...judgeFactors(stack));
  if (hooked.length > 0 && findings.length === 0) {
    findings.push(
      ok(`Services that open sessions for members: ${hooked.map(({ name }) => name).join(", ")}.`),
    );
  }
  if (hooked.some(({ name }) => name === "sshd")) findings.push(...checkSshd());
  if (hooked.length === 0) {
    findings.push(
      warn({
        what: "No service in /etc/pam.d names authnft.",
        why: "Sessions are opened by PAM; until a service names it nobody is filtered.",
        mend: `add to /etc/pam.d/sshd, after the line that brings pam_systemd.so: ${SHIM_LINE}`,
      }),
    );
    return findings;
  }
  const open = services.filter(({ name, rules }) => opensLogins(name, rules) && hooksOf(rules).length === 0);
  if (open.length > 0) {
    findings.push(
      warn({
        what: `Services that open login sessions without authnft: ${open.map(({ name }) => name).join(", ")}.`,
        why: "A member who logs in through one of them has no session of ours: where pam_systemd makes one, the rules of the user's other sessions hold or no network; where it does not, the network of everybody.",
        mend: `add to each, after the line that brings pam_systemd.so: ${SHIM_LINE}`,
      }),
    );
  }
  const jobs = services.filter(({ name, rules }) => JOBS.has(name) && hooksOf(rules).length === 0);
  if (jobs.length > 0) {
    findings.push(
      warn({
        what: `Services that run jobs of members without authnft: ${jobs.map(({ name }) => name).join(", ")}.`,
        why: "A job runs in the service's own cgroup, with the network of everybody.",
        mend: `add to each, after its other session lines, or keep members out of it by /etc/cron.allow and /etc/at.allow: ${SHIM_LINE}`,
      }),
    );
  }
  return findings;
}

/** Services that begin no login session of their own where there is one around them, and so need a scope of ours. */
const NESTED = new Set(["su", "su-l", "sudo", "sudo-i"]);

/** Returns the services whose sessions are in a scope of ours although logind makes one for them. */
export function loginsInScopesOfOurs(files: readonly PamFile[]): string[] {
  const byName = new Map(files.map((file) => [file.name, file]));
  return files.flatMap((file) => {
    if (PART.test(file.name) || LEFTOVER.test(file.name) || NESTED.has(file.name)) return [];
    const rules = pamStack(file, "session", (name) => byName.get(posix.basename(name)));
    const [hook] = hooksOf(rules);
    const isOurs = hook !== undefined && !hook.args.includes("scope=session");
    return isOurs && opensLogins(file.name, rules) ? [file.name] : [];
  });
}

/**
 * Judges one service that names us.
 *
 * @param rules its session rules in order, those of included files in their places
 * @param account its account rules
 * @returns what is wrong with it; empty when all is in order
 */
export function judgeService(
  service: string,
  rules: readonly PamRule[],
  account: readonly PamRule[] = [],
): Finding[] {
  const hooks = hooksOf(rules);
  const [hook, second] = hooks;
  if (hook === undefined) return [];
  const findings: Finding[] = [];
  if (second !== undefined) {
    findings.push(
      fail({
        what: `${service}: ${placeOf(hook.rule)} and ${placeOf(second.rule)} both open a session.`,
        why: "Every login would get two sessions, one around the other, and the first would be left empty.",
        mend: `take ${placeOf(hook.kind === "exec" ? hook.rule : second.rule)} out`,
      }),
    );
  }
  const ours = { ...hook, isOurs: (rule: PamRule) => hooks.some((one) => one.rule === rule) };
  findings.push(
    ...judgeMoves(service, ours, rules),
    ...judgeMember(service, rules),
    ...judgeOrder(service, hook, rules),
    ...judgeNetworks(service, ours, rules),
    ...judgeSchedulers(service, ours, account),
    ...judgePrograms(service, ours, rules),
  );
  if (hook.kind === "exec") findings.push(...judgeExec(service, hook, rules));
  findings.push(...judgeArguments(service, hook, rules));
  return findings;
}

function judgeOrder(service: string, hook: Hook, rules: readonly PamRule[]): Finding[] {
  const userEnv = rules
    .slice(0, hook.index)
    .find((rule) => moduleName(rule) === "pam_env.so" && rule.args.includes("user_readenv=1"));
  if (userEnv === undefined) return [];
  return [
    warn({
      what: `${service}: ${placeOf(hook.rule)} comes after pam_env.so with user_readenv=1 in ${placeOf(userEnv)}.`,
      why: "Whatever a user wrote to ~/.pam_environment is then in the PAM environment: a correlation token or claims of their own choice. Nothing of it is run, but it would be logged as if it came from an earlier module.",
      mend: `move ${placeOf(hook.rule)} above ${placeOf(userEnv)}, or take user_readenv=1 out`,
    }),
  ];
}

function judgeMember(service: string, rules: readonly PamRule[]): Finding[] {
  return rules
    .filter((rule) => moduleName(rule) === "pam_exec.so" && rule.args.includes(MEMBER))
    .map((rule) =>
      fail({
        what: `${service}: ${placeOf(rule)} runs ${MEMBER} by pam_exec.so.`,
        why: "pam_exec hands on the PAM environment, which a user may have written, and the dynamic linker obeys it: the user's code would run as root. env -i before it comes too late.",
        mend: `take ${placeOf(rule)} out`,
      }),
    );
}

function judgeExec(service: string, hook: Hook, rules: readonly PamRule[]): Finding[] {
  const findings: Finding[] = [];
  if (hook.command !== ENTRY) {
    findings.push(
      fail({
        what: `${service}: ${placeOf(hook.rule)} runs ${hook.command} instead of ${ENTRY}.`,
        why: "The executable obeys its environment, and a user may have a say in what that is; the entry cleans it first.",
        mend: `write ${EXEC_LINES.at(-1)}`,
      }),
    );
  }
  if (!hook.options.includes("seteuid")) {
    findings.push(
      fail({
        what: `${service}: ${placeOf(hook.rule)} runs pam_exec.so without seteuid.`,
        why: "Under su and sudo the helper would run as whoever called them, and refuse the session.",
        mend: `write ${EXEC_LINES.at(-1)}`,
      }),
    );
  }
  const before = rules.slice(0, hook.index).filter((rule) => moduleName(rule) === "pam_succeed_if.so");
  // A jump of n skips the n rules that follow; the hook must be the last of them.
  const skipsUs = before.filter((rule) => skippedBy(rule) === hook.index - rules.indexOf(rule));
  const sparesRoot = skipsUs.some((rule) => /\buid (=|eq) 0\b/.test(rule.args.join(" ")));
  const sparesOthers = skipsUs.some((rule) => /\buser notingroup authnft\b/.test(rule.args.join(" ")));
  if (!sparesRoot || !sparesOthers) {
    const who = [
      ...(sparesRoot ? [] : ["root"]),
      ...(sparesOthers ? [] : ["users outside group authnft"]),
    ].join(" and ");
    const binding = /^(required|requisite)$|=(bad|die)\b/.test(hook.rule.control);
    findings.push(
      (binding ? fail : warn)({
        what: `${service}: nothing lets ${who} pass by ${placeOf(hook.rule)}.`,
        why: "If the helper is missing or broken, they are locked out, and nobody is left to mend it.",
        mend: ["write these lines before it:", ...EXEC_LINES.slice(0, -1)].join("\n"),
      }),
    );
  }
  return findings;
}

function judgeArguments(service: string, hook: Hook, rules: readonly PamRule[]): Finding[] {
  try {
    const { noSandbox } = parseArguments(hook.args);
    if (noSandbox) {
      return [
        warn({
          what: `${service}: ${placeOf(hook.rule)} switches the helper's confinement off.`,
          why: "AUTHNFT_NO_SANDBOX=1 is for debugging only.",
          mend: `take AUTHNFT_NO_SANDBOX=1 out of ${placeOf(hook.rule)}`,
        }),
      ];
    }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const why =
      "Every login through this service is refused: a typing error must not weaken a policy silently.";
    return [fail(faultOf(`${service}: ${error.message}`, why, `edit ${hook.rule.file}`))];
  }
  const systemd = rules.some((rule) => moduleName(rule) === "pam_systemd.so");
  if (hook.args.includes("scope=session") && !systemd) {
    return [
      fail({
        what: `${service}: ${placeOf(hook.rule)} asks for scope=session, and no pam_systemd.so comes before it.`,
        why: "There is no login session whose scope could be used, so every login is refused.",
        mend: "take scope=session out, or add pam_systemd.so before it",
      }),
    ];
  }
  return [];
}

function checkSshd(): Finding[] {
  const settings = hostCommand("sshd", "-T");
  if (settings === undefined || !/^usepam no$/m.test(settings.stdout)) return [];
  return [
    fail({
      what: "sshd does not use PAM.",
      why: "It opens no sessions then, and members have the network of everybody.",
      mend: 'write "UsePAM yes" to /etc/ssh/sshd_config, then systemctl reload ssh.service',
    }),
  ];
}

/** Servers that let users in without PAM, by their processes' names, with the units that may start them later. */
const WITHOUT_PAM: Readonly<Record<string, readonly string[]>> = {
  dropbear: ["dropbear.service", "dropbear.socket"],
  tinysshd: ["tinysshd.service", "tinyssh.socket"],
  lshd: ["lsh-server.service"],
};

function checkServersWithoutPam(): Finding[] {
  const running = new Set(processNames());
  const servers = Object.entries(WITHOUT_PAM).flatMap(([name, units]) => {
    const unit = units.find(
      (one) =>
        hostCommand("systemctl", "is-enabled", one)?.ok || hostCommand("systemctl", "is-active", one)?.ok,
    );
    if (unit !== undefined) return [{ name, stop: `systemctl disable --now ${unit}` }];
    return running.has(name) ? [{ name, stop: `end ${name}, and take away what starts it` }] : [];
  });
  const prefs = running.has("tailscaled") ? hostCommand("tailscale", "debug", "prefs") : undefined;
  if (prefs?.ok && runsTailscaleSsh(prefs.stdout))
    servers.push({ name: "Tailscale SSH", stop: "tailscale set --ssh=false" });
  return servers.map(({ name, stop }) =>
    warn({
      what: `${name} lets users log in without PAM.`,
      why: "It opens no sessions, so members who come in by it have the network of everybody.",
      mend: `${stop}, or keep members out of it`,
    }),
  );
}

/** Tells whether tailscaled is an ssh server, by what `tailscale debug prefs` prints. */
export function runsTailscaleSsh(prefs: string): boolean {
  return /"RunSSH":\s*true\b/.test(prefs);
}

function processNames(): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => readText(`/proc/${pid}/comm`)?.trim() ?? []);
}

function hooksOf(rules: readonly PamRule[]): Hook[] {
  return rules.flatMap((rule, index): Hook[] => {
    const name = moduleName(rule);
    if (name === "pam_authnft.so")
      return [{ rule, index, kind: "shim", command: "", args: rule.args, options: [] }];
    if (name !== "pam_exec.so") return [];
    // What comes before the program's absolute path is for pam_exec.
    const at = rule.args.findIndex((arg) => arg.startsWith("/"));
    const command = rule.args[at] ?? "";
    if (posix.basename(command) !== "authnft") return [];
    return [
      { rule, index, kind: "exec", command, args: rule.args.slice(at + 1), options: rule.args.slice(0, at) },
    ];
  });
}

/** Tells whether people log in through a service: then it has pam_systemd. */
function opensLogins(name: string, rules: readonly PamRule[]): boolean {
  return !NO_LOGINS.has(name) && rules.some((rule) => moduleName(rule) === "pam_systemd.so");
}
