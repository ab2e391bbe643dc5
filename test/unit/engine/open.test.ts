// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { openSession } from "../../../src/engine/session/open.ts";
import { readRecord, readRecords } from "../../../src/engine/session/records.ts";
import { TransactionError } from "../../../src/system/ffi/nftables.ts";
import { BusError } from "../../../src/system/systemd/bus_replies.ts";
import { ALICE, DAEMON, full, Harness, noAnswer, requestOf } from "./harness.ts";

const UNIT = "authnft-alice-4711.scope";
const SCOPE = `authnft.slice/${UNIT}`;
const REFUSED = "authnft.slice/run-authnft-refused.mount";

/** Whether a process of alice's session that was refused has no network: below our slice, or in a slice that is closed, and led nowhere. */
function isCutOff(harness: Harness, pid: number = ALICE.pid): boolean {
  const place = harness.host.placeOf(pid);
  if (place === undefined || !place.startsWith("authnft.slice/")) return false;
  const lead = harness.host.firewall.leadOf("out", harness.host.idOf(place));
  return lead === undefined || lead === "closed_out";
}

describe("A session that opens", () => {
  test("is led to its own rules, which hold what its fragment says", async () => {
    using harness = new Harness();
    const { id } = await harness.opened();
    const { firewall } = harness.host;
    expect(firewall.leadOf("out", id)).toBe("session_alice_4711_out");
    expect(firewall.leadOf("in", id)).toBe("session_alice_4711_in");
    expect(harness.rulesOf("session_alice_4711_out")).toContain("tcp dport 443 return");
    expect(firewall.setsWith(id)).toContain("session_map_ipv4");
  });

  test("is written down before the kernel is asked, and told of when the lock is released", async () => {
    using harness = new Harness();
    await harness.opened();
    await harness.opened({ ...ALICE, pid: 4712 });
    harness.forget();
    await harness.open({ ...ALICE, pid: 4713 });
    const steps = harness.host.steps;
    const at = (what: string): number => steps.lastIndexOf(what);
    const unit = "authnft-alice-4713.scope";
    const order = [
      at(`lock ${unit}`),
      at(`scope ${unit}`),
      at("lock ruleset"),
      at(`write /run/authnft/policy/${unit}.nft`),
      at(`write /run/authnft/sessions/${unit}.json`),
      at("transaction"),
      at("unlock ruleset"),
      at("event open"),
      at(`unlock ${unit}`),
    ];
    expect(order).not.toContain(-1);
    expect(order).toEqual(order.toSorted((a, b) => a - b));
  });

  test("is loaded with its user's slice in one transaction", async () => {
    using harness = new Harness();
    const slice = harness.addSlice();
    await harness.opened({ user: "alice", uid: 1000, pid: 1 });
    harness.forget();
    const { id } = await harness.opened();
    const { firewall } = harness.host;
    expect(firewall.leadOf("out", slice)).toBe("cover_1000_out");
    harness.forget();
    await harness.open({ ...ALICE, pid: 4712 });
    const holding = firewall.asked.filter((lines) =>
      lines.some((line) => String(line).includes("alice_4712")),
    );
    expect(holding).toHaveLength(1);
    expect(holding[0]).toContain('add element inet authnft covered_slices { "user.slice/user-1000.slice" }');
    expect(firewall.leadOf("out", id)).toBe("session_alice_4711_out");
  });

  test("has its slice sealed, and its user's", async () => {
    using harness = new Harness();
    harness.addSlice();
    await harness.opened();
    expect(harness.host.sealed).toEqual(new Set(["authnft.slice", "user.slice/user-1000.slice"]));
  });

  test("comes after those that are open of the same user, whatever the clock says", async () => {
    using harness = new Harness();
    const first = await harness.opened();
    const second = await harness.opened({ ...ALICE, pid: 4712 });
    expect([first.record.sequence, second.record.sequence]).toEqual([1, 2]);
  });

  test("counts none of another user's, whose login session's name does not tell whose it is", async () => {
    using harness = new Harness();
    harness.addSlice();
    const bob = { user: "bob", uid: 1001, pid: 6000, args: ["scope=session"] };
    harness.host.disk.set("/etc/authnft/users/bob", "add rule inet authnft egress accept\n");
    harness.host.addCgroup("user.slice/user-1001.slice");
    harness.host.addCgroup("user.slice/user-1001.slice/session-3.scope", bob.pid);
    harness.host.logins.set(bob.pid, login("session-3.scope", { uid: 1001, leader: bob.pid }));
    await harness.opened(bob);
    expect((await harness.opened()).record.sequence).toBe(1);
  });

  test("counts those of another name of the same number among its user's", async () => {
    using harness = new Harness();
    harness.host.disk.set("/etc/authnft/users/al", "add rule inet authnft egress accept\n");
    await harness.opened();
    const other = await harness.opened({ ...ALICE, user: "al", pid: 4712 });
    expect(other.record.sequence).toBe(2);
    expect(readRecords({ name: "alice", uid: 1000 })).toHaveLength(2);
  });

  test("closes its user's slice under the rules of the newest, and holds the addresses of all", async () => {
    using harness = new Harness();
    const slice = harness.addSlice();
    await harness.opened();
    harness.write("add rule inet authnft egress tcp dport 22 accept");
    await harness.opened({ ...ALICE, pid: 4712, rhost: "2001:db8::7" });
    const { firewall } = harness.host;
    expect(harness.rulesOf("cover_1000_out").join()).toContain("tcp dport 22");
    expect(harness.rulesOf("cover_1000_out").join()).not.toContain("443");
    expect(firewall.setsWith(slice)).toEqual(
      expect.arrayContaining(["session_map_ipv4", "session_map_ipv6"]),
    );
  });

  test("adds no address to its user's slice of one that was closed", async () => {
    using harness = new Harness();
    const slice = harness.addSlice();
    const { unit, record } = await harness.opened({ ...ALICE, rhost: "2001:db8::7" });
    harness.host.place(5000, record.cg_path);
    await harness.close({ ...ALICE, session: unit });
    await harness.opened({ ...ALICE, pid: 4712 });
    expect(harness.host.firewall.setsWith(slice)).toContain("session_map_ipv4");
    expect(harness.host.firewall.setsWith(slice)).not.toContain("session_map_ipv6");
  });

  test("under a name that is taken gets the next", async () => {
    using harness = new Harness();
    harness.host.addCgroup(SCOPE, 99);
    const { unit } = await harness.opened();
    expect(unit).toBe("authnft-alice-4711-2.scope" as typeof unit);
  });

  test("under a name that systemd alone knows gets the next, too", async () => {
    using harness = new Harness();
    harness.host.interfere = (what) => {
      if (what === `scope ${UNIT}`) throw new BusError("it exists", "org.freedesktop.systemd1.UnitExists");
    };
    expect(await harness.open()).toMatchObject({ result: "ok", session: "authnft-alice-4711-2.scope" });
  });

  test("finds the table gone and brings it back, with everybody who is in it", async () => {
    using harness = new Harness();
    const { id } = await harness.opened();
    harness.host.firewall.flush();
    await harness.opened({ ...ALICE, pid: 4712 });
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
  });

  test("opens though chains of its name were left by one that was never cleaned up", async () => {
    using harness = new Harness();
    const { record } = await harness.opened();
    harness.host.endCgroup(record.cg_path);
    harness.host.disk.delete(`/run/authnft/sessions/${UNIT}.json`);
    const again = await harness.opened();
    expect(harness.host.firewall.leadOf("out", again.id)).toBe("session_alice_4711_out");
    expect(harness.host.firewall.setsWith(BigInt(record.cg_id))).toEqual([]);
  });

  test("opens though somebody flushes the ruleset just before its transaction", async () => {
    using harness = new Harness();
    await harness.opened({ ...ALICE, pid: 4712 });
    let left = 2;
    harness.host.interfere = (what, when) => {
      // The first is what looks after the base.
      if (what === "transaction" && when === "before" && --left === 0) harness.host.firewall.flush();
    };
    const { id } = await harness.opened();
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
    expect(readRecord(UNIT as never)?.state).toBe("open");
  });

  test("says which processes of an earlier one are without network", async () => {
    using harness = new Harness();
    const { unit } = await harness.opened();
    harness.host.place(5000, SCOPE);
    harness.host.disk.set("/proc/5000/comm", "tmux\n");
    await harness.close({ ...ALICE, session: unit });
    const reply = await harness.open({ ...ALICE, pid: 4712 });
    expect(reply.say).toContain("tmux (5000)");
    expect(reply.say).toContain(`authnft release ${unit}`);
  });

  test("names none of those that keep their network", async () => {
    using harness = new Harness();
    const { unit, record } = await harness.opened({ ...ALICE, args: ["lingering=keep"] });
    harness.host.place(5000, record.cg_path);
    await harness.close({ ...ALICE, session: unit });
    expect((await harness.open({ ...ALICE, pid: 4712 })).say).toBeUndefined();
  });

  test("takes the login session's own scope with scope=session, and is led to a deeper level", async () => {
    using harness = new Harness();
    harness.addSlice();
    harness.write("add rule inet authnft filter meta cgroup @session_map_cg accept");
    harness.host.addCgroup("user.slice/user-1000.slice/session-3.scope", ALICE.pid);
    harness.host.logins.set(ALICE.pid, login("session-3.scope"));
    const reply = await harness.open({ ...ALICE, args: ["scope=session"] });
    expect(harness.rulesOf("session_alice_4711_in").join()).toContain("cgroupv2 level 3  @session_map_cg");
    expect(harness.rulesOf("cover_1000_in").join()).toContain("cgroupv2 level 2  @session_map_cg");
    expect(reply).toMatchObject({ result: "ok", session: "session-3.scope" });
    const id = harness.host.idOf("user.slice/user-1000.slice/session-3.scope");
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
    expect(harness.host.steps).toContain("start authnft-session@session-3.scope.service");
  });
});

describe("The claims of a session", () => {
  const claimed = { ...ALICE, args: ["claims_env=CLAIMS"], env: { CLAIMS: "12" } };

  test("are those of a key of root's, and stand in its record", async () => {
    using harness = new Harness();
    harness.host.keyring.set(12, { type: "user", uid: 0, text: "team=blue" });
    expect((await harness.opened(claimed)).record.claims_tag).toBe("team=blue");
  });

  test.each([
    ["belongs to the user", { type: "user", uid: 1000, text: "team=blue" }],
    ["is of another type", { type: "keyring", uid: 0, text: "team=blue" }],
    ["is not there", undefined],
  ])("are not believed when the key %s: the session is refused", async (_, key) => {
    using harness = new Harness();
    if (key !== undefined) harness.host.keyring.set(12, key);
    const reply = await harness.open(claimed);
    expect(reply).toMatchObject({ result: "refused", isCutOff: true });
    expect(harness.host.entries.find(({ fields }) => fields)?.fields?.["AUTHNFT_REASON"]).toBe("claims");
  });
});

const login = (scope: string, over: { readonly uid?: number; readonly leader?: number } = {}) => ({
  id: "3",
  leader: ALICE.pid,
  uid: 1000,
  scope,
  service: "sshd",
  type: "tty",
  class: "user",
  ...over,
});

describe("With scope=session a session is refused", () => {
  test.each([
    ["that logind calls another user's", login("session-3.scope", { uid: 1001 })],
    ["that another process began", login("session-3.scope", { leader: 99 })],
    ["of which logind says that it is in another scope", login("session-4.scope")],
    ["that logind does not know", undefined],
  ])("%s", async (_, known) => {
    using harness = new Harness();
    harness.addSlice();
    harness.host.addCgroup("user.slice/user-1000.slice/session-3.scope", ALICE.pid);
    if (known !== undefined) harness.host.logins.set(ALICE.pid, known);
    const reply = await harness.open({ ...ALICE, args: ["scope=session"] });
    expect(reply).toMatchObject({ result: "refused", isCutOff: true });
    expect(isCutOff(harness)).toBe(true);
    expect(harness.host.firewall.hasChain("authnft", "session_alice_4711_in")).toBe(false);
  });
});

/** The steps of an open, with the table there already, that may fail. */
async function stepsOfOpen(): Promise<number> {
  using harness = new Harness();
  harness.addSlice();
  await harness.opened({ ...ALICE, pid: 1 });
  await harness.opened();
  let steps = 0;
  harness.host.interfere = (_, when) => {
    if (when === "before") steps++;
  };
  await harness.open({ ...ALICE, pid: 4712 });
  return steps;
}

describe("A session that cannot be opened", () => {
  test("leaves nothing in force and a process without network, whichever step fails", async () => {
    const steps = await stepsOfOpen();
    expect(steps).toBeGreaterThan(8);
    for (let step = 0; step < steps; step++) {
      using harness = new Harness();
      const slice = harness.addSlice();
      const others = [await harness.opened({ ...ALICE, pid: 1 }), await harness.opened()];
      const before = harness.host.firewall.print();
      let failed = "";
      let seen = 0;
      harness.host.interfere = (what, when) => {
        if (when === "after" || seen++ !== step) return;
        failed = what;
        throw what === "transaction" ? refusedBase() : what === "change" ? noAnswer() : full();
      };
      const reply = await harness.open({ ...ALICE, pid: 4712 });
      harness.host.interfere = () => undefined;
      if (reply.result === "ok") {
        // What only a later restoration needs, and what is tried again, may fail.
        expect(harness.host.firewall.hasChain("authnft", "session_alice_4712_in")).toBe(true);
        expect(failed).toMatch(
          /transaction|ruleset.nft|sessions.nft|slices|names|cover|unlock|record|policy|sessions/,
        );
        continue;
      }
      expect([failed, isCutOff(harness, 4712)]).toEqual([failed, true]);
      expect([failed, harness.host.firewall.hasChain("authnft", "session_alice_4712_in")]).toEqual([
        failed,
        false,
      ]);
      expect([failed, harness.files("policy").filter((path) => path.includes("4712"))]).toEqual([failed, []]);
      expect(readRecords().filter(({ pid, state }) => pid === 4712 && state !== "refused")).toEqual([]);
      for (const { id } of others) expect(harness.host.firewall.leadOf("out", id)).toBeDefined();
      expect(harness.host.firewall.leadOf("out", slice)).toBe("cover_1000_out");
      expect(chainsOf(harness.host.firewall.print())).toEqual(chainsOf(before));
    }
  });

  test.each([
    ["its rules", /^write .*policy\/authnft-alice-4711\.scope\.nft$/],
    ["its record", /^write .*sessions\//],
    ["its user's name", /^write .*names\//],
    ["the rules of the user's slice", /^write .*policy\/cover_1000\.nft$/],
  ])("for want of room for %s is in no file, and the kernel is not asked for its rules", async (_, file) => {
    using harness = new Harness();
    harness.addSlice();
    harness.fail(file, full());
    const reply = await harness.open();
    harness.host.interfere = () => undefined;
    expect(reply.result).toBe("refused");
    expect(harness.host.firewall.asked.flat().join("\n")).not.toContain(
      "chain inet authnft session_alice_4711",
    );
    expect(harness.files("policy").filter((path) => path.endsWith(".nft"))).toEqual([]);
    expect(readRecords().map(({ state }) => state)).toEqual(["refused"]);
    expect(isCutOff(harness)).toBe(true);
  });

  test("because nftables does not take its fragment is told the line, and the user's slice keeps its rules", async () => {
    using harness = new Harness();
    const slice = harness.addSlice();
    await harness.opened();
    const file = "/run/authnft/policy/cover_1000.nft";
    const before = [harness.host.disk.get(file), chainsOf(harness.host.firewall.print())];
    harness.write(
      "add rule inet authnft egress tcp dport 22 accept",
      "add rule inet authnft egress tcp dport 23 accept",
    );
    harness.host.firewall.mistakes.add("tcp dport 23");
    const reply = await harness.open({ ...ALICE, pid: 4712 });
    expect(reply).toMatchObject({ result: "refused", isCutOff: true });
    expect(reply.say).toContain("mend the fragment");
    expect(harness.host.messages.join()).toContain("/etc/authnft/users/alice:2");
    expect(harness.host.steps).toContain("audit");
    expect([harness.host.disk.get(file), chainsOf(harness.host.firewall.print())]).toEqual(before);
    expect(harness.host.firewall.leadOf("out", slice)).toBe("cover_1000_out");
  });

  test("is taken back where its rules are in force and only the answer was lost", async () => {
    using harness = new Harness();
    const slice = harness.addSlice();
    await harness.opened({ ...ALICE, pid: 1 });
    harness.host.interfere = (what, when) => {
      if (
        what === "transaction" &&
        when === "after" &&
        harness.host.firewall.hasChain("authnft", "session_alice_4711_in")
      )
        throw noAnswer();
    };
    const reply = await harness.open();
    harness.host.interfere = () => undefined;
    expect(reply.result).toBe("refused");
    expect(harness.host.firewall.hasChain("authnft", "session_alice_4711_in")).toBe(false);
    expect(harness.host.firewall.leadOf("out", harness.host.idOf(SCOPE))).not.toBe("session_alice_4711_out");
    expect(harness.host.firewall.leadOf("out", slice)).toBe("cover_1000_out");
  });

  test("for want of the lock in time is refused so, and nobody else's rules are touched", async () => {
    using harness = new Harness();
    const { id } = await harness.opened({ ...ALICE, pid: 1 });
    using _held = harness.host.hold("ruleset");
    const reply = await harness.open();
    expect(reply).toMatchObject({ result: "refused", isCutOff: true });
    expect(harness.host.messages.join()).toContain("another process of authnft holds it");
    expect(harness.host.firewall.asked).toEqual([]);
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_1_out");
  });

  test("by another process than the one that asks leaves that process alone", async () => {
    using harness = new Harness();
    harness.host.place(4711, DAEMON);
    const reply = await openSession(requestOf("open", ALICE), { askers: [1], elsewhere: undefined, age: 0 });
    expect(reply).toMatchObject({ result: "refused", isCutOff: false });
    expect(harness.host.entries.find(({ fields }) => fields)?.fields?.["AUTHNFT_REASON"]).toBe("request");
    expect(harness.host.placeOf(4711)).toBe(DAEMON);
  });

  test("for want of systemd is cut off without asking it again", async () => {
    using harness = new Harness();
    let tries = 0;
    harness.host.interfere = (what) => {
      if (what === `lock ${UNIT}`) tries++;
      if (what.startsWith("scope ")) throw new BusError("no answer", "timeout");
    };
    const reply = await harness.open();
    expect(reply).toMatchObject({ result: "refused", isCutOff: true });
    expect(harness.host.placeOf(ALICE.pid)).toBe(REFUSED);
    expect(tries).toBe(1);
  });

  test("for want of a fragment waits in a scope that is closed, with a record of that", async () => {
    using harness = new Harness();
    await harness.opened({ ...ALICE, pid: 1 });
    harness.host.disk.delete("/etc/authnft/users/alice");
    const reply = await harness.open();
    expect(reply).toMatchObject({ result: "refused", isCutOff: true });
    expect(harness.host.placeOf(ALICE.pid)).toBe(SCOPE);
    expect(harness.host.firewall.leadOf("out", harness.host.idOf(SCOPE))).toBe("closed_out");
    expect(harness.host.locks.get(UNIT)?.allow).toEqual([]);
    expect(readRecord(UNIT as never)?.state).toBe("refused");
    expect(harness.host.events).toEqual(["refuse"]);
  });

  test("of another user stays under the rules that its process has", async () => {
    using harness = new Harness();
    const { id } = await harness.opened();
    harness.host.disk.set("/etc/authnft/users/bob", "add rule inet authnft egress accept\n");
    const reply = await harness.open({ ...ALICE, user: "bob", uid: 1001 });
    expect(reply).toMatchObject({ result: "refused", isCutOff: true, session: "authnft-bob-4711.scope" });
    expect(harness.host.placeOf(ALICE.pid)).toBe(SCOPE);
    expect(harness.host.firewall.leadOf("out", id)).toBe("session_alice_4711_out");
  });

  test("is no session of a process that ended meanwhile", async () => {
    using harness = new Harness();
    harness.host.interfere = (what, when) => {
      if (what === `scope ${UNIT}` && when === "after") harness.host.endProcess(ALICE.pid);
    };
    const reply = await harness.open();
    expect(reply.result).toBe("refused");
    expect(harness.host.steps).toContain(`stop ${UNIT}`);
    expect(harness.host.firewall.asked.flat().join("\n")).not.toContain("session_alice");
  });
});

/** The base cannot be loaded. */
function refusedBase(): Error {
  return new TransactionError(
    "Error: Could not process rule: Cannot allocate memory",
    undefined,
    "Cannot allocate memory",
  );
}

/** Chains and their rules. */
function chainsOf(printed: string): string[] {
  return printed.split("\n").filter((line) => line.startsWith("chain "));
}
