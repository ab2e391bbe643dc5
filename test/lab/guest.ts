// SPDX-License-Identifier: GPL-2.0-or-later

// A booted guest as the host sees it: one keeper process, one cgroup, and a way in by its namespaces.

import { closeSync, existsSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Release } from "./image.ts";
import { image } from "./image.ts";
import { elapsed, progress } from "./progress.ts";
import { Running } from "./running.ts";

export interface Guest {
  readonly release: Release;
  /** Its name in the register of runs, unique on this host. */
  readonly run: string;
  /** The guest's PID 1, as the host numbers it. */
  readonly init: number;
  /** The root of its cgroups, as the host sees it. */
  readonly cgroup: string;
  readonly controllers: ReadonlySet<string>;
  /** Ends the guest at once. */
  readonly stop: () => Promise<void>;
}

/** What systemd says of a guest: "degraded" where a unit has failed. */
export type SystemState = "running" | "degraded";

const keeper = join(import.meta.dir, "guest", "keeper");
const runs = join(import.meta.dir, "guest", "runs");

/** The services of a guest are up within a second on an idle machine; this is for one that is very busy. */
const bootTimeoutMs = 60_000;

let counter = 0;

/**
 * Boots a guest and waits until systemd says that it is running. Throws with what failed in it.
 *
 * @param container has nspawn's own system call filter on the guest, and are further arguments of nspawn's; without it
 * there is no filter
 */
export async function boot(release: Release, container?: readonly string[]): Promise<Guest> {
  if (process.getuid?.() !== 0)
    throw new Error("The lab boots a Debian in a container of systemd-nspawn: run it as root.");
  const root = await image(release);
  const start = performance.now();
  progress(`lab: ${release}: booting`);

  const run = `${release}-${process.pid}-${++counter}`;
  const cgroup = (await register("open", run, String(process.pid))).trim();
  const consoleFile = `/run/authnft-lab/${run}/console`;
  const output = openSync(consoleFile, "w");
  // The keeper lives as long as it can read from us: however this process ends, the guest ends.
  const kept = Bun.spawn(
    [
      "unshare",
      "--mount",
      "--pid",
      "--fork",
      "--kill-child",
      "--mount-proc",
      "--propagation",
      "private",
      keeper,
      root,
      run,
      ...(container === undefined ? [] : ["--", ...container]),
    ],
    { stdin: "pipe", stdout: output, stderr: output },
  );
  closeSync(output);
  const stop = async () => {
    kept.stdin.end();
    await register("close", run);
    await kept.exited;
  };

  try {
    const payload = join(cgroup, "guest", "payload");
    const init = await comeUp(payload, 0, () => kept.exitCode === null);
    const controllers = new Set(readFileSync(join(payload, "cgroup.controllers"), "utf8").match(/\w+/g));
    const guest = { release, run, init, cgroup: payload, controllers, stop };
    await waitForServices(guest);
    progress(`lab: ${release}: up in ${elapsed(start)}`);
    return guest;
  } catch (error) {
    const last = readFileSync(consoleFile, "utf8").trim().split("\n").slice(-20).join("\n");
    await stop();
    throw new Error(`Cannot boot ${release}: ${error instanceof Error ? error.message : error}\n${last}`);
  }
}

/**
 * Boots a guest again, by its own systemd; what is on its disk stays.
 *
 * @param state what systemd is to say then
 * @returns it as it is then, instead of the one before
 */
export async function reboot(guest: Guest, state: SystemState): Promise<Guest> {
  const began = performance.now();
  await start(guest, ["systemctl", "reboot"], { input: "" }).exited;
  const again = { ...guest, init: await comeUp(guest.cgroup, guest.init, () => true) };
  await waitForServices(again, state);
  progress(`lab: ${guest.release}: up again in ${elapsed(began)}`);
  return again;
}

/** Waits for a PID 1 other than that before, and until it takes commands. @returns its number */
async function comeUp(cgroup: string, before: number, goesOn: () => boolean): Promise<number> {
  const deadline = performance.now() + bootTimeoutMs;
  const commands = join(cgroup, "system.slice", "lab-commands.service");
  for (; ; await Bun.sleep(20)) {
    const init = findInit(cgroup);
    if (init !== 0 && init !== before && existsSync(commands)) return init;
    if (!goesOn()) throw new Error("The container ended.");
    if (performance.now() > deadline) throw new Error(`Nothing after ${bootTimeoutMs / 1000} s.`);
  }
}

/** Registers and forgets runs; see the script for what it does. */
export async function register(...command: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await Bun.$`${runs} ${command}`.quiet().nothrow();
  if (exitCode !== 0) throw new Error(`Cannot ${command[0]} a run of the lab: ${stderr.toString().trim()}`);
  return stdout.toString();
}

/** Starts a command in the guest, as root, outside of any session: argv as given, nothing of this environment. */
export function start(
  guest: Guest,
  argv: string[],
  { env = {}, input }: { env?: Record<string, string>; input?: string | Uint8Array } = {},
): Running {
  const { cgroup, wrapped } = entering(guest, argv, env);
  const process = Bun.spawn(wrapped, { stdin: "pipe", stdout: "pipe", stderr: "pipe" });
  const running = new Running(process, cgroup, argv.join(" "));
  if (input !== undefined) {
    running.write(input);
    running.end();
  }
  return running;
}

/** Runs a command in the guest on this process's own terminal, and returns its exit status. */
export async function interact(guest: Guest, argv: string[]): Promise<number> {
  const { wrapped } = entering(guest, argv, { TERM: process.env.TERM ?? "dumb" });
  return await Bun.spawn(wrapped, { stdin: "inherit", stdout: "inherit", stderr: "inherit" }).exited;
}

function entering(
  guest: Guest,
  argv: string[],
  env: Record<string, string>,
): { cgroup: string; wrapped: string[] } {
  // A cgroup of its own, so that all of a command can be found and ended; inside the guest's tree, as if systemd
  // had started it there.
  const cgroup = join(guest.cgroup, "system.slice/lab-commands.service", String(++counter));
  if (!existsSync(dirname(cgroup))) throw new Error(`The guest ${guest.run} is not running any more.`);
  mkdirSync(cgroup);
  const environment = {
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    HOME: "/root",
    USER: "root",
    LOGNAME: "root",
    SHELL: "/bin/bash",
    LANG: "C.UTF-8",
    // No control sequences in what tests read.
    TERM: "dumb",
    ...env,
  };
  const wrapped = [
    ...["/bin/sh", "-c", 'echo 0 >"$1/cgroup.procs" && shift && exec "$@"', "sh", cgroup],
    ...["nsenter", `--target=${guest.init}`, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"],
    ...[
      "env",
      "--ignore-environment",
      ...Object.entries(environment).map(([name, value]) => `${name}=${value}`),
    ],
    ...argv,
  ];
  return { cgroup, wrapped };
}

/** The host's id of the process that is PID 1 in the guest, or 0 while there is none. */
function findInit(payload: string): number {
  try {
    for (const pid of readFileSync(join(payload, "init.scope", "cgroup.procs"), "utf8")
      .trim()
      .split("\n")) {
      if (/^NSpid:.*\t1$/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))) return Number(pid);
    }
  } catch {
    // Not that far yet.
  }
  return 0;
}

async function waitForServices(guest: Guest, wanted: SystemState = "running"): Promise<void> {
  const waiting = start(
    guest,
    ["timeout", String(bootTimeoutMs / 1000), "systemctl", "is-system-running", "--wait"],
    { input: "" },
  );
  await waiting.exited;
  const state = waiting.stdout.trim();
  if (state === wanted) return;
  const failed = start(guest, ["systemctl", "list-units", "--failed", "--plain", "--no-legend"], {
    input: "",
  });
  await failed.exited;
  throw new Error(`systemd says "${state}". ${failed.stdout.trim()}`);
}
