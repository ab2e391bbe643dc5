// SPDX-License-Identifier: GPL-2.0-or-later

import { readdirSync } from "node:fs";
import { FILE_LIMIT, unescapeName } from "../escaped_name.ts";
import { FRAGMENT_DIRECTORY } from "../paths.ts";
import { findGroup, groupsOf, type User } from "../system/ffi/users.ts";

/** A Unix group that there is a fragment for, by the file's name. */
export type GroupFragment = { readonly file: string; readonly gid: number };

/**
 * The groups that there are fragments for, with their numbers. Asks the name service.
 *
 * @param root where the policy is looked for, other than in the file system's own root
 * @throws {SystemError} when the name service fails
 */
export function groupFragments(root = ""): GroupFragment[] {
  let files: string[];
  try {
    files = readdirSync(`${root}${FRAGMENT_DIRECTORY}/groups`);
  } catch {
    return []; // there is no such directory
  }
  return files.flatMap((file) => {
    // What an editor leaves there is no group, and neither is asked about.
    const name = unescapeName(file, FILE_LIMIT);
    const gid = name === undefined ? undefined : findGroup(name)?.gid;
    return gid === undefined ? [] : [{ file, gid }];
  });
}

/** Returns the fragments of those groups that a user is in, by the files' names. @throws {SystemError} when the name service fails */
export function groupFiles(user: User, groups: readonly GroupFragment[]): string[] {
  if (groups.length === 0) return [];
  const gids = new Set(groupsOf(user));
  return groups.filter(({ gid }) => gids.has(gid)).map(({ file }) => file);
}
