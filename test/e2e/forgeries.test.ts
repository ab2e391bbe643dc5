// SPDX-License-Identifier: GPL-2.0-or-later

// Forgeries of identity, by whoever could try: another process with the number of one that is gone, files where the helper
// looks, names that the name service folds, entries of the journal, connections that say another address than PAM_RHOST.
// What is tried elsewhere is named in docs/security.md.

import { beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "../lab/lab.ts";
import { lab, nothingLeft, ONLY_FIRST, onThisRelease, viaOne } from "./harness.ts";

const FIXTURES = join(import.meta.dir, "fixtures/forgeries");
const FILTERED = "probe tcp 10.88.0.2 7001; probe tcp 10.88.0.3 7001";

/** Everywhere that the helper opens, makes or locks something, or that decides what is started as root. */
const PLACES = [
  "/run/authnft",
  "/run/authnft/sessions",
  "/run/authnft/lock",
  "/run/authnft/policy",
  "/etc/authnft",
  "/etc/authnft/users",
  "/etc/authnft/groups",
  "/usr/lib/authnft",
  "/usr/libexec",
  "/run/systemd/system",
  "/etc/systemd/system",
  "/run/systemd/journal",
  "/run/dbus",
  "/etc/pam.d",
  "/etc/security",
  "/sys/fs/cgroup/authnft.slice",
  "/sys/fs/cgroup/user.slice",
];

let tokens = 0;

/** Opens and closes a session as `prepare` would have it, in a shell whose process is the one that asks PAM. */
async function pamtester(user: string, prepare = "", items = ""): Promise<{ code: number; token: string }> {
  const token = `forgeries-${++tokens}.`;
  const script = `${prepare}\nexec pamtester -E AUTHNFT_CORRELATION=${token} ${items} -- lab ${user} open_session close_session`;
  const { code } = await lab.run(["bash", "-c", script]);
  return { code, token };
}

viaOne("Forgeries", (via) => {
  beforeAll(async () => {
    await lab.reset();
    await lab.pam("sshd", { through: via });
    await lab.pam("lab", { through: via });
    for (const user of ["alice", "bob"]) await lab.fragment(user, ONLY_FIRST);
    await lab.output("mkdir -p /usr/local/lib/forgeries");
    await lab.write("/usr/local/lib/forgeries/plant", readFileSync(join(FIXTURES, "plant.py")), {
      mode: "0755",
    });
  });

  test("no user can put anything where the helper looks, and holding a lock on all that can be opened stops no login", async () => {
    const since = await lab.cursor();
    // From within a session of the member's own, and by somebody who is none.
    const plant = (...places: string[]): string => `exec /usr/local/lib/forgeries/plant ${places.join(" ")}`;
    const own = "/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)";
    const inside = lab.sshStart("bob", plant(...PLACES, `"${own}"`));
    await inside.expect(/done \d+\n/);
    const outside = lab.start(["bash", "-c", plant(...PLACES, "/tmp")], { user: "dave" });
    await outside.expect(/done \d+\n/);
    expect(inside.stdout).toMatch(/^done \d+\n$/);
    // The control is a directory where everybody may.
    const could = outside.lines.filter((line) => !/ \/tmp$/.test(line));
    expect(could).toEqual([expect.stringMatching(/^done [1-9]/)]);
    for (const way of ["file", "symbolic link", "FIFO", "directory", "socket"])
      expect(outside.lines).toContain(`${way} in /tmp`);

    expect((await lab.ssh("alice", FILTERED)).stdout).toBe("ok\nrefused\n");
    await outside.kill();
    inside.end();
    await inside.exited;
    await nothingLeft();
    const entries = await lab.journal({ since });
    expect(entries.filter(({ PRIORITY }) => Number(PRIORITY) <= 4)).toEqual([]);
  });

  test("what root left in the place of a record, a lock or a rule is replaced or refused, never followed or waited for", async () => {
    const kinds = {
      link: 'ln -s /run/forgeries-victim "$at"',
      dangling: 'ln -s /run/forgeries-made "$at"',
      hard: 'ln /run/forgeries-victim "$at"',
      fifo: 'mkfifo "$at"',
      directory: 'mkdir "$at" && echo x >"$at/file"',
    };
    const unit = "authnft-alice-$$.scope";
    const own = [`sessions/${unit}.json`, `policy/${unit}.nft`, `policy/${unit}.closed`];
    // Where a lock should be, what cannot be one refuses; a FIFO and another name of a file can.
    const noLock = new Set(["link", "dangling", "directory"]);
    const places: { paths: string[]; refusedFor: Set<string> }[] = [
      { paths: own, refusedFor: new Set() },
      { paths: [`lock/${unit}`], refusedFor: noLock },
      { paths: ["ruleset.nft", "sessions.nft", "slices"], refusedFor: new Set() },
      { paths: ["lock/ruleset"], refusedFor: noLock },
    ];
    await lab.output("echo victim >/run/forgeries-victim && chmod 0604 /run/forgeries-victim");
    const since = await lab.cursor();
    const outcomes: { what: string; refused: boolean; code: number; token: string }[] = [];
    for (const { paths, refusedFor } of places) {
      const attempts = Object.entries(kinds).map(([kind, make]) => async () => {
        // The clean-up of the session before may make a lock at this moment.
        const prepare = `cd /run/authnft; for at in ${paths.join(" ")}; do for try in $(seq 50); do rm -rf "$at"; ${make} && break; sleep 0.05; done; done`;
        const began = performance.now();
        const { code, token } = await pamtester("alice", prepare);
        const what = `${kind} at ${paths.join(", ")}`;
        // The module would give up after ten seconds: whoever waits for a FIFO waits longer.
        expect(performance.now() - began, what).toBeLessThan(9000);
        outcomes.push({ what, refused: refusedFor.has(kind), code, token });
      });
      // Each in a session of its own; what all share, one after the other.
      if (paths[0]?.includes("$$")) await Promise.all(attempts.map((attempt) => attempt()));
      else for (const attempt of attempts) await attempt();
      await lab.output("rm -rf /run/authnft/lock/*");
    }
    const entries = await lab.journal({ since });
    const told = outcomes.map(({ what, code, token }) => {
      const events = entries.filter((entry) => entry["AUTHNFT_CORRELATION"] === token);
      const [first] = events.map((entry) =>
        [entry["AUTHNFT_EVENT"], entry["AUTHNFT_REASON"]].filter(Boolean).join(" "),
      );
      return `${what}: ${code} ${first}`;
    });
    expect(told).toEqual(
      outcomes.map(({ what, refused }) => `${what}: ${refused ? "1 refuse record" : "0 open"}`),
    );
    expect(
      await lab.output(
        "cat /run/forgeries-victim; stat -c %a /run/forgeries-victim; ls /run/forgeries-made 2>&1 || true",
      ),
    ).toMatch(/^victim\n604\nls: .*No such file/);
    await lab.output(
      "rm -f /run/forgeries-victim; rm -rf /run/authnft/sessions/* /run/authnft/policy/authnft-*; systemctl reload authnft.service",
    );
    expect((await lab.ssh("alice", FILTERED)).stdout).toBe("ok\nrefused\n");
    await nothingLeft();
  });

  test("a process with the number of one that is gone gets a session of its own, and closes no other", async () => {
    // The session's processes outlive the one that opened it, which never closes it.
    const login = lab.sshStart("alice", "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo up; read -r");
    await login.expect(/up\n/);
    const [first] = await lab.sessions();
    expect(first?.state).toBe("open");
    const pid = first?.pid ?? 0;
    await lab.output(`kill -KILL ${pid}; while [ -e /proc/${pid} ]; do sleep 0.01; done`);
    await login.kill();
    const since = await lab.cursor();
    for (const user of ["bob", "alice"]) {
      // The kernel counts up; who wants a number says which one was the last. Where somebody was quicker, once more.
      const reuse = `
        mount -o remount,bind,rw /proc/sys
        for attempt in {1..50}; do
          echo ${pid - 1} >/proc/sys/kernel/ns_last_pid
          bash -c '[ $$ = ${pid} ] || exit 75; exec pamtester lab ${user} open_session close_session' && exit 0
          [ $? = 75 ] || exit 1
        done
        exit 2`;
      const { code } = await lab.run(["unshare", "--mount", "bash", "-c", reuse]);
      expect(code).toBe(0);
    }
    const entries = await lab.journal({ since });
    const story = entries
      .filter((entry) => entry["AUTHNFT_EVENT"] !== undefined && entry["AUTHNFT_EVENT"] !== "end")
      .map((entry) => `${entry["AUTHNFT_EVENT"]} ${entry["AUTHNFT_SCOPE_UNIT"]}`);
    expect(story).toEqual([
      `open authnft-bob-${pid}.scope`,
      `close authnft-bob-${pid}.scope`,
      `open authnft-alice-${pid}-2.scope`,
      `close authnft-alice-${pid}-2.scope`,
    ]);
    // The first is as it was.
    await waitFor(async () => (await lab.sessions()).length === 1, { what: "the second gone" });
    expect((await lab.sessions())[0]).toMatchObject({ scope_unit: first?.scope_unit, state: "open" });
    expect(await lab.ruleset()).toContain(`chain session_alice_${pid}_out`);
    await lab.output(`systemctl stop ${first?.scope_unit}`);
    await nothingLeft();
  });

  test("the name service's spelling counts, whatever was typed: one member, one policy, and root is root", async () => {
    const scratch = mkdtempSync(join(tmpdir(), "forgeries-"));
    try {
      const library = join(scratch, "libnss_fold.so.2");
      const built = Bun.spawnSync([
        "cc",
        "-O2",
        "-fPIC",
        "-shared",
        "-Wall",
        "-Werror",
        "-D_GNU_SOURCE",
        "-o",
        library,
        join(FIXTURES, "fold.c"),
      ]);
      expect(built.stderr.toString()).toBe("");
      await lab.write("/usr/lib/x86_64-linux-gnu/libnss_fold.so.2", readFileSync(library));
    } finally {
      rmSync(scratch, { recursive: true });
    }
    await lab.output("sed -i 's/^passwd:.*/passwd: files fold/' /etc/nsswitch.conf");
    const since = await lab.cursor();
    const session = lab.sshStart("alice", "echo up; read -r");
    await session.expect(/up\n/);
    for (const name of ["ALICE", "Alice", "ROOT", "DAVE"])
      expect([name, (await pamtester(name)).code]).toEqual([name, 0]);
    session.write("\n");
    await session.exited;
    await nothingLeft();
    const opens = (await lab.journal({ since })).filter((entry) => entry["AUTHNFT_EVENT"] === "open");
    expect(opens.map((entry) => `${entry["AUTHNFT_USER"]} ${entry["AUTHNFT_FRAGMENT"]}`)).toEqual(
      Array(3).fill("alice /etc/authnft/users/alice"),
    );
    await lab.output(
      "cp -a /usr/local/lib/lab/pristine/etc/nsswitch.conf /etc/nsswitch.conf; rm /usr/lib/x86_64-linux-gnu/libnss_fold.so.2",
    );
  });

  test("with several connections the kernel's word is taken only where it is one: PAM_RHOST decides among them", async () => {
    await lab.pam("lab", { through: via, args: ["rhost_policy=kernel"] });
    const two = "exec 3<>/dev/tcp/10.88.0.2/7001 4<>/dev/tcp/10.88.0.3/7001";
    const one = "exec 3<>/dev/tcp/10.88.0.2/7001";
    const cases: [prepare: string, rhost: string, told: string, warned: boolean][] = [
      [two, "10.88.0.3", "10.88.0.3", false],
      [two, "192.0.2.1", "192.0.2.1", true],
      [one, "192.0.2.1", "10.88.0.2", true],
      ["", "192.0.2.1", "192.0.2.1", true],
    ];
    const seen = await Promise.all(
      cases.map(async ([prepare, rhost]) => await pamtester("alice", prepare, `-I rhost=${rhost}`)),
    );
    expect(seen.map(({ code }) => code)).toEqual(cases.map(() => 0));
    await nothingLeft();
    const entries = await lab.journal();
    const opened = seen.map(({ token }) => entries.find((entry) => entry["AUTHNFT_CORRELATION"] === token));
    expect(opened.map((entry) => entry?.["AUTHNFT_REMOTE_IP"])).toEqual(cases.map(([, , told]) => told));
    // Each helper has a number of its own, which joins the warning to the event.
    const warned = opened.map((open) =>
      entries.some(
        (entry) =>
          entry["_PID"] === open?.["_PID"] &&
          /^The address of alice's session: /.test(entry["MESSAGE"] ?? ""),
      ),
    );
    expect(warned).toEqual(cases.map(([, , , expected]) => expected));
    await lab.pam("lab", { through: via });
  });

  test("entries of the journal that others write in our name are told by their uid, and change nothing", async () => {
    const since = await lab.cursor();
    const forged =
      "MESSAGE=forged\nSYSLOG_IDENTIFIER=pam_authnft\nAUTHNFT_EVENT=open\nAUTHNFT_USER=root\nAUTHNFT_SCOPE_UNIT=authnft-root-1.scope\n_UID=0\n";
    await lab.output(["logger", "--journald"], { user: "dave", input: forged });
    const all = await lab.journal({ since, match: { SYSLOG_IDENTIFIER: "pam_authnft" } });
    const dave = await lab.output(["id", "-u", "dave"]);
    expect(all.map((entry) => [entry["AUTHNFT_USER"], entry["_UID"]])).toEqual([["root", dave]]);
    expect(await lab.journal({ since })).toEqual([]);
    expect(await lab.sessions()).toEqual([]);
  });
});

onThisRelease("Forgeries that a mount makes possible", () => {
  test("where /proc hides the PAM process from the helper, the doctor says so and members are refused; with group 0 it works", async () => {
    await lab.reset();
    await lab.pam("sshd", { through: "shim" });
    await lab.fragment("alice", ONLY_FIRST);
    const doctor = async (): Promise<string[]> => {
      const { findings } = JSON.parse((await lab.run("authnft doctor --json")).stdout) as {
        findings: { check: string; level: string; what: string }[];
      };
      return findings
        .filter(({ what }) => what.startsWith("/proc is mounted with"))
        .map(({ level }) => level);
    };
    try {
      await lab.output("mount -o remount,hidepid=invisible,gid=12345 /proc");
      expect(await doctor()).toEqual(["fail"]);
      expect((await lab.ssh("alice", FILTERED)).code).toBe(254);
      expect((await lab.ssh("dave", "true")).code).toBe(0);
      await lab.output("mount -o remount,hidepid=invisible,gid=0 /proc");
      expect((await lab.ssh("alice", FILTERED)).stdout).toBe("ok\nrefused\n");
    } finally {
      await lab.output("mount -o remount,hidepid=off,gid=0 /proc");
    }
    await nothingLeft();
  });
});
