// SPDX-License-Identifier: GPL-2.0-or-later

// The sources that the name service is put together from: nsswitch.conf(5).

import { readText } from "../host/text_file.ts";
import { koffi, loadLibrary } from "./koffi.ts";
import { SystemError } from "./libc.ts";
import { findGroup, findUser, GROUP } from "./users.ts";

/** Returns the sources of a database, in order, by a text of nsswitch.conf(5). */
export function sourcesIn(database: string, text: string): string[] {
  return lineOf(database, text)
    .replace(/\[[^\]]*\]/g, " ")
    .split(/\s+/)
    .filter((word) => word !== "");
}

/** Returns the text of a database's line, without a comment; empty where there is none. */
function lineOf(database: string, text: string): string {
  const line = text.split("\n").find((one) => one.startsWith(`${database}:`)) ?? "";
  return line
    .slice(database.length + 1)
    .replace(/#.*/, "")
    .trim();
}

/**
 * Asks each source of users and groups by itself. The name service passes over a source that is down without a word, and what
 * it would have said is missing from the answer.
 *
 * @returns those that do not answer
 */
export function silentSources(): string[] {
  const text = readText("/etc/nsswitch.conf") ?? "";
  const groups = [...sourcesIn("group", text), ...sourcesIn("initgroups", text)];
  return [
    ...new Set([
      ...silentOf("group", groups, { line: lineOf("group", text), ask: () => findGroup(GROUP) }),
      ...silentOf("passwd", sourcesIn("passwd", text), {
        line: lineOf("passwd", text),
        ask: () => findUser(GROUP),
      }),
    ]),
  ];
}

const EIO = 5;

function silentOf(
  database: string,
  sources: readonly string[],
  { line, ask }: { readonly line: string; readonly ask: () => unknown },
): string[] {
  // Where one source alone is asked, the look-up tells whether that has failed.
  const configure = loadLibrary("libc.so.6").func(
    "int __nss_configure_lookup(const char *database, const char *sources)",
  );
  try {
    return [...new Set(sources)].filter((source) => {
      if (configure(database, source) !== 0) return true;
      try {
        // Of a source that has no library the C library says what stood there before.
        koffi.errno(EIO);
        ask();
        return false;
      } catch (error) {
        if (!(error instanceof SystemError)) throw error;
        return true;
      }
    });
  } finally {
    configure(database, line === "" ? "files" : line);
  }
}
