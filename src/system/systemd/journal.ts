// SPDX-License-Identifier: GPL-2.0-or-later
import { oneLine } from "../../refusal.ts";
import { SystemError } from "../ffi/libc.ts";
import { sendDatagram } from "../kernel/datagram.ts";

/** The levels of syslog(3) that we use. */
export const Level = { warning: 4, notice: 5, info: 6, debug: 7 } as const;
export type Level = (typeof Level)[keyof typeof Level];

/** One entry for the log. */
export type Entry = {
  readonly level: Level;
  readonly message: string;
  /** Names a kind of entry to machines: 32 hex digits. */
  readonly messageId?: string;
  readonly fields?: Readonly<Record<string, string>>;
};

const IDENTIFIER = "pam_authnft";
const AUTHPRIV = 10; // syslog(3): the facility for what not everybody may read
const JOURNAL = "/run/systemd/journal/socket";
const SYSLOG = "/dev/log";

/**
 * How long this process may yet wait for a journal that is busy, in milliseconds: in a storm of logins it is for moments, and
 * when it hangs, no login is to hang with it.
 */
let patience = 200;

/**
 * Writes an entry to the journal, or to syslog where there is no journal. Never throws: an event that cannot be written
 * must not fail a session. Of a journal that hangs the program waits for no more than 0.2 s in all.
 */
export function log({ message, ...rest }: Entry): void {
  // Text that others chose, such as a user's name, must not make a second line.
  write({ ...rest, message: oneLine(message) });
}

let write = writeToHost;

/** Has entries written elsewhere, or to the host's journal again when left out. */
export function writeEntriesTo(elsewhere: (entry: Entry) => void = writeToHost): void {
  write = elsewhere;
}

function writeToHost(entry: Entry): void {
  if (!send(JOURNAL, journalEntry(entry))) send(SYSLOG, Buffer.from(syslogLine(entry)));
}

/** @returns whether there is a reader, even if too busy to take it: then nobody else would read it either */
function send(path: string, data: Uint8Array): boolean {
  const start = performance.now();
  try {
    sendDatagram(path, data, Math.max(1, Math.round(patience)));
    return true;
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    return error.code === "EAGAIN";
  } finally {
    patience -= performance.now() - start;
  }
}

/** The journal's native protocol: `NAME=value` lines, or name, length and bytes where the value has line ends. */
function journalEntry(entry: Entry): Uint8Array {
  const fields = {
    MESSAGE: entry.message,
    PRIORITY: String(entry.level),
    SYSLOG_FACILITY: String(AUTHPRIV),
    SYSLOG_IDENTIFIER: IDENTIFIER,
    ...(entry.messageId === undefined ? {} : { MESSAGE_ID: entry.messageId }),
    ...entry.fields,
  };
  return Buffer.concat(
    Object.entries(fields).map(([name, value]) => {
      if (!value.includes("\n")) return Buffer.from(`${name}=${value}\n`);
      const bytes = Buffer.from(value);
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(bytes.length));
      return Buffer.concat([Buffer.from(`${name}\n`), length, bytes, Buffer.from("\n")]);
    }),
  );
}

function syslogLine(entry: Entry): string {
  const known =
    entry.messageId === undefined ? entry.fields : { ...entry.fields, MESSAGE_ID: entry.messageId };
  const fields = Object.entries(known ?? {}).map(([name, value]) => ` ${name}=${JSON.stringify(value)}`);
  return `<${AUTHPRIV * 8 + entry.level}>${IDENTIFIER}[${process.pid}]: ${entry.message}${fields.join("")}`;
}
