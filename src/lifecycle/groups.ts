// SPDX-License-Identifier: GPL-2.0-or-later
import { readdirSync } from "node:fs";
import type { GroupFragment } from "../policy/find.ts";
import { FRAGMENT_DIRECTORY } from "../policy/read.ts";
import { Refusal } from "../refusal.ts";
import { SystemError } from "../system/libc.ts";
import { groupId } from "../system/users.ts";

/**
 * The groups that there are fragments for, with their numbers. Asks the name service, so it comes before confinement; it
 * depends on nothing that a user says.
 *
 * @param root where the policy is looked for, other than in the file system's own root
 * @throws {Refusal} `user`, when the name service fails: which fragment holds cannot be told then
 */
export function groupFragments(root = ""): GroupFragment[] {
  let names: string[];
  try {
    names = readdirSync(`${root}${FRAGMENT_DIRECTORY}/groups`);
  } catch {
    return []; // there is no such directory
  }
  try {
    return names.flatMap((name) => {
      // What an editor leaves there is no group, and neither is asked about.
      const gid = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,31}$/.test(name) ? groupId(name) : undefined;
      return gid === undefined ? [] : [{ name, gid }];
    });
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    throw new Refusal(
      "user",
      `Cannot tell which groups there are fragments for: ${error.message}; see nsswitch.conf(5).`,
    );
  }
}
