// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { closeSessionsOf } from "../../../src/engine/session/close.ts";
import { readRecord } from "../../../src/engine/session/records.ts";
import { readPolicy } from "../../../src/engine/store.ts";
import { ALICE, DAEMON, full, Harness, noAnswer } from "./harness.ts";

/** A process of a session's besides the one that opened it. */
const TMUX = 5000;

describe("A session that is closed", () => {
  test("is written down, told of when the lock is released, and only then hung up", async () => {
    using harness = new Harness();
    const { unit, record, id } = await harness.opened();
    harness.host.place(TMUX, record.cg_path);
    await harness.close({ ...ALICE, session: unit });
    const at = (what: RegExp): number => harness.host.steps.findIndex((step) => what.test(step));
    const order = [
      /^lock ruleset/,
      /^change/,
      /^unlock ruleset/,
      /^event close/,
      /^hang up/,
      /^addresses/,
    ].map(at);
    expect(order).not.toContain(-1);
    expect(order).toEqual(order.toSorted((a, b) => a - b));
    expect(harness.host.hungUp.has(id)).toBe(true);
  });

  test("leaves what is left without network, locked to no address", async () => {
    using harness = new Harness();
    const { unit, record, id } = await harness.opened();
    harness.host.place(TMUX, record.cg_path);
    await harness.close({ ...ALICE, session: unit });
    expect(harness.host.firewall.hasChain("authnft", "session_alice_4711_out")).toBe(false);
    expect(harness.host.firewall.leadOf("out", id)).toBe("closed_out");
    expect(harness.host.locks.get(unit)?.allow).toEqual([]);
    expect(readRecord(unit)?.state).toBe("lingering");
  });

  test("with nothing left is led nowhere, and needs no address filter", async () => {
    using harness = new Harness();
    const { unit, id } = await harness.opened();
    harness.host.place(ALICE.pid, `authnft.slice/${unit}`);
    await harness.close({ ...ALICE, session: unit });
    expect(harness.host.firewall.setsWith(id)).toEqual([]);
    expect(harness.host.steps.filter((step) => step.startsWith("addresses"))).toEqual([]);
  });

  test("counts what passed until its rules were removed", async () => {
    using harness = new Harness();
    const { unit, id } = await harness.opened();
    harness.host.firewall.pass(id, { packets: 3, bytes: 180 });
    await harness.close({ ...ALICE, session: unit });
    expect(readRecord(unit)?.traffic).toEqual({ packets: 6, bytes: 360 });
  });

  test("keeps its rules with lingering=keep, and leaves its user's slice closed", async () => {
    using harness = new Harness();
    const slice = harness.addSlice();
    const { unit, record, id } = await harness.opened({ ...ALICE, args: ["lingering=keep"] });
    harness.host.place(TMUX, record.cg_path);
    await harness.close({ ...ALICE, session: unit });
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
    expect(harness.host.firewall.leadOf("out", slice)).toBeUndefined();
    expect(harness.host.hungUp.has(slice)).toBe(true);
    expect(harness.host.hungUp.has(id)).toBe(false);
    expect(readRecord(unit)).toMatchObject({ state: "lingering", lingering: "keep" });
    expect(readPolicy(unit)).toBeDefined();
  });

  test("has what is left killed with lingering=kill, and its own process spared", async () => {
    using harness = new Harness();
    const { unit, record } = await harness.opened({ ...ALICE, args: ["lingering=kill"] });
    harness.host.place(TMUX, record.cg_path);
    await harness.close({ ...ALICE, session: unit });
    expect(harness.host.placeOf(TMUX)).toBeUndefined();
    expect(harness.host.placeOf(ALICE.pid)).toBe("authnft.slice/run-authnft-refused.mount");
  });

  test("has what cannot be killed locked to no address instead", async () => {
    using harness = new Harness();
    const { unit, record } = await harness.opened({ ...ALICE, args: ["lingering=kill"] });
    harness.host.place(TMUX, record.cg_path);
    harness.fail(/^kill /, Object.assign(new Error("ENOENT"), { code: "ENOENT" }));
    await harness.close({ ...ALICE, session: unit });
    expect(harness.host.locks.get(unit)?.allow).toEqual([]);
    expect(harness.host.messages.join()).toContain("is not killed");
  });

  test("has nothing killed with lingering=quarantine", async () => {
    using harness = new Harness();
    const { unit, record } = await harness.opened();
    harness.host.place(TMUX, record.cg_path);
    await harness.close({ ...ALICE, session: unit });
    expect(harness.host.placeOf(TMUX)).toBe(record.cg_path);
  });

  test("closes its user's slice with the last, and not with one of several", async () => {
    using harness = new Harness();
    const slice = harness.addSlice();
    const first = await harness.opened();
    const second = await harness.opened({ ...ALICE, pid: 4712, rhost: "192.0.2.8" });
    await harness.close({ ...ALICE, session: first.unit });
    expect(harness.host.firewall.leadOf("out", slice)).toBe("cover_1000_out");
    await harness.close({ ...ALICE, pid: 4712, session: second.unit });
    expect(harness.host.firewall.leadOf("out", slice)).toBeUndefined();
    expect(harness.host.firewall.setsWith(slice)).toEqual(["covered_slices"]);
    expect(harness.host.hungUp.has(slice)).toBe(true);
    expect(harness.host.hungUp.has(second.id)).toBe(true);
    expect(readPolicy("cover_1000")).toBeUndefined();
    expect(readPolicy("cover_1000", "closed")).toBeDefined();
  });

  test("takes its address out of its user's slice, unless another session has it, too", async () => {
    using harness = new Harness();
    const slice = harness.addSlice();
    const [first, second] = [await harness.opened(), await harness.opened({ ...ALICE, pid: 4712 })];
    const third = await harness.opened({ ...ALICE, pid: 4713, rhost: "2001:db8::7" });
    await harness.close({ ...ALICE, session: first.unit });
    expect(harness.host.firewall.setsWith(slice)).toContain("session_map_ipv4");
    await harness.close({ ...ALICE, pid: 4712, session: second.unit });
    expect(harness.host.firewall.setsWith(slice)).not.toContain("session_map_ipv4");
    expect(readPolicy("cover_1000")?.join()).not.toContain("192.0.2.7");
    expect(harness.host.firewall.setsWith(third.id)).toContain("session_map_ipv6");
  });

  test("leaves the sessions of others alone", async () => {
    using harness = new Harness();
    harness.host.disk.set("/etc/authnft/users/bob", "add rule inet authnft egress accept\n");
    const { unit } = await harness.opened();
    const bob = await harness.opened({ user: "bob", uid: 1001, pid: 6000 });
    await harness.close({ ...ALICE, session: unit });
    expect(harness.host.firewall.leadOf("out", bob.id)).toBe("session_bob_6000_out");
    expect(readRecord(bob.unit)?.state).toBe("open");
  });

  test("has its process sent back where it was taken from", async () => {
    using harness = new Harness();
    const { unit } = await harness.opened();
    expect(await harness.close({ ...ALICE, session: unit })).toEqual({ result: "ok", back: `/${DAEMON}` });
  });

  test("twice changes nothing the second time, and is told of once", async () => {
    using harness = new Harness();
    const { unit, record } = await harness.opened();
    harness.host.place(TMUX, record.cg_path);
    await harness.close({ ...ALICE, session: unit });
    const before = harness.host.firewall.print();
    await harness.close({ ...ALICE, session: unit });
    expect(harness.host.events).toEqual(["close"]);
    expect(harness.host.firewall.print()).toBe(before);
  });

  test("with scope=session is closed itself, for what it lies in may be open", async () => {
    using harness = new Harness();
    const slice = harness.addSlice();
    await harness.opened({ ...ALICE, pid: 1 });
    const path = "user.slice/user-1000.slice/session-3.scope";
    harness.host.addCgroup(path, ALICE.pid);
    const known = { id: "3", leader: ALICE.pid, uid: 1000, scope: "session-3.scope" };
    harness.host.logins.set(ALICE.pid, { ...known, service: "sshd", type: "tty", class: "user" });
    const { id } = await harness.opened({ ...ALICE, args: ["scope=session"] });
    await harness.close({ ...ALICE, session: "session-3.scope" });
    expect(harness.host.firewall.leadOf("out", slice)).toBe("cover_1000_out");
    expect(harness.host.firewall.leadOf("out", id)).toBe("closed_out");
    expect(harness.host.firewall.leadOf("in", id)).toBe("closed_in");
  });
});

describe("A close", () => {
  test("by a process of somebody else's closes nothing", async () => {
    using harness = new Harness();
    const { unit, id } = await harness.opened();
    harness.host.place(7000, DAEMON);
    await harness.close({ ...ALICE, pid: 7000, session: unit });
    await harness.close({ user: "bob", uid: 1001, pid: 4711, session: unit });
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
    expect(readRecord(unit)?.state).toBe("open");
  });

  test("by another process in the scope is one of the same service only", async () => {
    using harness = new Harness();
    const { unit, record, id } = await harness.opened();
    harness.host.place(7000, record.cg_path);
    await harness.close({ ...ALICE, pid: 7000, session: unit, service: "cron" });
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
    await harness.close({ ...ALICE, pid: 7000, session: unit });
    expect(harness.host.firewall.leadOf("out", id)).toBe("closed_out");
  });

  test("by a process in the scope that has no name for it waits until the opener is gone", async () => {
    using harness = new Harness();
    const { record, id } = await harness.opened();
    harness.host.place(7000, record.cg_path);
    await harness.close({ ...ALICE, pid: 7000 });
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
    harness.host.endProcess(ALICE.pid);
    await harness.close({ ...ALICE, pid: 7000 });
    expect(harness.host.firewall.leadOf("out", id)).not.toBe("session_alice_4711_out");
  });

  test("by a process that was given the opener's number closes nothing", async () => {
    using harness = new Harness();
    const { unit, id } = await harness.opened();
    harness.host.place(ALICE.pid, DAEMON);
    harness.host.starts.set(ALICE.pid, 2);
    await harness.close({ ...ALICE, session: unit });
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
  });

  test.each([
    ["is damaged", "{}"],
    ["is lost", undefined],
  ])("of a session whose record %s takes its rules out by the ruleset's own word", async (_, text) => {
    using harness = new Harness();
    const { unit, record, id } = await harness.opened();
    harness.host.place(TMUX, record.cg_path);
    const path = `/run/authnft/sessions/${unit}.json`;
    if (text === undefined) harness.host.disk.delete(path);
    else harness.host.disk.set(path, text);
    await harness.close({ ...ALICE, session: unit });
    expect(harness.host.firewall.hasChain("authnft", "session_alice_4711_out")).toBe(false);
    expect(harness.host.firewall.setsWith(id)).toEqual([]);
    expect(harness.host.events).toEqual(["close"]);
    expect(readRecord(unit)).toMatchObject({ state: "lingering", user: "alice" });
  });

  test("that the kernel refuses changes nothing, and is logged", async () => {
    using harness = new Harness();
    const { unit, id } = await harness.opened();
    harness.fail(/^change/, noAnswer("EPERM"), { times: 99 });
    expect((await harness.close({ ...ALICE, session: unit })).result).toBe("ok");
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
    expect(readRecord(unit)?.state).toBe("open");
    expect(readPolicy(unit)).toBeDefined();
    expect(harness.host.events).toEqual([]);
    expect(harness.host.messages.join()).toContain("could not be closed");
  });

  test("whose answer from the kernel is lost is believed when it is asked again", async () => {
    using harness = new Harness();
    const { unit, id } = await harness.opened();
    harness.fail(/^change/, noAnswer(), { when: "after" });
    await harness.close({ ...ALICE, session: unit });
    expect(harness.host.firewall.setsWith(id)).toEqual([]);
    expect(readRecord(unit)?.state).toBe("lingering");
  });

  test("takes the rules out though there is no room to say so", async () => {
    using harness = new Harness();
    const { unit, id } = await harness.opened();
    harness.fail(/^(write|overwrite|rename) /, full(), { times: 99 });
    await harness.close({ ...ALICE, session: unit });
    harness.host.interfere = () => undefined;
    expect(harness.host.firewall.setsWith(id)).toEqual([]);
    expect(harness.host.events).toEqual(["close"]);
    // A restoration must not bring them back.
    expect(readPolicy(unit)).toBeUndefined();
  });

  test("is written over the record where there is no room for another", async () => {
    using harness = new Harness();
    const { unit } = await harness.opened();
    harness.fail(/^write /, full(), { times: 99 });
    await harness.close({ ...ALICE, session: unit });
    expect(readRecord(unit)?.state).toBe("lingering");
  });

  test("of a session that was refused ends nothing that is somebody's", async () => {
    using harness = new Harness();
    const { id } = await harness.opened({ ...ALICE, pid: 1 });
    harness.host.disk.set("/etc/authnft/users/alice", "");
    await harness.open();
    harness.forget();
    await harness.close({ ...ALICE, session: "authnft-alice-4711.scope" });
    expect(harness.host.events).toEqual([]);
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_1_out");
  });

  test("of a unit's session is seen to once its opener is gone, and not before", async () => {
    using harness = new Harness();
    const { unit, record, id } = await harness.opened();
    harness.host.disk.set(
      `/run/authnft/sessions/${unit}.json`,
      JSON.stringify({ ...record, opened_in: "app.service" }),
    );
    harness.host.place(TMUX, record.cg_path);
    await closeSessionsOf("app.service");
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
    harness.host.endProcess(ALICE.pid);
    await closeSessionsOf("other.service");
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
    expect(await closeSessionsOf("app.service")).toBe(true);
    expect(harness.host.firewall.leadOf("out", id)).toBe("closed_out");
  });
});
