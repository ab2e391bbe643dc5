// SPDX-License-Identifier: GPL-2.0-or-later
import { loadSeal } from "../engine/seal.ts";
import { SystemError } from "../system/ffi/libc.ts";

/**
 * Loads the seal below the ruleset, where it is not there yet. systemd runs it as `authnft-seal.service`.
 *
 * @returns the exit code; 0 also where the host has no such thing, which the doctor speaks of; 1 where the wanted bits are written wrongly
 */
export function runSeal(): number {
  try {
    const { seal, remark, mistake } = loadSeal();
    console.log(
      seal.state === "denied"
        ? `This host has no seal (${seal.why}); the ruleset holds alone.`
        : "The seal is loaded.",
    );
    if (remark !== undefined) console.log(remark);
    if (mistake === undefined) return 0;
    console.error(`${mistake.message} The bits that were in force stay, or the usual ones hold.`);
    return 1;
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    console.error(`authnft seal: ${error.message}`);
    return 1;
  }
}
