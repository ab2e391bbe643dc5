// SPDX-License-Identifier: GPL-2.0-or-later

// Run by seccomp.test.ts in a process of its own: what is tried here may end it.

import { closeSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { confine } from "../../../src/confine/seccomp.ts";
import { koffi, loadLibrary } from "../../../src/system/ffi/koffi.ts";
import {
  AF_UNIX,
  errnoName,
  SOCK_DGRAM,
  Socket,
  type SystemError,
  unixAddress,
} from "../../../src/system/ffi/libc.ts";

const library = loadLibrary("libc.so.6");
const libc = {
  mmap: library.func(
    "intptr_t mmap(void *at, size_t length, int protection, int flags, int fd, long offset)",
  ),
  mprotect: library.func("int mprotect(intptr_t at, size_t length, int protection)"),
  unshare: library.func("int unshare(int flags)"),
  syscall: library.func("long syscall(long number, long one, long two, long three)"),
  socket: library.func("int socket(int domain, int type, int protocol)"),
  bind: library.func("int bind(int fd, const void *address, uint32_t length)"),
  listen: library.func("int listen(int fd, int backlog)"),
  getaddrinfo: library.func(
    "int getaddrinfo(const char *node, const char *service, const void *hints, _Out_ void *result)",
  ),
};
const SOCK_STREAM = 1;
const PROT_READ = 1;
const PROT_EXEC = 4;
const MAP_PRIVATE_ANONYMOUS = 0x22;
const SYS_TGKILL = process.arch === "arm64" ? 131 : 234;

const [mode, attempt] = process.argv.slice(2);
const directory = attempt === "connection that is lost" ? mkdtempSync(join(tmpdir(), "confined-")) : "";
const path = join(directory, "socket");
const server = attempt === "connection that is lost" ? listenAt(path) : -1;
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
  case "connection that is lost":
    await new Promise<void>((resolve) => {
      createConnection(path)
        .on("error", (error) => console.log((error as NodeJS.ErrnoException).code))
        .on("close", () => resolve());
      closeSync(server); // as a bus does that is stopped, or has too many connections
    });
    rmSync(directory, { recursive: true });
    break;
  case "host name": // as libnftables does with what is no address
    console.log(lookUp("authnft-nowhere.invalid"));
    break;
  case "address with an interface":
    console.log(lookUp("fe80::1%lo"));
    break;
}
console.log("alive");

function listenAt(path: string): number {
  const fd = libc.socket(AF_UNIX, SOCK_STREAM, 0);
  const address = unixAddress(path);
  if (libc.bind(fd, address, address.length) !== 0 || libc.listen(fd, 1) !== 0)
    throw new Error(`cannot listen: ${errnoName(koffi.errno())}`);
  return fd;
}

function lookUp(name: string): string {
  return libc.getaddrinfo(name, null, null, Buffer.alloc(8)) === 0 ? "found" : "not found";
}
