// SPDX-License-Identifier: GPL-2.0-or-later

// Other tables of the host's, as they are where countries are blocked, or lists of attackers are kept: what is in them is
// none of our business.

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { lab, nothingLeft, ONLY_FIRST, onOneRoad } from "./rig.ts";

/** Networks of eight addresses with as many between them: a set keeps each as an interval. */
function networks(count: number): string {
  return Array.from({ length: count }, (_, index) => {
    const address = (10 << 24) + index * 16;
    return `${[24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join(".")}/29`;
  }).join(", ");
}

async function block(count: number): Promise<void> {
  const set = `set blocked { type ipv4_addr; flags interval; elements = { ${networks(count)} }; }`;
  const chain =
    "chain in { type filter hook input priority 10; ip saddr 10.0.0.0/8 ip daddr @blocked drop; }";
  await lab.output("nft -f -", { input: `table inet foreign { ${set}\n${chain}\n}\n`, timeoutMs: 60_000 });
}

onOneRoad("Beside a table with a set of intervals", (road) => {
  beforeAll(async () => {
    await lab.reset();
    await lab.pam("sshd", { through: road });
    await lab.fragment("alice", ONLY_FIRST);
  });
  afterEach(() => lab.output("nft 'add table inet foreign; delete table inet foreign'"));
  afterAll(() => lab.reset());

  test.each([100, 300, 20_000])(
    "of %d, a member logs in under the policy, and the table can be restored",
    async (count) => {
      await block(count);
      expect(
        await lab.ssh("alice", "probe tcp 10.88.0.2 7001; probe tcp 10.88.0.3 7001; true"),
      ).toMatchObject({
        code: 0,
        stdout: "ok\nrefused\n",
      });
      await nothingLeft();
      await lab.output("nft delete table inet authnft");
      expect(await lab.run("authnft restore")).toMatchObject({ code: 0, stderr: "" });
      expect(await lab.ruleset()).toContain("chain members_out");
    },
  );
});
