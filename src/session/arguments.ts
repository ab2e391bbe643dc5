// SPDX-License-Identifier: GPL-2.0-or-later
import { Refusal } from "../refusal.ts";

/** Where the client's address comes from. */
export type RhostPolicy = "lax" | "strict" | "kernel";

/** The arguments of the PAM line, read. */
export type Arguments = {
  readonly rhostPolicy: RhostPolicy;
  /** Name of the PAM variable that holds a keyring serial, if one was named. */
  readonly claimsEnv: string | undefined;
  /** Each step to syslog at debug level. */
  readonly debug: boolean;
  /** Debugging only: no confinement. */
  readonly noSandbox: boolean;
};

// What a later release will take. Refused by name until then: an administrator who wrote one
// of these relies on it.
const NOT_YET = new Set(["lingering=keep", "lingering=kill", "scope=session"]);
const DEFAULTS_SPELLED_OUT = new Set(["lingering=quarantine", "scope=own"]);

/**
 * Reads the arguments of the PAM line.
 *
 * @throws {Refusal} `argument`, for an unknown argument or value: a typing error must not weaken a policy silently.
 */
export function parseArguments(words: readonly string[]): Arguments {
  let rhostPolicy: RhostPolicy = "lax";
  let claimsEnv: string | undefined;
  let debug = false;
  let noSandbox = false;
  for (const word of words) {
    const [key, value] = splitOnce(word, "=");
    if (word === "debug") debug = true;
    else if (word === "AUTHNFT_NO_SANDBOX=1") noSandbox = true;
    else if (key === "rhost_policy" && isRhostPolicy(value)) rhostPolicy = value;
    else if (key === "claims_env" && /^[A-Za-z_][A-Za-z0-9_]{0,63}$/.test(value)) claimsEnv = value;
    else if (DEFAULTS_SPELLED_OUT.has(word)) continue;
    else throw new Refusal("argument", complaint(word));
  }
  return { rhostPolicy, claimsEnv, debug, noSandbox };
}

function isRhostPolicy(value: string): value is RhostPolicy {
  return value === "lax" || value === "strict" || value === "kernel";
}

function complaint(word: string): string {
  const shown = JSON.stringify(word.slice(0, 80));
  if (NOT_YET.has(word)) {
    return `Cannot use the argument ${shown} of the PAM line: this release does not have it yet; take it out.`;
  }
  return `Cannot use the argument ${shown} of the PAM line: it is unknown or its value is; see pam_authnft(8) for the ones that exist.`;
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at === -1 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}
