// SPDX-License-Identifier: GPL-2.0-or-later

// Attempts by a socket that one process made and another uses.

import type { Attempt, Fixture } from "../attempt.ts";
import { AF_INET, AF_UNIX, type Protocol, SOCK_STREAM, TCP, UDP } from "./protocols.ts";
import { join, post, Sockets, word } from "./sockets.ts";

/** Makes a connection between the two processes for handing sockets over, which no firewall sees. */
async function handOver(
  fixture: Fixture,
  sockets: Sockets,
): Promise<{ readonly member: number; readonly outside: number }> {
  const to = { name: word() };
  const unix: Protocol = { name: "Unix", type: SOCK_STREAM, number: 0 };
  const listener = await sockets.make(fixture.outside, AF_UNIX, unix);
  await fixture.outside.do("bind", { fd: listener, to });
  await fixture.outside.do("listen", { fd: listener });
  const member = await sockets.make(fixture.member, AF_UNIX, unix);
  await fixture.member.do("connect", { fd: member, to });
  return {
    member,
    outside: sockets.keep(fixture.outside, await fixture.outside.do("accept", { fd: listener })),
  };
}

/** A socket that one process made and another uses. */
export function passedOn(
  protocol: Protocol,
  how: string,
  attempt: Pick<Attempt, "judged" | "expectation">,
  maker: "member" | "outside",
): Attempt {
  return {
    name: `${protocol.name}, by a socket made ${how}`,
    ...attempt,
    async run(fixture) {
      await using sockets = new Sockets();
      const user = maker === "member" ? "outside" : "member";
      const receiver = await sockets.make(fixture.outside, AF_INET, protocol);
      const port = await fixture.outside.do("bind", { fd: receiver, to: { ip: "127.0.0.1", port: 0 } });
      const made = await sockets.make(fixture[maker], AF_INET, protocol);
      const ends = await handOver(fixture, sockets);
      await fixture[maker].do("give", { over: ends[maker], fd: made });
      const fd = sockets.keep(fixture[user], await fixture[user].do("take", { over: ends[user] }));
      const to = { ip: "127.0.0.1", port };
      return protocol.type === SOCK_STREAM
        ? await join(fixture, sockets, [fixture[user], fd, to], [fixture.outside, receiver])
        : await post(fixture, [fixture[user], fd, to], [fixture.outside, receiver]);
    },
  };
}

/** Makes the attempt of a socket whose scope is gone: it can do nothing, or as much as the cgroup around the scope. */
export function orphaned(protocol: "TCP" | "UDP", attempt: Pick<Attempt, "judged" | "expectation">): Attempt {
  return {
    name: `${protocol}, by a socket of a scope that is gone`,
    ...attempt,
    async run(fixture) {
      if (fixture.orphans === undefined) return { passed: "untried", how: "there is none" };
      await using sockets = new Sockets();
      const { agent, fd } = fixture.orphans[protocol];
      const kind = protocol === "TCP" ? TCP : UDP;
      const receiver = await sockets.make(fixture.outside, AF_INET, kind);
      const port = await fixture.outside.do("bind", { fd: receiver, to: { ip: "127.0.0.1", port: 0 } });
      const to = { ip: "127.0.0.1", port };
      return kind === TCP
        ? await join(fixture, sockets, [agent, fd, to], [fixture.outside, receiver])
        : await post(fixture, [agent, fd, to], [fixture.outside, receiver]);
    },
  };
}
