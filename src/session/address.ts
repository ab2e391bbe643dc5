// SPDX-License-Identifier: GPL-2.0-or-later
import { isIPv4, isIPv6 } from "node:net";
import type { Brand } from "valibot";

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
  // The URL standard serialises IPv6 hosts as RFC 5952 asks: lower case, the longest run of zeros shortened.
  const canonical = new URL(`http://[${bare}]/`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(canonical);
  if (mapped === null) return canonical as Address;
  const high = Number.parseInt(mapped[1] ?? "", 16);
  const low = Number.parseInt(mapped[2] ?? "", 16);
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}` as Address;
}

/** The family that an address belongs to. */
export function familyOf(address: Address): Family {
  return address.includes(":") ? "ip6" : "ip";
}

/** The address's bytes in network order: 4 or 16 of them. */
export function addressBytes(address: Address): Uint8Array {
  if (familyOf(address) === "ip") return Uint8Array.from(address.split("."), Number);
  const [head = "", tail] = address.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const groups = [...left, ...Array<string>(8 - left.length - right.length).fill("0"), ...right];
  return Uint8Array.from(
    groups.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 255]),
  );
}

/** An address as the table's sets have it. */
export function addressElement(address: Address): { readonly family: Family; readonly text: Address } {
  return { family: familyOf(address), text: address };
}
