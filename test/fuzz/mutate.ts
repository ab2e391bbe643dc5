// SPDX-License-Identifier: GPL-2.0-or-later

// How new inputs are made of those that were worth keeping.

import { type Chance, mutated } from "./chance.ts";

/** Makes an input of one that was kept, perhaps with a part of another. */
export type Mutate = (input: string, other: string, chance: Chance) => string;

/** The bytes of a text; a lone half of a surrogate pair from U+DC80 to U+DCFF is one byte that is no UTF-8. */
export function bytesOf(text: string): Uint8Array {
  return Buffer.concat(
    text
      .split(/(?<![\ud800-\udbff])([\udc80-\udcff])/)
      .map((part, index) => (index % 2 === 1 ? Buffer.of(part.charCodeAt(0) & 255) : Buffer.from(part))),
  );
}

const TEXT_LIMIT = 1200; // characters: longer ones are slow, and say nothing new
const WORDS = /[A-Za-z0-9_.$@/-]+|\s+|./gsu;

/** Changes text: characters, words, or lines, which are dropped, doubled, replaced or taken from elsewhere. */
export function mutateText(words: readonly string[]): Mutate {
  return (input, other, chance) => {
    const changed = chance.one([byCharacters, byWords, byWords, byLines])(input, other, chance, words);
    return changed.slice(0, TEXT_LIMIT);
  };
}

function byCharacters(input: string, _other: string, chance: Chance): string {
  return mutated(input, chance);
}

function byWords(input: string, other: string, chance: Chance, words: readonly string[]): string {
  return splice(input.match(WORDS) ?? [], other.match(WORDS) ?? [], chance, words).join("");
}

function byLines(input: string, other: string, chance: Chance, words: readonly string[]): string {
  return splice(input.split("\n"), other.split("\n"), chance, [...words, ""]).join("\n");
}

/** Drops, doubles, replaces and moves pieces, once to four times. */
function splice<T>(input: readonly T[], other: readonly T[], chance: Chance, news: readonly T[]): T[] {
  const pieces = [...input];
  for (let changes = 1 + chance.below(4); changes > 0; changes--) {
    const at = chance.below(pieces.length + 1);
    const length = chance.below(Math.min(4, pieces.length - at + 1));
    const from = chance.below(other.length + 1);
    const middle = [
      [],
      [chance.one(news)],
      pieces.slice(at, at + length).flatMap((piece) => [piece, piece]),
      other.slice(from, from + 1 + chance.below(8)),
      pieces.slice(from, from + length),
    ];
    pieces.splice(at, length, ...chance.one(middle));
  }
  return pieces;
}

const BYTE_LIMIT = 512;
const EDGES = [0, 1, 2, 3, 4, 5, 8, 15, 16, 17, 64, 72, 127, 128, 254, 255];

/** Changes bytes, written as characters from 0 to 255: also two or four of them as a number, for lengths are such. */
export const mutateBytes: Mutate = (input, other, chance) => {
  const bytes = [...Buffer.from(input, "latin1")];
  const more = [...Buffer.from(other, "latin1")];
  let now = bytes;
  for (let changes = 1 + chance.below(3); changes > 0; changes--) {
    const at = chance.below(now.length + 1);
    switch (chance.below(6)) {
      case 0:
        now = now.slice(0, at);
        break;
      case 1:
        now[at & ~3] = chance.one(EDGES);
        break;
      case 2: {
        // A number of two bytes where one may be, a little more or less than it was or than what follows it.
        const place = at & ~1;
        const number = chance.one([(now[place] ?? 0) + chance.below(9) - 4, now.length - place, 0, 0xffff]);
        now[place] = number & 255;
        now[place + 1] = (number >> 8) & 255;
        break;
      }
      case 3:
        now[at] = chance.below(256);
        break;
      case 4:
        now = [...now.slice(0, at & ~3), ...more.slice(chance.below(more.length + 1) & ~3)];
        break;
      default:
        now = splice(now, more, chance, EDGES);
    }
  }
  return Buffer.from(Array.from(now.slice(0, BYTE_LIMIT), (byte) => byte ?? 0)).toString("latin1");
};

const ATOMS: readonly unknown[] = [
  null,
  true,
  false,
  0,
  1,
  -1,
  2,
  1.5,
  1e21,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 53,
  "",
  "x",
  "\0",
  "é\n\u202e",
  "x".repeat(3000),
  [],
  {},
  [[]],
  ["x"],
  { value: "x" },
  { value: [] },
  JSON.parse('{"__proto__":{"v":1}}'),
];

/** Changes a JSON text as what it means: a value, a key or an item at any depth; or else as text. */
export const mutateJson: Mutate = (input, other, chance) => {
  let value: unknown;
  try {
    value = JSON.parse(input);
  } catch {
    return mutateText(["{", "}", "[", "]", ",", ":", '"', "null"])(input, other, chance);
  }
  if (chance.below(5) === 0) return mutated(input, chance);
  for (let changes = 1 + chance.below(2); changes > 0; changes--) value = changed(value, chance);
  return JSON.stringify(value);
};

function changed(value: unknown, chance: Chance): unknown {
  const isList = Array.isArray(value);
  if (value === null || typeof value !== "object" || chance.below(12) === 0)
    return typeof value === "string" && chance.below(2) === 0 ? mutated(value, chance) : chance.one(ATOMS);
  const entries: [string, unknown][] = Object.entries(value);
  const at = chance.below(entries.length + 1);
  const [key, old] = entries[at] ?? ["more", chance.one(ATOMS)];
  const instead: [string, unknown][] = chance.one([
    [],
    [[key, chance.one(ATOMS)]],
    [[key, changed(old, chance)]],
    [[key, changed(old, chance)]],
    [[chance.one(["toString", "__proto__", "length", mutated(key, chance)]), old]],
    isList ? [entries[at] ?? ["", 0], entries[at] ?? ["", 0]] : [[key, old]],
  ]);
  entries.splice(at, 1, ...instead);
  return isList ? entries.map(([, item]) => item) : Object.fromEntries(entries);
}
