// SPDX-License-Identifier: GPL-2.0-or-later
import { isIPv6 } from "node:net";
import { attempt, Refusal, type Refused } from "../refusal.ts";
import { grouped, MISTAKE_LIMIT } from "./limits.ts";

/** A place in a file, for messages. Lines and columns count from 1. */
export type Place = { readonly file: string; readonly line: number; readonly column: number };

/**
 * A piece of nftables text.
 *
 * - `word`: what nft's scanner takes as one name or keyword: a letter, `_` or `.`, then letters, digits, `/ - _ .`
 * - `string`: in double quotes, kept with them
 * - `number`: what nft's scanner takes as one value: a number, a time, an address
 * - `punctuation`: one other character
 * - `end`: a line's end or `;`
 */
export type Token = {
  readonly kind: "word" | "string" | "number" | "punctuation" | "end";
  readonly text: string;
  readonly place: Place;
  /** Whether blanks, a comment or a line continuation precede it. */
  readonly spaced: boolean;
};

/** A fragment's text in pieces, and the comments that stand in it. */
export type Tokens = {
  readonly tokens: readonly Token[];
  readonly comments: readonly string[];
  /** The lines, from 1, of which something was left out because it is wrong. */
  readonly broken: ReadonlySet<number>;
  /** Where there was room for no more, and what follows was left unread. */
  readonly full: Place | undefined;
};

const BLANK = /[ \t]+/y;
const CONTINUED = /\\\n/y;
const COMMENT = /#[^\n]*/y;
const STRING = /"[^"\n]*"/y;
const WORD = /[A-Za-z_.][A-Za-z0-9_./-]*/y;
const VALUES = [
  /[0-9]+/y,
  /0[xX][0-9A-Fa-f]+/y,
  /(?:[0-9]+d)?(?:[0-9]+h)?(?:[0-9]+m(?!s))?(?:[0-9]+s)?(?:[0-9]+ms)?/y,
  /(?:[0-9]{1,3}\.){3}[0-9]{1,3}/y,
  /(?:[0-9A-Fa-f]{1,2}:){5}[0-9A-Fa-f]{1,2}/y,
  // nft wants one of these behind it; a command that ends here gets a line's end.
  /[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}(?=[ \t\n:;},-]|$)/y,
  /8021(?:q|ad)/y,
];
/** With what values begin, hexadecimal ones and addresses included. */
const VALUE_START = /[0-9A-Fa-f:]/;
/** The characters of an IPv6 address, at most as many as one can have: whatever follows is scanned again behind it. */
const ADDRESS = /[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){1,8}(?:\.[0-9]{1,3}){0,3}/y;
const RUNS_ON = /[A-Za-z0-9_.]/y;
const PUNCTUATION = /[{}()[\],:=!<>&|^+*@$~/%'-]/y;

/**
 * Takes text apart as nft's scanner does.
 *
 * @param refused is told of what is wrong, a line each at most, instead of the first being thrown
 * @param room how many tokens there may be, line ends not counted
 * @throws {Refusal} `content`, for what the scanner would not read, or could read in a second way.
 */
export function tokenise(
  file: string,
  text: string,
  refused?: Refused,
  room = Number.POSITIVE_INFINITY,
): Tokens {
  const tokens: Token[] = [];
  const comments: string[] = [];
  const broken = new Set<number>();
  let at = 0;
  let line = 1;
  let lineStart = 0;
  let spaced = false;
  let left = room;
  const place = (): Place => ({ file, line, column: at - lineStart + 1 });
  const match = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    return pattern.exec(text)?.[0];
  };
  const newLine = (end: number): void => {
    line++;
    lineStart = end;
  };
  const tell = (what: string): void =>
    attempt(refused, () => {
      throw new Refusal("content", `${locate(place())}: ${what}`);
    });
  const refuse = (what: string): void => {
    tell(what);
    broken.add(line);
    const end = text.indexOf("\n", at);
    at = end === -1 ? text.length : end;
    if (broken.size < MISTAKE_LIMIT) return;
    tell(`${grouped(MISTAKE_LIMIT)} lines are wrong, and what follows was not read; mend these first.`);
    at = text.length;
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
    const string = character === '"' ? match(STRING) : undefined;
    const word = match(WORD);
    // Most words begin with a letter that no value does, and nine patterns need not be tried.
    const value = VALUE_START.test(character) ? longest([...VALUES.map(match), address(match(ADDRESS))]) : "";
    // As for nft, the longest wins, and of two the word.
    const number = value.length > (word?.length ?? 0) ? value : undefined;
    const piece = string ?? number ?? word ?? match(PUNCTUATION);
    if (piece === undefined) {
      refuse(describe(character));
      continue;
    }
    if (--left < 0) return { tokens, comments, broken, full: place() };
    const kind =
      piece === string ? "string" : piece === number ? "number" : piece === word ? "word" : "punctuation";
    tokens.push({ kind, text: piece, place: place(), spaced });
    at += piece.length;
    spaced = false;
    // nft would begin a new word here: "22jump" jumps.
    if (kind === "number" && match(RUNS_ON) !== undefined) {
      refuse(`for nftables "${piece}" ends here, and a new word begins; put a blank between.`);
    }
  }
  return { tokens, comments, broken, full: undefined };
}

function longest(found: readonly (string | undefined)[]): string {
  return found.reduce<string>(
    (best, one) => (one !== undefined && one.length > best.length ? one : best),
    "",
  );
}

/** The longest IPv6 address that a text starts with. */
function address(text: string | undefined): string | undefined {
  for (let length = text?.length ?? 0; length > 1; length--) {
    if (isIPv6(text?.slice(0, length) ?? "")) return text?.slice(0, length);
  }
  return undefined;
}

/** Writes a place the way compilers do: `file:line:column`. */
export function locate(place: Place): string {
  return `${place.file}:${place.line}:${place.column}`;
}

function describe(character: string): string {
  if (character === '"') return "a string is opened here and not closed on this line; close it.";
  if (character === "\\") return "a backslash may only stand at the very end of a line; take it out.";
  if (character === "\r") return "a carriage return; save the file with Unix line ends.";
  return `the character ${JSON.stringify(character)} has no meaning in nftables; take it out.`;
}
