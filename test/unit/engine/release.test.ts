// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { readRecord } from "../../../src/engine/session/records.ts";
import { release } from "../../../src/engine/session/release.ts";
import { readPolicy } from "../../../src/engine/store.ts";
import { ALICE, full, noAnswer, Rig } from "./rig.ts";

/** A session that was closed with a process left. */
async function closed(rig: Rig) {
  const session = await rig.opened();
  rig.host.place(5000, session.record.cg_path);
  await rig.close({ ...ALICE, session: session.unit });
  rig.forget();
  return session;
}

describe("What is released", () => {
  test("has the rules that it had, until its scope ends", async () => {
    using rig = new Rig();
    const session = await closed(rig);
    await release(session.unit);
    expect(rig.host.firewall.leadOf("out", session.id)).toBe("session_alice_4711_out");
    expect(rig.host.firewall.leadOf("in", session.id)).toBe("session_alice_4711_in");
    expect(rig.host.firewall.rules("session_alice_4711_out").join()).toContain("443");
    expect(readRecord(session.unit)).toMatchObject({ state: "lingering", lingering: "keep" });
    expect(readPolicy(session.unit)).toBeDefined();
    expect(readPolicy(session.unit, "closed")).toBeUndefined();
    await rig.end(session);
    expect(rig.host.firewall.setsWith(session.id)).toEqual([]);
    expect(rig.host.firewall.hasChain("authnft", "session_alice_4711_out")).toBe(false);
  });

  test("is led from what closes it to its rules in one step, when those are there", async () => {
    using rig = new Rig();
    const { unit, id } = await closed(rig);
    const leads = new Set<string | undefined>();
    rig.host.interfere = (what) => {
      if (what === "change" || what === "transaction") leads.add(rig.host.firewall.leadOf("out", id));
    };
    await release(unit);
    expect([...leads]).toEqual(["closed_out", "session_alice_4711_out"]);
    expect(
      rig.host.firewall.asked.filter((asked) => asked.some((one) => typeof one === "object")),
    ).toHaveLength(1);
  });

  test("loses its address filter last", async () => {
    using rig = new Rig();
    const { unit } = await closed(rig);
    await release(unit);
    expect(rig.host.locks.get(unit)?.allow.length).toBeGreaterThan(0);
    const steps = rig.host.steps;
    expect(steps.indexOf(`addresses ${unit}`)).toBeGreaterThan(steps.lastIndexOf("change"));
  });

  test("has its rules made anew where none were kept", async () => {
    using rig = new Rig();
    const { unit, id } = await closed(rig);
    for (const path of rig.saveBestEffort("policy")) if (path.includes("alice")) rig.host.disk.delete(path);
    await release(unit);
    expect(rig.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
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
    using rig = new Rig();
    const { unit, id } = await closed(rig);
    rig.fail(which, error, { nth, times: String(which).includes("sessions") ? 2 : 1 });
    const failure = await release(unit).catch((thrown: unknown) => thrown);
    rig.host.interfere = () => undefined;
    expect(failure).toBeInstanceOf(Error);
    expect(rig.host.firewall.leadOf("out", id)).toBe("closed_out");
    expect(rig.host.firewall.hasChain("authnft", "session_alice_4711_out")).toBe(false);
    expect(readRecord(unit)).toMatchObject({ state: "lingering", lingering: "quarantine" });
    expect(readPolicy(unit)).toBeUndefined();
    expect(readPolicy(unit, "closed")).toBeDefined();
    expect(rig.host.locks.get(unit)?.allow).toEqual([]);
    await release(unit);
    expect(rig.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
  });

  test("the answer of the last is lost", async () => {
    using rig = new Rig();
    const { unit, id } = await closed(rig);
    rig.fail(/^change/, noAnswer(), { when: "after" });
    expect(await release(unit).catch((thrown: unknown) => thrown)).toBeInstanceOf(Error);
    expect(rig.host.firewall.leadOf("out", id)).toBe("closed_out");
    expect(readRecord(unit)).toMatchObject({ lingering: "quarantine" });
  });

  test("its rules name what nftables does not take any more", async () => {
    using rig = new Rig();
    const { unit, id } = await closed(rig);
    rig.host.firewall.mistakes.add("tcp dport 443");
    const refusal = await release(unit).catch((thrown: unknown) => thrown);
    expect(refusal).toMatchObject({ reason: "ruleset" });
    expect(rig.host.firewall.leadOf("out", id)).toBe("closed_out");
  });
});

describe("There is nothing to release", () => {
  const refused = async (rig: Rig, unit: string): Promise<void> => {
    const before = rig.host.firewall.print();
    expect(await release(unit as never).catch((thrown: unknown) => thrown)).toMatchObject({
      reason: "request",
    });
    expect(rig.host.firewall.print()).toBe(before);
  };

  test("of a session that is not, and no lock stays of it", async () => {
    using rig = new Rig();
    await refused(rig, "authnft-bob-1.scope");
    expect(rig.saveBestEffort("lock")).toEqual([]);
  });

  test("of one that is open", async () => {
    using rig = new Rig();
    await refused(rig, (await rig.opened()).unit);
  });

  test("of one that was refused", async () => {
    using rig = new Rig();
    rig.host.disk.delete("/etc/authnft/users/alice");
    await rig.open();
    await refused(rig, "authnft-alice-4711.scope");
  });

  test("of one that has been", async () => {
    using rig = new Rig();
    const { unit } = await closed(rig);
    await release(unit);
    await refused(rig, unit);
  });

  test("of one whose scope is another's by now", async () => {
    using rig = new Rig();
    const { unit, record } = await closed(rig);
    rig.host.endCgroup(record.cg_path);
    rig.host.addCgroup(record.cg_path, 99);
    await refused(rig, unit);
  });
});
