// SPDX-License-Identifier: GPL-2.0-or-later

// What somebody can do who has broken into the helper: each attempt is made, and docs/security.md says what comes of it.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { formatTable, type Row, survey } from "../hostile/survey.ts";
import { lab, onThisRelease } from "./harness.ts";

const documented = readFileSync(join(import.meta.dir, "../../docs/security.md"), "utf8");

onThisRelease("A helper that somebody has broken into", () => {
  let landlock = 0;
  let rows: readonly Row[] = [];

  beforeAll(async () => {
    await lab.reset();
    ({ landlock, rows } = await survey(lab));
  });

  afterAll(async () => {
    await lab.install();
    await lab.reset();
  });

  test("can do what docs/security.md says, and nothing else", () => {
    // `npm run --silent hostile` prints the table as it is.
    const table = formatTable(rows).split("\n");
    const start = documented.indexOf(table[0] ?? "");
    expect(start).toBeGreaterThan(-1);
    const lines = documented.slice(start).split("\n\n", 1)[0]?.split("\n") ?? [];
    // A kernel that has less of Landlock holds less: signals and abstract sockets since the sixth version.
    const here = lines.map((line, at) => (landlock < 6 && line.includes("Landlock") ? table[at] : line));
    expect(here).toEqual(table);
  });

  test("could do nearly all of it if it were not confined", () => {
    const held = rows.filter(({ confined }) => confined !== "succeeded");
    expect(held.length).toBeGreaterThan(40);
    // The rest is what this kernel does for nobody.
    expect(held.filter(({ unconfined }) => unconfined !== "succeeded").length).toBeLessThan(6);
    // Whatever is not on the list kills; nothing hangs, and nothing fails for a reason that nobody thought of.
    expect(
      [...new Set(rows.map(({ confined }) => confined))].filter(
        (word) => !/^(succeeded|killed|no effect|E[A-Z]+)$/.test(word),
      ),
    ).toEqual([]);
  });
});
