// SPDX-License-Identifier: GPL-2.0-or-later
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";

/** Where the compiled executable keeps what is embedded in it. */
const EMBEDDED = "/$bunfs/";

/** Whether this is the compiled executable, which carries all that it installs; else it runs from its source tree. */
export const compiled: boolean = import.meta.dir.startsWith(EMBEDDED);

const root = compiled ? import.meta.dir : join(import.meta.dir, "../../..");

/** The addon of koffi for this machine. */
const ADDON = `@koromix/koffi-linux-${process.arch}/linux_${process.arch}/koffi.node`;

/** The pieces that `install` lays out beside `data/`. */
export type Piece = "authnft-entry" | "authnft-member" | "pam_authnft.so" | "koffi.node";

/** Returns where the program that runs lies, by the kernel's word: no name that it was called by has a say. */
export function executable(): string {
  // The old file's name stays when an upgrade replaces it under a running program.
  return readlinkSync("/proc/self/exe").replace(/ \(deleted\)$/, "");
}

/** Returns the command that starts this program again. */
export function ownCommand(): string[] {
  return compiled ? [executable()] : [executable(), join(root, "src/main.ts")];
}

/** Returns the compiled executable, for reading: this program itself, or from source what the build made. */
export function builtExecutable(): string {
  return compiled ? "/proc/self/exe" : join(root, "dist/authnft");
}

/** Returns the bytes of a piece. @throws {Error} of node:fs, from source when the build has not made it */
export function readPiece(piece: Piece): Uint8Array {
  return readFileSync(piecePath(piece));
}

/** Returns the path of a piece, for reading: not for the dynamic linker where it is embedded. */
export function piecePath(piece: Piece): string {
  if (compiled) return join(root, piece);
  return piece === "koffi.node" ? join(root, "node_modules", ADDON) : join(root, "dist", piece);
}

/** Returns the files below `data/` by their names there, such as `man/pam_authnft.8`, in order. */
export function dataFiles(): string[] {
  return readdirSync(join(root, "data"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(join(root, "data").length + 1))
    .sort();
}

/** Returns the bytes of a file below `data/`. @throws {Error} of node:fs */
export function readData(name: string): Uint8Array {
  return readFileSync(join(root, "data", name));
}
