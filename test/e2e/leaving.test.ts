// SPDX-License-Identifier: GPL-2.0-or-later

// Out of the group and in again, while a user's manager runs and sessions are open.

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { type Running, waitFor } from "../lab/lab.ts";
import { lab, nothingLeft, ONLY_FIRST, onThisRelease } from "./harness.ts";

const REACH = 'echo "$(probe tcp 10.88.0.2 7001 --timeout 2) $(probe tcp 10.88.0.3 7001 --timeout 2)"';
const FREE = "ok ok";
const FILTERED = "ok refused";
const CLOSED = /^(refused|eperm|unreachable) (refused|eperm|unreachable)$/;

/** Several ways out that nothing of ours is to judge any more: of these the seal would stop the first. */
const MULTICAST = `python3 -c '
import socket
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("", 4567))
receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("239.1.2.3") + socket.inet_aton("10.88.0.1"))
receiver.settimeout(1)
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.88.0.1"))
sender.sendto(b"x", ("239.1.2.3", 4567))
print(receiver.recv(9))' 2>&1 | tail -n 1`;

const reach = async (user = "alice") => (await lab.ssh(user, REACH)).stdout.trim();

const manager = async () =>
  (
    await lab.run(
      `setpriv --reuid=1000 --regid=1000 --clear-groups env XDG_RUNTIME_DIR=/run/user/1000 systemd-run --user --wait --pipe --quiet sh -c '${REACH}'`,
    )
  ).stdout.trim();

const out = async () => await lab.output("gpasswd -d alice authnft");
const into = async () => await lab.output("gpasswd -a alice authnft");

async function stay(): Promise<Running> {
  const session = lab.sshStart("alice", 'echo here; while read -r command; do eval "$command"; done');
  await session.expect(/^here$/m);
  return session;
}

async function reachIn(session: Running): Promise<string> {
  session.write(`echo "<$(${REACH})>"\n`);
  const [, said = ""] = await session.expect(/<(.*)>/, { timeoutMs: 10_000 });
  return said;
}

async function leave(session: Running): Promise<void> {
  session.end();
  await session.exited;
}

type Row = { check: string; level: string; what: string; mend?: string };

const covers = async () => {
  const { stdout } = await lab.run("authnft doctor --json");
  const { findings } = JSON.parse(stdout) as { findings: Row[] };
  return findings.filter(({ check }) => check === "covers");
};

onThisRelease("who leaves the group", () => {
  beforeAll(async () => {
    await lab.reset();
  });
  beforeEach(async () => {
    await lab.pam("sshd", { through: "shim" });
    await lab.fragment("alice", ONLY_FIRST);
  });
  afterEach(async () => {
    await lab.run("gpasswd -a alice authnft; loginctl disable-linger alice");
    await nothingLeft();
    await lab.reset();
  });
  afterAll(async () => {
    await lab.reset();
  });

  test("and lingers is free from the next login on after one command, and filtered after another when in again", async () => {
    await lab.output("loginctl enable-linger alice");
    await waitFor(async () => (await lab.run("systemctl is-active user@1000")).code === 0);
    expect(await manager()).toMatch(CLOSED);
    expect(await reach()).toBe(FILTERED);
    await nothingLeft();
    await out();
    expect(await reach()).toMatch(CLOSED);
    expect(await covers()).toEqual([
      expect.objectContaining({
        level: "warn",
        what: "The slice of alice is closed, who is no member of group authnft.",
        mend: "authnft reload alice",
      }),
    ]);
    expect(await lab.output("authnft reload alice")).toBe(
      "user.slice/user-1000.slice: open, since alice is no member any more",
    );
    const free = async () => {
      expect(await reach()).toBe(FREE);
      expect(await manager()).toBe(FREE);
      expect((await lab.ssh("alice", MULTICAST)).stdout.trim()).toBe("b'x'");
    };
    await free();
    expect((await covers()).map(({ level }) => level)).toEqual(["ok"]);
    await lab.output("authnft restore; systemctl reload authnft.service");
    await free();
    await lab.output("nft flush ruleset; authnft restore");
    await free();

    await into();
    expect((await covers()).map(({ level, mend }) => [level, mend])).toEqual([
      ["fail", "authnft reload alice"],
    ]);
    expect(await lab.output("authnft reload --all")).toContain("alice is a member now");
    expect(await manager()).toMatch(CLOSED);
    expect((await covers()).map(({ level }) => level)).toEqual(["ok"]);
    expect(await reach()).toBe(FILTERED);
    expect(await manager()).toMatch(CLOSED);
    expect((await lab.ssh("alice", MULTICAST)).stdout.trim()).not.toBe("b'x'");
  }, 60_000);

  test("keeps the rules of a session that is open until it ends, while the next login is free, and stays so", async () => {
    const old = await stay();
    await out();
    expect(await reachIn(old)).toBe(FILTERED);
    const { code, stdout } = await lab.run("authnft reload --all");
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: expect.stringMatching(/keeps its rules until it ends[\s\S]*open, since/),
    });
    expect(await reachIn(old)).toBe(FILTERED);
    const next = await stay();
    expect(await reachIn(next)).toBe(FREE);
    next.write("exec 3<>/dev/tcp/10.88.0.3/7001; echo connected\n");
    await next.expect(/^connected$/m);
    await leave(old);
    await nothingLeft();
    // What the new one has open is not cut off with the old session.
    next.write('echo hello >&3 && read -r -t 2 answer <&3; echo "answer: $answer"\n');
    await next.expect(/^answer: .+$/m);
    expect(await reachIn(next)).toBe(FREE);
    await leave(next);
  }, 60_000);

  test("with a session in the slice itself is told what is waited for, and is free when that has ended", async () => {
    await lab.pam("sshd", { through: "shim", args: ["scope=session"] });
    await lab.output("loginctl enable-linger alice");
    const old = await stay();
    const scope = (await lab.sessions())[0]?.scope_unit ?? "";
    await out();
    const { code, stderr } = await lab.run("authnft reload alice");
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringContaining(`until ${scope} in it has ended`),
    });
    expect(await reachIn(old)).toBe(FILTERED);
    await leave(old);
    await nothingLeft();
    await lab.output("authnft reload alice");
    expect(await reach()).toBe(FREE);
  }, 60_000);

  test("as far as one can see, while a source of the name service is down, stays closed", async () => {
    const before = await lab.output("cat /etc/nsswitch.conf");
    await lab.output("loginctl enable-linger alice");
    await waitFor(async () => (await lab.run("systemctl is-active user@1000")).code === 0);
    await out();
    try {
      for (const [database, source] of [
        ["group", "nonesuch"],
        ["passwd", "nonesuch"],
        ["group", "extrausers"],
      ] as const) {
        await lab.output(
          `mv /var/lib/extrausers /var/lib/extrausers.away; sed -i 's/^${database}:.*/& ${source}/' /etc/nsswitch.conf`,
        );
        const { code, stderr } = await lab.run("authnft reload alice");
        expect({ code, stderr }).toEqual({
          code: 1,
          stderr: expect.stringContaining(`${source}, which /etc/nsswitch.conf names, does not answer`),
        });
        expect(await lab.output("nft list set inet authnft covered_slices")).toContain("user-1000.slice");
        // Nor is the next login that of an outsider.
        expect(await reach()).toContain("the user database does not say");
        await lab.write("/etc/nsswitch.conf", `${before}\n`);
        await lab.run("mv /var/lib/extrausers.away /var/lib/extrausers");
      }
    } finally {
      await lab.write("/etc/nsswitch.conf", `${before}\n`);
      await lab.run("mv /var/lib/extrausers.away /var/lib/extrausers");
    }
    await lab.output("authnft reload alice");
    expect(await reach()).toBe(FREE);
  }, 60_000);

  test("has the group by pam_group only, and is closed while a session of the user's is open", async () => {
    await lab.pam("sshd", { through: "shim", before: ["auth optional pam_group.so"] });
    await lab.fragment("dave", ONLY_FIRST);
    await lab.output("echo 'sshd;*;dave;Al0000-2400;authnft' >>/etc/security/group.conf");
    const slice = `user-${await lab.output("id -u dave")}.slice`;
    const isClosed = async () =>
      (await lab.output("nft list set inet authnft covered_slices")).includes(slice);
    try {
      const session = lab.sshStart("dave", "echo here; cat");
      await session.expect(/^here$/m);
      expect(await lab.output("authnft reload --all")).toContain("/etc/authnft/users/dave");
      expect(await isClosed()).toBe(true);
      await leave(session);
      await nothingLeft();
      await lab.output("authnft reload dave");
      expect(await isClosed()).toBe(false);
    } finally {
      await lab.output("rm /etc/authnft/users/dave; sed -i '/^sshd;/d' /etc/security/group.conf");
    }
  });

  test("is told to one who names nobody", async () => {
    expect((await lab.run("authnft reload nobody-of-that-name")).code).toBe(2);
    expect((await lab.run("authnft reload alice")).code).toBe(2);
  });
});
