// SPDX-License-Identifier: GPL-2.0-or-later

// Paths of a Multipath TCP connection that its peer opens to a listener of somebody else's: of the kernel's own, which root has
// asked for (ip mptcp endpoint add ADDRESS port PORT signal), or of a program's that has the same port at another address. What
// is on them nobody judges: docs/security.md names it, and the doctor the former.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { waitFor } from "../lab/lab.ts";
import { type Agent, installAgent, logIn, outside } from "./agent.ts";
import { lab, viaOne } from "./harness.ts";

/** A agent that speaks Multipath TCP; see the file. */
const ROGUE = "/usr/local/lib/rogue.py";

/** Addresses of the guest, the second of which it announces, and of the world; `any` for whoever listens. */
const PATHS = {
  IPv4: { other: "10.77.0.1", own: "10.88.0.1", first: "10.88.0.2", second: "10.88.0.3", any: "0.0.0.0" },
  IPv6: { other: "fd77::1", own: "fd88::1", first: "fd88::2", second: "fd88::3", any: "::" },
} as const;

/** Where the world takes calls, and where the guest's kernel does. */
const CALLED = 9900;
const ANNOUNCED = 9901;
/** Where a member takes calls of the first peer's. */
const TAKEN = 9902;
const WORD = "0011223344556677";

/** The first peer, who may call at one port, and nobody else. */
const POLICY = `
add rule inet authnft egress ip daddr ${PATHS.IPv4.first} accept
add rule inet authnft egress ip6 daddr ${PATHS.IPv6.first} accept
add rule inet authnft egress reject
add rule inet authnft filter ip saddr ${PATHS.IPv4.first} tcp dport ${TAKEN} accept
add rule inet authnft filter ip6 saddr ${PATHS.IPv6.first} tcp dport ${TAKEN} accept
add rule inet authnft filter drop
`;

viaOne("subflows", (via) => {
  let world: Agent;

  beforeAll(async () => {
    await lab.reset();
    await installAgent();
    await lab.write(ROGUE, await Bun.file(join(import.meta.dir, "fixtures/attacks/rogue.py")).text());
    await lab.pam("sshd", { through: via });
    await lab.fragment("alice", POLICY);
    const limits = "mptcp limits set subflow 4 add_addr_accepted 4";
    // With timestamps, an IPv6 address with its port has no room in a segment (RFC 8684, 3.4.1).
    await lab.output("echo 0 >/proc/sys/net/ipv4/tcp_timestamps");
    // The world calls from its second address, and closes the path from its first when it is told to.
    await lab.output(`set -e
      ip ${limits}; ip -n world ${limits}
      ip -n world route add ${PATHS.IPv4.other} via ${PATHS.IPv4.own} src ${PATHS.IPv4.second}
      ip -n world -6 route add ${PATHS.IPv6.other} via ${PATHS.IPv6.own} src ${PATHS.IPv6.second}
      world nft 'table inet paths { chain i { type filter hook input priority 0; }; }'`);
    world = await outside({ netns: "world", program: ROGUE });
    for (const { any } of Object.values(PATHS)) await world.tell("hear", "mptcp", any, CALLED);
  });

  afterAll(async () => {
    await lab.run(`
      echo 1 >/proc/sys/net/ipv4/tcp_timestamps
      ip mptcp endpoint flush
      world nft delete table inet paths
      ip -n world route del ${PATHS.IPv4.other}
      ip -n world -6 route del ${PATHS.IPv6.other}`);
    await lab.reset();
  });

  test.each(Object.keys(PATHS) as (keyof typeof PATHS)[])(
    "a peer that opens a second path from a forbidden address is in, where root has asked for that, and the doctor says so (%s)",
    async (family) => {
      const { first, other } = PATHS[family];
      await lab.output(`ip mptcp endpoint flush; ip mptcp endpoint add ${other} port ${ANNOUNCED} signal`);
      const outcome = async (user: string) => {
        const agent = await logIn(user, { program: ROGUE });
        await agent.tell("wait_for", 3);
        // The kernel announces an address once and not again for two minutes, and now and then nobody hears it.
        const calls = ["one", "two", "three", "four"];
        for (const name of calls) {
          expect(await agent.tell("call", name, "mptcp", first, CALLED)).toBe("called");
          // Only then is the other end sure of the connection.
          expect(await agent.tell("send", name, "x")).toBe("sent");
        }
        const paths = `world ss --no-header --tcp state established 'dport = :${ANNOUNCED}'`;
        const opened = await waitFor(async () => (await lab.output(paths)) !== "", { timeoutMs: 1500 }).catch(
          () => false,
        );
        await lab.output(`world nft add rule inet paths i tcp dport ${CALLED} drop`);
        const said = (await agent.tell(
          "try_all",
          calls.map((name) => ["say", name, WORD]),
        )) as string[];
        await lab.output("world nft flush chain inet paths i");
        await agent.end();
        return { opened, answered: said.includes("answered") };
      };
      /** The same, as often as it takes until the announcement was heard. */
      const heard = async (user: string) => {
        let seen = await outcome(user);
        for (let again = 1; again < 4 && !seen.opened; again++) seen = await outcome(user);
        return seen;
      };
      expect(await heard("dave")).toEqual({ opened: true, answered: true });
      expect(await heard("alice")).toEqual({ opened: true, answered: true });
      expect((await lab.run("authnft doctor")).stdout).toMatch(/MPTCP/);
      // Without the port the listener is the session's, and its rules hold.
      await lab.output(`ip mptcp endpoint flush; ip mptcp endpoint add ${other} signal`);
      expect(await outcome("alice")).toEqual({ opened: false, answered: false });
    },
  );

  test.each(Object.keys(PATHS) as (keyof typeof PATHS)[])(
    "a peer that opens a second path, from a forbidden address, to a stranger's listener on the same port is in, and to the member's own is not (%s)",
    async (family) => {
      const { own, other, first, second } = PATHS[family];
      const ip = family === "IPv4" ? "ip" : "ip6";
      await lab.output(`set -e
        ip mptcp endpoint flush
        ip -n world mptcp endpoint add ${second} dev guest0 subflow
        ip -n world route add ${own} dev guest0 src ${first}`);
      /** Whether the peer's word arrives by the second path alone, and is answered. @param to where that path leads */
      const outcome = async (to: string) => {
        // The peer's kernel knows one address of the member's; a peer that means it needs no help.
        await lab.output(`world nft 'table inet detour {
          chain n { type nat hook output priority -100; ${ip} saddr ${second} tcp dport ${TAKEN} dnat ${ip} to ${to}; }
          chain o { type filter hook output priority 0; }; chain i { type filter hook input priority 0; }; }'`);
        const [member, stranger] = [
          await logIn("alice", { program: ROGUE }),
          await logIn("dave", { program: ROGUE }),
        ];
        await member.tell("hear", "mptcp", own, TAKEN);
        await stranger.tell("hear", "mptcp", other, TAKEN);
        await world.tell("wait_for", 3);
        expect(await world.tell("call", to, "mptcp", own, TAKEN)).toBe("called");
        expect(await world.tell("send", to, "x")).toBe("sent");
        const paths = `ss --no-header --tcp state established 'sport = :${TAKEN} and dst ${second}'`;
        await waitFor(async () => (await lab.output(paths)) !== "", { timeoutMs: 1500 }).catch(() => false);
        await lab.output(`
          world nft add rule inet detour o ${ip} saddr ${first} tcp dport ${TAKEN} drop
          world nft add rule inet detour i ${ip} daddr ${first} tcp sport ${TAKEN} drop`);
        const [said] = (await world.tell("try_all", [["say", to, WORD]])) as string[];
        const heard = (await member.tell("heard_of", [WORD])) as string[];
        await world.tell("close", to);
        await lab.output("world nft delete table inet detour");
        await Promise.all([member.end(), stranger.end()]);
        return { arrived: heard.length > 0, answered: said === "answered" };
      };
      try {
        expect(await outcome(own)).toEqual({ arrived: false, answered: false });
        expect(await outcome(other)).toEqual({ arrived: true, answered: true });
      } finally {
        await lab.run(`
          world nft delete table inet detour
          ip -n world mptcp endpoint flush
          ip -n world route del ${own} dev guest0 src ${first}`);
      }
    },
  );
});
