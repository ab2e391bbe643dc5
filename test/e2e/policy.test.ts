// SPDX-License-Identifier: GPL-2.0-or-later

// Policies: which one holds, what a fragment may have of its own, and what a change does to open sessions.

import { afterEach, beforeAll, expect, test } from "bun:test";
import { type Running, waitFor } from "../lab/lab.ts";
import { lab, nothingLeft, ONLY_FIRST, onBothRoads } from "./rig.ts";

const ONLY_SECOND = `
add rule inet authnft egress ip daddr 10.88.0.3 accept
add rule inet authnft egress ip daddr 10.88.0.0/24 reject
`;

/** Answers "first second", each ok or not, as often as it is asked. */
const ASK = `echo ready; while read -r _; do echo "$(probe tcp 10.88.0.2 7001) $(probe tcp 10.88.0.3 7001)"; done`;

async function asked(session: Running): Promise<string> {
  session.write("\n");
  const [said] = await session.expect(/^(?:ok|refused|unreachable|eperm|timeout) \w+$/m);
  return said;
}

async function stay(user: string): Promise<Running> {
  const session = lab.sshStart(user, ASK);
  await session.expect(/^ready$/m);
  return session;
}

async function view(user: string): Promise<string> {
  const { stdout } = await lab.ssh(user, `echo "$(probe tcp 10.88.0.2 7001) $(probe tcp 10.88.0.3 7001)"`);
  return stdout.trim();
}

onBothRoads("policies", (road) => {
  beforeAll(async () => {
    await lab.reset();
    await lab.pam("sshd", { through: road });
  });
  afterEach(async () => {
    await nothingLeft();
  });

  test("a user's own fragment holds before a group's, of groups the first by name, and the default for the rest", async () => {
    await lab.output(
      "groupadd -f zeta; groupadd -f alpha; gpasswd -a alice zeta; gpasswd -a alice alpha; gpasswd -a bob zeta",
    );
    await lab.write("/etc/authnft/groups/zeta", ONLY_FIRST);
    await lab.write("/etc/authnft/groups/alpha", ONLY_SECOND);
    await lab.write("/etc/authnft/groups/nobody.dpkg-old", "flush ruleset\n");
    await lab.write("/etc/authnft/default", "add rule inet authnft egress ip daddr 10.88.0.0/24 reject\n");
    expect(await view("alice")).toBe("refused ok");
    expect(await view("bob")).toBe("ok refused");
    expect(await view("m0")).toBe("refused refused");
    await using open = await stay("bob");
    const [record] = await lab.sessions();
    expect(record?.fragment).toBe("/etc/authnft/groups/zeta");
    open.end();
    await open.exited;
    await lab.fragment("alice", "add rule inet authnft egress accept\n");
    expect(await view("alice")).toBe("ok ok");
    // A group that the user is in by their primary group counts as well.
    await lab.output("usermod -g alpha m0");
    expect(await view("m0")).toBe("refused ok");
    await lab.output(
      "rm /etc/authnft/default /etc/authnft/groups/* /etc/authnft/users/alice; usermod -g m0 m0",
    );
    expect((await lab.ssh("m0", "true")).code).toBe(254);
  });

  test("sets, maps, chains, counters, quotas and limits are each session's own, do what they say, and go with it", async () => {
    await lab.fragment(
      "alice",
      `
add set inet authnft allowed {
  type ipv4_addr . inet_service
  flags interval
  elements = { 10.88.0.2 . 7001,   # world's first address
               10.88.0.3 . 7002 }
}
add counter inet authnft hits
add quota inet authnft budget { over 5 mbytes }
add limit inet authnft slow { rate over 100/second burst 20 packets }
add set inet authnft seen { type ipv4_addr; flags dynamic; size 100; timeout 1h }
add map inet authnft where { type inet_service : verdict; elements = { 80 : jump web, 443 : accept, 9999 : drop } }
add chain inet authnft web
add element inet authnft allowed { $user_ip . 7003 }
add rule inet authnft egress counter name hits
add rule inet authnft egress quota name "budget" reject
add rule inet authnft egress limit name slow reject
add rule inet authnft egress update @seen { ip daddr }
add rule inet authnft egress tcp dport vmap @where
add rule inet authnft egress ip daddr . tcp dport @allowed accept
add rule inet authnft egress reject with tcp reset
add rule inet authnft web ip daddr 10.88.0.2 return
add rule inet authnft web drop
`,
    );
    await using one = await stay("alice");
    await using other = await stay("alice");
    expect([await asked(one), await asked(other)]).toEqual(["ok refused", "ok refused"]);
    expect(await asked(one)).toBe("ok refused");
    const records = await lab.sessions();
    const ruleset = await lab.ruleset();
    const packets = records.map(({ pid }) => {
      for (const name of ["allowed", "seen", "hits", "budget", "slow", "where", "web"])
        expect(ruleset).toContain(`session_alice_${pid}_${name} {`);
      return Number(new RegExp(`counter session_alice_${pid}_hits \\{\\s*packets (\\d+)`).exec(ruleset)?.[1]);
    });
    expect(ruleset).toMatch(
      /set session_alice_\d+_seen \{[^}]*10\.88\.0\.2[^}]*10\.88\.0\.3|10\.88\.0\.3[^}]*10\.88\.0\.2/s,
    );
    // Each counts its own: the one was asked twice.
    const [few = 0, many = 0] = packets.toSorted((a, b) => a - b);
    expect(few).toBeGreaterThan(0);
    expect(many).toBeGreaterThan(few);
    for (const session of [one, other]) {
      session.end();
      expect(await session.exited).toBe(0);
    }
    await nothingLeft();
    expect(await lab.ruleset()).not.toMatch(/session_alice|cover_1000/);
  });

  test("a reload gives open sessions the policy as it stands, their flows and their user's manager included", async () => {
    await lab.fragment("alice", ONLY_FIRST);
    await using one = await stay("alice");
    await using other = await stay("alice");
    expect(await asked(one)).toBe("ok refused");
    const manager = "systemd-run --user -M alice@ --wait --pipe --quiet probe tcp 10.88.0.3 7001";
    expect((await lab.run(manager)).stdout.trim()).toBe("refused");

    await lab.fragment(
      "alice",
      `add counter inet authnft c\nadd rule inet authnft egress counter name c${ONLY_SECOND}`,
    );
    const units = (await lab.sessions()).map(({ scope_unit }) => scope_unit).sort();
    const { code, stdout } = await lab.run("authnft reload alice");
    expect({ code, lines: stdout.trim().split("\n").sort() }).toEqual({
      code: 0,
      lines: units.map((unit) => `${unit}: /etc/authnft/users/alice`),
    });
    expect([await asked(one), await asked(other)]).toEqual(["refused ok", "refused ok"]);
    expect((await lab.run(manager)).stdout.trim()).toBe("ok");
    // Once more, with other objects of its own, for one session only.
    await lab.fragment(
      "alice",
      `add set inet authnft s { type ipv4_addr; elements = { 10.88.0.2 } }
add rule inet authnft egress ip daddr @s accept
add rule inet authnft egress reject\n`,
    );
    expect((await lab.run(["authnft", "reload", units[0] ?? ""])).code).toBe(0);
    expect([await asked(one), await asked(other)].sort()).toEqual(["ok refused", "refused ok"]);

    // A fragment with a mistake leaves everything as it is, whichever way the mistake is found.
    for (const [mistake, complaint] of [
      ["add rule inet authnft egress accept; flush ruleset\n", ":1:38: only"],
      ["add rule inet authnft egress tcp dport http2 accept\n", ":1:1: nftables does not take what it says"],
    ] as const) {
      const before = (await lab.ruleset()).replace(/packets \d+ bytes \d+/g, "");
      await lab.fragment("alice", mistake);
      const refused = await lab.run("authnft reload --all");
      expect(refused.code).toBe(1);
      expect(refused.stderr).toContain("keeps the rules that it has");
      expect(refused.stderr).toContain(complaint);
      expect((await lab.ruleset()).replace(/packets \d+ bytes \d+/g, "")).toBe(before);
    }
    // What was reloaded is what is brought back.
    await lab.output("nft flush ruleset; authnft restore");
    expect([await asked(one), await asked(other)].sort()).toEqual(["ok refused", "refused ok"]);
    for (const session of [one, other]) {
      session.end();
      await session.exited;
    }
    await nothingLeft();
    expect((await lab.run("authnft reload alice")).code).toBe(2);
    expect((await lab.run("authnft reload")).code).toBe(2);
  });

  test("a reload judges open flows anew, unless they are to be kept", async () => {
    const flow = `
exec 3<>/dev/tcp/10.88.0.2/7001; read -r -t 2 -u 3 _ || true; echo ready
while read -r _; do echo hello >&3 && read -r -t 2 -u 3 answer && echo "answered" || echo "silent"; done`;
    for (const [option, expected] of [
      ["--keep-flows", "answered"],
      ["", "silent"],
    ] as const) {
      await lab.fragment("alice", ONLY_FIRST);
      await using session = lab.sshStart("alice", `bash -c '${flow}'`);
      await session.expect(/^ready$/m);
      session.write("\n");
      await session.expect(/^answered$/m);
      await lab.fragment("alice", "add rule inet authnft egress drop\nadd rule inet authnft filter drop\n");
      await lab.output(`authnft reload alice ${option}`);
      // The second lock, which follows from the fragment, knows nothing of flows.
      if (option !== "")
        await lab.output(
          `systemctl set-property --runtime 'authnft-alice-*.scope' IPAddressAllow=any IPAddressDeny=any`,
        );
      session.write("\n");
      await session.expect(new RegExp(`^${expected}$`, "m"));
      await session.kill();
      await waitFor(async () => (await lab.sessions()).length === 0);
    }
  });

  test("no packet slips through while rules are replaced", async () => {
    const versions = [
      "add rule inet authnft egress udp dport 7010 reject\nadd rule inet authnft egress accept\n",
      "add set inet authnft s { type inet_service; elements = { 7010 } }\nadd rule inet authnft egress udp dport @s reject\nadd rule inet authnft egress accept\n",
    ];
    await lab.fragment("alice", versions[0] ?? "");
    const send = `
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print("sending", flush=True)
end = time.time() + 4
while time.time() < end:
    for port in (7009, 7010):
        try: s.sendto(b"x", ("10.88.0.2", port))
        except OSError: pass
    time.sleep(0.0002)`;
    const listen = (port: number) => lab.start(`probe listen udp ${port} --seconds 8`, { netns: "world" });
    await using allowed = listen(7009);
    await using forbidden = listen(7010);
    await Promise.all([allowed, forbidden].map((one) => one.expect(/listening/)));
    await using session = lab.sshStart("alice", `python3 -c '${send}'`);
    await session.expect(/sending/);
    for (let turn = 1; turn <= 12; turn++) {
      await lab.fragment("alice", versions[turn % 2] ?? "");
      await lab.output("authnft reload alice");
    }
    await session.exited;
    expect(allowed.stdout).toContain("peer");
    expect(forbidden.stdout).not.toContain("peer");
    // The same packet passes where no rule is against it.
    await lab.run("probe udp 10.88.0.2 7010 --timeout 0.3");
    await forbidden.expect(/peer/);
  });

  test("a member who is in and one who comes are both under the new policy when many come during reloads", async () => {
    await lab.fragment("alice", ONLY_FIRST);
    await using session = await stay("alice");
    const reloading = lab.start(
      "for i in $(seq 20); do authnft reload --all || echo failed; done; echo over",
    );
    const views = await Promise.all(["alice", "alice", "alice", "alice"].map(view));
    await reloading.expect(/^over$/m, { timeoutMs: 20_000 });
    expect(reloading.stdout).not.toContain("failed");
    expect(views).toEqual(Array(4).fill("ok refused"));
    expect(await asked(session)).toBe("ok refused");
    session.end();
    await session.exited;
  });
});
