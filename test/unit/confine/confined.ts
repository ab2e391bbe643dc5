// SPDX-License-Identifier: GPL-2.0-or-later

// Run by seccomp.test.ts in a process of its own: what is tried here may end it.

import { closeSync, openSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { confine } from "../../../src/confine/seccomp.ts";
import { koffi, loadLibrary } from "../../../src/system/koffi.ts";
import { AF_UNIX, errnoName, SOCK_DGRAM, Socket, type SystemError } from "../../../src/system/libc.ts";

const library = loadLibrary("libc.so.6");
const libc = {
  mmap: library.func(
    "intptr_t mmap(void *at, size_t length, int protection, int flags, int fd, long offset)",
  ),
  mprotect: library.func("int mprotect(intptr_t at, size_t length, int protection)"),
  unshare: library.func("int unshare(int flags)"),
  syscall: library.func("long syscall(long number, long one, long two, long three)"),
};
const PROT_READ = 1;
const PROT_EXEC = 4;
const MAP_PRIVATE_ANONYMOUS = 0x22;
const SYS_TGKILL = process.arch === "arm64" ? 131 : 234;

const [mode, attempt] = process.argv.slice(2);
if (mode === "confined") confine();

switch (attempt) {
  case "allowed":
    closeSync(openSync("/dev/null", "r"));
    new Socket(AF_UNIX, SOCK_DGRAM, 0)[Symbol.dispose]();
    break;
  case "exec":
    Bun.spawnSync(["/bin/true"]);
    break;
  case "internet":
    try {
      new Socket(2, SOCK_DGRAM, 0)[Symbol.dispose]();
      console.log("made");
    } catch (error) {
      console.log((error as SystemError).code);
    }
    break;
  case "thread":
    await readFile("/dev/null"); // which the runtime has another thread do
    break;
  case "executable memory":
    if (Number(libc.mmap(null, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE_ANONYMOUS, -1, 0)) === -1)
      console.log(errnoName(koffi.errno()));
    break;
  case "memory made executable":
    libc.mprotect(
      libc.mmap(null, 4096, PROT_READ, MAP_PRIVATE_ANONYMOUS, -1, 0),
      4096,
      PROT_READ | PROT_EXEC,
    );
    break;
  case "namespace":
    libc.unshare(0x1000_0000);
    break;
  case "signal to another":
    libc.syscall(SYS_TGKILL, process.ppid, process.ppid, 0);
    break;
  case "signal to itself":
    libc.syscall(SYS_TGKILL, process.pid, process.pid, 0);
    break;
  case "another architecture":
    libc.syscall(0x4000_0000 | 39, 0, 0, 0); // getpid of x32
    break;
  case "netlink of devices":
    new Socket(16, SOCK_DGRAM, 15)[Symbol.dispose]();
    break;
  case "kill":
    process.kill(process.ppid, 0);
    break;
}
console.log("alive");
