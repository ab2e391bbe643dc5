// SPDX-License-Identifier: GPL-2.0-or-later

/** Somewhere that a policy may speak of. */
export type Destination = { readonly ip: string; readonly port: number };

/** An address that is for documentation, and a port that no service is known to have: what no policy names. */
const UNNAMED: Destination = { ip: "192.0.2.1", port: 47_011 };

/** Each is tried by two protocols; a policy may name thousands. */
const LIMIT = 12;

/**
 * The IPv4 addresses and ports that a policy's rules and sets name, in all combinations as far as they are few, and besides
 * one that it does not name.
 *
 * @param lines commands of nftables
 */
export function destinations(lines: readonly string[]): Destination[] {
  const addresses = new Set<string>();
  const ports = new Set<number>();
  for (const line of lines) {
    if (isNoRule(line)) continue;
    for (const [, text = "", length] of line.matchAll(
      /(?<![\w.:])((?:\d{1,3}\.){3}\d{1,3})(?:\/(\d{1,2}))?(?![\w.])/g,
    )) {
      const address = within(text, length === undefined ? 32 : Number(length));
      if (address !== undefined) addresses.add(address);
    }
    for (const [, text = ""] of line.matchAll(/\bdport (?:!= )?(\{[^}]*\}|[\d-]+)/g)) {
      for (const [number] of text.matchAll(/\d+/g))
        if (Number(number) > 0 && Number(number) < 65536) ports.add(Number(number));
    }
  }
  const all = [...addresses, UNNAMED.ip].flatMap((ip) =>
    [UNNAMED.port, ...ports].map((port) => ({ ip, port })),
  );
  // The one that nothing names is never left out: it shows what the policy's last word is.
  const unnamed = all.findIndex(({ ip, port }) => ip === UNNAMED.ip && port === UNNAMED.port);
  return [...all.splice(unnamed, 1), ...all].slice(0, LIMIT);
}

/** An address that is for documentation, too. */
const UNNAMED_6 = "2001:db8::1";

/** How many IPv6 addresses are tried. */
const LIMIT_6 = 6;

/**
 * The IPv6 addresses that a policy's rules and sets name, as far as they are few, after one that it does not name.
 *
 * @param lines commands of nftables
 */
export function addresses6(lines: readonly string[]): string[] {
  const addresses = new Set([UNNAMED_6]);
  for (const line of lines) {
    if (isNoRule(line)) continue;
    for (const [, text = "", length = "128"] of line.matchAll(
      /(?<![\w.:])((?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4})(?:\/(\d{1,3}))?(?![\w.:])/gi,
    )) {
      const address = within6(text, Number(length));
      if (address !== undefined) addresses.add(address);
    }
  }
  return [...addresses].slice(0, LIMIT_6);
}

/** Returns the bytes of an address; of an IPv6 address without an IPv4 address at its end. */
export function bytesOf(ip: string): number[] {
  if (!ip.includes(":")) return ip.split(".").map(Number);
  const [before = "", after] = ip.split("::");
  const groups = (text: string): number[] =>
    text === "" ? [] : text.split(":").map((group) => Number.parseInt(group, 16));
  const first = groups(before);
  const last = groups(after ?? "");
  const zeros = after === undefined ? 0 : 8 - first.length - last.length;
  return [...first, ...Array<number>(Math.max(0, zeros)).fill(0), ...last].flatMap((group) => [
    group >> 8,
    group & 255,
  ]);
}

/** An address of an IPv6 network, in full: the last but one. */
function within6(text: string, length: number): string | undefined {
  const bytes = bytesOf(text);
  if (bytes.length !== 16 || bytes.some(Number.isNaN) || length > 128) return undefined;
  const number = bytes.reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
  const size = 2n ** BigInt(128 - length);
  const chosen = size < 4n ? number : (number / size) * size + size - 2n;
  const first = Number(chosen >> 120n);
  // No senders of unicast packets over a network: what begins with zeros, groups; and what is known on one link only.
  if (first === 0 || first === 0xff || Number(chosen >> 118n) === 0xfe80 >> 6) return undefined;
  return Array.from({ length: 8 }, (_, index) =>
    ((chosen >> BigInt(112 - 16 * index)) & 0xffffn).toString(16),
  )
    .join(":")
    .replace(/(^|:)0(:0)+(:|$)/, "::");
}

/** A session's own address is where it is sent from. */
function isNoRule(line: string): boolean {
  return /^(create|add) (chain|element \S+ \S+ session_(map_\w+|in|out)\b)/.test(line);
}

/** An address of a network: the last one before the broadcast address, which is least likely to be named by itself. */
function within(text: string, length: number): string | undefined {
  const bytes = text.split(".").map(Number);
  if (bytes.some((byte) => byte > 255) || length > 32) return undefined;
  const number = bytes.reduce((sum, byte) => sum * 256 + byte, 0);
  const size = 2 ** (32 - length);
  const chosen = size < 4 ? number : Math.floor(number / size) * size + size - 2;
  const first = Math.floor(chosen / 2 ** 24);
  // No destinations of unicast packets over a network: this network, the loopback, groups and what is reserved.
  if (first === 0 || first === 127 || first >= 224) return undefined;
  return [24, 16, 8, 0].map((shift) => Math.floor(chosen / 2 ** shift) % 256).join(".");
}
