// SPDX-License-Identifier: GPL-2.0-or-later

// Attempts on a port of somebody else's.

import type { Attempt } from "../attempt.ts";
import { AF_INET, type Protocol, REUSE_PORT, SOCK_STREAM, TCP, UDP } from "./protocols.ts";
import { errorOf, hear, nothing, PASSES, Sockets, wait, word } from "./sockets.ts";

/** A member takes a port that another listens on. */
export function portTaken(protocol: Protocol): Attempt {
  return {
    name: `${protocol.name} on another's port by SO_REUSEPORT`,
    judged: undefined,
    expectation: "nothing",
    async run(fixture) {
      await using sockets = new Sockets();
      const theirs = await sockets.make(fixture.outside, AF_INET, protocol, REUSE_PORT);
      const port = await fixture.outside.do("bind", { fd: theirs, to: { ip: "127.0.0.1", port: 0 } });
      if (protocol.type === SOCK_STREAM) await fixture.outside.do("listen", { fd: theirs });
      const fd = await sockets.make(fixture.member, AF_INET, protocol, REUSE_PORT);
      const refused = errorOf(await fixture.member.try("bind", { fd, to: { ip: "127.0.0.1", port } }));
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
    async run(fixture) {
      const { sibling, member, outside } = fixture;
      if (sibling === undefined) return { passed: "untried", how: "there is none" };
      await using sockets = new Sockets();
      const theirs = await sockets.make(sibling, AF_INET, kind, REUSE_PORT);
      const port = await sibling.do("bind", { fd: theirs, to: { ip: "127.0.0.1", port: 0 } });
      const own = await sockets.make(member, AF_INET, kind, REUSE_PORT);
      const to = { ip: "127.0.0.1", port };
      await member.do("bind", { fd: own, to });
      if (kind === TCP) {
        await sibling.do("listen", { fd: theirs });
        await member.do("listen", { fd: own });
      }
      const data = word();
      for (let caller = 0; caller < CALLERS; caller++) {
        const fd = await sockets.make(outside, AF_INET, kind);
        await (kind === TCP ? outside.try("connect", { fd, to }) : outside.try("send", { fd, data, to }));
      }
      if (kind === UDP) return await hear(fixture, data, [member, own]);
      return await wait(fixture, async () => {
        const accepted = await member.try("accept", { fd: own });
        if ("error" in accepted) return undefined;
        sockets.keep(member, accepted.value);
        return PASSES;
      });
    },
  };
}
