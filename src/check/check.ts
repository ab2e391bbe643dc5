// SPDX-License-Identifier: GPL-2.0-or-later

// Checks policies: read and compiled by the code of a login, tried by nftables, and looked through for what is probably
// unintended.

import { lstatSync } from "node:fs";
import { FRAGMENT_DIRECTORY } from "../paths.ts";
import type { Diagnosis } from "../policy/diagnosis.ts";
import { type Host, lint } from "../policy/lint.ts";
import { locate } from "../policy/tokenise.ts";
import { oneLine, Refusal } from "../refusal.ts";
import { SESSION_DIALECT } from "../subjects/session/dialect.ts";
import { checkOwner } from "../system/host/files.ts";
import type { Fault } from "./dry_run.ts";
import { Findings, includedBy, located } from "./findings.ts";
import { groupOf } from "./names.ts";
import { Compiler, type Sound, type Trial } from "./samples.ts";
import { Source, type Target, type Whole } from "./source.ts";
import { type Choice, chooseTargets, type Holding } from "./targets.ts";

export { type Holding, UnknownName } from "./targets.ts";

/** What is to be checked. */
export type CheckRequest = Choice & {
  /** Whether nftables is asked as well; takes root. */
  readonly tries: boolean;
  /** Is told how far the check is. */
  readonly progress: (done: number, of: number) => void;
};

/** What was found. */
export type Report = {
  readonly holdings: readonly Holding[];
  /** The files that were read. */
  readonly files: readonly string[];
  /** By file and line. */
  readonly diagnoses: readonly Diagnosis[];
  /** What could not be checked, a sentence each. */
  readonly gaps: readonly string[];
  /** Whether nftables was asked. */
  readonly tried: boolean;
  readonly textOf: (file: string) => string | undefined;
  readonly nameOf: (file: string) => string;
};

/**
 * Checks policies.
 *
 * @throws {UnknownName} when something that was named is not there
 */
export async function check(request: CheckRequest): Promise<Report> {
  const { root, tries, progress } = request;
  const findings = new Findings();
  const source = new Source(root);
  const { targets, holdings, only } = await chooseTargets(request, source, findings);
  // Names are looked up for nftables only: without it, no library of the host's is needed.
  const findUser = tries ? (await import("../system/ffi/users.ts")).findUser : () => undefined;
  const compiler = new Compiler(
    { tries, total: targets.length, idOf: (name) => findUser(name)?.uid },
    findings,
  );
  const trials = targets.flatMap((target, index) => {
    progress(index, targets.length);
    const whole = source.read(target);
    for (const { message } of whole.refusals) findings.remark(whole, { level: "error", text: message });
    if (target.as === "text") remarkOnText(whole, `${root}${FRAGMENT_DIRECTORY}`, findings);
    return compiler.compile(whole);
  });
  const { faults, tried, gap: untried } = await tryAll(trials, request);
  for (const { trial, place, complaint } of faults)
    findings.remark(trial.whole, {
      level: "error",
      text: `${locate(place)}: nftables does not take this: ${complaint}; see nft(8).`,
    });
  const { host, gap: unknownHost } = await hostOf(request);
  const wrong = new Set(faults.map(({ trial }) => trial.whole));
  lintAll(
    compiler.sound.filter(({ whole }) => !wrong.has(whole)),
    host,
    findings,
  );
  if (root === "") await remarkOnGroups(targets, source.included, findings);
  const copy =
    root === "" ? undefined : `Owners and modes are not checked below ${root}: a copy has its own.`;
  return {
    holdings,
    tried,
    files: [...new Set([...targets.map(({ path }) => path), ...source.texts.keys()])].sort(),
    diagnoses: findings.sorted(only),
    gaps: [copy, untried, unknownHost].filter((gap) => gap !== undefined),
    textOf: (file) => source.texts.get(file),
    nameOf: (file) => (file.startsWith(`${FRAGMENT_DIRECTORY}/`) ? `${root}${file}` : file),
  };
}

/** Remarks what a login would say of a text if it lay where fragments do. */
function remarkOnText(whole: Whole, base: string, findings: Findings): void {
  const { path } = whole.target;
  const stat = lstatSync(path, { throwIfNoEntry: false });
  findings.remark(whole, {
    level: "warning",
    text: `${path} is not below ${base}, where logins look for fragments; put it there once it is right.`,
  });
  try {
    if (stat !== undefined) checkOwner(path, path, stat);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    findings.remark(whole, { level: "warning", text: error.message });
  }
}

/** Asks nftables. @returns besides its answers, a sentence where it was not asked */
async function tryAll(
  trials: readonly Trial[],
  { tries, progress }: CheckRequest,
): Promise<{ faults: Fault<Trial>[]; tried: boolean; gap?: string }> {
  if (!tries)
    return {
      faults: [],
      tried: false,
      gap: "Only the syntax was checked: nftables can be asked only by root.",
    };
  try {
    const { dryRun } = await import("./dry_run.ts");
    let done = 0;
    return { faults: dryRun(trials, () => progress(++done, trials.length)), tried: true };
  } catch (error) {
    return {
      faults: [],
      tried: false,
      gap: `Only the syntax was checked: nftables cannot be asked here: ${oneLine((error as Error).message)}; run "authnft doctor".`,
    };
  }
}

/** Looks for what is probably unintended in everything that is not wrong. */
function lintAll(sound: readonly Sound[], host: Host, findings: Findings): void {
  /** How many targets read a file: some warnings matter only where all of them agree. */
  const readers = new Map<string, number>();
  for (const { whole } of sound)
    for (const file of whole.files) readers.set(file, (readers.get(file) ?? 0) + 1);
  const agreed = new Map<string, number>();
  for (const { whole, policy } of sound)
    for (const { place, message, advice, shared } of lint(policy, host, SESSION_DIALECT)) {
      const key = `${locate(place)} ${message}`;
      const count = (agreed.get(key) ?? 0) + 1;
      agreed.set(key, count);
      if (shared && count < (readers.get(place.file) ?? 1)) continue;
      findings.add({
        level: "warning",
        ...located(place),
        message,
        advice,
        included: includedBy(place.file, whole),
      });
    }
}

/** Warns about fragments of groups that do not exist. */
async function remarkOnGroups(
  targets: readonly Target[],
  included: ReadonlySet<string>,
  findings: Findings,
): Promise<void> {
  const named = targets.flatMap(({ path, as }) => {
    const name = groupOf(path);
    return name === undefined || as !== "fragment" || included.has(path) ? [] : [{ path, name }];
  });
  if (named.length === 0) return;
  const { findGroup } = await import("../system/ffi/users.ts");
  for (const { path, name } of named) {
    try {
      if (findGroup(name) !== undefined) continue;
    } catch {
      continue; // the name service does not tell
    }
    findings.add({
      level: "warning",
      file: path,
      line: undefined,
      column: undefined,
      message: `there is no group ${JSON.stringify(name)}, so this is nobody's fragment unless another file includes it`,
      advice: "name it after a group, or make the group",
      included: [],
    });
  }
}

/** @returns besides the host, a sentence where it was not looked at */
async function hostOf({
  tries,
  root,
}: CheckRequest): Promise<{ readonly host: Host; readonly gap: string | undefined }> {
  const host: Host = { drops: { in: undefined, out: undefined } };
  const unknown = (why: string): { host: Host; gap: string } => ({
    host,
    gap: `Whether a firewall of the host drops what is accepted here was not looked at: ${why}.`,
  });
  if (root !== "") return unknown(`${root} may be for another one`);
  if (!tries) return unknown("only root can");
  try {
    const { listRuleset } = await import("../system/ffi/nftables.ts");
    const { droppingChains } = await import("../ruleset/host_chains.ts");
    return { host: { drops: droppingChains(listRuleset()) }, gap: undefined };
  } catch (error) {
    return unknown(oneLine((error as Error).message));
  }
}
