// SPDX-License-Identifier: GPL-2.0-or-later

import { hasNames } from "../engine/session/records.ts";
import { escapeName } from "../escaped_name.ts";
import { FRAGMENT_DIRECTORY } from "../paths.ts";
import { silentSources } from "../system/ffi/name_sources.ts";
import type { User } from "../system/ffi/users.ts";
import { isThere } from "../system/host/files.ts";

/** Names which sources of users and groups do not answer, in a sentence without its end; `undefined` where all do. @throws {SystemError} */
export function silence(): string | undefined {
  const silent = silentSources();
  if (silent.length === 0) return undefined;
  return `${silent.join(" and ")}, which /etc/nsswitch.conf names, ${silent.length === 1 ? "does" : "do"} not answer`;
}

/**
 * Tells why it cannot be told that a user is no member, though the name service says so: it passes over a source that is down.
 * Of users of whom nothing says that they were to be filtered nothing is asked. native/pam_shim.c does the same for a login.
 *
 * @returns `undefined` where the "no" is one
 * @throws {SystemError}
 */
export function doubtAbout({ name, uid }: User): string | undefined {
  if (uid === 0) return undefined;
  const isTraced = isThere(`${FRAGMENT_DIRECTORY}/users/${escapeName(name)}`) || hasNames(uid);
  return isTraced ? silence() : undefined;
}
