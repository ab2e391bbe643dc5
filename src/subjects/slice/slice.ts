// SPDX-License-Identifier: GPL-2.0-or-later

// A member's user slice: whatever runs there outside of login sessions has the policy of the session that was opened last.

import { addressElement, parseAddress } from "../../address.ts";
import { escapeName, RULE_LIMIT } from "../../escaped_name.ts";
import { SESSION_DIALECT } from "../session/dialect.ts";
import { newestOf, type SessionRecord } from "../session/record.ts";
import { userSlice } from "../session/scope_unit.ts";
import { type Kind, levelOf, type SubjectId } from "../subject.ts";

/** A member's slice: whose it is, and the member's open sessions. Without any it is closed. */
export type MemberSlice = {
  readonly name: string;
  readonly uid: number;
  /** In any order. */
  readonly open: readonly SessionRecord[];
};

/** The kind of subject that a member's user slice is. */
export const SLICE_KIND: Kind<MemberSlice> = {
  name: "slice",
  // The fragments are those of sessions.
  dialect: SESSION_DIALECT,
  plan: ({ name, uid, open }) => {
    const newest = newestOf(open);
    const address = parseAddress(newest?.remote_ip ?? "");
    const path = userSlice(uid);
    return {
      id: sliceId(uid),
      kind: "slice",
      cgroup: { path, level: levelOf(path) },
      variables: {
        user_ip: address && addressElement(address),
        user_id: uid,
        user_name: escapeName(name, RULE_LIMIT),
      },
      addresses: [...new Set(open.flatMap(({ remote_ip }) => parseAddress(remote_ip) ?? []))],
      policy: { fragment: newest?.fragment ?? "", generation: 0 },
      state: newest === undefined ? "lingering" : "open",
      comment: `${escapeName(name)} (UID:${uid})`,
    };
  },
  isKeptAs: (name) => uidOfSlice(name) !== undefined,
  hasEnded: (_, now) => now === undefined,
};

/** Names the chains of a user's slice. */
export function sliceId(uid: number): SubjectId {
  return `cover_${uid}` as SubjectId;
}

/** Reads whose slice chains of that name are of; `undefined` for every other name. */
export function uidOfSlice(id: string): number | undefined {
  const uid = /^cover_(0|[1-9][0-9]{0,9})$/.exec(id)?.[1];
  return uid === undefined ? undefined : Number(uid);
}
