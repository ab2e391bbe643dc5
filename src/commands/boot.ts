// SPDX-License-Identifier: GPL-2.0-or-later
import { confine } from "../confine/seccomp.ts";
import { Refusal } from "../refusal.ts";
import { loadBaseTable } from "../session/lifecycle.ts";

/** Loads the table without sessions, before the network is up; systemd runs it. Returns the exit code. */
export async function runBoot(): Promise<number> {
  try {
    confine();
    loadBaseTable();
    return 0;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    console.error(`authnft boot: ${error.message}`);
    return 1;
  }
}
