// SPDX-License-Identifier: GPL-2.0-or-later
import { isIPv4, isIPv6 } from "node:net";
import type { Brand } from "valibot";
import { bytesOfAddress, ipv6Groups } from "./address_bytes.ts";

/** An IPv4 or IPv6 address in canonical text form (RFC 5952); never a zone, never IPv4-mapped. */
export type Address = string & Brand<"Address">;

/** The address family, as nftables writes it in `ip saddr` and `ip6 saddr`. */
export type Family = "ip" | "ip6";

/**
 * Reads an address as a PAM application writes it into PAM_RHOST.
 *
 * A zone (`%eth0`) is dropped: it names an interface of ours, not the peer. IPv4-mapped IPv6, which sshd reports on a
 * socket that listens for both families, becomes IPv4, for that is what the packets carry.
 *
 * @returns the canonical address, or `undefined` for anything else: host names, ports, brackets, blanks, leading zeros.
 */
export function parseAddress(text: string): Address | undefined {
  if (isIPv4(text)) return text as Address;
  const bare = text.replace(/%[^%]+$/, "");
  if (!isIPv6(bare) || bare.includes("%")) return undefined;
  const groups = ipv6Groups(bare);
  const [high = 0, low = 0] = groups.slice(6);
  // ::ffff:0:0/96
  if (groups.slice(0, 6).join(":") === "0:0:0:0:0:65535")
    return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}` as Address;
  return shortened(groups.map((group) => group.toString(16))) as Address;
}

/** Writes groups as RFC 5952 asks: the longest run of zeros is left out, of two the first, and one alone stays. */
function shortened(groups: readonly string[]): string {
  const runs = [...groups.join(":").matchAll(/(?<![^:])0(?::0)+(?![^:])/g)];
  const [longest] = runs.toSorted((one, other) => other[0].length - one[0].length);
  if (longest === undefined) return groups.join(":");
  const text = groups.join(":");
  const [before, behind] = [text.slice(0, longest.index), text.slice(longest.index + longest[0].length)];
  return `${before.replace(/:$/, "")}::${behind.replace(/^:/, "")}`;
}

/** Returns the family that an address belongs to. */
export function familyOf(address: Address): Family {
  return address.includes(":") ? "ip6" : "ip";
}

/** Returns the address's bytes in network order: 4 or 16 of them. */
export function addressBytes(address: Address): Uint8Array {
  return bytesOfAddress(address);
}

/** Writes an address as the table's sets have it. */
export function addressElement(address: Address): { readonly family: Family; readonly text: Address } {
  return { family: familyOf(address), text: address };
}
