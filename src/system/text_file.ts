// SPDX-License-Identifier: GPL-2.0-or-later
import { readFileSync } from "node:fs";

/** Reads a small text file; `undefined` when it is not there or cannot be read. */
export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
