// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { FakeFirewall } from "../../../src/engine/fake_firewall.ts";
import { baseTable } from "../../../src/ruleset/table.ts";
import { ROOTS } from "../../../src/subjects/roots.ts";
import { TransactionError } from "../../../src/system/ffi/nftables.ts";

const IDS = new Map([
  ["authnft.slice", 1n],
  ["user.slice", 2n],
  ["authnft.slice/a.scope", 3n],
]);

function loaded(): FakeFirewall {
  const firewall = new FakeFirewall((path) => IDS.get(path));
  firewall.runTransaction(baseTable({ roots: ROOTS }));
  return firewall;
}

/** What nftables says of some lines; nothing when it takes them. */
function complaint(firewall: FakeFirewall, ...lines: readonly string[]): string | undefined {
  try {
    firewall.runTransaction(lines);
    return undefined;
  } catch (error) {
    if (!(error instanceof TransactionError)) throw error;
    return `${error.line}: ${error.complaint}`;
  }
}

const T = "inet authnft";

describe("The ruleset that is data", () => {
  test("takes the base as often as it is told", () => {
    const firewall = loaded();
    const before = firewall.print();
    firewall.runTransaction(baseTable({ roots: ROOTS }));
    expect(firewall.print()).toBe(before);
  });

  test.each([
    ["a chain that is there", "File exists", [`create chain ${T} members_in`]],
    ["a chain that is not", "No such file or directory", [`flush chain ${T} x`]],
    ["a rule that leads nowhere", "No such file or directory", [`add rule ${T} members_in goto x`]],
    ["a set that is not there", "No such file or directory", [`add rule ${T} members_in ip saddr @x drop`]],
    [
      "a cgroup that is gone",
      "cgroupv2 path fails: No such file or directory",
      [`add element ${T} refused { "gone" }`],
    ],
    [
      "a chain that a rule leads to",
      "Device or resource busy",
      [`flush chain ${T} stamp_in`, `delete chain ${T} stamp_in`],
    ],
    [
      "an element that leads elsewhere",
      "File exists",
      [`add element ${T} slices_in { "authnft.slice" : accept }`],
    ],
    [
      "a chain that an element leads to",
      "Device or resource busy",
      [
        `create chain ${T} a_in`,
        `add element ${T} session_in { "authnft.slice/a.scope" : jump a_in }`,
        `delete chain ${T} a_in`,
      ],
    ],
  ])("refuses %s, names the line, and is as it was", (_, said, lines) => {
    const firewall = loaded();
    const before = firewall.print();
    const first = `add chain ${T} new`;
    expect(complaint(firewall, first, ...lines)).toBe(`${lines.length}: ${said}`);
    expect(firewall.print()).toBe(before);
  });

  test.each([
    "delete table inet filter",
    `list table ${T}`,
    `add element ${T} session_in { "authnft.slice/a.scope" }`,
    `add element ${T} session_map_ipv4 { "authnft.slice/a.scope" }`,
    `add element ${T} refused { "authnft.slice" : accept }`,
  ])("knows no other command than this program's: %s", (line) => {
    expect(() => loaded().runTransaction([line])).toThrow("never told");
  });

  test("takes out by key what is there where a part is gone, and nothing where one is refused", () => {
    const firewall = loaded();
    firewall.runTransaction([
      `create chain ${T} a_in`,
      `create chain ${T} b_in`,
      `add rule ${T} b_in goto a_in`,
    ]);
    firewall.change("authnft", [{ flush: "gone" }, { flush: "b_in" }, { kind: "chain", name: "b_in" }]);
    expect(firewall.hasChain("authnft", "b_in")).toBe(false);
    const before = firewall.print();
    expect(() =>
      firewall.change("authnft", [
        { kind: "chain", name: "a_in" },
        { kind: "chain", name: "stamp_in" },
      ]),
    ).toThrow("EBUSY");
    expect(firewall.print()).toBe(before);
  });
});
