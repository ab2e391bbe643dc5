// SPDX-License-Identifier: GPL-2.0-or-later
import { existsSync, mkdirSync, readdirSync, rmdirSync } from "node:fs";
import { CGROUP_ROOT, killCgroup } from "../system/kernel/cgroup.ts";

const NAME = /^authnft-verify-([0-9]+)(-[a-z]+)?$/;

/** A process that was killed is still there for a moment, and what it had started for longer. Milliseconds. */
const PATIENCE = 2000;

/** A cgroup of ours for as long as it is held (`await using`); no unit of systemd's. */
export class ThrowAwayCgroup implements AsyncDisposable {
  /** Without a leading slash. */
  readonly path: string;

  /** @param below the cgroup that it is made in, empty for the root @throws {Error} of node:fs */
  constructor(below: string, suffix = "") {
    this.path = `${below === "" ? "" : `${below}/`}authnft-verify-${process.pid}${suffix}`;
    sweep(below);
    mkdirSync(`${CGROUP_ROOT}/${this.path}`);
  }

  /** Removes it, when no process is in it any more; one that stays is killed. @throws {Error} of node:fs, `EBUSY` when even so */
  async [Symbol.asyncDispose](): Promise<void> {
    if (await this.#isRemoved(PATIENCE)) return;
    // What a probing process had started takes away what it made, if it is let.
    killCgroup(this.path);
    if (!(await this.#isRemoved(PATIENCE))) rmdirSync(`${CGROUP_ROOT}/${this.path}`);
  }

  async #isRemoved(patience: number): Promise<boolean> {
    for (const end = performance.now() + patience; performance.now() < end; await Bun.sleep(5)) {
      try {
        rmdirSync(`${CGROUP_ROOT}/${this.path}`);
        return true;
      } catch {
        if (!existsSync(`${CGROUP_ROOT}/${this.path}`)) return true;
      }
    }
    return false;
  }
}

/** Removes what a process of ours left that was killed. */
function sweep(below: string): void {
  for (const name of readdirSync(`${CGROUP_ROOT}/${below}`)) {
    const pid = NAME.exec(name)?.[1];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    try {
      rmdirSync(`${CGROUP_ROOT}/${below}/${name}`);
    } catch {
      // Somebody is in it still.
    }
  }
}
