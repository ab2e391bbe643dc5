// SPDX-License-Identifier: GPL-2.0-or-later

// Policies: which one holds, what a fragment may have of its own, and what a change does to open sessions.

import { afterEach, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import type { Running } from "../lab/lab.ts";
import { installAgent, logIn, logInAndLeave } from "./agent.ts";
import { lab, nothingLeft, ONLY_FIRST, viaBoth, viaOne } from "./harness.ts";

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

/** A fragment under which these addresses can be reached and no others, by the rules and by the second lock. */
function lockedTo(...addresses: string[]): string {
  return [
    ...addresses.map(
      (address) =>
        `add rule inet authnft egress ${address.includes(":") ? "ip6" : "ip"} daddr ${address} accept\n`,
    ),
    "add rule inet authnft egress reject\nadd rule inet authnft filter drop\n",
  ].join("");
}

async function addressesOf(scope: string): Promise<string[]> {
  const shown = await lab.output(`systemctl show --value --property=IPAddressAllow ${scope}`);
  return shown.split(" ").sort();
}

/** A ruleset without what changes by itself: counters, and slices that go some time after their last session. */
function comparable(ruleset: string): string {
  return ruleset
    .replace(/packets \d+ bytes \d+/g, "")
    .replace(/(set covered_slices \{[^{}]*)elements = \{[^{}]*\}/, "$1");
}

async function view(user: string): Promise<string> {
  const { stdout } = await lab.ssh(user, `echo "$(probe tcp 10.88.0.2 7001) $(probe tcp 10.88.0.3 7001)"`);
  return stdout.trim();
}

viaBoth("policies", (via) => {
  beforeAll(async () => {
    await lab.reset();
    await lab.pam("sshd", { through: via });
  });
  afterEach(async () => {
    await nothingLeft();
  });

  test("a policy that sessions share and the same as a session's own let the same packets pass", async () => {
    const first = "ip daddr 10.88.0.2";
    const others = "add rule inet authnft egress ip daddr 10.88.0.0/24 reject";
    const chain = "add chain inet authnft c";
    const fragments = {
      accept: [`add rule inet authnft egress ${first} accept`, others],
      return: [`add rule inet authnft egress ${first} return`, others],
      "nothing said": ["add rule inet authnft egress ip daddr != 10.88.0.2 ip daddr 10.88.0.0/24 reject"],
      "accept in a chain": [
        chain,
        `add rule inet authnft c ${first} accept`,
        "add rule inet authnft egress jump c",
        others,
      ],
      "return in a chain": [
        chain,
        `add rule inet authnft c ${first} return`,
        "add rule inet authnft c ip daddr 10.88.0.3 accept",
        "add rule inet authnft egress jump c",
        others,
      ],
      "accept in a chain of a chain": [
        `${chain}\nadd chain inet authnft d`,
        `add rule inet authnft d ${first} accept`,
        "add rule inet authnft c goto d",
        "add rule inet authnft egress jump c",
        others,
      ],
      "a verdict map": [
        "add rule inet authnft egress ip daddr vmap { 10.88.0.2 : accept, 10.88.0.3 : drop }",
      ],
      "a map that leads to a chain": [
        chain,
        `add rule inet authnft c ${first} accept`,
        "add map inet authnft m { type ipv4_addr : verdict; elements = { 10.88.0.2 : jump c, 10.88.0.3 : jump c } }",
        "add rule inet authnft egress ip daddr vmap @m",
        others,
      ],
      "a chain for good": [
        chain,
        `add rule inet authnft c ${first} accept`,
        "add rule inet authnft egress goto c",
        others,
      ],
      "a set": [
        "add set inet authnft s { type ipv4_addr; elements = { 10.88.0.2 } }",
        "add rule inet authnft egress ip daddr @s accept",
        others,
      ],
    };
    const seen: Record<string, string[]> = {};
    const shared: string[] = [];
    for (const [what, lines] of Object.entries(fragments)) {
      seen[what] = [];
      for (const own of ["", "add rule inet authnft filter counter\n"]) {
        await lab.fragment("alice", `${own}${lines.join("\n")}\n`);
        await using open = lab.sshStart(
          "alice",
          `echo "$(probe tcp 10.88.0.2 7001) $(probe tcp 10.88.0.3 7001)"; read x`,
        );
        await open.expect(/^\w+ \w+\n/);
        if (own === "" && (await lab.ruleset()).includes("chain policy_")) shared.push(what);
        seen[what]?.push(open.stdout.trim().replace(/timeout|unreachable/g, "refused"));
        open.end();
        await open.exited;
        await nothingLeft();
      }
    }
    const { "a chain for good": forGood, ...rest } = seen;
    for (const [what, views] of Object.entries(rest)) {
      const expected = what === "return in a chain" ? "refused ok" : "ok refused";
      expect([what, ...views]).toEqual([what, expected, expected]);
    }
    // What such a chain does not decide is closed, whatever stands behind.
    expect(forGood).toEqual(["ok refused", "ok refused"]);
    expect(shared).toEqual(Object.keys(rest));

    // A level deeper, and what the user's manager starts: both are looked up by their own cgroups.
    await lab.pam("sshd", { through: via, args: ["scope=session"] });
    await lab.fragment("alice", `${fragments["accept in a chain"].join("\n")}\n`);
    const probes = "probe tcp 10.88.0.2 7001; probe tcp 10.88.0.3 7001";
    const { stdout } = await lab.ssh(
      "alice",
      `${probes}; systemd-run --user --quiet --pipe --wait sh -c '${probes}'`,
    );
    expect(stdout.trim().split("\n")).toEqual(["ok", "refused", "ok", "refused"]);
    await lab.pam("sshd", { through: via });
  });

  test("a fragment that did not change is compiled once, and what others may write is not believed for that", async () => {
    await lab.pam("lab", { through: via, args: ["debug"] });
    const fragment = "/etc/authnft/users/alice";
    /** Opens a session, and tells what became of the fragment. */
    const opens = async (): Promise<string> => {
      const since = await lab.cursor();
      const { code } = await lab.run("pamtester lab alice open_session close_session");
      if (code !== 0) return "refused";
      const steps = (await lab.journal({ since })).map(({ MESSAGE }) => MESSAGE);
      return /, read, ([a-z ]+)\./.exec(steps.join("\n"))?.[1] ?? "not told";
    };
    await lab.fragment("alice", ONLY_FIRST);
    // Its times would not tell a second change of this moment.
    expect([await opens(), await lab.output("sleep 2.1"), await opens(), await opens()]).toEqual([
      "to be compiled",
      "",
      "to be compiled",
      "compiled before",
    ]);
    expect(await view("alice")).toBe("ok refused");
    await lab.fragment("alice", ONLY_SECOND);
    expect(await view("alice")).toBe("refused ok");
    await lab.output("sleep 2.1");
    expect([await opens(), await opens()]).toEqual(["to be compiled", "compiled before"]);
    for (const [path, mode] of [
      [fragment, "666"],
      ["/etc/authnft/users", "777"],
      ["/etc/authnft", "775"],
    ] as const) {
      const was = await lab.output(["stat", "--format=%a", path]);
      await lab.output(["chmod", mode, path]);
      expect(await opens()).toBe("refused");
      await lab.output(["chmod", was, path]);
      await lab.output("sleep 2.1");
      expect(await opens()).not.toBe("refused");
    }
    await lab.output(["chown", "alice", "/run/authnft/compiled"]);
    expect(await opens()).toBe("to be compiled");
    await lab.output("rm -r /run/authnft/compiled");
    expect([await opens(), await opens()]).toEqual(["to be compiled", "compiled before"]);
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
});

viaOne("policies that change", (via) => {
  beforeAll(async () => {
    await lab.reset();
    await lab.pam("sshd", { through: via });
    await installAgent();
  });
  afterEach(async () => {
    await nothingLeft();
  });

  test("the largest fragments open sessions, and keep nobody else waiting for a second", async () => {
    const closing = "add rule inet authnft egress reject\nadd rule inet authnft filter drop\n";
    const list = (count: number, one: (index: number) => string): string =>
      Array.from({ length: count }, (_, index) => one((index * 7919) % (2 * count + 1))).join(",");
    const address = (index: number): string => `20.${index >> 16}.${(index >> 8) & 255}.${index & 255}`;
    const network = (index: number): string => `20.${(index >> 8) & 255}.${index & 255}.0/24`;
    const rules = (count: number, one: string): string =>
      `add rule inet authnft egress ${one}\n`.repeat(count);
    const largest: Readonly<Record<string, string>> = {
      addresses: `add set inet authnft s { type ipv4_addr; elements = { ${list(49_900, address)} } }
add rule inet authnft egress ip daddr @s drop\n`,
      "networks and many sets": `add set inet authnft s { type ipv4_addr; flags interval; elements = { ${list(19_900, network)} } }
add rule inet authnft egress ip daddr @s drop\n${rules(490, "tcp dport { 7777, 7778 } drop")}`,
      "pairs of networks and ports": `add set inet authnft s { type ipv4_addr . inet_service; flags interval; elements = { ${list(12_400, (index) => `${network(index)} . 1-${9 + (index % 99)}`)} } }
add rule inet authnft egress ip daddr . tcp dport @s drop\n`,
      statements: rules(990, `${"counter ".repeat(90)}ip daddr 20.0.0.1 drop`),
    };
    await lab.write(
      "/usr/local/bin/held",
      await Bun.file(join(import.meta.dir, "fixtures/policy/held.py")).bytes(),
      {
        mode: "0755",
      },
    );
    await lab.fragment("bob", ONLY_FIRST + closing);
    for (const [name, text] of Object.entries(largest)) {
      await lab.fragment(
        "alice",
        `${text}add rule inet authnft egress ip daddr 10.88.0.2 accept\n${closing}`,
      );
      await using watch = lab.start("held /run/authnft/lock/ruleset");
      await watch.expect(/^watching$/m);
      // Bob comes while alice's rules are loaded, and while they are taken out again.
      const [alice, ...bobs] = await Promise.all([
        lab.ssh("alice", "echo $(probe tcp 10.88.0.2 7001) $(probe tcp 10.88.0.3 7001)"),
        ...[0, 300, 600].map(async (ms) => {
          await Bun.sleep(ms);
          return await lab.ssh("bob", "echo $(probe tcp 10.88.0.2 7001) $(probe tcp 10.88.0.3 7001)");
        }),
      ]);
      expect(alice.stdout, name).toBe("ok refused\n");
      for (const bob of bobs) expect(bob.stdout, name).toBe("ok refused\n");
      await nothingLeft(20_000);
      watch.end();
      const [, most] = await watch.expect(/^most (\d+) ms$/m);
      // Long enough to have been seen.
      expect(Number(most), name).toBeGreaterThan(50);
      expect(Number(most), name).toBeLessThan(1000);
    }
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
    // Once more, with other objects of its own, for one session each. The user's manager follows the one that was opened
    // last, also where the clock was set back in between.
    await lab.fragment(
      "alice",
      `add set inet authnft s { type ipv4_addr; elements = { 10.88.0.2 } }
add rule inet authnft egress ip daddr @s accept
add rule inet authnft egress reject\n`,
    );
    const [older, newest] = (await lab.sessions())
      .toSorted((a, b) => Number(a["sequence"]) - Number(b["sequence"]))
      .map(({ scope_unit }) => scope_unit);
    await lab.output(
      `sed -i 's/"opened_at":"[^"]*/"opened_at":"1999-12-31T23:59:59.000Z/' /run/authnft/sessions/${newest}.json`,
    );
    await lab.output(`authnft reload ${older}`);
    expect([await asked(one), await asked(other)]).toEqual(["ok refused", "refused ok"]);
    expect((await lab.run(manager)).stdout.trim()).toBe("ok");
    await lab.output(`authnft reload ${newest}`);
    expect(await asked(other)).toBe("ok refused");
    expect((await lab.run(manager)).stdout.trim()).toBe("refused");

    // A fragment with a mistake leaves everything as it is, whichever way the mistake is found.
    for (const [mistake, complaint] of [
      ["add rule inet authnft egress accept; flush ruleset\n", ":1:38: only"],
      ["add rule inet authnft egress tcp dport http2 accept\n", ":1:1: nftables does not take what it says"],
    ] as const) {
      const before = comparable(await lab.ruleset());
      await lab.fragment("alice", mistake);
      const refused = await lab.run("authnft reload --all");
      expect(refused.code).toBe(1);
      expect(refused.stderr).toContain("keeps the rules that it has");
      expect(refused.stderr).toContain(complaint);
      expect(comparable(await lab.ruleset())).toBe(before);
    }
    // What was reloaded is what is brought back.
    await lab.output("nft flush ruleset; authnft restore");
    expect([await asked(one), await asked(other)]).toEqual(["ok refused", "ok refused"]);
    for (const session of [one, other]) {
      session.end();
      await session.exited;
    }
    await nothingLeft();
    expect((await lab.run("authnft reload alice")).code).toBe(2);
    expect((await lab.run("authnft reload")).code).toBe(2);
  });

  test("a reload judges open flows anew, and what comes later", async () => {
    await lab.fragment("alice", lockedTo("10.88.0.2"));
    const { agents, logOut } = await logInAndLeave("alice", ["outside"], {
      by: "systemd-run --user --quiet",
    });
    const newest = await logIn("alice");
    const [manager] = agents;
    if (manager === undefined) throw new Error("The user's manager started nothing.");
    // Reloads of another session count for that one alone.
    const older = (await lab.sessions()).find(({ scope_unit }) => scope_unit !== newest.scope)?.scope_unit;
    await lab.output(`authnft reload ${older}`);
    const both = [newest, manager];
    const each = async (...command: unknown[]): Promise<unknown[]> =>
      await Promise.all(both.map((agent) => agent.tell(...command)));
    /** Whether what is sent on a connection comes back. */
    const goesOn = async (name: string, text: string): Promise<unknown[]> => {
      await each("send", name, text);
      return await each("receive", name, 1);
    };
    /** Sends a kilobyte, five times, as datagrams of one flow. */
    const send = async (name: string): Promise<unknown[]> => {
      const answers: unknown[][] = [];
      for (let turn = 0; turn < 5; turn++)
        answers.push(await each("send", name, "x".repeat(1000), "10.88.0.3", 7001));
      return both.map((_, index) => answers.map((answer) => answer[index]).join(" "));
    };
    const some = "sent sent EPERM EPERM EPERM";
    await each("bind", "second", "0.0.0.0", 0);
    expect(await each("connect", "first", "10.88.0.2", 7001)).toEqual(["connected", "connected"]);
    await each("receive", "first");

    await lab.fragment(
      "alice",
      `add quota inet authnft q { over 3000 bytes }
add rule inet authnft egress quota name q reject
${lockedTo("10.88.0.3")}`,
    );
    await lab.output("authnft reload alice");
    expect(await goesOn("first", "judged")).not.toContain("judged");
    expect(await each("connect", "again", "10.88.0.2", 7001, 1)).not.toContain("connected");
    // Every packet of a later flow is judged, not its first alone.
    expect(await send("second")).toEqual([some, some]);
    expect(await addressesOf(newest.scope)).toEqual(["10.88.0.3/32"]);

    // And what was used up is there again.
    await lab.output("authnft reload alice");
    expect(await send("second")).toEqual([some, some]);
    await newest.end();
    await lab.output("pkill -KILL -u alice python3");
    await logOut();
  });

  test("while rules are replaced each packet is judged by the old ones or by the new ones, whatever the second lock", async () => {
    const versions = [
      `add rule inet authnft egress udp dport 7010 reject
${lockedTo("10.88.0.2", "10.88.0.3")}`,
      `add set inet authnft s { type inet_service; elements = { 7010 } }
add rule inet authnft egress udp dport @s reject
${lockedTo("10.88.0.2", "fd88::2")}`,
    ];
    await lab.fragment("alice", versions[0] ?? "");
    // Of the two that only one version lets pass, each packet tells which version has judged it.
    const send = `
import select, socket, time
v4, v6 = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
def passes(s, *to):
    try: return bool(s.sendto(b"x", to))
    except PermissionError: return False
count, wrong, last = 0, 0, None
while not select.select([0], [], [], 0)[0]:
    for said in (0 if passes(v4, "10.88.0.3", 7009) else 1, 1 if passes(v6, "fd88::2", 7009) else 0):
        if said != last: print("version", said, flush=True)
        last = said
    if not passes(v4, "10.88.0.2", 7009): wrong += 1
    if passes(v4, "10.88.0.2", 7010): wrong += 1
    count += 1
    time.sleep(0.0001)
print("wrong", wrong, "of", count > 1000, flush=True)`;
    const listen = (port: number) => lab.start(`probe listen udp ${port} --seconds 20`, { netns: "world" });
    await using allowed = listen(7009);
    await using forbidden = listen(7010);
    await Promise.all([allowed, forbidden].map((one) => one.expect(/listening/)));
    await using session = lab.sshStart("alice", `python3 -c '${send}'`);
    await session.expect(/^version 0$/m);
    const turns = 8;
    for (let turn = 1; turn <= turns; turn++) {
      await lab.fragment("alice", versions[turn % 2] ?? "");
      await lab.output("authnft reload alice");
      await session.expect(new RegExp(`^version ${turn % 2}$`, "m"));
    }
    session.write("\n");
    await session.exited;
    const [last, ...told] = session.stdout.trim().split("\n").toReversed();
    expect(last).toBe("wrong 0 of True");
    // No version comes back between the reloads that bring it.
    expect(told.toReversed()).toEqual(Array.from({ length: turns + 1 }, (_, turn) => `version ${turn % 2}`));
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
