// SPDX-License-Identifier: GPL-2.0-or-later

// The firewall is reloaded, by whatever reloads firewalls, under sessions that never stop sending: what leaves meanwhile
// that should not, and what is true afterwards.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { type Lab, type Running, up, waitFor } from "../lab/lab.ts";
import { lab, nothingLeft, ONLY_FIRST, onThisRelease } from "./harness.ts";

/** Sends to both of world's hosts without pause; see the file. */
const STREAM = "/usr/local/lib/stream.py";
/** Counts there what came. */
const SINK = "/usr/local/lib/sink.py";

/** How often each stream sends to each host, in microseconds: often enough to see a gap of a transaction's length. */
const PERIOD_US = {
  session: 1000,
  login: 4000,
  cover: 2000,
  bystander: 4000,
  left: 4000,
  recordless: 4000,
  waiting: 4000,
} as const;
type Stream = keyof typeof PERIOD_US;
const STREAMS = Object.keys(PERIOD_US) as Stream[];

/** Streams that have a policy, and may reach the first host; the others may reach nothing. */
const JUDGED: readonly Stream[] = ["session", "login", "cover", "bystander"];

/** A run of datagrams without a missing one: number and time of the first, number and time of the last. */
type Run = [number, number, number, number];
/** How many may be missing, as in sink.py. */
const LOST = 3;

interface Count {
  packets: number;
  first: number;
  last: number;
  silence: number;
  blind: number;
  runs: Run[];
}

/** What became of the streams in some time: what leaked, and how long what may pass did not. */
interface Seen {
  /** Datagrams that no policy let out, by stream; only those that there were. */
  leaked: Record<string, number>;
  /** How long each time, in microseconds: of the streams with a policy, and of those without network. */
  gapsUs: { judged: number[]; closed: number[] };
  /** The longest time in which nothing of a stream with a policy came through, in milliseconds. */
  silenceMs: number;
  /** The longest time in which the session's stream did not try. */
  blindMs: number;
  /** The streams of which something came through that may. */
  passed: string[];
}

async function installStreams(guest: Lab): Promise<void> {
  for (const [to, from] of [
    [STREAM, "stream.py"],
    [SINK, "sink.py"],
  ] as const)
    await guest.write(to, await Bun.file(join(import.meta.dir, "fixtures/reload", from)).text());
}

const stream = (name: Stream, seconds = 1200) => `python3 ${STREAM} ${name} ${PERIOD_US[name]} ${seconds}`;
/** The unit under which a user's manager runs a stream. */
const unitOf = (name: Stream) => `systemd-run --user --quiet --collect --unit=stream-${name} ${stream(name)}`;

class Sink {
  #total: Record<string, Count> = {};
  /** When it told last, on the senders' clock. */
  #told = 0;

  constructor(readonly running: Running) {}

  static async start(): Promise<Sink> {
    const running = lab.start(["python3", SINK], { netns: "world" });
    await running.expect(/^ready$/m);
    return new Sink(running);
  }

  /** What came since it was last asked this. */
  async told(): Promise<Record<string, Count>> {
    this.running.write("\n");
    const [line] = await this.running.expect(/^\{.*\}$/m);
    const { now, streams } = JSON.parse(line) as { now: number; streams: Record<string, Count> };
    this.#told = now;
    for (const [key, count] of Object.entries(streams)) {
      const was = this.#total[key] ?? count;
      this.#total[key] = {
        packets: count.packets + (this.#total[key]?.packets ?? 0),
        first: was.first,
        last: count.last,
        silence: Math.max(was.silence, count.silence, count.first - was.last),
        blind: count.blind,
        runs: joined(this.#total[key]?.runs ?? [], count.runs),
      };
    }
    return streams;
  }

  /** What came since this was last called. */
  async seen(): Promise<Seen> {
    await this.told();
    const seen = summed(this.#total);
    this.#total = {};
    return seen;
  }

  /**
   * What is sent from now on, in a tenth of a second or in the time in which a busy machine lets the bystander send as often
   * as in one. What was sent before and is read only then does not count.
   */
  async now(): Promise<Seen> {
    await this.seen();
    const since = this.#told;
    const deadline = performance.now() + 3000;
    let own: Record<string, Count> = {};
    do {
      await Bun.sleep(100);
      await this.told();
      own = Object.fromEntries(Object.entries(this.#total).filter(([, { last }]) => last > since));
    } while (
      performance.now() < deadline &&
      (own["bystander first"]?.packets ?? 0) < 100_000 / PERIOD_US.bystander
    );
    this.#total = {};
    return summed(own);
  }

  /** Waits until nothing leaks any more, and what may pass does. */
  async settled(passing: readonly Stream[] = JUDGED): Promise<void> {
    await waitFor(
      async () => {
        const streams = await this.told();
        const { leaked } = summed(streams);
        return (
          Object.keys(leaked).length === 0 &&
          passing.every((name) => (streams[`${name} first`]?.packets ?? 0) > 20)
        );
      },
      { everyMs: 100, timeoutMs: 3000, what: "every stream under its policy again" },
    );
  }
}

/** Runs, and those that were told later: the first of these may go on with the last of those. */
function joined(runs: readonly Run[], later: readonly Run[]): Run[] {
  const [next, ...rest] = later;
  const last = runs.at(-1);
  if (next === undefined || last === undefined || next[0] - last[2] > LOST) return [...runs, ...later];
  return [...runs.slice(0, -1), [last[0], last[1], next[2], next[3]], ...rest];
}

function summed(streams: Record<string, Count>): Seen {
  const leaks = Object.entries(streams).filter(
    ([key]) => key.endsWith(" second") || !JUDGED.some((name) => key.startsWith(`${name} `)),
  );
  const passed = Object.entries(streams).filter(([key]) => JUDGED.some((name) => key === `${name} first`));
  // The times of whichever stream got out for longest.
  const gaps = (judged: boolean): number[] => {
    const sum = (times: number[]) => times.reduce((all, each) => all + each, 0);
    const [longest = []] = leaks
      .filter(([key]) => JUDGED.some((name) => key.startsWith(`${name} `)) === judged)
      .map(([, { runs }]) => runs.map(([, first, , last]) => last - first))
      .sort((one, other) => sum(other) - sum(one));
    return longest;
  };
  return {
    leaked: Object.fromEntries(leaks.map(([key, { packets }]) => [key, packets])),
    gapsUs: { judged: gaps(true), closed: gaps(false) },
    silenceMs: Math.max(0, ...passed.map(([, { silence }]) => silence)) / 1000,
    blindMs: (streams["session first"]?.blind ?? 0) / 1000,
    passed: passed.map(([key]) => key.replace(/ .*/, "")).sort(),
  };
}

/** Prints the figures of a scenario. */
function report(what: string, { leaked, gapsUs, silenceMs, blindMs }: Seen): void {
  const each = Object.entries(leaked).map(([key, count]) => `${key} ${count}`);
  const rate = STREAMS.map((name) => `${name} ${1e6 / PERIOD_US[name]}`).join(", ");
  const times = (gaps: number[]) => (gaps.length === 0 ? "0" : gaps.join(" + "));
  console.log(
    `${lab.release}: ${what}: sessions unjudged for ${times(gapsUs.judged)} us, those without network for ${times(gapsUs.closed)} us` +
      `${each.length ? ` (packets: ${each.join(", ")}; sent to each host a second: ${rate})` : ""};` +
      ` nothing let through for ${silenceMs.toFixed(1)} ms; a stream's longest pause so far ${blindMs.toFixed(1)} ms`,
  );
}

/** What an administrator or a package does to the host's firewall; `gap` is whether it takes our table with it. */
interface Operation {
  command: string;
  gap: boolean;
  /** What must be there before it, and is taken away after it. */
  before?: string;
  after?: string;
}

const OPERATIONS: readonly Operation[] = [
  { command: "nft flush ruleset; authnft restore", gap: true },
  { command: "nft delete table inet authnft; authnft restore", gap: true },
  { command: "nft -f /etc/nftables.conf; authnft restore", gap: true },
  { command: "systemctl start nftables", gap: true, before: "systemctl stop nftables" },
  { command: "systemctl reload nftables", gap: true },
  // A stop and a start, each with a gap of its own.
  { command: "systemctl restart nftables", gap: true },
  { command: "systemctl stop nftables", gap: true },
  // Ours, and what leaves ours alone.
  { command: "authnft restore", gap: false },
  { command: "for i in 1 2 3 4; do authnft restore & done; wait", gap: false },
  {
    command:
      "for i in 1 2 3 4 5 6 7 8; do timeout -s KILL 0.0$((i + 1)) authnft restore; done; authnft restore",
    gap: false,
  },
  { command: "systemctl reload authnft", gap: false },
  { command: "systemctl restart authnft", gap: false },
  { command: "systemctl stop authnft; systemctl start authnft", gap: false },
  { command: "systemctl daemon-reload", gap: false },
  { command: "systemctl daemon-reexec", gap: false },
  { command: "ufw allow ssh; ufw --force enable", gap: false },
  { command: "ufw reload", gap: false },
  { command: "systemctl restart ufw", gap: false },
  { command: "ufw --force reset", gap: false },
  { command: "systemctl start firewalld; firewall-cmd --state", gap: false },
  { command: "firewall-cmd --reload", gap: false },
  { command: "firewall-cmd --complete-reload", gap: false },
  { command: "systemctl restart firewalld", gap: false },
  { command: "systemctl stop firewalld", gap: false },
  { command: "systemctl start docker; iptables-nft -S DOCKER", gap: false },
  { command: "systemctl restart docker", gap: false },
  { command: "iptables-nft-save | iptables-nft-restore", gap: false },
  {
    command: "systemctl stop docker.service docker.socket containerd.service",
    gap: false,
    // It leaves its rules, its bridge and a host that forwards.
    after: `nft list tables | sed -n 's/^table ip/delete &/p' | nft -f -
      ip link delete docker0; sysctl --quiet net.ipv4.ip_forward=0`,
  },
];

onThisRelease("the firewall is reloaded", () => {
  let sink: Sink;

  const sessionOf = async (user: string) => {
    const record = (await lab.sessions()).find(
      (session) => session.user === user && session.state === "open",
    );
    if (!record) throw new Error(`There is no session of ${user}.`);
    return record;
  };
  const recordFile = (unit: string) => `/run/authnft/sessions/${unit}.json`;
  const restore = () => lab.run(["authnft", "restore"]);

  /** The table without what changes by itself: counters, and the order of sets. */
  const table = async () =>
    (await lab.ruleset())
      .replace(/counter packets \d+ bytes \d+/g, "counter")
      .split("\n")
      .sort()
      .join("\n");

  const logIn = async (user: string, command: string): Promise<Running> => {
    const session = lab.sshStart(user, `${command}\necho here; read`);
    await session.expect(/^here$/m);
    return session;
  };

  /** Everybody whom a reload may hurt, sending. */
  async function begin(): Promise<void> {
    await lab.reset();
    await lab.pam("sshd", { through: "shim" });
    await installStreams(lab);
    for (const user of ["alice", "bob", "m0", "m1", "m2", "m3"]) await lab.fragment(user, ONLY_FIRST);
    sink = await Sink.start();
    // Of m2 there is the manager only.
    const units = "/home/m2/.config/systemd/user";
    await lab.write(`${units}/stream.service`, `[Service]\nExecStart=${stream("waiting")}\n`);
    await lab.output(`
      mkdir -p ${units}/default.target.wants
      ln -s ../stream.service ${units}/default.target.wants
      chown -R m2: /home/m2
      loginctl enable-linger m2`);
    await logIn("alice", `${unitOf("cover")}; ${stream("session")} </dev/null >/dev/null 2>&1 &`);
    await logIn("bob", `${stream("bystander")} </dev/null >/dev/null 2>&1 &`);
    await lab.pam("sshd", { through: "shim", args: ["scope=session"] });
    await logIn("m3", `${stream("login")} </dev/null >/dev/null 2>&1 &`);
    await lab.pam("sshd", { through: "shim" });
    // Or the slice would go in the middle of a test, and its place in the table with it.
    await lab.output("loginctl enable-linger m0");
    const m0 = await logIn("m0", `setsid ${stream("left")} </dev/null >/dev/null 2>&1 &`);
    m0.write("\n");
    await m0.exited;
    await logIn("m1", `${stream("recordless")} </dev/null >/dev/null 2>&1 &`);
    await lab.output(["rm", recordFile((await sessionOf("m1")).scope_unit)]);
    await restore();
    await sink.settled();
  }

  /** What the firewalls of the tests leave. */
  const mend = `ufw --force reset; systemctl stop ufw firewalld nftables
    for table in 'ip filter' 'ip6 filter' 'ip nat' 'inet firewalld'; do nft delete table $table; done
    authnft restore`;

  beforeAll(begin);

  afterAll(async () => {
    await lab.run(mend);
    await lab.run("rm -f /etc/ufw/*.rules.20*");
    await lab.reset();
  });

  test("every stream is alive: without what holds it each gets out, and with it only what its policy lets", async () => {
    const left = await lab.output(
      "basename -s .json $(grep -l '\"lingering\"' $(grep -l '\"m0\"' /run/authnft/sessions/*))",
    );
    // The second lock of those who were left behind.
    await lab.output(`systemctl set-property --runtime ${left} IPAddressAllow=any`);
    await sink.settled();
    await sink.seen();
    await lab.output("/usr/local/lib/lab/unseal; nft delete table inet authnft");
    let leaked: Record<string, number> = {};
    await waitFor(async () => {
      ({ leaked } = await sink.now());
      return STREAMS.every((name) => (leaked[`${name} second`] ?? 0) > 20);
    }).catch(() => {
      throw new Error(`Of these something came: ${JSON.stringify(leaked)}`);
    });
    expect((await restore()).code).toBe(0);
    await sink.settled();
    expect((await sink.now()).leaked).toEqual({});
  });

  for (const { command, gap, before, after } of OPERATIONS)
    test(`by ${command.replace(/\s+/g, " ").slice(0, 100)}: nobody gets out unjudged, ${gap ? "though there is no table for a moment" : "and nothing is interrupted"}, and everybody is under their policy again`, async () => {
      if (before) await lab.output(before);
      await sink.settled();
      const whole = await table();
      await sink.seen();
      const { code, stderr, stdout } = await lab.run(command);
      if (gap) await sink.settled();
      const seen = await sink.seen();
      report(command.replace(/\s+/g, " ").slice(0, 60), seen);
      expect([code, code === 0 ? "" : stdout + stderr]).toEqual([0, ""]);
      // Of whom there is no record: nft itself, which is sooner, goes by the rules alone, and they hold for a moment.
      const { "recordless first": judged, ...leaked } = seen.leaked;
      expect(leaked).toEqual({});
      expect(judged === undefined || command.startsWith("systemctl")).toBe(true);
      await sink.settled();
      expect(await table()).toBe(whole);
      if (after) await lab.output(after);
    });

  /**
   * What happens to the files of a session, one with a scope of ours and one with a login session's; $record and $policy are
   * its own, $other's record is that of another.
   */
  const DAMAGE: Record<string, { by: string; closed?: true; kept?: true }> = {
    "the record removed": { by: 'rm "$record"', closed: true },
    "the record emptied": { by: ': >"$record"' },
    "a record that is no JSON": { by: 'echo "{" >"$record"' },
    "a record that is something else": { by: 'echo "[1, null]" >"$record"' },
    "a record that is a directory": { by: 'rm "$record"; mkdir "$record"' },
    "a record that is a pipe": { by: 'rm "$record"; mkfifo "$record"' },
    "a record that is a link to another's": { by: 'ln -sf "$other" "$record"' },
    "a record without a state": { by: `sed -i 's/"state":"open"/"state":"ajar"/' "$record"` },
    "a record with another cgroup's id": { by: `sed -i 's/"cg_id":[0-9]*/"cg_id":1/' "$record"` },
    "a record with another session's cgroup": {
      by: `sed -i 's#"cg_path":"[^"]*"#"cg_path":"authnft.slice/'"$(basename "$other" .json)"'"#' "$record"`,
    },
    "a record with no cgroup of ours": {
      by: `sed -i 's#"cg_path":"[^"]*"#"cg_path":"../../user.slice"#' "$record"`,
    },
    "a record with another fragment": {
      by: `sed -i 's#"fragment":"[^"]*"#"fragment":"/etc/shadow"#' "$record"`,
    },
    "the record of another in its place": { by: 'cp "$other" "$record"' },
    "a second record of it": { by: 'cp "$record" "$(dirname "$record")/authnft-alice-1.scope.json"' },
    "a second record under no unit's name": { by: 'cp "$record" "$(dirname "$record")/--help.json"' },
    "a login in the future": {
      by: `sed -i 's/"opened_at":"[^"]*/"opened_at":"2099-01-01T00:00:00.000Z/' "$record"`,
      kept: true,
    },
    "a login before there were computers": {
      by: `sed -i 's/"opened_at":"[^"]*/"opened_at":"1815-12-10T00:00:00.000Z/' "$record"`,
      kept: true,
    },
    "the rules removed": { by: 'rm "$policy"' },
    "the rules emptied": { by: ': >"$policy"' },
    "rules that nft cannot read": { by: 'echo "add rule whatever" >>"$policy"' },
    "rules of which half is there": { by: 'truncate --size=200 "$policy"' },
    "somebody's forgotten file": { by: 'cp "$policy" "$(dirname "$policy")/authnft-alice-1.scope.nft"' },
  };

  for (const [what, { by, closed, kept }] of Object.entries(DAMAGE))
    test(`with ${what}, nobody gets out, others lose nothing, and it is as before once that is mended`, async () => {
      await sink.settled();
      const [other, ...units] = await Promise.all(
        ["bob", "alice", "m3"].map(async (user) => (await sessionOf(user)).scope_unit),
      );
      const filesOf = (unit: string) =>
        `record=${recordFile(unit)} policy=/run/authnft/policy/${unit}.nft other=${recordFile(String(other))}`;
      await lab.output("rm -rf /root/run && cp -a --one-file-system /run/authnft /root/run");
      try {
        for (const unit of units) await lab.output(`${filesOf(unit)}; ${by}`);
        for (const reload of [
          "authnft restore",
          "nft flush ruleset; authnft restore",
          "systemctl reload-or-restart nftables",
        ]) {
          // How it ends is for the administrator to read; that it does, for all.
          const { code, stdout, stderr } = await lab.run(reload, { timeoutMs: 10_000 });
          const { leaked, passed } = await sink.now();
          const end = `${reload} ended with ${code}: ${stdout}${stderr}`;
          expect([end, leaked]).toEqual([end, {}]);
          if (!passed.includes("bystander"))
            throw new Error(`${end}: the sink heard ${passed.join(", ") || "nobody"}.`);
          if (closed) expect(passed).not.toContain("session");
          if (kept) expect(passed).toEqual(expect.arrayContaining(["session", "login"]));
        }
      } finally {
        await lab.output(
          "rm -rf /run/authnft/sessions /run/authnft/policy && cp -a /root/run/sessions /root/run/policy /run/authnft",
        );
        expect((await restore()).code).toBe(0);
      }
      await sink.settled();
    });

  /** What somebody does to our table by hand, under live sessions; `open` is whether packets get out where there is no seal. */
  const BY_HAND: Record<string, { by: string; open?: true }> = {
    "a session's element deleted": {
      by: `for way in in out; do nft delete element inet authnft session_$way "{ \\"$cgroup\\" }"; done`,
    },
    "every element deleted": { by: "for way in in out; do nft flush map inet authnft session_$way; done" },
    "a session's rules flushed": { by: "nft flush chain inet authnft $chain" },
    "the slices forgotten": { by: "nft flush map inet authnft slices_out", open: true },
    "the covered slices forgotten": { by: "nft flush set inet authnft covered_slices", open: true },
    "the base chain flushed": { by: "nft flush chain inet authnft egress", open: true },
    "a rule of somebody's in front": { by: "nft insert rule inet authnft egress accept", open: true },
    "a chain of somebody's in the table": {
      by: "nft add chain inet authnft mine; nft add rule inet authnft mine drop",
    },
    "a base chain of somebody's that drops": {
      by: "nft 'add chain inet authnft mine { type filter hook output priority -300; }'; nft add rule inet authnft mine udp dport 9400 drop",
    },
    "the table made dormant": { by: "nft add table inet authnft '{ flags dormant; }'", open: true },
    "a table of the same name for another family": { by: "nft add table ip authnft" },
  };

  for (const [what, { by, open = false }] of Object.entries(BY_HAND))
    test(`with ${what}, no packet gets out, ${open ? "though some would without the seal, " : ""}and a restore makes the table what it was`, async () => {
      await sink.settled();
      const whole = await table();
      const sessions = await Promise.all(["alice", "m3"].map(sessionOf));
      // What is for each of them is done for each, the rest once.
      const concerned = /\$(cgroup|chain)/.test(by) ? sessions : sessions.slice(0, 1);
      try {
        for (const { cg_path: cgroup, user, pid } of concerned)
          await lab.output(`cgroup=${cgroup} chain=session_${user}_${pid}_out; ${by}`);
        expect((await sink.now()).leaked).toEqual({});
        await lab.output("/usr/local/lib/lab/unseal");
        const { leaked } = await sink.now();
        expect(Object.keys(leaked).length > 0).toBe(open);
      } finally {
        expect((await restore()).code).toBe(0);
      }
      await sink.settled();
      expect(await table()).toBe(whole);
      await lab.run("nft delete table ip authnft");
    });

  test("a login during a restore, and a restore during a login, get in nobody's way", async () => {
    await sink.settled();
    await sink.seen();
    const restoring = lab.start("while :; do authnft restore || echo failed; done");
    const probes =
      "probe udp 10.88.0.2 7001; probe udp 10.88.0.3 7001; systemd-run --user --wait --pipe --quiet probe udp 10.88.0.3 7001";
    const logins = await Promise.all(
      [...Array(8).keys()].map((i) => lab.ssh(i % 2 ? "alice" : "bob", probes)),
    );
    expect(restoring.stdout).not.toContain("failed");
    await restoring.kill();
    const seen = await sink.seen();
    report("eight logins during restores", seen);
    expect(logins.map(({ code, stdout }) => [code, stdout])).toEqual(
      Array(8).fill([1, "ok\neperm\neperm\n"]),
    );
    expect(seen.leaked).toEqual({});
    await sink.settled();
  });

  test("between a flush and a restore, a login puts itself under its policy; the restore, everybody else", async () => {
    await lab.output("nft flush ruleset");
    const { stdout } = await lab.ssh("bob", "probe udp 10.88.0.2 7001; probe udp 10.88.0.3 7001");
    expect(stdout).toBe("ok\neperm\n");
    expect((await restore()).code).toBe(0);
    await sink.settled();
  });

  test("the slice of a member stopped under a session of its own: the session goes on, what the manager ran is gone", async () => {
    await sink.settled();
    // A stream hears no SIGTERM, and would be waited for.
    await lab.output(
      "uid=$(id -u alice); systemctl kill --signal=KILL user@$uid.service; systemctl stop user-$uid.slice",
    );
    await sink.settled(["session", "bystander"]);
    await lab.output("nft flush ruleset; authnft restore");
    await sink.settled(["session", "bystander"]);
    // The slice that comes back has another id.
    const { stdout } = await lab.ssh("alice", `${unitOf("cover")}; probe udp 10.88.0.3 7001`);
    expect(stdout).toBe("eperm\n");
    await sink.settled();
  });

  test("the end of a login session's own scope is noticed although systemd was re-executed", async () => {
    const { scope_unit: unit } = await sessionOf("m3");
    await lab.output(`systemctl daemon-reexec; systemctl kill --signal=KILL ${unit}`);
    await waitFor(
      async () =>
        !(await lab.sessions()).some(({ scope_unit }) => scope_unit === unit) &&
        !(await lab.ruleset()).includes("session_m3_"),
      { what: "every trace of it gone" },
    );
    expect((await sink.now()).leaked).toEqual({});
  });

  test("authnft.slice stopped under live sessions ends them, and the next login finds everything as it should be", async () => {
    await sink.seen();
    await lab.output("systemctl kill --signal=KILL 'authnft-*.scope'; systemctl stop authnft.slice");
    const { leaked } = await sink.now();
    expect(leaked).toEqual({});
    const { stdout } = await lab.ssh("bob", "probe udp 10.88.0.2 7001; probe udp 10.88.0.3 7001");
    expect(stdout).toBe("ok\neperm\n");
    await lab.output("loginctl disable-linger m0 && loginctl disable-linger m2");
    await lab.reset();
    await nothingLeft();
  });
});

onThisRelease("the host goes down", () => {
  /** What comes of which streams while a guest of its own powers off, and what its units say they wait for. */
  async function powerOff(first = ":"): Promise<{ packets: Record<string, number>; after: string[] }> {
    await using guest = await up({ release: lab.release });
    await guest.install();
    await guest.pam("sshd", { through: "shim" });
    await installStreams(guest);
    for (const user of ["alice", "m0"]) await guest.fragment(user, ONLY_FIRST);
    // What hears no SIGTERM is killed after this long instead of a minute and a half.
    for (const manager of ["system", "user"])
      await guest.write(`/etc/systemd/${manager}.conf.d/test.conf`, "[Manager]\nDefaultTimeoutStopSec=2s\n");
    await guest.output("systemctl daemon-reexec && systemctl start nftables");
    // Systemd spares processes of root's whose name begins so, and stops no unit that this one is in.
    const sink = guest.start(
      `echo $$ >/sys/fs/cgroup/init.scope/cgroup.procs; world bash -c 'exec -a @sink python3 ${SINK} --live'`,
    );
    await sink.expect(/^ready$/m);
    const start = (user: string, ...commands: string[]) =>
      guest.sshStart(user, `${commands.join("\n")}\necho here; read`);
    const background = (command: string) => `setsid ${command} </dev/null >/dev/null 2>&1 &`;
    const alice = start("alice", unitOf("cover"), background(stream("session")));
    const m0 = start("m0", background(stream("left")));
    await Promise.all([alice.expect(/^here$/m), m0.expect(/^here$/m)]);
    m0.write("\n");
    await m0.exited;
    await waitFor(() => sink.stdout.includes('"cover first"') && sink.stdout.includes('"session first"'));
    // What was sent before the logout may be on its way yet: half a second without a word of it is enough.
    await waitFor(
      async () => {
        const heard = sink.stdout.length;
        await Bun.sleep(500);
        return !sink.stdout.slice(heard).includes('"left ');
      },
      { what: "nothing of what was left behind" },
    );
    const scope = (await guest.sessions()).find(({ state }) => state === "open")?.scope_unit;
    const after = await guest.output(
      `for unit in ${scope} user@$(id -u alice).service systemd-user-sessions.service; do
        systemctl show --property=After --value $unit
      done`,
    );
    const asked = sink.stdout.length;
    guest.start(`${first}; systemctl poweroff`);
    // It tells every 20 ms until it is gone; what started it here ends earlier.
    let heard = 0;
    await waitFor(
      async () => {
        if (heard === sink.stdout.length) return true;
        heard = sink.stdout.length;
        return false;
      },
      { everyMs: 1000, timeoutMs: 30_000, what: "the end of the guest" },
    );
    const packets: Record<string, number> = {};
    for (const [line] of sink.stdout.slice(asked).matchAll(/^\{.*\}$/gm)) {
      const { streams } = JSON.parse(line) as { streams: Record<string, Count> };
      for (const [key, count] of Object.entries(streams)) packets[key] = (packets[key] ?? 0) + count.packets;
    }
    console.log(`${guest.release}: poweroff after ${first}: ${JSON.stringify(packets)}`);
    return { packets, after: after.split("\n") };
  }

  test("sessions, their managers and what was left behind are judged until they end, though the firewall goes down with them", async () => {
    const { packets, after } = await powerOff();
    // What starts after something is stopped before it.
    const [scope = "", manager = "", between = ""] = after;
    expect(scope.split(" ")).toContain("systemd-user-sessions.service");
    expect(manager.split(" ")).toContain("systemd-user-sessions.service");
    expect(between.split(" ")).toEqual(expect.arrayContaining(["authnft.service", "nftables.service"]));
    expect(Object.keys(packets).sort()).toEqual(["cover first", "session first"]);
    // They did go on trying: without our table, all the way down.
    const without = await powerOff(
      `rm /usr/lib/systemd/system/nftables.service.d/*authnft*; systemctl daemon-reload
      systemctl set-property --runtime 'authnft-m0-*.scope' IPAddressAllow=any
      /usr/local/lib/lab/unseal
      nft delete table inet authnft`,
    );
    expect(Object.keys(without.packets)).toEqual(expect.arrayContaining(["cover second", "session second"]));
    expect(without.packets["cover second"]).toBeGreaterThan(500);
  });

  test("and comes up again: a member who lingers has no network from the first process on, and with a session the session's", async () => {
    await using guest = await up({ release: lab.release });
    await guest.install();
    await guest.output("systemctl enable nftables");
    await guest.pam("sshd", { through: "shim" });
    await guest.fragment("alice", ONLY_FIRST);
    const [first, second] = ["probe udp 10.88.0.2 7001", "probe udp 10.88.0.3 7001"];
    for (const user of ["alice", "dave"]) {
      const units = `/home/${user}/.config/systemd/user`;
      await guest.write(
        `${units}/early.service`,
        `[Service]\nExecStart=/bin/bash -c 'while :; do echo $(${first}) $(${second}) >>early; sleep 0.1; done'\n`,
      );
      await guest.output(`mkdir ${units}/default.target.wants; ln -s ../early.service ${units}/default.target.wants
        chown -R ${user}: /home/${user}; loginctl enable-linger ${user}`);
    }
    const early = (user: string) => guest.output(`cat /home/${user}/early || true`);
    const forget = (user: string) => guest.output(`: >/home/${user}/early`);
    await guest.output("systemctl stop 'user@*.service'; rm -f /home/*/early");
    await guest.reboot();
    // Who is no member shows that there is a network, and that the managers of those who linger were started.
    await waitFor(async () => /^ok ok$/m.test(await early("dave")), { timeoutMs: 20_000 });
    await waitFor(async () => (await early("alice")).split("\n").length > 5, { timeoutMs: 20_000 });
    const words = [...new Set((await early("alice")).split(/\s+/))];
    expect(words.filter((word) => !/^(eperm|refused|unreachable)$/.test(word))).toEqual([]);
    expect(words).toContain("eperm");

    const session = guest.sshStart("alice", `${first}; ${second}; read`);
    await session.expect(/^ok\n(refused|eperm)$/m);
    await forget("alice");
    await waitFor(async () => /^ok (refused|eperm)$/m.test(await early("alice")));
    session.write("\n");
    await session.exited;
    await waitFor(async () => (await guest.sessions()).length === 0);
    await forget("alice");
    await waitFor(async () => (await early("alice")).split("\n").length > 6);
    // The first line may have been begun while the session was open.
    expect((await early("alice")).split("\n").slice(1).join("\n")).not.toMatch(/ok/);
  }, 120_000);
});
