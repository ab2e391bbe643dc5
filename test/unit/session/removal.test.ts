// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import type { SessionRecord } from "../../../src/session/record.ts";
import { removeSession } from "../../../src/session/removal.ts";
import type { ScopeUnit } from "../../../src/session/scope_unit.ts";
import type { Element, Removal } from "../../../src/system/nftables.ts";

const UNIT = "authnft-alice-4711.scope" as ScopeUnit;

const RECORD: SessionRecord = {
  v: 2,
  user: "alice",
  uid: 1000,
  scope_unit: UNIT,
  cg_path: `authnft.slice/${UNIT}`,
  cg_id: 27711,
  remote_ip: "192.0.2.7",
  fragment: "/etc/authnft/users/alice",
  claims_tag: "",
  correlation: "x",
  service: "sshd",
  tty: "ssh",
  pid: 4711,
  opened_at: "2025-11-22T01:38:00Z",
  state: "open",
};

/** 27711 in 8 bytes, as a little-endian machine has it. */
const ID = "3f6c000000000000";
const OTHER = "406c000000000000";
const CHAINS = ["session_alice_4711_in", "session_alice_4711_out", "session_alice_4711_judged"];

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** The kernel's ruleset, as far as it is asked: sets by name, each element by its key in hex, and the chains. */
class FakeRuleset {
  readonly sets = new Map<string, Map<string, Omit<Element, "key">>>();
  chains = [...CHAINS];
  removed: (string | [set: string, key: string])[] = [];
  table = "";

  put(set: string, key: string, chain?: string, counter?: Element["counter"]): this {
    if (!this.sets.has(set)) this.sets.set(set, new Map());
    this.sets.get(set)?.set(key, { chain, counter });
    return this;
  }

  readonly element = (_table: string, set: string, key: Uint8Array): Element | undefined => {
    const found = this.sets.get(set)?.get(hex(key));
    return found && { key, ...found };
  };

  readonly elements = (_table: string, set: string): Element[] =>
    [...(this.sets.get(set) ?? [])].map(([key, rest]) => ({ key: Buffer.from(key, "hex"), ...rest }));

  readonly hasChain = (_table: string, chain: string): boolean => this.chains.includes(chain);

  readonly remove = (table: string, removals: readonly Removal[]): void => {
    this.table = table;
    this.removed = removals.map((removal) =>
      "set" in removal ? [removal.set, hex(removal.key)] : removal.chain,
    );
  };
}

/** A ruleset with alice's session and another one of hers that must stay. */
function ruleset(): FakeRuleset {
  const fake = new FakeRuleset();
  for (const [id, pid, address] of [
    [ID, 4711, "c0000207"],
    [OTHER, 4712, "c0000207"],
  ] as const) {
    fake.put("session_in", id, `session_alice_${pid}_in`, { packets: pid, bytes: 100 });
    fake.put("session_out", id, `session_alice_${pid}_out`, { packets: 2, bytes: 30 });
    fake.put("session_map_cg", id);
    fake.put("session_map_ipv4", id + address);
  }
  return fake;
}

describe("by record", () => {
  test("the elements of its cgroup and address, then its chains", () => {
    const fake = ruleset();
    const traffic = removeSession(UNIT, RECORD, fake);
    expect(fake.table).toBe("authnft");
    expect(fake.removed).toEqual([
      ["session_in", ID],
      ["session_out", ID],
      ["session_map_cg", ID],
      ["session_map_ipv4", `${ID}c0000207`],
      ...CHAINS,
    ]);
    expect(traffic).toEqual({ packets: 4713, bytes: 130 });
  });

  test.each<[string, string | undefined]>([
    ["2001:db8::7", `${ID}20010db8000000000000000000000007`],
    ["::ffff:192.0.2.7", undefined],
    ["", undefined],
    ["not an address", undefined],
  ])("with the address %j", (remote_ip, key) => {
    const fake = ruleset().put("session_map_ipv6", `${ID}20010db8000000000000000000000007`);
    removeSession(UNIT, { ...RECORD, remote_ip }, fake);
    const addressed = fake.removed.filter(([set]) => set === "session_map_ipv6");
    expect(addressed).toEqual(key === undefined ? [] : [["session_map_ipv6", key]]);
  });

  test("an inode of more than 32 bits is written whole", () => {
    const fake = new FakeRuleset().put("session_in", "3f6c000001000000", CHAINS[0]);
    removeSession(UNIT, { ...RECORD, cg_id: 0x1_0000_6c3f, remote_ip: "" }, fake);
    expect(fake.removed[0]).toEqual(["session_in", "3f6c000001000000"]);
  });

  test("what is gone already is not removed again, and was not counted", () => {
    const fake = new FakeRuleset().put("session_map_cg", ID).put("session_out", OTHER);
    fake.chains = ["session_alice_4711_judged", "session_alice_4712_in"];
    expect(removeSession(UNIT, RECORD, fake)).toBeUndefined();
    expect(fake.removed).toEqual([["session_map_cg", ID], "session_alice_4711_judged"]);
  });

  test("another session's element is left alone, whatever the record says", () => {
    const fake = ruleset();
    removeSession(UNIT, { ...RECORD, cg_id: 27712 }, fake);
    expect(fake.removed).toContainEqual(["session_in", ID]);
    expect(fake.removed).not.toContainEqual(["session_in", OTHER]);
    expect(fake.removed).not.toContainEqual(["session_map_cg", OTHER]);
  });

  test("one direction counted is a count", () => {
    const fake = new FakeRuleset().put("session_out", ID, CHAINS[1], { packets: 5, bytes: 6 });
    expect(removeSession(UNIT, RECORD, fake)).toEqual({ packets: 5, bytes: 6 });
  });

  test("an element without a counter is passed over", () => {
    const fake = new FakeRuleset().put("session_in", ID, CHAINS[0]);
    expect(removeSession(UNIT, RECORD, fake)).toBeUndefined();
  });
});

describe("without a record", () => {
  test("the elements that lead to its chains, and those of the same cgroup", () => {
    const fake = ruleset();
    expect(removeSession(UNIT, undefined, fake)).toEqual({ packets: 4713, bytes: 130 });
    expect(fake.removed).toEqual([
      ["session_in", ID],
      ["session_out", ID],
      ["session_map_cg", ID],
      ["session_map_ipv4", `${ID}c0000207`],
      ...CHAINS,
    ]);
  });

  test("half of a session is found by either half", () => {
    for (const direction of ["in", "out"] as const) {
      const fake = new FakeRuleset()
        .put(`session_${direction}`, ID, `session_alice_4711_${direction}`)
        .put("session_map_ipv6", `${ID}20010db8000000000000000000000007`);
      removeSession(UNIT, undefined, fake);
      expect(fake.removed).toEqual([
        [`session_${direction}`, ID],
        ["session_map_ipv6", `${ID}20010db8000000000000000000000007`],
        ...CHAINS,
      ]);
    }
  });

  test("chains of similar names are somebody else's", () => {
    const fake = new FakeRuleset()
      .put("session_in", OTHER, "session_alice_47112_in")
      .put("session_in", "01", "session_alice_4711_in2")
      .put("session_out", "02", "session_alice_4711_in")
      .put("session_map_cg", OTHER);
    removeSession(UNIT, undefined, fake);
    expect(fake.removed).toEqual(CHAINS);
  });

  test("an element of two cgroups that were one session's goes with both", () => {
    const fake = new FakeRuleset().put("session_in", ID, CHAINS[0]).put("session_out", OTHER, CHAINS[1]);
    fake.put("session_map_cg", ID).put("session_map_cg", OTHER).put("session_map_cg", "ffffffffffffffff");
    removeSession(UNIT, undefined, fake);
    expect(fake.removed.filter(([set]) => set === "session_map_cg")).toEqual([
      ["session_map_cg", ID],
      ["session_map_cg", OTHER],
    ]);
  });

  test("nothing there: nothing is removed", () => {
    const fake = new FakeRuleset();
    fake.chains = [];
    expect(removeSession(UNIT, undefined, fake)).toBeUndefined();
    expect(fake.removed).toEqual([]);
  });
});

test("elements come before the chains that they name, and chains before the one that their rules name", () => {
  const fake = ruleset();
  removeSession(UNIT, RECORD, fake);
  const first = fake.removed.findIndex((removal) => typeof removal === "string");
  expect(fake.removed.slice(first)).toEqual(CHAINS);
});

test("what the kernel says goes to the caller", () => {
  const fake = ruleset();
  const failing = Object.assign(fake, {
    remove: () => {
      throw new Error("EBUSY");
    },
  });
  expect(() => removeSession(UNIT, RECORD, failing)).toThrow("EBUSY");
});
