// SPDX-License-Identifier: GPL-2.0-or-later
import { existsSync } from "node:fs";
import { join } from "node:path";

const MULTIARCH: Readonly<Record<string, string>> = { x64: "x86_64-linux-gnu", arm64: "aarch64-linux-gnu" };

/** The places that distributions keep PAM modules in; the most particular first, for hosts that have several. */
function candidates(): string[] {
  const multiarch = MULTIARCH[process.arch] ?? process.arch;
  return [
    `/usr/lib/${multiarch}/security`,
    `/lib/${multiarch}/security`,
    "/usr/lib64/security",
    "/lib64/security",
    "/usr/lib/security",
    "/lib/security",
  ];
}

/**
 * The directory that holds a PAM module, seen from the root; `undefined` where none does.
 *
 * @param root the system's root directory, "/" for this one
 */
export function directoryOf(module: string, root: string): string | undefined {
  return candidates().find((directory) => existsSync(join(root, directory, module)));
}

/**
 * The directory of a system's PAM modules, seen from the root: where pam_unix.so is. A root without PAM, such as a
 * package being built, gets the convention of the machine that builds.
 *
 * @returns `undefined` where no PAM module is found at all
 */
export function pamDirectory(root: string): string | undefined {
  return directoryOf("pam_unix.so", root) ?? directoryOf("pam_unix.so", "/");
}
