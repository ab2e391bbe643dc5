// SPDX-License-Identifier: GPL-2.0-or-later
import { existsSync, mkdirSync, readdirSync, rmdirSync } from "node:fs";
import { CGROUP_ROOT } from "../system/cgroup.ts";

const NAME = /^authnft-verify-([0-9]+)(-[a-z]+)?$/;

/** A process that was killed is still there for a moment; then its cgroup can go. Milliseconds. */
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

  /** Removes it, when no process is in it any more. @throws {Error} of node:fs, `EBUSY` when one stays */
  async [Symbol.asyncDispose](): Promise<void> {
    const end = performance.now() + PATIENCE;
    while (existsSync(`${CGROUP_ROOT}/${this.path}`)) {
      try {
        rmdirSync(`${CGROUP_ROOT}/${this.path}`);
      } catch (error) {
        if (performance.now() > end) throw error;
        await Bun.sleep(5);
      }
    }
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
