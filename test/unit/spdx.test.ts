// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";

const root = join(import.meta.dir, "../..");

/** Not ours, or made by the build. */
const ELSEWHERE = new Set(["node_modules", "dist", ".git"]);

/** Formats without comments, prose, and what is no source: the licence itself, settings of tools, corpora of bytes. */
const EXEMPT = /\.(json|md|png|gif|svg|bin)$|(^|\/)(LICENSE|\.[^/]+)$|\/corpus\//;

function sources(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) return ELSEWHERE.has(entry.name) ? [] : sources(path);
    return entry.isFile() && !EXEMPT.test(relative(root, path)) ? [path] : [];
  });
}

test("every source file says its licence within its first three lines", () => {
  const files = sources(root);
  expect(files.length).toBeGreaterThan(50);
  const silent = files.filter((path) => {
    const head = readFileSync(path, "utf8").split("\n", 3).join("\n");
    return !head.includes("SPDX-License-Identifier: GPL-2.0-or-later");
  });
  expect(silent.map((path) => relative(root, path))).toEqual([]);
});
