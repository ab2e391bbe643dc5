// SPDX-License-Identifier: GPL-2.0-or-later
import type { Token } from "./tokenise.ts";

/** Words that stand where a value might, and make something else of what is around them. */
const NO_VALUES = new Set(["and", "or", "xor", "lshift", "rshift", "map", "vmap", "set", "."]);

/** Words that begin a statement for nftables, and are never a value. Those that may be one are not here. */
const STATEMENTS = new Set(
  "accept comment continue counter drop dup flow fwd goto include jump limit log masquerade meter notrack queue quota reject return synproxy tproxy xt".split(
    " ",
  ),
);

/** Goes through a rule's tokens. What is taken is taken whole or not at all. */
export class Reader {
  #at = 0;
  readonly #tokens: readonly Token[];

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  get done(): boolean {
    return this.#at >= this.#tokens.length;
  }

  /** How many tokens are taken. */
  get taken(): number {
    return this.#at;
  }

  /** The token that is next, or one behind it. */
  peek(ahead = 0): Token | undefined {
    return this.#tokens[this.#at + ahead];
  }

  /** What was taken between two counts of `taken`, as it is written, with single blanks. */
  written(start: number, end: number): string {
    return this.#tokens
      .slice(start, end)
      .map(({ text, spaced }) => `${spaced ? " " : ""}${text}`)
      .join("")
      .trim();
  }

  /** The tokens that were taken between two counts of `taken`. */
  between(start: number, end: number): readonly Token[] {
    return this.#tokens.slice(start, end);
  }

  /** Takes the next token, whatever it is. */
  next(): string {
    return this.#tokens[this.#at++]?.text ?? "";
  }

  /** Takes tokens if these are next. A string is never one of them, for it is in quotes. */
  take(...texts: readonly string[]): boolean {
    if (!texts.every((text, index) => this.#tokens[this.#at + index]?.text === text)) return false;
    this.#at += texts.length;
    return true;
  }

  /** Takes the next token if it is one of some. */
  takeOne<Text extends string>(...texts: readonly Text[]): Text | undefined {
    return texts.find((text) => this.take(text));
  }

  /** Takes a word, a number or a string. */
  takeValue(): boolean {
    const token = this.#tokens[this.#at];
    if (token === undefined || token.kind === "mark" || token.kind === "end") return false;
    if (NO_VALUES.has(token.text) || STATEMENTS.has(token.text)) return false;
    this.#at++;
    return true;
  }

  /** Takes a word or a string that names something of the fragment's own; that may be called like anything. */
  takeName(): boolean {
    const kind = this.#tokens[this.#at]?.kind;
    if (kind !== "word" && kind !== "string") return false;
    this.#at++;
    return true;
  }

  /** Takes back what `take` took when nothing comes of it. */
  attempt<T>(take: () => T | undefined): T | undefined {
    const start = this.#at;
    const taken = take();
    if (taken === undefined) this.#at = start;
    return taken;
  }
}

/** Takes a statement that only tells, and lets every packet go on. */
export function takeRemark(reader: Reader): boolean {
  if (reader.take("counter")) {
    if (reader.take("packets")) return reader.takeValue() && reader.take("bytes") && reader.takeValue();
    return !reader.take("name") || reader.takeName();
  }
  if (reader.take("log")) {
    for (;;) {
      if (reader.takeOne("prefix", "level", "group", "snaplen", "queue-threshold") !== undefined) {
        if (!reader.takeValue()) return false;
      } else if (reader.take("flags")) {
        const known = reader.takeOne("all", "skuid", "ether") ?? reader.takeOne("ip", "tcp");
        if (known === undefined) return false;
        if (known === "ip" && !reader.take("options")) return false;
        if (known === "tcp") while (reader.takeOne("sequence", "options", ",") !== undefined);
      } else return true;
    }
  }
  return (
    reader.attempt(() => {
      if (reader.takeOne("meta", "ct") === undefined || !reader.take("mark", "set")) return undefined;
      return reader.take("meta", "mark") || reader.take("ct", "mark") || reader.takeValue() || undefined;
    }) ?? false
  );
}

/** Takes a condition on how much there has been. */
export function takeLimit(reader: Reader): boolean {
  if (reader.take("limit", "rate")) {
    reader.takeOne("over", "until");
    if (!reader.takeValue()) return false;
    // "10/second", or "1 mbytes/second" where the scanner makes one word of the unit.
    if (!reader.take("/") && (!reader.takeValue() || !reader.take("/"))) return takeBurst(reader);
    return reader.takeValue() && takeBurst(reader);
  }
  const quota = reader.take("quota");
  if (!quota && !reader.take("ct", "count")) return false;
  reader.takeOne("over", "until");
  if (!reader.takeValue() || (quota && !reader.takeValue())) return false;
  return !quota || !reader.take("used") || (reader.takeValue() && reader.takeValue());
}

function takeBurst(reader: Reader): boolean {
  return !reader.take("burst") || (reader.takeValue() && reader.takeValue());
}

/** Takes what a rule ends with when it explains itself. */
export function takeComment(reader: Reader): void {
  if (reader.take("comment")) reader.takeValue();
}
