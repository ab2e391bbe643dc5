// SPDX-License-Identifier: GPL-2.0-or-later

// Text of any kind for the tokeniser. What it reads has to be what the scanner reads that was written from nft's own output
// (nft_scanner.ts); each piece has to stand where it says, and nothing may be lost between two of them.

import fc from "fast-check";
import { MISTAKE_LIMIT } from "../../src/policy/limits.ts";
import { type Token, tokenise } from "../../src/policy/tokenise.ts";
import { Refusal } from "../../src/refusal.ts";
import { REALISTIC } from "../unit/policy/realistic.ts";
import { REFUSED } from "../unit/policy/refused.ts";
import { OBJECTS } from "./fragments.ts";
import { nearText } from "./inputs.ts";
import { nftTokens } from "./nft_scanner.ts";
import { GAPS, WORDS } from "./policy_fuzz.ts";
import { sketch, type Target } from "./target.ts";

const TEXTS = [
  ...REFUSED.map(([text]) => text),
  ...REALISTIC.map(([rule]) => rule),
  ...OBJECTS,
  "`\n".repeat(MISTAKE_LIMIT + 1),
];

export const tokens: Target = {
  seeds: TEXTS,
  inputs: fc.oneof(
    { weight: 7, arbitrary: nearText(TEXTS, [...WORDS, ...GAPS]) },
    fc
      .array(fc.tuple(fc.constantFrom(...WORDS), fc.constantFrom(...GAPS)), { minLength: 1, maxLength: 8 })
      .map((pieces) => pieces.flat().join("")),
  ),
  judge: (input) => {
    const told: Refusal[] = [];
    const collected = tokenise("f", input, (refusal) => told.push(refusal));
    const misplaced = lost(collected.tokens, input, collected.broken);
    if (misplaced !== undefined) return { complaint: misplaced };
    try {
      // A line ends: nft looks at what follows a class such as 1:1 to know it for one. With "\\" it would go on.
      const line = input.endsWith("\\") ? input : `${input}\n`;
      const { tokens, comments } = tokenise("f", line);
      const [ours, theirs] = [pieces(tokens), scannerPieces(line)];
      if (ours.join("\n") !== theirs.join("\n"))
        return { complaint: `the scanner reads ${JSON.stringify(theirs)}, we ${JSON.stringify(ours)}` };
      if (told.length > 0) return { complaint: "it is refused only where refusals are collected" };
      const cut = tokens.filter(({ kind }) => kind !== "end");
      const [all, fewer] = [cut.length, cut.length - 1].map((room) => tokenise("f", line, undefined, room));
      const last = cut.at(-1)?.place;
      if (all?.full !== undefined || (last !== undefined && !Bun.deepEquals(fewer?.full, last)))
        return { complaint: `it is cut off at ${JSON.stringify([all?.full, fewer?.full])}` };
      const kinds = [...new Set(tokens.map(({ kind }) => kind))].sort();
      return { ended: `read: ${kinds.join(" ")}${comments.length > 0 ? " and comments" : ""}` };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (told[0]?.message !== error.message)
        return { complaint: `it is refused with ${error.message}; collected is ${told[0]?.message}` };
      return { ended: sketch(error.message) };
    }
  },
};

/** Says what does not stand where it says, or is not accounted for; on lines that are wrong anything may be missing. */
function lost(tokens: readonly Token[], input: string, broken: ReadonlySet<number>): string | undefined {
  const lines = input.split("\n");
  const starts: number[] = [];
  let start = 0;
  for (const line of lines) {
    starts.push(start);
    start += line.length + 1;
  }
  let end = 0;
  let whole = true;
  for (const { text, place, spaced } of tokens) {
    const at = (starts[place.line - 1] ?? Number.NaN) + place.column - 1;
    if (input.slice(at, at + text.length) !== text) return `${JSON.stringify(text)} does not stand at ${at}`;
    const skipped = input.slice(end, at);
    if (whole && !/^(?:[ \t]+|\\\n|#[^\n]*)*$/.test(skipped) && broken.size === 0)
      return `${JSON.stringify(skipped)} is passed over`;
    if (broken.size === 0 && spaced !== (skipped !== "")) return `${JSON.stringify(text)} is spaced wrongly`;
    end = at + text.length;
    whole = !broken.has(place.line);
  }
  return undefined;
}

function pieces(tokens: readonly Token[]): string[] {
  return tokens.map(({ kind, text }) => `${kind} ${text}`);
}

/**
 * What the scanner reads, by the names of ours: operators come in single characters, a name with `*` in two pieces and an
 * address in brackets in three. Some characters that mean nothing to nft we call punctuation as well; the parser refuses them.
 */
function scannerPieces(text: string): string[] {
  return nftTokens(text).flatMap((token): string[] => {
    switch (token.kind) {
      case "value":
        return token.text.startsWith("[")
          ? ["punctuation [", `number ${token.text.slice(1, -1)}`, "punctuation ]"]
          : [`number ${token.text}`];
      case "wildcard":
        return [`word ${token.text.slice(0, -1)}`, "punctuation *"];
      case "punctuation":
      case "junk":
        return [...token.text].map((character) => `punctuation ${character}`);
      default:
        return [`${token.kind} ${token.text}`];
    }
  });
}
