// SPDX-License-Identifier: GPL-2.0-or-later
import { ENTRY } from "../paths.ts";

/** The module's line in a PAM service. */
export const SHIM_LINE = "session required pam_authnft.so";

/**
 * The lines for hosts without the shim. The first two let uid 0 and non-members pass even if the helper is missing;
 * each skips what is left of the group. "uid ne 0" stands there because it needs the user to be looked up: where that
 * fails nothing is skipped, and the helper decides. It goes by name, whereas the helper goes by uid. "stdout" is how a refused user gets to read why.
 */
export const EXEC_LINES: readonly string[] = [
  "session [success=2 default=ignore] pam_succeed_if.so quiet uid eq 0",
  "session [success=1 default=ignore] pam_succeed_if.so quiet uid ne 0 user notingroup authnft",
  `session required pam_exec.so seteuid quiet stdout ${ENTRY}`,
];
