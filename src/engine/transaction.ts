// SPDX-License-Identifier: GPL-2.0-or-later

import { Refusal } from "../refusal.ts";
import { withOwnNames } from "../ruleset/subject.ts";
import { TABLE } from "../ruleset/table.ts";
import { TransactionError } from "../system/ffi/nftables.ts";
import type { Change } from "./change.ts";
import { firewall } from "./host.ts";
import { type Layout, lacking, saveShared } from "./shared.ts";

/**
 * Runs a transaction.
 *
 * @param place maps a line, counted from 0, to its location in a fragment
 * @throws {Refusal} `nft-syntax` for a line that comes from a fragment, `ruleset` for any other
 */
export function run(
  lines: readonly string[],
  place: (line: number) => string | undefined = () => undefined,
): void {
  try {
    firewall.runTransaction(lines);
  } catch (error) {
    if (!(error instanceof TransactionError)) throw error;
    const where = error.line === undefined ? undefined : place(error.line);
    if (where !== undefined)
      throw new Refusal(
        "nft-syntax",
        `${where}: nftables does not take what it says: ${withOwnNames(error.complaint, lines)}; see nft(8).`,
      );
    throw new Refusal(
      "ruleset",
      `Cannot load the rules into table ${TABLE}: ${error.complaint} (${lines[error.line ?? -1] ?? "the transaction as a whole"}); run "authnft doctor", and if the table is somebody else's, "nft delete table ${TABLE}".`,
    );
  }
}

/** The part of a change that concerns one subject. */
export type Piece = {
  readonly lines: readonly string[];
  /** The policy that its lines jump to. */
  readonly shared?: Layout["shared"];
  /** Maps one of the lines, counted from 0, to its location in a fragment. */
  readonly place?: (line: number) => string | undefined;
  /** Writes the files that say so, before the kernel knows it. @returns the undoing of that */
  readonly save: () => () => void;
  /**
   * The same with rules of the subject's own, for when the kernel rejects the jump: it does not say for which rule behind that, and
   * a jump more may be one too many.
   */
  readonly unshared?: () => Piece;
  /** Does what needs the rules in force. */
  readonly after?: () => void;
};

/**
 * Puts pieces in force together: saves all of them first, then gives the kernel one transaction.
 *
 * @param step the change that this is a part of; takes the undoing
 * @param before commands that come first and concern no subject
 * @throws {Refusal} `record` when something cannot be saved, `nft-syntax` or `ruleset` when the kernel refuses
 */
export function commit(
  pieces: readonly Piece[],
  step: Pick<Change, "undo">,
  before: readonly string[] = [],
): void {
  try {
    commitOnce(pieces, step, before);
  } catch (error) {
    const isOurs = error instanceof Refusal && error.reason === "ruleset";
    if (!isOurs || pieces.every(({ unshared }) => unshared === undefined)) throw error;
    commitOnce(
      pieces.map((piece) => piece.unshared?.() ?? piece),
      step,
      before,
    );
  }
}

function commitOnce(pieces: readonly Piece[], step: Pick<Change, "undo">, before: readonly string[]): void {
  using undo = new DisposableStack();
  const shared = lacking(pieces.map(({ shared }) => shared));
  for (const policy of shared) undo.defer(saveShared(policy));
  for (const piece of pieces) undo.defer(piece.save());
  const all: Pick<Piece, "lines" | "place">[] = [
    ...shared.map(({ lines, places }) => ({ lines, place: (line: number) => places[line] ?? undefined })),
    ...pieces,
  ];
  run([...before, ...all.flatMap(({ lines }) => lines)], (line) => placeIn(all, line - before.length));
  const saved = undo.move();
  step.undo(() => saved.dispose());
  for (const { after } of pieces) after?.();
}

/** Maps a line, counted from the first of some commands, to its location in a fragment. */
function placeIn(all: readonly Pick<Piece, "lines" | "place">[], line: number): string | undefined {
  let left = line;
  for (const { lines, place } of all) {
    if (left < lines.length) return left < 0 ? undefined : place?.(left);
    left -= lines.length;
  }
  return undefined;
}
