// SPDX-License-Identifier: GPL-2.0-or-later
import type { Term } from "./statement.ts";

/** Words that stand where a value might, and make something else of what is around them. */
const NO_VALUES = new Set(["and", "or", "xor", "lshift", "rshift", "map", "vmap", "set", "."]);

/** Words that begin a statement for nftables, and are never a value. Those that may be one are not here. */
const STATEMENTS = new Set(
  "accept comment continue counter drop dup flow fwd goto include jump limit log masquerade meter notrack queue quota reject return synproxy tproxy xt".split(
    " ",
  ),
);

/** Reads a rule's terms. Each piece is taken whole or not at all. */
export class Reader {
  #at = 0;
  readonly #terms: readonly Term[];

  constructor(terms: readonly Term[]) {
    this.#terms = terms;
  }

  get done(): boolean {
    return this.#at >= this.#terms.length;
  }

  /** How many terms are taken. */
  get taken(): number {
    return this.#at;
  }

  /** The term that is next, or one behind it. */
  peek(ahead = 0): Term | undefined {
    return this.#terms[this.#at + ahead];
  }

  /** The terms that were taken since a count of `taken`. */
  since(start: number): readonly Term[] {
    return this.#terms.slice(start, this.#at);
  }

  /** Takes the next term, whatever it is. */
  next(): string {
    return this.#terms[this.#at++]?.text ?? "";
  }

  /** Takes terms if these are next. A string is never one of them, for it is in quotes. */
  take(...texts: readonly string[]): boolean {
    if (!texts.every((text, index) => this.#terms[this.#at + index]?.text === text)) return false;
    this.#at += texts.length;
    return true;
  }

  /** Takes the next term if it is one of some. */
  takeOne<Text extends string>(...texts: readonly Text[]): Text | undefined {
    return texts.find((text) => this.take(text));
  }

  /** Takes a word, a number or a string. */
  takeValue(): boolean {
    const term = this.#terms[this.#at];
    if (term === undefined || term.kind === "punctuation" || term.kind === "end") return false;
    if (NO_VALUES.has(term.text) || STATEMENTS.has(term.text)) return false;
    this.#at++;
    return true;
  }

  /** Takes a word or a string that names something of the fragment's own; that may be called like anything. */
  takeName(): boolean {
    const kind = this.#terms[this.#at]?.kind;
    if (kind !== "word" && kind !== "string") return false;
    this.#at++;
    return true;
  }

  /** Takes back what `take` took when nothing comes of it. */
  backtrack<T>(take: () => T | undefined): T | undefined {
    const start = this.#at;
    const taken = take();
    if (taken === undefined) this.#at = start;
    return taken;
  }
}
