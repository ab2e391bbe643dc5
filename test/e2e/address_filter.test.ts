// SPDX-License-Identifier: GPL-2.0-or-later

// What holds when the ruleset does not: the second lock of scopes, with our table deleted, for every protocol; sockets that
// outlive their slice, when the table comes back. And what neither lock reaches, as docs/security.md says.

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { waitFor } from "../lab/lab.ts";
import {
  AGENT,
  Agent,
  dropAgents,
  installAgent,
  logIn,
  logInAndLeave,
  outside,
  spareAgents,
} from "./agent.ts";
import { lab, nothingLeft, ONLY_FIRST, viaOne } from "./harness.ts";

/** A fragment from which the second lock can be derived: the first of world's addresses and no other, both ways. */
const LOCKED = `${ONLY_FIRST}
add rule inet authnft egress reject
add rule inet authnft filter ip saddr 10.88.0.2 accept
add rule inet authnft filter ip6 saddr fd88::2 accept
add rule inet authnft filter drop
`;

/** One that nft takes in parts and the kernel refuses as a whole: when that comes out, the scope is there. */
const REFUSED_BY_KERNEL = "add rule inet authnft egress fib saddr oif missing drop\n";

/** Where the process is whose session nobody answered for. */
const QUARANTINE = "/sys/fs/cgroup/authnft.slice/run-authnft-refused.mount";

const KINDS = ["tcp", "udp", "udplite", "icmp"] as const;
const FIRST = ["10.88.0.2", "fd88::2"];
const SECOND = ["10.88.0.3", "fd88::3"];
/** How long nothing has to come, in seconds. */
const SILENCE = 0.7;

/** What was tried, and came through. */
type Passed = string[];

viaOne("without our table", (via) => {
  let world: Agent;
  let client: Agent;
  /** Port of the world where UDP-Lite is answered. */
  const LITE = 7100;
  const GROUP = "239.1.1.1";
  /** Where packets come from, where to, and by which ports of a subject's multicast is told apart. */
  const PEERS = [
    { own: FIRST, towards: ["10.88.0.1", "fd88::1"], offset: 2 },
    { own: ["10.77.0.2", "fd77::2"], towards: ["10.77.0.1", "fd77::1"], offset: 3 },
  ] as const;

  beforeAll(async () => {
    await lab.reset();
    // It would hold all of it.
    await lab.output("/usr/local/lib/lab/unseal --for-good");
    await installAgent();
    await lab.pam("sshd", { through: via, control: "optional" });
    await lab.output("echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range");
    [world, client] = await Promise.all([outside({ netns: "world" }), outside({ netns: "client" })]);
    spareAgents();
    for (const address of [...FIRST, ...SECOND]) await world.tell("serve", "udplite", LITE, address);
  });

  afterEach(async () => {
    await dropAgents();
    await lab.run("systemctl kill --signal=KILL 'authnft-*.scope'");
    await nothingLeft();
  });

  afterAll(async () => {
    await Promise.all([world, client].map(({ running }) => running.kill()));
    await lab.reset();
  });

  /** What every subject gets out and in, by every protocol, of unicast and multicast; all at once, for it is silence that takes time. */
  async function tries(subjects: Readonly<Record<string, Agent>>): Promise<Record<string, Passed>> {
    const all = Object.entries(subjects).map(([name, agent], n) => ({ name, agent, port: 9510 + 10 * n }));
    const out = KINDS.flatMap((kind) =>
      [...FIRST, ...SECOND].map((to) => [kind, to, kind === "udplite" ? LITE : 7001, SILENCE]),
    );
    for (const { agent, port } of all) {
      await world.tell("join", `group ${port}`, GROUP, port, "guest0");
      await agent.tell("join", "from world", GROUP, port + 2, "world0");
      await agent.tell("join", "from client", GROUP, port + 3, "client0");
    }
    const came = Promise.all(
      PEERS.map(async ({ own, towards, offset }) => {
        const peer = offset === 2 ? world : client;
        const questions = all.flatMap(({ port }) =>
          towards.flatMap((to, family) =>
            ["tcp", "udp", "udplite"].map((kind) => [
              ...[kind, to, kind === "udplite" ? port + 1 : port, SILENCE, 6, 0, [], own[family]],
            ]),
          ),
        );
        for (const { port } of all) await peer.tell("cast", "x", GROUP, port + offset, "guest0");
        const answers = (await peer.tell("ask_all", questions)) as string[];
        return questions.map(([kind, to], n) => (answers[n] === "ok" ? `${kind} ${to}` : ""));
      }),
    );
    const went = await Promise.all(
      all.map(async ({ agent, port }) => {
        await agent.tell("cast", "x", GROUP, port, "world0");
        const answers = (await agent.tell("ask_all", out)) as string[];
        return out.map(([kind, to], n) => (answers[n] === "ok" ? `${kind} ${to}` : ""));
      }),
    );
    const got = await came;
    const each = all.map(async ({ name, agent }, n) => {
      const passed = [...(went[n] ?? []), ...got.flatMap((answers) => answers.slice(6 * n, 6 * n + 6))];
      for (const from of ["from world", "from client"]) {
        if ((await agent.tell("receive", from, 0.02)) === "x") passed.push(`group ${from}`);
        await agent.tell("close", from);
      }
      return [name, passed] as const;
    });
    const seen = new Map(await Promise.all(each));
    for (const { name, port } of all) {
      if ((await world.tell("receive", `group ${port}`, 0.02)) === "x")
        seen.get(name)?.push("group to world");
      await world.tell("close", `group ${port}`);
    }
    return Object.fromEntries([...seen].map(([name, passed]) => [name, passed.filter(Boolean).sort()]));
  }

  const outTo = (hosts: string[]) => KINDS.flatMap((kind) => hosts.map((to) => `${kind} ${to}`));
  const inFrom = ({ towards }: (typeof PEERS)[number]) =>
    ["tcp", "udp", "udplite"].flatMap((kind) => towards.map((to) => `${kind} ${to}`));
  const EVERYTHING = [
    ...outTo([...FIRST, ...SECOND]),
    ...PEERS.flatMap(inFrom),
    ...["group to world", "group from world", "group from client"],
  ].sort();
  const OF_FIRST = [...outTo(FIRST), ...inFrom(PEERS[0]), "group from world"].sort();

  test("the second lock holds alone, for every protocol, out and in: a live session's, of what is left, and of who was refused", async () => {
    await lab.fragment("alice", LOCKED);
    await lab.fragment("bob", ONLY_FIRST);
    await lab.fragment("m0", REFUSED_BY_KERNEL);
    const [alice, left, m0, m1] = await Promise.all([
      logIn("alice"),
      logInAndLeave("bob", ["left"]),
      logIn("m0"),
      logIn("m1"),
    ]);
    const [bob] = left.agents as [Agent];
    await left.logOut();
    await waitFor(async () => (await lab.sessions()).some(({ state }) => state === "lingering"));
    // Where the module and the entry put a process, none of ours runs any more; faults.test.ts has them do it.
    const last = await new Agent(
      lab.start(["sh", "-c", `echo $$ >${QUARANTINE}/cgroup.procs; exec python3 ${AGENT}`]),
    ).ready();
    // Out of the cgroup that the lab knows it by, it has to end by itself, whatever comes.
    await using stack = new AsyncDisposableStack();
    stack.defer(() => last.end());
    const subjects = { alice, bob, m0, m1, last };
    const states = (await lab.sessions()).map(({ user, state }) => `${user} ${state}`);
    expect(states.sort()).toEqual(["alice open", "bob lingering", "m0 refused", "m1 refused"]);
    await lab.output("nft delete table inet authnft");

    let port = 9500;
    for (const agent of Object.values(subjects)) {
      port += 10;
      await agent.tell("serve", "tcp", port);
      await agent.tell("serve", "udp", port);
      await agent.tell("serve", "udplite", port + 1);
    }
    expect(await tries(subjects)).toEqual({ alice: OF_FIRST, bob: [], m0: [], m1: [], last: [] });

    // Nothing else holds them.
    const scopes = [alice, bob, m0, m1].map(({ scope }) => scope);
    await lab.output(
      [...scopes, "run-authnft-refused.mount"]
        .map((unit) => `systemctl set-property --runtime ${unit} IPAddressAllow=any IPAddressDeny=any`)
        .join("\n"),
    );
    expect(await tries(subjects)).toEqual(
      Object.fromEntries(Object.keys(subjects).map((name) => [name, EVERYTHING])),
    );
  });

  test("a socket that outlives its slice has no network once the table is back, neither a user's slice's nor ours", async () => {
    await lab.fragment("alice", ONLY_FIRST);
    await lab.fragment("bob", ONLY_FIRST);
    // Somebody who could have a socket of a slice's that is gone, so that those are remembered.
    await lab.output("loginctl enable-linger bob");
    const sets = { "authnft.slice": "map slices_out", "user.slice/user-1000.slice": "set covered_slices" };
    for (const [slice, set] of Object.entries(sets)) {
      const by = slice === "authnft.slice" ? "setsid nohup" : "systemd-run --user --quiet --scope";
      const name = `in-${slice.replace(/\W/g, "-")}`;
      const { agents: left, session } = await logInAndLeave("alice", [name], { by });
      const [agent] = left as [Agent];
      expect(agent.cgroup).toStartWith(`${slice}/`);
      await agent.tell("bind", "kept", "0.0.0.0", 9600);
      await world.tell("bind", "kept", "10.88.0.2", 9601);
      const getsOut = async () => {
        await agent.tell("send", "kept", "out", "10.88.0.2", 9601);
        return (await world.tell("receive", "kept", SILENCE / 2)) === "out";
      };
      const getsIn = async () => {
        await world.tell("send", "kept", "in", "10.88.0.1", 9600);
        return (await agent.tell("receive", "kept", SILENCE / 2)) === "in";
      };
      expect([slice, await getsOut(), await getsIn()]).toEqual([slice, true, true]);
      // The socket is all that is left of the slice: its holder is somewhere else, as if it had been handed over.
      await lab.output(`echo ${await agent.tell("getpid")} >/sys/fs/cgroup/init.scope/cgroup.procs`);
      const id = await lab.output(`stat -c %i /sys/fs/cgroup/${slice}`);
      session.end();
      await session.exited;
      await waitFor(async () => (await lab.sessions()).length === 0);
      const manager = slice === "authnft.slice" ? "" : "user@1000.service ";
      await lab.output(`systemctl stop ${manager}${slice.replace("user.slice/", "")}`);
      expect((await lab.run(`[ "$(stat -c %i /sys/fs/cgroup/${slice})" = ${id} ]`)).code).toBe(1);
      await lab.output("nft flush ruleset; systemctl restart authnft.service");
      expect([slice, await getsOut(), await getsIn()]).toEqual([slice, false, false]);
      // Nothing but the number of that slice holds it.
      const forget = (direction: string) =>
        `nft flush ${set.replace("out", direction)}`.replace(/(set|map) /, "$1 inet authnft ");
      await lab.output(["out", "in"].map(forget).join("; "));
      expect([slice, await getsOut(), await getsIn()]).toEqual([slice, true, true]);
      await lab.output("authnft restore");
      expect([slice, await getsOut()]).toEqual([slice, false]);
      await world.tell("close", "kept");
      await lab.output(["kill", String(await agent.tell("getpid"))]);
    }
    await lab.output("loginctl disable-linger bob");
  });

  test("root in a session gets past both locks by a packet socket, and past the table in another network namespace", async () => {
    await lab.fragment("alice", LOCKED);
    const alice = await logIn("alice");
    const root = await new Agent(lab.sshStart("alice", `exec sudo -n python3 ${AGENT}`)).ready();
    expect(root.cgroup).toMatch(/^authnft\.slice\/authnft-alice-\d+\.scope$/);
    await world.tell("bind", "raw", "10.88.0.3", 9610);
    await lab.output("ping -c 1 10.88.0.3");
    const frame = ["frame", "raw", "10.88.0.3", 9610, "10.88.0.1", 9611, "world0"];
    expect(await alice.tell(...frame)).toBe("EPERM");
    await root.tell("bind", "plain", "0.0.0.0", 9611);
    expect(await root.tell("send", "plain", "plain", "10.88.0.3", 9610)).toBe("EPERM");
    expect(await root.tell(...frame)).toBe("sent");
    expect(await world.tell("receive", "raw")).toBe("raw");
    // In another namespace the table is not, but the second lock is, if there is one.
    await lab.fragment("m0", "add rule inet authnft egress reject\n");
    const tries = (user: string, how: string) =>
      lab.ssh(user, `sudo -n ${how} probe tcp 10.77.0.1 22 --timeout 1`);
    const tried = await Promise.all([tries("m0", ""), tries("m0", "client"), tries("alice", "client")]);
    expect(tried.map(({ stdout }) => stdout)).toEqual(["refused\n", "ok\n", "timeout\n"]);
    await Promise.all([alice.end(), root.end()]);
  });
});
