// SPDX-License-Identifier: GPL-2.0-or-later
import { version } from "../../package.json" with { type: "json" };
import { oneLine } from "../refusal.ts";
import { CONFINEMENT_CHECKS } from "./doctor/confinement.ts";
import { CONTEXT_CHECKS } from "./doctor/context.ts";
import { FEATURE_CHECKS } from "./doctor/features.ts";
import { type Check, type Finding, fail, type Level } from "./doctor/finding.ts";
import { HOST_CHECKS } from "./doctor/host.ts";
import { INSTALLATION_CHECKS } from "./doctor/installation.ts";
import { LOGIND_CHECKS } from "./doctor/logind.ts";
import { NAME_CHECKS } from "./doctor/names.ts";
import { PAM_CHECKS } from "./doctor/pam.ts";
import { POLICY_CHECKS } from "./doctor/policy.ts";
import { RULESET_CHECKS } from "./doctor/ruleset.ts";
import { SEAL_CHECKS } from "./doctor/seal.ts";
import type { Terminal } from "./program.ts";

/** Every examination, in the order in which one builds on another. */
const CHECKS: readonly Check[] = [
  ...HOST_CHECKS,
  ...FEATURE_CHECKS,
  ...CONFINEMENT_CHECKS,
  ...CONTEXT_CHECKS,
  ...INSTALLATION_CHECKS,
  ...RULESET_CHECKS,
  ...SEAL_CHECKS,
  ...PAM_CHECKS,
  ...LOGIND_CHECKS,
  ...NAME_CHECKS,
  ...POLICY_CHECKS,
];

type NamedFinding = Finding & { readonly check: string };

/**
 * Examines the host and prints what it finds.
 *
 * @returns the exit code: 1 when something failed
 */
export async function runDoctor(options: Terminal & { readonly json: boolean }): Promise<number> {
  if (process.geteuid?.() !== 0) {
    console.error("Cannot examine this host: only root can see all of it; run it with sudo.");
    return 1;
  }
  const findings: NamedFinding[] = [];
  for (const check of CHECKS) {
    const found = (await findingsOf(check)).map((finding) => ({ check: check.name, ...finding }));
    findings.push(...found);
    if (!options.json) for (const finding of found) console.log(formatFinding(finding, options));
  }
  const failed = findings.some(({ level }) => level === "fail");
  if (options.json) console.log(JSON.stringify({ version, ok: !failed, findings }, undefined, 2));
  else console.log(`\n${summary(findings)}`);
  return failed ? 1 : 0;
}

async function findingsOf(check: Check): Promise<Finding[]> {
  try {
    return await check.run();
  } catch (error) {
    return [
      fail({
        what: `Cannot examine ${check.name}: ${String(error instanceof Error ? error.message : error).replace(/\.$/, "")}.`,
        why: "What could not be looked at may be wrong as well.",
        mend: "mend what is said above first, then run this again",
      }),
    ];
  }
}

const COLOURS: Readonly<Record<Level, number>> = { ok: 32, warn: 33, fail: 31 };

/** Makes text for a terminal of a finding: the level, what was found, and below it why that matters and what mends it. */
export function formatFinding(finding: Finding, terminal: Terminal): string {
  const level = finding.level.padEnd(4);
  const shown = terminal.colour ? `\x1b[${COLOURS[finding.level]}m${level}\x1b[39m` : level;
  const lines = [`${shown}  ${wrap(finding.what, terminal.width)}`];
  if (finding.why !== undefined) lines.push(`${INDENT}${wrap(finding.why, terminal.width)}`);
  // Not wrapped, so that commands can be copied.
  if (finding.mend !== undefined) {
    const [first = "", ...rest] = finding.mend.split("\n").map(oneLine);
    lines.push(`${INDENT}To mend it: ${first}`, ...rest.map((line) => `${INDENT}  ${line}`));
  }
  return lines.join("\n");
}

const INDENT = "      ";

/** Longer lines are hard to read, however wide the terminal is. */
const WIDEST = 100;

function wrap(text: string, width: number): string {
  const room = Math.max(30, Math.min(width, WIDEST) - INDENT.length);
  const lines: string[] = [];
  let line = "";
  // The text holds file names and tools' output: nothing of it may steer the terminal.
  for (const word of oneLine(text).split(" ")) {
    if (line !== "" && line.length + 1 + word.length > room) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].join(`\n${INDENT}`);
}

function summary(findings: readonly Finding[]): string {
  const count = (level: Level) => findings.filter((finding) => finding.level === level).length;
  const [good, warnings, failures] = [count("ok"), count("warn"), count("fail")];
  return `${good} in order, ${warnings} ${warnings === 1 ? "warning" : "warnings"}, ${failures} ${failures === 1 ? "failure" : "failures"}.`;
}
