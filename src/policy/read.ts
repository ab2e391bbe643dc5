// SPDX-License-Identifier: GPL-2.0-or-later

import { posix } from "node:path";
import { FRAGMENT_DIRECTORY } from "../paths.ts";
import { attempt, Refusal, type Refused } from "../refusal.ts";
import {
  COMMAND_LIMIT,
  DEPTH_LIMIT,
  grouped,
  INCLUDE_LIMIT,
  MISTAKE_LIMIT,
  SIZE_LIMIT,
  TOKEN_LIMIT,
} from "./limits.ts";
import { refuse } from "./refusals.ts";
import { locate, type Place, type Token, type Tokens, tokenise } from "./tokenise.ts";

/**
 * Reads one file of a policy, and vouches for it: that nobody but root can have written it.
 *
 * @param from the `include` that names it; `undefined` for the fragment itself
 * @throws {Refusal} `missing` or `perms`
 */
export type ReadTrusted = (path: string, sizeLimit: number, from: Place | undefined) => Uint8Array;

/** One command of a fragment: its tokens without the end. Never empty. */
export type Command = readonly [Token, ...Token[]];

/** A fragment with everything that it includes, in order. */
export type Fragment = {
  readonly commands: readonly Command[];
  /** Whether a comment says "require address": it is for subjects with a known client only. */
  readonly asksForAddress: boolean;
};

/**
 * Reads a fragment and everything that it includes. Each file is read once, and counts as often as it is included: what it
 * says cannot differ from one place to the next, and a policy stays as large as a login can wait for.
 *
 * @param refused is told of all that is wrong, instead of the first being thrown; what comes back lacks it then
 * @throws {Refusal} `missing`, `perms` or `content`
 */
export function readFragment(path: string, read: ReadTrusted, refused?: Refused): Fragment {
  const commands: Command[] = [];
  let asks = false;
  const known = new Map<string, Uint8Array>();
  let left = SIZE_LIMIT;
  let tokens = 0;
  let count = 0;
  let mistakes = 0;
  /** Whether a limit was reached that makes no sense of what follows. */
  let spent = false;
  const told =
    refused &&
    ((refusal: Refusal): void => {
      refused(refusal);
      spent ||= ++mistakes >= MISTAKE_LIMIT;
    });
  const end = (place: Place, what: string): never => {
    spent = true;
    refuse({ place }, what);
  };

  function visit(file: string, chain: readonly string[], from: Place | undefined): void {
    const where = from === undefined ? "" : `${locate(from)}: `;
    if (chain.includes(file)) {
      throw new Refusal(
        "content",
        `${where}the fragment includes itself: ${[...chain, file].join(" → ")}; break the circle.`,
      );
    }
    if (chain.length > INCLUDE_LIMIT) {
      throw new Refusal(
        "content",
        `${where}fragments are included more than ${INCLUDE_LIMIT} deep: ${chain.join(" → ")}; make it flatter.`,
      );
    }
    // A collector of mistakes knows the way to each.
    const text = saying(told === undefined ? chain : [], from, () => {
      const bytes = known.get(file) ?? read(file, left, from);
      known.set(file, bytes);
      left -= bytes.length;
      if (left < 0) {
        throw new Refusal(
          "content",
          `Cannot read fragment ${file}: with what is included more than once, a policy may have ${SIZE_LIMIT} bytes; make it shorter, or include it once.`,
        );
      }
      return decode(file, bytes);
    });
    const pieces = tokenise(file, text, told, TOKEN_LIMIT - tokens);
    if (pieces.full !== undefined)
      end(
        pieces.full,
        `here are more than ${grouped(TOKEN_LIMIT)} words, numbers and marks, with all that is included, and other logins would wait while they are loaded; write fewer, such as a network for many addresses.`,
      );
    tokens += pieces.tokens.filter(({ kind }) => kind !== "end").length;
    asks ||= pieces.comments.some((comment) => /^require\s+address\.?$/i.test(comment));
    for (const command of splitCommands(pieces)) {
      if (spent) return;
      if (++count > COMMAND_LIMIT)
        end(
          command[0].place,
          `here begins the command after ${grouped(COMMAND_LIMIT)}, with all that is included, and each login would wait for them; put many addresses or ports into one rule: { a, b, … }.`,
        );
      if (command[0].text !== "include") commands.push(command);
      else attempt(told, () => visit(includedPath(command), [...chain, file], command[0].place));
    }
  }

  attempt(told, () => visit(path, [], undefined));
  return { commands, asksForAddress: asks };
}

/** Says of a file that cannot be read by whom it is included. */
function saying<T>(chain: readonly string[], from: Place | undefined, act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (!(error instanceof Refusal) || from === undefined || chain.length === 0) throw error;
    const through = chain.length > 1 ? `, through ${chain.slice(0, -1).toReversed().join(", ")}` : "";
    throw new Refusal(error.reason, `${error.message} It is included at ${locate(from)}${through}.`);
  }
}

function decode(file: string, bytes: Uint8Array): string {
  const nul = bytes.indexOf(0);
  if (nul !== -1)
    refuse(placeOf(file, bytes, nul), "it holds a NUL byte, so it is no text; write nftables commands.");
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    refuse(placeOf(file, bytes, firstBroken(bytes)), "it is not UTF-8 text; write nftables commands.");
  }
}

/** Where a byte is; columns count bytes here, for there are no characters. */
function placeOf(file: string, bytes: Uint8Array, at: number): { readonly place: Place } {
  const before = bytes.subarray(0, at);
  const line = before.reduce((lines, byte) => (byte === NEWLINE ? lines + 1 : lines), 1);
  return { place: { file, line, column: at - before.lastIndexOf(NEWLINE) } };
}

const NEWLINE = 0x0a;

/** Where the first line begins that is no UTF-8. */
function firstBroken(bytes: Uint8Array): number {
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(NEWLINE, at);
    const next = end === -1 ? bytes.length : end + 1;
    try {
      new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(at, next));
    } catch {
      return at;
    }
    at = next;
  }
  return 0;
}

/** The objects of whose braces `;` and a line's end are part, as in nft. */
const BRACED = new Set(["set", "map", "counter", "quota", "limit"]);

/** The brackets that may hold others. */
const DEEPER: ReadonlyMap<string, number> = new Map(Object.entries({ "(": 1, "{": 1, ")": -1, "}": -1 }));

/**
 * Cuts tokens into commands. A line's end inside braces belongs to the list there, as in nft; in the braces of an object it
 * stands between statements, and is kept as a `;`.
 */
function splitCommands({ tokens, broken }: Tokens): Command[] {
  const commands: Command[] = [];
  let current: Token[] = [];
  const open: Token[] = [];
  let joined = false;
  let depth = 0;
  const finish = (): void => {
    const [first, ...rest] = current;
    // The rest of a broken line would be blamed for what is missing.
    const whole = !current.some(({ place }) => broken.has(place.line));
    if (first !== undefined && whole) commands.push([first, ...rest]);
    current = [];
    depth = 0;
  };
  for (const token of tokens) {
    if (token.kind === "end") {
      const inObject = open.length === 1 && current[0]?.text === "add" && BRACED.has(current[1]?.text ?? "");
      if (open.length === 0) finish();
      else if (inObject) current.push({ ...token, text: ";", spaced: false });
      else if (token.text === ";") {
        refuse(token, `a ";" inside braces; a fragment has no blocks, only commands.`);
      }
      joined = open.length > 0;
      continue;
    }
    current.push(joined ? { ...token, spaced: true } : token);
    joined = false;
    if (token.text === "{") open.push(token);
    depth = Math.max(0, depth + (DEEPER.get(token.text) ?? 0));
    if (depth > DEPTH_LIMIT) {
      refuse(token, `this "${token.text}" is more than ${DEPTH_LIMIT} deep in others; make it flatter.`);
    }
    if (token.text === "}" && open.pop() === undefined && broken.size === 0) {
      refuse(token, `this "}" closes nothing; take it out.`);
    }
  }
  const unclosed = open.pop();
  if (unclosed !== undefined && broken.size === 0)
    refuse(unclosed, `this "{" is never closed; write the "}" that is missing.`);
  finish();
  return commands;
}

function includedPath([keyword, name, ...rest]: Command): string {
  if (name?.kind !== "string" || rest.length > 0)
    refuse(
      keyword,
      `this include names no file; write include "${FRAGMENT_DIRECTORY}/…", one file name in double quotes.`,
    );
  const path = name.text.slice(1, -1);
  const isPlain = posix.normalize(path) === path && !path.endsWith("/") && !/[*?[\]]/.test(path);
  if (!isPlain || !path.startsWith(`${FRAGMENT_DIRECTORY}/`))
    refuse(
      keyword,
      `cannot include ${name.text}; name one plain file below ${FRAGMENT_DIRECTORY}, by its full name, without "..", "*", "?" or "[".`,
    );
  return path;
}
