// SPDX-License-Identifier: GPL-2.0-or-later
import type { Brand } from "valibot";
import { Refusal } from "../../refusal.ts";

/** The name of a user that a session may have: one line of text. Names derived from it go through `escapeName`. */
export type UserName = string & Brand<"UserName">;

/** Bytes of a name: Linux's LOGIN_NAME_MAX, and more than directories give. */
const USER_NAME_LIMIT = 256;

/**
 * Checks a user name: 1 to 256 bytes of text, such as directories have, without what no database can hold and what would
 * change a line of the log.
 *
 * @throws {Refusal} `user`, for every other name.
 */
export function parseUserName(text: string): UserName {
  const wrong = wrongWith(text);
  if (wrong === undefined) return text as UserName;
  const shown = JSON.stringify(text.slice(0, 40).toWellFormed());
  throw new Refusal(
    "user",
    `Cannot open a session for user ${shown}: ${wrong}; have the user renamed, or take the user out of group authnft.`,
  );
}

function wrongWith(text: string): string | undefined {
  if (text === "") return "a name must not be empty";
  // Bytes that are no text come as half of a character from the module, and as the sign for them from where they were decoded.
  if (!text.isWellFormed() || text.includes("\u{fffd}")) return "its name is not UTF-8";
  if (Buffer.byteLength(text) > USER_NAME_LIMIT)
    return `a name must not be longer than ${USER_NAME_LIMIT} bytes`;
  if (text === "." || text === "..") return 'a name must not be "." or ".."';
  if (/[/:]/.test(text)) return 'a name must not have "/" or ":" in it';
  if (/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(text))
    return "a name must not have characters in it that a log cannot show";
  return undefined;
}
