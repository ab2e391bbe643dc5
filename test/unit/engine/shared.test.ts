// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { restore } from "../../../src/engine/restore.ts";
import { release } from "../../../src/engine/session/release.ts";
import { reloadSession } from "../../../src/engine/session/reload.ts";
import { findLeftovers, sweep } from "../../../src/engine/sweep.ts";
import { TransactionError } from "../../../src/system/ffi/nftables.ts";
import { ALICE, Harness } from "./harness.ts";

const SECOND = { ...ALICE, pid: 4712, rhost: "198.51.100.9" } as const;

/** The shared policies in the table, by their chains. */
function policies(harness: Harness): string[] {
  return harness.host.firewall.named().flatMap(({ name }) => /^(policy_\w+)_in$/.exec(name)?.[1] ?? []);
}

/** The saved commands of shared policies. */
function saved(harness: Harness): string[] {
  return harness.files("policy").filter((path) => /\.(shared|spare)$/.test(path));
}

describe("A policy that many sessions have", () => {
  test("is loaded with the first and not with the second", async () => {
    using harness = new Harness();
    await harness.opened();
    expect(policies(harness)).toHaveLength(1);
    await harness.open(SECOND);
    expect(policies(harness)).toHaveLength(1);
    const texts = harness.host.firewall.asked.flat().map(String);
    expect(texts.filter((line) => /policy_\w+_out tcp dport 443/.test(line))).toEqual([]);
  });

  test("is gone with the last of them, whatever order they end in", async () => {
    for (const order of [
      [0, 1],
      [1, 0],
    ]) {
      using harness = new Harness();
      harness.write(
        "add rule inet authnft egress tcp dport 443 accept",
        "add rule inet authnft filter tcp dport 22 accept",
      );
      const sessions = [await harness.opened(), await harness.opened(SECOND)];
      const [first, last] = order.map((index) => sessions[index]);
      if (first === undefined || last === undefined) throw new Error("There are two.");
      await harness.end(first);
      expect(policies(harness)).toHaveLength(1);
      expect(harness.rulesOf(`session_alice_${last.record.pid}_out`).join()).toContain("tcp dport 443");
      await harness.end(last);
      expect(policies(harness)).toEqual([]);
      expect(saved(harness)).toEqual([]);
    }
  });

  test("of the user's slice is gone with the user's last session, though that had another", async () => {
    using harness = new Harness();
    harness.addSlice();
    const first = await harness.opened();
    harness.write("add rule inet authnft egress tcp dport 22 accept");
    const second = await harness.opened(SECOND);
    await harness.end(second);
    expect(policies(harness)).toHaveLength(2);
    await harness.end(first);
    expect(policies(harness)).toEqual([]);
    expect(saved(harness)).toEqual([]);
  });

  test("is saved again with what is released, for the next restoration", async () => {
    using harness = new Harness();
    const session = await harness.opened();
    harness.host.place(5000, session.record.cg_path);
    await harness.close();
    await release(session.unit);
    expect(saved(harness)).toEqual([expect.stringMatching(/\.shared$/)]);
    harness.host.firewall.flush();
    expect(await restore()).toBe(1);
  });

  test("is two by its name where two fragments differ, and one where they do not", async () => {
    using harness = new Harness();
    await harness.opened();
    harness.write("add rule inet authnft egress tcp dport 22 accept");
    await harness.opened(SECOND);
    expect(policies(harness)).toHaveLength(2);
    harness.write("# another text that says the same", "add rule inet authnft egress tcp dport   443 accept");
    await harness.opened({ ...ALICE, pid: 4713 });
    expect(policies(harness)).toHaveLength(2);
  });

  test("of a session that is refused stays only if another has it", async () => {
    using harness = new Harness();
    harness.fail(/^transaction$/, new Error("the kernel is gone"), { nth: 1 });
    await harness.open();
    expect(policies(harness)).toEqual([]);
    expect(saved(harness)).toEqual([]);
  });

  test("changes hands with a reload", async () => {
    using harness = new Harness();
    const first = await harness.opened();
    const second = await harness.opened(SECOND);
    harness.write("add rule inet authnft egress tcp dport 22 accept");
    await reloadSession(first.record, []);
    expect(policies(harness)).toHaveLength(2);
    await reloadSession(second.record, []);
    expect(policies(harness)).toHaveLength(1);
    expect(saved(harness)).toHaveLength(1);
    expect(harness.rulesOf("session_alice_4711_out").join()).toContain("tcp dport 22");
  });

  test("is loaded once by a restoration of all", async () => {
    using harness = new Harness();
    const all = [await harness.opened(), await harness.opened(SECOND)];
    harness.host.firewall.flush();
    expect(await restore()).toBe(2);
    expect(policies(harness)).toHaveLength(1);
    for (const { record } of all)
      expect(harness.rulesOf(`session_alice_${record.pid}_out`).join()).toContain("tcp dport 443");
  });

  test("is compiled again where its saved commands are lost", async () => {
    using harness = new Harness();
    await harness.opened();
    for (const path of saved(harness)) harness.host.disk.delete(path);
    harness.host.firewall.flush();
    expect(await restore()).toBe(1);
    expect(harness.rulesOf("session_alice_4711_out").join()).toContain("tcp dport 443");
    expect(saved(harness)).toHaveLength(1);
  });

  test("is there for what is released, though it was gone in between", async () => {
    using harness = new Harness();
    const session = await harness.opened();
    harness.host.place(5000, session.record.cg_path);
    await harness.close();
    expect(policies(harness)).toEqual([]);
    // Whoever releases wants the rules that were, whatever the fragment says by now.
    harness.write("add rule inet authnft egress tcp dport 22 accept");
    await release(session.unit);
    expect(harness.rulesOf("session_alice_4711_out").join()).toContain("tcp dport 443");
    await harness.end(session);
    expect(policies(harness)).toEqual([]);
    expect(saved(harness)).toEqual([]);
  });

  test("is swept away where nobody has it", async () => {
    using harness = new Harness();
    await harness.opened();
    harness.host.firewall.runTransaction([
      "create chain inet authnft policy_0123456789abcdef_in",
      "create chain inet authnft policy_0123456789abcdef_out",
    ]);
    harness.host.disk.set("/run/authnft/policy/policy_fedcba9876543210.shared", "# format 3\n");
    const left = await findLeftovers();
    expect(left.map(({ kind }) => kind).sort()).toEqual(["file", "rules", "rules"]);
    expect(await sweep(left)).toEqual({ removed: expect.arrayContaining(left), stays: [] });
    expect(policies(harness)).toHaveLength(1);
    expect(saved(harness)).toHaveLength(1);
  });
});

describe("A policy is each session's own", () => {
  test.each([
    ["with a counter", "add rule inet authnft egress counter accept"],
    ["with a limit", "add rule inet authnft egress limit rate 5/second accept"],
    ["with a count of connections", "add rule inet authnft egress ct count over 5 drop"],
    ["with a set that rules fill", "add set inet authnft seen { type ipv4_addr; flags dynamic; size 9; }"],
    ["that goes to a chain for good", "add chain inet authnft more\nadd rule inet authnft egress goto more"],
    [
      "with a map that does so",
      "add chain inet authnft more\nadd map inet authnft to { type inet_service : verdict; elements = { 22 : goto more } }",
    ],
    ["with a quota of its own", "add quota inet authnft budget { over 5 mbytes }"],
  ])("%s", async (_, line) => {
    using harness = new Harness();
    harness.write(line, "add rule inet authnft egress tcp dport 443 accept");
    await harness.opened();
    expect(policies(harness)).toEqual([]);
    expect(harness.rulesOf("session_alice_4711_out").join()).toContain("443 goto session_alice_4711_judged");
  });

  test("with the address of its client, where that differs", async () => {
    using harness = new Harness();
    harness.write("add rule inet authnft filter ip saddr $user_ip accept");
    await harness.opened();
    await harness.opened(SECOND);
    expect(policies(harness)).toHaveLength(2);
  });
});

describe("An accept of a shared policy", () => {
  test("goes back to the session's own chain, from the fragment's two chains", async () => {
    using harness = new Harness();
    harness.write("add rule inet authnft egress tcp dport vmap { 22 : accept, 23 : drop }");
    await harness.opened();
    expect(harness.rulesOf("session_alice_4711_out")).toContain("tcp dport vmap { 22 : return , 23 : drop }");
  });

  test("looks the session up by its cgroup, from a chain of the fragment's own", async () => {
    using harness = new Harness();
    harness.write(
      "add chain inet authnft web",
      "add rule inet authnft web tcp dport 443 accept",
      "add rule inet authnft egress jump web",
      "add rule inet authnft egress drop",
    );
    const { id } = await harness.opened();
    const [policy] = policies(harness);
    expect(harness.host.firewall.rules(`${policy}_web`)).toEqual(["tcp dport 443 goto accepted_2"]);
    expect(harness.host.firewall.setsWith(id)).toContain("session_judged");
    harness.host.firewall.flush();
    await restore();
    expect(harness.host.firewall.setsWith(id)).toContain("session_judged");
  });
});

describe("A rule of a shared policy that the kernel alone rejects", () => {
  test("is named by its line, and leaves nothing behind", async () => {
    using harness = new Harness();
    harness.write(
      "add rule inet authnft egress tcp dport 443 accept",
      "add rule inet authnft egress fib daddr type local",
    );
    // As the kernel does: it looks at a chain when something leads to it.
    const { firewall } = harness.host;
    const { runTransaction } = firewall;
    const rejecting = (lines: readonly string[]): void => {
      const shared = lines.some((line) => /policy_\w+_out fib /.test(line));
      const line = lines.findIndex((text) =>
        (shared ? / jump policy_\w+_out / : /^add rule .*alice.* fib /).test(text),
      );
      if (line !== -1) throw new TransactionError("", line, "Operation not supported");
      runTransaction(lines);
    };
    Object.assign(firewall, { runTransaction: rejecting });
    const reply = await harness.open();
    expect(reply.result).toBe("refused");
    expect(harness.host.messages.join()).toContain(
      "/etc/authnft/users/alice:2:1: nftables does not take what it says",
    );
    expect(policies(harness)).toEqual([]);
    expect(saved(harness)).toEqual([]);
    expect(harness.host.firewall.named().filter(({ name }) => name.startsWith("session_alice"))).toEqual([]);
  });

  test("costs the sharing alone where a jump more is one too many", async () => {
    using harness = new Harness();
    harness.addSlice();
    const { firewall } = harness.host;
    const { runTransaction } = firewall;
    Object.assign(firewall, {
      runTransaction: (lines: readonly string[]): void => {
        const line = lines.findIndex((text) => / jump policy_\w+_out /.test(text));
        if (line !== -1) throw new TransactionError("", line, "Too many links");
        runTransaction(lines);
      },
    });
    const session = await harness.opened();
    expect(policies(harness)).toEqual([]);
    expect(saved(harness)).toEqual([]);
    for (const chain of ["session_alice_4711_out", "cover_1000_out"])
      expect(firewall.rules(chain).join()).toContain("tcp dport 443 goto");
    harness.write("add rule inet authnft egress tcp dport 22 accept");
    await reloadSession(session.record, []);
    for (const chain of ["session_alice_4711_out", "cover_1000_out"])
      expect(firewall.rules(chain).join()).toContain("tcp dport 22 goto");
    firewall.flush();
    expect(await restore()).toBe(1);
    expect(firewall.rules("session_alice_4711_out").join()).toContain("tcp dport 22 goto");
    await harness.end(session);
    expect(harness.files("sessions")).toEqual([]);
    expect(saved(harness)).toEqual([]);
  });
});
