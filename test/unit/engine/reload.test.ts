// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { readRecord } from "../../../src/engine/session/records.ts";
import { liveSessions, reloadSession } from "../../../src/engine/session/reload.ts";
import { readRules } from "../../../src/engine/shared.ts";
import { readPolicy } from "../../../src/engine/store.ts";
import { ALICE, full, Harness, noAnswer } from "./harness.ts";

const OLD = "tcp dport 443";
const NEW = "tcp dport 22";

function rulesOf(harness: Harness, name = "session_alice_4711"): string {
  return harness.rulesOf(`${name}_out`).join("\n");
}

/** Another fragment than the one that sessions were opened with. */
function rewrite(harness: Harness): void {
  harness.write(`add rule inet authnft egress ${NEW} accept`);
}

describe("A session that is reloaded", () => {
  test("has the rules that its fragment says now, and stays led to them", async () => {
    using harness = new Harness();
    const { record, id } = await harness.opened();
    rewrite(harness);
    expect(await reloadSession(record, [])).toBe("/etc/authnft/users/alice");
    expect(rulesOf(harness)).toContain(NEW);
    expect(rulesOf(harness)).not.toContain(OLD);
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
    expect(readRules(record.scope_unit)?.shared?.lines.join()).toContain(NEW);
  });

  test("judges open flows anew: no label is the one before, however often", async () => {
    using harness = new Harness();
    const { record, unit } = await harness.opened();
    const labels = new Set([rulesOf(harness)]);
    for (let time = 1; time <= 3; time++) {
      await reloadSession(record, []);
      labels.add(rulesOf(harness));
      expect(readRecord(unit)?.generation).toBe(time);
    }
    expect(labels.size).toBe(4);
  });

  test("is written down before the kernel is asked, once", async () => {
    using harness = new Harness();
    harness.addSlice();
    const { record, unit } = await harness.opened();
    rewrite(harness);
    await reloadSession(record, []);
    const at = (what: string): number => harness.host.steps.lastIndexOf(what);
    const order = [
      at(`lock ${unit}`),
      at("lock ruleset"),
      at(`write /run/authnft/policy/${unit}.nft`),
      at(`write /run/authnft/sessions/${unit}.json`),
      at("transaction"),
      at("unlock ruleset"),
    ];
    expect(order).not.toContain(-1);
    expect(order).toEqual(order.toSorted((a, b) => a - b));
    const holding = harness.host.firewall.asked.filter((lines) =>
      lines.some((line) => String(line).includes(NEW)),
    );
    expect(holding).toHaveLength(1);
    expect(harness.rulesOf("cover_1000_out").join()).toContain(NEW);
  });

  test.each([
    ["of its own", "add rule inet authnft egress counter"],
    ["that others can share", ""],
  ])("takes the objects out that its fragment had, and brings the new ones, by rules %s", async (_, own) => {
    using harness = new Harness();
    harness.write(
      own,
      "add set inet authnft old { type ipv4_addr; elements = { 192.0.2.10 } }",
      "add chain inet authnft more",
      "add rule inet authnft more ip daddr @old accept",
      "add rule inet authnft egress jump more",
    );
    const { record } = await harness.opened();
    harness.write(
      own,
      "add set inet authnft fresh { type ipv4_addr; elements = { 192.0.2.10 } }",
      "add rule inet authnft egress ip daddr @fresh accept",
    );
    await reloadSession(record, []);
    const names = harness.host.firewall.named().map(({ name }) => name);
    expect(names.filter((name) => name.endsWith("_fresh"))).toHaveLength(1);
    expect(names.filter((name) => /_(old|more)$/.test(name))).toEqual([]);
  });

  test("gives its user's slice its rules only if it was opened last", async () => {
    using harness = new Harness();
    harness.addSlice();
    const first = await harness.opened();
    const second = await harness.opened({ ...ALICE, pid: 4712 });
    rewrite(harness);
    await reloadSession(first.record, []);
    expect(rulesOf(harness, "cover_1000")).toContain(OLD);
    await reloadSession(second.record, []);
    expect(rulesOf(harness, "cover_1000")).toContain(NEW);
    expect(rulesOf(harness, "cover_1000")).not.toContain(OLD);
  });

  test("has the flows of its user's slice judged anew", async () => {
    using harness = new Harness();
    harness.addSlice();
    const { record } = await harness.opened();
    const before = rulesOf(harness, "cover_1000");
    await reloadSession(record, []);
    expect(rulesOf(harness, "cover_1000")).not.toBe(before);
  });

  test("leaves no label to its user's slice that was there before, not even after a logout", async () => {
    using harness = new Harness();
    harness.addSlice();
    const first = await harness.opened();
    const before = rulesOf(harness, "cover_1000");
    await reloadSession(first.record, []);
    await harness.close({ ...ALICE, session: first.unit });
    await harness.opened({ ...ALICE, pid: 4712 });
    expect(rulesOf(harness, "cover_1000")).not.toBe(before);
  });

  test("is locked to what both policies need meanwhile, then to what the new one needs", async () => {
    using harness = new Harness();
    const peer = (address: string): void =>
      harness.write(
        `add rule inet authnft egress ip daddr ${address} accept`,
        "add rule inet authnft egress drop",
        "add rule inet authnft filter drop",
      );
    peer("198.51.100.1");
    const { record, unit } = await harness.opened();
    peer("198.51.100.2");
    const widths: number[] = [];
    harness.host.interfere = (what, when) => {
      if (what.startsWith("addresses") && when === "after")
        widths.push(harness.host.locks.get(unit)?.allow.length ?? 0);
    };
    const before = harness.host.locks.get(unit)?.allow.length ?? 0;
    await reloadSession(record, []);
    expect(before).toBeGreaterThan(0);
    expect(widths).toEqual([2 * before, before]);
  });
});

describe("What was in force stays where a reload", () => {
  test.each([
    ["finds no room for the rules", /^write .*policy\/authnft/, full()],
    ["finds no room for the record", /^(over)?write .*sessions/, full()],
    ["finds no room for the slice's rules", /^write .*policy\/cover_1000\.nft/, full()],
    ["is not taken by the kernel", /^transaction/, noAnswer("EPERM")],
  ])("%s", async (_, which, error) => {
    using harness = new Harness();
    harness.addSlice();
    const { record, unit } = await harness.opened();
    const before = [
      harness.host.firewall.print(),
      readPolicy(unit),
      readPolicy("cover_1000"),
      readRecord(unit),
    ];
    rewrite(harness);
    // The base is seen to first, in a transaction of its own.
    const isTransaction = which.test("transaction");
    harness.fail(which, error, { nth: isTransaction ? 1 : 0, times: isTransaction ? 1 : 2 });
    await expect(reloadSession(record, [])).rejects.toThrow();
    harness.host.interfere = () => undefined;
    expect([
      harness.host.firewall.print(),
      readPolicy(unit),
      readPolicy("cover_1000"),
      readRecord(unit),
    ]).toEqual(before);
  });

  test("has rules that nftables does not take; the line is told, and the address filter is as it was", async () => {
    using harness = new Harness();
    const narrow = (address: string, more = ""): void =>
      harness.write(
        `add rule inet authnft egress ip daddr ${address} accept`,
        ...(more === "" ? [] : [more]),
        "add rule inet authnft egress drop",
        "add rule inet authnft filter drop",
      );
    narrow("198.51.100.1");
    const { record, unit } = await harness.opened();
    const before = [
      harness.host.firewall.print(),
      readPolicy(unit),
      readRecord(unit),
      harness.host.locks.get(unit),
    ];
    narrow("198.51.100.2", "add rule inet authnft egress tcp dport 23 drop");
    harness.host.firewall.mistakes.add("tcp dport 23");
    const refusal = await reloadSession(record, []).catch((error: unknown) => error);
    expect(refusal).toMatchObject({ reason: "nft-syntax" });
    expect(String(refusal)).toContain("/etc/authnft/users/alice:2");
    expect([
      harness.host.firewall.print(),
      readPolicy(unit),
      readRecord(unit),
      harness.host.locks.get(unit),
    ]).toEqual(before);
  });
});

describe("A reload does nothing to a session", () => {
  test("that was closed while it waited for it", async () => {
    using harness = new Harness();
    const { record, unit } = await harness.opened();
    harness.host.place(5000, record.cg_path);
    await harness.close({ ...ALICE, session: unit });
    const before = harness.host.firewall.print();
    expect(await reloadSession(record, [])).toBeUndefined();
    expect(harness.host.firewall.print()).toBe(before);
  });

  test("that ended, and leaves no lock behind", async () => {
    using harness = new Harness();
    const session = await harness.opened();
    await harness.end(session);
    expect(await reloadSession(session.record, [])).toBeUndefined();
    expect(harness.files("lock").filter((path) => path.includes("alice"))).toEqual([]);
  });

  test("that has the name of the one that was meant, and is another", async () => {
    using harness = new Harness();
    const old = await harness.opened();
    await harness.end(old);
    harness.host.endProcess(ALICE.pid);
    await harness.opened();
    rewrite(harness);
    expect(await reloadSession(old.record, [])).toBeUndefined();
    expect(rulesOf(harness)).toContain(OLD);
  });
});

test("The sessions that can be reloaded are those that have rules and whose scope lives", async () => {
  using harness = new Harness();
  const open = await harness.opened({ ...ALICE, pid: 1 });
  const gone = await harness.opened({ ...ALICE, pid: 2 });
  const kept = await harness.opened({ ...ALICE, pid: 3, args: ["lingering=keep"] });
  const closed = await harness.opened({ ...ALICE, pid: 4 });
  for (const { record } of [kept, closed]) harness.host.place(record.pid * 1000, record.cg_path);
  await harness.close({ ...ALICE, pid: 3, session: kept.unit });
  await harness.close({ ...ALICE, pid: 4, session: closed.unit });
  harness.host.endCgroup(gone.record.cg_path);
  expect(liveSessions().map(({ scope_unit }) => scope_unit)).toEqual([open.unit, kept.unit]);
  expect(liveSessions("bob")).toEqual([]);
});
