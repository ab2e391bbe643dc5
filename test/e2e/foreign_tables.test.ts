// SPDX-License-Identifier: GPL-2.0-or-later

// Other tables of the host's, as they are where countries are blocked, or lists of attackers are kept: what is in them is
// none of our business.

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { waitFor } from "../lab/lab.ts";
import { lab, nothingLeft, viaOne } from "./harness.ts";

/** Networks of eight addresses with as many between them: a set keeps each as an interval. */
function networks(count: number): string {
  return Array.from({ length: count }, (_, index) => {
    const address = (20 << 24) + index * 16;
    return `${[24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join(".")}/29`;
  }).join(", ");
}

/** A policy with a set of its own that has intervals, from its definition and from a command. */
const WITH_INTERVALS = `
add set inet authnft peers { type ipv4_addr; flags interval; elements = { 10.88.0.2/32 } }
add element inet authnft peers { 192.0.2.0/24, 198.51.100.1-198.51.100.9 }
add rule inet authnft egress ip daddr @peers accept
add rule inet authnft egress reject
`;

/** Much more than a command takes on a busy machine, and much less than to fetch half a million intervals: 20 s and more. */
const FLAT_MS = 10_000;

/** What closes a slice before a manager starts, where neither the table nor the program is there. */
const QUARANTINE = `
  nft delete table inet authnft
  mv /usr/libexec/authnft /usr/libexec/authnft.away
  sh /usr/lib/authnft/close-slice $uid 2>/dev/null
  code=$?
  mv /usr/libexec/authnft.away /usr/libexec/authnft
  nft list set inet authnft covered_slices | grep -q "user-$uid.slice" && exit $code`;

/** Tables as others make them, of every shape; each stays as it is, word for word. */
const SHAPES = `
table ip authnft {
  set session_in { type ipv4_addr; flags timeout; timeout 1h; elements = { 203.0.113.9 } }
  chain filter { type filter hook input priority 20; ip saddr @session_in drop; }
}
table inet shapes {
  map verdicts { type ipv4_addr : verdict; flags interval; elements = { 203.0.113.0/24 : drop, 198.51.100.1-198.51.100.9 : jump judge } }
  map ports { type inet_proto . inet_service : verdict; elements = { tcp . 2525 : drop } }
  map marks { type ipv4_addr : mark; flags timeout; elements = { 203.0.113.1 timeout 1d : 0x2a } }
  set pairs { type ipv4_addr . inet_service; flags interval; elements = { 203.0.113.0/24 . 1-1024 } }
  set talkers { type ipv4_addr; flags dynamic,timeout; timeout 1m; size 100; }
  counter seen { }
  quota little { 10 mbytes }
  limit slow { rate 10/second }
  chain judge { counter drop; }
  chain in {
    type filter hook input priority 30; policy accept;
    ip saddr vmap @verdicts
    meta l4proto . th dport vmap @ports
    meta mark set ip saddr map @marks
    ip saddr . tcp dport @pairs drop
  }
}
table netdev shapes { chain in { type filter hook ingress device "lo" priority 0; ip saddr 203.0.113.0/24 drop; }; }
table bridge shapes { chain forward { type filter hook forward priority 0; ether type 0x88cc drop; }; }
table arp shapes { chain in { type filter hook input priority 0; arp operation 9 drop; }; }
table ip crowdsec {
  set crowdsec-blacklists { type ipv4_addr; flags timeout; elements = { 203.0.113.7 timeout 4h, 203.0.113.8 timeout 4h } }
  chain crowdsec-chain-input { type filter hook input priority -10; policy accept; ip saddr @crowdsec-blacklists drop; }
}
table inet f2b-table {
  set addr-set-sshd { type ipv4_addr; flags interval; elements = { 203.0.113.77 } }
  chain f2b-chain { type filter hook input priority -1; policy accept; tcp dport { 22 } ip saddr @addr-set-sshd reject; }
}
`;

/** What writes them besides: rules with expressions of xtables, and Docker's chains of nat. */
const BY_IPTABLES = `
  iptables-nft -A INPUT -s 203.0.113.3 -m comment --comment 'of somebody' -m limit --limit 5/min -j LOG
  iptables-nft -t nat -N DOCKER
  iptables-nft -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
  iptables-nft -t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
  iptables-nft -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
  iptables-nft -t nat -A DOCKER ! -i docker0 -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80`;

/** Puts the table there that the host has besides ours, in the place of an earlier one. */
async function block(count: number): Promise<void> {
  const set = `set blocked { type ipv4_addr; flags interval; elements = { ${networks(count)} }; }`;
  const chain = "chain in { type filter hook input priority 10; ip saddr @blocked drop; }";
  await lab.output("nft -f -", {
    input: `add table inet foreign\ndelete table inet foreign\ntable inet foreign { ${set}\n${chain}\n}\n`,
    timeoutMs: 120_000,
  });
}

viaOne("Beside a table with a set of intervals", (via) => {
  beforeAll(async () => {
    await lab.reset();
    await lab.pam("sshd", { through: via });
    await lab.pam("lab", { through: via });
    await lab.fragment("alice", WITH_INTERVALS);
  });
  afterEach(() => lab.output("nft 'add table inet foreign; delete table inet foreign'"));
  afterAll(() => lab.reset());

  test.each([1, 100, 300, 20_000, 500_000])(
    "of %d, a member's session is under the policy: opened, reloaded, and with the table restored",
    async (count) => {
      await block(count);
      const probe = "probe tcp 10.88.0.2 7001; probe tcp 10.88.0.3 7001; read line";
      const alice = lab.sshStart("alice", `${probe}; ${probe}; ${probe}; ${probe}; true`);
      await alice.expect(/^ok\nrefused\n/);
      await lab.output("authnft reload alice");
      alice.write("\n");
      await alice.expect(/^ok\nrefused\n/);
      await lab.output("nft delete table inet authnft");
      expect(await lab.run("authnft restore")).toMatchObject({ code: 0, stderr: "" });
      alice.write("\n");
      await alice.expect(/^ok\nrefused\n/);
      const uid = await lab.output("id -u alice");
      const slow: string[] = [];
      for (const command of [
        "nft delete table inet authnft; nft -f /run/authnft/ruleset.nft && nft -f /run/authnft/sessions.nft",
        `sh /usr/lib/authnft/close-slice ${uid}`,
        QUARANTINE,
        "authnft restore",
        "authnft check",
        "authnft doctor | grep -q 'Sessions under their rules: 1'",
        "authnft sweep",
      ]) {
        const began = performance.now();
        const { code, stderr } = await lab.run(command.replaceAll("$uid", uid));
        expect({ command, code, stderr }).toEqual({ command, code: 0, stderr: "" });
        if (performance.now() - began > FLAT_MS) slow.push(command);
      }
      expect(slow).toEqual([]);
      const medianOf = async (command: string): Promise<number> => {
        const times: number[] = [];
        for (let turn = 0; turn < 7; turn++) {
          const began = performance.now();
          await lab.output(command);
          times.push(performance.now() - began);
        }
        return Math.round(times.sort((a, b) => a - b)[3] ?? 0);
      };
      const login = await medianOf("pamtester lab alice open_session close_session");
      const restore = await medianOf("authnft restore");
      console.log(
        `${lab.release}, beside ${count} intervals, medians of 7: open and close ${login} ms, restore ${restore} ms`,
      );
      alice.write("\n");
      await alice.expect(/^ok\nrefused\n/);
      alice.end();
      await alice.exited;
      await nothingLeft();
    },
    120_000,
  );

  test("of every shape, and one that a process owns, all of us works, and what others have stays word for word", async () => {
    const others = async () =>
      (
        await lab.output(
          'nft list tables | while read -r _ table; do [ "$table" = "inet authnft" ] || nft list table $table 2>/dev/null; done',
        )
      ).replace(/ expires \w+|packets \d+ bytes \d+/g, "");
    await lab.output("nft -f -", { input: SHAPES });
    await lab.output(BY_IPTABLES);
    const owner = lab.start(["nft", "-i"]);
    owner.write(
      "add table inet owned { flags owner; }\nadd chain inet owned in { type filter hook input priority 40; }\n",
    );
    await waitFor(async () => (await lab.output("nft list tables")).includes("inet owned"));
    try {
      const before = await others();
      expect(before).toContain("flags owner");
      const probe = "probe tcp 10.88.0.2 7001; probe tcp 10.88.0.3 7001; read line";
      const alice = lab.sshStart("alice", `${probe}; ${probe}; true`);
      await alice.expect(/^ok\nrefused\n/);
      for (const command of [
        "authnft reload alice",
        "authnft check",
        "authnft doctor | grep -q 'Sessions under their rules: 1'",
        "authnft sweep",
        "nft delete table inet authnft; nft -f /run/authnft/ruleset.nft && nft -f /run/authnft/sessions.nft",
        "nft delete table inet authnft; authnft restore",
      ]) {
        const { code, stderr } = await lab.run(command);
        expect({ command, code, stderr }).toEqual({ command, code: 0, stderr: "" });
      }
      alice.write("\n");
      await alice.expect(/^ok\nrefused\n/);
      alice.end();
      await alice.exited;
      await nothingLeft();
      expect(await others()).toBe(before);
    } finally {
      owner.end();
      await owner.exited;
      await lab.output(`nft list tables | sed -n '/ inet authnft$/!s/^table/delete table/p' | nft -f -`);
    }
  }, 60_000);
});
