// SPDX-License-Identifier: GPL-2.0-or-later

// Run by seccomp.test.ts in a process of its own: what is tried here may end it.

import { closeSync, openSync } from "node:fs";
import { confine } from "../../../src/confine/seccomp.ts";
import { AF_UNIX, SOCK_DGRAM, Socket, type SystemError } from "../../../src/system/libc.ts";

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
  case "kill":
    process.kill(process.ppid, 0);
    break;
}
console.log("alive");
