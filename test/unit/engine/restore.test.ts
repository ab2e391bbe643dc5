// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { restore } from "../../../src/engine/restore.ts";
import { closeUserSlices, openUserSlices } from "../../../src/engine/slice/default.ts";
import { readPolicy } from "../../../src/engine/store.ts";
import { ALICE, Rig } from "./rig.ts";

describe("A restoration", () => {
  test("of a table that was flushed brings it back as it was, element for element", async () => {
    using rig = new Rig();
    rig.addSlice();
    await rig.opened();
    await rig.opened({ ...ALICE, pid: 4712, rhost: "2001:db8::7" });
    const before = rig.host.firewall.print();
    rig.host.firewall.flush();
    expect(await restore()).toBe(2);
    expect(rig.host.firewall.print()).toBe(before);
  });

  test("of a table that is whole replaces it in one transaction", async () => {
    using rig = new Rig();
    await rig.opened();
    const before = rig.host.firewall.print();
    rig.forget();
    await restore();
    expect(rig.host.steps.filter((step) => step === "transaction")).toHaveLength(1);
    expect(rig.host.firewall.print()).toBe(before);
  });

  test("of a table that is gone closes everything before it opens anything", async () => {
    using rig = new Rig();
    const slice = rig.addSlice();
    const { id } = await rig.opened();
    rig.host.firewall.flush();
    const seen: unknown[] = [];
    rig.host.interfere = (what, when) => {
      if (what !== "transaction" || when === "before") return;
      const { firewall } = rig.host;
      seen.push([
        firewall.countRules("authnft", "members_out"),
        firewall.leadOf("out", id),
        firewall.setsWith(slice),
      ]);
    };
    await restore();
    expect(seen[0]).toEqual([9, undefined, ["covered_slices"]]);
    expect(seen[1]).toEqual([9, "session_alice_4711_out", expect.arrayContaining(["session_out"])]);
  });

  test("leaves out those whose rules nftables does not take, and brings back all others", async () => {
    using rig = new Rig();
    const { id } = await rig.opened();
    rig.write("add rule inet authnft egress tcp dport 23 accept");
    const culprits = [await rig.opened({ ...ALICE, pid: 1 }), await rig.opened({ ...ALICE, pid: 2 })];
    rig.host.firewall.mistakes.add("tcp dport 23");
    rig.forget();
    expect(await restore()).toBe(1);
    expect(rig.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
    for (const culprit of culprits) {
      expect(rig.host.firewall.leadOf("out", culprit.id)).toBeUndefined();
      expect(rig.host.messages.join("\n")).toContain(`${culprit.record.cg_path} has no network`);
    }
    expect(rig.host.firewall.countRules("authnft", "members_out")).toBe(9);
    // One for the whole, and one more for each that is left out.
    expect(rig.host.steps.filter((step) => step === "transaction")).toHaveLength(3);
  });

  test("tells one by one where the culprits are many, and is no longer in one transaction", async () => {
    using rig = new Rig();
    rig.write("add rule inet authnft egress tcp dport 23 accept");
    for (let pid = 1; pid <= 12; pid++) await rig.opened({ ...ALICE, pid });
    rig.write("add rule inet authnft egress tcp dport 443 accept");
    const { id } = await rig.opened();
    rig.host.firewall.mistakes.add("tcp dport 23");
    rig.forget();
    expect(await restore()).toBe(1);
    expect(rig.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
    expect(rig.host.messages.filter((message) => message.includes("has no network"))).toHaveLength(12);
  });

  test("has no other remedy where not even the base is taken", async () => {
    using rig = new Rig();
    await rig.opened();
    rig.host.firewall.mistakes.add("stamp_out");
    expect(await restore().catch((error: unknown) => error)).toMatchObject({ reason: "ruleset" });
  });

  test("leaves what was closed closed, and what was refused", async () => {
    using rig = new Rig();
    const { unit, record, id } = await rig.opened();
    rig.host.place(5000, record.cg_path);
    await rig.close({ ...ALICE, session: unit });
    rig.host.disk.delete("/etc/authnft/users/alice");
    await rig.open({ ...ALICE, pid: 4712 });
    rig.host.firewall.flush();
    expect(await restore()).toBe(0);
    expect(rig.host.firewall.leadOf("out", id)).toBe("closed_out");
    expect(rig.host.firewall.leadOf("in", id)).toBe("closed_in");
    expect(rig.host.firewall.leadOf("out", rig.host.idOf("authnft.slice/authnft-alice-4712.scope"))).toBe(
      "closed_out",
    );
  });

  test("gives what kept its rules those back", async () => {
    using rig = new Rig();
    const { unit, record, id } = await rig.opened({ ...ALICE, args: ["lingering=keep"] });
    rig.host.place(5000, record.cg_path);
    await rig.close({ ...ALICE, session: unit });
    rig.host.firewall.flush();
    expect(await restore()).toBe(1);
    expect(rig.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
  });

  test("makes rules anew that were not kept, of sessions and of slices", async () => {
    using rig = new Rig();
    const slice = rig.addSlice();
    const { unit, id } = await rig.opened();
    for (const path of rig.saveBestEffort("policy")) rig.host.disk.delete(path);
    rig.host.firewall.flush();
    expect(await restore()).toBe(1);
    expect(rig.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
    expect(rig.host.firewall.leadOf("out", slice)).toBe("cover_1000_out");
    expect(readPolicy(unit)).toBeDefined();
    expect(readPolicy("cover_1000")).toBeDefined();
  });

  test("closes a session of whose rules nothing is left", async () => {
    using rig = new Rig();
    const { id, unit } = await rig.opened();
    rig.host.disk.delete(`/run/authnft/policy/${unit}.nft`);
    rig.host.disk.delete("/etc/authnft/users/alice");
    rig.host.firewall.flush();
    expect(await restore()).toBe(0);
    expect(rig.host.firewall.leadOf("out", id)).toBe("closed_out");
    expect(rig.host.messages.join()).toContain("its rules were not kept");
  });

  test("passes over a session whose scope is gone, or is another's", async () => {
    using rig = new Rig();
    const { record, id } = await rig.opened();
    rig.host.endCgroup(record.cg_path);
    const other = rig.host.addCgroup(record.cg_path);
    rig.host.firewall.flush();
    expect(await restore()).toBe(0);
    expect(rig.host.firewall.setsWith(id)).toEqual([]);
    expect(rig.host.firewall.setsWith(other)).toEqual([]);
  });

  test("closes slices that are gone, too, for a socket of theirs may live", async () => {
    using rig = new Rig();
    const old = rig.addSlice();
    const { id } = await rig.opened();
    rig.host.endCgroup("user.slice/user-1000.slice");
    rig.host.firewall.flush();
    await restore();
    expect(rig.host.firewall.setsWith(old)).toContain("covered_slices");
    expect(rig.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
  });

  test("keeps nothing for nft that closes a slice which is gone: nft would take nothing of it", async () => {
    using rig = new Rig();
    rig.addSlice();
    await rig.opened();
    expect(rig.saveBestEffort("policy").join()).toContain("cover_1000.slice");
    rig.host.endCgroup("user.slice/user-1000.slice");
    await restore();
    expect(rig.saveBestEffort("policy").join()).not.toContain("cover_1000");
  });
});

describe("A user's slice", () => {
  test("is closed before anybody has a session, and sealed", async () => {
    using rig = new Rig();
    const slice = rig.addSlice();
    await closeUserSlices([1000]);
    expect(rig.host.firewall.setsWith(slice)).toEqual(["covered_slices"]);
    expect(rig.host.sealed.has("user.slice/user-1000.slice")).toBe(true);
  });

  test("that was made anew is led to the rules of the session that is open", async () => {
    using rig = new Rig();
    rig.addSlice();
    await rig.opened();
    rig.host.endCgroup("user.slice/user-1000.slice");
    const slice = rig.addSlice();
    await closeUserSlices([1000]);
    expect(rig.host.firewall.leadOf("out", slice)).toBe("cover_1000_out");
    expect(rig.host.firewall.setsWith(slice)).toContain("covered_slices");
  });

  test("that a restoration left out has its rules when they are taken again", async () => {
    using rig = new Rig();
    const slice = rig.addSlice();
    await rig.opened();
    rig.host.firewall.mistakes.add("cover_1000_judged");
    await restore();
    expect(rig.host.firewall.setsWith(slice)).toEqual(["covered_slices"]);
    rig.host.firewall.mistakes.clear();
    await closeUserSlices([1000]);
    expect(rig.host.firewall.leadOf("out", slice)).toBe("cover_1000_out");
  });

  test("that was made anew blocks no login by the objects of its rules", async () => {
    using rig = new Rig();
    rig.write(
      "add set inet authnft dbs { type ipv4_addr; elements = { 192.0.2.10 } }",
      "add rule inet authnft egress ip daddr @dbs accept",
    );
    rig.addSlice();
    await rig.opened();
    rig.host.endCgroup("user.slice/user-1000.slice");
    const slice = rig.addSlice();
    await rig.opened({ ...ALICE, pid: 4712 });
    expect(rig.host.firewall.leadOf("out", slice)).toBe("cover_1000_out");
  });

  test("of one who is no member any more is everybody's once nobody is in it, and not before", async () => {
    using rig = new Rig();
    const slice = rig.addSlice();
    const path = "user.slice/user-1000.slice/session-3.scope";
    rig.host.addCgroup(path, ALICE.pid);
    const known = { id: "3", leader: ALICE.pid, uid: 1000, scope: "session-3.scope" };
    rig.host.logins.set(ALICE.pid, { ...known, service: "sshd", type: "tty", class: "user" });
    const session = await rig.opened({ ...ALICE, args: ["scope=session"] });
    const before = rig.host.firewall.print();
    expect((await openUserSlices([1000])).get(1000)).toEqual([session.unit]);
    expect(rig.host.firewall.print()).toBe(before);
    await rig.end(session);
    expect((await openUserSlices([1000])).get(1000)).toEqual([]);
    expect(rig.host.firewall.setsWith(slice)).toEqual([]);
    expect(rig.host.sealed.has("user.slice/user-1000.slice")).toBe(false);
    rig.host.firewall.flush();
    await restore();
    expect(rig.host.firewall.setsWith(slice)).toEqual([]);
  });
});
