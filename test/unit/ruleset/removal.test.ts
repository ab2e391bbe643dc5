// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { type Address, parseAddress } from "../../../src/address.ts";
import {
  addressRemoval,
  blockCgroup,
  blockSlice,
  type Change,
  chainOf,
  keysOf,
  leading,
  sliceRemoval,
  staleBlocks,
  subjectRemoval,
  type Traffic,
  unblockCgroup,
} from "../../../src/ruleset/removal.ts";
import type { SessionRecord } from "../../../src/subjects/session/record.ts";
import type { ScopeUnit } from "../../../src/subjects/session/scope_unit.ts";
import { sessionSubject } from "../../../src/subjects/session/session.ts";
import type { Element } from "../../../src/system/ffi/nftables.ts";

const UNIT = "authnft-alice-4711.scope" as ScopeUnit;
const NAME = "session_alice_4711";

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
  lingering: "quarantine",
  generation: 0,
  sequence: 0,
  taken_from: "",
  pending: [],
  opened_in: "",
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
}

const shown = (changes: readonly Change[]): (string | [set: string, key: string])[] =>
  changes.flatMap((change): (string | [set: string, key: string])[] => {
    if ("set" in change) return [[change.set, hex(change.key)]];
    return "flush" in change ? [] : [change.name];
  });

/** How alice's session leaves: what is removed, and what was counted. */
function leave(
  record: SessionRecord | undefined,
  fake: FakeRuleset,
): { removed: ReturnType<typeof shown>; traffic: Traffic | undefined } {
  const { changes, traffic } = subjectRemoval(NAME, record && keysOf(sessionSubject(record)), fake);
  return { removed: shown(changes), traffic };
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
    const { removed, traffic } = leave(RECORD, fake);
    expect(removed).toEqual([
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
    const addressed = leave({ ...RECORD, remote_ip }, fake).removed.filter(
      ([set]) => set === "session_map_ipv6",
    );
    expect(addressed).toEqual(key === undefined ? [] : [["session_map_ipv6", key]]);
  });

  test("an inode of more than 32 bits is written whole", () => {
    const fake = new FakeRuleset().put("session_in", "3f6c000001000000", CHAINS[0]);
    expect(leave({ ...RECORD, cg_id: 0x1_0000_6c3f, remote_ip: "" }, fake).removed[0]).toEqual([
      "session_in",
      "3f6c000001000000",
    ]);
  });

  test("what is gone already is not removed again, and was not counted", () => {
    const fake = new FakeRuleset().put("session_map_cg", ID).put("session_out", OTHER);
    fake.chains = ["session_alice_4711_judged", "session_alice_4712_in"];
    expect(leave(RECORD, fake)).toEqual({
      removed: [["session_map_cg", ID], "session_alice_4711_judged"],
      traffic: undefined,
    });
  });

  test("another session's element is left alone, whatever the record says", () => {
    const fake = ruleset();
    const { removed } = leave({ ...RECORD, cg_id: 27712 }, fake);
    expect(removed).toContainEqual(["session_in", ID]);
    expect(removed).not.toContainEqual(["session_in", OTHER]);
    expect(removed).not.toContainEqual(["session_map_cg", OTHER]);
  });

  test("one direction counted is a count", () => {
    const fake = new FakeRuleset().put("session_out", ID, CHAINS[1], { packets: 5, bytes: 6 });
    expect(leave(RECORD, fake).traffic).toEqual({ packets: 5, bytes: 6 });
  });

  test("an element without a counter is passed over", () => {
    const fake = new FakeRuleset().put("session_in", ID, CHAINS[0]);
    expect(leave(RECORD, fake).traffic).toBeUndefined();
  });
});

describe("without a record", () => {
  test("the elements that lead to its chains, and those of the same cgroup", () => {
    const fake = ruleset();
    const { removed, traffic } = leave(undefined, fake);
    expect(traffic).toEqual({ packets: 4713, bytes: 130 });
    expect(removed).toEqual([
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
      expect(leave(undefined, fake).removed).toEqual([
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
    expect(leave(undefined, fake).removed).toEqual(CHAINS);
  });

  test("an element of two cgroups that were one session's goes with both", () => {
    const fake = new FakeRuleset().put("session_in", ID, CHAINS[0]).put("session_out", OTHER, CHAINS[1]);
    fake.put("session_map_cg", ID).put("session_map_cg", OTHER).put("session_map_cg", "ffffffffffffffff");
    expect(leave(undefined, fake).removed.filter(([set]) => set === "session_map_cg")).toEqual([
      ["session_map_cg", ID],
      ["session_map_cg", OTHER],
    ]);
  });

  test("nothing there: nothing is removed", () => {
    const fake = new FakeRuleset();
    fake.chains = [];
    expect(leave(undefined, fake)).toEqual({ removed: [], traffic: undefined });
  });
});

test("elements come before the chains that they name, and chains before the one that their rules name", () => {
  const { removed } = leave(RECORD, ruleset());
  expect(removed.slice(removed.findIndex((change) => typeof change === "string"))).toEqual(CHAINS);
});

test("a session that was closed within an open slice leaves with its closing elements", () => {
  const fake = new FakeRuleset().put("session_in", ID, "closed_in").put("session_out", ID, "closed_out");
  fake.chains = [];
  expect(leave({ ...RECORD, remote_ip: "" }, fake).removed).toEqual([
    ["session_in", ID],
    ["session_out", ID],
  ]);
});

test("a cgroup is closed by elements that lead to the closed chains, and opened by taking out what it has", () => {
  expect(blockCgroup(27711)).toEqual([
    { set: "session_in", key: Uint8Array.fromHex(ID), add: true, goto: "closed_in" },
    { set: "session_out", key: Uint8Array.fromHex(ID), add: true, goto: "closed_out" },
  ]);
  const fake = new FakeRuleset().put("session_out", ID, "closed_out").put("session_in", OTHER, "closed_in");
  expect(shown(unblockCgroup(27711, fake))).toEqual([["session_out", ID]]);
});

test("what closed a cgroup that is gone is taken out, when nobody knows of it any more", () => {
  const fake = new FakeRuleset()
    .put("session_in", ID, "closed_in")
    .put("session_out", ID, "closed_out")
    .put("session_in", OTHER, "closed_in")
    .put("session_in", "ff00000000000000", "session_bob_1_in");
  expect(shown(staleBlocks(new Set([27712n]), fake))).toEqual([
    ["session_in", ID],
    ["session_out", ID],
  ]);
});

test("a slice that is gone is closed by number, and forgotten by number", () => {
  const users = { set: "slices", chains: "users", id: 27711n } as const;
  const own = { ...users, chains: "members" } as const;
  const cover = { set: "covered_slices", chains: undefined, id: 27711n };
  const key = Uint8Array.fromHex(ID);
  expect([users, own, cover].flatMap((slice) => blockSlice(slice))).toEqual([
    { set: "slices_sources", key, add: true, goto: "users_sources" },
    { set: "slices_in", key, add: true, goto: "users_in" },
    { set: "slices_out", key, add: true, goto: "users_out" },
    { set: "slices_sources", key, add: true, goto: "members_sources" },
    { set: "slices_in", key, add: true, goto: "members_in" },
    { set: "slices_out", key, add: true, goto: "members_out" },
    { set: "covered_slices", key, add: true },
  ]);
  const fake = new FakeRuleset().put("covered_slices", ID).put("slices_out", ID, "users_out");
  expect(shown([users, cover].flatMap((slice) => sliceRemoval(slice, fake)))).toEqual([
    ["slices_out", ID],
    ["covered_slices", ID],
  ]);
});

test("the chain that a cgroup's packets go to is told by the map", () => {
  expect(chainOf(27711n, ruleset())).toBe("session_alice_4711_out");
  expect(chainOf(1n, ruleset())).toBeUndefined();
});

test("an address leaves alone, if it is there", () => {
  const address = parseAddress("192.0.2.7") as Address;
  expect(shown(addressRemoval(27711n, address, ruleset()))).toEqual([["session_map_ipv4", `${ID}c0000207`]]);
  expect(addressRemoval(1n, address, ruleset())).toEqual([]);
});

describe("with objects of its own", () => {
  const own = [
    { kind: "counter", name: `${NAME}_hits` },
    { kind: "chain", name: `${NAME}_web` },
    { kind: "map", name: `${NAME}_ports` },
    { kind: "set", name: `${NAME}_there` },
  ] as const;

  test("all rules go first, then sets and maps, chains, and what rules name", () => {
    const { changes } = subjectRemoval(NAME, undefined, new FakeRuleset(), own);
    expect(changes).toEqual([
      ...[...CHAINS, `${NAME}_web`].map((flush) => ({ flush })),
      own[2],
      own[3],
      ...CHAINS.map((name) => ({ kind: "chain" as const, name })),
      own[1],
      own[0],
    ]);
  });
});

test("where the recorded cgroup leads nowhere, elements of another that lead to its chains go as well", () => {
  const fake = new FakeRuleset().put("session_map_cg", ID).put("session_out", OTHER, CHAINS[1]);
  expect(leave(RECORD, fake).removed).toEqual([["session_map_cg", ID], ["session_out", OTHER], ...CHAINS]);
});

test("a block of a live cgroup is told by its own key, wherever that lies in memory", () => {
  const both = Buffer.from(OTHER + ID, "hex");
  const fake = new FakeRuleset();
  const blocked = {
    ...fake,
    hasChain: fake.hasChain,
    element: fake.element,
    elements: (_: string, set: string) =>
      set === "session_in" ? [{ key: both.subarray(8), chain: "closed_in", counter: undefined }] : [],
  };
  expect(staleBlocks(new Set([27711n]), blocked)).toEqual([]);
});

test("what a cgroup led to before goes when it is led to its chains", () => {
  const fake = new FakeRuleset().put("session_in", ID, "closed_in");
  const changes = leading(sessionSubject(RECORD), fake);
  expect(changes.map((change) => ["set" in change && change.set, "add" in change])).toEqual([
    ["session_in", false],
    ["session_in", true],
    ["session_out", true],
  ]);
});
