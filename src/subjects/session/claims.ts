// SPDX-License-Identifier: GPL-2.0-or-later
import type { Brand } from "valibot";
import { Refusal } from "../../refusal.ts";

/** A keyring payload, made fit for comments, records and logs: `[A-Za-z0-9_=,.:;/-]`, 1 to 192 of them. */
export type ClaimsTag = string & Brand<"ClaimsTag">;

/** A serial number of a kernel key: add_key(2) returns positive ones only. */
export type KeySerial = number & Brand<"KeySerial">;

const TAG_LIMIT = 192;

/**
 * Reads a key's serial number as an earlier PAM module leaves it in a PAM variable: decimal digits, nothing else.
 *
 * @throws {Refusal} `claims`
 */
export function parseKeySerial(text: string): KeySerial {
  const serial = /^[0-9]{1,10}$/.test(text) ? Number(text) : 0;
  if (serial >= 1 && serial <= 0x7fff_ffff) return serial as KeySerial;
  throw new Refusal(
    "claims",
    `Cannot read the claims: ${JSON.stringify(text.slice(0, 40))} is no key serial; have the module that sets the variable put a serial of add_key(2) there.`,
  );
}

/**
 * Makes a tag of a key's payload. The first NUL ends it; other bytes outside the allowed set become `_`.
 *
 * @throws {Refusal} `claims`, when nothing is left.
 */
export function claimsTag(payload: Uint8Array): ClaimsTag {
  const end = payload.indexOf(0);
  const bytes = payload.subarray(0, Math.min(end === -1 ? payload.length : end, TAG_LIMIT));
  const tag = Buffer.from(bytes)
    .toString("latin1")
    .replace(/[^A-Za-z0-9_=,.:;/-]/g, "_");
  if (tag !== "") return tag as ClaimsTag;
  throw new Refusal(
    "claims",
    "Cannot read the claims: the key is empty; have the module that makes it put a tag there.",
  );
}
