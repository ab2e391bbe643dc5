// SPDX-License-Identifier: GPL-2.0-or-later

// Attempts that many receive.

import type { Attempt } from "../attempt.ts";
import { AF_INET, BROADCAST, GROUP, JOIN_GROUP, OVER_LOOPBACK, REUSE_ADDRESS, UDP } from "./protocols.ts";
import { post, Sockets } from "./sockets.ts";

/** What a member sends to many. */
export function cast(name: string, ip: string): Attempt {
  return {
    name: `UDP, IPv4, out to ${name}`,
    judged: "out",
    async run(fixture) {
      await using sockets = new Sockets();
      const receiver = await sockets.make(
        fixture.outside,
        AF_INET,
        UDP,
        ...(ip === GROUP ? [JOIN_GROUP] : []),
      );
      const port = await fixture.outside.do("bind", { fd: receiver, to: { ip: "0.0.0.0", port: 0 } });
      const fd = await sockets.make(fixture.member, AF_INET, UDP, BROADCAST, OVER_LOOPBACK);
      // A network that has the loopback alone would have no address for it, and nobody's is no member's to send from.
      await fixture.member.do("bind", { fd, to: { ip: "127.0.0.1", port: 0 } });
      return await post(fixture, [fixture.member, fd, { ip, port }], [fixture.outside, receiver]);
    },
  };
}

/** What is sent to many, to a member's receiver: the rules do not know of it, for the kernel would name one for all. */
export function castIn(name: string, ip: string): Attempt {
  return {
    name: `UDP, IPv4, in by ${name}`,
    judged: undefined,
    expectation: "sealed",
    async run(fixture) {
      await using sockets = new Sockets();
      const receiver = await sockets.make(
        fixture.member,
        AF_INET,
        UDP,
        ...(ip === GROUP ? [JOIN_GROUP] : []),
      );
      const port = await fixture.member.do("bind", { fd: receiver, to: { ip: "0.0.0.0", port: 0 } });
      const fd = await sockets.make(fixture.outside, AF_INET, UDP, BROADCAST, OVER_LOOPBACK);
      return await post(fixture, [fixture.outside, fd, { ip, port }], [fixture.member, receiver]);
    },
  };
}

/** What others get of what is sent to many, with a member beside them on the same port. */
export function shared(name: string, ip: string): Attempt {
  return {
    name: `${name} to root's receiver, with the member on the same port`,
    judged: undefined,
    expectation: "passes",
    async run(fixture) {
      await using sockets = new Sockets();
      const options = [REUSE_ADDRESS, ...(ip === GROUP ? [JOIN_GROUP] : [])];
      const receiver = await sockets.make(fixture.outside, AF_INET, UDP, ...options);
      const port = await fixture.outside.do("bind", { fd: receiver, to: { ip: "0.0.0.0", port: 0 } });
      // The last one to bind is the one that the kernel names as the receiver.
      const beside = await sockets.make(fixture.member, AF_INET, UDP, ...options);
      await fixture.member.do("bind", { fd: beside, to: { ip: "0.0.0.0", port } });
      const fd = await sockets.make(fixture.outside, AF_INET, UDP, BROADCAST, OVER_LOOPBACK);
      return await post(fixture, [fixture.outside, fd, { ip, port }], [fixture.outside, receiver]);
    },
  };
}
