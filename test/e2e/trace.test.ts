// SPDX-License-Identifier: GPL-2.0-or-later

// What the helper calls once it is confined, and what the filter lets through: the one is seen, the other compared.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { inject, Lane, prepare } from "../faults/faults.ts";
import { waitFor } from "../lab/lab.ts";
import { stress } from "../stress/stress.ts";
import { lab, nothingLeft, onThisRelease, sweep } from "./harness.ts";

/** How many of the calls of an open and a close are tried here; test/faults/run.ts tries all. */
const FAULTS = 24;

/** A fragment that leads libnftables to names of users, services and interfaces. */
const NAMES = `
add set inet authnft dbs { type ipv4_addr; elements = { 192.0.2.10, 192.0.2.11 } }
add rule inet authnft egress ip daddr @dbs tcp dport { ssh, https } accept
add rule inet authnft egress meta skuid root accept
add rule inet authnft egress ip daddr $user_ip tcp dport 631 accept
add rule inet authnft egress reject
add rule inet authnft filter iif lo accept
add rule inet authnft filter drop
`;

/**
 * Runs a command as root without the rights that show it a process that is not dumpable: to trace (ptrace(2)), and in newer
 * kernels to watch performance, which CAP_SYS_ADMIN includes (perfmon_capable in linux/capability.h).
 */
function withoutTracing(command: readonly string[]): number {
  const rights = "-sys_ptrace,-perfmon,-sys_admin";
  return Bun.spawnSync(["setpriv", `--bounding-set=${rights}`, `--inh-caps=${rights}`, ...command], {
    stdout: "ignore",
    stderr: "ignore",
  }).exitCode;
}

/** What the runtime calls when it ends by a fault of its own. */
const ENDING = /^(uname|writev|fsync|getrusage) /;

onThisRelease("authnft --trace", () => {
  beforeAll(() => lab.fragment("alice", NAMES));
  afterAll(() => lab.reset());

  test("sees no call that the filter does not know, and the filter knows none that is not seen or has a reason", async () => {
    const rules = await lab.ruleset();
    // As a service: its keyring is a session's of its own, and has no link to root's others.
    const asService = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect"];
    const { code, stdout, stderr } = await lab.run([...asService, "authnft", "--trace", "--diff", "--json"], {
      timeoutMs: 90_000,
    });
    const { ok, runs, leftOut, diff } = JSON.parse(stdout) as {
      ok: boolean;
      runs: { name: string; calls: number; failed?: string }[];
      leftOut: string[];
      diff: { missing: string[]; unused: string[]; wide: string[] };
    };
    expect({ ok, code, stderr, leftOut, ...diff }).toMatchObject({
      ok: true,
      code: 0,
      stderr: "",
      leftOut: [],
      missing: [],
      unused: [],
      wide: [],
    });
    // Everything was run, and watched: a session needs many calls.
    const names = runs.map(({ name }) => name);
    for (const name of ["open", "reload", "restore", "cover", "close", "end", "open, scope=session"])
      expect(names).toContain(name);
    expect(runs.filter(({ calls }) => calls < 50)).toEqual([]);
    // And undone.
    await nothingLeft();
    // The kernel shows those of the other release's guest, too, which may be at the same this moment.
    const keys = "grep authnft-trace /proc/keys || echo none";
    await waitFor(async () => (await lab.output(keys)) === "none", {
      timeoutMs: 60_000,
      what: "no key of a trace",
    });
    expect((await lab.ruleset()).includes("session_alice")).toBe(rules.includes("session_alice"));
    expect(await lab.output("ls /etc/authnft/users /run/systemd/system; id -u alice")).not.toContain(
      "authnft-trace",
    );
  });

  test("a trace that is killed leaves nothing over which the next one, by sudo, would stumble, and that one sweeps", async () => {
    const masked = "ls /run/systemd/system | grep authnft-end@ || echo none";
    await using killed = lab.start("exec authnft --trace");
    await waitFor(async () => (await lab.output(masked)) !== "none", { what: "a session of a trace" });
    await lab.output("pkill --signal KILL --full '^authnft --trace$'");
    await killed.exited;
    // The control: there is something to sweep.
    expect(await lab.output(masked)).not.toBe("none");
    const { code, stderr } = await lab.run("sudo authnft --trace --diff", { timeoutMs: 90_000 });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(await lab.output(masked)).toBe("none");
    // The kernel shows those of the other release's guest, too, which may be at the same this moment.
    const keys = "grep authnft-trace /proc/keys || echo none";
    await waitFor(async () => (await lab.output(keys)) === "none", {
      timeoutMs: 60_000,
      what: "no key of a trace",
    });
    await nothingLeft();
  });

  test("a confined helper is not dumpable: not even root's other processes look into it without the right to trace", async () => {
    const looked: Record<string, number[]> = { open: [], close: [] };
    {
      await using _prepared = await prepare(lab, ["alice"]);
      await using lane = new Lane(lab, "alice");
      await lane.watch((verb, { tid }) => {
        if (looked[verb]?.length === 0)
          looked[verb] = ["environ", "mem", "maps"].map((file) =>
            withoutTracing(["head", "-c", "0", `/proc/${tid}/${file}`]),
          );
      });
    }
    expect(looked).toEqual({ open: [1, 1, 1], close: [1, 1, 1] });
    // The control: a process with the helper's rights that is dumpable can be looked into.
    const other = Bun.spawn(["setpriv", "--bounding-set=-all,+net_admin,+audit_write", "sleep", "60"]);
    try {
      const capabilities = () => readFileSync(`/proc/${other.pid}/status`, "utf8");
      await waitFor(() => /^CapPrm:\t0*20001000$/m.test(capabilities()), { what: "a process to look into" });
      expect(withoutTracing(["head", "-c", "0", `/proc/${other.pid}/environ`])).toBe(0);
    } finally {
      other.kill();
      await other.exited;
    }
    await nothingLeft();
  });

  test("sessions under the filter, many at once, short of memory and collecting garbage: none is killed", async () => {
    const outcomes = await stress(lab, 40, () => undefined);
    expect(outcomes.map(({ counts }) => Object.keys(counts))).toEqual(outcomes.map(() => ["ok"]));
    expect(outcomes.map(({ counts }) => counts["ok"])).toEqual([24, 12, 4]);
    await nothingLeft();
  });

  test("the helper is killed or fails at a system call: a session is whole or is not, and the next login works", async () => {
    let all = 0;
    const outcomes = await inject(lab, ["alice", "bob", "m0", "m1"], (points) => {
      all = points.length;
      // Other points in each release, spread over all.
      const first = lab.release === "bookworm" ? 0 : Math.floor(all / FAULTS / 2);
      // And always those at which a close left a record that said "open" of a session without rules.
      return points.filter(
        ({ verb, call, fault }, index) =>
          index % Math.ceil(all / FAULTS) === first ||
          (verb === "close" && call === "rename" && fault === "EIO"),
      );
    });
    expect(outcomes.filter(({ violations }) => violations.length > 0)).toEqual([]);
    // Where the runtime has no memory it ends, and the filter ends it a little sooner; nothing else comes to that.
    const ended = outcomes.flatMap(({ filtered, ...point }) =>
      filtered === undefined || ENDING.test(filtered) ? [] : [{ ...point, filtered }],
    );
    expect(ended).toEqual([]);
    // The control: they did meet their faults, and not all came to the same.
    expect(all).toBeGreaterThan(500);
    expect(outcomes.filter(({ met }) => met).length).toBeGreaterThan(FAULTS / 2);
    expect(new Set(outcomes.map(({ end }) => end)).size).toBeGreaterThan(1);
    await sweep();
    await nothingLeft();
  });
});
