// SPDX-License-Identifier: GPL-2.0-or-later
import {
  type BigIntStats,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeSync,
} from "node:fs";
import { Refusal } from "../../refusal.ts";
import { openAt, tryLock } from "../ffi/libc.ts";

/**
 * Reads a file that only root can have written: a plain file, owned by uid 0, not writable by group or others, and so
 * is every directory above it up to `top`. Symbolic links are refused.
 *
 * @throws {Refusal} `missing` when there is none, `perms` when somebody else could have written it, `content` when it is longer than `sizeLimit` bytes
 */
export function readTrusted(
  path: string,
  options: { readonly top: string; readonly sizeLimit: number },
): Uint8Array {
  const fd = openBelow(path, options.top, (opened, stat) => checkOwner(path, opened, stat));
  return readOpen(fd, path, options.sizeLimit);
}

/** The identity of a file, which changes with its content. */
export type Fingerprint = {
  readonly text: string;
  /** How long ago it last changed, in milliseconds, by the wall clock; infinite for a directory. */
  readonly age: number;
};

/**
 * Looks at a file or directory: who it is, who may write it; and of a file its size and when it changed. Of a directory, files in it
 * come and go.
 *
 * @returns `undefined` where it cannot be looked at
 */
export function fingerprint(path: string): Fingerprint | undefined {
  let stat: BigIntStats | undefined;
  try {
    stat = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  } catch {
    return undefined;
  }
  if (stat === undefined) return undefined;
  const { dev, ino, mode, uid, gid, size, mtimeNs, ctimeNs } = stat;
  const who = [dev, ino, mode, uid, gid];
  if (stat.isDirectory()) return { text: who.join(" "), age: Number.POSITIVE_INFINITY };
  const last = mtimeNs > ctimeNs ? mtimeNs : ctimeNs;
  return { text: [...who, size, mtimeNs, ctimeNs].join(" "), age: Date.now() - Number(last / 1_000_000n) };
}

/** Opens what is looked at and not read. */
const O_PATH = 0o10000000;
// O_NONBLOCK: opening a FIFO must not wait for a writer.
const READ_PLAIN = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/**
 * Opens a plain file by way of its directories: each is opened in the one before, so that whatever is renamed meanwhile,
 * it is the file in the directories that were checked.
 *
 * @param top the first directory; those above it are taken as they are
 * @param check looks at each directory, and at the file, before anything is opened in it or read
 * @returns its descriptor, to be closed by the caller
 * @throws {Refusal} `missing`, `perms` when something is a link or of another kind; what `check` throws
 */
export function openBelow(path: string, top: string, check: (opened: string, stat: Stats) => void): number {
  const directories = path.slice(top.length + 1).split("/");
  const name = directories.pop() ?? "";
  let at = top;
  let parent = openDirectory(path, at, () => openSync(at, DIRECTORY));
  try {
    check(at, fstatSync(parent));
    for (const directory of directories) {
      at = `${at}/${directory}`;
      const below = openDirectory(path, at, () => openAt(parent, directory, DIRECTORY));
      closeSync(parent);
      parent = below;
      check(at, fstatSync(parent));
    }
    const fd = opening(path, () => openAt(parent, name, READ_PLAIN));
    try {
      const stat = fstatSync(fd);
      checkPlain(path, stat);
      check(path, stat);
      return fd;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  } finally {
    closeSync(parent);
  }
}

const DIRECTORY = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW;

function openDirectory(path: string, directory: string, open: () => number): number {
  return opening(path, open, (code) =>
    code === "ENOTDIR" || code === "ELOOP"
      ? new Refusal("perms", `Cannot read fragment ${path}: ${directory} is no directory; make it one.`)
      : unopened(path, code),
  );
}

function opening(path: string, open: () => number, refusal = (code: string) => unopened(path, code)): number {
  try {
    return open();
  } catch (error) {
    throw refusal((error as { code?: string }).code ?? "");
  }
}

/**
 * Reads a plain file, whoever may have written it; a symbolic link is none.
 *
 * @throws {Refusal} `missing`, `perms` when it is not a regular file, `content` when it is longer than `sizeLimit` bytes
 */
export function readPlain(path: string, options: { readonly sizeLimit: number }): Uint8Array {
  return readOpen(
    opening(path, () => openSync(path, READ_PLAIN)),
    path,
    options.sizeLimit,
  );
}

function checkPlain(path: string, stat: Stats): void {
  if (stat.isFile()) return;
  throw new Refusal(
    "perms",
    `Cannot read fragment ${path}: it is not a regular file; put the fragment's text there.`,
  );
}

/** Reads an open file, and closes it. */
function readOpen(fd: number, path: string, sizeLimit: number): Uint8Array {
  try {
    const stat = fstatSync(fd);
    checkPlain(path, stat);
    if (stat.size > sizeLimit) {
      throw new Refusal(
        "content",
        `Cannot read fragment ${path}: ${stat.size} bytes are more than the ${sizeLimit} that a policy may still have; make it shorter.`,
      );
    }
    const buffer = new Uint8Array(stat.size);
    let filled = 0;
    while (filled < buffer.length) {
      const got = readSync(fd, buffer, filled, buffer.length - filled, null);
      if (got === 0) break;
      filled += got;
    }
    return buffer.subarray(0, filled);
  } finally {
    closeSync(fd);
  }
}

/** Tells whether something of that name is there, whatever it is; also when it cannot be told. */
export function isThere(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return true;
  }
}

/**
 * Checks that only root can have written a file.
 *
 * @throws {Refusal} `perms`
 */
export function checkOwner(
  fragment: string,
  path: string,
  stat: { readonly uid: number; readonly mode: number },
): void {
  const it = path === fragment ? "it" : path;
  if (stat.uid !== 0) {
    throw new Refusal(
      "perms",
      `Cannot read fragment ${fragment}: ${it} belongs to uid ${stat.uid}; run "chown root:root ${path}" after you have read it.`,
    );
  }
  if ((stat.mode & 0o022) !== 0) {
    const who = (stat.mode & 0o002) !== 0 ? "everyone" : "its group";
    throw new Refusal(
      "perms",
      `Cannot read fragment ${fragment}: ${it} is writable by ${who}; run "chmod go-w ${path}" after you have read it.`,
    );
  }
}

function unopened(path: string, code: string): Refusal {
  if (code === "ENOENT" || code === "ENOTDIR") {
    return new Refusal(
      "missing",
      `Cannot read fragment ${path}: there is none; write one, or take the user out of group authnft.`,
    );
  }
  if (code === "ELOOP")
    return new Refusal(
      "perms",
      `Cannot read fragment ${path}: it is a symbolic link; put the fragment's text there, or use include.`,
    );
  return new Refusal("perms", `Cannot read fragment ${path}: ${code}.`);
}

/** Writes a file whole: a reader sees the old text or the new one. @throws {Error} of node:fs */
export function replaceFile(path: string, content: string, mode = 0o644): void {
  // The directory is root's, so nobody can have planted the temporary name; O_EXCL makes sure.
  const temporary = `${path}.${process.pid}.tmp`;
  const fd = openNew(temporary);
  try {
    try {
      writeWhole(fd, Buffer.from(content));
      fchmodSync(fd, mode);
    } finally {
      closeSync(fd);
    }
    // Nothing but a directory withstands a rename; one that somebody made there is none of ours.
    if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) rmSync(path, { recursive: true });
    renameSync(temporary, path);
  } catch (error) {
    removeFile(temporary);
    throw error;
  }
}

/** Makes a file. A file of its name was left by a killed process of the same number. */
function openNew(path: string): number {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  try {
    return openSync(path, flags, 0o600);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    removeFile(path);
    return openSync(path, flags, 0o600);
  }
}

/** Writes over a file that is there, in its place. @returns whether there was one, and it could be done */
export function overwriteFile(path: string, content: string): boolean {
  try {
    const fd = openSync(path, constants.O_WRONLY | constants.O_NOFOLLOW);
    try {
      writeWhole(fd, Buffer.from(content));
      ftruncateSync(fd, Buffer.byteLength(content));
      return true;
    } finally {
      closeSync(fd);
    }
  } catch {
    return false;
  }
}

/** Tells whether a name is that of a file which {@link replaceFile} has begun and not finished. */
export function isUnfinished(name: string): boolean {
  return writerOf(name) !== undefined;
}

/** Returns the number of the process that has begun to write a file of that name; `undefined` for every other name. */
export function writerOf(name: string): number | undefined {
  const pid = /\.(\d+)\.tmp$/.exec(name)?.[1];
  return pid === undefined ? undefined : Number(pid);
}

/** Writes all of the bytes. Unlike writeFileSync, it asks for no room beforehand: fallocate(2) is not to be had under confinement. */
export function writeWhole(fd: number, bytes: Uint8Array): void {
  for (let written = 0; written < bytes.length; ) written += writeSync(fd, bytes, written);
}

/** Removes a file, or what else stands in its place; that it is gone already is fine. @throws {Error} of node:fs */
export function removeFile(path: string): void {
  rmSync(path, { recursive: true, force: true });
}

/** Makes a directory of root's with this mode, and those above it. @throws {Error} of node:fs */
export function makeDirectory(path: string, mode: number): void {
  mkdirSync(path, { recursive: true, mode });
}

/** A lock that is held. Its file goes with it where the holder says so. */
export type Lock = Disposable & { readonly path: string };

/**
 * Takes the lock of this name, and waits for it if need be. The lock is let go when its holder ends, however that comes about.
 *
 * @returns the lock, or `undefined` when the deadline, on the clock of performance.now(), comes first
 * @throws {Error} of node:fs
 */
export async function lock(path: string, deadline: number): Promise<Lock | undefined> {
  while (true) {
    const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
    if (tryLock(fd)) {
      // The former holder may have removed the file between our open and our lock: then the lock is of no file.
      if (statSync(path, { throwIfNoEntry: false })?.ino === fstatSync(fd).ino) {
        return { path, [Symbol.dispose]: () => closeSync(fd) };
      }
    } else if (performance.now() > deadline) {
      closeSync(fd);
      return undefined;
    }
    closeSync(fd);
    // The longer the wait, the more often it asks: in a storm of logins everybody's turn comes.
    const pause = Math.min(10, Math.max(1, (deadline - performance.now()) / 500));
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}
