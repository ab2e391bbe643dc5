// SPDX-License-Identifier: GPL-2.0-or-later
import { version } from "../../package.json" with { type: "json" };
import { oneLine } from "../refusal.ts";
import { ownCommand } from "../system/host/shipped.ts";
import { findSubjects, type Subject, UnknownSubject } from "../verify/targets.ts";
import { isBad, type Row, type Verdict } from "../verify/verdict.ts";
import { type Finding, verify } from "../verify/verify.ts";
import type { Terminal } from "./program.ts";

/** When progress is shown at a terminal, in milliseconds. */
const SOON = 1000;

/**
 * Tries to get past the policies of sessions, and prints what was tried, expected and seen.
 *
 * @param name a session's scope or a user; everything when left out
 * @returns the exit code: 1 when something got through that should not, or nothing could be found out
 */
export async function runVerify(
  name: string | undefined,
  options: Terminal & { readonly json: boolean; readonly seconds: number },
): Promise<number> {
  if (process.geteuid?.() !== 0) {
    console.error("Cannot verify sessions: only root can enter them; run it with sudo.");
    return 1;
  }
  let subjects: readonly Subject[];
  try {
    subjects = findSubjects(name);
  } catch (error) {
    if (!(error instanceof UnknownSubject)) throw error;
    console.error(error.message);
    return 2;
  }
  if (subjects.length === 0) {
    console.error(
      `${oneLine(name ?? "")} has no session now, and runs nothing outside of sessions: there is nothing to verify.`,
    );
    return options.json ? print([], options) : 0;
  }
  const stopping = new AbortController();
  const stop = (signal: NodeJS.Signals): void => stopping.abort(new Stopped(signal));
  process.once("SIGINT", stop).once("SIGTERM", stop).once("SIGHUP", stop);
  const began = performance.now();
  let number = 0;
  const progress = (title: string): void => {
    number++;
    if (process.stderr.isTTY && performance.now() - began > SOON)
      console.error(`${number} of ${subjects.length}: ${title} …`);
  };
  try {
    const findings = await verify(subjects, {
      probe: [...ownCommand(), "verify-probe"],
      progress,
      signal: stopping.signal,
      seconds: options.seconds,
    });
    if (performance.now() - began > options.seconds * 1000)
      console.error(
        `After ${options.seconds} s there was no time for the rest, which is untried; give it more with --seconds.`,
      );
    return print(findings, options);
  } catch (error) {
    console.error(
      error instanceof Stopped ? error.message : `Cannot verify sessions: ${(error as Error).message}`,
    );
    return 1;
  }
}

class Stopped extends Error {
  constructor(signal: NodeJS.Signals) {
    super(`Stopped by ${signal}; nothing is left behind.`);
  }
}

function print(findings: readonly Finding[], options: Terminal & { readonly json: boolean }): number {
  const bad = findings.flatMap(({ rows }) => rows).filter(isBad).length;
  if (options.json) console.log(JSON.stringify({ version, ok: bad === 0, findings }, undefined, 2));
  else {
    for (const finding of findings) console.log(`${formatFinding(finding, options)}\n`);
    console.log(summary(findings));
  }
  return bad === 0 ? 0 : 1;
}

const COLOURS: Readonly<Record<Verdict, number>> = {
  ok: 32,
  leak: 31,
  harm: 31,
  changed: 31,
  unknown: 31,
  lost: 33,
  outside: 36,
  untried: 2,
};

/** Makes a table for a terminal of what was tried on one subject. */
export function formatFinding(
  { subject, cgroup, rows }: Finding,
  terminal: Pick<Terminal, "colour">,
): string {
  const width = (of: (row: Row) => string, least: number): number =>
    Math.max(least, ...rows.map((row) => of(row).length));
  const tried = width((row) => row.tried, 5);
  const expected = width((row) => row.expected, 8);
  const bold = (text: string): string => (terminal.colour ? `\x1b[1m${text}\x1b[22m` : text);
  const colour = (verdict: Verdict): string => {
    const text = verdict.padEnd(7);
    return terminal.colour ? `\x1b[${COLOURS[verdict]}m${text}\x1b[0m` : text;
  };
  return [
    bold(`${oneLine(subject)} (${oneLine(cgroup)})`),
    `${"".padEnd(7)}  ${"tried".padEnd(tried)}  ${"expected".padEnd(expected)}  seen`,
    ...rows.map(
      (row) =>
        `${colour(row.verdict)}  ${row.tried.padEnd(tried)}  ${row.expected.padEnd(expected)}  ${oneLine(row.seen)}`,
    ),
  ].join("\n");
}

function summary(findings: readonly Finding[]): string {
  const verdicts = findings.flatMap(({ rows }) => rows.map(({ verdict }) => verdict));
  const count = (wanted: Verdict): number => verdicts.filter((verdict) => verdict === wanted).length;
  const leaks = count("leak");
  return [
    `${verdicts.length} ${verdicts.length === 1 ? "attempt" : "attempts"}`,
    leaks === 0 ? "no leak" : leaks === 1 ? "1 leak" : `${leaks} leaks`,
    ...(["harm", "changed", "unknown", "lost", "untried"] as const).flatMap((verdict) =>
      count(verdict) === 0 ? [] : [`${count(verdict)} ${verdict}`],
    ),
  ]
    .join(", ")
    .concat(".");
}
