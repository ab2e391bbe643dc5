// SPDX-License-Identifier: GPL-2.0-or-later

// Refuses pieces of a fragment, in the words that several of its readers share.

import { Refusal } from "../refusal.ts";
import type { Dialect } from "./dialect.ts";
import { locate, type Token } from "./tokenise.ts";

/** A fragment names an object that it does not add itself; a file that includes it might. */
export class UnknownObject extends Refusal {
  constructor(message: string) {
    super("content", message);
  }
}

/** What a rule may write to. */
export const SETTABLE = [
  "meta mark",
  "ct mark",
  "meta priority",
  "ip dscp",
  "ip6 dscp",
  "tcp option maxseg size",
] as const;

const ALLOWED = `besides matches there may be accept, drop, reject, continue, return, jump, goto, vmap, counter, quota, limit, ct count, last, log, add, update and delete of the fragment's own sets, comment, and what is set: ${SETTABLE.join(", ")}`;

/** Why no address is translated here, and what to do. */
export const NAT =
  ": addresses are translated in the host's own nat table; set a mark here, and match on it there";

/** Says why something that is not allowed is not, and what to write instead; `undefined` where that needs no words. */
function hintOf(word: string, noun: string): string | undefined {
  switch (word) {
    case "include":
      return "; put it on a line of its own";
    case "masquerade":
    case "snat":
    case "dnat":
    case "redirect":
    case "tproxy":
    case "synproxy":
      return NAT;
    case "meter":
      return `: nftables makes a set of it that all ${noun}s share; add a set of the fragment's own, and write "update @set { … }"`;
  }
  return undefined;
}

/** Refuses what begins no statement that is listed. @throws {Refusal} `content`, always */
export function refuseStatement(token: Token, { noun }: Dialect): never {
  refuse(
    token,
    `"${token.text}" has no place in a rule of a fragment${hintOf(token.text, noun) ?? `; ${ALLOWED}`}.`,
  );
}

/** Refuses what stands at a place. @throws {Refusal} `content`, always */
export function refuse({ place }: Pick<Token, "place">, what: string): never {
  throw new Refusal("content", `${locate(place)}: ${what}`);
}

/** Refuses what names an object that is not there. @throws {UnknownObject} always */
export function refuseUnknown({ place }: Pick<Token, "place">, what: string): never {
  throw new UnknownObject(`${locate(place)}: ${what}`);
}
