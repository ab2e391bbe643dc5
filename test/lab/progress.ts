// SPDX-License-Identifier: GPL-2.0-or-later

/** Writes one line of progress to stderr; dimmed on a terminal, so that results stand out from it. */
export function progress(line: string): void {
  process.stderr.write(
    process.stderr.isTTY && !process.env.NO_COLOR ? `\x1b[2m${line}\x1b[0m\n` : `${line}\n`,
  );
}

/** The time since `start` (of `performance.now()`) for people: "4.2 s". */
export function elapsed(start: number): string {
  return `${((performance.now() - start) / 1000).toFixed(1)} s`;
}
