// SPDX-License-Identifier: GPL-2.0-or-later
import { loadSeal } from "../lifecycle/seal.ts";
import { Refusal } from "../refusal.ts";
import { SystemError } from "../system/libc.ts";

/**
 * Loads the seal below the ruleset, where it is not there yet. systemd runs it as `authnft-seal.service`.
 *
 * @returns the exit code; 0 also where the host has no such thing, which the doctor speaks of
 */
export function runSeal(): number {
  try {
    const { seal, remark } = loadSeal();
    console.log(
      seal.state === "denied"
        ? `This host has no seal (${seal.why}); the ruleset holds alone.`
        : "The seal is loaded.",
    );
    if (remark !== undefined) console.log(remark);
    return 0;
  } catch (error) {
    if (!(error instanceof Refusal || error instanceof SystemError)) throw error;
    console.error(`authnft seal: ${error.message}`);
    return 1;
  }
}
