// SPDX-License-Identifier: GPL-2.0-or-later
import { EXEC_LINES, SHIM_LINE } from "../../src/cli/pam_lines.ts";

export interface PamHook {
  /** The shim pam_authnft.so, or pam_exec with the two guards before it. */
  through: "shim" | "exec";
  /** Default: required. */
  control?: string;
  /** Arguments of the line. */
  args?: string[];
  /** Default: directly after pam_systemd. "end" is after pam_env too, which some hosts have there. */
  at?: "after-systemd" | "end";
  /** Whole lines to put before and after ours. */
  before?: string[];
  after?: string[];
}

/** The lines that an administrator adds for a hook: those that `authnft install` prints. */
export function hookLines({ through, control = "required", args = [] }: PamHook): string[] {
  const lines = through === "shim" ? [SHIM_LINE] : EXEC_LINES;
  const last = [lines.at(-1)?.replace("required", control), ...args].join(" ");
  return [...lines.slice(0, -1), last];
}

/**
 * The text of a file of /etc/pam.d with the hook in it: after the line that brings pam_systemd (itself, or by
 * common-session), after common-session-noninteractive where that is all there is, or else at the end.
 */
export function withHook(stack: string, hook: PamHook): string {
  const ours = [...(hook.before ?? []), ...hookLines(hook), ...(hook.after ?? [])];
  const lines = stack.replace(/\n$/, "").split("\n");
  const last = lines.findLastIndex((line) =>
    /^-?session\s.*pam_systemd\.so|^@include\s+common-session(-noninteractive)?\s*$/.test(line),
  );
  const at = hook.at === "end" || last < 0 ? lines.length : last + 1;
  return `${[...lines.slice(0, at), ...ours, ...lines.slice(at)].join("\n")}\n`;
}
