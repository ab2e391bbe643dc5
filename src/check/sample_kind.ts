// SPDX-License-Identifier: GPL-2.0-or-later

/** The client address that a sample session has: of which family, or none. */
export type SampleKind = "ip" | "ip6" | "none";

/** Names the sessions that samples stand for. */
export function sessionsOf(kinds: readonly SampleKind[]): string {
  if (kinds.includes("ip")) return "sessions without an IPv6 address";
  if (kinds.includes("ip6")) return "sessions without an IPv4 address";
  return "sessions without an address";
}
