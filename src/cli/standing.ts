// SPDX-License-Identifier: GPL-2.0-or-later
import { SystemError } from "../system/ffi/libc.ts";
import { findGroup, findUserById, GROUP } from "../system/ffi/users.ts";
import { membership } from "../system/host/membership.ts";
import { silence } from "./doubt.ts";

/** Whether a user is a member: as a login would find, and "no" only where nothing is left that could say "yes". */
export type Standing =
  | { readonly is: "member" | "outside"; readonly name: string }
  | { readonly is: "unknown"; readonly why: string };

/**
 * Makes the question how users stand to the group. Other than at a login, where who cannot be known is a member, a "no" here
 * opens something: so it has to be the word of all sources.
 *
 * @returns a function that takes the processes of the user's sessions as well, for PAM may have given one the group
 */
export function standings(): (uid: number, pids?: readonly number[]) => Standing {
  const isMember = membership();
  let doubt: string | undefined | null = null;
  return (uid, pids = []) => {
    try {
      const user = findUserById(uid);
      if (user === undefined) return { is: "unknown", why: "no user has that number" };
      const { name } = user;
      if (uid !== 0 && (isMember(user) || pids.some((pid) => isMember(user, pid))))
        return { is: "member", name };
      if (doubt === null) doubt = findDoubt();
      return doubt === undefined ? { is: "outside", name } : { is: "unknown", why: doubt };
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      return { is: "unknown", why: error.message };
    }
  };
}

/** Why a "no" of the name service may be none. @throws {SystemError} */
function findDoubt(): string | undefined {
  const silent = silence();
  if (silent !== undefined) return silent;
  return findGroup(GROUP) === undefined ? `there is no group ${GROUP}` : undefined;
}
