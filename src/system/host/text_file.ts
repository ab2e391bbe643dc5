// SPDX-License-Identifier: GPL-2.0-or-later
import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";

/** Reads a small text file; `undefined` when it is not there, is not a regular file, or cannot be read. */
export function readText(path: string): string | undefined {
  let fd: number | undefined;
  try {
    // O_NONBLOCK: what somebody put there instead, a FIFO say, must not make a login wait.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    return fstatSync(fd).isFile() ? readFileSync(fd, "utf8") : undefined;
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
