// SPDX-License-Identifier: GPL-2.0-or-later

// What could open, or close, more than it should: thousands of slices, policies that no longer load, managers that are made
// to fail, hosts that translate addresses, programs that break at the wrong moment.

import { afterEach, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { passwordOf, type Running, waitFor } from "../lab/lab.ts";
import { lab, nothingLeft, ONLY_FIRST, onThisRelease } from "./harness.ts";

const REACH = 'echo "$(probe tcp 10.88.0.2 7001 --timeout 2) $(probe tcp 10.88.0.3 7001 --timeout 2)"';

/** Logs in for as long as the object lives; it says what it reaches each time it is asked. */
async function stay(user: string): Promise<Running> {
  const session = lab.sshStart(user, `echo ready; while read -r _; do ${REACH}; done`);
  await session.expect(/^ready$/m);
  return session;
}

async function asked(session: Running): Promise<string> {
  session.write("\n");
  const [said] = await session.expect(/^(?:ok|refused|unreachable|eperm|timeout) \w+$/m);
  return said;
}

/** What the user's service manager reaches. */
const managers = async (user: string) =>
  (await lab.run(`systemd-run --user -M ${user}@ --wait --pipe --quiet sh -c '${REACH}'`)).stdout.trim();

const restartFirewall = "systemctl restart nftables";

onThisRelease("on a host that is not kind", () => {
  beforeAll(async () => {
    await lab.reset();
    await lab.pam("sshd", { through: "shim" });
    for (const user of ["alice", "bob", "m0"]) await lab.fragment(user, ONLY_FIRST);
    await lab.output("systemctl start nftables");
  });
  afterEach(async () => {
    await lab.fragment("alice", ONLY_FIRST);
    await nothingLeft();
  });

  test("a policy that no longer loads costs its session the network, and nobody else anything", async () => {
    await lab.output("ip link add tun9 type veth peer name tun8 && ip link set tun9 up");
    await lab.fragment("alice", `add rule inet authnft egress oif tun9 accept\n${ONLY_FIRST}`);
    await using alice = await stay("alice");
    await using bob = await stay("bob");
    expect([await asked(alice), await asked(bob)]).toEqual(["ok refused", "ok refused"]);
    await lab.output("ip link del tun9");
    for (const command of [restartFirewall, "nft flush ruleset; authnft restore"]) {
      await lab.output(command);
      expect(await asked(bob)).toBe("ok refused");
      expect(await managers("bob")).toBe("ok refused");
      for (const reached of [await asked(alice), await managers("alice")])
        expect(reached).toMatch(/^(refused|unreachable) (refused|unreachable)$/);
    }
    for (const session of [alice, bob]) {
      session.end();
      await session.exited;
    }
  });

  test("twelve policies that no longer load cost as many sessions the network, and nobody else anything", async () => {
    await lab.output("ip link add tun9 type veth peer name tun8 && ip link set tun9 up");
    await lab.fragment("m0", `add rule inet authnft egress oif tun9 accept\n${ONLY_FIRST}`);
    const broken = await Promise.all(Array.from({ length: 12 }, () => stay("m0")));
    await using bob = await stay("bob");
    await lab.output("ip link del tun9");
    for (const command of ["authnft restore", restartFirewall]) {
      await lab.output(command);
      expect([await asked(bob), await managers("bob")]).toEqual(["ok refused", "ok refused"]);
      for (const session of [broken.at(0), broken.at(-1)])
        if (session) expect(await asked(session)).toMatch(/^(refused|unreachable) (refused|unreachable)$/);
    }
    await lab.fragment("m0", ONLY_FIRST);
    for (const session of [...broken, bob]) {
      session.end();
      await session.exited;
    }
  }, 60_000);

  test("a refused change of a fragment leaves nothing behind that a later reload of the firewall would stumble over", async () => {
    await using alice = await stay("alice");
    await lab.fragment("alice", "add rule inet authnft egress oif nowhere9 accept\n");
    expect((await lab.ssh("alice", "true")).code).toBe(254);
    await lab.output(
      "nft flush ruleset; nft -f /run/authnft/ruleset.nft && nft -f /run/authnft/sessions.nft",
    );
    expect([await asked(alice), await managers("alice")]).toEqual(["ok refused", "ok refused"]);
    alice.end();
    await alice.exited;
  });

  test("policies of more than two megabytes are brought back, and a mistake in one is found", async () => {
    const many = Array.from(
      { length: 900 },
      (_, n) =>
        `add rule inet authnft egress tcp dport ${10000 + n} counter accept comment "${"x".repeat(120)}"\n`,
    ).join("");
    await lab.fragment("alice", `${many}${ONLY_FIRST}`);
    const others = await Promise.all(Array.from({ length: 9 }, () => stay("alice")));
    await using alice = await stay("alice");
    expect(Number(await lab.output("cat /run/authnft/policy/*.nft | wc -c"))).toBeGreaterThan(2 << 20);
    await lab.output(restartFirewall);
    expect([await asked(alice), await managers("alice")]).toEqual(["ok refused", "ok refused"]);
    // With a mistake among them libnftables is asked again from a file, to tell the line.
    const units = (await lab.sessions()).map(({ scope_unit }) => scope_unit);
    for (const unit of [...units, "cover_1000"])
      await lab.output(
        `sed -i '$i add rule inet authnft session_nobody drop' /run/authnft/policy/${unit}.nft`,
      );
    const restored = await lab.run("nft flush ruleset; authnft restore");
    expect(restored).toMatchObject({
      code: 0,
      stdout: "The table is loaded. Sessions under their rules: 0.\n",
    });
    expect(await asked(alice)).toMatch(/^(refused|unreachable|timeout) (refused|unreachable|timeout)$/);
    for (const session of [alice, ...others]) {
      session.end();
      await session.exited;
    }
  }, 60_000);

  test("two thousand slices that were make no difference to a restore, and are forgotten with it, since nothing of them is left", async () => {
    await using bob = await stay("bob");
    await lab.output(
      "for i in $(seq 2000); do echo covered_slices user.slice/user-77.slice 99000$i; done >>/run/authnft/slices",
    );
    await lab.output(restartFirewall);
    expect(await asked(bob)).toBe("ok refused");
    expect((await lab.run("authnft restore")).code).toBe(0);
    // The kernel may hold another's cgroup for a moment, or a socket's.
    const kept = "authnft restore >&2; nft list set inet authnft covered_slices | grep -c 99000 || true";
    await waitFor(async () => (await lab.output(kept)) === "0");
    bob.end();
    await bob.exited;
    await nothingLeft();
    await lab.output("systemctl stop 'user@*' 'user-*.slice'; true");
    await lab.ssh("m0", "true");
    await lab.output("systemctl stop 'user@*' 'user-*.slice'; true");
    await nothingLeft();
  }, 60_000);

  test("a member who makes the manager fail again and again gets no slice that is not covered", async () => {
    // su has no line of ours: pam_systemd puts it into the user's slice.
    await lab.write(
      "/usr/local/bin/attack",
      `#!/bin/bash
as_alice() { echo ${passwordOf("alice")} | timeout 20 su alice -c "$1"; }
for i in 1 2 3 4 5 6 7 8; do
  as_alice "pkill -KILL -u alice -f systemd.--user"
  loginctl terminate-user alice
  for j in $(seq 20); do [ -e /sys/fs/cgroup/user.slice/user-1000.slice ] || break; sleep .02; done
done >/dev/null 2>&1
for i in 1 2 3; do as_alice 'sed -n s/^0:://p /proc/self/cgroup; ${REACH}' 2>/dev/null; done
`,
      { mode: "0755" },
    );
    const { stdout } = await lab.ssh("alice", "attack", { timeoutMs: 60_000 });
    const said = stdout.trim().split("\n");
    expect(said.length).toBeGreaterThan(1);
    expect(said.filter((line) => !line.startsWith("/"))).not.toContainEqual(expect.stringMatching(/ ok$/));
    expect(said.filter((line) => !line.startsWith("/"))).not.toEqual([]);
    // Whoever is outside the group is not held back by the same.
    expect((await lab.ssh("dave", REACH)).stdout.trim()).toBe("ok ok");
    await lab.output("loginctl terminate-user alice; systemctl reset-failed; true");
  }, 90_000);

  test("a stranger who tells every helper on the bus that its job has failed keeps nobody out", async () => {
    const script = "/tmp/job_removed.py";
    await lab.write(script, await Bun.file(join(import.meta.dir, "fixtures/forged/job_removed.py")).text());
    // dave is no member. That such a signal comes to who never asked for it is tried first, on a connection of his own.
    await using forger = lab.start(["python3", script], { user: "dave" });
    await forger.expect(/^delivered$/m);
    expect((await lab.ssh("alice", REACH)).stdout.trim()).toBe("ok refused");
    await forger.expect(/^armed$/m);
    for (const user of ["alice", "bob", "m0"])
      expect((await lab.ssh(user, REACH)).stdout.trim(), user).toBe("ok refused");
  });

  test("a slice that nft alone has closed is closed again after a flush", async () => {
    await lab.output("systemctl stop user@1000.service user-1000.slice; true");
    await lab.output("mv /usr/lib/authnft/authnft /usr/lib/authnft/away; loginctl enable-linger alice");
    try {
      // logind may still be busy with the user's end, and start nothing then.
      await waitFor(async () => (await lab.run("systemctl start user@1000.service")).code === 0);
      expect(await managers("alice")).toMatch(/^(refused|eperm) (refused|eperm)$/);
    } finally {
      await lab.output("mv /usr/lib/authnft/away /usr/lib/authnft/authnft");
    }
    await lab.output(restartFirewall);
    expect(await managers("alice")).toMatch(/^(refused|eperm) (refused|eperm)$/);
    await lab.output("loginctl disable-linger alice; systemctl stop user@1000.service user-1000.slice; true");
  });

  test("a slice that is gone and never had a manager leaves nothing over which nft would fail to close the rest", async () => {
    const file = "/run/authnft/policy/cover_1000.slice";
    const reload = "nft flush ruleset; nft -f /run/authnft/ruleset.nft";
    await lab.output("systemctl stop user@1000.service user-1000.slice; true");
    try {
      // What a session of logind's has without a manager.
      const needs = ["Requires", "After"].map((how) => `--property=${how}=user-runtime-dir@1000.service`);
      await lab.output(`systemd-run --quiet --collect --unit=lab-needs ${needs.join(" ")} sleep 60`);
      await waitFor(async () => (await lab.run("systemctl is-active lab-needs")).code === 0);
      await lab.output(["test", "-e", file]);
      await lab.output("systemctl stop lab-needs user-runtime-dir@1000.service user-1000.slice");
      expect((await lab.run(["test", "-e", file])).code).toBe(1);
      await lab.output(reload);
      // With such a file it would not.
      const closing = "add element inet authnft covered_slices { user.slice/user-1000.slice }";
      await lab.output(`echo '${closing}' >${file}`);
      expect((await lab.run(reload)).code).toBe(1);
      expect(await lab.ruleset()).toBe("");
      await lab.output("authnft restore");
      await lab.output(reload);
    } finally {
      await lab.output("authnft restore");
    }
  });

  test("users outside the group pass whatever is missing, and whatever their groups are called", async () => {
    await lab.output(
      "usermod -G 54321 dave 2>/dev/null || sed -i 's/^dave:x:\\([0-9]*\\):[0-9]*/dave:x:\\1:54321/' /etc/passwd",
    );
    await lab.output(
      "systemctl stop user@$(id -u dave).service user-$(id -u dave).slice; mv /usr/lib/authnft/authnft /usr/lib/authnft/away; true",
    );
    try {
      expect((await lab.run("id -Gn dave")).code).toBe(1);
      const { stdout } = await lab.ssh(
        "dave",
        `${REACH}; systemd-run --user --wait --pipe --quiet sh -c '${REACH}'`,
      );
      expect(stdout.trim()).toBe("ok ok\nok ok");
    } finally {
      await lab.output(
        "mv /usr/lib/authnft/away /usr/lib/authnft/authnft; cp /usr/local/lib/lab/pristine/etc/passwd /etc/passwd",
      );
    }
  });

  test("a firewall that is slow to start keeps no member from coming in", async () => {
    await lab.write(
      "/etc/systemd/system/nftables.service.d/slow.conf",
      "[Service]\nExecStartPre=/bin/sleep 4\n",
    );
    await lab.output("systemctl daemon-reload; systemctl restart --no-block nftables");
    try {
      const came = performance.now();
      expect((await lab.ssh("alice", REACH)).stdout.trim()).toBe("ok refused");
      expect(performance.now() - came).toBeLessThan(3500);
      expect(await lab.output("systemctl is-active nftables || true")).toBe("activating");
    } finally {
      await lab.output(
        "rm -r /etc/systemd/system/nftables.service.d; systemctl daemon-reload; systemctl restart nftables",
      );
    }
  });

  test("addresses that the host translates do not meet the lock that follows from a fragment", async () => {
    await lab.fragment(
      "alice",
      `${ONLY_FIRST.replace("10.88.0.2 accept", "10.88.0.2 meta l4proto { tcp, udp } th dport 7001 accept")}add rule inet authnft egress reject\nadd rule inet authnft filter drop\n`,
    );
    const ask = "probe tcp 198.51.100.9 80 --timeout 2";
    const locked = "systemctl show -p IPAddressDeny --value 'authnft-alice-*.scope'";
    await using before = await stay("alice");
    expect(await lab.output(locked)).not.toBe("");
    before.end();
    await before.exited;
    await lab.output(
      `nft 'add table ip hostnat; add chain ip hostnat out { type nat hook output priority -100; }; add rule ip hostnat out ip daddr 198.51.100.9 meta l4proto { tcp, udp } th dport 80 dnat to 10.88.0.2:7001'; ip route add 198.51.100.0/24 via 10.88.0.2`,
    );
    try {
      expect((await lab.ssh("alice", ask)).stdout.trim()).toBe("ok");
      // What arrives has the other address until it is behind us, and nobody's socket has that one.
      expect((await lab.ssh("alice", "probe udp 198.51.100.9 80 --timeout 2")).stdout.trim()).toBe("ok");
      expect((await lab.ssh("alice", "probe udp 198.51.100.8 80 --timeout 2")).stdout.trim()).toBe("eperm");
      await using after = await stay("alice");
      expect(await lab.output(locked)).toBe("");
      after.end();
      await after.exited;
    } finally {
      await lab.output("nft delete table ip hostnat; ip route del 198.51.100.0/24");
    }
  });

  test("a session that is killed while it is being closed leaves nothing behind", async () => {
    for (const pause of [0, 3, 6, 9, 12, 15, 18, 25]) {
      await using session = lab.sshStart(
        "alice",
        "setsid -f sleep 60 </dev/null >/dev/null 2>&1; echo ready; read -r _",
      );
      await session.expect(/^ready$/m);
      session.write("\n");
      await lab.output(`sleep ${pause / 1000}; systemctl kill --signal=KILL 'authnft-*.scope'; true`);
      await session.exited;
      await nothingLeft();
      expect(await lab.output("ls -d /sys/fs/cgroup/authnft.slice/authnft-* 2>/dev/null || true")).toBe("");
    }
  }, 60_000);

  test("an administrator's addresses for all sessions hold, whatever follows from a fragment", async () => {
    await lab.fragment(
      "alice",
      "add rule inet authnft egress ip daddr 10.88.0.2 accept\nadd rule inet authnft egress drop\nadd rule inet authnft filter drop\n",
    );
    const locked = "systemctl show -p IPAddressDeny --value 'authnft-alice-*.scope'";
    for (const [setting, reached, lock] of [
      ["", "ok", "0.0.0.0/0"],
      ["10.88.0.2", "timeout", ""],
    ] as const) {
      await lab.output(`systemctl set-property --runtime authnft.slice IPAddressDeny=${setting}`);
      await using session = await stay("alice");
      expect((await asked(session)).split(" ")[0]).toBe(reached);
      expect((await lab.output(locked)).includes("0.0.0.0/0") || lock === "").toBe(true);
      session.end();
      await session.exited;
    }
    // systemd leaves the program of an emptied list in place: only another cgroup is without.
    await lab.output(
      "rm -rf /run/systemd/system.control/authnft.slice.d; systemctl daemon-reload; systemctl stop authnft.slice; systemctl restart authnft.service",
    );
  });

  test("what a session left behind with its rules keeps its connections when another session of the user ends", async () => {
    await lab.pam("sshd", { through: "shim", args: ["scope=session", "lingering=keep"] });
    try {
      // What can be read is always a whole number.
      const talk = `import os,socket,time
s=socket.create_connection(("10.88.0.2",7001)); s.settimeout(3); s.recv(99)
while True:
    s.send(b"x"); s.recv(99); open("/tmp/talked","w").write(str(time.time())); os.rename("/tmp/talked","/tmp/alive"); time.sleep(0.1)`;
      await lab.ssh(
        "alice",
        `setsid -f python3 -c '${talk}' </dev/null >/dev/null 2>&1; until [ -e /tmp/alive ]; do sleep 0.1; done`,
      );
      const alive = async () => Date.now() / 1000 - Number(await lab.output("cat /tmp/alive"));
      expect(await alive()).toBeLessThan(1);
      // The second session is the user's last that is open: with it the cover falls.
      expect((await lab.ssh("alice", REACH)).stdout.trim()).toBe("ok refused");
      await Bun.sleep(1000);
      expect(await alive()).toBeLessThan(1);
      // What the manager runs has none, for no session is open.
      expect(await managers("alice")).toMatch(/^(refused|eperm) (refused|eperm)$/);
    } finally {
      await lab.output("pkill -KILL -u alice python3; rm -f /tmp/talked /tmp/alive; true");
      await lab.pam("sshd", { through: "shim" });
    }
  });

  test("a session and a manager of an earlier release are under their rules after the upgrade", async () => {
    await using alice = await stay("alice");
    const [record] = await lab.sessions();
    if (record === undefined) throw new Error("There is no record.");
    const { lingering: _, generation: __, sequence: ___, ...older } = record;
    const unit = record.scope_unit;
    // What an earlier release did not have: the rules it kept, the covers, the new fields.
    await lab.write(`/run/authnft/sessions/${unit}.json`, JSON.stringify(older));
    await lab.output(
      "rm -r /run/authnft/policy /run/authnft/slices; nft delete table inet authnft; mkdir -p /usr/lib/systemd/system/nftables.service.d; echo >/usr/lib/systemd/system/nftables.service.d/authnft.conf",
    );
    await lab.output("/root/authnft install");
    expect(await asked(alice)).toBe("ok refused");
    expect(await managers("alice")).toBe("ok refused");
    expect(await lab.output("ls /usr/lib/systemd/system/nftables.service.d")).toBe("zz-authnft.conf");
    alice.end();
    await alice.exited;
  });
});
