// SPDX-License-Identifier: GPL-2.0-or-later
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  copyFileSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readlinkSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";

/** The content for a file: bytes, or the path of a file with it, for one too large to have in memory. */
export type Content = Uint8Array | { readonly copyOf: string };

/** What placing something did. */
export type Change = "unchanged" | "written";

/**
 * Puts a file in its place, whole, with root as its owner where we are root. A program that runs from the old file goes on with it.
 *
 * @throws {Error} a sentence that names the path and the cause
 */
export function placeFile(path: string, content: Content, mode: number): Change {
  return placing(path, () => {
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat?.isFile() && (stat.mode & 0o7777) === mode && ownedByUs(stat.uid) && hasContent(path, content)) {
      return "unchanged";
    }
    const temporary = `${path}.new`;
    rmSync(temporary, { force: true });
    try {
      if (content instanceof Uint8Array) writeFileSync(temporary, content, { flag: "wx", mode: 0o600 });
      else copyFileSync(content.copyOf, temporary, constants.COPYFILE_EXCL);
      takeOver(temporary, mode);
      synchronise(temporary);
      renameSync(temporary, path);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
    return "written";
  });
}

/** Puts a symbolic link in its place, instead of whatever file has that name. @throws {Error} a sentence that names the path and the cause */
export function placeLink(path: string, target: string): Change {
  return placing(path, () => {
    if (linkTarget(path) === target) return "unchanged";
    const temporary = `${path}.new`;
    rmSync(temporary, { force: true });
    symlinkSync(target, temporary);
    renameSync(temporary, path);
    return "written";
  });
}

/**
 * Makes a directory, and those above it, with root as its owner where we are root.
 *
 * @param keep whether one that is there already stays as it is
 * @throws {Error} a sentence that names the path and the cause
 */
export function placeDirectory(path: string, mode: number, keep: boolean): Change {
  return placing(path, () => {
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat?.isDirectory() && (keep || ((stat.mode & 0o7777) === mode && ownedByUs(stat.uid))))
      return "unchanged";
    if (stat === undefined) mkdirSync(path);
    takeOver(path, mode);
    return "written";
  });
}

/** Tells whether a file holds this content. @throws {Error} of node:fs */
export function hasContent(path: string, content: Content): boolean {
  const found = statSync(path);
  if (content instanceof Uint8Array) {
    return (
      found.size === content.length &&
      sameBytes(path, (buffer, at) => content.subarray(at, at + buffer.length))
    );
  }
  const other = statSync(content.copyOf);
  if (found.ino === other.ino && found.dev === other.dev) return true;
  if (found.size !== other.size) return false;
  const fd = openSync(content.copyOf, constants.O_RDONLY);
  try {
    const theirs = Buffer.alloc(CHUNK);
    return sameBytes(path, (buffer, at) => theirs.subarray(0, readSync(fd, theirs, 0, buffer.length, at)));
  } finally {
    closeSync(fd);
  }
}

/** Returns where a symbolic link points to; `undefined` when there is none of this name. */
export function linkTarget(path: string): string | undefined {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() ? readlinkSync(path) : undefined;
}

/** The executable has about 110 MB: compared in pieces. */
const CHUNK = 1 << 20;

function sameBytes(path: string, expected: (buffer: Uint8Array, at: number) => Uint8Array): boolean {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    const buffer = Buffer.alloc(CHUNK);
    for (let at = 0; ; ) {
      const got = buffer.subarray(0, readSync(fd, buffer, 0, CHUNK, at));
      if (got.length === 0) return true;
      if (!got.equals(expected(got, at))) return false;
      at += got.length;
    }
  } finally {
    closeSync(fd);
  }
}

// A packager without root lays out files of their own; the package's tool gives them to root.
function isRoot(): boolean {
  return process.geteuid?.() === 0;
}

function ownedByUs(uid: number): boolean {
  return !isRoot() || uid === 0;
}

function takeOver(path: string, mode: number): void {
  // Root alone first: a change of owner must not hand out what the mode would have kept.
  if (isRoot()) chownSync(path, 0, 0);
  chmodSync(path, mode);
}

function makeParents(path: string): void {
  const first = mkdirSync(dirname(path), { recursive: true });
  if (first === undefined) return;
  // The caller's umask may have left them to root alone, and everybody has to find what is in them.
  for (let parent = dirname(path); parent.length >= first.length; parent = dirname(parent))
    takeOver(parent, 0o755);
}

function synchronise(path: string): void {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function placing(path: string, act: () => Change): Change {
  try {
    makeParents(path);
    return act();
  } catch (error) {
    throw new Error(`Cannot put ${path} in its place: ${(error as Error).message}.`, { cause: error });
  }
}
