// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { restore } from "../../../src/engine/restore.ts";
import { closeUserSlices, openUserSlices } from "../../../src/engine/slice/default.ts";
import { readPolicy } from "../../../src/engine/store.ts";
import { ALICE, Harness } from "./harness.ts";

describe("A restoration", () => {
  test("of a table that was flushed brings it back as it was, element for element", async () => {
    using harness = new Harness();
    harness.addSlice();
    await harness.opened();
    await harness.opened({ ...ALICE, pid: 4712, rhost: "2001:db8::7" });
    const before = harness.host.firewall.print();
    harness.host.firewall.flush();
    expect(await restore()).toBe(2);
    expect(harness.host.firewall.print()).toBe(before);
  });

  test("of a table that is whole replaces it in one transaction", async () => {
    using harness = new Harness();
    await harness.opened();
    const before = harness.host.firewall.print();
    harness.forget();
    await restore();
    expect(harness.host.steps.filter((step) => step === "transaction")).toHaveLength(1);
    expect(harness.host.firewall.print()).toBe(before);
  });

  test("of a table that is gone closes everything before it opens anything", async () => {
    using harness = new Harness();
    const slice = harness.addSlice();
    const { id } = await harness.opened();
    harness.host.firewall.flush();
    const seen: unknown[] = [];
    harness.host.interfere = (what, when) => {
      if (what !== "transaction" || when === "before") return;
      const { firewall } = harness.host;
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
    using harness = new Harness();
    const { id } = await harness.opened();
    harness.write("add rule inet authnft egress tcp dport 23 accept");
    const culprits = [await harness.opened({ ...ALICE, pid: 1 }), await harness.opened({ ...ALICE, pid: 2 })];
    harness.host.firewall.mistakes.add("tcp dport 23");
    harness.forget();
    expect(await restore()).toBe(1);
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
    for (const culprit of culprits) {
      expect(harness.host.firewall.leadOf("out", culprit.id)).toBeUndefined();
      expect(harness.host.messages.join("\n")).toContain(`${culprit.record.cg_path} has no network`);
    }
    expect(harness.host.firewall.countRules("authnft", "members_out")).toBe(9);
    // One for the whole, and one more without the policy that both of them have.
    expect(harness.host.steps.filter((step) => step === "transaction")).toHaveLength(2);
  });

  test("tells one by one where the culprits are many, and is no longer in one transaction", async () => {
    using harness = new Harness();
    harness.write("add rule inet authnft egress tcp dport 23 accept");
    for (let pid = 1; pid <= 12; pid++) await harness.opened({ ...ALICE, pid });
    harness.write("add rule inet authnft egress tcp dport 443 accept");
    const { id } = await harness.opened();
    harness.host.firewall.mistakes.add("tcp dport 23");
    harness.forget();
    expect(await restore()).toBe(1);
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
    expect(harness.host.messages.filter((message) => message.includes("has no network"))).toHaveLength(12);
  });

  test("has no other remedy where not even the base is taken", async () => {
    using harness = new Harness();
    await harness.opened();
    harness.host.firewall.mistakes.add("stamp_out");
    expect(await restore().catch((error: unknown) => error)).toMatchObject({ reason: "ruleset" });
  });

  test("leaves what was closed closed, and what was refused", async () => {
    using harness = new Harness();
    const { unit, record, id } = await harness.opened();
    harness.host.place(5000, record.cg_path);
    await harness.close({ ...ALICE, session: unit });
    harness.host.disk.delete("/etc/authnft/users/alice");
    await harness.open({ ...ALICE, pid: 4712 });
    harness.host.firewall.flush();
    expect(await restore()).toBe(0);
    expect(harness.host.firewall.leadOf("out", id)).toBe("closed_out");
    expect(harness.host.firewall.leadOf("in", id)).toBe("closed_in");
    expect(
      harness.host.firewall.leadOf("out", harness.host.idOf("authnft.slice/authnft-alice-4712.scope")),
    ).toBe("closed_out");
  });

  test("gives what kept its rules those back", async () => {
    using harness = new Harness();
    const { unit, record, id } = await harness.opened({ ...ALICE, args: ["lingering=keep"] });
    harness.host.place(5000, record.cg_path);
    await harness.close({ ...ALICE, session: unit });
    harness.host.firewall.flush();
    expect(await restore()).toBe(1);
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
  });

  test("compiles rules whose file was cut, wherever, and leaves those of others alone", async () => {
    using harness = new Harness();
    const { unit } = await harness.opened();
    const other = await harness.opened({ ...ALICE, pid: 4712 });
    const path = `/run/authnft/policy/${unit}.nft`;
    const whole = harness.host.disk.get(path) ?? "";
    for (let length = 0; length < whole.length; length += 7) {
      harness.host.disk.set(path, whole.slice(0, length));
      harness.host.firewall.flush();
      expect(await restore()).toBe(2);
      expect(harness.host.disk.get(path)).toBe(whole);
      expect(harness.host.firewall.leadOf("out", other.id)).toBe("session_alice_4712_out");
    }
  });

  test("compiles rules that were not saved, of sessions and of slices", async () => {
    using harness = new Harness();
    const slice = harness.addSlice();
    const { unit, id } = await harness.opened();
    for (const path of harness.files("policy")) harness.host.disk.delete(path);
    harness.host.firewall.flush();
    expect(await restore()).toBe(1);
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
    expect(harness.host.firewall.leadOf("out", slice)).toBe("cover_1000_out");
    expect(readPolicy(unit)).toBeDefined();
    expect(readPolicy("cover_1000")).toBeDefined();
  });

  test("closes a session of whose rules nothing is left", async () => {
    using harness = new Harness();
    const { id, unit } = await harness.opened();
    harness.host.disk.delete(`/run/authnft/policy/${unit}.nft`);
    harness.host.disk.delete("/etc/authnft/users/alice");
    harness.host.firewall.flush();
    expect(await restore()).toBe(0);
    expect(harness.host.firewall.leadOf("out", id)).toBe("closed_out");
    expect(harness.host.messages.join()).toContain("its rules were not saved");
  });

  test("passes over a session whose scope is gone, or is another's", async () => {
    using harness = new Harness();
    const { record, id } = await harness.opened();
    harness.host.endCgroup(record.cg_path);
    const other = harness.host.addCgroup(record.cg_path);
    harness.host.firewall.flush();
    expect(await restore()).toBe(0);
    expect(harness.host.firewall.setsWith(id)).toEqual([]);
    expect(harness.host.firewall.setsWith(other)).toEqual([]);
  });

  test("closes slices that are gone, too, for a socket of theirs may live", async () => {
    using harness = new Harness();
    const old = harness.addSlice();
    const { id } = await harness.opened();
    harness.host.endCgroup("user.slice/user-1000.slice");
    harness.host.firewall.flush();
    await restore();
    expect(harness.host.firewall.setsWith(old)).toContain("covered_slices");
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
  });

  test("keeps nothing for nft that closes a slice which is gone: nft would take nothing of it", async () => {
    using harness = new Harness();
    harness.addSlice();
    await harness.opened();
    expect(harness.files("policy").join()).toContain("cover_1000.slice");
    harness.host.endCgroup("user.slice/user-1000.slice");
    await restore();
    expect(harness.files("policy").join()).not.toContain("cover_1000");
  });
});

describe("A user's slice", () => {
  test("is closed before anybody has a session, and sealed", async () => {
    using harness = new Harness();
    const slice = harness.addSlice();
    await closeUserSlices([1000]);
    expect(harness.host.firewall.setsWith(slice)).toEqual(["covered_slices"]);
    expect(harness.host.sealed.has("user.slice/user-1000.slice")).toBe(true);
  });

  test("that was made anew is led to the rules of the session that is open", async () => {
    using harness = new Harness();
    harness.addSlice();
    await harness.opened();
    harness.host.endCgroup("user.slice/user-1000.slice");
    const slice = harness.addSlice();
    await closeUserSlices([1000]);
    expect(harness.host.firewall.leadOf("out", slice)).toBe("cover_1000_out");
    expect(harness.host.firewall.setsWith(slice)).toContain("covered_slices");
  });

  test("that a restoration left out has its rules when they are taken again", async () => {
    using harness = new Harness();
    const slice = harness.addSlice();
    await harness.opened();
    harness.host.firewall.mistakes.add("cover_1000_judged");
    await restore();
    expect(harness.host.firewall.setsWith(slice)).toEqual(["covered_slices"]);
    harness.host.firewall.mistakes.clear();
    await closeUserSlices([1000]);
    expect(harness.host.firewall.leadOf("out", slice)).toBe("cover_1000_out");
  });

  test("that was made anew blocks no login by the objects of its rules", async () => {
    using harness = new Harness();
    harness.write(
      "add set inet authnft dbs { type ipv4_addr; elements = { 192.0.2.10 } }",
      "add rule inet authnft egress ip daddr @dbs counter accept",
    );
    harness.addSlice();
    await harness.opened();
    harness.host.endCgroup("user.slice/user-1000.slice");
    const slice = harness.addSlice();
    await harness.opened({ ...ALICE, pid: 4712 });
    expect(harness.host.firewall.leadOf("out", slice)).toBe("cover_1000_out");
  });

  test("of one who is no member any more is everybody's once nobody is in it, and not before", async () => {
    using harness = new Harness();
    const slice = harness.addSlice();
    const path = "user.slice/user-1000.slice/session-3.scope";
    harness.host.addCgroup(path, ALICE.pid);
    const known = { id: "3", leader: ALICE.pid, uid: 1000, scope: "session-3.scope" };
    harness.host.logins.set(ALICE.pid, { ...known, service: "sshd", type: "tty", class: "user" });
    const session = await harness.opened({ ...ALICE, args: ["scope=session"] });
    const before = harness.host.firewall.print();
    expect((await openUserSlices([1000])).get(1000)).toEqual([session.unit]);
    expect(harness.host.firewall.print()).toBe(before);
    await harness.end(session);
    expect((await openUserSlices([1000])).get(1000)).toEqual([]);
    expect(harness.host.firewall.setsWith(slice)).toEqual([]);
    expect(harness.host.sealed.has("user.slice/user-1000.slice")).toBe(false);
    harness.host.firewall.flush();
    await restore();
    expect(harness.host.firewall.setsWith(slice)).toEqual([]);
  });
});
