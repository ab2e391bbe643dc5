// SPDX-License-Identifier: GPL-2.0-or-later

// Every installed path, once.

/** Where the Bun executable and its addon are. */
export const LIBRARY = "/usr/lib/authnft";

/** Says who is a member, as the module decides it, to whatever is no program of ours. */
export const MEMBER = `${LIBRARY}/authnft-member`;

/** The program that PAM, units and administrators start: never the Bun executable itself, which obeys its environment. */
export const ENTRY = "/usr/libexec/authnft";

/** Where fragments are, and the only place that they may include from. */
export const FRAGMENT_DIRECTORY = "/etc/authnft";

/** Where everything is that is only there while the system runs. */
export const RUNTIME = "/run/authnft";

/** The locks of sessions and of the ruleset. */
export const LOCK_DIRECTORY = `${RUNTIME}/lock`;

/** The records of live sessions. */
export const RECORD_DIRECTORY = `${RUNTIME}/sessions`;

/**
 * What is kept of a subject: in `.nft` the rules that are in force, in `.closed` those that are not, in `.slice` what closes a
 * user's slice by default. What nft itself may include is told by the name.
 */
export const POLICY_DIRECTORY = `${RUNTIME}/policy`;

/** Policies as they were compiled, for the next login by the same fragment. */
export const COMPILED_DIRECTORY = `${RUNTIME}/compiled`;

/**
 * The names under which a uid ever had a session, a file for each uid with a name on each line, escaped: a uid may have several,
 * and the name service is not asked here.
 */
export const NAMES_DIRECTORY = `${RUNTIME}/names`;

/**
 * The slices that were ever closed, a line each: the set or map of the table, and the cgroup's id. A socket may outlive its
 * slice, and whoever flushes the ruleset must not open it.
 */
export const SLICES_FILE = `${RUNTIME}/slices`;

/** What nft itself can load when somebody has flushed the ruleset, sooner than this program is started: what closes. */
export const RULESET_FILE = `${RUNTIME}/ruleset.nft`;

/** What nft itself can load after that: what opens. */
export const SESSIONS_FILE = `${RUNTIME}/sessions.nft`;

/** Where the seal's programs are pinned. */
export const SEAL_PINS = `${RUNTIME}/bpf`;
