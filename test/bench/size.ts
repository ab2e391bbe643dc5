// SPDX-License-Identifier: GPL-2.0-or-later

// What the product is made of: bytes that are shipped, lines that are read.

import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

export interface Lines {
  readonly files: number;
  /** Lines that hold code. */
  readonly code: number;
  /** Lines that are not blank: code and comments. */
  readonly written: number;
}

const root = join(import.meta.dir, "../..");

/** The sizes of the files in `dist/`, in bytes. @throws {Error} of node:fs, before the first build */
export function shippedBytes(): Record<string, number> {
  const dist = join(root, "dist");
  return Object.fromEntries(
    ["authnft", "authnft-entry", "authnft-member", "pam_authnft.so"].map((name) => [
      name,
      statSync(join(dist, name)).size,
    ]),
  );
}

/** Counts the product's own sources of a language; tests are none. */
export function productLines(language: "C" | "TypeScript"): Lines {
  const [directory, extension] = language === "C" ? ["native", ".c"] : ["src", ".ts"];
  const paths = readdirSync(join(root, directory), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(extension))
    .map((name) => join(root, directory, name));
  const counts = paths.map((path) => countLines(readFileSync(path, "utf8")));
  return {
    files: paths.length,
    code: counts.reduce((sum, { code }) => sum + code, 0),
    written: counts.reduce((sum, { written }) => sum + written, 0),
  };
}

/** A comment counts as one where it has its lines for itself; our formatters leave no code before or behind those. */
function countLines(text: string): { code: number; written: number } {
  let code = 0;
  let written = 0;
  let inComment = false;
  for (const line of text.split("\n").map((raw) => raw.trim())) {
    if (line === "") continue;
    written++;
    if (inComment) inComment = !line.endsWith("*/");
    else if (line.startsWith("/*")) inComment = !line.endsWith("*/");
    else if (!line.startsWith("//")) code++;
  }
  return { code, written };
}
