// SPDX-License-Identifier: GPL-2.0-or-later

// `npm run mutants` puts these mistakes in. A mistake whose line is gone would be put in nowhere.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ALL } from "../mutants/all.ts";

const ROOT = join(import.meta.dir, "../..");

test("each mistake has one place in the sources", () => {
  const lost = ALL.filter(
    ({ file, from }) => readFileSync(join(ROOT, file), "utf8").split(from).length !== 2,
  );
  expect(lost.map(({ file, from }) => `${file}: ${from}`)).toEqual([]);
});
