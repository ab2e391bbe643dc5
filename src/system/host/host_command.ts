// SPDX-License-Identifier: GPL-2.0-or-later

/** The output of a tool of the host, and whether it succeeded. */
export type Outcome = { readonly ok: boolean; readonly stdout: string; readonly stderr: string };

/**
 * Runs a tool of the host to its end, with an environment of ours and nothing to read.
 *
 * @returns what it said; `undefined` when there is no such tool
 */
export function hostCommand(...command: readonly [string, ...string[]]): Outcome | undefined {
  const PATH = "/usr/sbin:/usr/bin:/sbin:/bin";
  const program = Bun.which(command[0], { PATH });
  if (program === null) return undefined;
  const done = Bun.spawnSync([program, ...command.slice(1)], {
    env: { PATH, LANG: "C.UTF-8" },
    cwd: "/",
    stdio: ["ignore", "pipe", "pipe"],
  });
  return { ok: done.exitCode === 0, stdout: done.stdout.toString(), stderr: done.stderr.toString().trim() };
}
