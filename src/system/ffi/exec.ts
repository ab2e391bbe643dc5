// SPDX-License-Identifier: GPL-2.0-or-later
import { closeSync, writeSync } from "node:fs";
import { koffi, loadLibrary } from "./koffi.ts";
import { errnoName, memoryFile, SystemError } from "./libc.ts";

const libc = loadLibrary("libc.so.6");

const c = {
  dup2: libc.func("int dup2(int from, int to)"),
  execve: libc.func("int execve(const char *path, const char **argv, const char **env)"),
};

/**
 * Becomes another program: execve(2). The process stays the same, and with it its parent, its standard output and its
 * standard error. The environment is empty.
 *
 * @param input what the program reads on standard input; what this one has there when left out
 * @throws {SystemError} where that cannot be; else nothing comes back
 */
export function becomeProgram(path: string, args: readonly string[], input?: string): never {
  if (input !== undefined) {
    const fd = memoryFile("request");
    const bytes = Buffer.from(input);
    // At a place of its own each time: the program begins to read at the beginning.
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, at);
    if (c.dup2(fd, 0) === -1) throw failed("dup2");
    closeSync(fd);
  }
  c.execve(path, [path, ...args, null], [null]);
  throw failed(`execve ${path}`);
}

function failed(act: string): SystemError {
  return new SystemError(act, errnoName(koffi.errno()));
}
