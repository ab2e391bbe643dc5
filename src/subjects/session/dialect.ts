// SPDX-License-Identifier: GPL-2.0-or-later
import type { Dialect, Variables } from "../../policy/dialect.ts";
import { TABLE } from "../../ruleset/table.ts";

/** The names that a fragment may use for a login session, besides its own. */
export const SESSION_DIALECT: Dialect = {
  noun: "session",
  table: TABLE,
  chains: { "@session_chain": "in" },
  // The first name is the set's own; the others are from a published form of fragments.
  sets: {
    session_map_ipv4: { aliases: ["session_v4"], holds: "ip" },
    session_map_ipv6: { aliases: ["session_v6"], holds: "ip6" },
    session_map_cg: { aliases: ["session_cg"] },
  },
  variables: {
    user_ip: { kind: "address", meaning: "the client's address" },
    user_id: { kind: "number", meaning: "the user's id" },
    user_name: { kind: "text", meaning: "the user's name" },
  },
};

/** A session's user, and where the user logged in from. */
export type SessionSubject = {
  readonly id: number;
  readonly name: string;
  /** The client's address; `undefined` where it is not known. */
  readonly address: { readonly family: "ip" | "ip6"; readonly text: string } | undefined;
};

/**
 * Gives the part of the compiler's options that depends on the session.
 *
 * @param subject The session's user and client.
 * @returns The dialect of sessions and the values of its variables.
 */
export function forSession({ id, name, address }: SessionSubject): {
  readonly dialect: Dialect;
  readonly variables: Variables;
} {
  return { dialect: SESSION_DIALECT, variables: { user_ip: address, user_id: id, user_name: name } };
}
