// SPDX-License-Identifier: GPL-2.0-or-later
import { Refusal } from "../../refusal.ts";

/** The word of the PAM line that turns confinement off: debugging only. */
export const UNCONFINED = "AUTHNFT_NO_SANDBOX=1";

/** Where the client's address comes from. */
export type RhostPolicy = "lax" | "strict" | "kernel";

/** The fate of processes that outlive the logout: no network, the session's rules as before, or the end. */
export const LINGERING = ["quarantine", "keep", "kill"] as const;
export type Lingering = (typeof LINGERING)[number];

/** The home of a session: a scope of ours, or the login session's own. */
const SCOPES = ["own", "session"] as const;

/** The arguments of the PAM line, read. */
export type Arguments = {
  readonly rhostPolicy: RhostPolicy;
  /** Name of the PAM variable that holds a keyring serial, if one was named. */
  readonly claimsEnv: string | undefined;
  readonly lingering: Lingering;
  readonly scope: (typeof SCOPES)[number];
  /** Each step to syslog at debug level. */
  readonly debug: boolean;
  /** Debugging only: no confinement. */
  readonly noSandbox: boolean;
};

/**
 * Reads the arguments of the PAM line. Of two that contradict each other the last holds.
 *
 * @throws {Refusal} `argument`, for an unknown argument or value: a typing error must not weaken a policy silently.
 */
export function parseArguments(words: readonly string[]): Arguments {
  const found: { -readonly [Key in keyof Arguments]: Arguments[Key] } = {
    rhostPolicy: "lax",
    claimsEnv: undefined,
    lingering: "quarantine",
    scope: "own",
    debug: false,
    noSandbox: false,
  };
  for (const word of words) {
    const [key, value] = splitOnce(word, "=");
    if (word === "debug") found.debug = true;
    else if (word === UNCONFINED) found.noSandbox = true;
    else if (key === "rhost_policy" && isOneOf(["lax", "strict", "kernel"] as const, value))
      found.rhostPolicy = value;
    else if (key === "claims_env" && /^[A-Za-z_][A-Za-z0-9_]{0,63}$/.test(value)) found.claimsEnv = value;
    else if (key === "lingering" && isOneOf(LINGERING, value)) found.lingering = value;
    else if (key === "scope" && isOneOf(SCOPES, value)) found.scope = value;
    else {
      throw new Refusal(
        "argument",
        `Cannot use the argument ${JSON.stringify(word.slice(0, 80))} of the PAM line: it is unknown or its value is; see pam_authnft(8) for the ones that exist.`,
      );
    }
  }
  return found;
}

function isOneOf<T extends string>(values: readonly T[], text: string): text is T {
  return (values as readonly string[]).includes(text);
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at === -1 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}
