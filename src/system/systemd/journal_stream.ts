// SPDX-License-Identifier: GPL-2.0-or-later
import { createConnection } from "node:net";

const STREAM = "/run/systemd/journal/stdout";

/** How long the journal may take, in milliseconds. */
const PATIENCE = 1000;

/**
 * Writes a line to the journal over its stream for standard output, which the runtime can do without any library of the
 * host's: for when those are what is missing. Best effort: resolves whatever became of it.
 *
 * @param level one of syslog(3), facility included
 */
export function writeToJournal(identifier: string, level: number, line: string): Promise<void> {
  return new Promise((resolve) => {
    // What sd_journal_stream_fd(3) begins with: whose it is, no unit, the level, whether lines have one of their own, and
    // whether it goes to syslog, the kernel's log and the console as well.
    const stream = createConnection(STREAM, () =>
      stream.end(`${identifier}\n\n${level}\n0\n0\n0\n0\n${line}\n`),
    );
    stream.setTimeout(PATIENCE, () => stream.destroy());
    stream.on("error", () => stream.destroy());
    stream.on("close", () => resolve());
  });
}
