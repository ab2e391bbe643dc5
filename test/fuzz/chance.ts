// SPDX-License-Identifier: GPL-2.0-or-later

/** Numbers by chance that come again with the same seed. */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A whole number from 0 to `limit` - 1. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  }

  one<T>(of: readonly T[]): T {
    const chosen = of[this.below(of.length)];
    if (chosen === undefined) throw new Error("nothing to choose from");
    return chosen;
  }
}

/** Changes a few characters of a text: one is dropped, doubled, replaced, or moved. */
export function mutated(text: string, chance: Chance): string {
  let now = text;
  for (let changes = 1 + chance.below(3); changes > 0; changes--) {
    const at = chance.below(now.length + 1);
    const character = String.fromCharCode(
      chance.below(4) === 0 ? chance.below(0x3000) : 32 + chance.below(96),
    );
    const middle = chance.one(["", character, `${now[at] ?? ""}${character}`, (now[at] ?? "").repeat(2)]);
    now = now.slice(0, at) + middle + now.slice(at + 1);
  }
  return now;
}
