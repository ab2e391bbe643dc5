// SPDX-License-Identifier: GPL-2.0-or-later

// Packets that no honest program sends, from every place in which a member's programs can be: with sources of others, by way
// of others, onto what the kernel alone remembers, and those that the kernel itself sends on account of them. What counts is
// not what a program is told, but what is seen on the link, and what is heard: each attempt carries a word of its own.
//
// A user who is no member gets every one of them through.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type Running, waitFor } from "../lab/lab.ts";
import { Agent, type Answer, installAgent, logIn, logInAndLeave, outside } from "./agent.ts";
import { lab, onThisRelease, type Via, viaBoth } from "./harness.ts";

/** A agent that forges; see the file. It needs agent.py beside it. */
const ROGUE = "/usr/local/lib/rogue.py";
/** Keeps what reaches the world; see the file. */
const TAP = "/usr/local/lib/tap.py";

/** Peers: the world's first address, which policies permit, its second, and one far behind the first. */
const FIRST = { 4: "10.88.0.2", 6: "fd88::2" } as const;
const SECOND = { 4: "10.88.0.3", 6: "fd88::3" } as const;
const FAR = "2001:db8:f::1";
/** The guest's own address on that link, and on the loopback. */
const OWN = { 4: "10.88.0.1", 6: "fd88::1" } as const;
const LOOPBACK = { 4: "127.0.0.1", 6: "::1" } as const;
const ANY = { 4: "0.0.0.0", 6: "::" } as const;
/** Addresses of nobody's, behind the world, the first of which holds the word. */
const FORGED = "2001:db8:e::*";
const FORGED_4 = "198.51.100.7";
const GROUP = { 4: "239.1.1.1", 6: "ff0e::7:1" } as const;
const FAMILIES = [4, 6] as const;
const KINDS = ["tcp", "udp", "udplite", "icmp"] as const;

/** Ports: two of the world's that listen, the second there only, one of its that never answers, and a closed one. */
const OPEN = 9700;
const OPEN_THERE = 9703;
const SILENT = 9701;
const CLOSED = 9702;

/** How long an answer is waited for that shall not come, in seconds; what shall come may take longer on a busy host. */
const SILENCE = 0.7;
const PATIENCE = 1.5;

/** Ports at which a member with a policy may be called: by all, and by who has the address that the member came from. */
const CALLED = "9000-9499";
const CALLED_BY_CLIENT = "9500-9599";
const CLIENT = "fd77::2";

/**
 * The first of the peers, and this host; nothing else, and no service on some of its ports. Nobody outside may come in
 * but at a few ports.
 */
const POLICY = `
add rule inet authnft egress udp dport 5300-5399 reject
add rule inet authnft egress oif lo accept
add rule inet authnft egress ip daddr ${FIRST[4]} accept
add rule inet authnft egress ip6 daddr ${FIRST[6]} accept
add rule inet authnft egress meta l4proto tcp reject with tcp reset
add rule inet authnft egress reject
add rule inet authnft filter udp dport ${CALLED_BY_CLIENT} meta cgroup . ip6 saddr @session_map_ipv6 accept
add rule inet authnft filter udp dport ${CALLED_BY_CLIENT} drop
add rule inet authnft filter iif lo accept
add rule inet authnft filter tcp dport ${CALLED} accept
add rule inet authnft filter drop
`;

const NOTHING = "add rule inet authnft egress reject\nadd rule inet authnft filter drop\n";

/** What the host is like when everything is tried. */
const STATES = {
  "with the ruleset as it is": { set: ":", mend: ":" },
  "beside a table that rejects foreign sources itself, before anybody else": {
    set: `nft 'table inet other { chain o { type filter hook output priority -300; ip6 saddr 2001:db8::/32 reject; }; }'`,
    mend: "nft delete table inet other",
  },
  "in the second after nft flush ruleset": { set: "nft flush ruleset", mend: "authnft restore" },
  "with the table deleted": { set: "nft delete table inet authnft", mend: "authnft restore" },
} as const;
type State = keyof typeof STATES;
const ROUNDS = Object.keys(STATES).map((_, round) => round);

/** Somewhere that a program of a member's can be; and, for control, where one of a user's can be who is no member. */
interface Place {
  name: string;
  user: string;
  /** What starts it, if not the session's shell. */
  by?: string;
  /** Its session's policy; default: POLICY, or none for who is refused. */
  policy?: string;
  /** Whether the session is over when things are tried, and whether its scope is, too. */
  left?: true;
  escaped?: true;
  /** What is held there. */
  holds: "all but what is permitted" | "all" | "nothing";
  /** Where the program is put, if no session is opened for it. */
  inCgroup?: string;
  /** Whether it has a lock on addresses besides the rules. */
  locked?: true;
  /** Whether the program there is root's. */
  root?: true;
  args?: string[];
}

/** In which states our rules are in force. */
const RULES_HOLD: readonly State[] = [
  "with the ruleset as it is",
  "beside a table that rejects foreign sources itself, before anybody else",
];

/** What becomes of the sessions of the places, in the records. */
const STATES_OF_SESSIONS =
  "alice open,bob open,m0 refused,m1 lingering,m3 open,m5 open,m6 open,m8 lingering,m9 lingering";

const ALL_STATES = Object.keys(STATES) as State[];
const WITHOUT_RULES = ALL_STATES.filter((state) => !RULES_HOLD.includes(state));

const BY_MANAGER = "systemd-run --user --quiet";
const LEFT = "setsid nohup";
const PLACES: readonly Place[] = [
  // The first are those with a line of PAM's that differs.
  {
    name: "a session in its login's own scope",
    user: "m5",
    args: ["scope=session"],
    holds: "all but what is permitted",
  },
  {
    name: "what a session in its login's own scope left behind",
    user: "m9",
    args: ["scope=session"],
    by: LEFT,
    left: true,
    locked: true,
    holds: "all",
  },
  {
    name: "what a session left behind that may go on",
    user: "m8",
    args: ["lingering=keep"],
    by: LEFT,
    left: true,
    holds: "all but what is permitted",
  },
  { name: "a session", user: "alice", holds: "all but what is permitted" },
  { name: "a session that may do nothing", user: "bob", policy: NOTHING, locked: true, holds: "all" },
  { name: "a session that was refused", user: "m0", policy: "", locked: true, holds: "all" },
  { name: "what a session left behind", user: "m1", by: LEFT, left: true, locked: true, holds: "all" },
  {
    name: "what has sockets of a scope that is gone",
    user: "m2",
    by: LEFT,
    left: true,
    escaped: true,
    holds: "all",
  },
  {
    name: "a unit of the manager's, beside a session",
    user: "m3",
    by: BY_MANAGER,
    holds: "all but what is permitted",
  },
  { name: "a unit of the manager's, without one", user: "m4", by: BY_MANAGER, left: true, holds: "all" },
  {
    name: "root in a session",
    user: "m6",
    by: "sudo -n",
    root: true,
    holds: "all but what is permitted",
  },
  {
    name: "who nobody answered for",
    user: "m7",
    policy: "",
    inCgroup: "authnft.slice/run-authnft-refused.mount",
    locked: true,
    holds: "all",
  },
  { name: "who is no member", user: "dave", policy: "", holds: "nothing" },
  { name: "root", user: "root", policy: "", root: true, holds: "nothing" },
];

/** Whose program does something: that in the place, one behind the link, or root's beside the place. */
type Hands = "place" | "world" | "service";

/** Something that is tried, in one place and one state. */
interface Attempt {
  name: string;
  about: Subject;
  word: string;
  /** Whose agent does it, with what. */
  by: Hands;
  command: readonly unknown[];
  /** Where the word must not be seen. */
  at: "tap" | "place" | "service";
  /** What the place does before it, then root's program beside it, and then the world. */
  first?: readonly unknown[];
  beside?: readonly unknown[];
  meanwhile?: readonly unknown[];
  /** What is looked for at the tap, in hexadecimal: the word, or part of it. */
  needle: string;
  /** Permitted where a policy holds that permits something. */
  permitted?: true;
  /** Held by nothing but the seal, and the second lock where there is one. */
  bySeal?: true;
  /** Sent or taken by the kernel for no socket of the place's, so that no lock on a cgroup is asked. */
  byKernel?: true;
  /** Where nothing holds it, which docs/security.md names; where it may be either, by how a place refuses. */
  named?: readonly State[];
  either?: readonly State[];
}

const SUBJECTS = {
  plain: "only what a policy permits leaves, and nothing comes in unasked, by whatever protocol",
  forged: "nothing leaves on account of a packet with a source that is not this host's",
  flow: "a flow lets nothing through that its own direction's rules would not",
  half: "nobody is let in by what the kernel remembers of a connection that is over",
  route: "nothing takes a way that the rules do not see",
  group: "the kernel tells the link which groups are joined, which is named as outside",
} as const;
type Subject = keyof typeof SUBJECTS;

/** Ports of a place's own in a round: in the range in which it may be called, and outside of it. */
const called = (place: number, round: number, use: number) => 9000 + 120 * round + 8 * place + use;
const own = (place: number, round: number, use: number) => 11_000 + 1000 * round + 40 * place + use;
/** The service that a place may not reach, and where its client may reach it. */
const forbidden = (place: number) => 5300 + place;
const forClient = (place: number) => 9500 + place;

/** Stands for the word in a command. */
const WORD = "WORD";

/** All that is tried in a place, in a round. */
function attempts(place: number, round: number): Attempt[] {
  const { root, left, holds } = PLACES[place] as Place;
  const all: Attempt[] = [];
  const add = (
    [about, name]: readonly [Subject, string],
    [by, at]: readonly [Attempt["by"], Attempt["at"]],
    command: readonly unknown[],
    rest: Partial<Attempt> = {},
  ) => {
    const word = Buffer.from(crypto.getRandomValues(new Uint8Array(8))).toString("hex");
    // An IPv4 group has no room for it, nor has the group of an address's neighbours (RFC 4291).
    const [name4, name6] = [`ef${word.slice(0, 6)}`, `01ff${word.slice(10)}`];
    const needle = command.includes("239.*") ? name4 : command[0] === "join_anycast" ? name6 : word;
    all.push({
      ...{ name, about, by, at, word, needle, ...rest },
      command: command.map((part) => (part === WORD ? word : part)),
    });
  };
  const OUT = ["place", "tap"] as const;
  const IN = ["world", "place"] as const;
  const BY_SEAL = { bySeal: true } as const;

  for (const family of FAMILIES) {
    const [first, second, me] = [FIRST[family], SECOND[family], OWN[family]];
    for (const kind of KINDS) {
      const name = `${kind}${family}`;
      add(["plain", `${name} out`], OUT, ["throw", kind, first, OPEN, WORD], { permitted: true });
      add(["plain", `${name} to who is forbidden`], OUT, ["throw", kind, second, OPEN, WORD]);
      const ear = own(place, 0, kind === "udplite" ? 1 : 0);
      if (kind !== "icmp")
        add(["plain", `${name} in`], IN, ["throw", kind, me, ear, WORD, second], {
          ...(kind === "udplite" && BY_SEAL),
        });
    }
    for (const kind of ["tcp", "udp"]) {
      const local = LOOPBACK[family];
      const name = `${kind}${family} over the loopback`;
      const out = ["throw", kind, local, OPEN, WORD];
      const into = ["throw", kind, local, own(place, 0, 0), WORD];
      add(["plain", `${name}, out`], ["place", "service"], out, { permitted: true });
      add(["plain", `${name}, in`], ["service", "place"], into, { permitted: true });
    }
    const cast = ["throw_to_group", GROUP[family], own(place, 0, 2), WORD, "guest0"];
    add(["plain", `multicast${family} in`], IN, cast, BY_SEAL);
    const answer = ["answer_nobody", me, own(place, 0, 0), WORD, second];
    add(["plain", `icmp${family} in, an answer to nothing`], IN, answer, BY_SEAL);
    const error = ["complain_of_nothing", me, own(place, 0, 3), WORD, second, OPEN];
    // No socket is asked before it is told of an error, so that without rules nothing is in the way.
    add(["plain", `icmp${family} in, an error of nothing`], IN, error, {
      byKernel: true,
      named: WITHOUT_RULES,
    });
    // The port may have been another's a moment ago, who sent from it.
    const known = own(place, 0, 4);
    const late = ["complain_of_nothing", me, known, WORD, second, OPEN];
    add(["plain", `icmp${family} in, an error of what another sent`], IN, late, {
      beside: ["throw", "udp", second, OPEN, "00", "", known],
      byKernel: true,
      named: WITHOUT_RULES,
    });
    if (root) add(["plain", `raw${family} in`], IN, ["throw", "raw", me, 0, WORD, second], BY_SEAL);

    // Neither this SYN nor the last ACK after it meets a socket that has a cgroup.
    const remembered = own(place, round, 10);
    add(
      ["half", `onto a socket in TIME_WAIT${family}`],
      IN,
      ["throw", "tcp", me, remembered, WORD, first, OPEN],
      { first: ["hear", "tcp", ANY[family], remembered], ...BY_SEAL },
    );
    // A call that was permitted, of which nobody is told before it says something.
    const half = called(place, round, 2);
    const call = `half ${half} ${family}`;
    add(["half", `on a call that is half made${family}`], IN, ["say", call, WORD], {
      first: ["hear", "tcp", ANY[family], half, "", "", 20],
      meanwhile: ["call", call, "tcp", me, half],
      permitted: true,
    });
    if (holds === "all" ? left : holds === "nothing") {
      const local = own(place, round, 14);
      const call = ["throw", "tcp", LOOPBACK[family], local, WORD, LOOPBACK[family], OPEN];
      add(["half", `onto a socket in TIME_WAIT${family}, from this host`], ["service", "place"], call, {
        ...{ first: ["hear", "tcp", ANY[family], local], ...BY_SEAL },
      });
    }
    // The call was permitted; that it is called back was not.
    const calling = own(place, round, 11);
    add(
      ["flow", `tcp${family} in, onto a call that nobody took`],
      IN,
      ["throw", "tcp", me, calling, WORD, first, SILENT],
      { first: ["knock_and_hear", first, SILENT, calling] },
    );
    const back = called(place, round, 0);
    add(
      ["flow", `tcp${family} out, onto a call that was not taken`],
      OUT,
      ["call_back", second, OPEN, WORD, me, back],
      { first: ["fill", me, back], meanwhile: ["knock", me, back, OPEN, second] },
    );
    add(
      ["flow", `udp${family} to a service, the other way round`],
      ["place", "service"],
      ["turn_round", "udp", LOOPBACK[family], forbidden(place), WORD, own(place, round, 12)],
    );
  }

  // Root may do in IPv4, too, what others may in IPv6 only.
  if (root) {
    for (const [whom, address] of [
      ["who is forbidden", SECOND[4]],
      ["who is permitted", FIRST[4]],
      ["this host", OWN[4]],
    ] as const)
      add(["forged", `udp4 to ${whom}`], OUT, ["throw_from_anywhere", address, CLOSED, WORD, FORGED_4]);
    for (const [how, option] of Object.entries({ loosely: 131, strictly: 137 }))
      add(["route", `udp4 by way of who is permitted, ${how}`], OUT, [
        ...["throw_by_way_of", "udp", FIRST[4], SECOND[4], OPEN, WORD, option],
      ]);
  }
  const targets = {
    "who is forbidden": [SECOND[6], OPEN],
    "who is permitted": [FIRST[6], OPEN],
    "this host": [OWN[6], CLOSED],
  } as const;
  for (const kind of KINDS)
    for (const [whom, [address, port]] of Object.entries(targets))
      add(["forged", `${kind} to ${whom}`], OUT, ["throw", kind, address, port, WORD, FORGED]);
  add(["forged", "udp, named by the packet"], OUT, [
    ...["throw_by_the_packet", "udp", SECOND[6], OPEN, WORD, FORGED],
  ]);
  add(["forged", "tcp to a service of this host's"], OUT, ["throw", "tcp", OWN[6], 22, WORD, FORGED]);
  // These leave before anybody has answered.
  add(["plain", "who is looked for on the link"], OUT, ["throw", "udp", "fd88::*", OPEN, WORD]);
  // Of a reset, which speaks for whom the packet was to, that other table tells whom it speaks for.
  add(["plain", "who is asked for a connection"], OUT, ["throw", "tcp", "2001:db8:9::*", OPEN, WORD], {
    either: ["beside a table that rejects foreign sources itself, before anybody else"],
  });
  for (const kind of ["udp", "tcp"]) {
    const port = kind === "tcp" ? called(place, round, 1) : own(place, round, 13);
    add(["flow", `${kind} on a flow that was forged`], OUT, [
      ...["borrow_flow", kind, FAR, OPEN_THERE, WORD, OWN[6], port],
    ]);
    add(["route", `${kind} by way of who is permitted`], OUT, [
      ...["throw_by_way_of", kind, FIRST[6], "2001:db8:9::*", OPEN, WORD],
    ]);
  }
  // From this host, but not from an address of its own.
  for (const kind of ["udp", "udplite"]) {
    const forged = ["throw", kind, OWN[6], forClient(place), WORD, CLIENT];
    add(["forged", `${kind} in, in the client's name`], ["service", "place"], forged, {
      ...(kind === "udplite" && BY_SEAL),
    });
  }
  for (const group of ["239.*", "ff0e::*"])
    add(["group", group], OUT, ["join_group", group, WORD, "world0"], { byKernel: true, named: ALL_STATES });
  if (root)
    add(["group", "anycast"], OUT, ["join_anycast", "fd88::*", WORD, "world0"], {
      byKernel: true,
      named: ALL_STATES,
    });
  return all;
}

/** An attempt, and what came of it. */
interface Tried extends Attempt {
  /** What the program was told that made it. */
  outcome: string;
  through: boolean;
}

/** What came through two connections of a place's: the word, or nothing for some time. */
interface Through {
  name: string;
  out: Answer;
  in: Answer;
}

viaBoth("attacks", (via) => {
  attack(via, { sealed: true });
});

// What the seal holds does not depend on the release: one is enough, for the time it takes.
if (lab.release === "bookworm")
  onThisRelease("attacks on a host without the seal", () => {
    attack("shim", { sealed: false });
  });

/** @param sealed whether the host lets the slices be sealed: without that, a flush opens what no second lock holds */
function attack(via: Via, { sealed }: { sealed: boolean }): void {
  let world: Agent;
  let service: Agent;
  let tap: Running;
  let agents: Agent[] = [];

  beforeAll(async () => {
    await lab.reset();
    if (!sealed) await lab.output("/usr/local/lib/lab/unseal --for-good");
    await installAgent();
    for (const [to, from] of [
      [ROGUE, "rogue.py"],
      [TAP, "tap.py"],
    ] as const)
      await lab.write(to, await Bun.file(join(import.meta.dir, "fixtures/attacks", from)).text());
    // Nothing must be held by a limit on how often the kernel answers.
    await lab.output(`
      echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range
      echo 0 >/proc/sys/net/ipv6/icmp/ratelimit
      ip route add 198.51.100.0/24 via ${FIRST[4]} dev world0
      ip -6 route add 2001:db8::/32 via ${FIRST[6]} dev world0
      ip -n world addr add ${FAR}/128 dev guest0 nodad
      world nft 'table inet silent { chain i { type filter hook input priority 0;
        tcp dport ${SILENT} tcp flags & (syn | ack) == syn drop; }; }'`);
    tap = lab.start(["python3", TAP, "guest0"], { netns: "world" });
    await tap.expect(/^ready$/m);
    [world, service] = await Promise.all([
      outside({ netns: "world", program: ROGUE }),
      outside({ program: ROGUE }),
    ]);
    const open = FAMILIES.flatMap((family) =>
      ["tcp", "udp"].map((kind) => ["hear", kind, ANY[family], OPEN]),
    );
    const services = PLACES.flatMap((_, n) =>
      FAMILIES.map((family) => ["hear", "udp", ANY[family], forbidden(n)]),
    );
    await world.tell("try_all", [...open, ["hear", "tcp", "::", OPEN_THERE]]);
    await service.tell("try_all", [...open, ...services]);
    agents = await settle();
  });

  afterAll(async () => {
    // Out of the cgroup that the lab knows it by, it has to end by itself.
    await Promise.all(agents.filter((_, n) => PLACES[n]?.inCgroup).map((agent) => agent.end()));
    await lab.run(`
      echo 1000 >/proc/sys/net/ipv6/icmp/ratelimit
      ip route del 198.51.100.0/24
      ip -6 route del 2001:db8::/32
      ip -n world addr del ${FAR}/128 dev guest0
      world nft delete table inet silent
      loginctl disable-linger m2; loginctl disable-linger m4`);
    await lab.reset();
  });

  /** Puts a program into each place. */
  async function settle(): Promise<Agent[]> {
    for (const { user, policy = POLICY } of PLACES) if (policy !== "") await lab.fragment(user, policy);
    await lab.output("loginctl enable-linger m2; loginctl enable-linger m4");
    const found: Agent[] = [];
    const particular = PLACES.filter(({ args }) => args !== undefined).length;
    for (const [n, { args = [] }] of PLACES.slice(0, particular + 1).entries()) {
      await lab.pam("sshd", { through: via, control: "optional", args });
      found.push(await enter(n));
    }
    // Some at once, for the time it takes, but not all: each has a service manager start.
    for (let n = found.length; n < PLACES.length; n = found.length)
      found.push(...(await Promise.all(PLACES.slice(n, n + 4).map((_, m) => enter(n + m)))));
    await waitFor(async () => {
      const states = (await lab.sessions()).map(({ user, state }) => `${user} ${state}`).sort();
      return states.join() === STATES_OF_SESSIONS;
    });
    // Only now, for the end of a session is that of its listeners.
    await Promise.all(found.map((agent, n) => agent.tell("try_all", ears(n))));
    return found;
  }

  async function enter(n: number): Promise<Agent> {
    const { user, by, inCgroup, left, escaped, policy, holds } = PLACES[n] as Place;
    const program = ROGUE;
    const start = async () => {
      const options = { program, to: "v6" } as const;
      if (inCgroup !== undefined) {
        const move = `echo $$ >/sys/fs/cgroup/${inCgroup}/cgroup.procs`;
        const moved = lab.start(`${move}; exec /usr/local/lib/lab/as ${user} python3 ${program}`);
        return { agent: await new Agent(moved).ready() };
      }
      if (by === undefined) return { agent: await logIn(user, options) };
      const { agents: started, logOut } = await logInAndLeave(user, [`in-${user}`], { by, ...options });
      return { agent: started[0] as Agent, logOut };
    };
    const { agent, logOut } = await start();
    await agent.tell("wait_for", holds === "nothing" ? PATIENCE : SILENCE);
    // Of each kind so many as all rounds take, and of all together fewer than a process may have open.
    if (escaped) await agent.tell("lay_in", [140, 90, 40, 40]);
    // Who may call can leave something that the kernel remembers.
    if (policy === undefined || holds === "nothing") {
      const calls = FAMILIES.flatMap((family) =>
        ROUNDS.flatMap((round) => [
          ["leave_time_wait", FIRST[family], OPEN, own(n, round, 10)],
          ["leave_time_wait", LOOPBACK[family], OPEN, own(n, round, 14)],
        ]),
      );
      expect(new Set((await agent.tell("try_all", calls)) as string[])).toEqual(new Set(["left"]));
    }
    if (escaped) await agent.tell("escape");
    if (left) await logOut?.();
    return agent;
  }

  /** What listens in a place all the time. */
  function ears(place: number): unknown[][] {
    const raw = (family: (typeof FAMILIES)[number]) =>
      PLACES[place]?.root ? [["hear", "raw", ANY[family], 0]] : [];
    return FAMILIES.flatMap((family) => [
      ...raw(family),
      ["hear", "udp", ANY[family], forClient(place)],
      ["hear", "udplite", ANY[family], forClient(place)],
      ["hear", "tcp", ANY[family], own(place, 0, 0)],
      ["hear", "udp", ANY[family], own(place, 0, 0)],
      ["hear", "icmp", ANY[family], own(place, 0, 0)],
      ["hear", "udplite", ANY[family], own(place, 0, 1)],
      ["hear_errors", ANY[family], own(place, 0, 3)],
      ["hear_errors", ANY[family], own(place, 0, 4)],
      ["hear", "udp", ANY[family], own(place, 0, 2), GROUP[family], "world0"],
    ]);
  }

  /** Tries everything from everywhere at once, in the moment after the host was put into a state. */
  async function tryAll(state: State): Promise<Tried[][]> {
    const round = Object.keys(STATES).indexOf(state);
    const tries = PLACES.map((_, place) => attempts(place, round));
    const each = (of: (attempt: Attempt) => readonly unknown[] | undefined) =>
      tries.map((all) =>
        all.flatMap((attempt) => [of(attempt) ?? []]).filter((command) => command.length > 0),
      );
    const inPlaces = async (commands: readonly unknown[][][]) =>
      await Promise.all(agents.map((agent, place) => agent.tell("try_all", commands[place])));
    const byPlace = each(({ by, command }) => (by === "place" ? command : undefined));
    const byWorld = each(({ by, command }) => (by === "world" ? command : undefined));
    const byService = each(({ by, command }) => (by === "service" ? command : undefined));
    await inPlaces(each(({ first }) => first) as unknown[][][]);
    await service.tell("try_all", each(({ beside }) => beside).flat());
    await world.tell("try_all", each(({ meanwhile }) => meanwhile).flat());
    await lab.output(STATES[state].set);
    const [ofPlaces, ofWorld, ofService] = await Promise.all([
      inPlaces(byPlace as unknown[][][]),
      world.tell("try_all", byWorld.flat()),
      service.tell("try_all", byService.flat()),
    ]);
    // What was sent last is on its way.
    await Bun.sleep(100);
    const words = tries.flat().map(({ word }) => word);
    const needles = tries.flat().map(({ needle }) => needle);
    tap.write(`${needles.join(" ")}\n`);
    const [onLink] = await tap.expect(/^seen.*$/m, { timeoutMs: 20_000 });
    const heardBy = async (agent: Agent) => (await agent.tell("heard_of", words)) as string[];
    const [inService, ...inPlace] = await Promise.all([service, ...agents].map(heardBy));
    // Only now: what was said on a call that is permitted is said again, and heard once the rules are back.
    await lab.output(STATES[state].mend);
    const outcomes = { world: [...(ofWorld as string[])], service: [...(ofService as string[])] };
    return tries.map((all, place) => {
      const seen = { tap: onLink, service: inService, place: inPlace[place] };
      const own = [...(ofPlaces[place] as string[])];
      return all.map((attempt) => {
        const { by, at, command, word, needle } = attempt;
        const outcome = (by === "place" ? own : outcomes[by]).shift() ?? "";
        if (outcome === "") throw new Error(`In ${PLACES[place]?.name}, "${attempt.name}" was not tried.`);
        // A connection into the place that its caller takes for made was answered, which is enough.
        const made = by !== "place" && command.includes("tcp") && /connected|sent/.test(outcome);
        const found = seen[at]?.includes(at === "tap" ? needle : word) === true;
        return { ...attempt, outcome, through: made || found };
      });
    });
  }

  /** Whether something may get through. */
  function isOpen(
    { permitted, bySeal, byKernel, named = [] }: Attempt,
    { holds, locked }: Place,
    state: State,
  ): boolean {
    if (holds === "nothing" || named.includes(state)) return true;
    const unlocked = !sealed && (!locked || byKernel === true);
    if (!RULES_HOLD.includes(state)) return unlocked;
    return (holds !== "all" && permitted === true) || (unlocked && bySeal === true);
  }

  /** What comes through connections that are open, out of a place and into it: while nothing holds but locks, and after. */
  async function keepConnections(state: State): Promise<Record<"then" | "later", Through[]>> {
    const calling = PLACES.flatMap(({ name, holds }, place) =>
      holds === "all"
        ? []
        : [{ name, agent: agents[place] as Agent, port: called(place, 0, 5), own: `${state} ${name}` }],
    );
    for (const { name, agent, port, own } of calling) {
      expect([name, await agent.tell("connect", "out", FIRST[6], 7001)]).toEqual([name, "connected"]);
      await agent.tell("receive", "out");
      await agent.tell("listen", "door", OWN[4], port);
      expect([name, await world.tell("connect", own, OWN[4], port)]).toEqual([name, "connected"]);
      await agent.tell("accept", "door", "in");
    }
    const came = async (those: typeof calling, seconds: number) =>
      await Promise.all(
        those.map(async ({ name, agent }) => {
          const out = await agent.tell("receive", "out", seconds);
          return { name, out, in: await agent.tell("receive", "in", seconds) };
        }),
      );
    await lab.output(STATES[state].set);
    for (const { agent, own } of calling) {
      await agent.tell("send", "out", "word");
      await world.tell("send", own, "word");
    }
    const then = await came(calling, SILENCE / 2);
    await lab.output(STATES[state].mend);
    const waiting = calling.filter(({ name }) => then.some((one) => one.name === name && one.out !== "word"));
    const later = await came(waiting, 5);
    for (const { agent } of calling)
      for (const name of ["out", "in", "door"]) await agent.tell("close", name);
    return { then, later };
  }

  for (const state of Object.keys(STATES) as State[])
    describe(state, () => {
      let tried: Tried[][];

      beforeAll(async () => {
        tried = await tryAll(state);
      });

      for (const [about, title] of Object.entries(SUBJECTS))
        test(title, () => {
          const wrong = PLACES.map((place, n) => {
            const ofThis = (tried[n] ?? []).filter(
              (one) => one.about === about && (place.holds === "nothing" || !one.either?.includes(state)),
            );
            const list = (through: boolean) =>
              ofThis.filter((one) => one.through === through && isOpen(one, place, state) !== through);
            const held = list(false).map(({ name, outcome }) => `${name}: held, ${outcome}`);
            return [place.name, [...list(true).map(({ name }) => name), ...held]] as const;
          });
          expect(Object.fromEntries(wrong.filter(([, names]) => names.length > 0))).toEqual({});
        });

      if (RULES_HOLD.includes(state)) return;
      const goesOn = sealed
        ? "what is connected stands still, and goes on when the rules are back"
        : "what is connected goes on unjudged";
      test(goesOn, async () => {
        const { then, later } = await keepConnections(state);
        const held = (name: string) =>
          sealed && PLACES.some((one) => one.name === name && one.holds !== "nothing");
        const both = (name: string, answer: string) => ({ name, out: answer, in: answer });
        expect(then).toEqual(then.map(({ name }) => both(name, held(name) ? "timeout" : "word")));
        expect(later).toEqual(then.filter(({ name }) => held(name)).map(({ name }) => both(name, "word")));
      });
    });
}
