// SPDX-License-Identifier: GPL-2.0-or-later

// Inputs that are nearly right: made of one that is, by some edits. What is wrong all over is refused at its first character.

import fc from "fast-check";

/** The bytes of a text; a lone half of a surrogate pair from U+DC80 to U+DCFF is one byte that is no UTF-8. */
export function bytesOf(text: string): Uint8Array {
  return Buffer.concat(
    text
      .split(/(?<![\ud800-\udbff])([\udc80-\udcff])/)
      .map((part, index) => (index % 2 === 1 ? Buffer.of(part.charCodeAt(0) & 255) : Buffer.from(part))),
  );
}

/** A place in a list, or a length, whatever the list's length is: taken modulo that. */
const PLACE = fc.noBias(fc.nat(0xffff));

/** A character: mostly what a keyboard has, also such that are no character at all. */
const CHARACTER = fc.oneof(
  { weight: 3, arbitrary: fc.string({ unit: "grapheme-ascii", minLength: 1, maxLength: 1 }) },
  fc.string({ unit: "binary", minLength: 1, maxLength: 1 }),
  fc.constantFrom("\0", "\x1b", "\x7f", "\u0085", "\u00a0", "\u202e", "\ud83d", "\udcff", "\ufffd"),
);

/** An edit of a list: what is at a place, so many, is dropped, doubled, or replaced by others. */
type Edit<T> = {
  readonly at: number;
  readonly length: number;
  readonly by: readonly T[] | "nothing" | "twice" | { readonly from: number; readonly count: number };
};

function edits<T>(news: fc.Arbitrary<T>): fc.Arbitrary<Edit<T>[]> {
  const by: fc.Arbitrary<Edit<T>["by"]> = fc.oneof(
    fc.constantFrom<Edit<T>["by"]>("nothing", "twice"),
    fc.tuple(news),
    fc.record({ from: PLACE, count: fc.integer({ min: 1, max: 8 }) }),
  );
  return fc.array(fc.record({ at: PLACE, length: fc.nat(3), by }), { maxLength: 6, size: "max" });
}

/** Applies edits to a list; what is taken from elsewhere is another list's. */
function edited<T>(list: readonly T[], other: readonly T[], all: readonly Edit<T>[]): T[] {
  const now = [...list];
  for (const { at, length, by } of all) {
    const place = at % (now.length + 1);
    const old = now.slice(place, place + length);
    const middle = (): readonly T[] => {
      if (by === "nothing") return [];
      if (by === "twice") return [...old, ...old];
      if ("from" in by) {
        const from = by.from % (other.length + 1);
        return other.slice(from, from + by.count);
      }
      return by;
    };
    now.splice(place, length, ...middle());
  }
  return now;
}

const TEXT_LIMIT = 1200; // characters: longer ones are slow, and say nothing new
const WORDS = /[A-Za-z0-9_.$@/-]+|\s+|./gsu;

/** Makes texts of others, edited by characters, by words and by lines. @param words what may stand in between */
export function nearText(seeds: readonly string[], words: readonly string[]): fc.Arbitrary<string> {
  const word = fc.constantFrom(...words);
  const ways = fc.oneof(
    edits(CHARACTER).map(
      (all) => (text: string, other: string) => edited([...text], [...other], all).join(""),
    ),
    {
      weight: 2,
      arbitrary: edits(word).map(
        (all) => (text: string, other: string) =>
          edited(text.match(WORDS) ?? [], other.match(WORDS) ?? [], all).join(""),
      ),
    },
    edits(word).map(
      (all) => (text: string, other: string) => edited(text.split("\n"), other.split("\n"), all).join("\n"),
    ),
  );
  return fc
    .tuple(
      fc.constantFrom(...seeds),
      fc.constantFrom(...seeds),
      fc.array(ways, { minLength: 1, maxLength: 2 }),
    )
    .map(([text, other, all]) => all.reduce((now, way) => way(now, other), text).slice(0, TEXT_LIMIT));
}

/** Makes texts of one by edits of its characters, up to three. */
export function misspelt(text: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const few = fc.array(
    fc.record({ at: PLACE, length: fc.nat(1), by: fc.array(CHARACTER, { maxLength: 2 }) }),
    {
      minLength: 1,
      maxLength: 3,
    },
  );
  return fc.tuple(text, few).map(([one, all]) => edited([...one], [], all).join(""));
}

const BYTE_LIMIT = 512;
const EDGE = fc.constantFrom(0, 1, 2, 3, 4, 5, 8, 15, 16, 17, 64, 72, 127, 128, 254, 255);

/**
 * Makes bytes of others, written as characters from 0 to 255: also two of them as a number, for lengths are such.
 *
 * @param more where others come from beside the seeds
 */
export function nearBytes(
  seeds: readonly string[],
  ...more: readonly fc.Arbitrary<string>[]
): fc.Arbitrary<string> {
  const from = fc.oneof(fc.constantFrom(...seeds), ...more);
  type Change = (bytes: readonly number[], other: readonly number[]) => readonly number[];
  const change: fc.Arbitrary<Change> = fc.oneof(
    PLACE.map(
      (at): Change =>
        (bytes) =>
          bytes.slice(0, at % (bytes.length + 1)),
    ),
    fc.tuple(PLACE, EDGE).map(
      ([at, edge]): Change =>
        (bytes) =>
          put(bytes, (at % (bytes.length + 1)) & ~3, edge),
    ),
    fc.tuple(PLACE, fc.integer({ min: 0, max: 255 })).map(
      ([at, byte]): Change =>
        (bytes) =>
          put(bytes, at % (bytes.length + 1), byte),
    ),
    // A number of two bytes where one may be, a little more or less than it was or than what follows it.
    fc.tuple(PLACE, fc.oneof(fc.integer({ min: -4, max: 4 }), fc.constantFrom("rest", "none", "most"))).map(
      ([at, to]): Change =>
        (bytes) => {
          const place = (at % (bytes.length + 1)) & ~1;
          const number = { rest: bytes.length - place, none: 0, most: 0xffff };
          const value = typeof to === "number" ? (bytes[place] ?? 0) + to : number[to as keyof typeof number];
          return put(bytes, place, value & 255, (value >> 8) & 255);
        },
    ),
    fc.tuple(PLACE, PLACE).map(
      ([at, from]): Change =>
        (bytes, other) => [
          ...bytes.slice(0, (at % (bytes.length + 1)) & ~3),
          ...other.slice((from % (other.length + 1)) & ~3),
        ],
    ),
    edits(EDGE).map(
      (all): Change =>
        (bytes, other) =>
          edited(bytes, other, all),
    ),
  );
  const latin = (text: string): number[] => [...Buffer.from(text, "latin1")];
  return fc.tuple(from, from, fc.array(change, { maxLength: 5, size: "max" })).map(([one, other, all]) => {
    const elsewhere = latin(other);
    const bytes = all.reduce<readonly number[]>((now, way) => way(now, elsewhere), latin(one));
    return Buffer.from(bytes.slice(0, BYTE_LIMIT)).toString("latin1");
  });
}

/** Puts bytes at a place; what is missing before it is 0. */
function put(bytes: readonly number[], at: number, ...values: readonly number[]): number[] {
  const now = [...bytes];
  while (now.length < at) now.push(0);
  now.splice(at, values.length, ...values);
  return now;
}

/** What may stand anywhere in JSON. */
const ATOM: fc.Arbitrary<unknown> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom<unknown>(
      ...[null, true, false, 0, 1, -1, 2, 1.5, 1e21, 2 ** 31, 2 ** 32 - 1, 2 ** 53, "", "x", "\0"],
      ...["é\n\u202e", "x".repeat(3000), [], {}, [[]], ["x"], { value: "x" }, { value: [] }],
      JSON.parse('{"__proto__":{"v":1}}'),
    ),
  },
  fc.jsonValue({ maxDepth: 2 }),
);

const ODD_KEY = fc.constantFrom("toString", "__proto__", "length", "constructor", "more");

/** Makes JSON texts of others: a value, a key or an item at any depth is another; or else the text is misspelt. */
export function nearJson(seeds: readonly string[]): fc.Arbitrary<string> {
  const values = seeds.flatMap((text) => {
    try {
      return [JSON.parse(text) as unknown];
    } catch {
      return [];
    }
  });
  const near = fc
    .oneof(...values.map((value) => like(value, Math.max(4, sizeOf(value)))))
    .map((value) => JSON.stringify(value));
  return fc.oneof(
    { weight: 6, arbitrary: near },
    { weight: 1, arbitrary: misspelt(near) },
    {
      weight: 1,
      arbitrary: nearText(seeds, ["{", "}", "[", "]", ",", ":", '"', "null"]),
    },
  );
}

/** How many values there are in one, at any depth. */
function sizeOf(value: unknown): number {
  if (value === null || typeof value !== "object") return 1;
  return Object.values(value).reduce<number>((sum, one) => sum + sizeOf(one), 1);
}

/** Makes values like one: each part of it is itself but for about once in `often` times. */
function like(value: unknown, often: number): fc.Arbitrary<unknown> {
  const same = { weight: often, arbitrary: inside(value, often) };
  const other = [{ weight: 1, arbitrary: ATOM }];
  if (typeof value === "string") other.push({ weight: 1, arbitrary: misspelt(fc.constant(value)) });
  if (typeof value === "number")
    other.push({ weight: 1, arbitrary: fc.integer({ min: -2, max: 2 }).map((more) => value + more) });
  return fc.oneof(same, ...other);
}

function inside(value: unknown, often: number): fc.Arbitrary<unknown> {
  if (value === null || typeof value !== "object") return fc.constant(value);
  const rarely = <T>(usual: T, ...seldom: fc.Arbitrary<T>[]): fc.Arbitrary<T> =>
    fc.oneof(
      { weight: often, arbitrary: fc.constant(usual) },
      ...seldom.map((arbitrary) => ({ weight: 1, arbitrary })),
    );
  if (Array.isArray(value)) {
    const items = value.map((item) =>
      fc
        .tuple(like(item, often), rarely(1, fc.constantFrom(0, 2)))
        .map(([one, times]) => Array<unknown>(times).fill(one)),
    );
    return fc
      .tuple(fc.tuple(...items), rarely<unknown[]>([], fc.tuple(ATOM)))
      .map(([all, more]) => [...all.flat(), ...more]);
  }
  const entries = Object.entries(value).map(([key, item]) =>
    fc.tuple(
      rarely<string | undefined>(key, fc.constant(undefined), ODD_KEY, misspelt(fc.constant(key))),
      like(item, often),
    ),
  );
  const more = rarely<[string, unknown][]>([], fc.tuple(fc.tuple(ODD_KEY, ATOM)));
  return fc
    .tuple(fc.tuple(...entries), more)
    .map(([all, extra]) => Object.fromEntries([...all, ...extra].filter(([key]) => key !== undefined)));
}
