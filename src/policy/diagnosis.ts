// SPDX-License-Identifier: GPL-2.0-or-later
import type { Place } from "./tokenise.ts";

/** A mistake in a policy, or something probably unintended, and its place. */
export type Diagnosis = {
  readonly level: "error" | "warning";
  readonly file: string;
  /** From 1; `undefined` where the whole file is meant. */
  readonly line: number | undefined;
  readonly column: number | undefined;
  readonly message: string;
  /** What to do, or to write instead. */
  readonly advice: string | undefined;
  /** Where the file is included, from the inside out; empty for one that nobody has to include. */
  readonly included: readonly Place[];
};

/** A sentence of the house, taken apart: "file:line:column: what is wrong; what to do." */
export type Complaint = {
  readonly place: Place | undefined;
  readonly message: string;
  readonly advice: string | undefined;
};

/**
 * Takes a message apart.
 *
 * @param files those that may be named in front; a file's name may hold anything
 */
export function parseComplaint(text: string, files: Iterable<string>): Complaint {
  for (const file of files) {
    if (!text.startsWith(`${file}:`)) continue;
    const [whole, line, column] = /^:([0-9]+):([0-9]+): /.exec(text.slice(file.length)) ?? [];
    if (whole === undefined) continue;
    const place = { file, line: Number(line), column: Number(column) };
    return { place, ...partsOf(text.slice(file.length + whole.length)) };
  }
  return { place: undefined, ...partsOf(text) };
}

function partsOf(sentence: string): { message: string; advice: string | undefined } {
  const text = sentence.replace(/\.$/, "");
  // A semicolon within quotes is not the sentence's.
  for (let at = text.lastIndexOf("; "); at > 0; at = text.lastIndexOf("; ", at - 1)) {
    const behind = text.slice(at + 2);
    if ((behind.match(/"/g)?.length ?? 0) % 2 === 0) return { message: text.slice(0, at), advice: behind };
  }
  return { message: text, advice: undefined };
}

/** How a diagnosis is shown. */
export type Showing = {
  readonly colour: boolean;
  /** How many columns there are. */
  readonly width: number;
  /** The text of a file; `undefined` where it was not read. */
  readonly textOf: (file: string) => string | undefined;
  /** The name that a file is shown by. */
  readonly nameOf: (file: string) => string;
};

const COLOURS: Readonly<Record<Diagnosis["level"], number>> = { error: 31, warning: 35 };

/** Writes a diagnosis the way compilers do: place, what is wrong, the line with a caret below, what to do. */
export function formatDiagnosis(diagnosis: Diagnosis, showing: Showing): string {
  const { level, line, column, included } = diagnosis;
  const paint = (code: number, text: string): string =>
    showing.colour ? `\x1b[1;${code}m${text}\x1b[0m` : text;
  const file = visible(showing.nameOf(diagnosis.file));
  const where = line === undefined ? file : `${file}:${line}:${column}`;
  const lines = [`${where}: ${paint(COLOURS[level], `${level}:`)} ${visible(diagnosis.message)}`];
  const whole = line === undefined ? undefined : showing.textOf(diagnosis.file);
  const text = whole === undefined || line === undefined ? undefined : lineOf(whole, line);
  if (text !== undefined && column !== undefined) {
    const [shown, caret] = excerpt(text, column - 1, showing.width - INDENT.length);
    lines.push(`${INDENT}${shown}`, `${INDENT}${caret}${paint(32, "^")}`);
  }
  for (const place of included)
    lines.push(`  included by ${visible(showing.nameOf(place.file))}:${place.line}:${place.column}`);
  if (diagnosis.advice !== undefined) lines.push(`  ${paint(36, "help:")} ${visible(diagnosis.advice)}`);
  return lines.join("\n");
}

/** A line of a text, counted from 1, without its end; `undefined` where there are fewer. */
function lineOf(text: string, line: number): string | undefined {
  let start = 0;
  for (let before = line - 1; before > 0; before--) {
    start = text.indexOf("\n", start) + 1;
    if (start === 0) return undefined;
  }
  const end = text.indexOf("\n", start);
  return text.slice(start, end === -1 ? undefined : end).replace(/\r$/, "");
}

const INDENT = "    ";

/** The part of a line around a place, and the blanks that put a caret below it. */
function excerpt(text: string, at: number, width: number): readonly [shown: string, blanks: string] {
  const room = Math.max(width, 40);
  const long = text.length > room;
  const start = long ? Math.max(0, Math.min(at - Math.floor(room / 2), text.length - room)) : 0;
  const [before, after] = [start > 0 ? "…" : "", long && start + room < text.length ? "…" : ""];
  const shown = visible(`${before}${text.slice(start + before.length, start + room - after.length)}${after}`);
  // Tabs stay tabs, so that the caret stands right however wide they are.
  const blanks = shown.slice(0, at - start).replace(/[^\t]+/g, (part) => " ".repeat(Bun.stringWidth(part)));
  return [shown, blanks];
}

/** Text that cannot steer a terminal, as long as it was. */
function visible(text: string): string {
  return text.replace(/(?!\t)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "\ufffd");
}
