// SPDX-License-Identifier: GPL-2.0-or-later
import type { Brand } from "valibot";

/** Joins what different programs log of one login: `[A-Za-z0-9_.:-]`, 1 to 64 of them. */
export type CorrelationToken = string & Brand<"CorrelationToken">;

/** The PAM variable by which an earlier module hands down its token. */
export const CORRELATION_VARIABLE = "AUTHNFT_CORRELATION";

/**
 * Takes over an inherited token, or makes one.
 *
 * Of an inherited one only harmless characters are kept, 64 at most; what is left may still be of the user's choosing
 * (`pam_env.so user_readenv=1`), so nothing but logs may depend on it.
 */
export function correlationToken(
  inherited: string | undefined,
  fresh: { readonly unixSeconds: number; readonly pid: number; readonly random: Uint8Array },
): CorrelationToken {
  const kept = (inherited ?? "").replace(/[^A-Za-z0-9_.:-]/g, "").slice(0, 64);
  if (kept !== "") return kept as CorrelationToken;
  const hex = Buffer.from(fresh.random.subarray(0, 4)).toString("hex");
  return `authnft-${fresh.unixSeconds}-${fresh.pid}-${hex}` as CorrelationToken;
}
