// SPDX-License-Identifier: GPL-2.0-or-later

// The helper as somebody would have it who has broken into it: a test build, in the program's place behind the real entry.
// What a request makes it do is not what the program is for, but one of the attempts. It is not shipped.

import { readFileSync, writeSync } from "node:fs";
import { confine } from "../../src/confine/seccomp.ts";
// What the program has loaded when it is confined, an attacker has.
import "../../src/engine/session/open.ts";
import { ATTEMPTS, Denied, type Targets } from "./attempts.ts";
import { foreignCall, keepCapabilities } from "./kernel.ts";

/** What is in force: as the entry left it, and what is added here. */
export type Level = "unconfined" | "capabilities" | "files" | "all";

/** Several attempts only where none of them kills. */
export type Order = {
  readonly level: Level;
  readonly capabilities: string;
  readonly attempts: readonly { readonly name: string; readonly targets: Targets }[];
};

// Code that was there before the confinement stands for what an attacker finds in the libraries.
foreignCall.prepare();
const order = JSON.parse(readFileSync(0, "utf8")) as Order;
if (order.level === "all") confine();
if (order.level === "capabilities") keepCapabilities(BigInt(`0x${order.capabilities}`));

for (const { name, targets } of order.attempts) {
  writeSync(1, `${name}\t`);
  writeSync(1, `${await outcome(name, targets)}\n`);
}
process.exit(0);

async function outcome(name: string, targets: Targets): Promise<string> {
  try {
    await ATTEMPTS[name]?.(targets);
    return "succeeded";
  } catch (error) {
    if (error instanceof Denied) return error.message;
    const { code } = error as NodeJS.ErrnoException;
    return code ?? String(error);
  }
}
