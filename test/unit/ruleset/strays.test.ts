// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { findStrays, type Keyed, type Named } from "../../../src/ruleset/strays.ts";

const key = (id: number, ...more: readonly number[]): Uint8Array =>
  Uint8Array.of(id, 0, 0, 0, 0, 0, 0, 0, ...more);
const chain = (name: string): Named => ({ kind: "chain", name });
const there = { subjects: ["session_alice_7", "cover_1000"], live: new Set([7n]) };

function names(...named: readonly Named[]): string[] {
  return findStrays({ named, elements: [] }, there).named.map(({ name }) => name);
}

function elements(named: readonly Named[], ...found: readonly Keyed[]): readonly Keyed[] {
  return findStrays({ named, elements: found }, there).elements;
}

describe("a stray is", () => {
  test("what is called after a subject that is not there, of whatever kind", () => {
    const strays: Named[] = [
      chain("session_bob_7_in"),
      { kind: "set", name: "session_bob_7_addresses" },
      { kind: "counter", name: "cover_1001_seen" },
      chain("policy_0123456789abcdef_in"),
    ];
    expect(names(chain("session_alice_7_in"), chain("cover_1000_out"), ...strays)).toEqual(
      strays.map(({ name }) => name),
    );
  });

  test("not what begins like one that is there and goes on otherwise", () => {
    expect(names(chain("session_alice_77_in"), chain("session_alice_7_in"))).toEqual(["session_alice_77_in"]);
  });

  test("none of the table's own", () => {
    expect(
      names(
        chain("members_in"),
        { kind: "map", name: "session_in" },
        { kind: "set", name: "session_map_cg" },
        { kind: "set", name: "covered_slices" },
      ),
    ).toEqual([]);
  });

  test("an element of a cgroup that is gone, with an address behind it or not", () => {
    const gone: Keyed[] = [
      { set: "session_in", key: key(8), chain: undefined },
      { set: "session_map_ipv4", key: key(8, 10, 0, 0, 1), chain: undefined },
    ];
    expect(elements([], { set: "session_in", key: key(7), chain: "session_alice_7_in" }, ...gone)).toEqual(
      gone,
    );
  });

  test("an element of one that is there, where it leads to a stray", () => {
    const lost: Keyed = { set: "session_in", key: key(7), chain: "session_bob_7_in" };
    expect(elements([chain("session_bob_7_in")], lost)).toEqual([lost]);
  });

  test("told by its own key, wherever that lies in memory", () => {
    const two = Uint8Array.of(...key(8), ...key(7));
    expect(elements([], { set: "session_in", key: two.subarray(8), chain: undefined })).toEqual([]);
  });
});
