// SPDX-License-Identifier: GPL-2.0-or-later

// The limits of a fragment, with all that it includes. Each is far more than people write, and small enough that its
// load holds no other login up for a second, and that no version of nftables dies of it. The times are of one that was
// measured on two cores of 2.6 GHz: they say how the numbers were found, and not what another host takes.

/** How deep fragments may include others. */
export const INCLUDE_LIMIT = 16;

/** Bytes. */
export const SIZE_LIMIT = 1 << 20;

/** Commands, includes among them: a thousand rules of six words take nftables 80 ms. */
export const COMMAND_LIMIT = 1000;

/**
 * Words, numbers and marks, which is what time grows with, whatever they are: each takes nftables some 5 µs while the ruleset
 * is locked, for the session and for what the user runs outside of it. So 50,000 addresses take 0.4 s, 25,000 networks in
 * braces 0.3, and 12,500 pairs of a network and a range of ports 0.5. To compile them takes longer, and nobody waits for that.
 */
export const TOKEN_LIMIT = 100_000;

/** Elements of sets and maps with "flags interval", where nftables looks for overlaps: 16,000 take 0.3 s, 20,000 0.4, 32,000 0.7. */
export const INTERVAL_LIMIT = 20_000;

/** Sets without a name: the kernel compares each with all others, so that 500 take 0.1 s, 1,000 0.5 and 4,000 six. */
export const ANONYMOUS_SET_LIMIT = 500;

/** Statements in a rule: the kernel takes no more than 128 expressions, of which each has one or several (NFT_RULE_MAXEXPRS). */
export const STATEMENT_LIMIT = 128;

/**
 * How deep parentheses and braces may lie in each other. The parser of nftables gives up at 5,000 braces, and ours, which calls
 * itself, at 60,000 parentheses.
 */
export const DEPTH_LIMIT = 16;

/** Operators in one expression: nftables 1.1.3 takes as many, and 1.0.6 writes over its own stack at 63. */
export const OPERATOR_LIMIT = 15;

/** Registers of 4 bytes in a concatenation: there are 16, and with more libnftables 1.0.6 aborts. */
export const REGISTER_LIMIT = 16;

/** The same where the kernel has to keep some for what it reckons: jhash, and what a rule puts into a set. */
export const NARROW_REGISTER_LIMIT = 12;

/** The same for what a rule puts into a map: libnftables 1.0.6 keeps no more for the key, and aborts. */
export const MAP_REGISTER_LIMIT = 4;

/**
 * Rules on all the ways that a packet can take through jumps: kernels that do not remember which chains they have looked
 * through follow each way anew, and so does "authnft check", which takes 0.3 s for as many.
 */
export const WAY_LIMIT = 100_000;

/** How many mistakes of one fragment are reported before the rest is left unread. */
export const MISTAKE_LIMIT = 100;

/** Writes a number with a comma between thousands. */
export function grouped(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
}
