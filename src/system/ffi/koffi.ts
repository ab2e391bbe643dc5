// SPDX-License-Identifier: GPL-2.0-or-later
import { closeSync, constants, lstatSync, openSync, type Stats, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import type * as Wrapped from "koffi";
import { compiled, executable, piecePath, readPiece } from "../host/shipped.ts";

/** koffi without its JavaScript wrapper, which adds but old names for `type` to what the addon exports. */
export type Koffi = Omit<typeof Wrapped, "default" | "introspect" | "resolve">;

/** Where "install" puts program and addon: where the one is, the other must be. */
const INSTALLED = "/usr/lib/authnft";

const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

/**
 * The foreign function interface, loaded when this module is.
 *
 * An installed program loads the addon that lies beside it, if only root can have written that; the executable alone,
 * not yet installed, what is embedded in it. No environment variable has a say: the runtime's own way for addons would
 * extract a copy to wherever TMPDIR says, and many hosts mount such places noexec.
 *
 * @throws {Error} when the addon is not trustworthy or cannot be loaded
 */
export const koffi: Koffi = loadKoffi();

function loadKoffi(): Koffi {
  if (!compiled) return loadAddon(piecePath("koffi.node"));
  const program = executable();
  const beside = join(dirname(program), "koffi.node");
  const stat = lstatSync(beside, { throwIfNoEntry: false });
  if (stat === undefined && dirname(program) === INSTALLED) {
    throw new Error(`Cannot load koffi's addon: there is no ${beside}; run "authnft install" again.`);
  }
  if (stat === undefined) return loadEmbedded(dirname(program));
  checkOwner(beside, stat);
  checkOwner(dirname(beside), lstatSync(dirname(beside)));
  return loadAddon(beside);
}

function checkOwner(path: string, stat: Stats): void {
  const mode = stat.mode & 0o7777;
  if (stat.isSymbolicLink() || stat.uid !== 0 || (mode & 0o022) !== 0) {
    const found = stat.isSymbolicLink()
      ? "it is a symbolic link"
      : `it belongs to uid ${stat.uid} and has mode 0${mode.toString(8)}`;
    throw new Error(
      `Cannot load koffi's addon: ${path} must be root's and writable by nobody else, but ${found}; run "authnft install" again.`,
    );
  }
}

/** Loads the addon from a file that has no name, so that nobody can replace it and none stays behind. */
function loadEmbedded(home: string): Koffi {
  const reasons: string[] = [];
  // The program itself runs from its own directory, so that is not mounted noexec; but it may be read-only.
  for (const directory of [home, "/tmp", "/var/tmp", "/dev/shm"]) {
    let fd: number | undefined;
    try {
      fd = openSync(directory, O_TMPFILE | constants.O_RDWR | constants.O_EXCL, 0o600);
      const bytes = readPiece("koffi.node");
      for (let written = 0; written < bytes.length; ) written += writeSync(fd, bytes, written);
      return loadAddon(`/proc/self/fd/${fd}`);
    } catch (error) {
      reasons.push(`${directory}: ${(error as Error).message}`);
    } finally {
      if (fd !== undefined) closeSync(fd);
    }
  }
  throw new Error(`Cannot load koffi's addon from anywhere (${reasons.join("; ")}); run "authnft install".`);
}

/**
 * Loads a library of the host's.
 *
 * @param name its soname, which the dynamic linker looks for where root has put libraries
 * @throws {Error} that says what to do
 */
export function loadLibrary(name: string): ReturnType<Koffi["load"]> {
  try {
    return koffi.load(name);
  } catch (error) {
    throw new Error(
      `Cannot load ${name}: ${(error as Error).message}; install its package and run "authnft doctor".`,
    );
  }
}

function loadAddon(path: string): Koffi {
  const module = { exports: {} };
  try {
    process.dlopen(module, path);
  } catch (error) {
    throw new Error(
      `Cannot load koffi's addon: ${(error as Error).message}; run "authnft install" again, and see that the package of libstdc++.so.6 is installed.`,
    );
  }
  return module.exports as Koffi;
}
