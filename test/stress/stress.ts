// SPDX-License-Identifier: GPL-2.0-or-later

import { join } from "node:path";
import type { Lab, Running } from "../lab/lab.ts";

const PROGRAM = "/usr/local/lib/sessions.py";
const PARALLEL = 6;
/** What systemd's own cgroup, where helpers are, may have before it is slowed down and its pages are taken. */
const MEMORY = "200M";
const HIGH = "/sys/fs/cgroup/init.scope/memory.high";

const TELL_MS = 10_000;

/** The ways in which sessions are opened, and for how many of a hundred. */
const WAYS = [
  { way: "logins, many at once", kind: "pam", share: 60, pressed: false },
  { way: "logins, short of memory and processors", kind: "pam", share: 30, pressed: true },
  { way: "collecting garbage without end", kind: "gc", share: 10, pressed: false },
] as const;

/** The kernel's words for each process of ours that a filter has killed since it started, in every lab of this machine. */
function killed(): string[] {
  const log = Bun.spawnSync(["dmesg"]).stdout.toString();
  return log.split("\n").filter((line) => line.includes("type=1326") && line.includes('comm="authnft"'));
}

/** How many sessions became what. */
export type Outcome = { readonly way: string; readonly counts: Readonly<Record<string, number>> };

/** Opens and closes that many sessions. */
export async function stress(lab: Lab, count: number, tell: (line: string) => void): Promise<Outcome[]> {
  await lab.write(PROGRAM, await Bun.file(join(import.meta.dir, "sessions.py")).text());
  await lab.pam("lab", { through: "shim" });
  for (let member = 0; member < 10; member++)
    await lab.fragment(
      `m${member}`,
      "add rule inet authnft egress tcp dport { ssh, https } accept\nadd rule inet authnft egress reject\nadd rule inet authnft filter drop\n",
    );
  const outcomes: Outcome[] = [];
  const before = new Set(killed());
  for (const { way, kind, share, pressed } of WAYS) {
    const number = Math.max(1, Math.round((count * share) / 100));
    await using pressure = pressed ? await press(lab) : undefined;
    await using sessions = lab.start(["python3", PROGRAM, kind, String(number), String(PARALLEL)]);
    const code = await ended(sessions, {
      timeoutMs: 60_000 + number * 1000,
      tell: (sofar) => tell(`${way}: ${sofar} of ${number}`),
    });
    if (code !== 0) throw new Error(`The sessions were not all begun and ended: ${sessions.report()}`);
    const counts = JSON.parse(sessions.lines.at(-1) ?? "{}") as Outcome["counts"];
    void pressure;
    tell(`${way}: ${JSON.stringify(counts)}`);
    for (const line of killed().filter((one) => !before.has(one))) tell(line);
    outcomes.push({ way, counts });
  }
  return outcomes;
}

/** Waits for a command, and tells now and then what it wrote last. @returns its exit status; 137 after the time, when it is killed */
async function ended(
  command: Running,
  { timeoutMs, tell }: { timeoutMs: number; tell: (line: string) => void },
): Promise<number> {
  const telling = setInterval(() => tell(command.lines.at(-1) ?? "none"), TELL_MS);
  const late = setTimeout(() => void command.kill(), timeoutMs);
  try {
    return await command.exited;
  } finally {
    clearInterval(telling);
    clearTimeout(late);
  }
}

/** Takes memory and processors away from helpers, for a while. */
async function press(lab: Lab): Promise<AsyncDisposable> {
  // Where the lab has that controller.
  const limit = (value: string) => lab.run(`[ ! -e ${HIGH} ] || echo ${value} >${HIGH}`);
  await limit(MEMORY);
  const spinning = lab.start("for i in 1 2 3; do while :; do :; done & done; wait");
  return {
    [Symbol.asyncDispose]: async () => {
      await spinning.kill();
      await limit("max");
    },
  };
}
