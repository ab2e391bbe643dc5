// SPDX-License-Identifier: GPL-2.0-or-later
import { Refusal } from "../refusal.ts";
import { SystemError, setNotDumpable } from "../system/ffi/libc.ts";
import { loadFilter } from "../system/ffi/libseccomp.ts";
import { RULES } from "./allowlist.ts";

let load = (): void => loadFilter(RULES);

/** Has `confine` do something else in place of loading the filter: let a supervisor decide, for `authnft --trace`. */
export function confineBy(means: () => void): void {
  load = means;
}

/**
 * Gives up every system call that opening and closing a session does not need, for all threads and for good.
 *
 * @throws {Refusal} `sandbox`, when that is not possible: then nothing is to be read, let alone done.
 */
export function confine(): void {
  try {
    // Nobody but root may look into this process from now on, whoever it seems to be.
    setNotDumpable();
    load();
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    throw new Refusal("sandbox", `Cannot confine the helper: ${error.message}; run "authnft doctor".`);
  }
}
