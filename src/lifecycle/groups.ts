// SPDX-License-Identifier: GPL-2.0-or-later
import { readdirSync } from "node:fs";
import { FRAGMENT_DIRECTORY } from "../policy/read.ts";
import { findGroup, groupsOf, type User } from "../system/users.ts";

/** A Unix group that there is a fragment for. */
export type GroupFragment = { readonly name: string; readonly gid: number };

/**
 * The groups that there are fragments for, with their numbers. Asks the name service.
 *
 * @param root where the policy is looked for, other than in the file system's own root
 * @throws {SystemError} when the name service fails
 */
export function groupFragments(root = ""): GroupFragment[] {
  let names: string[];
  try {
    names = readdirSync(`${root}${FRAGMENT_DIRECTORY}/groups`);
  } catch {
    return []; // there is no such directory
  }
  return names.flatMap((name) => {
    // What an editor leaves there is no group, and neither is asked about.
    const gid = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,31}$/.test(name) ? findGroup(name)?.gid : undefined;
    return gid === undefined ? [] : [{ name, gid }];
  });
}

/** The names of those groups that a user is in. @throws {SystemError} when the name service fails */
export function groupNames(user: User, groups: readonly GroupFragment[]): string[] {
  if (groups.length === 0) return [];
  const gids = new Set(groupsOf(user));
  return groups.filter(({ gid }) => gids.has(gid)).map(({ name }) => name);
}
