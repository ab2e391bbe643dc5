// SPDX-License-Identifier: GPL-2.0-or-later

// Containers and hardened services as hosts: what they deny is left out and reported, or named in one sentence.

import { afterAll, describe, expect, test } from "bun:test";
import { type Lab, up, waitFor } from "../lab/lab.ts";
import { lab, nothingLeft, ONLY_FIRST, onThisRelease } from "./harness.ts";

/** One that can be reached by the fragment, and one that cannot. */
const REACH = "echo $(probe tcp 10.88.0.2 7001) $(probe tcp 10.88.0.3 7001)";

const SSH = "/run/systemd/system/ssh.service.d/hardened.conf";

/** What people write to confine sshd that costs members nothing: what can be is left behind by the helper. */
const HARMLESS = [
  "ProtectSystem=strict",
  "ProtectProc=invisible",
  "ProcSubset=pid",
  "ProtectControlGroups=yes",
  "InaccessiblePaths=/run/dbus",
  "ReadOnlyPaths=/run/authnft",
  "NoExecPaths=/usr/lib/authnft",
  "LimitNOFILE=32",
  "CapabilityBoundingSet=~CAP_SYS_RESOURCE CAP_AUDIT_WRITE CAP_AUDIT_CONTROL",
  "MemoryDenyWriteExecute=yes",
  "SystemCallFilter=~landlock_create_ruleset bpf",
  "SystemCallErrorNumber=EACCES",
];

/** What the helper cannot do without, and what is said of it: to the log at a login, and by the doctor. */
const FATAL = [
  {
    // Without namespaces it cannot enter the host's own mounts.
    line: "RestrictNamespaces=yes\nProtectSystem=strict",
    log: "in /run/authnft: it is mounted read-only: add ReadWritePaths=/run/authnft in the unit of the service",
    mend: 'add ReadWritePaths=/run/authnft to ssh.service, by "systemctl edit ssh.service"',
  },
  {
    line: "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    log: "The host denies the helper netlink sockets (socket: EAFNOSUPPORT): add RestrictAddressFamilies=AF_UNIX AF_NETLINK in the unit of the service",
    mend: 'add RestrictAddressFamilies=AF_UNIX AF_NETLINK to ssh.service, by "systemctl edit ssh.service"',
  },
  {
    line: "CapabilityBoundingSet=~CAP_NET_ADMIN",
    log: "The host denies the helper CAP_NET_ADMIN (netlink: EPERM): add CapabilityBoundingSet=CAP_NET_ADMIN in the unit of the service",
    mend: 'add CapabilityBoundingSet=CAP_NET_ADMIN to ssh.service, by "systemctl edit ssh.service"',
  },
  {
    line: "NoExecPaths=/usr/libexec/authnft",
    log: "it cannot be executed from here; see noexec mounts and NoExecPaths=",
    mend: 'systemctl show ssh.service, and see "Sandboxing" in systemd.exec(5)',
  },
];

type Finding = { check: string; level: string; what: string; mend?: string };

async function findings(guest: Lab, check: string): Promise<Finding[]> {
  // As it is run: the doctor's own place, a shell from outside, has none of what is denied.
  const { stdout } = await guest.run(["authnft", "doctor", "--json"]);
  const { findings } = JSON.parse(stdout) as { findings: Finding[] };
  return findings.filter((finding) => finding.check === check);
}

onThisRelease("a hardened sshd", () => {
  const harden = async (lines: readonly string[]): Promise<void> => {
    await lab.output("mkdir -p /run/systemd/system/ssh.service.d");
    await lab.write(SSH, `[Service]\n${lines.join("\n")}\n`);
    await lab.output("systemctl daemon-reload; systemctl reset-failed ssh; systemctl restart ssh");
  };
  afterAll(async () => {
    await lab.output(
      "rm -r /run/systemd/system/ssh.service.d; systemctl daemon-reload; systemctl restart ssh",
    );
    await lab.reset();
  });

  test("what is only denied to the service costs members nothing, and what the helper needs is named with the line that gives it", async () => {
    await lab.pam("sshd", { through: "shim" });
    await lab.fragment("alice", ONLY_FIRST);
    await harden(HARMLESS);
    expect((await lab.ssh("alice", REACH)).stdout.trim()).toBe("ok refused");
    expect(await findings(lab, "logins")).toMatchObject([
      { level: "warn", what: "ssh.service: it denies the helper bpf(2) (bpf get: EACCES)." },
    ]);
    for (const { line, log, mend } of FATAL) {
      await harden([line]);
      const since = await lab.cursor();
      expect((await lab.ssh("alice", REACH)).code, line).not.toBe(0);
      expect((await lab.ssh("dave", REACH)).stdout.trim(), line).toBe("ok ok");
      const told = (await lab.journal({ since, match: {} })).map(({ MESSAGE }) => MESSAGE ?? "");
      expect(
        told.some((message) => message.includes(log)),
        line,
      ).toBe(true);
      // No stack, and nothing of the runtime's own.
      expect(
        told.filter((message) => /\bat .*\(\/\$bunfs|Bun has crashed|SystemError/.test(message)),
      ).toEqual([]);
      expect(await findings(lab, "logins"), line).toMatchObject([{ level: "fail", mend }]);
    }
    await nothingLeft();
  }, 60_000);

  test("a unit of ours without /proc says so in one sentence", async () => {
    const dropin = "/run/systemd/system/authnft.service.d";
    await lab.output(
      `mkdir ${dropin}; printf '[Service]\\nTemporaryFileSystem=/proc\\n' >${dropin}/x.conf; systemctl daemon-reload`,
    );
    try {
      const [found] = await findings(lab, "confinement");
      expect(found?.what).toStartWith(
        "The helper does not run as in authnft.service: There is no /proc here:",
      );
      const since = await lab.cursor();
      expect((await lab.run("systemctl restart authnft")).code).toBe(1);
      const told = (await lab.journal({ since })).map(({ MESSAGE }) => MESSAGE ?? "");
      expect(told.some((message) => message.startsWith("There is no /proc here: nothing is done."))).toBe(
        true,
      );
      expect(told.join("\n")).not.toContain("Bun");
    } finally {
      await lab.output(`rm -r ${dropin}; systemctl daemon-reload; systemctl restart authnft`);
    }
  });
});

/** A guest with nspawn's own system call filter; each test of it goes on where the one before ended. */
for (const { what, container, mend } of [
  { what: "a stock container of systemd-nspawn", container: [], mend: "SystemCallFilter=bpf" },
  {
    what: "a stock container in a user namespace",
    container: ["--private-users=identity"],
    mend: "in a user namespace the kernel has none for us",
  },
])
  describe(`${what} (${lab.release})`, () => {
    test("sessions are filtered without an extra line, and each layer that is denied is a row of its own", async () => {
      await using stock = await up({ release: lab.release, container });
      // The control: this guest's services do have a filter.
      const denied = "systemd-run --quiet --wait --pipe --collect keyctl show @u";
      expect((await stock.run(denied)).code).not.toBe(0);
      await stock.install();
      await stock.pam("sshd", { through: "shim" });
      await stock.fragment("alice", ONLY_FIRST);
      expect((await stock.ssh("alice", REACH)).stdout.trim()).toBe("ok refused");
      await using session = stock.sshStart("alice", null);
      await waitFor(async () => (await stock.sessions()).length === 1);
      await stock.output("nft flush ruleset; authnft restore");
      expect((await stock.ssh("alice", REACH)).stdout.trim()).toBe("ok refused");
      session.end();
      await session.exited;

      const rows = await findings(stock, "confinement");
      expect(rows.map(({ level, what }) => `${level}: ${what.split(/[:.;] /)[0]}`)).toEqual([
        "warn: The host denies Landlock (EPERM)",
        "ok: The helper keeps CAP_NET_ADMIN and CAP_AUDIT_WRITE, and no other capability.",
        "ok: The helper sees the processes that log in.",
        "warn: The host denies the kernel's keyrings (keyctl",
        "warn: The host denies the audit trail (socket",
      ]);
      expect(rows[0]?.mend).toContain("SystemCallFilter=landlock_create_ruleset");
      const [seal] = await findings(stock, "seal");
      expect(seal).toMatchObject({
        level: "warn",
        what: "This host has no seal below the ruleset: bpf query: EPERM.",
      });
      expect(seal?.mend).toContain(mend);
      expect(await findings(stock, "logins")).toMatchObject([{ level: "ok" }]);

      const trace = await stock.run("systemd-run --quiet --wait --pipe --collect authnft --trace");
      expect(trace.code).toBe(1);
      expect(trace.stderr).toStartWith("Cannot trace the helper: this host does not let one process decide");
      expect(trace.stderr.trim().split("\n").length).toBe(1);
    }, 60_000);
  });

onThisRelease("authnft.service fails at boot", () => {
  test("members are closed whatever they come by, root and others are not, and a restart mends it", async () => {
    // Its second user lingers; the manager of each tries the network as the first thing it does.
    await using broken = await up({ release: lab.release, container: [] });
    await broken.install();
    await broken.pam("sshd", { through: "shim" });
    await broken.fragment("alice", ONLY_FIRST);
    await broken.output(
      `loginctl enable-linger bob; loginctl enable-linger dave; mkdir -p /etc/systemd/user
printf '[Service]\\nType=oneshot\\nExecStart=-/bin/sh -c "probe tcp 10.88.0.2 7001 >/home/%%u/seen 2>&1"\\n[Install]\\nWantedBy=default.target\\n' >/etc/systemd/user/seen.service
systemctl --global enable seen.service; chmod 0 /usr/lib/authnft/authnft`,
    );
    await broken.reboot("degraded");
    const seen = (user: string) =>
      broken.run(
        `id=$(id -u ${user}); timeout 10 sh -c "until [ -s /home/${user}/seen ]; do sleep 0.1; done"; cat /home/${user}/seen`,
      );
    expect((await broken.run("systemctl is-active authnft.service")).stdout.trim()).toBe("failed");
    expect((await seen("dave")).stdout.trim()).toBe("ok");
    expect((await seen("bob")).stdout.trim()).not.toBe("ok");
    for (const [user, reach] of [
      ["alice", ""],
      ["bob", ""],
      ["dave", "ok"],
      ["root", "ok"],
    ] as const) {
      const { stdout } = await broken.ssh(user, "probe tcp 10.88.0.2 7001");
      if (reach === "") expect(stdout, user).toContain("Your session was refused");
      else expect(stdout.trim(), user).toBe(reach);
    }
    // By a service without our line the session is there.
    expect(await broken.ruleset()).toContain("last_resort");
    await broken.pam("sshd", null);
    for (const [user, reach] of [
      ["alice", "closed"],
      ["bob", "closed"],
      ["dave", "ok"],
    ] as const) {
      const { code, stdout } = await broken.ssh(user, "probe tcp 10.88.0.2 7001; true");
      expect(code, user).toBe(0);
      expect(stdout.trim() === "ok" ? "ok" : "closed", user).toBe(reach);
    }

    await broken.output("chmod 755 /usr/lib/authnft/authnft; systemctl restart authnft.service");
    expect(await broken.ruleset()).not.toContain("last_resort");
    expect((await broken.ssh("bob", "probe tcp 10.88.0.2 7001; true")).stdout.trim()).not.toBe("ok");
    await broken.pam("sshd", { through: "shim" });
    expect((await broken.ssh("alice", REACH)).stdout.trim()).toBe("ok refused");
  }, 60_000);
});
