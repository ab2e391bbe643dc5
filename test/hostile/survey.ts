// SPDX-License-Identifier: GPL-2.0-or-later

// What a helper that somebody has broken into can do: made in the lab, and told as the table of docs/security.md.

import { rmSync } from "node:fs";
import { join } from "node:path";
import { type Lab, waitFor } from "../lab/lab.ts";
import { ATTEMPTS } from "./attempts.ts";
import type { Level } from "./helper.ts";

const PROGRAM = "/usr/lib/authnft/authnft";

/** An attempt, and what came of it: without confinement, with all of it, and the layers that hold it, each by itself. */
export type Row = {
  readonly attempt: string;
  readonly unconfined: string;
  readonly confined: string;
  readonly heldBy: readonly string[];
};

/** Builds the test build and returns where it is. It is compiled as the program is, but for size and speed. */
async function build(): Promise<string> {
  const outfile = join(import.meta.dir, `../../dist/hostile-${process.pid}`);
  const result = await Bun.build({
    entrypoints: [join(import.meta.dir, "helper.ts")],
    target: "bun",
    format: "esm",
    minify: true,
    bytecode: true,
    splitting: true,
    external: ["x11", "usocket"],
    compile: { outfile, autoloadDotenv: false, autoloadBunfig: false },
    throw: true,
  });
  for (const log of result.logs) console.error(String(log));
  return outfile;
}

/** What was seen, and which version of Landlock the kernel has. */
export type Survey = { readonly landlock: number; readonly rows: readonly Row[] };

/** Makes every attempt in a guest where the program is installed. */
export async function survey(lab: Lab, { workers = 4 } = {}): Promise<Survey> {
  const built = await build();
  await lab.pam("sshd", { through: "shim" });
  await lab.fragment("alice", "add rule inet authnft egress accept\n");
  const sessions = ["alice", "dave"].map((user) => lab.sshStart(user, "echo up; read -r"));
  try {
    for (const session of sessions) await session.expect(/up\n/);
    const record = await waitFor(async () => (await lab.sessions()).find(({ user }) => user === "alice"));
    const loginSession = await lab.output(
      "loginctl list-sessions --no-legend | awk '$3 == \"dave\" { print $1; exit }'",
    );
    await lab.write("/usr/local/lib/hostile", await Bun.file(join(import.meta.dir, "run.py")).text(), {
      mode: "0755",
    });
    await lab.write("/root/hostile", await Bun.file(built).bytes(), { mode: "0755" });
    await lab.output(`
      mv ${PROGRAM} ${PROGRAM}.away && mv /root/hostile ${PROGRAM}
      mkdir -p /root/.ssh && nft add table inet hostile && install -o alice -m 600 /dev/null /srv/hostile-secret`);
    const [userKey, rootKey] = await Promise.all([
      lab.output(["keyctl", "add", "user", "hostile", "secret", "@u"], { user: "alice" }),
      lab.output(["keyctl", "add", "user", "hostile", "secret", "@u"]),
    ]);
    const sockets = [
      "ABSTRACT-LISTEN:authnft-hostile,fork",
      "UNIX-LISTEN:/run/authnft-hostile.sock,fork,mode=600",
    ];
    const listeners = sockets.map((address) => lab.start(["socat", address, "/dev/null"]));
    await waitFor(
      async () =>
        (await lab.run("test -S /run/authnft-hostile.sock && grep -q @authnft-hostile /proc/net/unix"))
          .code === 0,
    );
    const targets = {
      userKey: Number(userKey),
      rootKey: Number(rootKey),
      scope: record.scope_unit,
      loginSession,
    };
    const told = await lab.output(["/usr/local/lib/hostile"], {
      input: JSON.stringify({ attempts: Object.keys(ATTEMPTS), workers, targets }),
      timeoutMs: 110_000,
    });
    await Promise.all(listeners.map((listener) => listener.kill()));
    const { landlock, outcomes } = JSON.parse(told) as {
      landlock: number;
      outcomes: Record<string, Record<Level, string>>;
    };
    const rows = Object.entries(outcomes).map(([attempt, outcome]) => ({
      attempt,
      unconfined: outcome.unconfined,
      confined: outcome.all,
      heldBy: layersOf(outcome),
    }));
    return { landlock, rows };
  } finally {
    rmSync(built, { force: true });
    await lab.run(`
      [ ! -e ${PROGRAM}.away ] || mv -f ${PROGRAM}.away ${PROGRAM}
      nft delete table inet hostile; ip address del 192.0.2.77/32 dev lo
      find /etc /usr/lib/authnft /root/.ssh /run /srv /tmp -xdev -name 'hostile-*' -delete
      find /sys/fs/cgroup/authnft.slice /sys/fs/cgroup/user.slice -depth -name 'hostile*' -type d -exec rmdir {} +
      keyctl unlink "$(keyctl search @u user hostile)" @u`);
    for (const session of sessions) session.write("\n");
    await Promise.all(sessions.map(({ exited }) => exited));
  }
}

/** The layers that hold an attempt. Where one of the inner ones does, that an outer one would as well is not seen. */
function layersOf(outcome: Record<Level, string>): string[] {
  const held = (level: Level): boolean => outcome[level] !== "succeeded";
  const layers: string[] = [];
  if (held("all") && (outcome.all === "killed" || outcome.all !== outcome.files)) layers.push("seccomp");
  if (held("capabilities") && outcome.capabilities !== outcome.unconfined) layers.push("capabilities");
  if (held("files") && outcome.files !== outcome.capabilities) layers.push("Landlock");
  return layers;
}

/** The table as docs/security.md has it. */
export function formatTable(rows: readonly Row[]): string {
  const lines = rows.map((row) => {
    const { attempt, confined, heldBy } = row;
    const nobody = confined === "succeeded" ? "**nothing**" : "the kernel, for everybody";
    return `| ${attempt} | ${control(row)} | ${confined} | ${heldBy.join(", ") || nobody} |`;
  });
  return [...HEADER, ...lines].join("\n");
}

const HEADER = ["| attempt | without | confined | held by |", "| --- | --- | --- | --- |"];

/** Why it does not succeed without confinement depends on how the lab's kernel was built. */
function control({ unconfined }: Row): string {
  return unconfined === "succeeded" ? unconfined : "—";
}

/** How many attempts each layer holds, and how many none. */
export function countHeld(rows: readonly Row[]): string {
  const count = (what: (row: Row) => boolean): number => rows.filter(what).length;
  const layers = ["seccomp", "capabilities", "Landlock"].map(
    (layer) => `${layer} ${count(({ heldBy }) => heldBy.includes(layer))}`,
  );
  const free = count(({ confined }) => confined === "succeeded");
  return `${rows.length} attempts: ${rows.length - free} held (${layers.join(", ")}), ${free} not.`;
}
