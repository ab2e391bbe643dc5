// SPDX-License-Identifier: GPL-2.0-or-later

/**
 * Why a session was refused, for machines: the journal's `AUTHNFT_REASON`.
 * `missing`, `perms`, `content` and `nft-syntax` speak of the fragment and are audited too.
 */
export type Reason =
  | "request"
  | "namespace"
  | "occupied"
  | "argument"
  | "user"
  | "address"
  | "claims"
  | "missing"
  | "perms"
  | "content"
  | "nft-syntax"
  | "systemd"
  | "cgroup"
  | "ruleset"
  | "record"
  | "sandbox"
  | "timeout"
  | "host"
  | "bug";

const FRAGMENT_REASONS: ReadonlySet<Reason> = new Set(["missing", "perms", "content", "nft-syntax"]);

/**
 * The one error that crosses module borders on purpose: the session must not be opened.
 *
 * The message is for the administrator, one line: the act, the cause, and what to do.
 * Everything else that is thrown is a bug.
 */
export class Refusal extends Error {
  override readonly name = "Refusal";

  constructor(
    readonly reason: Reason,
    message: string,
  ) {
    super(oneLine(message));
  }

  /** Whether the fragment is at fault, so that the refusal goes to the audit trail as well. */
  get concernsFragment(): boolean {
    return FRAGMENT_REASONS.has(this.reason);
  }
}

/** Is told of a refusal where more than the first of them is of interest. */
export type Refused = (refusal: Refusal) => void;

/**
 * Does something that may be refused. Where somebody wants to be told of refusals, it is told, and nothing comes back.
 *
 * @throws {Refusal} where nobody is there to be told
 */
export function attempt<Result>(refused: Refused | undefined, act: () => Result): Result | undefined {
  if (refused === undefined) return act();
  try {
    return act();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    refused(error);
    return undefined;
  }
}

/** Makes one printable line of any text: what reaches a log or a terminal must not carry control characters. */
export function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ").trim();
}
