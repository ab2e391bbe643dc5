// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { closeUserSlices } from "../../../src/engine/slice/default.ts";
import { findLeftovers, sweep } from "../../../src/engine/sweep.ts";
import { ALICE, Harness } from "./harness.ts";

describe("Nothing is left", () => {
  test("where sessions live, closed or open, with slices and objects of their own", async () => {
    using harness = new Harness();
    harness.write(
      "add set inet authnft dbs { type ipv4_addr; elements = { 192.0.2.10 } }",
      "add rule inet authnft egress ip daddr @dbs counter accept",
    );
    harness.addSlice();
    await harness.opened();
    const other = await harness.opened({ ...ALICE, pid: 4712 });
    harness.host.place(5000, other.record.cg_path);
    await harness.close({ ...ALICE, pid: 4712, session: other.unit });
    expect(await findLeftovers()).toEqual([]);
  });

  test("of a session that was cleaned up, or was refused and lives", async () => {
    using harness = new Harness();
    await harness.end(await harness.opened());
    harness.host.disk.delete("/etc/authnft/users/alice");
    await harness.open({ ...ALICE, pid: 4712 });
    expect(await findLeftovers()).toEqual([]);
  });

  test("of a session that lives and whose record somebody lost", async () => {
    using harness = new Harness();
    const { unit } = await harness.opened();
    harness.host.disk.delete(`/run/authnft/sessions/${unit}.json`);
    expect(await findLeftovers()).toEqual([]);
  });

  test("of a login session whose record somebody lost: its unit's name does not tell where it is", async () => {
    using harness = new Harness();
    harness.addSlice();
    harness.host.addCgroup("user.slice/user-1000.slice/session-3.scope", ALICE.pid);
    const known = { id: "3", leader: ALICE.pid, uid: 1000, scope: "session-3.scope" };
    harness.host.logins.set(ALICE.pid, { ...known, service: "sshd", type: "tty", class: "user" });
    const { unit } = await harness.opened({ ...ALICE, args: ["scope=session"] });
    harness.host.disk.delete(`/run/authnft/sessions/${unit}.json`);
    expect(await findLeftovers()).toEqual([]);
  });
});

describe("What is left", () => {
  test("of a session that is over is found, and goes with all that it had", async () => {
    using harness = new Harness();
    const { unit, record, id } = await harness.opened();
    harness.host.endCgroup(record.cg_path);
    const left = await findLeftovers();
    expect(left).toEqual([{ kind: "session", name: unit }]);
    expect(await sweep(left)).toEqual({ removed: left, stays: [] });
    expect(harness.host.firewall.setsWith(id)).toEqual([]);
    expect(harness.host.events).toEqual(["close", "end"]);
    expect(await findLeftovers()).toEqual([]);
  });

  test("of a session whose scope's name another has is found", async () => {
    using harness = new Harness();
    const { unit, record } = await harness.opened();
    harness.host.endCgroup(record.cg_path);
    harness.host.addCgroup(record.cg_path, 99);
    expect(await findLeftovers()).toEqual([{ kind: "session", name: unit }]);
  });

  test("of a session that is over and whose record is damaged is found, too", async () => {
    using harness = new Harness();
    const { unit, record } = await harness.opened();
    harness.host.disk.set(`/run/authnft/sessions/${unit}.json`, "{}");
    harness.host.endCgroup(record.cg_path);
    const left = await findLeftovers();
    expect(left).toContainEqual({ kind: "session", name: unit });
    await sweep(left);
    expect(await findLeftovers()).toEqual([]);
  });

  test("of a session that is over and of which there are rules alone is found by those", async () => {
    using harness = new Harness();
    const { unit, record } = await harness.opened();
    harness.host.disk.delete(`/run/authnft/sessions/${unit}.json`);
    harness.host.endCgroup(record.cg_path);
    const left = await findLeftovers();
    expect(left).toContainEqual({ kind: "session", name: unit });
    await sweep(left);
    expect(await findLeftovers()).toEqual([]);
  });

  test("in the table of a session without any file is found and taken out", async () => {
    using harness = new Harness();
    const { unit, record, id } = await harness.opened();
    await harness.opened({ ...ALICE, pid: 4712 });
    harness.host.endCgroup(record.cg_path);
    for (const path of harness.files()) if (path.includes(unit)) harness.host.disk.delete(path);
    const left = await findLeftovers();
    expect(new Set(left.map(({ kind }) => kind))).toEqual(new Set(["rules"]));
    expect((await sweep(left)).stays).toEqual([]);
    expect(harness.host.firewall.hasChain("authnft", "session_alice_4711_out")).toBe(false);
    expect(harness.host.firewall.setsWith(id)).toEqual([]);
    expect(harness.host.firewall.hasChain("authnft", "session_alice_4712_out")).toBe(true);
  });

  test("of a process that was killed: a lock that nobody holds, and a file that was begun", async () => {
    using harness = new Harness();
    harness.host.disk.set("/run/authnft/lock/authnft-alice-9.scope", "");
    harness.host.disk.set("/run/authnft/sessions/authnft-alice-9.scope.json.99999999.tmp", "");
    harness.host.disk.set(`/run/authnft/sessions/authnft-alice-8.scope.json.${process.pid}.tmp`, "");
    const left = await findLeftovers();
    expect(left.map(({ kind }) => kind)).toEqual(["lock", "file"]);
    await sweep(left);
    expect(harness.files("lock").filter((path) => path.includes("alice"))).toEqual([]);
    // Its writer lives.
    expect(harness.files("sessions")).toEqual([
      `/run/authnft/sessions/authnft-alice-8.scope.json.${process.pid}.tmp`,
    ]);
  });

  test("stays where somebody holds the lock, who is about to need it", async () => {
    using harness = new Harness();
    harness.host.disk.set("/run/authnft/lock/authnft-alice-9.scope", "");
    using _held = harness.host.hold("authnft-alice-9.scope");
    const left = await findLeftovers();
    expect(await sweep(left)).toEqual({ removed: [], stays: left });
    expect(harness.files("lock").join()).toContain("authnft-alice-9.scope");
  });

  test("stays where a session comes to have it while the sweep waits", async () => {
    using harness = new Harness();
    harness.host.disk.set("/run/authnft/lock/authnft-alice-9.scope", "");
    const left = await findLeftovers();
    harness.upon(/^lock authnft-alice-9/, () =>
      harness.host.addCgroup("authnft.slice/authnft-alice-9.scope", 9),
    );
    expect(await sweep(left)).toEqual({ removed: [], stays: left });
  });

  test("and is somebody's again by the time of the sweep is nothing that was left", async () => {
    using harness = new Harness();
    const session = await harness.opened();
    harness.host.endCgroup(session.record.cg_path);
    const left = await findLeftovers();
    await harness.end(session);
    harness.host.endProcess(ALICE.pid);
    const { id } = await harness.opened();
    expect(await sweep(left)).toEqual({ removed: [], stays: [] });
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
  });

  test("of a slice that is gone is forgotten when nobody is in, and not while somebody may have a socket of it", async () => {
    using harness = new Harness();
    const slice = harness.addSlice();
    const session = await harness.opened();
    harness.host.endCgroup("user.slice/user-1000.slice");
    await sweep([]);
    expect(harness.host.firewall.setsWith(slice)).toContain("covered_slices");
    await harness.end(session);
    expect(harness.host.firewall.setsWith(slice)).toEqual([]);
    const next = harness.addSlice();
    await closeUserSlices([1000]);
    harness.host.endCgroup("user.slice/user-1000.slice");
    expect(harness.host.firewall.setsWith(next)).toEqual(["covered_slices"]);
    await sweep([]);
    expect(harness.host.firewall.setsWith(next)).toEqual([]);
    expect(harness.host.disk.get("/run/authnft/slices")).not.toContain(String(slice));
  });
});
