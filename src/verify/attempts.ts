// SPDX-License-Identifier: GPL-2.0-or-later

// What is tried on a session, as data. Each attempt makes its own sockets, and leaves none.

import { Failure, type Hand } from "./agent.ts";
import type { Attempt, Outcome, Stage } from "./attempt.ts";
import { bytesOf } from "./destinations.ts";
import type { Answer, Option, Target } from "./operation.ts";

const AF_UNIX = 1;
export const AF_INET = 2;
const AF_INET6 = 10;
const AF_PACKET = 17;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_RAW = 3;
const IPPROTO_ICMP = 1;
const IPPROTO_ICMPV6 = 58;
const IPPROTO_SCTP = 132;
const IPPROTO_UDPLITE = 136;
const IPPROTO_MPTCP = 262;

const REUSE_ADDRESS: Option = { level: 1, name: 2, value: 1 };
const REUSE_PORT: Option = { level: 1, name: 15, value: 1 };
const BROADCAST: Option = { level: 1, name: 6, value: 1 };
const ON_LOOPBACK: Option = { level: 1, name: 25, value: [...Buffer.from("lo\0")] };
const BOTH_FAMILIES: Option = { level: 41, name: 26, value: 0 };

/** An unlikely group of the block that is for use within a site. */
const GROUP = "239.255.71.35";
/** The loopback has number 1 in every network: struct ip_mreqn. */
const OVER_LOOPBACK: Option = { level: 0, name: 32, value: [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0] };
const JOIN_GROUP: Option = { level: 0, name: 35, value: [239, 255, 71, 35, 0, 0, 0, 0, 1, 0, 0, 0] };

/** IP_FREEBIND, and IPv6's. */
const ANY_SOURCE_4: Option = { level: 0, name: 15, value: 1 };
const ANY_SOURCE_6: Option = { level: 41, name: 78, value: 1 };

/** A segment routing header of one stop (RFC 8754), by IPV6_RTHDR. */
const ROUTING_HEADER: Option = {
  level: 41,
  name: 57,
  value: [0, 2, 4, 0, 0, 0, 0, 0, ...Array(15).fill(0), 1],
};
/** IP_OPTIONS: a loose source route by the loopback, padded. */
const SOURCE_ROUTE: Option = { level: 0, name: 4, value: [131, 7, 4, 127, 0, 0, 1, 0] };

/** How often is looked whether something came, in milliseconds. */
const INTERVAL = 10;

/** How a protocol is written in the table, and made. */
type Protocol = { readonly name: string; readonly type: number; readonly number: number };

const TCP: Protocol = { name: "TCP", type: SOCK_STREAM, number: 0 };
const MPTCP: Protocol = { name: "MPTCP", type: SOCK_STREAM, number: IPPROTO_MPTCP };
const SCTP: Protocol = { name: "SCTP", type: SOCK_STREAM, number: IPPROTO_SCTP };
export const UDP: Protocol = { name: "UDP", type: SOCK_DGRAM, number: 0 };
/** The first segment takes data along, once the server is known: the client asks for it by TCP_FASTOPEN_CONNECT. */
const TCP_FAST_OPEN: Protocol = { name: "TCP Fast Open", type: SOCK_STREAM, number: 0 };
const FAST_OPEN: Option = { level: 6, name: 30, value: 1 };
const UDPLITE: Protocol = { name: "UDP-Lite", type: SOCK_DGRAM, number: IPPROTO_UDPLITE };

/** The two ends of an attempt: addresses, and the families of the sockets that use them. */
type Ends = { readonly name: string; readonly member: End; readonly outside: End };
type End = { readonly family: number; readonly own: string; readonly peer: string };

export const FOUR: End = { family: AF_INET, own: "127.0.0.1", peer: "127.0.0.1" };
const SIX: End = { family: AF_INET6, own: "::1", peer: "::1" };
const IPV4: Ends = { name: "IPv4", member: FOUR, outside: FOUR };
const IPV6: Ends = { name: "IPv6", member: SIX, outside: SIX };
const MAPPED: Ends = {
  name: "v4-mapped IPv6",
  member: { family: AF_INET6, own: "::", peer: "::ffff:127.0.0.1" },
  outside: FOUR,
};

/** Sockets of an attempt that are closed when it is over. */
export class Sockets implements AsyncDisposable {
  readonly #open: [hand: Hand, fd: number][] = [];

  async make(hand: Hand, family: number, protocol: Protocol, ...options: Option[]): Promise<number> {
    const fd = await hand.do("socket", { family, type: protocol.type, protocol: protocol.number, options });
    return this.keep(hand, fd);
  }

  keep(hand: Hand, fd: number): number {
    this.#open.push([hand, fd]);
    return fd;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // The last first: what connects goes before what listens.
    for (const [hand, fd] of this.#open.reverse()) await hand.try("close", { fd }).catch(() => undefined);
  }
}

const PASSES: Outcome = { passed: true, how: "" };

/** Makes a word that one side sends and the other looks for. Nobody can guess it, so that nobody can bring about what is looked for. */
export function word(): string {
  return crypto.randomUUID();
}

/** Waits until something is there; an attempt that has not succeeded by then has not succeeded. */
async function wait(stage: Stage, look: () => Promise<Outcome | undefined>): Promise<Outcome> {
  const end = performance.now() + stage.silence;
  while (true) {
    const outcome = await look();
    if (outcome !== undefined) return outcome;
    if (performance.now() > end) return nothing("silence");
    await Bun.sleep(INTERVAL);
  }
}

export function nothing(how: string): Outcome {
  return { passed: false, how };
}

function errorOf(answer: Answer): string | undefined {
  return "error" in answer ? answer.error : undefined;
}

/** Waits for a word, or what else is expected, on a socket. `sender` is asked for an error meanwhile. */
export async function hear(
  stage: Stage,
  expected: string | ((heard: string) => boolean),
  at: readonly [hand: Hand, fd: number],
  sender?: readonly [hand: Hand, fd: number],
): Promise<Outcome> {
  let complaint: string | undefined;
  return await wait(stage, async () => {
    while (true) {
      const heard = await at[0].try("receive", { fd: at[1] });
      if ("error" in heard) break;
      const right = typeof expected === "string" ? heard.value.includes(expected) : expected(heard.value);
      if (right) return PASSES;
      if (heard.value === "") break;
    }
    if (sender === undefined) return undefined;
    // Asked for once, and looked at the receiver once more: an error may speak of something else.
    if (complaint !== undefined) return nothing(complaint);
    const error = await sender[0].try("error", { fd: sender[1] });
    if ("value" in error && error.value !== "OK") complaint = error.value;
    return undefined;
  });
}

/** Tries to send a connection or a datagram from one process to another. */
export async function reach(
  stage: Stage,
  protocol: Protocol,
  from: readonly [hand: Hand, end: End],
  to: readonly [hand: Hand, end: End],
  connected = false,
): Promise<Outcome> {
  await using sockets = new Sockets();
  const [client, near] = from;
  const [server, far] = to;
  const listener = await sockets.make(
    server,
    far.family,
    protocol,
    ...(far.own === "::" ? [BOTH_FAMILIES] : []),
  );
  const port = await server.do("bind", { fd: listener, to: { ip: far.own, port: 0 } });
  const fd = await sockets.make(
    client,
    near.family,
    protocol,
    ...(protocol === TCP_FAST_OPEN ? [FAST_OPEN] : []),
  );
  const target = { ip: near.peer, port };
  if (protocol.type === SOCK_STREAM) {
    const early = protocol === TCP_FAST_OPEN ? word() : undefined;
    return await join(stage, sockets, [client, fd, target], [server, listener], early);
  }
  if (connected) {
    const refused = errorOf(await client.try("connect", { fd, to: target }));
    if (refused !== undefined) return nothing(refused);
  }
  return await post(stage, [client, fd, connected ? undefined : target], [server, listener]);
}

type Sender = readonly [hand: Hand, fd: number, to: Target | undefined];
type Receiver = readonly [hand: Hand, fd: number];

/** Sends a word, and waits for it at the other end. */
async function post(stage: Stage, [hand, fd, to]: Sender, receiver: Receiver): Promise<Outcome> {
  const data = word();
  const refused = errorOf(await hand.try("send", { fd, data, ...(to && { to }) }));
  if (refused !== undefined) return nothing(refused);
  return await hear(stage, data, receiver, [hand, fd]);
}

/**
 * Connects a socket, and waits for the connection at the other end.
 *
 * @param early what is sent with the first segment, by a socket that waits for it before it connects
 */
async function join(
  stage: Stage,
  sockets: Sockets,
  [hand, fd, to]: readonly [Hand, number, Target],
  [server, listener]: Receiver,
  early?: string,
): Promise<Outcome> {
  await server.do("listen", { fd: listener });
  const refused =
    errorOf(await hand.try("connect", { fd, to })) ??
    (early === undefined ? undefined : errorOf(await hand.try("send", { fd, data: early })));
  // The first segment is on its way.
  if (refused !== undefined && refused !== "EINPROGRESS") return nothing(refused);
  return await wait(stage, async () => {
    const accepted = await server.try("accept", { fd: listener });
    if ("value" in accepted) {
      sockets.keep(server, accepted.value);
      return PASSES;
    }
    const error = await hand.try("error", { fd });
    return "value" in error && error.value !== "OK" ? nothing(error.value) : undefined;
  });
}

function out(protocol: Protocol, { name, member, outside }: Ends): Attempt {
  return {
    name: `${protocol.name}, ${name}, out`,
    judged: "out",
    run: (stage) => reach(stage, protocol, [stage.member, member], [stage.outside, outside]),
  };
}

function into(protocol: Protocol, { name, member, outside }: Ends): Attempt {
  return {
    name: `${protocol.name}, ${name}, in`,
    // What a receiver of other protocols gets is not looked at: the kernel does not find it.
    ...(protocol === UDP || protocol === TCP || protocol === MPTCP || protocol === TCP_FAST_OPEN
      ? { judged: "in" }
      : { judged: undefined, law: "sealed" }),
    run: (stage) => reach(stage, protocol, [stage.outside, outside], [stage.member, member]),
  };
}

/** An echo request by the kind of socket that needs no privilege. */
function ping({ name, member: { family, peer } }: Ends): Attempt {
  const number = family === AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6;
  const request = family === AF_INET ? "\x08" : "\x80";
  // Raw sockets give IPv4 with its header.
  const start = family === AF_INET ? 20 : 0;
  return {
    name: `ICMP echo, ${name}, out`,
    judged: "out",
    async run(stage) {
      await using sockets = new Sockets();
      const watch = await sockets.make(stage.outside, family, { name, type: SOCK_RAW, number });
      const fd = await sockets.make(stage.member, family, { name, type: SOCK_DGRAM, number });
      const text = word();
      const data = `${request}${"\0".repeat(7)}${text}`;
      const refused = errorOf(await stage.member.try("send", { fd, data, to: { ip: peer, port: 0 } }));
      if (refused !== undefined) return nothing(refused);
      // The kernel's refusal would be heard here as well, with the word in it.
      const arrived = (heard: string): boolean => heard.startsWith(request, start) && heard.includes(text);
      return await hear(stage, arrived, [stage.outside, watch], [stage.member, fd]);
    },
  };
}

/** A socket that only a privileged process may have. */
function privileged(name: string, family: number, type: number, protocol: number): Attempt {
  return {
    name,
    judged: undefined,
    law: "nothing",
    async run({ member }) {
      await using sockets = new Sockets();
      const made = await member.try("socket", { family, type, protocol });
      if ("error" in made) return nothing(made.error);
      sockets.keep(member, made.value);
      return { passed: true, how: "the socket was made" };
    },
  };
}

/** Tries a packet to somewhere else that goes no further than the loopback: it is judged on its way out there. */
export function elsewhere(protocol: "TCP" | "UDP", ip: string, port: number): Attempt {
  return {
    name: `${protocol}, IPv4, out to ${ip} port ${port}`,
    judged: "out",
    async run(stage) {
      await using sockets = new Sockets();
      const watch = sockets.keep(stage.outside, await stage.outside.do("watch", { ip }));
      const fd = await sockets.make(stage.member, AF_INET, protocol === "TCP" ? TCP : UDP, ON_LOOPBACK);
      const own = await stage.member.do("bind", { fd, to: { ip: "127.0.0.1", port: 0 } });
      const to = { ip, port };
      const tried =
        protocol === "TCP"
          ? await stage.member.try("connect", { fd, to })
          : await stage.member.try("send", { fd, data: word(), to });
      const refused = errorOf(tried);
      if (refused !== undefined) return nothing(refused);
      const wanted = String.fromCharCode(own >> 8, own & 255);
      let complaint: string | undefined;
      return await wait(stage, async () => {
        while (true) {
          const seen = await stage.outside.try("receive", { fd: watch });
          if ("error" in seen) break;
          // Behind the IP header, whose length is in its first byte, stands the port that it comes from.
          const header = (seen.value.charCodeAt(0) & 15) * 4;
          if (seen.value.slice(header, header + 2) === wanted) return PASSES;
        }
        if (complaint !== undefined) return nothing(complaint);
        const error = await stage.member.try("error", { fd });
        if ("value" in error && error.value !== "OK") complaint = error.value;
        return undefined;
      });
    },
  };
}

/**
 * A packet that seems to come from somewhere else, handed to the loopback: any user can send such over IPv6, and what a policy
 * says of that address must not be believed of it. A receiver that does not answer sends nothing there.
 */
export function fromElsewhere(ip: string): Attempt {
  const { name, member } = ip.includes(":") ? IPV6 : IPV4;
  return {
    name: `UDP, ${name}, in over the loopback from ${ip}`,
    judged: undefined,
    law: "held",
    async run(stage) {
      await using sockets = new Sockets();
      const receiver = await sockets.make(stage.member, member.family, UDP);
      const port = await stage.member.do("bind", { fd: receiver, to: { ip: member.own, port: 0 } });
      const text = word();
      const udp = [
        ...pair(UNNAMED_PORT),
        ...pair(port),
        ...pair(8 + text.length),
        0,
        0,
        ...Buffer.from(text),
      ];
      const from = bytesOf(ip);
      udp.splice(
        6,
        2,
        ...pair(checksum([...from, ...bytesOf(member.own), 0, 17, ...pair(udp.length), ...udp])),
      );
      return await inject(stage, sockets, { protocol: 17, from, payload: udp }, () =>
        hear(stage, text, [stage.member, receiver]),
      );
    },
  };
}

/** A segment that looks like one of a connection that was there before. Where it arrives, it is answered with a reset. */
const STRAY_SEGMENT: Attempt = {
  name: "TCP, IPv4, in, a segment of no connection",
  judged: "in",
  async run(stage) {
    await using sockets = new Sockets();
    const listener = await sockets.make(stage.member, AF_INET, TCP);
    const port = await stage.member.do("bind", { fd: listener, to: { ip: "127.0.0.1", port: 0 } });
    await stage.member.do("listen", { fd: listener });
    // An address of the loopback that hardly anybody uses, so that the answer is found.
    const from = "127.71.35.1";
    const watch = sockets.keep(stage.outside, await stage.outside.do("watch", { ip: from }));
    const acknowledgement = [0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 4, 0];
    const segment = [...pair(UNNAMED_PORT), ...pair(port), ...acknowledgement, 0, 0, 0, 0];
    const sum = checksum([127, 71, 35, 1, 127, 0, 0, 1, 0, 6, 0, segment.length, ...segment]);
    segment.splice(16, 2, ...pair(sum));
    return await inject(stage, sockets, { protocol: 6, from: bytesOf(from), payload: segment }, () =>
      wait(stage, async () => {
        const seen = await stage.outside.try("receive", { fd: watch });
        if ("error" in seen) return undefined;
        return seen.value.slice(20, 22) === String.fromCharCode(port >> 8, port & 255) ? PASSES : undefined;
      }),
    );
  },
};

/** An error about a packet of the member's that was never sent: a program reads such, and what is quoted in it. */
const UNASKED_ERROR: Attempt = {
  name: "ICMP, IPv4, in, an error about a packet that nobody has sent",
  judged: undefined,
  law: "held",
  async run(stage) {
    await using sockets = new Sockets();
    const fd = await sockets.make(stage.member, AF_INET, UDP);
    const port = await stage.member.do("bind", { fd, to: { ip: "127.0.0.1", port: 0 } });
    const peer = await freePort(stage.outside);
    await stage.member.do("connect", { fd, to: { ip: "127.0.0.1", port: peer } });
    const own = bytesOf("127.0.0.1");
    const quoted = [0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0, ...own, ...own];
    quoted.splice(10, 2, ...pair(checksum(quoted)));
    // RFC 792: destination unreachable, by port.
    const error = [3, 3, 0, 0, 0, 0, 0, 0, ...quoted, ...pair(port), ...pair(peer), 0, 8, 0, 0];
    error.splice(2, 2, ...pair(checksum(error)));
    return await inject(stage, sockets, { protocol: 1, from: own, payload: error }, () =>
      wait(stage, async () => {
        const told = await stage.member.try("error", { fd });
        return "value" in told && told.value === "ECONNREFUSED" ? PASSES : undefined;
      }),
    );
  },
};

/** A port that no service is known to have. */
const UNNAMED_PORT = 47_011;

type Forged = {
  readonly protocol: number;
  readonly from: readonly number[];
  readonly payload: readonly number[];
};

/** Sends a packet with an address of our choice to the loopback's own of the same family. */
async function inject(
  stage: Stage,
  sockets: Sockets,
  { protocol, from, payload }: Forged,
  arrived: () => Promise<Outcome>,
): Promise<Outcome> {
  const { family, own } = from.length === 4 ? FOUR : SIX;
  // IPPROTO_RAW: with a header of ours. That of IPv4 gets its length and checksum from the kernel.
  const raw = await sockets.make(stage.outside, family, { name: "raw", type: SOCK_RAW, number: 255 });
  const header =
    family === AF_INET
      ? [0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, ...from, ...bytesOf(own)]
      : [0x60, 0, 0, 0, ...pair(payload.length), protocol, 64, ...from, ...bytesOf(own)];
  const data = Buffer.from([...header, ...payload]).toString("latin1");
  await stage.outside.do("send", { fd: raw, data, to: { ip: own, port: 0 } });
  return await arrived();
}

/** A number of 16 bits in network order. */
function pair(number: number): [number, number] {
  return [number >> 8, number & 255];
}

/** The checksum of TCP, of an even number of bytes. */
function checksum(bytes: readonly number[]): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += ((bytes[at] ?? 0) << 8) + (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

/** What a member sends to many. */
function cast(name: string, ip: string): Attempt {
  return {
    name: `UDP, IPv4, out to ${name}`,
    judged: "out",
    async run(stage) {
      await using sockets = new Sockets();
      const receiver = await sockets.make(stage.outside, AF_INET, UDP, ...(ip === GROUP ? [JOIN_GROUP] : []));
      const port = await stage.outside.do("bind", { fd: receiver, to: { ip: "0.0.0.0", port: 0 } });
      const fd = await sockets.make(stage.member, AF_INET, UDP, BROADCAST, OVER_LOOPBACK);
      // A network that has the loopback alone would have no address for it, and nobody's is no member's to send from.
      await stage.member.do("bind", { fd, to: { ip: "127.0.0.1", port: 0 } });
      return await post(stage, [stage.member, fd, { ip, port }], [stage.outside, receiver]);
    },
  };
}

/** What is sent to many, to a member's receiver: the rules do not know of it, for the kernel would name one for all. */
function castIn(name: string, ip: string): Attempt {
  return {
    name: `UDP, IPv4, in by ${name}`,
    judged: undefined,
    law: "sealed",
    async run(stage) {
      await using sockets = new Sockets();
      const receiver = await sockets.make(stage.member, AF_INET, UDP, ...(ip === GROUP ? [JOIN_GROUP] : []));
      const port = await stage.member.do("bind", { fd: receiver, to: { ip: "0.0.0.0", port: 0 } });
      const fd = await sockets.make(stage.outside, AF_INET, UDP, BROADCAST, OVER_LOOPBACK);
      return await post(stage, [stage.outside, fd, { ip, port }], [stage.member, receiver]);
    },
  };
}

/** A member sends from an address that is nobody's here. What answers it, answers there. */
function fromNobodys(family: number): Attempt {
  const six = family === AF_INET6;
  return {
    name: `UDP, ${six ? "IPv6" : "IPv4"}, out from an address that is not the host's`,
    judged: undefined,
    law: "held",
    async run(stage) {
      await using sockets = new Sockets();
      const receiver = await sockets.make(stage.outside, family, UDP);
      const ip = six ? "::1" : "127.0.0.1";
      const port = await stage.outside.do("bind", { fd: receiver, to: { ip, port: 0 } });
      const fd = await sockets.make(stage.member, family, UDP, six ? ANY_SOURCE_6 : ANY_SOURCE_4);
      const refused = errorOf(
        await stage.member.try("bind", { fd, to: { ip: six ? "2001:db8::71" : "192.0.2.71", port: 0 } }),
      );
      if (refused !== undefined) return nothing(refused);
      return await post(stage, [stage.member, fd, { ip, port }], [stage.outside, receiver]);
    },
  };
}

/** A member sends what tells its own way: the rules see the first stop. It is looked for where it leaves, for nobody may take it. */
function byWay(family: number, name: string, way: Option): Attempt {
  const ip = family === AF_INET6 ? "::1" : "127.0.0.1";
  return {
    name: `UDP, out by a way of the member's choice (${name})`,
    judged: undefined,
    law: "held",
    async run(stage) {
      await using sockets = new Sockets();
      const watch = sockets.keep(stage.outside, await stage.outside.do("watch", { ip }));
      const fd = await sockets.make(stage.member, family, UDP);
      const refused = errorOf(await stage.member.try("option", { fd, option: way }));
      if (refused !== undefined) return nothing(refused);
      return await post(stage, [stage.member, fd, { ip, port: UNNAMED_PORT }], [stage.outside, watch]);
    },
  };
}

/** A member gives its packets the mark by which others' rules, and ours, know what may pass. */
const OWN_MARK: Attempt = {
  name: "UDP, with a mark of the member's own (SO_MARK)",
  judged: undefined,
  law: "nothing",
  async run({ member }) {
    await using sockets = new Sockets();
    const fd = await sockets.make(member, AF_INET, UDP);
    const refused = errorOf(await member.try("option", { fd, option: { level: 1, name: 36, value: -1 } }));
    return refused === undefined ? { passed: true, how: "the mark was set" } : nothing(refused);
  },
};

/**
 * A member sends to somebody's service from where a flow of its own went to. Both ends of that were the member's, so that either
 * end could pass for the answer.
 */
const BACKWARDS: Attempt = {
  name: "UDP, IPv4, out, backwards on a flow within the session",
  judged: "out",
  async run(stage) {
    await using sockets = new Sockets();
    const at = { ip: "127.0.0.1", port: await freePort(stage.member) };
    const near = await sockets.make(stage.member, AF_INET, UDP);
    const port = await stage.member.do("bind", { fd: near, to: { ip: "127.0.0.1", port: 0 } });
    {
      await using before = new Sockets();
      const fd = await before.make(stage.member, AF_INET, UDP);
      await stage.member.do("bind", { fd, to: at });
      await stage.member.try("send", { fd, data: word(), to: { ip: "127.0.0.1", port } });
    }
    const service = await sockets.make(stage.outside, AF_INET, UDP);
    await stage.outside.do("bind", { fd: service, to: at });
    return await post(stage, [stage.member, near, at], [stage.outside, service]);
  },
  model: (stage) => reach(stage, UDP, [stage.member, FOUR], [stage.outside, FOUR]),
};

/**
 * Somebody connects to a member from where the member was connected to a moment before: what is left of that connection has
 * no cgroup, and no rule is asked.
 */
const ONTO_TIME_WAIT: Attempt = {
  name: "TCP, IPv4, in, onto what is left of a connection that the member made",
  judged: undefined,
  law: "sealed",
  async run(stage) {
    const { member, outside } = stage;
    await using sockets = new Sockets();
    const own = { ip: "127.0.0.1", port: await freePort(member) };
    const peer = { ip: "127.0.0.1", port: await freePort(outside) };
    {
      await using first = new Sockets();
      const listener = await first.make(outside, AF_INET, TCP, REUSE_ADDRESS);
      await outside.do("bind", { fd: listener, to: peer });
      const fd = await first.make(member, AF_INET, TCP, REUSE_ADDRESS);
      await member.do("bind", { fd, to: own });
      const joined = await join(stage, first, [member, fd, peer], [outside, listener]);
      if (joined.passed !== true) return joined;
      // Who closes first has what is left.
      await member.do("close", { fd });
      first.keep(member, await member.do("socket", { family: AF_INET, type: SOCK_STREAM, protocol: 0 }));
    }
    const server = await sockets.make(member, AF_INET, TCP, REUSE_ADDRESS);
    await member.do("bind", { fd: server, to: own });
    const caller = await sockets.make(outside, AF_INET, TCP, REUSE_ADDRESS);
    await outside.do("bind", { fd: caller, to: peer });
    return await join(stage, sockets, [outside, caller, own], [member, server]);
  },
};

/** What others get of what is sent to many, with a member beside them on the same port. */
function shared(name: string, ip: string): Attempt {
  return {
    name: `${name} to root's receiver, with the member on the same port`,
    judged: undefined,
    law: "passes",
    async run(stage) {
      await using sockets = new Sockets();
      const options = [REUSE_ADDRESS, ...(ip === GROUP ? [JOIN_GROUP] : [])];
      const receiver = await sockets.make(stage.outside, AF_INET, UDP, ...options);
      const port = await stage.outside.do("bind", { fd: receiver, to: { ip: "0.0.0.0", port: 0 } });
      // The last one to bind is the one that the kernel names as the receiver.
      const beside = await sockets.make(stage.member, AF_INET, UDP, ...options);
      await stage.member.do("bind", { fd: beside, to: { ip: "0.0.0.0", port } });
      const fd = await sockets.make(stage.outside, AF_INET, UDP, BROADCAST, OVER_LOOPBACK);
      return await post(stage, [stage.outside, fd, { ip, port }], [stage.outside, receiver]);
    },
  };
}

/** A port that is free, and will most likely be so for a moment. */
async function freePort(hand: Hand): Promise<number> {
  const fd = await hand.do("socket", { family: AF_INET, type: SOCK_DGRAM, protocol: 0 });
  const port = await hand.do("bind", { fd, to: { ip: "127.0.0.1", port: 0 } });
  await hand.do("close", { fd });
  return port;
}

/** A member answers to what somebody outside began before, on a port that nobody or another process had. */
function launder(
  name: string,
  begin: (stage: Stage, own: Target, peer: [fd: number, at: Target]) => Promise<void>,
): Attempt {
  return {
    name,
    judged: "out",
    async run(stage) {
      await using sockets = new Sockets();
      const peer = await sockets.make(stage.outside, AF_INET, UDP);
      const peerPort = await stage.outside.do("bind", { fd: peer, to: { ip: "127.0.0.1", port: 0 } });
      const own = { ip: "127.0.0.1", port: await freePort(stage.member) };
      const at = { ip: "127.0.0.1", port: peerPort };
      await begin(stage, own, [peer, at]);
      const fd = await sockets.make(stage.member, AF_INET, UDP);
      await stage.member.do("bind", { fd, to: own });
      return await post(stage, [stage.member, fd, at], [stage.outside, peer]);
    },
  };
}

/** Makes a connection between the two processes for handing sockets over, which no firewall sees. */
async function handOver(
  stage: Stage,
  sockets: Sockets,
): Promise<{ readonly member: number; readonly outside: number }> {
  const to = { name: word() };
  const unix: Protocol = { name: "Unix", type: SOCK_STREAM, number: 0 };
  const listener = await sockets.make(stage.outside, AF_UNIX, unix);
  await stage.outside.do("bind", { fd: listener, to });
  await stage.outside.do("listen", { fd: listener });
  const member = await sockets.make(stage.member, AF_UNIX, unix);
  await stage.member.do("connect", { fd: member, to });
  return { member, outside: sockets.keep(stage.outside, await stage.outside.do("accept", { fd: listener })) };
}

/** A socket that one process made and another uses. */
function passedOn(
  protocol: Protocol,
  how: string,
  attempt: Pick<Attempt, "judged" | "law">,
  maker: "member" | "outside",
): Attempt {
  return {
    name: `${protocol.name}, by a socket made ${how}`,
    ...attempt,
    async run(stage) {
      await using sockets = new Sockets();
      const user = maker === "member" ? "outside" : "member";
      const receiver = await sockets.make(stage.outside, AF_INET, protocol);
      const port = await stage.outside.do("bind", { fd: receiver, to: { ip: "127.0.0.1", port: 0 } });
      const made = await sockets.make(stage[maker], AF_INET, protocol);
      const ends = await handOver(stage, sockets);
      await stage[maker].do("give", { over: ends[maker], fd: made });
      const fd = sockets.keep(stage[user], await stage[user].do("take", { over: ends[user] }));
      const to = { ip: "127.0.0.1", port };
      return protocol.type === SOCK_STREAM
        ? await join(stage, sockets, [stage[user], fd, to], [stage.outside, receiver])
        : await post(stage, [stage[user], fd, to], [stage.outside, receiver]);
    },
  };
}

/** A member takes a port that another listens on. */
function portTaken(protocol: Protocol): Attempt {
  return {
    name: `${protocol.name} on another's port by SO_REUSEPORT`,
    judged: undefined,
    law: "nothing",
    async run(stage) {
      await using sockets = new Sockets();
      const theirs = await sockets.make(stage.outside, AF_INET, protocol, REUSE_PORT);
      const port = await stage.outside.do("bind", { fd: theirs, to: { ip: "127.0.0.1", port: 0 } });
      if (protocol.type === SOCK_STREAM) await stage.outside.do("listen", { fd: theirs });
      const fd = await sockets.make(stage.member, AF_INET, protocol, REUSE_PORT);
      const refused = errorOf(await stage.member.try("bind", { fd, to: { ip: "127.0.0.1", port } }));
      return refused === undefined ? { passed: true, how: "the port was shared" } : nothing(refused);
    },
  };
}

/** How many senders or callers a shared port has: that the kernel gives none of them to a listener is one case in 2^16. */
const CALLERS = 16;

/** Makes the attempt in which a member shares a port with another session of the same user: what the kernel deals to it is judged as its own. */
export function sharedPort(protocol: "TCP" | "UDP"): Attempt {
  const kind = protocol === "TCP" ? TCP : UDP;
  return {
    name: `${protocol}, IPv4, in on a port of another session of the user's by SO_REUSEPORT`,
    judged: "in",
    async run(stage) {
      const { twin, member, outside } = stage;
      if (twin === undefined) return { passed: "untried", how: "there is none" };
      await using sockets = new Sockets();
      const theirs = await sockets.make(twin, AF_INET, kind, REUSE_PORT);
      const port = await twin.do("bind", { fd: theirs, to: { ip: "127.0.0.1", port: 0 } });
      const own = await sockets.make(member, AF_INET, kind, REUSE_PORT);
      const to = { ip: "127.0.0.1", port };
      await member.do("bind", { fd: own, to });
      if (kind === TCP) {
        await twin.do("listen", { fd: theirs });
        await member.do("listen", { fd: own });
      }
      const data = word();
      for (let caller = 0; caller < CALLERS; caller++) {
        const fd = await sockets.make(outside, AF_INET, kind);
        await (kind === TCP ? outside.try("connect", { fd, to }) : outside.try("send", { fd, data, to }));
      }
      if (kind === UDP) return await hear(stage, data, [member, own]);
      return await wait(stage, async () => {
        const accepted = await member.try("accept", { fd: own });
        if ("error" in accepted) return undefined;
        sockets.keep(member, accepted.value);
        return PASSES;
      });
    },
  };
}

/** What is tried on every session and cover. */
export const ATTEMPTS: readonly Attempt[] = [
  ...[IPV4, IPV6, MAPPED].flatMap((ends) => [out(TCP, ends), into(TCP, ends)]),
  ...[IPV4, IPV6].flatMap((ends) => [out(MPTCP, ends), into(MPTCP, ends)]),
  ...[IPV4, IPV6].map((ends) => out(TCP_FAST_OPEN, ends)),
  ...[IPV4, IPV6, MAPPED].flatMap((ends) => [out(UDP, ends), into(UDP, ends)]),
  ...[IPV4, IPV6].map(
    ({ name, member, outside }): Attempt => ({
      name: `UDP, ${name}, connected, out`,
      judged: "out",
      run: (stage) => reach(stage, UDP, [stage.member, member], [stage.outside, outside], true),
    }),
  ),
  ...[IPV4, IPV6].flatMap((ends) => [out(UDPLITE, ends), into(UDPLITE, ends)]),
  ...[IPV4, IPV6].flatMap((ends) => [out(SCTP, ends), into(SCTP, ends)]),
  ping(IPV4),
  ping(IPV6),
  privileged("raw socket, IPv4", AF_INET, SOCK_RAW, 255),
  privileged("raw socket, IPv6", AF_INET6, SOCK_RAW, 255),
  privileged("packet socket", AF_PACKET, SOCK_RAW, 0),
  OWN_MARK,
  fromNobodys(AF_INET),
  fromNobodys(AF_INET6),
  byWay(AF_INET6, "routing header", ROUTING_HEADER),
  byWay(AF_INET, "source route", SOURCE_ROUTE),
  BACKWARDS,
  ONTO_TIME_WAIT,
  castIn("multicast", GROUP),
  castIn("broadcast", "127.255.255.255"),
  cast("a multicast group", GROUP),
  cast("a broadcast address", "127.255.255.255"),
  shared("multicast", GROUP),
  shared("broadcast", "127.255.255.255"),
  STRAY_SEGMENT,
  UNASKED_ERROR,
  launder(
    "UDP, answer to a flow begun from outside before the port was bound",
    async (stage, own, [peer]) => {
      await stage.outside.do("send", { fd: peer, data: word(), to: own });
    },
  ),
  launder("UDP, on a flow that an outside process had before", async (stage, own, [peer, at]) => {
    await using sockets = new Sockets();
    const before = await sockets.make(stage.outside, AF_INET, UDP);
    await stage.outside.do("bind", { fd: before, to: own });
    await stage.outside.do("send", { fd: before, data: word(), to: at });
    await stage.outside.do("send", { fd: peer, data: word(), to: own });
  }),
  ...[UDP, TCP].flatMap((protocol) => [
    passedOn(protocol, "outside and passed in", { judged: undefined, law: "maker" }, "outside"),
    passedOn(protocol, "in the session and passed out", { judged: "out" }, "member"),
  ]),
  portTaken(TCP),
  portTaken(UDP),
];

/** Makes the attempt of a socket whose scope is gone: it can do nothing, or as much as the cgroup around the scope. */
export function orphaned(protocol: "TCP" | "UDP", attempt: Pick<Attempt, "judged" | "law">): Attempt {
  return {
    name: `${protocol}, by a socket of a scope that is gone`,
    ...attempt,
    async run(stage) {
      if (stage.orphans === undefined) return { passed: "untried", how: "there is none" };
      await using sockets = new Sockets();
      const { hand, fd } = stage.orphans[protocol];
      const kind = protocol === "TCP" ? TCP : UDP;
      const receiver = await sockets.make(stage.outside, AF_INET, kind);
      const port = await stage.outside.do("bind", { fd: receiver, to: { ip: "127.0.0.1", port: 0 } });
      const to = { ip: "127.0.0.1", port };
      return kind === TCP
        ? await join(stage, sockets, [hand, fd, to], [stage.outside, receiver])
        : await post(stage, [hand, fd, to], [stage.outside, receiver]);
    },
  };
}

/** Makes an attempt that is left out, with the reason. */
export function leftOut(name: string, why: string): Attempt {
  return { name, judged: undefined, law: "nothing", run: async () => ({ passed: "untried", how: why }) };
}

/**
 * Runs an attempt. What the kernel does not have, or the host forbids, cannot be tried; nor what takes longer than there is time.
 */
export async function attempt(
  act: (stage: Stage) => Promise<Outcome>,
  stage: Stage,
  timeout: Promise<Outcome>,
): Promise<Outcome> {
  try {
    return await Promise.race([act(stage), timeout]);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { passed: "untried", how: `${error.op}: ${error.code}` };
  }
}
