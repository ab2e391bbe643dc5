// SPDX-License-Identifier: GPL-2.0-or-later
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { check } from "../../../src/check/check.ts";

const ROOT = mkdtempSync(join(tmpdir(), "authnft-check-"));
const PIECE = "/etc/authnft/lib/web";
const FILES = {
  [PIECE]: "add rule inet authnft egress nonsense in the piece\n",
  "/etc/authnft/users/bob": "flush ruleset\nadd rule inet authnft egress accept\n",
  "/etc/authnft/users/carol": `include "${PIECE}"\nflush ruleset\n`,
  "/etc/authnft/users/dave~": "add rule inet authnft egress accept\n",
};

beforeAll(() => {
  for (const [path, text] of Object.entries(FILES)) {
    mkdirSync(dirname(`${ROOT}${path}`), { recursive: true });
    writeFileSync(`${ROOT}${path}`, text);
  }
});
afterAll(() => rmSync(ROOT, { recursive: true }));

/** Checks files of the copy, and returns the files that something was found in. */
async function found(...paths: readonly string[]): Promise<string[]> {
  const names = paths.map((path) => `${ROOT}${path}`);
  const { diagnoses } = await check({
    names,
    user: undefined,
    root: ROOT,
    tries: false,
    progress: () => undefined,
  });
  return [...new Set(diagnoses.map(({ file }) => file))];
}

test("of a piece, its own mistakes are told, and not those of the fragments that include it", async () => {
  expect(await found(PIECE)).toEqual([PIECE]);
});

test("of a piece and a fragment both are told, in either order", async () => {
  const both = [PIECE, "/etc/authnft/users/bob"];
  expect(await found(...both)).toEqual(both);
  expect(await found(...both.toReversed())).toEqual(both);
});

test("of the whole tree everything is told, what no login reads included", async () => {
  expect(await found()).toEqual([
    PIECE,
    "/etc/authnft/users/bob",
    "/etc/authnft/users/carol",
    "/etc/authnft/users/dave~",
  ]);
});

test("a file beside the tree is none of it, though its directory begins alike", async () => {
  const beside = "/etc/authnft-old/alice";
  mkdirSync(dirname(`${ROOT}${beside}`), { recursive: true });
  writeFileSync(`${ROOT}${beside}`, "add rule inet authnft egress accept\n");
  expect(await found(beside)).toEqual([`${ROOT}${beside}`]);
});

test("of two places that include a piece the first is told", async () => {
  const twice = "/etc/authnft/users/erin";
  writeFileSync(`${ROOT}${twice}`, `include "${PIECE}"\ninclude "${PIECE}"\n`);
  const { diagnoses } = await check({
    names: [`${ROOT}${twice}`],
    user: undefined,
    root: ROOT,
    tries: false,
    progress: () => undefined,
  });
  rmSync(`${ROOT}${twice}`);
  expect(diagnoses.filter(({ file }) => file === PIECE)[0]?.included.map(({ line }) => line)).toEqual([1]);
});
