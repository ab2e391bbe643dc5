// SPDX-License-Identifier: GPL-2.0-or-later

/**
 * What nft's own scanner makes of a line, written from nft(8) and from what `nft --debug=scanner` prints, and from nothing
 * of ours: the judge of what the compiler lets through must not share its mistakes.
 *
 * The longest match wins, wherever it ends: "22jump" is two tokens, "::facejump" as well.
 */

/** A token: a word may be a keyword, an address or a time is a value, a string was in quotes. */
export type NftToken = {
  readonly kind: "word" | "string" | "value" | "wildcard" | "punctuation" | "end" | "junk";
  readonly text: string;
};

const IPV4 = /(?:[0-9]{1,3}\.){3}[0-9]{1,3}/y;
const MAC = /(?:[0-9a-fA-F]{1,2}:){5}[0-9a-fA-F]{1,2}/y;
// "5ms" is no "5m" with an "s" behind it.
const TIME = /(?:[0-9]+d)?(?:[0-9]+h)?(?:[0-9]+m(?!s))?(?:[0-9]+s)?(?:[0-9]+ms)?/y;
const HEX = /0[xX][0-9a-fA-F]+/y;
const DECIMAL = /[0-9]+/y;
const VLAN = /8021ad|8021q/y;
// nft itself does not take ";" behind it: a command that ends so is given to it with a line's end, and in braces it takes
// neither reading.
const CLASS = /[0-9a-fA-F]{1,4}:[0-9a-fA-F]{1,4}(?=[ \t\n:;\-},])/y;
const STRING = /"[^"]*"/y;
const WORD = /[a-zA-Z_.][a-zA-Z0-9/_.-]*/y;
const WILDCARD = /[a-zA-Z_.][a-zA-Z0-9/_.-]*(?:\*|\\\*(?:[a-zA-Z_.][a-zA-Z0-9/_.-]*)?)|\\\*/y;
const PUNCTUATION = /==|!=|<=|>=|<<|>>|[,.:{}[\]()<>^&|!/*@$=+-]/y;
const END = /[\n;]/y;
const BLANK = /[ \t]+|\\\n|#[^\n]*/y;

/** Takes a text apart as nft does. A blank is no token, nor is a comment. */
export function nftTokens(text: string): NftToken[] {
  const tokens: NftToken[] = [];
  for (let at = 0; at < text.length; ) {
    const blank = matched(BLANK, text, at);
    if (blank > 0) {
      at += blank;
      continue;
    }
    const candidates: [number, NftToken["kind"]][] = [
      [matched(WORD, text, at), "word"],
      [matched(STRING, text, at), "string"],
      [matched(WILDCARD, text, at), "wildcard"],
      [matched(END, text, at), "end"],
      [matched(PUNCTUATION, text, at), "punctuation"],
      [bracketed(text, at), "value"],
      [ipv6(text, at), "value"],
      ...[IPV4, MAC, TIME, HEX, DECIMAL, VLAN, CLASS].map((pattern): [number, NftToken["kind"]] => [
        matched(pattern, text, at),
        "value",
      ]),
    ];
    let [length, kind]: [number, NftToken["kind"]] = [1, "junk"];
    for (const candidate of candidates) {
      // Of two of one length a word wins: "dead" alone is no number.
      if (candidate[0] > length || (candidate[0] === length && kind === "junk")) [length, kind] = candidate;
    }
    tokens.push({ kind, text: text.slice(at, at + length) });
    at += length;
  }
  return tokens;
}

function matched(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0].length ?? 0;
}

const ADDRESS_CHARACTERS = /[0-9a-fA-F:.]+/y;

/** The length of the longest IPv6 address that starts here; 0 where there is none. */
function ipv6(text: string, at: number): number {
  const most = Math.min(matched(ADDRESS_CHARACTERS, text, at), 45);
  for (let length = most; length >= 2; length--) if (isIpv6(text.slice(at, at + length))) return length;
  return 0;
}

function bracketed(text: string, at: number): number {
  if (text[at] !== "[") return 0;
  const length = ipv6(text, at + 1);
  return length > 0 && text[at + 1 + length] === "]" ? length + 2 : 0;
}

function isIpv6(text: string): boolean {
  const halves = text.split("::");
  if (halves.length > 2) return false;
  const groups = halves.map((half) => (half === "" ? [] : half.split(":")));
  const last = groups.at(-1)?.at(-1) ?? "";
  const tail = last.includes(".");
  if (tail && (halves.length < 2 || !/^(?:[0-9]{1,3}\.){3}[0-9]{1,3}$/.test(last))) return false;
  const all = groups.flat();
  if (!(tail ? all.slice(0, -1) : all).every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return false;
  const count = all.length + (tail ? 1 : 0);
  return halves.length === 2 ? count <= 7 : count === 8;
}
