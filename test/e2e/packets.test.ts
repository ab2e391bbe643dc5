// SPDX-License-Identifier: GPL-2.0-or-later

// Packets: what a session may send and receive, what it does to others, and what is left when it is over.

import { afterEach, beforeAll, expect, test } from "bun:test";
import { type JournalEntry, waitFor } from "../lab/lab.ts";
import {
  AGENT,
  type Agent,
  type Answer,
  dropAgents,
  installAgent,
  logIn,
  logInAndLeave,
  outside,
  spareAgents,
} from "./agent.ts";
import { lab, nothingLeft, viaBoth } from "./harness.ts";

/** How long a packet that shall not arrive is waited for, in seconds; others get five. */
const SILENCE = 1;

/**
 * Asks "tcp|udp|mptcp ADDRESS PORT [BYTES [FROM_PORT]]" all at once, and expects these answers: "ok", "timeout",
 * or the name of an error.
 */
async function expectAnswers(agent: Agent, expected: Record<string, string>): Promise<void> {
  const questions = Object.entries(expected).map(([question, answer]) => {
    const [kind, address, port, size = "6", from = "0"] = question.split(" ");
    return [kind, address, Number(port), answer === "timeout" ? SILENCE : 5, Number(size), Number(from)];
  });
  const answers = (await agent.tell("ask_all", questions)) as string[];
  expect(Object.fromEntries(Object.keys(expected).map((question, i) => [question, answers[i]]))).toEqual(
    expected,
  );
}

/** The same answer to every question. */
function all(answer: string, questions: readonly string[]): Record<string, string> {
  return Object.fromEntries(questions.map((question) => [question, answer]));
}

/** Both kinds of packet to each address. */
function both(port: number, ...addresses: string[]): string[] {
  return addresses.flatMap((address) => [`tcp ${address} ${port}`, `udp ${address} ${port}`]);
}

/** Refused by an answer, not by silence. For TCP a reset, for UDP an error from the call itself. */
function refused(questions: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    questions.map((question) => [question, /^udp/.test(question) ? "EPERM" : "ECONNREFUSED"]),
  );
}

/**
 * Refused where systemd's lock on addresses stands besides: no reset would arrive. Over IPv6 the error is
 * taken by a connect when it tries again, after a second.
 */
function lockedOut(questions: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    questions.map((question) => [
      question,
      /^udp/.test(question) ? "EPERM" : question.includes(":") ? "EACCES" : "EHOSTUNREACH",
    ]),
  );
}

/** The rules that close a chain so that every refusal is an answer. */
const REJECT = `
add rule inet authnft egress meta l4proto tcp reject with tcp reset
add rule inet authnft egress reject with icmpx admin-prohibited
`;

const ANYTHING = "add rule inet authnft egress accept\n";

const FIRST = ["10.88.0.2", "fd88::2"];
const SECOND = ["10.88.0.3", "fd88::3"];
const WORLD = both(7001, ...FIRST, ...SECOND);

const FIRST_ONLY = `
add rule inet authnft egress ip daddr 10.88.0.2 accept
add rule inet authnft egress ip6 daddr fd88::2 accept
${REJECT}`;

const CLOSED = `${REJECT}add rule inet authnft filter drop\n`;

async function journalOf(scope: string, since: string): Promise<JournalEntry[]> {
  return (await lab.journal({ since })).filter((entry) => entry["AUTHNFT_SCOPE_UNIT"] === scope);
}

async function chains(scope: string): Promise<string[]> {
  const stem = scope.replace(/^authnft-(.*)-(\d+)\.scope$/, "session_$1_$2_");
  return [...(await lab.ruleset()).matchAll(/chain (\S+)/g)]
    .map(([, name = ""]) => name)
    .filter((name) => name.startsWith(stem));
}

/** Does something while authnft.slice has these settings, as "systemctl edit" would make them. */
async function withSliceSettings(settings: string[], work: () => Promise<void>): Promise<void> {
  const directory = "/etc/systemd/system/authnft.slice.d";
  await lab.write(`${directory}/test.conf`, `[Slice]\n${settings.join("\n")}\n`);
  await lab.output(["systemctl", "daemon-reload"]);
  try {
    await work();
  } finally {
    await lab.output(`rm -r ${directory} && systemctl daemon-reload`);
  }
}

/** SocketBindDeny= takes a systemd that was built with BPF_FRAMEWORK; Debian 12's was not. */
const bindsWork = (await lab.output(["systemctl", "--version"])).includes("+BPF_FRAMEWORK");

viaBoth("packets", (via) => {
  /** The destinations' network, the clients' network, and root in the guest itself. */
  let world: Agent;
  let client: Agent;
  let root: Agent;

  beforeAll(async () => {
    await lab.reset();
    await lab.pam("sshd", { through: via });
    await installAgent();
    [world, client, root] = await Promise.all([
      outside({ netns: "world" }),
      outside({ netns: "client" }),
      outside(),
    ]);
    for (const address of FIRST) expect(await world.tell("serve", "udp", 9000, address)).toBe("listening");
    spareAgents();
  });

  afterEach(async () => {
    await dropAgents();
    await lab.run(`pkill -KILL -u alice -f ${AGENT}; systemctl kill --signal=KILL 'authnft-*.scope'`);
  });

  test("what one rule accepts is reached, and the rest refused, IPv4 and IPv6, TCP, MPTCP and UDP, whatever the socket", async () => {
    await lab.fragment("alice", FIRST_ONLY);
    const alice = await logIn("alice");
    const questions = (addresses: string[]) => [
      ...both(7001, ...addresses),
      // An IPv6 socket sends IPv4 packets to a mapped address; MPTCP makes sockets of its own in the kernel.
      ...both(7001, `::ffff:${addresses[0]}`),
      ...addresses.map((address) => `mptcp ${address} 7001`),
    ];
    await expectAnswers(alice, { ...all("ok", questions(FIRST)), ...refused(questions(SECOND)) });
    await expectAnswers(root, all("ok", [...questions(FIRST), ...questions(SECOND)]));
    await alice.end();
    await nothingLeft();
  });

  test("answers and errors of the network reach a session into which nothing else may come", async () => {
    await lab.fragment(
      "alice",
      `add rule inet authnft egress tcp dport 7004 reject
      ${ANYTHING}
      add rule inet authnft filter drop`,
    );
    const alice = await logIn("alice");
    // The world becomes a router to networks that it says it has no way to, or only a narrow one.
    await lab.output(`
      ip route add 10.99.0.0/16 via 10.88.0.2 && ip -6 route add fd99::/16 via fd88::2
      world sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
      world ip route add unreachable 10.99.1.0/24 && world ip -6 route add unreachable fd99:1::/64
      world ip route add 10.99.2.0/24 via 10.88.0.1 mtu lock 1300
      world ip -6 route add fd99:2::/64 via fd88::1 mtu lock 1300`);
    try {
      await expectAnswers(alice, {
        ...all("ok", WORLD),
        ...all("ECONNREFUSED", both(7999, ...FIRST)),
        // By the fragment, with an ICMP error that the host sends to itself.
        ...all("ECONNREFUSED", ["tcp 10.88.0.2 7004", "tcp fd88::2 7004"]),
        // Of UDP, only an unreachable port is an error that a program is told.
        "tcp 10.99.1.1 7001": "EHOSTUNREACH",
        "tcp fd99:1::1 7001": "ENETUNREACH",
      });
      expect(alice.ms).toBeLessThan(3000);
      await expectAnswers(alice, all("EMSGSIZE", ["udp 10.99.2.1 7001 1400", "udp fd99:2::1 7001 1400"]));
    } finally {
      await lab.output(`
        world ip route del unreachable 10.99.1.0/24; world ip -6 route del unreachable fd99:1::/64
        world ip route del 10.99.2.0/24; world ip -6 route del fd99:2::/64
        world sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0
        ip route del 10.99.0.0/16; ip -6 route del fd99::/16`);
    }
    // The session closes first and so waits in TIME_WAIT: the peer's FIN and ACKs came through.
    expect(await alice.tell("connect", "c", "10.88.0.2", 7001)).toBe("connected");
    expect(await alice.tell("receive", "c")).toStartWith("hello");
    const port = await alice.tell("port", "c");
    await alice.tell("close", "c");
    await waitFor(async () => (await lab.output(`ss -Htan state time-wait sport = :${port}`)) !== "");
    // The filter chain does end in drop.
    expect(await alice.tell("serve", "tcp", 8080)).toBe("listening");
    await expectAnswers(client, { "tcp 10.77.0.1 8080": "timeout" });
    await alice.end();
    await nothingLeft();
  });

  test("big datagrams and IPv6 extension headers are judged by their ports, in both directions", async () => {
    await lab.fragment(
      "alice",
      `add rule inet authnft egress udp dport 9000 accept
      add rule inet authnft filter udp dport 8400 accept
      ${CLOSED}`,
    );
    const alice = await logIn("alice");
    const sizes = FIRST.flatMap((address) => [4000, 60_000].map((size) => ({ address, size })));
    await expectAnswers(alice, {
      ...all(
        "ok",
        sizes.map(({ address, size }) => `udp ${address} 9000 ${size}`),
      ),
      ...all(
        "EPERM",
        sizes.map(({ address, size }) => `udp ${address} 7001 ${size}`),
      ),
    });
    for (const port of [8400, 8401]) expect(await alice.tell("serve", "udp", port)).toBe("listening");
    const arriving = (port: number) =>
      ["10.77.0.1", "fd77::1"].flatMap((address) =>
        [4000, 60_000].map((size) => `udp ${address} ${port} ${size}`),
      );
    await expectAnswers(client, { ...all("ok", arriving(8400)), ...all("timeout", arriving(8401)) });
    // IPV6_HOPOPTS and IPV6_DSTOPTS, with eight bytes of padding.
    const options = [54, 59].map((header) => [41, header, "0000010400000000"]);
    const extended = (port: number, patience: number) => ["udp", "fd77::1", port, patience, 100, 0, options];
    expect(await client.tell("ask_all", [extended(8400, 5), extended(8401, SILENCE)])).toEqual([
      "ok",
      "timeout",
    ]);
    expect(await alice.tell("told_by", 8401)).toEqual([]);
    await alice.end();
    await nothingLeft();
  });

  test("established is not enough: a flow that a forbidden peer opened from outside is refused, where a rule on state would let it pass", async () => {
    // The same policy twice, once with the rule that most firewalls begin with.
    await lab.fragment("alice", FIRST_ONLY);
    await lab.fragment("bob", `add rule inet authnft egress ct state established accept\n${FIRST_ONLY}`);
    const outcome = async (user: string, port: number): Promise<string[]> => {
      const agent = await logIn(user);
      const seen: string[] = [];
      for (const [any, own, forbidden] of [
        ["0.0.0.0", "10.88.0.1", "10.88.0.3"],
        ["::", "fd88::1", "fd88::3"],
      ]) {
        const peer = `${user} ${forbidden}`;
        await world.tell("bind", peer, forbidden, port);
        // Nobody has that port yet: the packet is nobody's, and connection tracking keeps it.
        expect(await world.tell("send", peer, "first", own, port)).toBe("sent");
        await waitFor(
          async () => (await lab.output(`conntrack -L -p udp -s ${forbidden} --sport ${port}`)) !== "",
        );
        await agent.tell("bind", peer, any, port);
        const sent = await agent.tell("send", peer, "laundered", forbidden, port);
        seen.push(`${sent}, ${await world.tell("receive", peer, sent === "sent" ? 5 : SILENCE / 2)}`);
        // The same with TCP, which forgets what was answered with a reset.
        await world.tell("connect_from", own, port + 1, forbidden, port + 1);
        seen.push(String(await agent.tell("ask", "tcp", forbidden, port + 1, 5, 6, port + 1)));
      }
      await agent.end();
      return seen;
    };
    expect(await outcome("alice", 5500)).toEqual([
      "EPERM, timeout",
      "ECONNREFUSED",
      "EPERM, timeout",
      "ECONNREFUSED",
    ]);
    expect(await outcome("bob", 5510)).toEqual([
      "sent, laundered",
      "ECONNREFUSED",
      "sent, laundered",
      "ECONNREFUSED",
    ]);
    await nothingLeft();
  });

  test("a quota holds also for a flow that the peer opened before the member bound the port", async () => {
    // A datagram of 100 bytes is 128 bytes on the wire: three of them fit.
    await lab.fragment(
      "alice",
      `add rule inet authnft egress ip daddr 10.88.0.2 quota until 400 bytes accept\n${REJECT}`,
    );
    const outcome = async (port: number, peerOpens: boolean): Promise<Answer[]> => {
      const alice = await logIn("alice");
      const name = `quota ${port}`;
      await world.tell("bind", name, "10.88.0.2", port);
      if (peerOpens) {
        await world.tell("send", name, "first", "10.88.0.1", port);
        await waitFor(
          async () => (await lab.output(`conntrack -L -p udp -s 10.88.0.2 --sport ${port}`)) !== "",
        );
      }
      await alice.tell("bind", name, "0.0.0.0", port);
      const sent: Answer[] = [];
      for (let i = 0; i < 5; i++)
        sent.push(await alice.tell("send", name, "x".repeat(100), "10.88.0.2", port));
      await alice.end();
      return sent;
    };
    const held = ["sent", "sent", "sent", "EPERM", "EPERM"];
    expect(await outcome(5520, false)).toEqual(held);
    expect(await outcome(5521, true)).toEqual(held);
    await nothingLeft();
  });

  test("counters, quotas, limits and log statements of a fragment see every packet of a flow", async () => {
    await lab.fragment(
      "alice",
      `add rule inet authnft egress udp dport 9000 counter
      add rule inet authnft egress ip daddr 10.88.0.2 quota over 500 bytes reject
      add rule inet authnft egress ip6 daddr fd88::2 limit rate over 1/hour burst 2 packets reject
      add rule inet authnft egress udp dport 7001 log prefix "alice asks" group 7`,
    );
    expect(await root.tell("watch_log", "log", 7)).toBe("watching");
    const alice = await logIn("alice");
    const attempts = async (any: string, address: string): Promise<Answer[]> => {
      await alice.tell("bind", address, any, 0);
      const sent: Answer[] = [];
      for (let i = 0; i < 5; i++)
        sent.push(await alice.tell("send", address, "x".repeat(100), address, 9000));
      return sent;
    };
    expect(await attempts("0.0.0.0", "10.88.0.2")).toEqual(["sent", "sent", "sent", "EPERM", "EPERM"]);
    expect(await attempts("::", "fd88::2")).toEqual(["sent", "sent", "EPERM", "EPERM", "EPERM"]);
    // Five of 128 bytes and five of 148.
    expect(await lab.ruleset()).toContain("udp dport 9000 counter packets 10 bytes 1380");
    await expectAnswers(alice, { "udp 10.88.0.3 7001": "ok" });
    expect(await root.tell("logged", "log")).toBe("alice asks");
    await root.tell("close", "log");
    await alice.end();
    await nothingLeft();
  });

  test("what a session sends and receives is counted on its map elements, and told by its end event", async () => {
    await lab.fragment("alice", `${ANYTHING}add rule inet authnft filter drop\n`);
    const since = await lab.cursor();
    const alice = await logIn("alice");
    // Ten datagrams of 100 bytes over IPv4 and five over IPv6, each echoed: 10 × 128 + 5 × 148 bytes each way.
    for (const [any, address, times] of [
      ["0.0.0.0", "10.88.0.2", 10],
      ["::", "fd88::2", 5],
    ] as const) {
      await alice.tell("bind", address, any, 0);
      for (let i = 0; i < times; i++) {
        expect(await alice.tell("send", address, "x".repeat(100), address, 9000)).toBe("sent");
        expect(await alice.tell("receive", address)).toBe("x".repeat(100));
      }
    }
    for (const map of ["session_in", "session_out"]) {
      const shown = await lab.output(["nft", "list", "map", "inet", "authnft", map]);
      expect(shown).toMatch(new RegExp(`"${alice.cgroup}" counter packets 15 bytes 2020 `));
    }
    await alice.end();
    await nothingLeft();
    const end = (await journalOf(alice.scope, since)).find((entry) => entry["AUTHNFT_EVENT"] === "end");
    expect([end?.["AUTHNFT_PACKETS"], end?.["AUTHNFT_BYTES"]]).toEqual(["30", "4040"]);
  });

  test("a listener is reachable from its own session's client address only: three sessions of one user from three addresses", async () => {
    // As README and man page write it, and in both forms published for the original.
    await lab.fragment(
      "alice",
      `add rule inet authnft filter socket cgroupv2 level 2 . ip saddr @session_map_ipv4 accept
      add rule inet authnft filter meta cgroup . ip6 saddr @session_map_ipv6 accept
      add rule inet authnft filter drop`,
    );
    await lab.fragment(
      "bob",
      `add rule inet authnft @session_chain meta cgroup . ip saddr @session_v4 accept
      add rule inet authnft @session_chain meta cgroup . ip6 saddr @session_v6 accept
      add rule inet authnft @session_chain drop`,
    );
    const sessions = await Promise.all([
      logIn("alice", { to: "v4" }),
      logIn("alice", { to: "v6" }),
      logIn("alice", { to: "10.88.0.1", netns: "world" }),
      logIn("bob", { to: "mapped" }),
    ]);
    const records = await lab.sessions();
    const addresses = sessions.map(
      ({ scope }) => records.find((record) => record.scope_unit === scope)?.remote_ip,
    );
    expect(addresses).toEqual(["10.77.0.2", "fd77::2", "10.88.0.2", "10.77.0.2"]);
    await Promise.all(
      sessions.map(async (agent, i) => {
        for (const kind of ["tcp", "udp"])
          expect(await agent.tell("serve", kind, 8100 + i)).toBe("listening");
      }),
    );
    const seenBy =
      (...ports: number[]) =>
      (address: string) =>
        sessions.map((_, i) => all(ports.includes(8100 + i) ? "ok" : "timeout", both(8100 + i, address)));
    await Promise.all([
      expectAnswers(
        client,
        Object.assign({}, ...seenBy(8100, 8103)("10.77.0.1"), ...seenBy(8101)("fd77::1")),
      ),
      expectAnswers(world, Object.assign({}, ...seenBy(8102)("10.88.0.1"), ...seenBy()("fd88::1"))),
    ]);
    // Neither is the host itself, nor another session of the user.
    await expectAnswers(root, all("timeout", both(8100, "127.0.0.1", "::1")));
    await Promise.all(sessions.map((agent) => agent.end()));
    await nothingLeft();
  });

  test("multicast and broadcast reach others who listen on the port of a session that drops everything", async () => {
    await lab.fragment("alice", "add rule inet authnft filter drop\n");
    const groups = ["239.1.2.3", "ff15::123"];
    for (const group of groups) expect(await root.tell("join", group, group, 6000, "client0")).toBe("joined");
    const alice = await logIn("alice");
    // Bound last: a look-up by port alone finds this one.
    for (const group of groups)
      expect(await alice.tell("join", group, group, 6000, "client0")).toBe("joined");
    for (const address of [...groups, "10.77.0.255"])
      expect(await client.tell("cast", `to ${address}`, address, 6000, "guest0")).toBe("sent");
    expect(await root.tell("receive", "239.1.2.3")).toBe("to 239.1.2.3");
    expect(await root.tell("receive", "239.1.2.3")).toBe("to 10.77.0.255");
    expect(await root.tell("receive", "ff15::123")).toBe("to ff15::123");
    // The session's rules are in force: nothing of its own arrives.
    expect(await alice.tell("bind", "own", "0.0.0.0", 6001)).toBe("bound");
    await client.tell("cast", "unicast", "10.77.0.1", 6001, "guest0");
    expect(await alice.tell("receive", "own", SILENCE / 2)).toBe("timeout");
    for (const group of groups) await root.tell("close", group);
    await alice.end();
    await nothingLeft();
  });

  test("a session that drops everything does nothing to another user's session, to a user who is no member, or to root", async () => {
    await lab.fragment("alice", "add rule inet authnft egress drop\nadd rule inet authnft filter drop\n");
    await lab.fragment("bob", ANYTHING);
    const [alice, bob, dave] = await Promise.all([logIn("alice"), logIn("bob"), logIn("dave")]);
    const others = { 8201: bob, 8202: dave, 8203: root };
    for (const [port, agent] of [...Object.entries(others), [8200, alice] as const])
      for (const kind of ["tcp", "udp"])
        expect(await agent.tell("serve", kind, Number(port))).toBe("listening");
    // Dropped on its way out, a datagram fails at once; a connection waits for an answer.
    const silenced = (question: string) => (question.startsWith("udp") ? "EPERM" : "timeout");
    await Promise.all([
      expectAnswers(alice, Object.fromEntries(WORLD.map((question) => [question, silenced(question)]))),
      ...[bob, dave, root].map((agent) => expectAnswers(agent, all("ok", WORLD))),
      expectAnswers(client, {
        ...all("timeout", both(8200, "10.77.0.1", "fd77::1")),
        ...all(
          "ok",
          Object.keys(others).flatMap((port) => both(Number(port), "10.77.0.1", "fd77::1")),
        ),
      }),
    ]);
    await Promise.all([alice.end(), bob.end(), dave.end()]);
    await nothingLeft();
  });

  test("two sessions reach each other over the loopback where one may ask and the other may be asked, and only there", async () => {
    const policy = `add rule inet authnft egress tcp dport 8300 accept
      add rule inet authnft filter tcp dport 8300 accept
      ${CLOSED}`;
    await Promise.all(["alice", "bob"].map((user) => lab.fragment(user, policy)));
    const [asking, sibling, bob] = await Promise.all([logIn("alice"), logIn("alice"), logIn("bob")]);
    const at = { "127.0.0.1": asking, "127.0.0.2": sibling, "::1": bob };
    for (const [address, agent] of Object.entries(at)) {
      for (const port of [8300, 8301])
        expect(await agent.tell("serve", "tcp", port, address)).toBe("listening");
    }
    expect(await root.tell("serve", "tcp", 8300, "127.0.0.3")).toBe("listening");
    const questions = [...Object.keys(at), "127.0.0.3"];
    await expectAnswers(asking, refused(questions.map((address) => `tcp ${address} 8301`)));
    await expectAnswers(
      asking,
      all(
        "ok",
        questions.map((address) => `tcp ${address} 8300`),
      ),
    );
    await Promise.all([asking.end(), sibling.end(), bob.end()]);
    await nothingLeft();
  });

  test("a refused session has no network and is told so at once, though PAM lets it through", async () => {
    await lab.output(["rm", "-f", "/etc/authnft/users/carol"]);
    await lab.pam("sshd", { through: via, control: "optional" });
    try {
      const carol = await logIn("carol");
      expect(carol.cgroup).toStartWith("authnft.slice/");
      await expectAnswers(carol, lockedOut([...WORLD, ...both(22, "127.0.0.1", "::1")]));
      expect(carol.ms).toBeLessThan(2000);
      for (const kind of ["tcp", "udp"]) await carol.tell("serve", kind, 8400);
      await expectAnswers(client, all("timeout", both(8400, "10.77.0.1", "fd77::1")));
      await carol.end();
      // The same line, the same user, with a policy.
      await lab.fragment("carol", ANYTHING);
      const again = await logIn("carol");
      await expectAnswers(again, all("ok", WORLD));
      await again.end();
    } finally {
      await lab.pam("sshd", { through: via });
    }
    await nothingLeft();
  });

  test("sockets that outlive the session have no network, and what is open is reset at once: left behind, or moved to the user's manager", async () => {
    await lab.fragment("alice", ANYTHING);
    const { agents: left, logOut } = await logInAndLeave("alice", ["stays", "escapes"]);
    const [stays, escapes] = left as [Agent, Agent];
    const families = [
      { any: "0.0.0.0", there: "10.88.0.2", here: "10.77.0.1" },
      { any: "::", there: "fd88::2", here: "fd77::1" },
    ];
    const offers = new Map([
      [stays, 8500],
      [escapes, 8501],
    ]);
    for (const [agent, port] of offers) {
      for (const { any, there } of families) {
        expect(await agent.tell("connect", `tcp ${there}`, there, 7001)).toBe("connected");
        expect(await agent.tell("receive", `tcp ${there}`)).toStartWith("hello");
        await agent.tell("bind", `udp ${there}`, any, 0);
        expect(await agent.tell("send", `udp ${there}`, "x", there, 9000)).toBe("sent");
        expect(await agent.tell("receive", `udp ${there}`)).toBe("x");
      }
      for (const kind of ["tcp", "udp"]) await agent.tell("serve", kind, port);
      await expectAnswers(client, all("ok", both(port, "10.77.0.1", "fd77::1")));
      await agent.tell("told_by", port);
    }
    expect(await escapes.tell("escape")).toStartWith("user.slice/");
    expect(await escapes.tell("send", "tcp 10.88.0.2", "still open")).toBe("sent");
    expect(await escapes.tell("receive", "tcp 10.88.0.2")).toBe("still open");

    await logOut();
    const cutOff = async (agent: Agent) => {
      for (const { there } of families) {
        // A late acknowledgement may have been refused already, and reset the connection.
        const sent = await agent.tell("send", `tcp ${there}`, "x");
        const told = sent === "sent" ? await agent.tell("receive", `tcp ${there}`) : sent;
        expect(["ECONNABORTED", "ECONNRESET"]).toContain(String(told));
        expect(agent.ms).toBeLessThan(500);
        // The first call tells that the socket was aborted, the next that nothing may be sent.
        for (const address of [there, "127.0.0.1", "::1"].filter(
          (a) => a.includes(":") === there.includes(":"),
        ))
          expect(["EPERM", "ECONNABORTED"]).toContain(
            String(await agent.tell("send", `udp ${there}`, "x", address, 9000)),
          );
      }
      const port = offers.get(agent) ?? 0;
      const big = families.map(({ here }) => `udp ${here} ${port} 4000`);
      // What listened is closed, so the kernel itself answers; what was bound for datagrams still is, and hears nothing.
      await expectAnswers(client, {
        ...all("timeout", [`udp 10.77.0.1 ${port}`, `udp fd77::1 ${port}`, ...big]),
        ...all("ECONNREFUSED", [`tcp 10.77.0.1 ${port}`, `tcp fd77::1 ${port}`]),
      });
      expect(await agent.tell("told_by", port)).toEqual([]);
    };
    await waitFor(async () => (await lab.sessions()).every(({ state }) => state === "lingering"));
    expect(await chains(stays.scope)).toEqual([]);
    await cutOff(stays);
    await expectAnswers(stays, lockedOut(WORLD));
    expect(stays.ms).toBeLessThan(2000);
    await lab.output(["kill", String(await stays.tell("getpid"))]);
    // Now even the cgroup is gone, and nobody's rules use connection tracking, which would put fragments together.
    await nothingLeft();
    await cutOff(escapes);
    await lab.output(["kill", String(await escapes.tell("getpid"))]);
  });

  test("a connection that was only half open at the logout is nobody's: what listens is reset with the session", async () => {
    await lab.fragment("alice", ANYTHING);
    const { agents: left, logOut } = await logInAndLeave("alice", ["half-open"]);
    const [alice] = left as [Agent];
    expect(await alice.tell("listen", "listener", "10.77.0.1", 8600)).toBe("listening");
    // The client keeps the third packet of the handshake, and its data, to itself.
    await lab.output(["client", "nft", "-f", "-"], {
      input: `table inet hold {
        chain out { type filter hook output priority 0; tcp dport 8600 tcp flags & (syn | ack) == ack drop; }
      }\n`,
    });
    try {
      expect(await client.tell("connect", "half-open", "10.77.0.1", 8600)).toBe("connected");
      expect(await client.tell("send", "half-open", "after the logout")).toBe("sent");
      await logOut();
      await waitFor(async () => (await lab.sessions()).every(({ state }) => state === "lingering"));
    } finally {
      await lab.output(["client", "nft", "delete", "table", "inet", "hold"]);
    }
    // Until the handshake is over the kernel has no socket that a rule could see; so the listener has to go.
    expect(await alice.tell("accept", "listener", "accepted", 1)).toBe("EINVAL");
    await client.tell("send", "half-open", "and more");
    expect(await alice.tell("accept", "listener", "accepted", 1)).toBe("EINVAL");
    await client.tell("close", "half-open");
    await lab.output(["kill", String(await alice.tell("getpid"))]);
    await nothingLeft();
  });

  test("a later session with the ports of an earlier one is judged by its own rules, and gets none of the answers", async () => {
    const open = `${FIRST_ONLY}add rule inet authnft filter drop\n`;
    await lab.fragment("alice", open);
    await world.tell("bind", "peer", "10.88.0.2", 9100);
    await world.tell("listen", "listener", "10.88.0.2", 9101);
    const first = await logIn("alice");
    await first.tell("bind", "udp", "0.0.0.0", 5600);
    expect(await first.tell("send", "udp", "one", "10.88.0.2", 9100)).toBe("sent");
    expect(await world.tell("receive", "peer")).toBe("one");
    await world.tell("send", "peer", "answer", "10.88.0.1", 5600);
    expect(await first.tell("receive", "udp")).toBe("answer");
    await first.tell("bind", "tcp", "0.0.0.0", 5601, "tcp");
    expect(await first.tell("connect", "tcp", "10.88.0.2", 9101)).toBe("connected");
    await world.tell("accept", "listener", "accepted");
    await first.end();
    await nothingLeft();

    await lab.fragment("alice", CLOSED);
    const second = await logIn("alice");
    await second.tell("bind", "udp", "0.0.0.0", 5600);
    expect(await lab.output("conntrack -L -p udp --dport 9100")).toContain("sport=5600");
    await world.tell("send", "peer", "late", "10.88.0.1", 5600);
    expect(await second.tell("receive", "udp", SILENCE / 2)).toBe("timeout");
    await expectAnswers(second, { "tcp 10.88.0.2 9101 6 5601": "ECONNREFUSED" });
    expect(await second.tell("send", "udp", "two", "10.88.0.2", 9100)).toBe("EPERM");
    expect(await world.tell("receive", "peer", SILENCE / 2)).toBe("timeout");
    await second.end();
    await nothingLeft();

    // A third that may, so nothing but the rules was in the way.
    await lab.fragment("alice", FIRST_ONLY);
    const third = await logIn("alice");
    await third.tell("bind", "tcp", "0.0.0.0", 5601, "tcp");
    expect(await third.tell("connect", "tcp", "10.88.0.2", 9101)).toBe("connected");
    await third.tell("bind", "udp", "0.0.0.0", 5600);
    expect(await third.tell("send", "udp", "three", "10.88.0.2", 9100)).toBe("sent");
    expect(await world.tell("receive", "peer")).toBe("three");
    await world.tell("send", "peer", "answer", "10.88.0.1", 5600);
    expect(await third.tell("receive", "udp")).toBe("answer");
    await third.end();
    for (const name of ["peer", "listener", "accepted"]) await world.tell("close", name);
    await nothingLeft();
  });

  test("a later session that may use the ports of an earlier one gets its own answers, though nothing else may come in", async () => {
    await lab.fragment("alice", `${ANYTHING}add rule inet authnft filter drop\n`);
    for (let login = 1; login <= 2; login++) {
      const alice = await logIn("alice");
      expect(await chains(alice.scope)).not.toEqual([]);
      for (const address of FIRST) await expectAnswers(alice, { [`udp ${address} 9000 6 5610`]: "ok" });
      await alice.end();
      await nothingLeft();
    }
  });

  test("ten logins of one user at once: ten scopes, records and pairs of chains, each in force, none left", async () => {
    await lab.fragment("alice", FIRST_ONLY);
    await manyAtOnce(Array(10).fill("alice"), () => ({
      ...all("ok", both(7001, "fd88::2")),
      ...refused(both(7001, "10.88.0.3")),
    }));
  });

  test("logins of ten users at once: ten scopes, records and pairs of chains, each with its own policy, none left", async () => {
    const users = [...Array(10).keys()].map((number) => `m${number}`);
    const ports = [7001, 7002, 7003, 7004];
    const portOf = (user: string) => 7001 + (Number(user.slice(1)) % ports.length);
    await Promise.all(
      users.map((user) =>
        lab.fragment(user, `add rule inet authnft egress tcp dport ${portOf(user)} accept\n${REJECT}`),
      ),
    );
    await manyAtOnce(users, (user) =>
      Object.fromEntries(
        ports.map((port) => [`tcp 10.88.0.2 ${port}`, port === portOf(user) ? "ok" : "ECONNREFUSED"]),
      ),
    );
  });

  async function manyAtOnce(
    users: string[],
    answersOf: (user: string) => Record<string, string>,
  ): Promise<void> {
    const agents = await Promise.all(users.map(async (user) => ({ user, agent: await logIn(user) })));
    const records = await lab.sessions();
    const ids = new Set(records.map(({ cg_id }) => cg_id));
    expect(ids.size).toBe(users.length);
    expect(records.map(({ user, cg_path }) => `${user} ${cg_path}`).sort()).toEqual(
      agents.map(({ user, agent }) => `${user} ${agent.cgroup}`).sort(),
    );
    const elements = await lab.output(
      "nft list map inet authnft session_out; nft list map inet authnft session_in",
    );
    for (const { agent } of agents) {
      expect(await chains(agent.scope)).toEqual(
        expect.arrayContaining([expect.stringMatching(/_in$/), expect.stringMatching(/_out$/)]),
      );
      expect(elements.split(`"${agent.cgroup}" `)).toBeArrayOfSize(3);
    }
    await Promise.all(agents.map(({ user, agent }) => expectAnswers(agent, answersOf(user))));
    await Promise.all(agents.map(({ agent }) => agent.end()));
    await nothingLeft();
  }

  test(`authnft.slice's settings hold for a session whose fragment allows everything: IPAddressDeny=${bindsWork ? " and SocketBindDeny=" : ""} act, TasksMax= and MemoryMax= are in force`, async () => {
    await lab.fragment("alice", ANYTHING);
    const denied = [
      "IPAddressDeny=10.88.0.3 fd88::3",
      "SocketBindDeny=ipv4:tcp:8700",
      "SocketBindDeny=ipv6:udp:8700",
    ];
    await withSliceSettings([...denied, "TasksMax=40", "MemoryMax=64M"], async () => {
      const alice = await logIn("alice");
      await expectAnswers(alice, {
        ...all("ok", both(7001, ...FIRST)),
        ...all(
          "EPERM",
          SECOND.map((address) => `udp ${address} 7001`),
        ),
        ...all(
          "timeout",
          SECOND.map((address) => `tcp ${address} 7001`),
        ),
      });
      expect([
        await alice.tell("bind", "a", "0.0.0.0", 8700, "tcp"),
        await alice.tell("bind", "b", "::", 8700, "udp"),
        await alice.tell("bind", "c", "::", 8701, "tcp"),
      ]).toEqual(bindsWork ? ["EPERM", "EPERM", "bound"] : ["bound", "bound", "bound"]);
      const shown = async (unit: string, ...names: string[]) =>
        await lab.output(["systemctl", "show", ...names.map((name) => `--property=${name}`), unit]);
      expect(await shown("authnft.slice", "TasksMax", "MemoryMax")).toBe(
        `MemoryMax=${64 << 20}\nTasksMax=40`,
      );
      // systemd 255 and later tell what comes of it for the scope.
      const effective = await shown(alice.scope, "EffectiveTasksMax", "EffectiveMemoryMax");
      expect(effective).toBeOneOf(["", `EffectiveMemoryMax=${64 << 20}\nEffectiveTasksMax=40`]);
      await alice.end();
    });
    const alice = await logIn("alice");
    await expectAnswers(alice, all("ok", WORLD));
    expect(await alice.tell("bind", "a", "0.0.0.0", 8700, "tcp")).toBe("bound");
    await alice.end();
    await nothingLeft();
  });

  if (lab.controllers.has("pids"))
    test("TasksMax= on authnft.slice bounds a session's processes, and at the logout of a full session its rules go within a second", async () => {
      await lab.fragment("alice", ANYTHING);
      await withSliceSettings(["TasksMax=40"], async () => {
        const since = await lab.cursor();
        const { agents: left, logOut } = await logInAndLeave("alice", ["full"]);
        const [alice] = left as [Agent];
        const [count, error] = String(await alice.tell("crowd", 60)).split(" ");
        expect(error).toBe("EAGAIN");
        expect(Number(count)).toBeLessThan(40);
        const start = performance.now();
        await logOut();
        const empty = () => lab.output(["systemctl", "kill", "--signal=KILL", alice.scope]);
        // pam_exec cannot fork: then it is the end of the scope that cleans up.
        if (via === "exec") await empty();
        await waitFor(async () => (await chains(alice.scope)).length === 0, { everyMs: 10 });
        expect(performance.now() - start).toBeLessThan(1000);
        if (via === "shim") await empty();
        await nothingLeft();
        const how = (await journalOf(alice.scope, since))
          .map((entry) => entry["AUTHNFT_HOW"])
          .filter(Boolean);
        expect(how).toEqual([via === "shim" ? "pam" : "lost"]);
      });
    });

  if (lab.controllers.has("memory"))
    test("MemoryMax= on authnft.slice ends a session that takes more, and its rules go within a second", async () => {
      await lab.fragment("alice", ANYTHING);
      await withSliceSettings(["MemoryMax=64M", "MemorySwapMax=0"], async () => {
        const alice = await logIn("alice");
        await alice.tell("hog", 128).then(
          () => expect.unreachable("128 MiB were to be had"),
          () => undefined,
        );
        const start = performance.now();
        await waitFor(async () => (await chains(alice.scope)).length === 0, { everyMs: 10 });
        expect(performance.now() - start).toBeLessThan(1000);
      });
      await nothingLeft();
    });

  test("the firewall flushed, or our table deleted: the next login brings the table back, and every session's rules with it", async () => {
    await lab.fragment("alice", FIRST_ONLY);
    // Slices of users who were here before may go meanwhile; then nft has numbers for their names.
    const shape = async (): Promise<string> =>
      (await lab.ruleset()).replace(/"user\.slice\/user-\d+\.slice"|\b\d{5,}\b/g, "a slice");
    const whole = await shape();
    expect(whole).toContain("hook output");
    for (const command of ["nft flush ruleset", "nft delete table inet authnft"]) {
      const before = await logIn("alice");
      await lab.output(command);
      expect(await lab.ruleset()).toBe("");
      const after = await logIn("alice");
      await expectAnswers(after, { ...all("ok", both(7001, ...FIRST)), ...refused(both(7001, ...SECOND)) });
      await expectAnswers(before, { ...all("ok", both(7001, ...FIRST)), ...refused(both(7001, ...SECOND)) });
      await Promise.all([before.end(), after.end()]);
      await nothingLeft();
      expect(await shape()).toBe(whole);
    }
  });

  test("authnft.slice stopped, or stopped and started, between logins: policy and default hold in the new slice", async () => {
    await lab.fragment("alice", FIRST_ONLY);
    const slice = async () => await lab.output("stat -c %i /sys/fs/cgroup/authnft.slice");
    try {
      for (const command of [
        "systemctl stop authnft.slice",
        "systemctl stop authnft.slice; systemctl start authnft.slice",
      ]) {
        const id = await slice();
        await lab.output(command);
        const name = `slice-${id}`;
        const { agents: left, logOut } = await logInAndLeave("alice", [name]);
        const [alice] = left as [Agent];
        expect(await slice()).not.toBe(id);
        await expectAnswers(alice, { ...all("ok", both(7001, ...FIRST)), ...refused(both(7001, ...SECOND)) });
        await logOut();
        await waitFor(async () => (await lab.sessions()).every(({ state }) => state === "lingering"));
        await expectAnswers(alice, lockedOut(WORLD));
        await lab.output(["kill", String(await alice.tell("getpid"))]);
        await waitFor(async () => (await lab.sessions()).length === 0);
      }
    } finally {
      await lab.output("nft flush ruleset && systemctl restart authnft.service");
    }
    await nothingLeft();
  });

  test(`where the PAM process cannot fork at the logout, ${via === "shim" ? "the session is closed all the same" : "the end of the scope cleans up"}, within a second`, async () => {
    await lab.fragment("alice", ANYTHING);
    const since = await lab.cursor();
    const alice = await logIn("alice");
    const [session] = await lab.sessions();
    // What an exhausted TasksMax= does: everything that would be charged to the scope fails. The shim's first
    // attempt is for a process in init.scope.
    await using tracer = lab.start([
      ...["strace", "-p", String(session?.pid), "-o", "/root/forks", "-e", "trace=clone,clone3,fork,vfork"],
      ...["-e", "inject=clone,fork,vfork:error=EAGAIN", "-e", "inject=clone3:error=EAGAIN:when=2+"],
    ]);
    await waitFor(() => tracer.stderr.includes("attached"));
    const start = performance.now();
    await alice.end();
    await waitFor(
      async () => (await lab.sessions()).length === 0 && (await chains(alice.scope)).length === 0,
      { everyMs: 10 },
    );
    // A second at the most, and what a busy machine adds.
    expect(performance.now() - start).toBeLessThan(3000);
    await nothingLeft();
    const events = (await journalOf(alice.scope, since)).map((entry) =>
      `${entry["AUTHNFT_EVENT"]} ${entry["AUTHNFT_HOW"] ?? ""}`.trim(),
    );
    expect(events).toEqual(["open", `close ${via === "shim" ? "pam" : "lost"}`, "end"]);
    // The PAM process did try.
    expect(await lab.output("cat /root/forks")).toMatch(via === "shim" ? /CLONE_INTO_CGROUP/ : /EAGAIN/);
  });

  test("sudo works in a session, and what root does there is judged like the rest", async () => {
    await lab.fragment("alice", FIRST_ONLY);
    const probes = "id -u; probe tcp 10.88.0.2 7001; probe tcp 10.88.0.3 7001; probe udp fd88::3 7001";
    const { stdout } = await lab.ssh("alice", `sudo -n sh -c '${probes}'`);
    expect(stdout).toBe("0\nok\nrefused\neperm\n");
    await nothingLeft();
  });
});
