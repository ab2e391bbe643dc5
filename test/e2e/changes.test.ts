// SPDX-License-Identifier: GPL-2.0-or-later

// What a change is worth that cannot be made whole: rules and what is kept of them agree, and nobody else waits.

import { afterEach, beforeAll, expect, test } from "bun:test";
import { waitFor } from "../lab/lab.ts";
import { lab, nothingLeft, ONLY_FIRST, onThisRelease } from "./harness.ts";

const TRIES = "echo up; while read -r; do probe tcp 10.88.0.2 7001; probe tcp 10.88.0.3 7001; done";

/** Fills the journal's socket, from as many others as that takes: one may not have more than so much on its way. Says how many. */
const FILL = `
import socket
senders = 0
while senders < 1000:
  s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
  s.setblocking(False)
  n = 0
  try:
    while True:
      s.sendto(b"MESSAGE=filler\\n", "/run/systemd/journal/socket")
      n += 1
  except BlockingIOError:
    if n == 0: break
  senders += 1
print(senders)
`;

onThisRelease("A change", () => {
  beforeAll(async () => {
    await lab.reset();
    await lab.pam("sshd", { through: "shim" });
    for (const user of ["alice", "bob", "m0", "m1", "m2", "m3"]) await lab.fragment(user, ONLY_FIRST);
  });
  afterEach(async () => {
    await nothingLeft();
  });

  test("waits for no journal that hangs: a dozen sessions open and close meanwhile", async () => {
    await lab.pam("lab", { through: "shim" });
    const journald = await lab.output("pidof systemd-journald");
    await lab.output(["kill", "-STOP", journald]);
    try {
      expect(Number(await lab.output(["python3", "-c", FILL]))).toBeLessThan(1000);
      const users = ["alice", "bob", "m0", "m1", "m2", "m3"];
      const sessions = [...users, ...users].map((user) =>
        lab.run(["pamtester", "lab", user, "open_session", "close_session"]),
      );
      expect((await Promise.all(sessions)).map(({ code }) => code)).toEqual(sessions.map(() => 0));
    } finally {
      await lab.output(["kill", "-CONT", journald]);
    }
  });

  test("of a session's rules that cannot be kept is none: what was in force stays, in the table and on disk", async () => {
    await using alice = lab.sshStart("alice", TRIES);
    await alice.expect(/up\n/);
    const state = async () => [await lab.ruleset(), await lab.sessions()];
    const before = await state();
    await lab.fragment("alice", "add rule inet authnft egress accept\n");
    const kept = "/run/authnft/policy";
    await lab.output(`mount --bind ${kept} ${kept} && mount -o remount,bind,ro ${kept}`);
    try {
      const { code, stderr } = await lab.run("authnft reload alice");
      expect(code).toBe(1);
      expect(stderr).toMatch(
        /keeps the rules that it has: Cannot write the rules of policy_\w+ .* mounted read-only/,
      );
      expect(await state()).toEqual(before);
      alice.write("\n");
      await alice.expect(/^ok\nrefused\n/m);
    } finally {
      await lab.output(`umount ${kept}`);
    }
    await lab.output("authnft reload alice");
    alice.write("\n");
    await alice.expect(/^ok\nok\n/m);
    alice.end();
    await alice.exited;
    await lab.fragment("alice", ONLY_FIRST);
  });

  test("to give what was left its rules back opens nothing where it fails, though its user is logged in", async () => {
    await lab.pam("sshd", { through: "shim", args: ["scope=session"] });
    await lab.write(
      "/usr/local/bin/tries",
      "#!/bin/bash\nwhile sleep 0.2; do echo $(probe tcp 10.88.0.2 7001) >>/tmp/tries; done\n",
      {
        mode: "0755",
      },
    );
    await lab.ssh("alice", "setsid nohup tries >/dev/null 2>&1 </dev/null & cat /proc/$!/cgroup");
    const left = await waitFor(async () => (await lab.sessions()).find(({ state }) => state === "lingering"));
    await using other = lab.sshStart("alice", TRIES);
    await other.expect(/up\n/);
    const closed = `/run/authnft/policy/${left.scope_unit}.closed`;
    const rules = await lab.output(["cat", closed]);
    const seen = async () => (await lab.output("rm -f /tmp/tries; sleep 1; cat /tmp/tries")).split("\n");
    expect(await seen()).not.toContain("ok");

    await lab.output(
      `sed -i '$i add rule inet authnft session_alice_${left.pid}_out meta skuid nobody-of-that-name accept' ${closed}`,
    );
    const refused = await lab.run(["authnft", "release", left.scope_unit]);
    expect(refused.code).toBe(1);
    expect(await seen()).not.toContain("ok");
    expect((await lab.sessions()).find(({ scope_unit }) => scope_unit === left.scope_unit)).toEqual(left);
    expect(await lab.output(["cat", closed])).toStartWith(rules.replace(/# end$/, ""));

    await lab.write(closed, `${rules}\n`, { mode: "0600" });
    await lab.output(["authnft", "release", left.scope_unit]);
    await waitFor(async () => (await seen()).includes("ok"));
    // As a login's elements are written.
    const map = await lab.output("nft --stateless list map inet authnft session_out");
    expect(map).toContain(
      `${left.scope_unit}" counter comment "alice (PID:${left.pid})" : jump session_alice_${left.pid}_out`,
    );
    await lab.output(["systemctl", "kill", "--signal=KILL", left.scope_unit]);
    other.end();
    await other.exited;
  });

  test("by an administrator's verb is made with few rights, in a shell that may gain none, too, and at the start of a manager", async () => {
    const entry = "/usr/libexec/authnft";
    await lab.output(
      `mv ${entry} ${entry}-real; printf '#!/bin/sh\\necho "$*" >>/run/came\\nexec ${entry}-real "$@"\\n' >${entry}; chmod 755 ${entry}`,
    );
    try {
      const came = async (command: string) => {
        await lab.output(`rm -f /run/came; ${command}`);
        return (await lab.output("cat /run/came || true")).split("\n");
      };
      expect(await came("authnft restore")).toEqual(["restore"]);
      expect(await came("setpriv --no-new-privs authnft restore")).toEqual(["restore"]);
      expect(await came(`${entry} cover 1000`)).toEqual(["cover 1000", "cover-users 1000"]);
    } finally {
      await lab.output(`mv ${entry}-real ${entry}`);
    }
  });

  test("of the policy of one whom nobody knows any more is none", async () => {
    await lab.output("useradd --no-create-home --groups authnft passing");
    await lab.write("/etc/authnft/default", "add rule inet authnft egress accept\n");
    await lab.output("groupadd web && usermod --append --groups web passing");
    await lab.write("/etc/authnft/groups/web", ONLY_FIRST);
    await lab.pam("su", { through: "shim" });
    await using session = lab.start("su passing -c 'echo up; sleep 60'");
    await session.expect(/up\n/);
    const open = await lab.sessions();
    const entry = await lab.output("grep ^passing: /etc/passwd");
    await lab.output("sed -i /^passing:/d /etc/passwd");
    try {
      const { code, stderr } = await lab.run("authnft reload --all");
      expect({ code, stderr }).toEqual({
        code: 1,
        stderr: expect.stringContaining(
          "keeps the rules that it has: Cannot tell which fragment holds for passing",
        ),
      });
      expect(await lab.sessions()).toEqual(open);
    } finally {
      await lab.output(`echo '${entry}' >>/etc/passwd; rm /etc/authnft/default /etc/authnft/groups/web`);
      await lab.output("systemctl kill --signal=KILL 'authnft-passing-*.scope'");
      await session.exited;
      await lab.output("userdel passing; groupdel web; true");
      await lab.pam("su", null);
    }
  });
});
