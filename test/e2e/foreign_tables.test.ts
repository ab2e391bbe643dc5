// SPDX-License-Identifier: GPL-2.0-or-later

// Other tables of the host's, as they are where countries are blocked, or lists of attackers are kept: what is in them is
// none of our business.

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { lab, nothingLeft, onOneRoad } from "./rig.ts";

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

/** Puts the table there that the host has besides ours, in the place of an earlier one. */
async function block(count: number): Promise<void> {
  const set = `set blocked { type ipv4_addr; flags interval; elements = { ${networks(count)} }; }`;
  const chain = "chain in { type filter hook input priority 10; ip saddr @blocked drop; }";
  await lab.output("nft -f -", {
    input: `add table inet foreign\ndelete table inet foreign\ntable inet foreign { ${set}\n${chain}\n}\n`,
    timeoutMs: 120_000,
  });
}

onOneRoad("Beside a table with a set of intervals", (road) => {
  beforeAll(async () => {
    await lab.reset();
    await lab.pam("sshd", { through: road });
    await lab.pam("lab", { through: road });
    await lab.fragment("alice", WITH_INTERVALS);
  });
  afterEach(() => lab.output("nft 'add table inet foreign; delete table inet foreign'"));
  afterAll(() => lab.reset());

  test.each([1, 100, 300, 20_000, 500_000])(
    "of %d, a member's session is under the policy: opened, reloaded, and with the table restored",
    async (count) => {
      await block(count);
      const probe = "probe tcp 10.88.0.2 7001; probe tcp 10.88.0.3 7001; read line";
      const alice = lab.sshStart("alice", `${probe}; ${probe}; ${probe}; true`);
      await alice.expect(/^ok\nrefused\n/);
      await lab.output("authnft reload alice");
      alice.write("\n");
      await alice.expect(/^ok\nrefused\n/);
      await lab.output("nft delete table inet authnft");
      expect(await lab.run("authnft restore")).toMatchObject({ code: 0, stderr: "" });
      alice.write("\n");
      await alice.expect(/^ok\nrefused\n/);
      alice.end();
      await alice.exited;
      await nothingLeft();
    },
    120_000,
  );
});
