// SPDX-License-Identifier: GPL-2.0-or-later
import { version } from "../../package.json" with { type: "json" };
import { check, type Holding, type Report, UnknownName } from "../check/check.ts";
import { type Diagnosis, formatDiagnosis } from "../policy/diagnosis.ts";
import { locate } from "../policy/tokenise.ts";
import { oneLine } from "../refusal.ts";
import type { Terminal } from "./program.ts";

/** When progress is first shown at a terminal, and how often after that, in milliseconds. */
const SOON = 1000;

/** How much of a line is shown without a terminal to say its width, in columns. */
const WIDEST = 400;

/** What the command line says. */
export type CheckOptions = Terminal & {
  readonly user: string | undefined;
  readonly root: string | undefined;
  readonly json: boolean;
};

/**
 * Checks policies and prints what is wrong with them.
 *
 * @param names files and users; everything when empty
 * @returns the exit code: 1 when a login would be refused, 2 when something that was named is not there
 */
export async function runCheck(names: readonly string[], options: CheckOptions): Promise<number> {
  let report: Report;
  try {
    report = await check({
      names,
      user: options.user,
      root: (options.root ?? "").replace(/\/+$/, ""),
      tries: process.geteuid?.() === 0,
      progress: progress(),
    });
  } catch (error) {
    if (!(error instanceof UnknownName)) throw error;
    console.error(`authnft check: ${error.message}`);
    return 2;
  }
  const errors = report.diagnoses.filter(({ level }) => level === "error");
  if (options.json) console.log(JSON.stringify(asJson(report), undefined, 2));
  else print(report, options);
  return errors.length === 0 ? 0 : 1;
}

function print(report: Report, options: CheckOptions): void {
  const width = process.stdout.isTTY && options.width > 0 ? options.width : WIDEST;
  for (const holding of report.holdings) console.log(`${formatHolding(holding)}\n`);
  for (const diagnosis of report.diagnoses)
    console.log(`${formatDiagnosis(diagnosis, { ...report, ...options, width })}\n`);
  console.log(summary(report));
  for (const gap of report.gaps) console.error(gap);
}

/** Says which fragment holds for a user, why, and what would hold otherwise. */
export function formatHolding({ user, found }: Holding): string {
  if (found === undefined) return `${oneLine(user)}: no fragment holds; a login is refused.`;
  const { path, why, others } = found;
  const rest = others.length === 0 ? "" : ` Without it: ${others.map(oneLine).join(", then ")}.`;
  return `${oneLine(user)}: ${oneLine(path)} holds, for ${oneLine(why)}.${rest}`;
}

function summary({ files, diagnoses }: Report): string {
  const counted = (count: number, one: string): string => `${count} ${one}${count === 1 ? "" : "s"}`;
  const count = (wanted: Diagnosis["level"]): number =>
    diagnoses.filter(({ level }) => level === wanted).length;
  return `${counted(files.length, "file")}, ${counted(count("error"), "error")}, ${counted(count("warning"), "warning")}.`;
}

function asJson({ holdings, files, diagnoses, gaps, tried, nameOf }: Report): object {
  const ofLevel = (wanted: Diagnosis["level"]): object[] =>
    diagnoses
      .filter(({ level }) => level === wanted)
      .map(({ file, line, column, message, advice, included }) => ({
        file: nameOf(file),
        line: line ?? null,
        column: column ?? null,
        message,
        advice: advice ?? null,
        includedBy: included.map((place) => locate({ ...place, file: nameOf(place.file) })),
      }));
  const errors = ofLevel("error");
  return {
    version,
    ok: errors.length === 0,
    checked: tried ? "nftables" : "syntax",
    gaps,
    users: holdings.map(({ user, found }) => ({
      user,
      fragment: found?.path ?? null,
      why: found?.why ?? null,
      others: found?.others ?? [],
    })),
    files: files.map(nameOf),
    errors,
    warnings: ofLevel("warning"),
  };
}

function progress(): (done: number, of: number) => void {
  let next = performance.now() + SOON;
  return (done, of) => {
    if (!process.stderr.isTTY || performance.now() < next) return;
    next = performance.now() + SOON;
    console.error(`${done} of ${of} …`);
  };
}
