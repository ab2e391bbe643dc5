// SPDX-License-Identifier: GPL-2.0-or-later

// The seal below the ruleset: that there is one of it, whatever is done to where it is kept; whom it leaves alone; whose bits
// it goes by; and what holds on a host that has none.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { type Lab, type Running, up, waitFor } from "../lab/lab.ts";
import { type Agent, installAgent, logIn, logInAndLeave, outside } from "./agent.ts";
import { lab, ONLY_FIRST, onThisRelease } from "./harness.ts";

const PROGRAMS = "/usr/local/lib/programs.py";
const STEADY = "/usr/local/lib/steady.py";
const NETWORKS = "/usr/local/lib/networks.sh";
const WAY_OUT = "/usr/local/lib/way-out.sh";

const SLICE = "authnft.slice";
const ALICES = "user.slice/user-1000.slice";
const KINDS = ["authnft_create", "authnft_egress", "authnft_ingress"];

/** The first of world's hosts, and nobody who calls. */
const POLICY = `${ONLY_FIRST}add rule inet authnft egress oif lo accept
add rule inet authnft egress reject
add rule inet authnft filter iif lo accept
add rule inet authnft filter drop
`;

/** What reaches the first of world's hosts, and the second. */
const REACH = "echo $(probe udp 10.88.0.2 7001) $(probe udp 10.88.0.3 7001)";
const JUDGED = /^ok (eperm|refused)$/;
const HELD = /^(eperm|refused) (eperm|refused)$/;

/** Logs in alice for as long as the object lives. */
async function stay(guest: Lab): Promise<Running> {
  const session = guest.sshStart("alice", `while echo here; read -r _; do ${REACH}; done`);
  await session.expect(/^here$/m);
  return session;
}

/** What that session reaches. */
async function ask(session: Running): Promise<string> {
  session.write("\n");
  const [said] = await session.expect(/^\w+ \w+$/m);
  return said;
}

async function equip(guest: Lab): Promise<void> {
  for (const [to, from] of [
    [PROGRAMS, "programs.py"],
    [STEADY, "steady.py"],
    [NETWORKS, "networks.sh"],
    [WAY_OUT, "way-out.sh"],
  ] as const)
    await guest.write(to, await Bun.file(join(import.meta.dir, "fixtures/seal", from)).text(), {
      mode: "0755",
    });
  await guest.pam("sshd", { through: "shim" });
  for (const user of ["alice", "bob"]) await guest.fragment(user, POLICY);
}

/** A guest of the test's own, for what the others would not survive. */
async function bring({ before = ":", install = true } = {}): Promise<Lab> {
  const guest = await up({ release: lab.release });
  await guest.output(before);
  if (install) await guest.install();
  await equip(guest);
  return guest;
}

/** Our programs on a cgroup itself, with their numbers. */
async function programs(guest: Lab, cgroup: string): Promise<string[]> {
  const told = await guest.output([PROGRAMS, cgroup]);
  return told
    .split("\n")
    .filter(Boolean)
    .map((line) => line.split(" ").slice(0, 2).join(" "))
    .sort();
}

const names = (found: readonly string[]) => found.map((line) => line.split(" ")[0]);

interface Finding {
  check: string;
  level: string;
  what: string;
  mend?: string;
}

/** What the doctor says under the names of checks. */
async function doctor(guest: Lab, ...checks: string[]): Promise<Finding[]> {
  const { stdout } = await guest.run("authnft doctor --json");
  const { findings } = JSON.parse(stdout) as { findings: Finding[] };
  return findings.filter(({ check }) => checks.includes(check));
}

/** What streams have seen so far: one of a session, one of a unit of the user's manager. */
class Streams {
  constructor(
    readonly guest: Lab,
    readonly session: Running,
  ) {}

  static async start(guest: Lab): Promise<Streams> {
    const session = guest.sshStart(
      "alice",
      `systemd-run --user --quiet --collect --unit=steady ${STEADY} /tmp/manager
      ${STEADY} /tmp/session </dev/null & echo on; read -r _`,
    );
    await session.expect(/^on$/m);
    const streams = new Streams(guest, session);
    await streams.goOn();
    return streams;
  }

  async told(): Promise<{ answers: number; missing: number; leaked: number }[]> {
    const text = await this.guest.output("cat /tmp/session /tmp/manager");
    return text.split("\n").map((line) => {
      const [answers = 0, missing = 0, leaked = 0] = line.split(" ").map(Number);
      return { answers, missing, leaked };
    });
  }

  /** Waits until each has had more answers, and expects that each had all, and none from whom it may not ask. */
  async goOn(): Promise<void> {
    const before = await this.told().catch(() => []);
    const now = await waitFor(async () => {
      const told = await this.told();
      return told.every(({ answers }, n) => answers > (before[n]?.answers ?? 0) + 10) && told;
    });
    expect(now.map(({ missing, leaked }) => ({ missing, leaked }))).toEqual(
      Array(2).fill({ missing: 0, leaked: 0 }),
    );
  }

  async end(): Promise<void> {
    await this.guest.run("pkill -KILL -f steady.py; systemctl --user -M alice@ reset-failed");
    await this.session.kill();
  }
}

/** What is done to the seal, under streams; `anew` where nothing is left of it before. */
const OPERATIONS: readonly { command: string; login?: true; anew?: true }[] = [
  { command: "systemctl stop run-authnft-bpf.mount; systemctl start authnft-seal.service" },
  { command: "umount /run/authnft/bpf", login: true },
  { command: "umount /run/authnft/bpf; authnft restore" },
  { command: "umount /run/authnft/bpf; systemctl daemon-reload; authnft restore" },
  { command: "rm /run/authnft/bpf/egress; authnft restore" },
  { command: "systemctl daemon-reload" },
  { command: "systemctl daemon-reexec" },
  { command: "systemctl restart authnft-seal.service authnft.service" },
  { command: "/root/authnft install" },
  { command: "/usr/local/lib/lab/unseal; authnft restore" },
  { command: "/usr/local/lib/lab/unseal; umount /run/authnft/bpf", login: true, anew: true },
  // Of what is attached nobody can tell the bits then.
  { command: "umount /run/authnft/bpf; rm /run/authnft/seal", login: true, anew: true },
];

onThisRelease("one make of the seal", () => {
  let streams: Streams;

  beforeAll(async () => {
    await lab.reset();
    await equip(lab);
    streams = await Streams.start(lab);
  });

  afterAll(async () => {
    await streams.end();
    await lab.reset();
  });

  for (const { command, login, anew } of OPERATIONS)
    test(`by ${command}: there is one of each program, and what runs goes on`, async () => {
      const ids = async () => [await programs(lab, SLICE), await programs(lab, ALICES)];
      const before = await ids();
      expect(before.map(names)).toEqual([KINDS, KINDS]);
      await lab.output(command);
      if (login) expect((await lab.ssh("bob", REACH)).stdout.trim()).toMatch(JUDGED);
      await streams.goOn();
      // A login puts it where that one is concerned; the rest is a restoration's.
      if (anew) {
        await lab.output("authnft restore");
        await streams.goOn();
        expect((await ids()).map(names)).toEqual(before.map(names));
        expect(await ids()).not.toEqual(before);
      } else expect(await ids()).toEqual(before);
      expect((await doctor(lab, "seal")).map(({ level }) => level)).toEqual(["ok"]);
    });
});

onThisRelease("a network of a user's own", () => {
  beforeAll(async () => {
    await lab.reset();
    await equip(lab);
    // As udev has it on a host; and who may ping, as systemd has it.
    await lab.output("chmod 0666 /dev/net/tun; echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range");
  });
  afterAll(async () => {
    await lab.run("chmod 0600 /dev/net/tun; echo 1 0 >/proc/sys/net/ipv4/ping_group_range");
    await lab.reset();
  });

  const inside = async (user: string, script: string) =>
    (await lab.ssh(user, `timeout 20 ${script}`)).stdout.trim().split("\n");

  test("works as it does for others, over its loopback and to another one of theirs", async () => {
    const all = Array(3).fill("ok ok 1");
    expect(await inside("dave", NETWORKS)).toEqual(all);
    expect(await inside("alice", NETWORKS)).toEqual(all);
    const managers = `systemd-run --user --wait --pipe --quiet ${NETWORKS}`;
    expect(await inside("alice", managers)).toEqual(all);
    // It is the third program that tells the others of it.
    await using session = lab.sshStart("alice", `echo in; read -r _; timeout 20 ${NETWORKS}`);
    await session.expect(/^in$/m);
    await lab.output([PROGRAMS, "--detach", "authnft_create", SLICE]);
    session.write("\n");
    expect(await session.exited).toBe(0);
    await lab.output("authnft restore");
    expect(session.stdout.trim().split("\n").slice(1)).toEqual(Array(3).fill("timeout eperm 0"));
  });

  test("has the way out that a process in the host's network gives it, under that one's policy", async () => {
    expect(await inside("dave", WAY_OUT)).toEqual(["ok ok", "ok ok"]);
    const [first, second] = await inside("alice", WAY_OUT);
    expect(first).toBe("ok ok");
    expect(second).not.toContain("ok");
  });
});

/** A fragment that marks what it lets pass, which a host's rules may go by. */
const MARKING = `add rule inet authnft egress udp dport 7001 meta mark set 0x1\n${POLICY}`;

const MULTICAST = "224.0.0.251";

onThisRelease("beside the host's own rules", () => {
  let world: Agent;
  let session: Agent;

  beforeAll(async () => {
    await lab.reset();
    await equip(lab);
    await installAgent();
    await lab.fragment("alice", MARKING);
    [session, world] = [await logIn("alice"), await outside({ netns: "world" })];
  });
  afterAll(async () => {
    await lab.reset();
  });

  test("a base chain on input lets in to members what it stamps, and nothing else", async () => {
    await session.tell("join", "ear", MULTICAST, 5353, "world0");
    const heard = async () => {
      await world.tell("cast", "hello", MULTICAST, 5353, "guest0");
      return await session.tell("receive", "ear", 0.5);
    };
    expect(await heard()).toBe("timeout");
    const rule = (port: number) =>
      `nft 'table inet host { chain i { type filter hook input priority 0; ip daddr ${MULTICAST} udp dport ${port} meta mark set meta mark or 0x20000000; }; }'`;
    await lab.output(rule(5354));
    expect(await heard()).toBe("timeout");
    await lab.output(`nft delete table inet host; ${rule(5353)}`);
    expect(await heard()).toBe("hello");
    expect((await doctor(lab, "marks")).map(({ level, what }) => [level, what])).toEqual([
      ["warn", expect.stringContaining("table inet host")],
    ]);
    await lab.output("nft delete table inet host");
    expect((await doctor(lab, "marks")).map(({ level }) => level)).toEqual(["ok"]);
  });

  test("a rule of the host's that compares whole marks sees ours in them, unless it masks them out", async () => {
    const table = (rule: string) =>
      `nft 'table inet host { chain o { type filter hook output priority 0; oif world0 ${rule} drop; }; }'`;
    const ask = () => session.tell("ask", "udp", "10.88.0.2", 7001, 0.5);
    await lab.output(table("meta mark 0x1"));
    expect(await ask()).toBe("ok");
    await lab.output(`nft delete table inet host; ${table("meta mark and 0xcfffffff == 0x1")}`);
    expect(await ask()).toBe("EPERM");
    expect(await session.tell("ask", "tcp", "10.88.0.2", 7001, 0.5)).toBe("ok");
    await lab.output("nft delete table inet host");
  });

  test("where sockets and the kernel's answers take over the marks of what arrives, nothing passes more or less", async () => {
    const set = (value: number) =>
      `for name in net.ipv4.tcp_fwmark_accept net.ipv4.fwmark_reflect net.ipv6.fwmark_reflect; do sysctl --quiet $name=${value}; done`;
    await lab.fragment("alice", `add rule inet authnft filter tcp dport 9100 accept\n${POLICY}`);
    await lab.output("authnft reload alice");
    await session.tell("serve", "tcp", 9100);
    await session.tell("serve", "tcp", 9101);
    await session.tell("serve", "udp", 9100);
    const table = async () => [
      ...((await session.tell("ask_all", [
        ["tcp", "10.88.0.2", 7001, 1],
        ["tcp", "fd88::2", 7001, 1],
        ["udp", "10.88.0.2", 7001, 1],
        ["tcp", "10.88.0.3", 7001, 1],
        ["udp", "10.88.0.3", 7001, 1],
        ["tcp", "10.88.0.2", 7999, 1],
        ["udp", "10.88.0.2", 7999, 1],
        ["tcp", "127.0.0.1", 9101, 1],
        ["tcp", "127.0.0.1", 9199, 1],
      ])) as string[]),
      ...((await world.tell("ask_all", [
        ["tcp", "10.88.0.1", 9100, 1],
        ["tcp", "fd88::1", 9100, 1],
        ["tcp", "10.88.0.1", 9101, 1],
        ["udp", "10.88.0.1", 9100, 1],
        ["tcp", "10.88.0.1", 9199, 1],
      ])) as string[]),
    ];
    const refused = "ECONNREFUSED";
    const expected = [
      ...["ok", "ok", "ok", refused, "EPERM", refused, refused, "ok", refused],
      ...["ok", "ok", "timeout", "timeout", refused],
    ];
    expect(await table()).toEqual(expected);
    try {
      await lab.output(set(1));
      expect(await table()).toEqual(expected);
      // A host that stamps what arrives for the way out does not open that to sockets that take it over.
      await lab.output(
        "nft 'table inet host { chain i { type filter hook input priority 0; tcp dport 9102 meta mark set meta mark or 0x10000000; }; }'",
      );
      await lab.fragment("alice", `add rule inet authnft filter tcp dport 9100-9102 accept\n${POLICY}`);
      await lab.output("authnft reload alice");
      await session.tell("listen", "door", "10.88.0.1", 9102);
      expect(await world.tell("connect", "call", "10.88.0.1", 9102)).toBe("connected");
      await session.tell("accept", "door", "call");
      await session.tell("send", "call", "first");
      expect(await world.tell("receive", "call")).toBe("first");
      await lab.output("nft delete table inet authnft");
      await session.tell("send", "call", "second");
      expect(await world.tell("receive", "call", 0.7)).toBe("timeout");
      await lab.output("authnft restore");
      expect(await world.tell("receive", "call")).toBe("second");
    } finally {
      await lab.run(`${set(0)}; nft delete table inet host; authnft restore`);
    }
  });
});

/** Bits other than the usual ones, as an administrator writes them: the one is the highest, a number's sign elsewhere. */
const MOVED = "in 0x00400000 # free here\nout 0x80000000\n";

onThisRelease("bits that an administrator has moved", () => {
  test("hold from the next boot on, and what is no pair of bits never", async () => {
    await using guest = await bring();
    const load = async () => {
      const since = await guest.cursor();
      const { code } = await guest.run("systemctl restart authnft-seal.service");
      const said = await guest.journal({ since, match: { _SYSTEMD_UNIT: "authnft-seal.service" } });
      return { code, said: said.map((entry) => entry["MESSAGE"]).join(" ") };
    };
    const stamps = async () => [...((await guest.ruleset()).match(/0x[0-9a-f]{8}(?= accept)/g) ?? [])];
    const reach = async (user = "alice") => (await guest.ssh(user, REACH)).stdout.trim();
    const usual = ["0x20000000", "0x10000000"];
    const SETTINGS = "/etc/authnft/seal";

    // Each mistake costs a sentence, and nobody the network or the seal.
    for (const [mistake, said] of [
      [`printf 'in 0x30000000\\nout 1\\n' >${SETTINGS}`, "line 1"],
      [`printf 'in 0x00400000\\n' >${SETTINGS}`, "two lines"],
      [`printf 'in 0x00400000\\nout 0x00800000\\n' >${SETTINGS}; chmod 0666 ${SETTINGS}`, "chmod"],
      [`chown bob ${SETTINGS}; chmod 0644 ${SETTINGS}`, "chown"],
      [`rm ${SETTINGS}; mkdir ${SETTINGS}`, SETTINGS],
    ] as const) {
      await guest.output(mistake);
      const loaded = await load();
      expect([mistake, loaded]).toEqual([mistake, { code: 1, said: expect.stringContaining(said) }]);
      expect(await reach()).toMatch(JUDGED);
      expect(await doctor(guest, "marks")).toContainEqual(
        expect.objectContaining({ level: "fail", what: expect.stringContaining(said) }),
      );
      // Also where it has to be loaded anew.
      await guest.output("umount /run/authnft/bpf");
      expect(await reach()).toMatch(JUDGED);
      expect(names(await programs(guest, SLICE))).toEqual(KINDS);
      expect((await doctor(guest, "seal")).map(({ level }) => level)).toEqual(["ok"]);
    }
    await guest.output(`rmdir ${SETTINGS}`);

    await guest.write(SETTINGS, MOVED);
    expect(await load()).toEqual({ code: 0, said: expect.stringContaining("from the next boot on") });
    expect(await doctor(guest, "marks")).toEqual([
      expect.objectContaining({ level: "warn", mend: "reboot" }),
      expect.objectContaining({ level: "ok", what: expect.stringContaining(usual.join(" and ")) }),
    ]);
    expect(await stamps()).toEqual(usual);
    expect(await reach()).toMatch(JUDGED);
    // What is loaded in the middle goes by the bits of the table.
    await guest.output("/usr/local/lib/lab/unseal; umount /run/authnft/bpf");
    expect(await reach()).toMatch(JUDGED);
    expect(names(await programs(guest, SLICE))).toEqual(KINDS);
    expect(await stamps()).toEqual(usual);

    await guest.reboot();
    expect(await stamps()).toEqual(["0x00400000", "0x80000000"]);
    expect(await guest.output("nft list chain inet authnft stamp_out")).toContain("0x80000000");
    expect(await doctor(guest, "marks")).toEqual([
      expect.objectContaining({ level: "ok", what: expect.stringContaining("0x00400000 and 0x80000000") }),
    ]);
    expect(names(await programs(guest, SLICE))).toEqual(KINDS);
    expect(await reach()).toMatch(JUDGED);
    await guest.output("echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range");
    const networks = (await guest.ssh("alice", `timeout 20 ${NETWORKS}`)).stdout.trim().split("\n");
    expect(networks).toEqual(Array(3).fill("ok ok 1"));
    // The programs go by them, too: what has the usual bit is stopped.
    await using session = await stay(guest);
    const asked = () => ask(session);
    const stampWith = (bit: string) =>
      `nft 'flush chain inet authnft stamp_out; add rule inet authnft stamp_out meta mark set meta mark or ${bit} accept'`;
    await guest.output(stampWith("0x10000000"));
    expect(await asked()).toMatch(HELD);
    await guest.output(stampWith("0x80000000"));
    expect(await asked()).toMatch(JUDGED);

    // A mistake does not leave a host without the seal, not even at boot: as that finds it.
    session.write("\n");
    await session.kill();
    await guest.output(`echo nonsense >${SETTINGS}; systemctl stop authnft.service authnft.slice
      /usr/local/lib/lab/unseal; systemctl stop run-authnft-bpf.mount; rm /run/authnft/seal
      systemctl start authnft.service`);
    expect(await stamps()).toEqual(usual);
    expect(names(await programs(guest, SLICE))).toEqual(KINDS);
    expect(await reach()).toMatch(JUDGED);
    expect(await doctor(guest, "marks")).toContainEqual(expect.objectContaining({ level: "fail" }));
  }, 120_000);
});

/** What `authnft verify` says is outside of what is promised, each once. */
async function verified(guest: Lab): Promise<{ code: number; outside: string[] }> {
  const { code, stdout } = await guest.run("authnft verify --json alice", { timeoutMs: 60_000 });
  const { findings } = JSON.parse(stdout) as { findings: { rows: { tried: string; verdict: string }[] }[] };
  const outside = findings.flatMap(({ rows }) => rows).filter(({ verdict }) => verdict === "outside");
  return { code, outside: [...new Set(outside.map(({ tried }) => tried))].sort() };
}

onThisRelease("a host without the seal", () => {
  afterAll(async () => {
    await lab.reset();
  });

  /** What is true of a guest that has none, with a session of alice's that is open. */
  async function expectRulesAlone(guest: Lab, why: RegExp): Promise<void> {
    await using session = await stay(guest);
    const asked = () => ask(session);
    const managers = async () =>
      (await guest.run(`systemd-run --user -M alice@ --wait --pipe --quiet sh -c '${REACH}'`)).stdout.trim();
    expect([await programs(guest, SLICE), await programs(guest, ALICES)]).toEqual([[], []]);
    expect(await doctor(guest, "seal")).toEqual([
      expect.objectContaining({ level: "warn", what: expect.stringMatching(why) }),
    ]);
    expect([await asked(), await managers()]).toEqual(Array(2).fill(expect.stringMatching(JUDGED)));
    for (const gone of ["nft flush ruleset", "nft delete table inet authnft"]) {
      await guest.output(gone);
      expect([await asked(), await managers()]).toEqual(["ok ok", "ok ok"]);
      await guest.output("authnft restore");
      expect([await asked(), await managers()]).toEqual(Array(2).fill(expect.stringMatching(JUDGED)));
    }
    // The next login of a member does the same.
    await guest.output("nft flush ruleset");
    expect((await guest.ssh("bob", REACH)).stdout.trim()).toMatch(JUDGED);
    expect(await asked()).toMatch(JUDGED);
    // Who is refused and has a scope, has a lock of their own.
    expect((await guest.ssh("m0", REACH)).code).not.toBe(0);
    expect((await guest.ssh("dave", REACH)).stdout.trim()).toBe("ok ok");
    session.write("\n");
  }

  test("where bpf(2) is denied, logins work, the doctor warns, verify names what is outside, and a flush opens until a restoration", async () => {
    await lab.reset();
    await equip(lab);
    const verifiedInSession = async () => {
      await using session = lab.sshStart("alice", "echo in; read -r _");
      await session.expect(/^in$/m);
      return await verified(lab);
    };
    const sealed = await verifiedInSession();
    await lab.reset();
    await equip(lab);
    await lab.output("/usr/local/lib/lab/unseal --for-good");
    await expectRulesAlone(lab, /EPERM/);
    const unsealed = await verifiedInSession();
    expect([sealed.code, unsealed.code]).toEqual([0, 0]);
    const more = unsealed.outside.filter((tried) => !sealed.outside.includes(tried));
    expect(more).toEqual([
      "TCP, IPv4, in, onto what is left of a connection that the member made",
      "UDP, IPv4, in by broadcast",
      "UDP, IPv4, in by multicast",
      "UDP-Lite, IPv4, in",
      "UDP-Lite, IPv6, in",
      "the seal below the rules",
    ]);
  }, 120_000);

  test("where nothing of type bpf can be mounted, it is the same, and as soon as it can, there is the seal", async () => {
    const masked = "/etc/systemd/system/run-authnft-bpf.mount";
    await using guest = await bring({ before: `ln -s /dev/null ${masked}` });
    await expectRulesAlone(guest, /pin/);
    await using session = await stay(guest);
    const [finding] = await doctor(guest, "seal");
    expect(finding?.mend).toContain("systemctl restart authnft-seal.service && authnft restore");
    await guest.output(`rm ${masked}; systemctl daemon-reload
      systemctl restart authnft-seal.service && authnft restore`);
    expect((await doctor(guest, "seal")).map(({ level }) => level)).toEqual(["ok"]);
    expect(await ask(session)).toMatch(JUDGED);
    await guest.output("nft flush ruleset");
    expect(await ask(session)).toMatch(HELD);
  }, 120_000);
});

onThisRelease("before anything, and after everything", () => {
  afterAll(async () => {
    await lab.reset();
  });

  test("the slice of a member who lingers is sealed before the manager's first process, at boot and where the seal is gone", async () => {
    await using guest = await bring();
    const dave = await guest.output("id -u dave");
    const early = (uid: string) => guest.output(`cut -d' ' -f1 /run/early-${uid} | sort`);
    await guest.write(
      "/etc/systemd/system/user@.service.d/zzz.conf",
      `[Service]\nExecStartPre=+/bin/sh -c '${PROGRAMS} ${SLICE} user.slice/user-%i.slice >/run/early-%i'\n`,
    );
    await guest.output("loginctl enable-linger alice; loginctl enable-linger dave");
    await guest.reboot();
    await waitFor(
      async () => (await guest.run(["systemctl", "is-active", "user@1000", `user@${dave}`])).code === 0,
    );
    const twice = KINDS.flatMap((name) => [name, name]).join("\n");
    expect(await early("1000")).toBe(twice);
    // Who is no member shows that there was something to be seen of ours alone.
    expect(await early(dave)).toBe(KINDS.join("\n"));

    await guest.output("loginctl disable-linger alice; systemctl stop user@1000 user-1000.slice");
    await guest.output("/usr/local/lib/lab/unseal; umount /run/authnft/bpf; rm /run/early-1000");
    await guest.output("loginctl enable-linger alice");
    await waitFor(async () => (await guest.run("systemctl is-active user@1000")).code === 0);
    expect(await early("1000")).toBe(twice);
    expect((await doctor(guest, "seal")).map(({ level }) => level)).toEqual(["ok"]);
  }, 120_000);

  test("it stays on sockets that outlive their scope, and on those that outlive their slice", async () => {
    await installAgent();
    for (const sealed of [true, false]) {
      await lab.reset();
      await equip(lab);
      const { agents, logOut } = await logInAndLeave("alice", ["left"]);
      const [agent] = agents as [Agent];
      await agent.tell("bind", "of the scope", "0.0.0.0", 0);
      await agent.tell("escape");
      await agent.tell("bind", "of the slice", "0.0.0.0", 0);
      if (!sealed) await lab.output("/usr/local/lib/lab/unseal");
      await logOut();
      await waitFor(async () => (await lab.sessions()).length === 0);
      // To where nothing of ours is.
      const pid = await agent.tell("getpid");
      await lab.output(`echo ${pid} >/sys/fs/cgroup/system.slice/ssh.service/cgroup.procs
        systemctl stop user@1000.service user-1000.slice; nft delete table inet authnft
        ! [ -e /sys/fs/cgroup/${ALICES} ]`);
      await agent.tell("bind", "of nobody", "0.0.0.0", 0);
      const said: Record<string, unknown> = {};
      for (const name of ["of the scope", "of the slice", "of nobody"]) {
        // The logout was told to those that it concerns: once, by an error.
        await agent.tell("send", name, "word", "10.88.0.3", 7001);
        said[name] = await agent.tell("send", name, "word", "10.88.0.3", 7001);
      }
      const held = sealed ? "EPERM" : "sent";
      expect(said).toEqual({ "of the scope": held, "of the slice": held, "of nobody": "sent" });
      await lab.output("authnft restore");
    }
  }, 60_000);
});

onThisRelease("a seal that comes and goes", () => {
  test("an uninstallation takes it off everybody, and what runs goes on", async () => {
    await using guest = await bring();
    const streams = await Streams.start(guest);
    expect(names(await programs(guest, ALICES))).toEqual(KINDS);
    await guest.output("authnft uninstall --force");
    expect([await programs(guest, SLICE), await programs(guest, ALICES)]).toEqual([[], []]);
    expect((await guest.run("findmnt /run/authnft/bpf || ls -d /run/authnft")).stdout).toBe("");
    // Nor does systemd bring it back, and they may talk to everybody now.
    for (const command of ["systemctl daemon-reload", "systemctl daemon-reexec"]) {
      await guest.output(command);
      const before = await streams.told();
      await waitFor(async () =>
        (await streams.told()).every(({ leaked }, n) => leaked > (before[n]?.leaked ?? 0)),
      );
    }
    expect((await streams.told()).map(({ missing }) => missing)).toEqual([0, 0]);
    expect([await programs(guest, SLICE), await programs(guest, ALICES)]).toEqual([[], []]);
    await streams.end();
    await guest.output("/root/authnft install");
    expect(names(await programs(guest, SLICE))).toEqual(KINDS);
    expect((await guest.ssh("bob", REACH)).stdout.trim()).toMatch(JUDGED);
  }, 120_000);

  test("an upgrade from a release without it keeps sessions and managers connected, and gives what was kept of them stamps", async () => {
    await lab.reset();
    await equip(lab);
    await installAgent();
    const streams = await Streams.start(lab);
    const { agents, logOut } = await logInAndLeave("bob", ["left"]);
    await logOut();
    await waitFor(async () => (await lab.sessions()).some(({ state }) => state === "lingering"));
    await lab.output(`set -e
      /usr/local/lib/lab/unseal
      systemctl stop authnft-seal.service run-authnft-bpf.mount
      cd /usr/lib/systemd/system
      rm authnft-seal.service run-authnft-bpf.mount /run/authnft/seal
      sed -i /FilterPath/d authnft.slice
      systemctl daemon-reload
      for chain in stamp_in stamp_out; do
        nft "flush chain inet authnft $chain; add rule inet authnft $chain accept"
      done
      cd /run/authnft/policy
      sed -i -E -e '/^# format/d' -e 's/goto stamp_(in|out)/accept/' *`);
    await streams.goOn();
    await lab.output("/root/authnft install");
    await streams.goOn();
    expect([names(await programs(lab, SLICE)), names(await programs(lab, ALICES))]).toEqual([KINDS, KINDS]);
    expect(await lab.output("head -qn 1 /run/authnft/policy/*.nft | sort -u")).toBe("# format 3");
    // What was put aside at a logout can be had back.
    const scope = (await lab.sessions()).find(({ user }) => user === "bob")?.scope_unit;
    const ask = () => agents[0]?.tell("ask", "udp", "10.88.0.2", 7001, 0.5);
    expect(await ask()).not.toBe("ok");
    await lab.output(`authnft release ${scope}`);
    expect(await ask()).toBe("ok");
    await streams.end();
  }, 120_000);
});
