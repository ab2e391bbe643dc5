// SPDX-License-Identifier: GPL-2.0-or-later

// The list of what is tried on a session. Each attempt makes its own sockets, and leaves none.

import { Failure } from "./agent.ts";
import type { Attempt, Fixture, Outcome } from "./attempt.ts";
import { BACKWARDS, launder, ONTO_TIME_WAIT } from "./attempts/flows.ts";
import { byWay, fromNobodys, OWN_MARK, STRAY_SEGMENT, UNASKED_ERROR } from "./attempts/forged.ts";
import { passedOn } from "./attempts/handed_over.ts";
import { cast, castIn, shared } from "./attempts/multicast.ts";
import { into, out, ping, privileged } from "./attempts/plain.ts";
import { portTaken } from "./attempts/ports.ts";
import {
  AF_INET,
  AF_INET6,
  AF_PACKET,
  GROUP,
  IPV4,
  IPV6,
  MAPPED,
  MPTCP,
  ROUTING_HEADER,
  SCTP,
  SOCK_RAW,
  SOURCE_ROUTE,
  TCP,
  TCP_FAST_OPEN,
  UDP,
  UDPLITE,
} from "./attempts/protocols.ts";
import { reach, Sockets, word } from "./attempts/sockets.ts";

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
      run: (fixture) => reach(fixture, UDP, [fixture.member, member], [fixture.outside, outside], true),
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
    async (fixture, own, [peer]) => {
      await fixture.outside.do("send", { fd: peer, data: word(), to: own });
    },
  ),
  launder("UDP, on a flow that an outside process had before", async (fixture, own, [peer, at]) => {
    await using sockets = new Sockets();
    const before = await sockets.make(fixture.outside, AF_INET, UDP);
    await fixture.outside.do("bind", { fd: before, to: own });
    await fixture.outside.do("send", { fd: before, data: word(), to: at });
    await fixture.outside.do("send", { fd: peer, data: word(), to: own });
  }),
  ...[UDP, TCP].flatMap((protocol) => [
    passedOn(protocol, "outside and passed in", { judged: undefined, expectation: "maker" }, "outside"),
    passedOn(protocol, "in the session and passed out", { judged: "out" }, "member"),
  ]),
  portTaken(TCP),
  portTaken(UDP),
];

/** Makes an attempt that is left out, with the reason. */
export function leftOut(name: string, why: string): Attempt {
  return {
    name,
    judged: undefined,
    expectation: "nothing",
    run: async () => ({ passed: "untried", how: why }),
  };
}

/**
 * Runs an attempt. What the kernel does not have, or the host forbids, cannot be tried; nor what takes longer than there is time.
 */
export async function runAttempt(
  act: (fixture: Fixture) => Promise<Outcome>,
  fixture: Fixture,
  timeout: Promise<Outcome>,
): Promise<Outcome> {
  try {
    return await Promise.race([act(fixture), timeout]);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { passed: "untried", how: `${error.op}: ${error.code}` };
  }
}
