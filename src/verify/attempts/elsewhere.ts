// SPDX-License-Identifier: GPL-2.0-or-later

// Attempts to reach, or to be reached from, addresses that a policy names.

import type { Attempt } from "../attempt.ts";
import { bytesOf } from "../destinations.ts";
import { checksum, inject, pair, UNNAMED_PORT } from "./forged.ts";
import { AF_INET, IPV4, IPV6, ON_LOOPBACK, TCP, UDP } from "./protocols.ts";
import { errorOf, hear, nothing, PASSES, Sockets, wait, word } from "./sockets.ts";

/** Tries a packet to somewhere else that goes no further than the loopback: it is judged on its way out there. */
export function elsewhere(protocol: "TCP" | "UDP", ip: string, port: number): Attempt {
  return {
    name: `${protocol}, IPv4, out to ${ip} port ${port}`,
    judged: "out",
    async run(fixture) {
      await using sockets = new Sockets();
      const watch = sockets.keep(fixture.outside, await fixture.outside.do("watch", { ip }));
      const fd = await sockets.make(fixture.member, AF_INET, protocol === "TCP" ? TCP : UDP, ON_LOOPBACK);
      const own = await fixture.member.do("bind", { fd, to: { ip: "127.0.0.1", port: 0 } });
      const to = { ip, port };
      const tried =
        protocol === "TCP"
          ? await fixture.member.try("connect", { fd, to })
          : await fixture.member.try("send", { fd, data: word(), to });
      const refused = errorOf(tried);
      if (refused !== undefined) return nothing(refused);
      const wanted = String.fromCharCode(own >> 8, own & 255);
      let complaint: string | undefined;
      return await wait(fixture, async () => {
        while (true) {
          const seen = await fixture.outside.try("receive", { fd: watch });
          if ("error" in seen) break;
          // Behind the IP header, whose length is in its first byte, stands the port that it comes from.
          const header = (seen.value.charCodeAt(0) & 15) * 4;
          if (seen.value.slice(header, header + 2) === wanted) return PASSES;
        }
        if (complaint !== undefined) return nothing(complaint);
        const error = await fixture.member.try("error", { fd });
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
    expectation: "held",
    async run(fixture) {
      await using sockets = new Sockets();
      const receiver = await sockets.make(fixture.member, member.family, UDP);
      const port = await fixture.member.do("bind", { fd: receiver, to: { ip: member.own, port: 0 } });
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
      return await inject(fixture, sockets, { protocol: 17, from, payload: udp }, () =>
        hear(fixture, text, [fixture.member, receiver]),
      );
    },
  };
}
