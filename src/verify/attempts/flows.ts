// SPDX-License-Identifier: GPL-2.0-or-later

// Attempts to pass for an answer on a flow that somebody else began.

import type { Attempt, Fixture } from "../attempt.ts";
import type { Target } from "../operation.ts";
import { AF_INET, FOUR, REUSE_ADDRESS, SOCK_STREAM, TCP, UDP } from "./protocols.ts";
import { freePort, join, post, reach, Sockets, word } from "./sockets.ts";

/**
 * A member sends to somebody's service from where a flow of its own went to. Both ends of that were the member's, so that either
 * end could pass for the answer.
 */
export const BACKWARDS: Attempt = {
  name: "UDP, IPv4, out, backwards on a flow within the session",
  judged: "out",
  async run(fixture) {
    await using sockets = new Sockets();
    const at = { ip: "127.0.0.1", port: await freePort(fixture.member, UDP) };
    const near = await sockets.make(fixture.member, AF_INET, UDP);
    const port = await fixture.member.do("bind", { fd: near, to: { ip: "127.0.0.1", port: 0 } });
    {
      await using before = new Sockets();
      const fd = await before.make(fixture.member, AF_INET, UDP);
      await fixture.member.do("bind", { fd, to: at });
      await fixture.member.try("send", { fd, data: word(), to: { ip: "127.0.0.1", port } });
    }
    const service = await sockets.make(fixture.outside, AF_INET, UDP);
    await fixture.outside.do("bind", { fd: service, to: at });
    return await post(fixture, [fixture.member, near, at], [fixture.outside, service]);
  },
  model: (fixture) => reach(fixture, UDP, [fixture.member, FOUR], [fixture.outside, FOUR]),
};

/**
 * Somebody connects to a member from where the member was connected to a moment before: what is left of that connection has
 * no cgroup, and no rule is asked.
 */
export const ONTO_TIME_WAIT: Attempt = {
  name: "TCP, IPv4, in, onto what is left of a connection that the member made",
  judged: undefined,
  expectation: "sealed",
  async run(fixture) {
    const { member, outside } = fixture;
    await using sockets = new Sockets();
    const own = { ip: "127.0.0.1", port: await freePort(member, TCP) };
    const peer = { ip: "127.0.0.1", port: await freePort(outside, TCP) };
    {
      await using first = new Sockets();
      const listener = await first.make(outside, AF_INET, TCP, REUSE_ADDRESS);
      await outside.do("bind", { fd: listener, to: peer });
      const fd = await first.make(member, AF_INET, TCP, REUSE_ADDRESS);
      await member.do("bind", { fd, to: own });
      const joined = await join(fixture, first, [member, fd, peer], [outside, listener]);
      if (joined.passed !== true) return joined;
      // Who closes first has what is left.
      await member.do("close", { fd });
      first.keep(member, await member.do("socket", { family: AF_INET, type: SOCK_STREAM, protocol: 0 }));
    }
    const server = await sockets.make(member, AF_INET, TCP, REUSE_ADDRESS);
    await member.do("bind", { fd: server, to: own });
    const caller = await sockets.make(outside, AF_INET, TCP, REUSE_ADDRESS);
    await outside.do("bind", { fd: caller, to: peer });
    return await join(fixture, sockets, [outside, caller, own], [member, server]);
  },
};

/** A member answers to what somebody outside began before, on a port that nobody or another process had. */
export function launder(
  name: string,
  begin: (fixture: Fixture, own: Target, peer: [fd: number, at: Target]) => Promise<void>,
): Attempt {
  return {
    name,
    judged: "out",
    async run(fixture) {
      await using sockets = new Sockets();
      const peer = await sockets.make(fixture.outside, AF_INET, UDP);
      const peerPort = await fixture.outside.do("bind", { fd: peer, to: { ip: "127.0.0.1", port: 0 } });
      const own = { ip: "127.0.0.1", port: await freePort(fixture.member, UDP) };
      const at = { ip: "127.0.0.1", port: peerPort };
      await begin(fixture, own, [peer, at]);
      const fd = await sockets.make(fixture.member, AF_INET, UDP);
      await fixture.member.do("bind", { fd, to: own });
      return await post(fixture, [fixture.member, fd, at], [fixture.outside, peer]);
    },
  };
}
