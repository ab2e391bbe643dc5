// SPDX-License-Identifier: GPL-2.0-or-later
import { type Diagnosis, parseComplaint } from "../policy/diagnosis.ts";
import type { Place } from "../policy/tokenise.ts";
import type { Whole } from "./source.ts";

/** A sentence about a policy, as a login or a check says it. */
export type Remark = { readonly level: Diagnosis["level"]; readonly text: string };

/** Collects what is wrong, each once. */
export class Findings {
  readonly #diagnoses = new Map<string, Diagnosis>();
  /** Adds a remark about a fragment with all that it includes, where its text says it belongs. */
  remark(whole: Whole, { level, text }: Remark): void {
    const { place, message, advice } = parseComplaint(text, whole.files);
    const file = place?.file ?? whole.target.path;
    this.add({
      level,
      ...(place === undefined ? { file, line: undefined, column: undefined } : located(place)),
      message: withoutAct(message),
      advice,
      included: includedBy(file, whole),
    });
  }

  /** Adds a remark about a file as a whole. */
  remarkOnFile(file: string, { level, text }: Remark): void {
    const { message, advice } = parseComplaint(text, []);
    this.add({
      level,
      file,
      line: undefined,
      column: undefined,
      message: withoutAct(message),
      advice,
      included: [],
    });
  }

  add(diagnosis: Diagnosis): void {
    const { level, file, line, column, message } = diagnosis;
    const key = `${level} ${file}:${line}:${column} ${message}`;
    if (!this.#diagnoses.has(key)) this.#diagnoses.set(key, diagnosis);
  }

  /** Returns those about some files, or all of them, by file and line. */
  sorted(only: ReadonlySet<string> | undefined): Diagnosis[] {
    const wanted = [...this.#diagnoses.values()].filter(({ file }) => only?.has(file) ?? true);
    return wanted.sort(
      (one, other) =>
        (one.file < other.file ? -1 : one.file > other.file ? 1 : 0) ||
        (one.line ?? 0) - (other.line ?? 0) ||
        (one.column ?? 0) - (other.column ?? 0),
    );
  }
}

/** Returns a place as the fields of a diagnosis. */
export function located({ file, line, column }: Place): Pick<Diagnosis, "file" | "line" | "column"> {
  return { file, line, column };
}

/** Lists the places that a file is included at, from the inside out. */
export function includedBy(file: string, { includes }: Whole): Place[] {
  const found: Place[] = [];
  for (let from = includes.get(file); from !== undefined; from = includes.get(from.file)) {
    if (found.includes(from)) break;
    found.push(from);
  }
  return found;
}

/** Cuts the act from a sentence: the file is named anyway. */
function withoutAct(message: string): string {
  return message.replace(/^Cannot (read|use the) fragment .*?: /, "");
}
