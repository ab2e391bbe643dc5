// SPDX-License-Identifier: GPL-2.0-or-later
import type { Fragment } from "../policy/read.ts";
import { type OwnObject, replaceSubject } from "../ruleset/subject.ts";
import type { Subject } from "../subjects/subject.ts";
import { compileFor } from "./compile.ts";
import { type Piece, placesIn } from "./transaction.ts";

/**
 * Makes the commands of a subject without sharing, which the kernel can blame one by one.
 *
 * @param previous the objects that the subject has of its own
 */
export function unshared(
  subject: Subject,
  fragment: Fragment,
  previous: readonly OwnObject[] = [],
): Pick<Piece, "lines" | "place"> {
  const { parts } = compileFor(subject, fragment, { own: true });
  const commands = replaceSubject(subject, parts, previous);
  return { lines: commands.lines, place: placesIn(commands, parts) };
}
