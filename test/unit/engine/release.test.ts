// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { readRecord } from "../../../src/engine/session/records.ts";
import { release } from "../../../src/engine/session/release.ts";
import { readPolicy } from "../../../src/engine/store.ts";
import { ALICE, full, Harness, noAnswer } from "./harness.ts";

/** A session that was closed with a process left. */
async function closed(harness: Harness) {
  const session = await harness.opened();
  harness.host.place(5000, session.record.cg_path);
  await harness.close({ ...ALICE, session: session.unit });
  harness.forget();
  return session;
}

describe("What is released", () => {
  test("has the rules that it had, until its scope ends", async () => {
    using harness = new Harness();
    const session = await closed(harness);
    await release(session.unit);
    expect(harness.host.firewall.leadOf("out", session.id)).toBe("session_alice_4711_out");
    expect(harness.host.firewall.leadOf("in", session.id)).toBe("session_alice_4711_in");
    expect(harness.rulesOf("session_alice_4711_out").join()).toContain("443");
    expect(readRecord(session.unit)).toMatchObject({ state: "lingering", lingering: "keep" });
    expect(readPolicy(session.unit)).toBeDefined();
    expect(readPolicy(session.unit, "closed")).toBeUndefined();
    await harness.end(session);
    expect(harness.host.firewall.setsWith(session.id)).toEqual([]);
    expect(harness.host.firewall.hasChain("authnft", "session_alice_4711_out")).toBe(false);
  });

  test("is led from what closes it to its rules in one step, when those are there", async () => {
    using harness = new Harness();
    const { unit, id } = await closed(harness);
    const leads = new Set<string | undefined>();
    harness.host.interfere = (what) => {
      if (what === "change" || what === "transaction") leads.add(harness.host.firewall.leadOf("out", id));
    };
    await release(unit);
    expect([...leads]).toEqual(["closed_out", "session_alice_4711_out"]);
    expect(
      harness.host.firewall.asked.filter((asked) => asked.some((one) => typeof one === "object")),
    ).toHaveLength(1);
  });

  test("loses its address filter last", async () => {
    using harness = new Harness();
    const { unit } = await closed(harness);
    await release(unit);
    expect(harness.host.locks.get(unit)?.allow.length).toBeGreaterThan(0);
    const steps = harness.host.steps;
    expect(steps.indexOf(`addresses ${unit}`)).toBeGreaterThan(steps.lastIndexOf("change"));
  });

  test("has its rules made anew where none were kept", async () => {
    using harness = new Harness();
    const { unit, id } = await closed(harness);
    for (const path of harness.files("policy")) if (path.includes("alice")) harness.host.disk.delete(path);
    await release(unit);
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
  });
});

describe("A release that fails half-way leaves it closed, whichever step it is:", () => {
  test.each([
    ["its rules cannot be kept", /^write .*policy/, full(), 0],
    ["its record cannot be written", /^(over)?write .*sessions/, full(), 0],
    ["the table cannot be seen to", /^transaction/, noAnswer("EPERM"), 0],
    ["its chains cannot be loaded", /^transaction/, noAnswer("EPERM"), 1],
    ["nothing can be led to them", /^change/, noAnswer("EPERM"), 0],
  ])("%s", async (_, which, error, nth) => {
    using harness = new Harness();
    const { unit, id } = await closed(harness);
    harness.fail(which, error, { nth, times: String(which).includes("sessions") ? 2 : 1 });
    const failure = await release(unit).catch((thrown: unknown) => thrown);
    harness.host.interfere = () => undefined;
    expect(failure).toBeInstanceOf(Error);
    expect(harness.host.firewall.leadOf("out", id)).toBe("closed_out");
    expect(harness.host.firewall.hasChain("authnft", "session_alice_4711_out")).toBe(false);
    expect(readRecord(unit)).toMatchObject({ state: "lingering", lingering: "quarantine" });
    expect(readPolicy(unit)).toBeUndefined();
    expect(readPolicy(unit, "closed")).toBeDefined();
    expect(harness.host.locks.get(unit)?.allow).toEqual([]);
    await release(unit);
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
  });

  test("the answer of the last is lost", async () => {
    using harness = new Harness();
    const { unit, id } = await closed(harness);
    harness.fail(/^change/, noAnswer(), { when: "after" });
    expect(await release(unit).catch((thrown: unknown) => thrown)).toBeInstanceOf(Error);
    expect(harness.host.firewall.leadOf("out", id)).toBe("closed_out");
    expect(readRecord(unit)).toMatchObject({ lingering: "quarantine" });
  });

  test("its rules name what nftables does not take any more", async () => {
    using harness = new Harness();
    const { unit, id } = await closed(harness);
    harness.host.firewall.mistakes.add("tcp dport 443");
    const refusal = await release(unit).catch((thrown: unknown) => thrown);
    expect(refusal).toMatchObject({ reason: "ruleset" });
    expect(harness.host.firewall.leadOf("out", id)).toBe("closed_out");
  });
});

describe("There is nothing to release", () => {
  const refused = async (harness: Harness, unit: string): Promise<void> => {
    const before = harness.host.firewall.print();
    expect(await release(unit as never).catch((thrown: unknown) => thrown)).toMatchObject({
      reason: "request",
    });
    expect(harness.host.firewall.print()).toBe(before);
  };

  test("of a session that is not, and no lock stays of it", async () => {
    using harness = new Harness();
    await refused(harness, "authnft-bob-1.scope");
    expect(harness.files("lock")).toEqual([]);
  });

  test("of one that is open", async () => {
    using harness = new Harness();
    await refused(harness, (await harness.opened()).unit);
  });

  test("of one that was refused", async () => {
    using harness = new Harness();
    harness.host.disk.delete("/etc/authnft/users/alice");
    await harness.open();
    await refused(harness, "authnft-alice-4711.scope");
  });

  test("of one that has been", async () => {
    using harness = new Harness();
    const { unit } = await closed(harness);
    await release(unit);
    await refused(harness, unit);
  });

  test("of one whose scope is another's by now", async () => {
    using harness = new Harness();
    const { unit, record } = await closed(harness);
    harness.host.endCgroup(record.cg_path);
    harness.host.addCgroup(record.cg_path, 99);
    await refused(harness, unit);
  });
});
