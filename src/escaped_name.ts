// SPDX-License-Identifier: GPL-2.0-or-later
import { createHash } from "node:crypto";
import type { Brand } from "valibot";

/** A user's or a group's name as units, chains and files are called after it: `[A-Za-z0-9_.\-]`, one for each name. */
export type EscapedName = string & Brand<"EscapedName">;

/**
 * Bytes of an escaped name. The longest names that it is a part of have 255: a unit's, by systemd, with
 * `authnft-end@authnft-…-4194304-99.scope.service` around it, and an object's, by nftables, with
 * `session_…_4194304-99_` before 63 bytes of a fragment's.
 */
export const NAME_LIMIT = 160;

/** The same where it is a file's name and no more: what Linux takes. */
export const FILE_LIMIT = 255;

/** The same in a rule, where `$user_name` stands for it: a string that nftables puts before a line of the log. */
export const RULE_LIMIT = 127;

/** Names that are escaped as they are. */
const PLAIN = /^[A-Za-z0-9_][A-Za-z0-9._-]*$/;

/** A regular expression for escaped names, of any length, without anchors. As few characters of a plain one as there may be. */
export const ESCAPED_NAME =
  "(?:[A-Za-z0-9_][A-Za-z0-9._-]*?|(?:[A-Za-z0-9_]|\\\\x[0-9a-f]{2})(?:[A-Za-z0-9_.]|\\\\x[0-9a-f]{2})*(?:\\\\_[0-9a-f]{32})?)";

const WHOLE = new RegExp(`^${ESCAPED_NAME}$`);
const CUT = /\\_/;

/** Hexadecimal digits that stand for what was cut off: 128 bits, so that nobody finds two names for which they are the same. */
const DIGITS = 32;

/**
 * Escapes a name. Letters, digits, `.`, `_` and `-`, without `.` or `-` in front, stay as they are; any other name becomes
 * what systemd-escape(1) prints for it. No two names become the same: a name with a backslash is never one that stays.
 *
 * What is longer then ends, after what fits of it, with `\_` and a hash of the name: behind a backslash of systemd's stands
 * an `x`.
 *
 * @param limit bytes that there is room for
 */
export function escapeName(name: string, limit = NAME_LIMIT): EscapedName {
  const whole = PLAIN.test(name) ? name : escapeBytes(name);
  if (whole.length <= limit) return whole as EscapedName;
  const hash = createHash("sha256").update(name).digest("hex").slice(0, DIGITS);
  // Of a plain one, too, the hyphens are escaped, which would tell the hash from the name as little as the pid.
  const kept = escapeBytes(name)
    .slice(0, limit - DIGITS - 2)
    .replace(/\\(?:x[0-9a-f]?)?$/, "");
  return `${kept}\\_${hash}` as EscapedName;
}

function escapeBytes(name: string): string {
  let escaped = "";
  for (const byte of Buffer.from(name)) {
    const character = String.fromCharCode(byte);
    const stays = escaped === "" ? /[A-Za-z0-9_]/ : /[A-Za-z0-9_.]/;
    escaped += stays.test(character) ? character : `\\x${byte.toString(16).padStart(2, "0")}`;
  }
  return escaped;
}

/**
 * The name that was escaped.
 *
 * @returns `undefined` of what is no escaped name, or not the one that its name has; and of one that was cut, which nobody
 *   can tell
 */
export function unescapeName(text: string, limit = NAME_LIMIT): string | undefined {
  const bytes = text.replaceAll(/\\x([0-9a-f]{2})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 16)),
  );
  try {
    const name = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
      Buffer.from(bytes, "latin1"),
    );
    return /^[^\0]+$/u.test(name) && escapeName(name, limit) === text ? name : undefined;
  } catch {
    return undefined;
  }
}

/** Tells whether somebody's name may be escaped to that, also where it was cut. */
export function isEscapedName(text: string, limit = NAME_LIMIT): boolean {
  return (
    unescapeName(text, limit) !== undefined || (CUT.test(text) && WHOLE.test(text) && text.length <= limit)
  );
}

/** Writes an escaped name in the name of a chain: nftables takes a slash there and no backslash, and no escaped name has a slash. */
export function inChains(name: EscapedName): string {
  return name.replaceAll("\\", "/");
}
