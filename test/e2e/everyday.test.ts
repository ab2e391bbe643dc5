// SPDX-License-Identifier: GPL-2.0-or-later

// What honest programs do, in sessions whose policies permit it, of the kind that what holds attacks could break.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { waitFor } from "../lab/lab.ts";
import { type Agent, installAgent, logIn, logInAndLeave, outside } from "./agent.ts";
import { lab, viaBoth } from "./harness.ts";

/** A agent that looks at the errors it gets; see the file. */
const ROGUE = "/usr/local/lib/rogue.py";

const FIRST = { 4: "10.88.0.2", 6: "fd88::2" } as const;
const OWN = { 4: "10.88.0.1", 6: "fd88::1" } as const;
const LINK = { own: "fe80::1", first: "fe80::2" } as const;
/** Addresses behind the first peer. */
const BEHIND = { 4: "198.51.100.7", 6: "2001:db8::7" } as const;
const LOOPBACK = { 4: ["127.0.0.1", "127.0.0.5", OWN[4]], 6: ["::1", OWN[6]] } as const;
const ANY = { 4: "0.0.0.0", 6: "::" } as const;
const FAMILIES = [4, 6] as const;
const WORD = "0011223344556677";

/** Ports of the world's: one that is closed, one that takes no call, one that answers UDP-Lite, one for TCP, and one that also calls. */
const CLOSED = 9802;
const SILENT = 9803;
const LITE = 9804;
const ANSWERING = 9805;
const CALLING = 9806;

/** The first peer and nobody else, both ways. */
const FIRST_ONLY = `
add rule inet authnft egress ip daddr { ${FIRST[4]}, 198.51.100.0/24 } accept
add rule inet authnft egress ip6 daddr { ${FIRST[6]}, ${LINK.first}, 2001:db8::/32 } accept
add rule inet authnft egress reject
add rule inet authnft filter ip saddr ${FIRST[4]} accept
add rule inet authnft filter ip6 saddr { ${FIRST[6]}, ${LINK.first} } accept
add rule inet authnft filter drop
`;
const ANYTHING = "add rule inet authnft egress accept\n";

viaBoth("everyday", (via) => {
  let world: Agent;
  /** Two under an open policy, and those under one that names a peer. */
  let open: Agent;
  let other: Agent;
  let strict: Agent[];

  beforeAll(async () => {
    await lab.reset();
    await installAgent();
    await lab.write(ROGUE, await Bun.file(join(import.meta.dir, "fixtures/attacks/rogue.py")).text());
    await lab.pam("sshd", { through: via });
    await lab.output(`
      echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range
      ip route add 198.51.100.0/24 via ${FIRST[4]} dev world0
      ip -6 route add 2001:db8::/32 via ${FIRST[6]} dev world0
      ip -n world route add 198.51.100.0/24 via ${OWN[4]}
      ip -n world -6 route add 2001:db8::/32 via ${OWN[6]}
      world sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
      # Of UDP-Lite the kernel checks a sum as if it were UDP's, and tracks no packet that arrives.
      sysctl -qw net.netfilter.nf_conntrack_checksum=0
      # As behind a translation of addresses: who is called back is let in.
      world nft 'table inet silent { set called { type inet_service; }
        chain o { type filter hook output priority 0; tcp sport ${SILENT} tcp flags & (syn | ack) == syn add @called { tcp dport }; }
        chain i { type filter hook input priority 0;
          tcp dport ${SILENT} tcp flags & (syn | ack) == syn tcp sport != @called drop; }; }'`);
    for (const user of ["alice", "bob"]) await lab.fragment(user, ANYTHING);
    for (const user of ["m0", "m1"]) await lab.fragment(user, FIRST_ONLY);
    const program = ROGUE;
    const byManager = { by: "systemd-run --user --quiet", program };
    const unit = logInAndLeave("m1", ["unit"], byManager).then(({ agents }) => agents[0] as Agent);
    [world, open, other] = await Promise.all([
      outside({ netns: "world", program }),
      logIn("alice", { program }),
      logIn("bob", { program }),
    ]);
    strict = await Promise.all([logIn("m0", { program }), unit]);
    for (const agent of [world, open, other, ...strict]) await agent.tell("wait_for", 5);
    for (const address of [FIRST[4], FIRST[6]]) await world.tell("serve", "udplite", LITE, address);
    await world.tell("serve", "tcp", ANSWERING);
    for (const any of Object.values(ANY)) await world.tell("hear", "tcp", any, CALLING);
  });

  afterAll(async () => {
    await lab.run(`
      ip route del 198.51.100.0/24
      ip -6 route del 2001:db8::/32
      ip -n world route del 198.51.100.0/24
      ip -n world -6 route del 2001:db8::/32
      world sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0
      sysctl -qw net.netfilter.nf_conntrack_checksum=1
      world nft delete table inet silent`);
    await lab.reset();
  });

  const all = () => [open, ...strict];
  let lastPort = 9850;
  const port = () => ++lastPort;
  /** Answers to many questions at once, in one text each, for whoever compares them. */
  const asked = async (agent: Agent, questions: readonly unknown[][]) => {
    const answers = (await agent.tell("ask_all", questions)) as string[];
    return questions.map((question, n) => `${question.slice(0, 3).join(" ")} ${answers[n]}`);
  };

  const answered = (questions: readonly unknown[][]) =>
    questions.map((question) => `${question.slice(0, 3).join(" ")} ok`);

  test("a peer answers by every protocol: ping, TCP, UDP and UDP-Lite, also between addresses of the link", async () => {
    const questions = FAMILIES.flatMap((family) => [
      ["icmp", FIRST[family], 0],
      ["tcp", FIRST[family], 7001],
      ["udp", FIRST[family], 7001],
      ["udplite", FIRST[family], LITE],
    ]);
    questions.push(["icmp", `${LINK.first}%world0`, 0], ["tcp", `${LINK.first}%world0`, ANSWERING]);
    for (const agent of all()) expect(await asked(agent, questions)).toEqual(answered(questions));
  });

  test("a peer that may calls in, from an address of the link too, and from the same port again within the minute", async () => {
    for (const agent of all()) {
      const [listening, again] = [port(), port()];
      await agent.tell("serve", "tcp", listening);
      await agent.tell("serve", "udp", listening);
      const questions = FAMILIES.flatMap((family) =>
        ["tcp", "udp"].map((kind) => [kind, OWN[family], listening, 5, 6, 0, [], FIRST[family]]),
      );
      questions.push(["tcp", `${LINK.own}%guest0`, listening]);
      expect(await asked(world, questions)).toEqual(answered(questions));
      for (const family of FAMILIES) {
        expect(await agent.tell("leave_time_wait", FIRST[family], CALLING, again)).toBe("left");
        await agent.tell("hear", "tcp", ANY[family], again);
        const call = ["throw", "tcp", OWN[family], again, WORD, FIRST[family], CALLING];
        expect([family, await world.tell(...call)]).toEqual([family, "sent"]);
      }
    }
  });

  test("a peer that may calls in where the host keeps nothing of a call until it is made, and where nothing is said of one until it speaks", async () => {
    // Syn cookies, for every call.
    await lab.output("echo 2 >/proc/sys/net/ipv4/tcp_syncookies");
    try {
      for (const agent of all()) {
        const [plain, deferred] = [port(), port()];
        for (const any of Object.values(ANY)) {
          await agent.tell("hear", "tcp", any, plain);
          await agent.tell("hear", "tcp", any, deferred, "", "", 20);
        }
        const calls = FAMILIES.flatMap((family) =>
          [plain, deferred].map((at) => ["throw", "tcp", OWN[family], at, WORD, FIRST[family]]),
        );
        expect(await world.tell("try_all", calls)).toEqual(calls.map(() => "sent"));
      }
    } finally {
      await lab.output("echo 1 >/proc/sys/net/ipv4/tcp_syncookies");
    }
    for (const agent of all()) {
      const deferred = port();
      for (const any of Object.values(ANY)) await agent.tell("hear", "tcp", any, deferred, "", "", 20);
      const calls = FAMILIES.map((family) => ["throw", "tcp", OWN[family], deferred, WORD, FIRST[family]]);
      expect(await world.tell("try_all", calls)).toEqual(calls.map(() => "sent"));
    }
  });

  test("megabytes pass both ways, to a peer, from it, and over the loopback", async () => {
    const size = 4 << 20;
    for (const agent of all()) {
      const at = port();
      await agent.tell("serve", "tcp", at);
      for (const family of FAMILIES) {
        const out = await agent.tell("pump", FIRST[family], ANSWERING, size);
        const into = await world.tell("pump", OWN[family], at, size, FIRST[family]);
        expect([family, out, into]).toEqual([family, size, size]);
      }
    }
    const [here, there] = [port(), port()];
    await open.tell("serve", "tcp", here);
    await other.tell("serve", "tcp", there);
    for (const at of [here, there])
      for (const family of FAMILIES)
        expect(await open.tell("pump", LOOPBACK[family][0], at, size)).toBe(size);
  });

  test("who asks too far, or where nobody listens, is told by whom", async () => {
    for (const agent of all())
      for (const family of FAMILIES) {
        const [exceeded, unreachable] = family === 4 ? ["11 0", "3 3"] : ["3 0", "1 4"];
        const near = await agent.tell("reach_for", FIRST[family], CLOSED);
        const far = await agent.tell("reach_for", BEHIND[family], CLOSED, 1);
        // From which of its addresses it says so is for it to choose.
        expect(
          [near, far].map((told) => String(told).replace(/:3 |\.3 /, (end) => end.replace("3", "2"))),
        ).toEqual([`${FIRST[family]} ${unreachable}`, `${FIRST[family]} ${exceeded}`]);
      }
  });

  test("two calls that meet are one connection", async () => {
    for (const agent of all())
      for (const family of FAMILIES) {
        const own = port();
        // The first call is not let in until the other side calls; that one is not let in here, and the first is made again.
        agent.say("connect_from_to", FIRST[family], SILENT, OWN[family], own);
        await Bun.sleep(100);
        world.say("connect_from_to", OWN[family], own, FIRST[family], SILENT);
        expect([family, await agent.answer(), await world.answer()]).toEqual([family, "word", "word"]);
      }
  });

  test("a session's own client and server reach each other over the loopback, and two sessions do", async () => {
    const [own, others] = [port(), port()];
    for (const [agent, at] of [
      [open, own],
      [other, others],
    ] as const)
      for (const kind of ["tcp", "udp"]) await agent.tell("serve", kind, at);
    const questions = [own, others].flatMap((at) =>
      [...LOOPBACK[4], ...LOOPBACK[6]].flatMap((address) => [
        ["tcp", address, at],
        // A server at any address answers from the one that the answer's way begins at.
        ...(address === "127.0.0.5" ? [] : [["udp", address, at]]),
      ]),
    );
    expect(await asked(open, questions)).toEqual(answered(questions));
    expect(await asked(other, questions)).toEqual(answered(questions));
  });

  test("a connection that a session ends is ended at both ends", async () => {
    for (const agent of all())
      for (const family of FAMILIES) {
        const own = port();
        expect(await agent.tell("leave_time_wait", FIRST[family], CALLING, own)).toBe("left");
        const left = `world ss --no-header --tcp --all 'sport = :${CALLING} and dport = :${own}'`;
        await waitFor(async () => (await lab.output(left)) === "");
      }
  });
});
