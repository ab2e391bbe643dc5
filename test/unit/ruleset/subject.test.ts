// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import type { Address } from "../../../src/address.ts";
import { flowLabel, OPENED, type Opening } from "../../../src/ruleset/flow_label.ts";
import {
  addSubject,
  closeCgroup,
  judgedChain,
  ownObjectsIn,
  type Part,
  type Ruled,
  replaceSubject,
  subjectChain,
  subjectChains,
  subjectElements,
  withOwnNames,
} from "../../../src/ruleset/subject.ts";
import { TABLE } from "../../../src/ruleset/table.ts";
import type { SubjectId } from "../../../src/subjects/subject.ts";

const ALICE: Ruled = {
  id: "session_alice_4711" as SubjectId,
  cgroup: { path: "authnft.slice/authnft-alice-4711.scope", id: 27711n },
  addresses: ["192.0.2.7" as Address],
  comment: "alice (PID:4711)",
  policy: { generation: 0 },
};

const PARTS: readonly Part[] = [
  { kind: "rule", chain: "out", body: "tcp dport 443 goto session_alice_4711_judged" },
  { kind: "rule", chain: "in", body: "drop" },
  { kind: "rule", chain: "out", body: "reject" },
];

/** What a rule says of a flow of the member's. */
function has(opening: Opening, generation = 0, is = "=="): string {
  const label = flowLabel(27711n, opening, generation).join("|");
  return `ct label & (${label}) ${is} ${label}`;
}

test("a session with an address, whole", () => {
  const [sent, arrived] = (["sent", "arrived"] as const).map((opening) =>
    [...flowLabel(27711n, opening), OPENED[opening]].join("|"),
  );
  const path = '"authnft.slice/authnft-alice-4711.scope"';
  const comment = 'comment "alice (PID:4711)"';
  expect(addSubject(ALICE, PARTS).lines).toEqual([
    "create chain inet authnft session_alice_4711_in",
    "create chain inet authnft session_alice_4711_out",
    "create chain inet authnft session_alice_4711_judged",
    `add element inet authnft session_map_cg { ${path} ${comment} }`,
    `add element inet authnft session_map_ipv4 { ${path} . 192.0.2.7 ${comment} }`,
    `add element inet authnft session_in { ${path} ${comment} : jump session_alice_4711_in }`,
    `add element inet authnft session_out { ${path} ${comment} : jump session_alice_4711_out }`,
    `add rule inet authnft session_alice_4711_judged oif != 0 ct direction original ct label set ${sent}`,
    "add rule inet authnft session_alice_4711_judged oif != 0 goto stamp_out",
    `add rule inet authnft session_alice_4711_judged ct direction original ct label set ${arrived}`,
    "add rule inet authnft session_alice_4711_judged goto stamp_in",
    `add rule inet authnft session_alice_4711_in ct direction reply ${has("sent")} goto stamp_in`,
    `add rule inet authnft session_alice_4711_out meta l4proto tcp ct direction reply ${has("arrived")} goto stamp_out`,
    `add rule inet authnft session_alice_4711_out ct direction reply ${has("arrived")} ${has("sent", 0, "!=")} goto stamp_out`,
    "add rule inet authnft session_alice_4711_out tcp dport 443 goto session_alice_4711_judged",
    "add rule inet authnft session_alice_4711_in drop",
    "add rule inet authnft session_alice_4711_out reject",
    "add rule inet authnft session_alice_4711_in goto session_alice_4711_judged",
    "add rule inet authnft session_alice_4711_out goto session_alice_4711_judged",
  ]);
});

const V4 = "192.0.2.7" as Address;
const V6 = "2001:db8::7" as Address;

test.each<[Ruled["addresses"], string[]]>([
  [[], ["session_map_cg"]],
  [[V4], ["session_map_cg", "session_map_ipv4"]],
  [[V6], ["session_map_cg", "session_map_ipv6"]],
  [
    [V4, V6, "192.0.2.8" as Address],
    ["session_map_cg", "session_map_ipv4", "session_map_ipv6", "session_map_ipv4"],
  ],
])("which sets a member is in, addresses %j", (addresses, sets) => {
  const named = addSubject({ ...ALICE, addresses }, PARTS).lines.flatMap(
    (line) => /session_map_\w+/.exec(line)?.[0] ?? [],
  );
  expect(named).toEqual(sets);
});

test("each line tells the part that it comes from, whatever the order", () => {
  for (const count of [0, 1, 500]) {
    const parts = [
      { kind: "set", name: "late", definition: "{ type ipv4_addr; }" } as const,
      ...Array.from(
        { length: count },
        (_, index) => ({ kind: "rule", chain: "out", body: `th dport ${index}` }) as const,
      ),
      { kind: "chain", name: "early", definition: "" } as const,
    ];
    const { lines, sources } = addSubject(ALICE, parts);
    expect(sources).toHaveLength(lines.length);
    for (const [index, part] of parts.entries()) {
      const line = lines[sources.indexOf(index)] ?? "";
      expect(line).toEndWith(
        part.kind === "rule" ? ` ${part.body}` : `_${part.name} ${part.definition}`.trimEnd(),
      );
    }
    expect(sources.filter((source) => source !== undefined)).toHaveLength(parts.length);
  }
});

const OWN: readonly Part[] = [
  { kind: "rule", chain: "web", body: "tcp dport 80 return" },
  { kind: "rule", chain: "out", body: "ip daddr @session_alice_4711_there jump session_alice_4711_web" },
  { kind: "map", name: "where", definition: "{ type inet_service : verdict; }" },
  { kind: "element", name: "where", definition: "{ 80 : jump session_alice_4711_web }" },
  { kind: "counter", name: "hits", definition: "" },
  { kind: "set", name: "there", definition: "{ type ipv4_addr; }" },
  { kind: "chain", name: "web", definition: "" },
];

test("what a member has of its own is made before it is named, under the member's name", () => {
  const { lines } = addSubject(ALICE, OWN);
  expect(lines.filter((line) => line.startsWith("create")).slice(3)).toEqual([
    "create chain inet authnft session_alice_4711_web",
    "create counter inet authnft session_alice_4711_hits",
    "create set inet authnft session_alice_4711_there { type ipv4_addr; }",
    "create map inet authnft session_alice_4711_where { type inet_service : verdict; }",
  ]);
  const at = (text: string): number => lines.findIndex((line) => line.includes(text));
  expect(at("add element inet authnft session_alice_4711_where { 80")).toBeGreaterThan(at("create map"));
  expect(at("add rule inet authnft session_alice_4711_web")).toBeLessThan(at("@session_alice_4711_there"));
});

test("what was a member's own goes before the new comes, and nothing goes before what names it", () => {
  const previous = ownObjectsIn(addSubject(ALICE, OWN).lines, ALICE.id);
  expect(previous.map(({ kind, name }) => `${kind} ${name}`)).toEqual([
    "chain session_alice_4711_web",
    "counter session_alice_4711_hits",
    "set session_alice_4711_there",
    "map session_alice_4711_where",
  ]);
  const { lines } = replaceSubject(ALICE, OWN, previous);
  expect(lines.slice(3, 11)).toEqual([
    ...subjectChains(ALICE.id).map((chain) => `flush chain ${TABLE} ${chain}`),
    `flush chain ${TABLE} session_alice_4711_web`,
    `delete set ${TABLE} session_alice_4711_there`,
    `delete map ${TABLE} session_alice_4711_where`,
    `delete chain ${TABLE} session_alice_4711_web`,
    `delete counter ${TABLE} session_alice_4711_hits`,
  ]);
  expect(lines.slice(11)).toEqual(addSubject(ALICE, OWN).lines.slice(3));
});

test("flows of each generation have a label of their own, and of none other the replies pass", () => {
  for (const generation of [0, 1, 7]) {
    const { lines } = addSubject({ ...ALICE, policy: { generation } }, PARTS);
    const set = (opening: Opening): string =>
      [...flowLabel(27711n, opening, generation), OPENED[opening]].join("|");
    expect(lines.flatMap((line) => /ct label set (.*)/.exec(line)?.[1] ?? [])).toEqual([
      set("sent"),
      set("arrived"),
    ]);
    const passing = lines.filter((line) => line.includes("== ") && line.includes("ct label"));
    expect(passing).toHaveLength(3);
    for (const line of passing) {
      expect(line).toContain("ct direction reply");
      expect(line.includes(has("sent", generation)) || line.includes(has("arrived", generation))).toBe(true);
    }
  }
});

test("chains are listed so that each can be deleted when it comes", () => {
  expect(subjectChains("x_1")).toEqual([
    subjectChain("x_1", "in"),
    subjectChain("x_1", "out"),
    judgedChain("x_1"),
  ]);
});

test("a member that is replaced gets the same rules, behind none of its old ones", () => {
  const replaced = replaceSubject(ALICE, PARTS, []).lines;
  const chains = subjectChains(ALICE.id);
  expect(replaced.slice(0, 6)).toEqual([
    ...chains.map((chain) => `add chain ${TABLE} ${chain}`),
    ...chains.map((chain) => `flush chain ${TABLE} ${chain}`),
  ]);
  expect(replaced.slice(6)).toEqual(addSubject(ALICE, PARTS).lines.slice(3));
  expect(replaced).toEqual(expect.arrayContaining(subjectElements(ALICE)));
});

test("a cgroup within an open one is closed by elements of its own", () => {
  expect(closeCgroup("user.slice/user-1000.slice/session-3.scope")).toEqual([
    `add element ${TABLE} session_in { "user.slice/user-1000.slice/session-3.scope" : goto closed_in }`,
    `add element ${TABLE} session_out { "user.slice/user-1000.slice/session-3.scope" : goto closed_out }`,
  ]);
});

describe("the elements' comment", () => {
  const commentOf = (comment: string): string => {
    const found = addSubject({ ...ALICE, comment }, PARTS).lines.flatMap(
      (line) => /comment "([^"]*)"/.exec(line)?.[1] ?? [],
    );
    expect(new Set(found).size).toBe(1);
    expect(found).toHaveLength(4);
    return found[0] ?? "";
  };
  const longest = `${"u".repeat(32)} (PID:4194304)`;

  test.each<[string, string]>([
    ["alice (PID:1)", "alice (PID:1)"],
    [longest, longest],
    ["alice (PID:1) [role=dev]", "alice (PID:1) [role=dev]"],
    ["x".repeat(127), "x".repeat(127)],
    ["x".repeat(128), "x".repeat(127)],
    [`a [${"t".repeat(123)}]`, `a [${"t".repeat(123)}]`],
    [`a [${"t".repeat(124)}]`, `a [${"t".repeat(123)}]`],
    [`${longest} [${"t".repeat(192)}]`, `${longest} [${"t".repeat(126 - longest.length - 2)}]`],
  ])("%s", (comment, kept) => {
    expect(commentOf(comment)).toBe(kept);
    expect(kept.length).toBeLessThanOrEqual(127);
  });

  // nftables refuses a transaction with a longer one, and the login with it.
  test("is never longer than nftables holds, and a tag keeps its brackets", () => {
    for (let length = 1; length <= 192; length++) {
      const kept = commentOf(`alice (PID:4711) [${"t".repeat(length)}]`);
      expect(kept).toMatch(/^alice \(PID:4711\) \[t+\]$/);
      expect(kept.length).toBe(Math.min(127, 19 + length));
    }
  });
});

test("a complaint names objects as the fragment does", () => {
  const parts = [
    { kind: "chain", name: "web_judged", definition: "" },
    { kind: "set", name: "session_s", definition: "{ type ipv4_addr; }" },
  ] as const;
  const said =
    "No such file or directory; did you mean set ‘session_alice_4711_session_s’ or ‘session_alice_4711_web_judged’ of ‘session_bob_1_x’?";
  const named =
    "No such file or directory; did you mean set ‘session_s’ or ‘web_judged’ of ‘session_bob_1_x’?";
  for (const { lines } of [addSubject(ALICE, parts), replaceSubject(ALICE, parts, [])])
    expect(withOwnNames(said, ["add table inet authnft", ...lines])).toBe(named);
  const cover = addSubject({ ...ALICE, id: "cover_1000" as SubjectId }, parts);
  expect(withOwnNames("‘cover_1000_session_s’", cover.lines)).toBe("‘session_s’");
});

test("a chain of its own that is called like one of every subject's does not hide the others' names", () => {
  const lines = [
    "create chain inet authnft session_a_1_web_judged",
    "create chain inet authnft session_a_1_judged",
  ];
  expect(withOwnNames("session_a_1_web_hits", lines)).toBe("web_hits");
});
