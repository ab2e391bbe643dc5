// SPDX-License-Identifier: GPL-2.0-or-later

import { escapeName, FILE_LIMIT, unescapeName } from "../../escaped_name.ts";
import { FRAGMENT_DIRECTORY } from "../../paths.ts";
import { Refusal } from "../../refusal.ts";
import { shellWord } from "../../shell_word.ts";

/** The user whose fragment is looked for. */
export type Seeker = {
  readonly name: string;
  /** The groups of the user that there are fragments for, by the files' names; `undefined` when the name service did not tell. */
  readonly groups: readonly string[] | undefined;
};

/** The fragment that holds for a user, why it does, and which others would if it were not there. */
export type Found = { readonly path: string; readonly why: string; readonly others: readonly string[] };

/**
 * Finds the fragment that holds for a user: the user's own; else that of a group of theirs, of several the first by name;
 * else the default.
 *
 * @param exists whether something of that name is there, whatever it is
 * @throws {Refusal} `missing`, when there is none; `user`, when it depends on groups that cannot be told
 */
export function findFragment({ name, groups }: Seeker, exists: (path: string) => boolean): Found {
  const own = `${FRAGMENT_DIRECTORY}/users/${escapeName(name)}`;
  const fallback = `${FRAGMENT_DIRECTORY}/default`;
  const theirs = (groups ?? []).toSorted();
  const candidates = [
    ...(exists(own) ? [{ path: own, why: `it is ${name}'s own` }] : []),
    ...theirs.map((group, index) => ({
      path: `${FRAGMENT_DIRECTORY}/groups/${group}`,
      why: `${name} is in group ${named(group)}${index === 0 && theirs.length > 1 ? `, the first by name of ${theirs.map(named).join(", ")}` : ""}`,
    })),
    ...(exists(fallback) ? [{ path: fallback, why: "it is the default for members without another" }] : []),
  ];
  const [chosen, ...others] = candidates;
  if (chosen?.path !== own && groups === undefined) {
    throw new Refusal(
      "user",
      `Cannot tell which fragment holds for ${name}: the name service does not tell the user's groups; write ${shellWord(own)}, or see nsswitch.conf(5).`,
    );
  }
  if (chosen === undefined) {
    throw new Refusal(
      "missing",
      `Cannot read fragment ${own}: there is none, nor one in ${FRAGMENT_DIRECTORY}/groups for a group of ${name}'s, nor ${fallback}; write ${own === shellWord(own) ? "one" : `${shellWord(own)}, or another of them`}, or take the user out of group authnft.`,
    );
  }
  return { ...chosen, others: others.map(({ path }) => path) };
}

/** The name of the group whose fragment a file is. */
function named(group: string): string {
  return unescapeName(group, FILE_LIMIT) ?? group;
}
