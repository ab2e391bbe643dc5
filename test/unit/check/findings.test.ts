// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import { Findings, includedBy } from "../../../src/check/findings.ts";
import type { Whole } from "../../../src/check/source.ts";
import type { Place } from "../../../src/policy/tokenise.ts";

const ALICE = "/etc/authnft/users/alice";
const PIECE = "/etc/authnft/lib/web";
const INNER = "/etc/authnft/lib/inner";

function whole(includes: readonly (readonly [string, Place])[]): Whole {
  return {
    target: { path: ALICE, as: "fragment", user: "alice" },
    fragment: { commands: [] } as unknown as Whole["fragment"],
    refusals: [],
    files: new Set([ALICE, PIECE, INNER]),
    includes: new Map(includes),
  };
}

const place = (file: string, line: number, column = 1): Place => ({ file, line, column });

test("a finding is told once, without the act that its sentence begins with", () => {
  const findings = new Findings();
  for (const text of [
    `Cannot read fragment ${ALICE}: it is writable by everyone; run chmod.`,
    `Cannot use the fragment ${ALICE}: it is writable by everyone; ask.`,
  ])
    findings.remark(whole([]), { level: "error", text });
  findings.remarkOnFile(ALICE, { level: "warning", text: "Cannot read fragment x: it is empty; write one." });
  expect(findings.sorted(undefined).map(({ level, message, advice }) => [level, message, advice])).toEqual([
    ["error", "it is writable by everyone", "run chmod"],
    ["warning", "it is empty", "write one"],
  ]);
});

test("findings come by file, line and column, whatever order they were made in, and of some files alone", () => {
  const findings = new Findings();
  const places = [
    place(PIECE, 1),
    place(ALICE, 2, 5),
    place(ALICE, 2, 3),
    place(ALICE, 1, 9),
    place(INNER, 7),
    place(ALICE, 10, 1),
  ];
  for (const { file, line, column } of places)
    findings.remark(whole([]), { level: "error", text: `${file}:${line}:${column}: wrong.` });
  findings.remarkOnFile(ALICE, { level: "error", text: "All of it." });
  const told = (only?: ReadonlySet<string>) =>
    findings.sorted(only).map(({ file, line, column }) => [file, line, column]);
  const ofAlice = [
    [ALICE, undefined, undefined],
    [ALICE, 1, 9],
    [ALICE, 2, 3],
    [ALICE, 2, 5],
    [ALICE, 10, 1],
  ];
  expect(told()).toEqual([[INNER, 7, 1], [PIECE, 1, 1], ...ofAlice]);
  expect(told(new Set([ALICE]))).toEqual(ofAlice);
});

test("the places that include a file are told from the inside out, and that ends where they go round", () => {
  const [inPiece, inAlice, inInner] = [place(PIECE, 3), place(ALICE, 1), place(INNER, 2)];
  expect(
    includedBy(
      INNER,
      whole([
        [INNER, inPiece],
        [PIECE, inAlice],
      ]),
    ),
  ).toEqual([inPiece, inAlice]);
  expect(includedBy(ALICE, whole([[INNER, inPiece]]))).toEqual([]);
  expect(
    includedBy(
      INNER,
      whole([
        [INNER, inPiece],
        [PIECE, inInner],
      ]),
    ),
  ).toEqual([inPiece, inInner]);
});
