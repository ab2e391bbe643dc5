// SPDX-License-Identifier: GPL-2.0-or-later

// A login session: what PAM opens and closes, in a scope of systemd's.

import { addressElement, parseAddress } from "../../address.ts";
import { escapeName, RULE_LIMIT } from "../../escaped_name.ts";
import { type Kind, levelOf, type Subject } from "../subject.ts";
import { SESSION_DIALECT } from "./dialect.ts";
import type { SessionRecord } from "./record.ts";
import { parseScopeUnit, sessionId } from "./scope_unit.ts";

/** The kind of subject that a login session is. */
export const SESSION_KIND: Kind<SessionRecord> = {
  name: "session",
  dialect: SESSION_DIALECT,
  plan: (record) => {
    const address = parseAddress(record.remote_ip);
    return {
      id: sessionId(record),
      kind: "session",
      cgroup: { path: record.cg_path, level: levelOf(record.cg_path) },
      variables: {
        user_ip: address && addressElement(address),
        user_id: record.uid,
        user_name: escapeName(record.user, RULE_LIMIT),
      },
      addresses: address === undefined ? [] : [address],
      policy: { fragment: record.fragment, generation: record.generation },
      state: record.state,
      comment: commentOf(record),
    };
  },
  isKeptAs: (name) => parseScopeUnit(name) !== undefined,
  hasEnded: ({ cg_id }, now) => now !== BigInt(cg_id),
};

/** Returns the subject that a record is of. */
export function sessionSubject(record: SessionRecord): Subject {
  const plan = SESSION_KIND.plan(record);
  return { ...plan, cgroup: { ...plan.cgroup, id: BigInt(record.cg_id) } };
}

function commentOf({ user, pid, claims_tag: tag }: SessionRecord): string {
  return `${escapeName(user)} (PID:${pid})${tag === "" ? "" : ` [${tag}]`}`;
}
