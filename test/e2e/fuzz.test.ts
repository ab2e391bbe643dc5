// SPDX-License-Identifier: GPL-2.0-or-later

// Whatever fragment is accepted, in a real kernel it changes nothing but its own session's part.

import { beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { addMember } from "../../src/ruleset/members.ts";
import { baseTable, coverSlice } from "../../src/ruleset/table.ts";
import { acceptedFragments } from "../fuzz/fragments.ts";
import { lab, onThisRelease } from "./rig.ts";

/** How many accepted fragments the kernel gets to see. AUTHNFT_FUZZ_FRAGMENTS is for a long run by hand. */
const COUNT = Number(Bun.env["AUTHNFT_FUZZ_FRAGMENTS"] ?? 500);
const SEED = Number(Bun.env["AUTHNFT_FUZZ_SEED"] ?? 1);
const KERNEL = "/root/kernel.py";

onThisRelease("what the validator accepts", () => {
  beforeAll(async () => {
    await lab.reset();
    await lab.write(KERNEL, await Bun.file(join(import.meta.dir, "fixtures/fuzz/kernel.py")).text());
    await lab.output("mkdir -p /sys/fs/cgroup/authnft.slice/fuzz /sys/fs/cgroup/authnft.slice/other");
  });

  const id = async (path: string) => BigInt(await lab.output(`stat -c %i /sys/fs/cgroup/${path}`));

  async function load(
    transactions: readonly (readonly string[])[],
  ): Promise<{ loaded: number; refused: number; reached: number[] }> {
    const path = "authnft.slice/other";
    const other = addMember({
      name: "session_bob_77",
      cgroupPath: path,
      cgroupId: await id(path),
      addresses: [{ family: "ip", text: "192.0.2.8" }],
      comment: "bob",
      parts: [
        { kind: "set", name: "own", definition: "{ type ipv4_addr; }" },
        { kind: "counter", name: "hits", definition: "" },
        { kind: "rule", chain: "out", body: "ip daddr @session_bob_77_own goto session_bob_77_judged" },
      ],
    });
    const around = [
      ...baseTable({ closed: "authnft.slice", users: "user.slice" }),
      ...other.lines,
      coverSlice("user.slice"),
      "add table inet other",
      "add chain inet other input { type filter hook input priority 0; policy accept; }",
      "add rule inet other input tcp dport 22 accept",
    ];
    const plan = { name: "session_alice_4711", path: "authnft.slice/fuzz", around, transactions };
    await lab.write("/root/plan.json", JSON.stringify(plan));
    return JSON.parse(
      await lab.output(`unshare -n python3 ${KERNEL} /root/plan.json`, { timeoutMs: 110_000 }),
    );
  }

  test("changes nothing beyond its session when it is loaded", async () => {
    const session = {
      name: "session_alice_4711",
      path: "authnft.slice/fuzz",
      id: await id("authnft.slice/fuzz"),
    };
    const accepted = acceptedFragments(SEED, COUNT, session);
    const { loaded, refused, reached } = await load(accepted.map(({ lines }) => lines));
    console.log(
      `${lab.release}: of ${accepted.length} accepted fragments the kernel took ${loaded}, nft refused ${refused}`,
    );
    expect(reached.map((number) => accepted[number]?.input)).toEqual([]);
    expect(loaded).toBeGreaterThan(COUNT / 4);
  });

  test("would be seen to change more, if it did", async () => {
    const beyond = [
      ["add rule inet authnft session_bob_77_out accept"],
      ["flush chain inet authnft members_out"],
      ["add element inet authnft session_bob_77_own { 192.0.2.1 }"],
      ["delete table inet other"],
      ["add counter inet authnft stray"],
      ['add element inet authnft session_map_cg { "authnft.slice" }'],
    ];
    const { reached } = await load([["add chain inet authnft session_alice_4711_x"], ...beyond]);
    expect(reached).toEqual(beyond.map((_, index) => index + 1));
  });
});
