// SPDX-License-Identifier: GPL-2.0-or-later

// scope=session: the login session's own scope is the identity, and logind notices nothing of us.

import { afterEach, beforeAll, expect, test } from "bun:test";
import { passwordOf, type Running, waitFor } from "../lab/lab.ts";
import { expectNoLeak, lab, nothingLeft, ONLY_FIRST, viaBoth } from "./harness.ts";

const LOOK = `#!/bin/sh
echo "in $(sed -n s/^0:://p /proc/self/cgroup) first $(probe tcp 10.88.0.2 7001) second $(probe tcp 10.88.0.3 7001)"
`;
/** What logind and systemd say when they cannot do with a session what they want. */
const COMPLAINT = /Failed to (release|abandon)|session-.*(fail|timed)/i;

/** The messages of everybody since then that complain of a session. */
async function complaints(since: string): Promise<string[]> {
  const entries = await lab.journal({ since, match: {} });
  return entries.map((entry) => entry["MESSAGE"] ?? "").filter((line) => COMPLAINT.test(line));
}

const OWN = /^in \/user\.slice\/user-1000\.slice\/session-\w+\.scope first ok second refused$/;

/** Logs in by ssh for as long as the object lives. */
async function stay(user: string): Promise<Running> {
  const session = lab.sshStart(user, "echo here; cat");
  await session.expect(/^here$/m);
  return session;
}

const sessionOf = async (user: string) =>
  await waitFor(async () =>
    (await lab.sessions()).find((record) => record.user === user && record.state === "open"),
  );

viaBoth("scope=session", (via) => {
  beforeAll(async () => {
    await lab.reset();
    await lab.write("/usr/local/bin/look", LOOK, { mode: "0755" });
    await lab.pam("sshd", { through: via, args: ["scope=session"] });
    await lab.fragment("alice", ONLY_FIRST);
    await lab.fragment("bob", "add rule inet authnft egress accept\n");
  });
  afterEach(async () => {
    await nothingLeft();
  });

  test("the session is in logind's scope, under its policy, and everything that logind does works", async () => {
    const cursor = await lab.cursor();
    const { code, stdout, stderr } = await lab.ssh("alice", "look; echo $XDG_SESSION_ID; exit 7");
    expect({ code, stderr }).toEqual({ code: 7, stderr: "" });
    const [first = "", id = ""] = stdout.split("\n");
    expect(first).toMatch(OWN);
    expect(first).toContain(`session-${id}.scope`);
    await nothingLeft();
    expect(await complaints(cursor)).toEqual([]);
    const events = (await lab.journal({ since: cursor })).map((entry) => entry["AUTHNFT_EVENT"]);
    expect(events).toEqual(["open", "close", "end"]);

    // With scope=own logind finds the session's process elsewhere, and says so.
    await lab.pam("sshd", { through: via });
    try {
      const then = await lab.cursor();
      await lab.ssh("alice", ":");
      await waitFor(async () =>
        (await complaints(then)).some((line) => line.includes("Failed to release session")),
      );
    } finally {
      await lab.pam("sshd", { through: via, args: ["scope=session"] });
    }
  });

  test("the record, the elements and the chains are those of the contract, one level deeper", async () => {
    await using session = await stay("alice");
    const record = await sessionOf("alice");
    const unit = record.scope_unit;
    await expectNoLeak(unit);
    expect(unit).toMatch(/^session-\w+\.scope$/);
    expect(record.cg_path).toBe(`user.slice/user-1000.slice/${unit}`);
    expect(await lab.output(`stat -c %i /sys/fs/cgroup/${record.cg_path}`)).toBe(String(record.cg_id));
    expect(await lab.output("ls /run/authnft/sessions")).toBe(`${unit}.json`);
    const ruleset = await lab.ruleset();
    expect(ruleset).toMatch(
      new RegExp(
        `"${record.cg_path}" counter .*comment "alice \\(PID:${record.pid}\\)" : jump session_alice_${record.pid}_out`,
      ),
    );
    expect(ruleset).toContain(`"${record.cg_path}" . 10.77.0.2 comment`);
    const shown = await lab.output(`loginctl show-session ${unit.slice(8, -6)} -p Leader -p Scope`);
    expect(shown).toContain(`Leader=${record.pid}`);
    expect(shown).toContain(`Scope=${unit}`);
    session.end();
    expect(await session.exited).toBe(0);
  });

  test("rules on the session sets and on meta cgroup match at the session's level", async () => {
    await lab.fragment(
      "alice",
      `add rule inet authnft filter meta cgroup . ip saddr @session_map_ipv4 accept
       add rule inet authnft filter drop
       add rule inet authnft egress meta cgroup @session_map_cg ip daddr 10.88.0.2 accept
       add rule inet authnft egress reject with tcp reset\n`,
    );
    try {
      await using session = lab.sshStart("alice", "look; probe listen tcp 8100 --seconds 20");
      await session.expect(/listening/);
      expect(session.stdout).toMatch(/first ok second refused/);
      const asked = await lab.run("probe tcp 10.77.0.1 8100", { netns: "client" });
      expect(asked.stdout.trim()).toBe("ok");
      const others = await lab.run("probe tcp 10.88.0.1 8100 --timeout 0.5", { netns: "world" });
      expect(others.stdout.trim()).toBe("timeout");
    } finally {
      await lab.fragment("alice", ONLY_FIRST);
    }
  });

  test.each([
    "loginctl terminate-session $ID",
    "systemctl stop session-$ID.scope",
    "echo 1 > /sys/fs/cgroup/user.slice/user-1000.slice/session-$ID.scope/cgroup.kill",
    "loginctl terminate-user alice",
  ])("%s ends it, and within a second its rules are gone", async (command) => {
    const cursor = await lab.cursor();
    await using session = await stay("alice");
    const { scope_unit: unit } = await sessionOf("alice");
    await lab.output(command.replaceAll("$ID", unit.slice(8, -6)));
    const done = performance.now();
    await session.exited;
    const ended = performance.now();
    await nothingLeft();
    const clean = performance.now();
    console.log(
      `${lab.release}, ${via}, scope=session: from ${command.slice(0, 32)} to clean: ${Math.round(clean - done)} ms`,
    );
    expect(clean - ended).toBeLessThan(1500);
    const events = (await lab.journal({ since: cursor })).map((entry) => entry["AUTHNFT_EVENT"]);
    expect(events).toEqual(["open", "close", "end"]);
  });

  test("KillUserProcesses=yes ends what is left behind; without it, that has no network, while another session of the user has", async () => {
    const leave = "setsid -f sh -c 'sleep 0.2; exec sleep 60' </dev/null >/dev/null 2>&1; sleep 0.1";
    await using other = await stay("alice");
    const staying = await sessionOf("alice");
    await lab.ssh("alice", leave);
    const left = await waitFor(async () => (await lab.sessions()).find(({ state }) => state === "lingering"));
    const group = `/sys/fs/cgroup/${left.cg_path}/cgroup.procs`;
    // A socket made in that scope stands for what any process of it may do.
    const inside = (what: string) =>
      lab.run(["sh", "-c", `echo $$ >${group}; exec setpriv --reuid alice --clear-groups ${what}`]);
    expect((await inside("probe tcp 10.88.0.2 7001 --timeout 3")).stdout.trim()).toBe("unreachable");
    expect((await inside("probe udp 10.88.0.2 7001 --timeout 3")).stdout.trim()).toBe("eperm");
    const beside = `echo $$ >/sys/fs/cgroup/${staying.cg_path}/cgroup.procs; exec setpriv --reuid alice --clear-groups look`;
    expect((await lab.output(["sh", "-c", beside])).replace(/^in \S+ /, "")).toBe("first ok second refused");
    // The rule taken away, the same packet passes: nothing else held it.
    const elements = ["in", "out"].map(
      (d) => `nft delete element inet authnft session_${d} '{ "${left.cg_path}" }'`,
    );
    await lab.output(elements.join("; "));
    await lab.output(
      `systemctl set-property --runtime ${left.scope_unit} IPAddressAllow=any IPAddressDeny=any`,
    );
    expect((await inside("probe tcp 10.88.0.2 7001")).stdout.trim()).toBe("ok");
    await lab.output(`systemctl stop ${left.scope_unit}`);
    await waitFor(async () => (await lab.sessions()).length === 1);

    await lab.write("/etc/systemd/logind.conf.d/kill.conf", "[Login]\nKillUserProcesses=yes\n");
    await lab.output("systemctl kill -s HUP systemd-logind || true; systemctl restart systemd-logind");
    try {
      await lab.ssh("alice", leave);
      await waitFor(async () => (await lab.sessions()).length === 1);
    } finally {
      await lab.output("rm /etc/systemd/logind.conf.d/kill.conf; systemctl restart systemd-logind");
    }
    other.end();
    await other.exited;
  });

  test("the doctor names what is set for logins and holds in sessions of logind's alone", async () => {
    const said = async (): Promise<string[]> => {
      const { stdout } = await lab.run("authnft doctor --json");
      const { findings } = JSON.parse(stdout) as {
        findings: { check: string; level: string; what: string }[];
      };
      return findings.flatMap(({ check, level, what }) => (check === "logind" ? `${level} ${what}` : []));
    };
    await lab.write("/run/systemd/system/user-.slice.d/lab.conf", "[Slice]\nIPAddressDeny=10.88.0.2\n");
    await lab.write(
      "/etc/systemd/logind.conf.d/lab.conf",
      "[Login]\nKillUserProcesses=yes\nStopIdleSessionSec=1h\n",
    );
    await lab.output("systemctl daemon-reload; systemctl restart systemd-logind");
    try {
      for (const scope of ["session", "own"]) {
        await lab.pam("sshd", { through: via, args: [`scope=${scope}`] });
        const isHeld = scope === "session";
        const probe = await lab.ssh("alice", "probe udp 10.88.0.2 7001 --timeout 1");
        expect({ scope, probe: probe.stdout.trim() }).toEqual({ scope, probe: isHeld ? "eperm" : "ok" });
        expect(await said()).toEqual(
          isHeld
            ? []
            : [
                "warn What is set for logins, and does not hold for members' sessions: IPAddressDeny= (/run/systemd/system/user-.slice.d/lab.conf), KillUserProcesses=yes (logind.conf), StopIdleSessionSec= (logind.conf).",
              ],
        );
      }
    } finally {
      await lab.output(
        "rm -r /run/systemd/system/user-.slice.d /etc/systemd/logind.conf.d/lab.conf; systemctl daemon-reload; systemctl restart systemd-logind",
      );
      await lab.pam("sshd", { through: via, args: ["scope=session"] });
    }
  });

  test("lingering=kill ends what is left, and the login's own exit status is kept", async () => {
    await lab.pam("sshd", { through: via, args: ["scope=session", "lingering=kill"] });
    try {
      const cursor = await lab.cursor();
      const { code } = await lab.ssh(
        "alice",
        "setsid -f sleep 61 </dev/null >/dev/null 2>&1; sleep 0.1; exit 5",
      );
      expect(code).toBe(5);
      await nothingLeft();
      expect((await lab.run("pgrep -f 'sleep 61'")).stdout).toBe("");
      expect(await complaints(cursor)).toEqual([]);
    } finally {
      await lab.pam("sshd", { through: via, args: ["scope=session"] });
    }
  });

  test("without a login session of its own it is refused: no logind, or another's session around it", async () => {
    await lab.pam("lab", { through: via, args: ["scope=session"] });
    await lab.pam("su", { through: via, args: ["scope=session"] });
    const cursor = await lab.cursor();
    const bare = await lab.run("pamtester lab alice open_session");
    expect(bare.code).not.toBe(0);
    // su from alice's session: logind makes none for bob, and alice's is not bob's.
    const { stdout } = await lab.ssh("alice", `echo ${passwordOf("bob")} | su - bob -c look; look`);
    expect(stdout.trim()).toMatch(OWN);
    const refusals = (await lab.journal({ since: cursor })).filter((e) => e["AUTHNFT_EVENT"] === "refuse");
    expect(refusals.map((entry) => [entry["AUTHNFT_USER"], entry["AUTHNFT_REASON"]])).toEqual([
      ["alice", "cgroup"],
      ["bob", "cgroup"],
    ]);
    expect(refusals[0]?.["MESSAGE"]).toContain("write scope=own");

    // As the message says.
    await lab.pam("su", { through: via });
    const own = await lab.ssh("alice", `echo ${passwordOf("bob")} | su - bob -c look; look`);
    const [bob = "", alice = ""] = own.stdout.trim().split("\n");
    expect(bob).toMatch(/^in \/authnft\.slice\/authnft-bob-\d+\.scope first ok second ok$/);
    expect(alice).toMatch(OWN);
    await lab.pam("su", null);
  });

  test("a login that is refused and let in all the same has no network, while another session of the user's has", async () => {
    await lab.pam("sshd", { through: via, control: "optional", args: ["scope=session"] });
    await using other = await stay("alice");
    const staying = await sessionOf("alice");
    await lab.fragment("alice", "add rule inet authnft egress accept all of it\n");
    try {
      const { stdout } = await lab.ssh("alice", "look");
      expect(stdout.trim()).toMatch(
        /^in \/authnft\.slice\/authnft-alice-\d+\.scope first (?!ok)\w+ second (?!ok)\w+$/,
      );
      const beside = `echo $$ >/sys/fs/cgroup/${staying.cg_path}/cgroup.procs; exec setpriv --reuid alice --clear-groups look`;
      expect(await lab.output(["sh", "-c", beside])).toMatch(OWN);
    } finally {
      await lab.fragment("alice", ONLY_FIRST);
      await lab.pam("sshd", { through: via, args: ["scope=session"] });
    }
    other.end();
    await other.exited;
  });

  test("su to somebody outside the group, to root, or to a member without the line, and sudo -i stay in the session, and under its policy", async () => {
    const users = ["dave", "root", "bob"];
    const all = [
      ...users.map((user) => `echo ${passwordOf(user)} | su - ${user} -c look`),
      "sudo -n -i look",
    ];
    const { stdout } = await lab.ssh("alice", all.join("; "));
    const seen = stdout.trim().split("\n");
    expect(seen).toHaveLength(4);
    for (const line of seen) expect(line).toMatch(OWN);
  });
});
