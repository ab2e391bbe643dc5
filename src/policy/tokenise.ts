// SPDX-License-Identifier: GPL-2.0-or-later
import { Refusal } from "../refusal.ts";

/** A place in a file, for messages. Lines and columns count from 1. */
export type Place = { readonly file: string; readonly line: number; readonly column: number };

/**
 * A piece of nftables text.
 *
 * - `word`: what nft's scanner takes as one name or keyword: a letter, `_` or `.`, then letters, digits, `/ - _ . \`
 * - `string`: in double quotes, kept with them
 * - `number`: digits and what follows them without a blank: also addresses, ranges, times
 * - `mark`: one other character
 * - `end`: a line's end or `;`
 */
export type Token = {
  readonly kind: "word" | "string" | "number" | "mark" | "end";
  readonly text: string;
  readonly place: Place;
  /** Whether blanks, a comment or a continued line stand before it. */
  readonly spaced: boolean;
};

/** A fragment's text in pieces, and the comments that stand in it. */
export type Tokens = { readonly tokens: readonly Token[]; readonly comments: readonly string[] };

const BLANK = /[ \t]+/y;
const CONTINUED = /\\\n/y;
const COMMENT = /#[^\n]*/y;
const STRING = /"[^"\n]*"/y;
const WORD = /[A-Za-z_.][A-Za-z0-9_./-]*/y;
const NUMBER = /[0-9][A-Za-z0-9_./-]*/y;
const MARK = /[{}()[\],:=!<>&|^+*@$~/%'-]/y;

/**
 * Takes text apart as nft's scanner does.
 *
 * @throws {Refusal} `content`, for what the scanner would not read, or could read in a second way.
 */
export function tokenise(file: string, text: string): Tokens {
  const tokens: Token[] = [];
  const comments: string[] = [];
  let at = 0;
  let line = 1;
  let lineStart = 0;
  let spaced = false;
  const place = (): Place => ({ file, line, column: at - lineStart + 1 });
  const match = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    return pattern.exec(text)?.[0];
  };
  const newLine = (end: number): void => {
    line++;
    lineStart = end;
  };
  while (at < text.length) {
    const skipped = match(BLANK) ?? match(CONTINUED) ?? match(COMMENT);
    if (skipped !== undefined) {
      if (skipped.startsWith("#")) comments.push(skipped.slice(1).trim());
      at += skipped.length;
      if (skipped.endsWith("\n")) newLine(at);
      spaced = true;
      continue;
    }
    const character = text[at] ?? "";
    if (character === "\n" || character === ";") {
      tokens.push({ kind: "end", text: character, place: place(), spaced });
      at++;
      if (character === "\n") newLine(at);
      spaced = false;
      continue;
    }
    const string = match(STRING);
    const word = match(WORD);
    const number = match(NUMBER);
    const piece = string ?? word ?? number ?? match(MARK);
    if (piece === undefined) throw new Refusal("content", `${locate(place())}: ${describe(character)}`);
    const kind =
      string !== undefined
        ? "string"
        : word !== undefined
          ? "word"
          : number !== undefined
            ? "number"
            : "mark";
    tokens.push({ kind, text: piece, place: place(), spaced });
    at += piece.length;
    spaced = false;
  }
  return { tokens, comments };
}

/** Writes a place the way compilers do: `file:line:column`. */
export function locate(place: Place): string {
  return `${place.file}:${place.line}:${place.column}`;
}

function describe(character: string): string {
  if (character === '"') return "a string is opened here and not closed on this line; close it.";
  if (character === "\\") return "a backslash may only stand at the very end of a line.";
  if (character === "\r") return "a carriage return; save the file with Unix line ends.";
  return `the character ${JSON.stringify(character)} has no meaning in nftables; take it out.`;
}
