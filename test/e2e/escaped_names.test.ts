// SPDX-License-Identifier: GPL-2.0-or-later

// Members whose names only a directory gives, served by a second source of the name service: what is called after them, what
// becomes of their sessions, and that no name does anything but name.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Running, waitFor } from "../lab/lab.ts";
import { expectNoLeak, lab, nothingLeft, ONLY_FIRST, onThisRelease, viaBoth } from "./harness.ts";

const DINA = "DOM\\dina";

/** Whose escaped names are systemd's, and who logs in by su, where a name may be anything. */
const MEMBERS = [
  DINA,
  "dina@corp.example",
  "Jörg Müller",
  'a"; flush ruleset; #',
  "$(reboot)",
  "%n%i",
  "-rf",
  ".z",
  "*",
  "a,b",
  // The escaped forms of others.
  "DOM\\x5cdina",
  "a\\x2cb",
  "corp-dina",
  "corp\\x2ddina",
  // Different to the kernel, alike to the eye.
  "dom\\dina",
  "J\u006f\u0308rg Mu\u0308ller",
];

/** Whose escaped names are cut. */
const LONG = ["ü".repeat(128), `${"ü".repeat(127)}u`, "Пользователь домена пользователь"];

const ALL = [...MEMBERS, ...LONG];
const GROUP = "DOM\\domain users";
const GROUP_FILE = "DOM\\x5cdomain\\x20users";

/** Whether world's first address can be reached at a port of one's own, and at the next; the session's unit; our files. */
const look = (port: number): string =>
  `echo "$(probe tcp 10.88.0.2 ${port} --timeout 2) $(probe tcp 10.88.0.2 ${7001 + (port % 4)} --timeout 2)"; tail -n 1 /proc/self/cgroup | sed s,.*/,,; echo "$AUTHNFT_SESSION"`;

const portOf = (index: number): number => 7001 + (index % 4);

const fragmentFor = (port: number): string => `
add rule inet authnft egress ip daddr 10.88.0.2 tcp dport ${port} accept
add rule inet authnft egress log prefix $user_name
add rule inet authnft egress ip daddr 10.88.0.0/24 reject with tcp reset
`;

const REACH = 'echo "$(probe tcp 10.88.0.2 7001 --timeout 2) $(probe tcp 10.88.0.3 7001 --timeout 2)"';

/** What the guest's own tool makes of a name. */
const bySystemd = async (name: string): Promise<string> => await lab.output(["systemd-escape", "--", name]);

/** Does the same for many, six at a time. */
async function inParallel<Result>(
  names: readonly string[],
  act: (name: string, index: number) => Promise<Result>,
) {
  const results = new Map<string, Result>();
  const left = names.map((name, index) => [name, index] as const);
  const worker = async (): Promise<void> => {
    for (let next = left.shift(); next !== undefined; next = left.shift())
      results.set(next[0], await act(...next));
  };
  await Promise.all(Array.from({ length: 6 }, worker));
  return results;
}

async function serve(names: readonly string[]): Promise<void> {
  const gid = (await lab.output("getent group authnft")).split(":")[2];
  const lines = (line: (name: string, uid: number) => string): string =>
    names.map((name, index) => `${line(name, 4000 + index)}\n`).join("");
  await lab.output(
    "sed -i 's/^\\(passwd\\|group\\|shadow\\):.*/& extrausers/' /etc/nsswitch.conf; mkdir -p /var/lib/extrausers",
  );
  await lab.write(
    "/var/lib/extrausers/passwd",
    lines((name, uid) => `${name}:x:${uid}:${gid}::/home/u${uid}:/bin/bash`),
  );
  await lab.write(
    "/var/lib/extrausers/shadow",
    lines((name) => `${name}:*:19000:0:99999:7:::`),
  );
  await lab.write("/var/lib/extrausers/group", `${GROUP}:x:7000:${DINA}\n`);
  await lab.output(
    names
      .map(
        (_, index) =>
          `h=/home/u${4000 + index}; install -d -m 0700 -o ${4000 + index} $h $h/.ssh; install -m 0600 -o ${4000 + index} /root/.ssh/id_ed25519.pub $h/.ssh/authorized_keys`,
      )
      .join("\n"),
  );
}

const sources = await lab.output("cat /etc/nsswitch.conf");
const asBefore = async (): Promise<void> => {
  await lab.write("/etc/nsswitch.conf", `${sources}\n`);
  await lab.output("rm -rf /var/lib/extrausers/* /home/u4*; systemctl stop 'user@4*' 'user-4*.slice'; true");
  await lab.reset();
};

async function stay(user: string): Promise<Running> {
  const session = lab.sshStart(user, `while read -r line; do ${REACH}; done`);
  session.write("\n");
  await session.expect(/^ok refused$/m);
  return session;
}

viaBoth("A name that only a directory gives", (via) => {
  beforeAll(async () => {
    await lab.reset();
    await serve(ALL);
    await lab.pam("su", { through: via });
    await lab.pam("sshd", { through: via });
  });
  afterAll(asBefore);

  test("is escaped in units, chains, records and files, one for each, and each has its own rules", async () => {
    // Where there is none, the refusal names the file, so that nobody has to work it out.
    let since = await lab.cursor();
    await inParallel(ALL, async (name) => {
      expect((await lab.run(["su", "-c", "true", "--", name])).code).toBe(1);
    });
    await nothingLeft();
    const refused = await lab.journal({ since });
    const escaped = await inParallel(MEMBERS, async (name) =>
      name === "corp-dina" ? name : await bySystemd(name),
    );
    for (const name of ALL) {
      const [its, ...more] = refused.filter((entry) => entry["AUTHNFT_USER"] === name);
      const file = its?.["AUTHNFT_FRAGMENT"]?.replace(/^\/etc\/authnft\/users\//, "") ?? "";
      expect([name, its?.["AUTHNFT_REASON"], more]).toEqual([name, "missing", []]);
      if (name !== file) expect(its?.["MESSAGE"]).toContain(`write '/etc/authnft/users/${file}', or another`);
      if (MEMBERS.includes(name)) expect(file).toBe(escaped.get(name) ?? "");
      else expect(file).toMatch(/^(\\x[0-9a-f]{2}){30,}\\_[0-9a-f]{32}$/);
      escaped.set(name, file);
    }
    expect(new Set(escaped.values()).size).toBe(ALL.length);
    await inParallel(ALL, async (name, index) => {
      await lab.write(`/etc/authnft/users/${escaped.get(name)}`, fragmentFor(portOf(index)));
    });

    since = await lab.cursor();
    const seen = await inParallel(
      ALL,
      async (name, index) => await lab.run(["su", "-c", look(portOf(index)), "--", name]),
    );
    for (const [name, { code, stdout }] of seen) {
      const [reached, cgroup, session] = stdout.split("\n");
      expect([name, code, reached]).toEqual([name, 0, "ok refused"]);
      expect(cgroup).toMatch(/^authnft-.+-\d+\.scope$/);
      expect(cgroup?.replace(/-\d+\.scope$/, "")).toBe(`authnft-${escaped.get(name)}`);
      expect(session).toBe(via === "shim" ? (cgroup ?? "") : "");
    }
    await nothingLeft();
    const told = await lab.journal({ since });
    for (const name of ALL) {
      const its = told.filter((entry) => entry["AUTHNFT_USER"] === name);
      expect([name, its.map((entry) => entry["AUTHNFT_EVENT"])]).toEqual([name, ["open", "close", "end"]]);
      for (const { MESSAGE, AUTHNFT_SCOPE_UNIT } of its) {
        expect(MESSAGE).toContain(/[\s"]/.test(name) ? JSON.stringify(name) : name);
        expect(AUTHNFT_SCOPE_UNIT).toStartWith(`authnft-${escaped.get(name)}-`);
      }
    }
    // Whoever is told apart by the name only is: by the rules, which name the port.
    const { stdout, code } = await lab.run(["authnft", "check"]);
    expect([code, stdout]).toEqual([0, expect.stringMatching(`${ALL.length} files, 0 errors`)]);
  });

  test("goes from login to end as any other: reload, restore, daemon-reload, sweep, verify, a kill, a process left behind", async () => {
    await lab.fragment(DINA, "add rule inet authnft egress reject\n");
    expect(await lab.run(["authnft", "check", DINA])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining("/etc/authnft/users/DOM\\x5cdina holds, for it is DOM\\dina's own."),
    });
    for (const name of [DINA, "DOM\\x5cdina"]) await lab.fragment(name, ONLY_FIRST);
    // By the name with backslash and at once by another member's, whose name is the escaped form of that.
    await using session = await stay(DINA);
    const other = await lab.ssh("DOM\\x5cdina", look(7001));
    expect(other.stdout).toStartWith("ok ok\nauthnft-DOM\\x5cx5cdina-");
    const record = (await lab.sessions()).find(({ user }) => user === DINA);
    const { scope_unit: unit = "", pid } = record ?? {};
    expect(unit).toBe(`authnft-DOM\\x5cdina-${pid}.scope`);
    expect(record).toMatchObject({ uid: 4000, fragment: "/etc/authnft/users/DOM\\x5cdina" });
    await lab.output(["test", "-f", `/run/authnft/sessions/${unit}.json`]);
    const ruleset = await lab.ruleset();
    expect(ruleset).toContain(`chain session_DOM/x5cdina_${pid}_out `);
    expect(ruleset).toContain(`comment "DOM\\x5cdina (PID:${pid})"`);

    const again = async (wanted: RegExp): Promise<void> => {
      const before = session.stdout.length;
      session.write("\n");
      await waitFor(() => wanted.test(session.stdout.slice(before)));
    };
    await lab.fragment(DINA, "add rule inet authnft egress reject\n");
    expect((await lab.run(["authnft", "reload", DINA])).code).toBe(0);
    await again(/^(refused|unreachable) (refused|unreachable)$/m);
    await lab.fragment(DINA, ONLY_FIRST);
    expect((await lab.run(["authnft", "reload", unit])).code).toBe(0);
    await again(/^ok refused$/m);
    for (const restore of [
      "nft flush ruleset; nft -f /run/authnft/ruleset.nft; nft -f /run/authnft/sessions.nft",
      "nft delete table inet authnft; authnft restore",
      "systemctl daemon-reload",
      "authnft sweep",
    ]) {
      await lab.output(restore);
      await again(/^ok refused$/m);
    }
    await expectNoLeak(DINA);
    // The clean-up that systemd starts is an instance of the escaped name, written down and read again.
    await lab.output(["systemctl", "kill", "--signal=KILL", unit]);
    await session.exited;
    await nothingLeft();

    const lost = await stay(DINA);
    const [{ scope_unit: scope = "" } = {}] = await lab.sessions();
    await lab.output(["systemctl", "mask", "--runtime", `authnft-end@${scope}.service`]);
    await lab.output(["systemctl", "kill", "--signal=KILL", scope]);
    await lost.exited;
    await waitFor(async () => (await lab.run(["systemctl", "is-active", scope])).code !== 0);
    expect(await lab.sessions()).toHaveLength(1);
    await lab.run("authnft sweep");
    await nothingLeft();
    await lab.output(["systemctl", "unmask", "--runtime", `authnft-end@${scope}.service`]);

    const left = await lab.ssh(DINA, "setsid sleep 300 >/dev/null 2>&1 </dev/null & echo here");
    expect(left.stdout).toBe("here\n");
    await waitFor(async () => (await lab.sessions())[0]?.state === "lingering");
    const shell = lab.sshStart(DINA, null, { tty: true });
    await shell.expect(/to run: authnft release \S+\.scope'/);
    shell.write("exit\n");
    await shell.exited;
    const command = /to run: (authnft release \S+)/.exec(shell.stdout)?.[1] ?? "";
    expect(command).toMatch(/^authnft release 'authnft-DOM\\x5cdina-\d+\.scope'$/);
    // As it stands there, by a shell.
    expect((await lab.run(command)).stdout).toContain("has the rules of its session again");
    await lab.output("pkill -KILL -U 4000 sleep");
    await nothingLeft();
  }, 120_000);

  test("with blanks and signs names a group's fragment, too", async () => {
    await lab.output(["rm", "-f", "/etc/authnft/users/DOM\\x5cdina"]);
    await lab.write(`/etc/authnft/groups/${GROUP_FILE}`, ONLY_FIRST);
    try {
      // In the login session's own scope, whose name tells nobody's.
      await lab.pam("sshd", { through: via, args: ["scope=session"] });
      const { stdout } = await lab.ssh(DINA, `${REACH}; tail -n 1 /proc/self/cgroup`);
      expect(stdout).toMatch(/^ok refused\n0::\/user\.slice\/user-4000\.slice\/session-\w+\.scope\n$/);
      await lab.pam("sshd", { through: via });
      expect((await lab.ssh(DINA, REACH)).stdout).toBe("ok refused\n");
      expect((await lab.run(["authnft", "check", DINA])).stdout).toContain(
        `/etc/authnft/groups/${GROUP_FILE} holds, for DOM\\dina is in group DOM\\domain users.`,
      );
      // The name as it is, and another spelling of the escaped one, are nobody's.
      for (const file of [GROUP, "DOM\\x5cdomain\\x20user\\x73"]) {
        await lab.output(["mv", `/etc/authnft/groups/${GROUP_FILE}`, `/etc/authnft/groups/${file}`]);
        expect((await lab.ssh(DINA, REACH)).code).toBe(254);
        await lab.output(["mv", `/etc/authnft/groups/${file}`, `/etc/authnft/groups/${GROUP_FILE}`]);
      }
    } finally {
      await lab.output("rm -f /etc/authnft/groups/*");
      await nothingLeft();
    }
  });

  test("that is no UTF-8 is refused with the reason, and the process has no network", async () => {
    // In the local file, for the source that is asked first decides which of two spellings there is.
    await lab.output(
      "printf 'm\\374ller:*:4900:%s::/:/bin/bash\\n' $(getent group authnft | cut -d: -f3) >>/etc/passwd",
    );
    await lab.pam("su", { through: via, control: "optional" });
    const since = await lab.cursor();
    const { stdout } = await lab.run(`su -c '${REACH}' -- $(printf 'm\\374ller') 2>/dev/null`);
    expect(stdout).toMatch(/^(refused|eperm|unreachable) (refused|eperm|unreachable)$/m);
    const told = (await lab.journal({ since })).filter(({ AUTHNFT_EVENT }) => AUTHNFT_EVENT !== undefined);
    expect(told.map(({ AUTHNFT_REASON, MESSAGE }) => [AUTHNFT_REASON, MESSAGE])).toEqual([
      ["user", expect.stringContaining("not UTF-8")],
    ]);
    await nothingLeft();
  });
});

onThisRelease("names that have to be escaped", () => {
  beforeAll(async () => {
    await lab.reset();
    await serve([DINA, "DOM\\x5cdina", "domain user"]);
    await lab.pam("sshd", { through: "shim" });
  });
  afterAll(asBefore);

  test("are told by the doctor and by check where a file bears them as they are", async () => {
    await lab.output("sed -i 's/^authnft:.*/&,DOM\\\\dina,domain user/' /etc/group");
    await lab.write(`/etc/authnft/users/${DINA}`, ONLY_FIRST);
    const misnamed = "call it 'DOM\\x5cdina' if \"DOM\\\\dina\" is whose it is";
    expect((await lab.run(["authnft", "check"])).stdout.replaceAll(/\s+/g, " ")).toContain(misnamed);
    const found = async (): Promise<{ what: string; mend?: string }[]> => {
      const { findings } = JSON.parse((await lab.run("authnft doctor --json")).stdout) as {
        findings: { check: string; what: string; mend?: string }[];
      };
      return findings.filter(({ check }) => check === "members");
    };
    const findings = await found();
    const mend = findings.find(({ what }) => what.includes("as it is"))?.mend ?? "";
    expect(mend).toBe("mv -n '/etc/authnft/users/DOM\\dina' '/etc/authnft/users/DOM\\x5cdina'");
    expect(findings.map((finding) => finding.mend).join("\n")).toContain(
      "that of domain user is called '/etc/authnft/users/domain\\x20user'",
    );
    await lab.output(mend);
    expect((await found()).map(({ what }) => what).join("\n")).not.toContain("DOM");
    expect((await lab.ssh(DINA, REACH)).stdout).toBe("ok refused\n");
  });

  test("a service manager of such a name is not started, whoever has what a shell would make of it", async () => {
    // A shell takes the backslash for its own; the one whom that leads to is no member.
    await lab.output("useradd --uid 4800 DOMx5cx5cdina; useradd --uid 4801 DOMx5cdina");
    for (const unit of ["user@DOM\\x5cdina.service", "user@DOM\\x5cx5cdina.service"]) {
      const { code } = await lab.run(["systemctl", "start", unit]);
      expect([unit, code === 0]).toEqual([unit, false]);
      const said = await lab.output([
        "journalctl",
        "--unit",
        unit.replace("user@", "user-runtime-dir@"),
        "--output",
        "cat",
      ]);
      expect(said).toMatch(/is a member, whose service manager is started by number only|no such user/);
    }
    await lab.output("systemctl reset-failed; systemctl start user@4000.service");
    expect(await lab.output("nft list set inet authnft covered_slices")).toContain("user-4000.slice");
  });
});
