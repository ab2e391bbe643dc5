// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { endSession } from "../../../src/engine/session/close.ts";
import { readRecord } from "../../../src/engine/session/records.ts";
import { readPolicy } from "../../../src/engine/store.ts";
import { ALICE, Harness, noAnswer } from "./harness.ts";

describe("The end of a scope", () => {
  test("takes everything of its session along", async () => {
    using harness = new Harness();
    const session = await harness.opened();
    expect(await harness.end(session)).toBe(true);
    expect(harness.host.firewall.setsWith(session.id)).toEqual([]);
    expect(harness.host.firewall.hasChain("authnft", "session_alice_4711_judged")).toBe(false);
    expect(harness.files().filter((path) => path.includes("alice"))).toEqual([]);
  });

  test("takes the objects along that its fragment brought", async () => {
    using harness = new Harness();
    harness.write(
      "add set inet authnft dbs { type ipv4_addr; elements = { 192.0.2.10 } }",
      "add quota inet authnft sent { over 100 mbytes }",
      "add rule inet authnft egress ip daddr @dbs quota name sent accept",
    );
    const before = harness.host.firewall.named().length;
    expect(before).toBe(0);
    const session = await harness.opened();
    const of = () => harness.host.firewall.named().filter(({ name }) => name.startsWith("session_alice"));
    expect(of().map(({ kind }) => kind)).toContain("quota");
    await harness.end(session);
    expect(of()).toEqual([]);
  });

  test("of a session that was not closed says that it was lost, then how it ended", async () => {
    using harness = new Harness();
    const session = await harness.opened();
    harness.host.firewall.pass(session.id, { packets: 2, bytes: 120 });
    await harness.end(session);
    expect(harness.host.events).toEqual(["close", "end"]);
    expect(harness.host.entries[0]?.fields?.["AUTHNFT_HOW"]).toBe("lost");
    expect(harness.host.entries[1]?.fields).toMatchObject({ AUTHNFT_PACKETS: "4", AUTHNFT_BYTES: "240" });
    expect(harness.host.steps.indexOf("event end")).toBeGreaterThan(
      harness.host.steps.indexOf("unlock ruleset"),
    );
  });

  test("of one that was closed says only that, with what was counted then", async () => {
    using harness = new Harness();
    const session = await harness.opened();
    harness.host.firewall.pass(session.id, { packets: 2, bytes: 120 });
    await harness.close({ ...ALICE, session: session.unit });
    harness.forget();
    await harness.end(session);
    expect(harness.host.events).toEqual(["end"]);
    expect(harness.host.entries[0]?.fields).toMatchObject({ AUTHNFT_PACKETS: "4" });
  });

  test("of one that was refused is told to nobody", async () => {
    using harness = new Harness();
    harness.host.disk.delete("/etc/authnft/users/alice");
    await harness.open();
    harness.forget();
    const unit = "authnft-alice-4711.scope" as never;
    const path = `authnft.slice/${unit}`;
    const id = harness.host.idOf(path);
    harness.host.endCgroup(path);
    expect(await endSession(unit)).toBe(true);
    expect(harness.host.events).toEqual([]);
    expect(harness.host.firewall.setsWith(id)).toEqual([]);
  });

  test("of one that was refused leaves the chains alone that another one of its process has", async () => {
    using harness = new Harness();
    harness.addSlice();
    const path = "user.slice/user-1000.slice/session-3.scope";
    harness.host.addCgroup(path, ALICE.pid);
    const known = { id: "3", leader: ALICE.pid, uid: 1000, scope: "session-3.scope" };
    harness.host.logins.set(ALICE.pid, { ...known, service: "sshd", type: "tty", class: "user" });
    const { id } = await harness.opened({ ...ALICE, args: ["scope=session"] });
    harness.host.place(5000, path);
    expect((await harness.open({ ...ALICE, args: ["scope=nothing"] })).result).toBe("refused");
    const refused = "authnft-alice-4711.scope";
    expect(harness.host.placeOf(ALICE.pid)).toBe(`authnft.slice/${refused}`);
    harness.host.endCgroup(`authnft.slice/${refused}`);
    expect(await endSession(refused as never)).toBe(true);
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
  });

  test("that has not come leaves a session that lives alone", async () => {
    using harness = new Harness();
    const { unit, id } = await harness.opened();
    expect(await endSession(unit)).toBe(true);
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
    expect(readRecord(unit)?.state).toBe("open");
    expect(harness.host.messages.join()).toContain("lives");
  });

  test("of a scope whose name a new one has takes out what was the old one's", async () => {
    using harness = new Harness();
    const old = await harness.opened();
    harness.host.endCgroup(old.record.cg_path);
    const id = harness.host.addCgroup(old.record.cg_path, 99);
    expect(await endSession(old.unit)).toBe(true);
    expect(harness.host.firewall.setsWith(old.id)).toEqual([]);
    expect(harness.host.firewall.setsWith(id)).toEqual([]);
    expect(readRecord(old.unit)).toBeUndefined();
  });

  test("does not believe a record that speaks of another session", async () => {
    using harness = new Harness();
    const { unit, id } = await harness.opened();
    const records = "/run/authnft/sessions";
    harness.host.disk.set(
      `${records}/authnft-alice-9.scope.json`,
      harness.host.disk.get(`${records}/${unit}.json`) ?? "",
    );
    expect(await endSession("authnft-alice-9.scope" as never)).toBe(true);
    expect(harness.host.events).toEqual([]);
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
    expect(harness.files("sessions")).toEqual([`${records}/${unit}.json`]);
  });

  test("that comes late leaves the session alone that was opened under its name", async () => {
    using harness = new Harness();
    const old = await harness.opened();
    await harness.end(old);
    harness.host.endProcess(ALICE.pid);
    const { id } = await harness.opened();
    expect(await endSession(old.unit)).toBe(true);
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
  });

  test("twice is as good as once", async () => {
    using harness = new Harness();
    const session = await harness.opened();
    await harness.end(session);
    const before = harness.host.firewall.print();
    expect(await endSession(session.unit)).toBe(true);
    expect(harness.host.firewall.print()).toBe(before);
    expect(harness.host.events).toEqual(["close", "end"]);
  });

  test("that the kernel does not take keeps the record, so that the next try knows of what", async () => {
    using harness = new Harness();
    const session = await harness.opened();
    harness.fail(/^change/, noAnswer("EPERM"), { times: 99 });
    expect(await harness.end(session)).toBe(false);
    expect(harness.host.events).toEqual([]);
    harness.host.interfere = () => undefined;
    expect(readRecord(session.unit)).toBeDefined();
    expect(await endSession(session.unit)).toBe(true);
    expect(harness.host.events).toEqual(["close", "end"]);
    expect(harness.host.firewall.setsWith(session.id)).toEqual([]);
  });

  test("that waits for the lock in vain is to be tried again", async () => {
    using harness = new Harness();
    const session = await harness.opened();
    {
      using _held = harness.host.hold("ruleset");
      expect(await harness.end(session)).toBe(false);
    }
    expect(await endSession(session.unit)).toBe(true);
  });

  test("finds what goes by no record, and closes the slices of those who have no session", async () => {
    using harness = new Harness();
    const slice = harness.addSlice();
    const session = await harness.opened();
    harness.host.disk.delete(`/run/authnft/sessions/${session.unit}.json`);
    await harness.end(session);
    expect(harness.host.firewall.setsWith(session.id)).toEqual([]);
    expect(harness.host.firewall.leadOf("out", slice)).toBeUndefined();
    expect(readPolicy("cover_1000")).toBeUndefined();
  });

  test("takes out what closed cgroups that are gone, when no record tells of what it was", async () => {
    using harness = new Harness();
    const other = await harness.opened({ ...ALICE, pid: 1 });
    const session = await harness.opened();
    harness.host.place(5000, session.record.cg_path);
    await harness.close({ ...ALICE, session: session.unit });
    harness.host.place(5001, other.record.cg_path);
    await harness.close({ ...ALICE, pid: 1, session: other.unit });
    harness.host.disk.delete(`/run/authnft/sessions/${session.unit}.json`);
    await harness.end(session);
    expect(harness.host.firewall.leadOf("out", session.id)).toBeUndefined();
    expect(harness.host.firewall.leadOf("out", other.id)).toBe("closed_out");
  });

  test("removes the cgroup that systemd made again under its name", async () => {
    using harness = new Harness();
    const session = await harness.opened();
    harness.host.endCgroup(session.record.cg_path);
    harness.host.addCgroup(session.record.cg_path);
    await endSession(session.unit);
    expect(harness.host.cgroups.cgroupId(session.record.cg_path)).toBeUndefined();
  });
});
