// SPDX-License-Identifier: GPL-2.0-or-later
import type { Brand } from "valibot";
import { Refusal } from "../refusal.ts";

/** A user name that is safe as a file name, in a unit name and in a chain name. */
export type UserName = string & Brand<"UserName">;

// 32 bytes is what useradd(8) allows; systemd and nftables allow more, so nothing that a host can make is lost.
const USER_NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,31}$/;

/**
 * Checks a user name: letters, digits, `.`, `_`, `-`; 1 to 32 of them; no `-` or `.` in front.
 *
 * @throws {Refusal} `user`, for every other name.
 */
export function parseUserName(text: string): UserName {
  if (USER_NAME.test(text)) return text as UserName;
  const shown = JSON.stringify(text.slice(0, 40));
  throw new Refusal(
    "user",
    `Cannot open a session for user ${shown}: a name must be 1 to 32 letters, digits, ".", "_" or "-", and not start with "." or "-"; take the user out of group authnft.`,
  );
}
