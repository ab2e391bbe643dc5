// SPDX-License-Identifier: GPL-2.0-or-later

// Whatever fragment is accepted, in a real kernel it changes nothing but its own session's part.

import { beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import type { Address } from "../../src/address.ts";
import { addSubject } from "../../src/ruleset/subject.ts";
import { baseTable, closeUserSlice } from "../../src/ruleset/table.ts";
import { ROOTS } from "../../src/subjects/roots.ts";
import type { SubjectId } from "../../src/subjects/subject.ts";
import { acceptedFragments, type Life, lifeOf, type Session } from "../fuzz/fragments.ts";
import { lab, onThisRelease } from "./harness.ts";

/** How many accepted fragments the kernel gets to see. AUTHNFT_FUZZ_FRAGMENTS is for a long run by hand. */
const COUNT = Number(Bun.env["AUTHNFT_FUZZ_FRAGMENTS"] ?? 120);
const SEED = Number(Bun.env["AUTHNFT_FUZZ_SEED"] ?? 1);
const KERNEL = "/root/kernel.py";

onThisRelease("what the validator accepts", () => {
  beforeAll(async () => {
    await lab.reset();
    await lab.write(KERNEL, await Bun.file(join(import.meta.dir, "fixtures/fuzz/kernel.py")).text());
    await lab.output("mkdir -p /sys/fs/cgroup/authnft.slice/fuzz /sys/fs/cgroup/authnft.slice/other");
  });

  const id = async (path: string) => BigInt(await lab.output(`stat -c %i /sys/fs/cgroup/${path}`));

  const alice = async (): Promise<Session> => ({
    name: "session_alice_4711",
    path: "authnft.slice/fuzz",
    id: await id("authnft.slice/fuzz"),
    addresses: ["192.0.2.7" as Address, "2001:db8::7" as Address],
    comment: "alice (PID:4711)",
  });

  async function load(
    { name, path, addresses, comment }: Session,
    sessions: readonly Life[],
  ): Promise<{ loaded: number; refused: number; reached: [number, string][] }> {
    const other = addSubject(
      {
        id: "session_bob_77" as SubjectId,
        cgroup: { path: "authnft.slice/other", id: await id("authnft.slice/other") },
        addresses: ["192.0.2.8" as Address],
        comment: "bob",
        policy: { generation: 0 },
      },
      [
        { kind: "set", name: "own", definition: "{ type ipv4_addr; }" },
        { kind: "counter", name: "hits", definition: "" },
        { kind: "rule", chain: "out", body: "ip daddr @session_bob_77_own goto session_bob_77_judged" },
      ],
    );
    const around = [
      ...baseTable({ roots: ROOTS }),
      ...other.lines,
      closeUserSlice("user.slice"),
      "add table inet other",
      "add chain inet other input { type filter hook input priority 0; policy accept; }",
      "add rule inet other input tcp dport 22 accept",
      "add table ip authnft",
    ];
    await lab.write("/root/plan.json", JSON.stringify({ name, path, addresses, comment, around, sessions }));
    return JSON.parse(
      await lab.output(`unshare -n python3 ${KERNEL} /root/plan.json`, { timeoutMs: 110_000 }),
    );
  }

  test("changes nothing beyond its session when it is loaded and reloaded, and leaves nothing when it goes", async () => {
    const session = await alice();
    const accepted = acceptedFragments(SEED, COUNT, session);
    const { loaded, refused, reached } = await load(session, accepted);
    console.log(
      `${lab.release}: of ${accepted.length} accepted fragments the kernel took ${loaded}, nft refused ${refused}`,
    );
    expect(
      reached.map(([number, how]) => ({
        how,
        input: accepted[number]?.input,
        included: accepted[number]?.included,
      })),
    ).toEqual([]);
    expect(loaded).toBeGreaterThan(COUNT / 4);
  });

  test("would be seen to change more, if it did", async () => {
    const session = await alice();
    const beyond = [
      "add rule inet authnft session_bob_77_out accept",
      "flush chain inet authnft members_out",
      "add element inet authnft session_bob_77_own { 192.0.2.1 }",
      "delete table inet other",
      "add counter inet authnft stray",
      'add element inet authnft session_map_cg { "authnft.slice" }',
      // By the name or the cgroup alone nothing is the session's.
      "add chain inet other session_alice_4711_x",
      "add chain ip authnft session_alice_4711_x",
      "add counter inet other session_alice_4711_x",
      'add element inet authnft session_map_cg { "authnft.slice/fuzz" }',
      'add element inet authnft session_map_ipv4 { "authnft.slice/fuzz" . 192.0.2.99 comment "alice (PID:4711)" }',
      'add element inet authnft session_in { "authnft.slice/fuzz" comment "alice (PID:4711)" : goto closed_in }',
      'add element inet authnft covered_slices { "authnft.slice/fuzz" comment "alice (PID:4711)" }',
    ];
    const once = (add: readonly string[]): Life => ({ add, replace: [], remove: [] });
    const life = lifeOf(session, [{ kind: "counter", name: "hits", definition: "" }]);
    const reach = (await load(session, [life, once(life.add), ...beyond.map((line) => once([line]))]))
      .reached;
    expect(reach).toEqual(beyond.map((_, index) => [index + 2, "add"]));
    // And what is left behind, or cannot be replaced.
    const { reached } = await load(session, [
      { ...life, remove: life.remove.filter((line) => !line.includes("hits")) },
      { ...life, replace: [...life.replace, "add counter inet authnft stray"] },
      { ...life, replace: life.add },
    ]);
    expect(reached).toEqual([
      [0, "remove"],
      [1, "replace"],
      [2, expect.stringContaining("replace: ")],
    ]);
  });
});
