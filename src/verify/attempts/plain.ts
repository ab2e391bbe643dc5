// SPDX-License-Identifier: GPL-2.0-or-later

// Attempts that any program could make.

import type { Attempt } from "../attempt.ts";
import {
  AF_INET,
  type Ends,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  MPTCP,
  type Protocol,
  SOCK_DGRAM,
  SOCK_RAW,
  TCP,
  TCP_FAST_OPEN,
  UDP,
} from "./protocols.ts";
import { errorOf, hear, nothing, reach, Sockets, word } from "./sockets.ts";

export function out(protocol: Protocol, { name, member, outside }: Ends): Attempt {
  return {
    name: `${protocol.name}, ${name}, out`,
    judged: "out",
    run: (fixture) => reach(fixture, protocol, [fixture.member, member], [fixture.outside, outside]),
  };
}

export function into(protocol: Protocol, { name, member, outside }: Ends): Attempt {
  return {
    name: `${protocol.name}, ${name}, in`,
    // What a receiver of other protocols gets is not looked at: the kernel does not find it.
    ...(protocol === UDP || protocol === TCP || protocol === MPTCP || protocol === TCP_FAST_OPEN
      ? { judged: "in" }
      : { judged: undefined, expectation: "sealed" }),
    run: (fixture) => reach(fixture, protocol, [fixture.outside, outside], [fixture.member, member]),
  };
}

/** An echo request by the kind of socket that needs no privilege. */
export function ping({ name, member: { family, peer } }: Ends): Attempt {
  const number = family === AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6;
  const request = family === AF_INET ? "\x08" : "\x80";
  // Raw sockets give IPv4 with its header.
  const start = family === AF_INET ? 20 : 0;
  return {
    name: `ICMP echo, ${name}, out`,
    judged: "out",
    async run(fixture) {
      await using sockets = new Sockets();
      const watch = await sockets.make(fixture.outside, family, { name, type: SOCK_RAW, number });
      const fd = await sockets.make(fixture.member, family, { name, type: SOCK_DGRAM, number });
      const text = word();
      const data = `${request}${"\0".repeat(7)}${text}`;
      const refused = errorOf(await fixture.member.try("send", { fd, data, to: { ip: peer, port: 0 } }));
      if (refused !== undefined) return nothing(refused);
      // The kernel's refusal would be heard here as well, with the word in it.
      const arrived = (heard: string): boolean => heard.startsWith(request, start) && heard.includes(text);
      return await hear(fixture, arrived, [fixture.outside, watch], [fixture.member, fd]);
    },
  };
}

/** A socket that only a privileged process may have. */
export function privileged(name: string, family: number, type: number, protocol: number): Attempt {
  return {
    name,
    judged: undefined,
    expectation: "nothing",
    async run({ member }) {
      await using sockets = new Sockets();
      const made = await member.try("socket", { family, type, protocol });
      if ("error" in made) return nothing(made.error);
      sockets.keep(member, made.value);
      return { passed: true, how: "the socket was made" };
    },
  };
}
