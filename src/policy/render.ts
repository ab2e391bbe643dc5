// SPDX-License-Identifier: GPL-2.0-or-later

// Writes parsed pieces of a fragment as the table has them.

import type { Variables } from "./dialect.ts";
import type { Term } from "./statement.ts";

/** What terms are rendered for. */
export type RenderOptions = {
  /**
   * What the names of a subject's chains, and of the fragment's own objects, begin with: `<prefix>_<name>`. A packet that a
   * rule accepts goes to `<prefix>_judged`.
   */
  readonly prefix: string;
  /** The verdict that an `accept` is written as; `goto <prefix>_judged` when left out. */
  readonly accept?: string;
  /** How deep the cgroup lies that the rules are for, from 1 below the root: what "meta cgroup" is read as. */
  readonly level: number;
  readonly variables: Variables;
};

/**
 * Writes terms on one line.
 *
 * @param terms A rule's body, or the definition of an object.
 * @returns The text for libnftables, with the names that the subject's objects have in the table.
 */
export function render(terms: readonly Term[], options: RenderOptions): string {
  return rendered(terms, options)
    .map(({ text }) => text)
    .join("")
    .trim();
}

/**
 * Finds the term that a place in rendered text comes from.
 *
 * @param options.offset The place, in characters from 0.
 * @returns The term; `undefined` outside of the text.
 */
export function tokenAt(
  terms: readonly Term[],
  options: RenderOptions & { readonly offset: number },
): Term | undefined {
  const pieces = rendered(terms, options);
  const [first] = pieces;
  // A blank before the first word was trimmed.
  let end = first === undefined ? 0 : first.text.trimStart().length - first.text.length;
  return pieces.find(({ text }) => {
    end += text.length;
    return options.offset < end;
  })?.term;
}

type Piece = { readonly text: string; readonly term: Term };

function rendered(terms: readonly Term[], options: RenderOptions): Piece[] {
  const pieces: Piece[] = [];
  for (let index = 0; index < terms.length; index++) {
    const term = terms[index];
    if (term === undefined) break;
    const text = inTable(term, options);
    const glue = term.spaced && pieces.length > 0 ? " " : "";
    // Inserted text must not run together with its neighbours.
    pieces.push({ text: text === undefined ? glue + term.text : ` ${text} `, term });
    const kind = term.refers?.kind;
    if (kind !== undefined && kind !== "variable" && kind !== "accept") index++;
  }
  return pieces;
}

/** Writes a term as the table has it; `undefined` where that is as it is written. */
function inTable(
  { text, refers }: Term,
  { prefix, accept, level, variables }: RenderOptions,
): string | undefined {
  switch (refers?.kind) {
    case undefined:
      return undefined;
    case "accept":
      return accept ?? `goto ${prefix}_judged`;
    case "chain":
      return `${text} ${prefix}_${refers.name}`;
    case "object":
      return `name "${prefix}_${refers.name}"`;
    case "set":
      return `@${refers.isOwn ? `${prefix}_` : ""}${refers.name}`;
    case "cgroup":
      return `socket cgroupv2 level ${level}`;
    case "variable": {
      const value = variables[refers.name];
      if (typeof value === "object") return value.text;
      return typeof value === "string" ? `"${value}"` : String(value ?? "");
    }
  }
}
