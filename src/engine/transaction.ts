// SPDX-License-Identifier: GPL-2.0-or-later

import type { CompiledPart } from "../policy/compile.ts";
import { locate } from "../policy/tokenise.ts";
import { Refusal } from "../refusal.ts";
import { type Commands, withOwnNames } from "../ruleset/subject.ts";
import { TABLE } from "../ruleset/table.ts";
import { TransactionError } from "../system/ffi/nftables.ts";
import type { Change } from "./change.ts";
import { firewall } from "./host.ts";

/**
 * Runs a transaction.
 *
 * @param place tells the place in a fragment that a line, from 0, comes from
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

/** What a change does to one subject. */
export type Piece = {
  readonly lines: readonly string[];
  /** Tells the place in a fragment that one of the lines, from 0, comes from. */
  readonly place?: (line: number) => string | undefined;
  /** Saves what is to be true, before it is. @returns what undoes that */
  readonly save: () => () => void;
  /** Does what can only be done once the rules are in force. */
  readonly after?: () => void;
};

/**
 * Puts pieces in force together: all is saved first, then the kernel gets one transaction.
 *
 * @param step the change that this is a part of, or what undoes it
 * @param before commands that come first and concern no subject
 * @throws {Refusal} `record` when something cannot be saved, `nft-syntax` or `ruleset` when the kernel refuses
 */
export function commit(
  pieces: readonly Piece[],
  step: Pick<Change, "undo">,
  before: readonly string[] = [],
): void {
  for (const piece of pieces) step.undo(piece.save());
  run([...before, ...pieces.flatMap(({ lines }) => lines)], (line) => {
    let left = line - before.length;
    for (const { lines, place } of pieces) {
      if (left < lines.length) return left < 0 ? undefined : place?.(left);
      left -= lines.length;
    }
    return undefined;
  });
  for (const { after } of pieces) after?.();
}

/** Tells for each line of a subject's commands where in its fragment it comes from. */
export function placesIn(
  { sources }: Commands,
  parts: readonly CompiledPart[],
): (line: number) => string | undefined {
  return (line) => {
    const part = parts[sources[line] ?? -1];
    return part && locate(part.place);
  };
}
