// SPDX-License-Identifier: GPL-2.0-or-later

// Attempts with packets that the kernel would not write by itself.

import type { Attempt, Fixture, Outcome } from "../attempt.ts";
import { bytesOf } from "../destinations.ts";
import type { Option } from "../operation.ts";
import { AF_INET, AF_INET6, ANY_SOURCE_4, ANY_SOURCE_6, FOUR, SIX, SOCK_RAW, TCP, UDP } from "./protocols.ts";
import { errorOf, freePort, nothing, PASSES, post, Sockets, wait } from "./sockets.ts";

/** A segment that looks like one of a connection that was there before. Where it arrives, it is answered with a reset. */
export const STRAY_SEGMENT: Attempt = {
  name: "TCP, IPv4, in, a segment of no connection",
  judged: "in",
  async run(fixture) {
    await using sockets = new Sockets();
    const listener = await sockets.make(fixture.member, AF_INET, TCP);
    const port = await fixture.member.do("bind", { fd: listener, to: { ip: "127.0.0.1", port: 0 } });
    await fixture.member.do("listen", { fd: listener });
    // An address of the loopback that hardly anybody uses, so that the answer is found.
    const from = "127.71.35.1";
    const watch = sockets.keep(fixture.outside, await fixture.outside.do("watch", { ip: from }));
    const acknowledgement = [0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 4, 0];
    const segment = [...pair(UNNAMED_PORT), ...pair(port), ...acknowledgement, 0, 0, 0, 0];
    const sum = checksum([127, 71, 35, 1, 127, 0, 0, 1, 0, 6, 0, segment.length, ...segment]);
    segment.splice(16, 2, ...pair(sum));
    return await inject(fixture, sockets, { protocol: 6, from: bytesOf(from), payload: segment }, () =>
      wait(fixture, async () => {
        const seen = await fixture.outside.try("receive", { fd: watch });
        if ("error" in seen) return undefined;
        return seen.value.slice(20, 22) === String.fromCharCode(port >> 8, port & 255) ? PASSES : undefined;
      }),
    );
  },
};

/** An error about a packet of the member's that was never sent: a program reads such, and what is quoted in it. */
export const UNASKED_ERROR: Attempt = {
  name: "ICMP, IPv4, in, an error about a packet that nobody has sent",
  judged: undefined,
  expectation: "held",
  async run(fixture) {
    await using sockets = new Sockets();
    const fd = await sockets.make(fixture.member, AF_INET, UDP);
    const port = await fixture.member.do("bind", { fd, to: { ip: "127.0.0.1", port: 0 } });
    const peer = await freePort(fixture.outside, UDP);
    await fixture.member.do("connect", { fd, to: { ip: "127.0.0.1", port: peer } });
    const own = bytesOf("127.0.0.1");
    const quoted = [0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0, ...own, ...own];
    quoted.splice(10, 2, ...pair(checksum(quoted)));
    // RFC 792: destination unreachable, by port.
    const error = [3, 3, 0, 0, 0, 0, 0, 0, ...quoted, ...pair(port), ...pair(peer), 0, 8, 0, 0];
    error.splice(2, 2, ...pair(checksum(error)));
    return await inject(fixture, sockets, { protocol: 1, from: own, payload: error }, () =>
      wait(fixture, async () => {
        const told = await fixture.member.try("error", { fd });
        return "value" in told && told.value === "ECONNREFUSED" ? PASSES : undefined;
      }),
    );
  },
};

/** A port that no service is known to have. */
export const UNNAMED_PORT = 47_011;

type Forged = {
  readonly protocol: number;
  readonly from: readonly number[];
  readonly payload: readonly number[];
};

/** Sends a packet with an address of our choice to the loopback's own of the same family. */
export async function inject(
  fixture: Fixture,
  sockets: Sockets,
  { protocol, from, payload }: Forged,
  arrived: () => Promise<Outcome>,
): Promise<Outcome> {
  const { family, own } = from.length === 4 ? FOUR : SIX;
  // IPPROTO_RAW: with a header of ours. That of IPv4 gets its length and checksum from the kernel.
  const raw = await sockets.make(fixture.outside, family, { name: "raw", type: SOCK_RAW, number: 255 });
  const header =
    family === AF_INET
      ? [0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, ...from, ...bytesOf(own)]
      : [0x60, 0, 0, 0, ...pair(payload.length), protocol, 64, ...from, ...bytesOf(own)];
  const data = Buffer.from([...header, ...payload]).toString("latin1");
  await fixture.outside.do("send", { fd: raw, data, to: { ip: own, port: 0 } });
  return await arrived();
}

/** A number of 16 bits in network order. */
export function pair(number: number): [number, number] {
  return [number >> 8, number & 255];
}

/** The checksum of TCP, of an even number of bytes. */
export function checksum(bytes: readonly number[]): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += ((bytes[at] ?? 0) << 8) + (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

/** A member sends from an address that is nobody's here. What answers it, answers there. */
export function fromNobodys(family: number): Attempt {
  const six = family === AF_INET6;
  return {
    name: `UDP, ${six ? "IPv6" : "IPv4"}, out from an address that is not the host's`,
    judged: undefined,
    expectation: "held",
    async run(fixture) {
      await using sockets = new Sockets();
      const receiver = await sockets.make(fixture.outside, family, UDP);
      const ip = six ? "::1" : "127.0.0.1";
      const port = await fixture.outside.do("bind", { fd: receiver, to: { ip, port: 0 } });
      const fd = await sockets.make(fixture.member, family, UDP, six ? ANY_SOURCE_6 : ANY_SOURCE_4);
      const refused = errorOf(
        await fixture.member.try("bind", { fd, to: { ip: six ? "2001:db8::71" : "192.0.2.71", port: 0 } }),
      );
      if (refused !== undefined) return nothing(refused);
      return await post(fixture, [fixture.member, fd, { ip, port }], [fixture.outside, receiver]);
    },
  };
}

/** A member sends what tells its own way: the rules see the first stop. It is looked for where it leaves, for nobody may take it. */
export function byWay(family: number, name: string, way: Option): Attempt {
  const ip = family === AF_INET6 ? "::1" : "127.0.0.1";
  return {
    name: `UDP, out by a way of the member's choice (${name})`,
    judged: undefined,
    expectation: "held",
    async run(fixture) {
      await using sockets = new Sockets();
      const watch = sockets.keep(fixture.outside, await fixture.outside.do("watch", { ip }));
      const fd = await sockets.make(fixture.member, family, UDP);
      const refused = errorOf(await fixture.member.try("option", { fd, option: way }));
      if (refused !== undefined) return nothing(refused);
      return await post(fixture, [fixture.member, fd, { ip, port: UNNAMED_PORT }], [fixture.outside, watch]);
    },
  };
}

/** A member gives its packets the mark by which others' rules, and ours, know what may pass. */
export const OWN_MARK: Attempt = {
  name: "UDP, with a mark of the member's own (SO_MARK)",
  judged: undefined,
  expectation: "nothing",
  async run({ member }) {
    await using sockets = new Sockets();
    const fd = await sockets.make(member, AF_INET, UDP);
    const refused = errorOf(await member.try("option", { fd, option: { level: 1, name: 36, value: -1 } }));
    return refused === undefined ? { passed: true, how: "the mark was set" } : nothing(refused);
  },
};
