// SPDX-License-Identifier: GPL-2.0-or-later
import { beforeAll, expect, test } from "bun:test";
import { waitFor } from "../lab/lab.ts";
import { withHook } from "../lab/pam.ts";
import { lab, nothingLeft, ONLY_FIRST, onThisRelease, viaBoth } from "./harness.ts";

type Finding = { level: "ok" | "warn" | "fail"; what: string; why?: string; mend?: string };

async function doctor(): Promise<{ code: number; findings: Finding[] }> {
  const { code, stdout } = await lab.run("authnft doctor --json");
  const parsed = JSON.parse(stdout) as Finding[] | { findings: Finding[] };
  return { code, findings: Array.isArray(parsed) ? parsed : parsed.findings };
}

onThisRelease("the administrator's command", () => {
  beforeAll(async () => {
    await lab.reset();
    await lab.pam("sshd", { through: "shim" });
    await lab.fragment("alice", ONLY_FIRST);
  });

  test("doctor finds nothing that fails on a host that works, and names what was broken with the command that mends it", async () => {
    const well = await doctor();
    expect(well.findings.filter(({ level }) => level === "fail")).toEqual([]);
    expect(well.code).toBe(0);

    await lab.output("chmod g+w /etc/authnft/users/alice && nft delete table inet authnft");
    const ill = await doctor();
    expect(ill.code).toBe(1);
    const failures = ill.findings.filter(({ level }) => level === "fail");
    expect(failures.map(({ what }) => what).join("\n")).toContain("/etc/authnft/users/alice");
    for (const { mend } of failures) expect(mend).toBeTruthy();

    await lab.output("chmod go-w /etc/authnft/users/alice && systemctl reload authnft.service");
    expect((await doctor()).code).toBe(0);
  });

  test("doctor warns of an MPTCP endpoint with a port, where the kernel listens for whoever knows a connection's token", async () => {
    const told = async () => (await doctor()).findings.filter(({ what }) => what.includes("MPTCP"));
    await lab.output("ip mptcp endpoint add 10.88.0.1 signal");
    try {
      expect(await told()).toEqual([expect.objectContaining({ level: "ok" })]);
      await lab.output("ip mptcp endpoint flush; ip mptcp endpoint add 10.88.0.1 port 5000 signal");
      expect(await lab.output("ss -Hltn src 10.88.0.1:5000")).toContain("LISTEN");
      expect(await told()).toEqual([
        expect.objectContaining({ level: "warn", what: "MPTCP endpoints with a port: 10.88.0.1 port 5000." }),
      ]);
    } finally {
      await lab.output("ip mptcp endpoint flush");
    }
  });

  test("doctor names a session whose su was killed by who had started it, and what ends what is left", async () => {
    await lab.fragment("bob", ONLY_FIRST);
    await lab.pam("su", { through: "shim" });
    const caller = lab.sshStart(
      "alice",
      "sudo -n true; su - bob -c 'setsid -f sleep 300; echo here; sleep 300'",
      {
        tty: true,
      },
    );
    try {
      await caller.expect(/Password/i);
      caller.write("bob-password\n");
      await caller.expect(/here/);
      const [session] = (await lab.sessions()).filter(({ user }) => user === "bob");
      if (session === undefined) throw new Error("bob has no session.");
      // The caller's own right: su keeps the real uid.
      await lab.output(["kill", "-KILL", String(session.pid)], { user: "alice" });
      const named = async () =>
        (await doctor()).findings.filter(({ what }) => what.includes(session.scope_unit));
      await waitFor(async () => (await named()).length > 0);
      expect(await named()).toEqual([
        expect.objectContaining({ level: "warn", mend: `systemctl stop ${session.scope_unit}` }),
      ]);
      await lab.output(["systemctl", "stop", session.scope_unit]);
      await waitFor(async () => !(await lab.sessions()).some(({ user }) => user === "bob"));
      expect(await named()).toEqual([]);
    } finally {
      await caller.kill();
      await lab.pam("su", null);
    }
    await nothingLeft();
  });

  test("the host's firewall may be reloaded: the table is there again", async () => {
    const table = await lab.ruleset();
    expect(table).toContain("chain members_out");
    for (const act of ["start", "reload", "stop"]) {
      await lab.output("nft flush ruleset");
      await lab.output(`systemctl ${act} nftables.service`);
      expect(await lab.ruleset()).toBe(table);
    }
  });

  test("uninstall refuses while a PAM line names us or a session lives, and then takes everything away", async () => {
    const refused = await lab.run("authnft uninstall");
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain("/etc/pam.d/sshd");

    const alice = lab.sshStart("alice", "echo in; cat");
    await alice.expect(/^in$/m);
    await lab.pam("sshd", null);
    const living = await lab.run("authnft uninstall");
    expect(living.code).toBe(1);
    expect(living.stderr).toContain("authnft-alice-");
    await alice.kill();
    await nothingLeft();

    expect((await lab.run("authnft uninstall")).code).toBe(0);
    const left = await lab.output(
      "ls -d /usr/lib/authnft /usr/libexec/authnft /usr/sbin/authnft /usr/lib/*/security/pam_authnft.so /usr/lib/systemd/system/authnft* 2>/dev/null; :",
    );
    expect(left).toBe("");
    expect(await lab.ruleset()).toBe("");
    expect(await lab.output("cat /etc/authnft/users/alice")).toContain("10.88.0.2"); // a policy is the administrator's
    await lab.install();
  });

  test("help and version are there for people, and wrong usage is told apart", async () => {
    expect((await lab.run("authnft --version")).stdout).toMatch(/^authnft \d+\.\d+\.\d+\n$/);
    for (const verb of ["", "install", "uninstall", "doctor"]) {
      const { code, stdout } = await lab.run(`authnft ${verb} --help`);
      expect({ verb, code }).toEqual({ verb, code: 0 });
      expect(stdout).toContain("Usage:");
    }
    for (const wrong of ["nonsense", "doctor --nonsense", "end", "end nonsense"]) {
      const { code, stderr } = await lab.run(`authnft ${wrong}`);
      expect({ wrong, code }).toEqual({ wrong, code: 2 });
      expect(stderr).not.toBe("");
    }
  });
});

viaBoth("sessions one after another", (via) => {
  beforeAll(async () => {
    await lab.reset();
    await lab.pam("lab", { through: via, args: ["debug"] });
    await lab.fragment("alice", ONLY_FIRST);
  });

  test("of one process get names of their own, and the journal tells each step under debug", async () => {
    const since = await lab.cursor();
    const { code } = await lab.run("pamtester lab alice open_session open_session close_session");
    expect(code).toBe(0);
    await nothingLeft();
    const told = await lab.journal({ since });
    const opened = told
      .filter((entry) => entry["AUTHNFT_EVENT"] === "open")
      .map((entry) => entry["AUTHNFT_SCOPE_UNIT"]);
    expect(opened).toHaveLength(2);
    const [first = ""] = opened;
    expect(opened[1]).toBe(first.replace(".scope", "-2.scope"));
    expect(
      told.some((entry) => entry["PRIORITY"] === "7" && entry["MESSAGE"]?.includes("commands loaded")),
    ).toBe(true);
  });

  test("the user's service manager is no session", async () => {
    const stack = await lab.output("cat /usr/lib/pam.d/systemd-user");
    await lab.write("/etc/pam.d/systemd-user", withHook(stack, { through: via, at: "end" }));
    const since = await lab.cursor();
    await lab.output("systemctl start user@$(id -u alice).service");
    await waitFor(
      async () => (await lab.output("systemctl is-active user@$(id -u alice).service")) === "active",
    );
    expect(await lab.sessions()).toEqual([]);
    await lab.output("systemctl stop user@$(id -u alice).service");
    expect(await lab.journal({ since })).toEqual([]);
    await lab.output("rm /etc/pam.d/systemd-user");
  });
});
