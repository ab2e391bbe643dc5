// SPDX-License-Identifier: GPL-2.0-or-later

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

/** The lines that an administrator adds for a hook. */
export function hookLines({ through, control = "required", args = [] }: PamHook): string[] {
  if (through === "shim") return [["session", control, "pam_authnft.so", ...args].join(" ")];
  return [
    "session [success=2 default=ignore] pam_succeed_if.so quiet uid = 0",
    "session [success=1 default=ignore] pam_succeed_if.so quiet user notingroup authnft",
    ["session", control, "pam_exec.so seteuid quiet /usr/libexec/authnft", ...args].join(" "),
  ];
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
