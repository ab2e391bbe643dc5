// SPDX-License-Identifier: GPL-2.0-or-later

// What else stands in a host's way in: programs of root's in the stack, servers that ask no PAM, very many members.

import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { waitFor } from "../lab/lab.ts";
import { lab, nothingLeft, ONLY_FIRST, onThisRelease } from "./harness.ts";

const REACH = 'echo "$(probe tcp 10.88.0.2 7001 --timeout 2) $(probe tcp 10.88.0.3 7001 --timeout 2)"';

type Row = { check: string; level: string; what: string; mend?: string };

const rows = async (check: string) => {
  const { stdout } = await lab.run("authnft doctor --json");
  return (JSON.parse(stdout) as { findings: Row[] }).findings.filter((row) => row.check === check);
};

onThisRelease("beside us", () => {
  beforeAll(async () => {
    await lab.reset();
  });
  beforeEach(async () => {
    await lab.fragment("alice", ONLY_FIRST);
    await lab.pam("sshd", { through: "shim" });
  });
  afterAll(async () => {
    await lab.reset();
  });

  test("a program of root's in the stack has the session's network, and what the doctor advises has root's", async () => {
    await lab.write(
      "/usr/local/bin/alert",
      `#!/bin/sh\necho "$PAM_TYPE $PAM_USER $PAM_SERVICE $PAM_RHOST $(probe tcp 10.88.0.3 7001 --timeout 2)" >>/run/alerts\n`,
      { mode: "0755" },
    );
    const alerts = async (line: string) => {
      await lab.output("rm -f /run/alerts");
      await lab.pam("sshd", { through: "shim", after: [line] });
      await lab.ssh("alice", "true");
      await nothingLeft();
      return (await lab.output("cat /run/alerts")).split("\n");
    };
    const line = "session optional pam_exec.so quiet /usr/local/bin/alert";
    expect(await alerts(line)).toEqual([
      "open_session alice sshd 10.77.0.2 refused",
      expect.stringMatching(/^close_session alice sshd 10\.77\.0\.2 (refused|eperm|unreachable)$/),
    ]);
    const [warning] = (await rows("pam")).filter(({ what }) => what.includes("/usr/local/bin/alert"));
    expect(warning?.what).toContain("inside a member's session, when that opens and closes.");
    const advised = warning?.mend?.replace(/^.*: write /, "") ?? "";
    expect(await alerts(advised)).toEqual([
      "open_session alice sshd 10.77.0.2 ok",
      "close_session alice sshd 10.77.0.2 ok",
    ]);
    expect((await rows("pam")).filter(({ what }) => what.includes("inside"))).toEqual([]);
    // It is for everybody's logins.
    await lab.output("rm /run/alerts");
    await lab.ssh("dave", "true");
    await waitFor(async () => (await lab.output("cat /run/alerts")).includes("close_session dave"));
    await lab.output("rm /run/alerts /usr/local/bin/alert");
  });

  test("a second factor that lets pass when nobody answers lets a member have root, and as the doctor advises it does not", async () => {
    await lab.write(
      "/usr/local/bin/ask",
      "#!/bin/sh\ncase $(probe tcp 10.88.0.3 7001 --timeout 2) in ok) exit 1 ;; *) exit 0 ;; esac\n",
      { mode: "0755" },
    );
    await lab.write("/etc/sudoers.d/lab", "alice, dave ALL=(ALL) NOPASSWD: ALL\n", { mode: "0440" });
    const risen = async (line: string) => {
      await lab.write("/etc/pam.d/sudo", `${line}\nsession required pam_permit.so\n`);
      const whoami = async (user: string) => (await lab.ssh(user, "sudo -n id -un")).stdout.trim();
      return [await whoami("dave"), await whoami("alice")];
    };
    const asked = async () => (await rows("pam")).filter(({ what }) => what.includes("/usr/local/bin/ask"));
    try {
      expect(await risen("account required pam_exec.so quiet /usr/local/bin/ask")).toEqual(["", "root"]);
      const [warning] = await asked();
      expect(warning?.what).toStartWith("sudo: /etc/pam.d/sudo:1 has ");
      expect(await risen(warning?.mend?.replace(/^.*: write /, "") ?? "")).toEqual(["", ""]);
      expect(await asked()).toEqual([]);
      await lab.write("/usr/local/bin/ask", "#!/bin/sh\n", { mode: "0755" });
      expect(await risen(warning?.mend?.replace(/^.*: write /, "") ?? "")).toEqual(["root", "root"]);
    } finally {
      await lab.output("rm -f /usr/local/bin/ask /etc/sudoers.d/lab");
      await lab.pam("sudo", null);
    }
  });

  test("a module that puts logins into another network frees members or keeps them out, which the doctor says, and can spare them", async () => {
    // A network of alice's, in which the address that her policy forbids is somebody's.
    await lab.output(`
      groupadd usernet; usermod --append --groups usernet alice; ip netns add alice
      ip -n alice link set lo up; ip -n alice address add 10.88.0.3 dev lo`);
    const server = lab.start("exec nsenter --net=/run/netns/alice socat TCP-LISTEN:7001,fork,reuseaddr PIPE");
    const usernet = "session optional pam_usernet.so";
    const reach = async () => (await lab.ssh("alice", "probe tcp 10.88.0.3 7001 --timeout 2")).stdout.trim();
    const failures = async () =>
      (await rows("pam")).filter(({ what }) => what.includes("another network namespace"));
    try {
      await lab.pam("sshd", { through: "shim", after: [usernet] });
      await waitFor(async () => (await reach()) === "ok");
      const [failure] = await failures();
      expect(failure).toMatchObject({ level: "fail", what: expect.stringContaining("a member's session") });
      await lab.pam("sshd", { through: "shim", before: [usernet] });
      expect(await reach()).toStartWith("authnft: no session for alice.");
      expect(await failures()).toHaveLength(1);
      const guard = failure?.mend?.split("\n")[1] ?? "";
      await lab.pam("sshd", { through: "shim", after: [guard, usernet] });
      expect(await reach()).toBe("refused");
      expect(await failures()).toEqual([]);
    } finally {
      await server.kill();
      await lab.output(
        "ip netns delete alice; cd /usr/local/lib/lab/pristine/etc && cp -a group gshadow /etc",
      );
    }
  });

  test("the host's nat on output: rules see the address that it makes, and answers arrive", async () => {
    const nat = (family: string, to: string, there: string) =>
      `table ${family} lab-nat {\n chain output {\n type nat hook output priority -100;\n${["tcp", "udp"].map((kind) => ` ${family} daddr ${to} ${kind} dport 80 dnat to ${there}:7001\n`).join("")} }\n}\n`;
    await lab.output(["nft", "-f", "-"], {
      input: nat("ip", "10.88.0.9", "10.88.0.2") + nat("ip6", "fd88::9", "[fd88::2]"),
    });
    const call =
      "for to in 10.88.0.9 fd88::9; do for kind in tcp udp; do probe $kind $to 80 --timeout 2; done; done";
    const end =
      "add rule inet authnft egress meta l4proto tcp reject with tcp reset\nadd rule inet authnft egress reject\n";
    const permit = (...addresses: string[]) =>
      `${addresses.map((to) => `add rule inet authnft egress ${to.includes(":") ? "ip6" : "ip"} daddr ${to} accept\n`).join("")}${end}`;
    try {
      expect((await lab.ssh("dave", call)).stdout).toBe("ok\nok\nok\nok\n");
      for (const scope of ["own", "session"]) {
        await lab.pam("sshd", { through: "shim", args: [`scope=${scope}`] });
        await lab.fragment("alice", permit("10.88.0.2", "fd88::2"));
        expect((await lab.ssh("alice", call)).stdout, scope).toBe("ok\nok\nok\nok\n");
      }
      await lab.fragment("alice", permit("10.88.0.9", "fd88::9"));
      expect((await lab.ssh("alice", call, { timeoutMs: 20_000 })).stdout).not.toContain("ok");
    } finally {
      await lab.output("nft delete table ip lab-nat; nft delete table ip6 lab-nat");
    }
  });

  test("a server with few descriptors lets a user outside the group in, and a member under the policy", async () => {
    // The hard limit stays: a guest has no CAP_SYS_RESOURCE, by which the module raises that as well.
    await lab.write("/run/systemd/system/ssh.service.d/limit.conf", "[Service]\nLimitNOFILE=20:20000\n");
    await lab.output("systemctl daemon-reload; systemctl restart ssh");
    try {
      expect((await lab.ssh("alice", REACH)).stdout.trim()).toBe("ok refused");
      expect((await lab.ssh("dave", REACH)).stdout.trim()).toBe("ok ok");
    } finally {
      await lab.output(
        "rm -r /run/systemd/system/ssh.service.d; systemctl daemon-reload; systemctl reset-failed ssh; systemctl restart ssh",
      );
    }
  });

  test("dropbear asks no PAM: its members are unfiltered, and the doctor says so", async () => {
    expect(await rows("servers")).toEqual([]);
    await lab.output("mkdir -p /etc/dropbear");
    const server = lab.start("exec dropbear -R -F -E -p 10.77.0.1:2022");
    try {
      await waitFor(
        async () => (await lab.ssh("alice", REACH, { args: ["-p", "2022"] })).stdout.trim() === "ok ok",
      );
      expect(await rows("servers")).toEqual([
        expect.objectContaining({ level: "warn", what: "dropbear lets users log in without PAM." }),
      ]);
    } finally {
      await server.kill();
    }
    expect(await rows("servers")).toEqual([]);
  });

  test("a host of five thousand members is told in lines that one can read", async () => {
    await lab.output(`
      seq 5000 | awk '{ printf "x%d:x:%d:100::/:/bin/sh\\n", $1, 20000 + $1 }' >>/etc/passwd
      sed -i "s/^authnft:.*/&,$(seq 5000 | sed 's/^/x/' | paste -sd,)/" /etc/group
      for i in $(seq 60); do echo bogus >/etc/authnft/users/x$i; echo >/etc/authnft/users/y$i; echo >/etc/authnft/groups/z$i; done`);
    try {
      const { stdout } = await lab.run("COLUMNS=100 authnft doctor", { timeoutMs: 60_000 });
      expect(stdout).toContain("Members without a fragment: ");
      const lines = stdout.split("\n");
      expect(Math.max(...lines.map(({ length }) => length))).toBeLessThan(300);
      expect(lines.length).toBeLessThan(250);
    } finally {
      await lab.output(`
        cd /usr/local/lib/lab/pristine/etc && cp -a passwd group /etc
        rm /etc/authnft/users/[xy]* /etc/authnft/groups/z*`);
    }
  }, 90_000);
});
