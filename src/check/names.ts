// SPDX-License-Identifier: GPL-2.0-or-later

// What a file of the policy's tree is, by its place and name.

import { escapeName, FILE_LIMIT, isEscapedName, NAME_LIMIT, unescapeName } from "../escaped_name.ts";

/** The names that editors and package managers leave beside a file. */
const LEFTOVER = /[~#]$|\.(dpkg-\w+|rpm\w+|ucf-\w+|bak|orig|rej|swp|tmp)$/;

/** Tells a fragment from a piece that others include, and from what editors leave. */
export function kindOf(path: string): "fragment" | "piece" | "leftover" {
  const [, directory, name = ""] = /^\/etc\/authnft\/(?:(.*)\/)?([^/]+)$/.exec(path) ?? [];
  const limit = limitOf(directory);
  if (limit !== undefined)
    return LEFTOVER.test(name) || !isEscapedName(name, limit) ? "leftover" : "fragment";
  if (directory === undefined && name === "default") return "fragment";
  return LEFTOVER.test(name) ? "leftover" : "piece";
}

/** Tells whether there can be a file of that name: a user's name may be too long for one. */
export function isFileName(path: string): boolean {
  return path.split("/").every((name) => Buffer.byteLength(name) <= FILE_LIMIT);
}

/** Returns the user whose fragment a file is, by its place. */
export function userOf(path: string): string | undefined {
  const [, file] = /^\/etc\/authnft\/users\/([^/]+)$/.exec(path) ?? [];
  return file === undefined ? undefined : unescapeName(file);
}

/** Returns the group whose fragment a file is, by its place. */
export function groupOf(path: string): string | undefined {
  const [, file] = /^\/etc\/authnft\/groups\/([^/]+)$/.exec(path) ?? [];
  return file === undefined ? undefined : (unescapeName(file, FILE_LIMIT) ?? file);
}

/** Returns the name that a file needs if its own is a user's or group's that was not escaped; `undefined` for any other file. */
export function escapedOf(path: string): string | undefined {
  const [, directory, name = ""] = /^\/etc\/authnft\/(users|groups)\/([^/]+)$/.exec(path) ?? [];
  const limit = limitOf(directory);
  return limit === undefined || LEFTOVER.test(name) ? undefined : escapeName(name, limit);
}

/** How many bytes the names of a directory's files may have; `undefined` where files are named after nobody. */
function limitOf(directory: string | undefined): number | undefined {
  return directory === "users" ? NAME_LIMIT : directory === "groups" ? FILE_LIMIT : undefined;
}
