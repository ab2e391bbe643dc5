// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { endSession } from "../../../src/engine/session/close.ts";
import { readRecord } from "../../../src/engine/session/records.ts";
import { readPolicy } from "../../../src/engine/store.ts";
import { ALICE, noAnswer, Rig } from "./rig.ts";

describe("The end of a scope", () => {
  test("takes everything of its session along", async () => {
    using rig = new Rig();
    const session = await rig.opened();
    expect(await rig.end(session)).toBe(true);
    expect(rig.host.firewall.setsWith(session.id)).toEqual([]);
    expect(rig.host.firewall.hasChain("authnft", "session_alice_4711_judged")).toBe(false);
    expect(rig.saveBestEffort().filter((path) => path.includes("alice"))).toEqual([]);
  });

  test("takes the objects along that its fragment brought", async () => {
    using rig = new Rig();
    rig.write(
      "add set inet authnft dbs { type ipv4_addr; elements = { 192.0.2.10 } }",
      "add quota inet authnft sent { over 100 mbytes }",
      "add rule inet authnft egress ip daddr @dbs quota name sent accept",
    );
    const before = rig.host.firewall.named().length;
    expect(before).toBe(0);
    const session = await rig.opened();
    const of = () => rig.host.firewall.named().filter(({ name }) => name.startsWith("session_alice"));
    expect(of().map(({ kind }) => kind)).toContain("quota");
    await rig.end(session);
    expect(of()).toEqual([]);
  });

  test("of a session that was not closed says that it was lost, then how it ended", async () => {
    using rig = new Rig();
    const session = await rig.opened();
    rig.host.firewall.pass(session.id, { packets: 2, bytes: 120 });
    await rig.end(session);
    expect(rig.host.events).toEqual(["close", "end"]);
    expect(rig.host.entries[0]?.fields?.["AUTHNFT_HOW"]).toBe("lost");
    expect(rig.host.entries[1]?.fields).toMatchObject({ AUTHNFT_PACKETS: "4", AUTHNFT_BYTES: "240" });
    expect(rig.host.steps.indexOf("event end")).toBeGreaterThan(rig.host.steps.indexOf("unlock ruleset"));
  });

  test("of one that was closed says only that, with what was counted then", async () => {
    using rig = new Rig();
    const session = await rig.opened();
    rig.host.firewall.pass(session.id, { packets: 2, bytes: 120 });
    await rig.close({ ...ALICE, session: session.unit });
    rig.forget();
    await rig.end(session);
    expect(rig.host.events).toEqual(["end"]);
    expect(rig.host.entries[0]?.fields).toMatchObject({ AUTHNFT_PACKETS: "4" });
  });

  test("of one that was refused is told to nobody", async () => {
    using rig = new Rig();
    rig.host.disk.delete("/etc/authnft/users/alice");
    await rig.open();
    rig.forget();
    const unit = "authnft-alice-4711.scope" as never;
    const path = `authnft.slice/${unit}`;
    const id = rig.host.idOf(path);
    rig.host.endCgroup(path);
    expect(await endSession(unit)).toBe(true);
    expect(rig.host.events).toEqual([]);
    expect(rig.host.firewall.setsWith(id)).toEqual([]);
  });

  test("of one that was refused leaves the chains alone that another one of its process has", async () => {
    using rig = new Rig();
    rig.addSlice();
    const path = "user.slice/user-1000.slice/session-3.scope";
    rig.host.addCgroup(path, ALICE.pid);
    const known = { id: "3", leader: ALICE.pid, uid: 1000, scope: "session-3.scope" };
    rig.host.logins.set(ALICE.pid, { ...known, service: "sshd", type: "tty", class: "user" });
    const { id } = await rig.opened({ ...ALICE, args: ["scope=session"] });
    rig.host.place(5000, path);
    expect((await rig.open({ ...ALICE, args: ["scope=nothing"] })).result).toBe("refused");
    const refused = "authnft-alice-4711.scope";
    expect(rig.host.placeOf(ALICE.pid)).toBe(`authnft.slice/${refused}`);
    rig.host.endCgroup(`authnft.slice/${refused}`);
    expect(await endSession(refused as never)).toBe(true);
    expect(rig.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
  });

  test("that has not come leaves a session that lives alone", async () => {
    using rig = new Rig();
    const { unit, id } = await rig.opened();
    expect(await endSession(unit)).toBe(true);
    expect(rig.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
    expect(readRecord(unit)?.state).toBe("open");
    expect(rig.host.messages.join()).toContain("lives");
  });

  test("of a scope whose name a new one has takes out what was the old one's", async () => {
    using rig = new Rig();
    const old = await rig.opened();
    rig.host.endCgroup(old.record.cg_path);
    const id = rig.host.addCgroup(old.record.cg_path, 99);
    expect(await endSession(old.unit)).toBe(true);
    expect(rig.host.firewall.setsWith(old.id)).toEqual([]);
    expect(rig.host.firewall.setsWith(id)).toEqual([]);
    expect(readRecord(old.unit)).toBeUndefined();
  });

  test("does not believe a record that speaks of another session", async () => {
    using rig = new Rig();
    const { unit, id } = await rig.opened();
    const records = "/run/authnft/sessions";
    rig.host.disk.set(
      `${records}/authnft-alice-9.scope.json`,
      rig.host.disk.get(`${records}/${unit}.json`) ?? "",
    );
    expect(await endSession("authnft-alice-9.scope" as never)).toBe(true);
    expect(rig.host.events).toEqual([]);
    expect(rig.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
    expect(rig.saveBestEffort("sessions")).toEqual([`${records}/${unit}.json`]);
  });

  test("that comes late leaves the session alone that was opened under its name", async () => {
    using rig = new Rig();
    const old = await rig.opened();
    await rig.end(old);
    rig.host.endProcess(ALICE.pid);
    const { id } = await rig.opened();
    expect(await endSession(old.unit)).toBe(true);
    expect(rig.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
  });

  test("twice is as good as once", async () => {
    using rig = new Rig();
    const session = await rig.opened();
    await rig.end(session);
    const before = rig.host.firewall.print();
    expect(await endSession(session.unit)).toBe(true);
    expect(rig.host.firewall.print()).toBe(before);
    expect(rig.host.events).toEqual(["close", "end"]);
  });

  test("that the kernel does not take keeps the record, so that the next try knows of what", async () => {
    using rig = new Rig();
    const session = await rig.opened();
    rig.fail(/^change/, noAnswer("EPERM"), { times: 99 });
    expect(await rig.end(session)).toBe(false);
    expect(rig.host.events).toEqual([]);
    rig.host.interfere = () => undefined;
    expect(readRecord(session.unit)).toBeDefined();
    expect(await endSession(session.unit)).toBe(true);
    expect(rig.host.events).toEqual(["close", "end"]);
    expect(rig.host.firewall.setsWith(session.id)).toEqual([]);
  });

  test("that waits for the lock in vain is to be tried again", async () => {
    using rig = new Rig();
    const session = await rig.opened();
    {
      using _held = rig.host.hold("ruleset");
      expect(await rig.end(session)).toBe(false);
    }
    expect(await endSession(session.unit)).toBe(true);
  });

  test("finds what goes by no record, and closes the slices of those who have no session", async () => {
    using rig = new Rig();
    const slice = rig.addSlice();
    const session = await rig.opened();
    rig.host.disk.delete(`/run/authnft/sessions/${session.unit}.json`);
    await rig.end(session);
    expect(rig.host.firewall.setsWith(session.id)).toEqual([]);
    expect(rig.host.firewall.leadOf("out", slice)).toBeUndefined();
    expect(readPolicy("cover_1000")).toBeUndefined();
  });

  test("takes out what closed cgroups that are gone, when no record tells of what it was", async () => {
    using rig = new Rig();
    const other = await rig.opened({ ...ALICE, pid: 1 });
    const session = await rig.opened();
    rig.host.place(5000, session.record.cg_path);
    await rig.close({ ...ALICE, session: session.unit });
    rig.host.place(5001, other.record.cg_path);
    await rig.close({ ...ALICE, pid: 1, session: other.unit });
    rig.host.disk.delete(`/run/authnft/sessions/${session.unit}.json`);
    await rig.end(session);
    expect(rig.host.firewall.leadOf("out", session.id)).toBeUndefined();
    expect(rig.host.firewall.leadOf("out", other.id)).toBe("closed_out");
  });

  test("removes the cgroup that systemd made again under its name", async () => {
    using rig = new Rig();
    const session = await rig.opened();
    rig.host.endCgroup(session.record.cg_path);
    rig.host.addCgroup(session.record.cg_path);
    await endSession(session.unit);
    expect(rig.host.cgroups.cgroupId(session.record.cg_path)).toBeUndefined();
  });
});
