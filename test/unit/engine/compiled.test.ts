// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { ALICE, Harness } from "./harness.ts";

const OUT = "session_alice_4712_out";
const SECOND = { ...ALICE, pid: 4712 } as const;

/** The compilations that are kept. */
function kept(harness: Harness): string[] {
  return harness.files("compiled");
}

/** Has the fragment's file look as it did, whatever is in it. */
function freeze(harness: Harness): void {
  harness.host.frozen.set(
    "/etc/authnft/users/alice",
    harness.host.disk.get("/etc/authnft/users/alice") ?? "",
  );
}

describe("A fragment that did not change", () => {
  test("is not compiled again", async () => {
    using harness = new Harness();
    await harness.opened();
    expect(kept(harness)).toHaveLength(1);
    freeze(harness);
    harness.write("add rule inet authnft egress tcp dport 22 accept");
    await harness.opened(SECOND);
    expect(harness.rulesOf(OUT).join()).toContain("tcp dport 443");
  });

  test("has the address filter that it had", async () => {
    using harness = new Harness();
    harness.write(
      "add rule inet authnft egress ip daddr 192.0.2.0/24 accept",
      "add rule inet authnft egress drop",
      "add rule inet authnft filter ip saddr 192.0.2.0/24 accept",
      "add rule inet authnft filter drop",
    );
    await harness.opened();
    await harness.opened(SECOND);
    const [first, second] = [4711, 4712].map((pid) => harness.host.locks.get(`authnft-alice-${pid}.scope`));
    expect(first?.allow).toHaveLength(1);
    expect(second).toEqual(first);
  });
});

describe("A fragment is compiled again", () => {
  test("that changed", async () => {
    using harness = new Harness();
    await harness.opened();
    harness.write("add rule inet authnft egress tcp dport 22 accept");
    await harness.opened(SECOND);
    expect(harness.rulesOf(OUT).join()).toContain("tcp dport 22");
  });

  test("of which a file that it includes changed", async () => {
    using harness = new Harness();
    harness.host.disk.set("/etc/authnft/lib/web", "add rule inet authnft egress tcp dport 80 accept\n");
    harness.write('include "/etc/authnft/lib/web"');
    await harness.opened();
    harness.host.disk.set("/etc/authnft/lib/web", "add rule inet authnft egress tcp dport 81 accept\n");
    await harness.opened(SECOND);
    expect(harness.rulesOf(OUT).join()).toContain("tcp dport 81");
  });

  test.each([
    ["truncated", (text: string) => text.slice(0, text.length / 2)],
    ["empty", () => ""],
    ["of another form", () => JSON.stringify({ files: {} })],
    ["of nothing", (text: string) => JSON.stringify({ ...JSON.parse(text), files: {} })],
    ["with a command that is not its own", (text: string) => text.replace("create chain", "flush chain")],
    [
      "with a command for another chain",
      (text: string) => text.replace(/"add rule inet authnft policy_/, '"add rule inet authnft egress_'),
    ],
    ["with another name", (text: string) => text.replace(/"name":"policy_\w+"/, '"name":"session_bob_1"')],
    [
      "of another program",
      (text: string) => text.replace(JSON.stringify(process.execPath), '"/usr/bin/other"'),
    ],
  ])("whose compilation is %s", async (_, damage) => {
    using harness = new Harness();
    await harness.opened();
    const [path = ""] = kept(harness);
    const text = harness.host.disk.get(path) ?? "";
    harness.host.disk.set(path, damage(text));
    expect(harness.host.disk.get(path)).not.toBe(text);
    freeze(harness);
    harness.host.disk.set("/etc/authnft/users/alice", "add rule inet authnft egress tcp dport 22 accept\n");
    await harness.opened(SECOND);
    expect(harness.rulesOf(OUT).join()).toContain("tcp dport 22");
  });

  test("that changed a moment ago: its times may not tell the next change", async () => {
    using harness = new Harness();
    harness.host.age = 1999;
    await harness.opened();
    expect(kept(harness)).toEqual([]);
    harness.host.age = 2000;
    await harness.opened(SECOND);
    expect(kept(harness)).toHaveLength(1);
  });

  test.each([
    ["that names its user", "add rule inet authnft egress meta skuid $user_id accept"],
    ["that asks for an address", "# require address\nadd rule inet authnft egress accept"],
    ["with a counter", "add rule inet authnft egress counter accept"],
    [
      "that looks into the set of peers",
      "add rule inet authnft filter meta cgroup . ip saddr @session_map_ipv4 accept",
    ],
  ])("%s, since it is not the same for everybody", async (_, text) => {
    using harness = new Harness();
    harness.write(text);
    await harness.opened();
    expect(kept(harness)).toEqual([]);
  });
});
