// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import type { Attempt, Outcome } from "../../../src/verify/attempt.ts";
import { chainsOf, compareChains, isBad, judge, remembers, type Trial } from "../../../src/verify/verdict.ts";

const PASSES: Outcome = { passed: true, how: "" };
const NOTHING: Outcome = { passed: false, how: "EPERM" };
const UNTRIED: Outcome = { passed: "untried", how: "socket: EPROTONOSUPPORT" };

const JUDGED: Trial["attempt"] = { name: "UDP, IPv4, out", judged: "out" };

function verdictOf(of: Partial<Trial>, expectation?: Attempt["expectation"]) {
  const attempt = expectation === undefined ? JUDGED : { name: "detour", judged: undefined, expectation };
  return judge({ ...trial(), attempt, ...of }).verdict;
}

describe("what a policy decides", () => {
  test("is in order when as much passes as under the rules as they were loaded", () => {
    expect(verdictOf({})).toBe("ok");
    expect(verdictOf({ model: NOTHING, seen: NOTHING })).toBe("ok");
  });

  test("is a leak when more passes, and lost when less does", () => {
    expect(verdictOf({ model: NOTHING })).toBe("leak");
    expect(verdictOf({ seen: NOTHING })).toBe("lost");
  });

  test("is a leak when nobody counted it, however rightly it passed", () => {
    expect(verdictOf({ counted: true })).toBe("ok");
    expect(verdictOf({ counted: false })).toBe("leak");
    expect(judge({ ...trial(), counted: false }).seen).toBe("passes, unjudged");
    expect(verdictOf({ model: NOTHING, seen: NOTHING, counted: false })).toBe("ok");
  });

  test("is nothing for what is closed, whatever the private network lets through", () => {
    expect(verdictOf({ closed: true })).toBe("leak");
    expect(verdictOf({ closed: true, model: undefined, seen: NOTHING })).toBe("ok");
  });

  test("is as under the base table for what is closed where no dispatch judges", () => {
    const attempt = { name: "UDP-Lite, IPv4, in", judged: undefined };
    expect(verdictOf({ attempt, closed: true })).toBe("ok");
    expect(verdictOf({ attempt, closed: true, model: NOTHING })).toBe("leak");
  });

  test("is untried where it cannot be tried, and where it does not even pass without a policy", () => {
    expect(verdictOf({ seen: UNTRIED, model: UNTRIED })).toBe("untried");
    expect(verdictOf({ control: NOTHING, model: NOTHING, seen: NOTHING })).toBe("untried");
  });

  test("is never excused by a control that fails, nor by a private network that cannot tell", () => {
    expect(verdictOf({ control: NOTHING, model: NOTHING })).toBe("leak");
    expect(verdictOf({ model: UNTRIED, seen: NOTHING })).toBe("ok");
    expect(verdictOf({ model: UNTRIED })).toBe("unknown");
    expect(verdictOf({ model: UNTRIED, counted: false })).toBe("unknown");
    expect(verdictOf({ model: UNTRIED, counted: true })).toBe("untried");
    expect(verdictOf({ model: undefined })).toBe("unknown");
  });
});

describe("what no policy decides", () => {
  test("must not be possible", () => {
    expect(verdictOf({ seen: NOTHING, model: undefined, control: undefined }, "nothing")).toBe("ok");
    expect(verdictOf({ model: undefined, control: undefined }, "nothing")).toBe("leak");
  });

  test("must not be possible, though it is where nothing of ours stands, or it has not been tried", () => {
    expect(verdictOf({ seen: NOTHING, model: undefined }, "held")).toBe("ok");
    expect(verdictOf({ model: undefined }, "held")).toBe("leak");
    expect(verdictOf({ seen: NOTHING, control: NOTHING, model: undefined }, "held")).toBe("untried");
    expect(verdictOf({ control: NOTHING, model: undefined }, "held")).toBe("leak");
  });

  test("is the seal's to hold, and outside where the host has none", () => {
    expect(verdictOf({ seen: NOTHING, model: undefined }, "sealed")).toBe("ok");
    expect(verdictOf({ model: undefined }, "sealed")).toBe("leak");
    expect(verdictOf({ sealed: false, model: undefined }, "sealed")).toBe("outside");
    expect(verdictOf({ sealed: false, seen: NOTHING, model: undefined }, "sealed")).toBe("ok");
    expect(verdictOf({ seen: NOTHING, control: NOTHING, model: undefined }, "sealed")).toBe("untried");
  });

  test("must reach others", () => {
    expect(verdictOf({}, "passes")).toBe("ok");
    expect(verdictOf({ seen: NOTHING }, "passes")).toBe("harm");
    expect(verdictOf({ seen: NOTHING, control: NOTHING }, "passes")).toBe("untried");
  });

  test("is its maker's, and no leak", () => {
    expect(verdictOf({}, "maker")).toBe("outside");
    expect(verdictOf({ seen: NOTHING }, "maker")).toBe("lost");
  });
});

test("what must not be, or may be, is bad; the rest is not", () => {
  const verdicts = ["ok", "leak", "harm", "changed", "unknown", "lost", "outside", "untried"] as const;
  const bad = verdicts.filter((verdict) => isBad({ tried: "", expected: "", seen: "", verdict }));
  expect(bad).toEqual(["leak", "harm", "changed", "unknown"]);
});

test.each([
  ["ip daddr 10.88.0.2 accept", false],
  ["limit rate over 100/second drop", true],
  ["quota over 10 mbytes drop", true],
  ["ct count over 5 reject", true],
  ["update @seen { ip daddr limit rate 5/second } accept", true],
  ["ip daddr @limited accept", false],
])("whether a rule remembers packets: %s", (rule, expected) => {
  expect(remembers(["create chain inet authnft a_out", `add rule inet authnft a_out ${rule}`])).toBe(
    expected,
  );
});

describe("rules in force", () => {
  const LISTING = `table inet authnft {
\tmap session_in {
\t\ttypeof socket cgroupv2 level 0 : verdict
\t\telements = { "authnft.slice/a.scope" : jump a_in }
\t}

\tchain filter {
\t\ttype filter hook input priority filter - 1; policy accept;
\t\tsocket cgroupv2 level 1 vmap @slices_in
\t}

\tchain a_out {
\t\tip daddr 10.88.0.2 goto a_judged
\t\tdrop
\t}

\tchain a_empty {
\t}
}
`;
  const loaded = chainsOf(LISTING);

  test("are read from a listing, chain by chain", () => {
    expect([...loaded.keys()]).toEqual(["filter", "a_out", "a_empty"]);
    expect(loaded.get("a_out")).toEqual(["ip daddr 10.88.0.2 goto a_judged", "drop"]);
    expect(loaded.get("a_empty")).toEqual([]);
    expect(chainsOf("")).toEqual(new Map());
  });

  function compare(listing: string) {
    const { seen, verdict } = compareChains("the rules", ["a_out", "a_empty"], loaded, chainsOf(listing));
    return { seen, verdict };
  }

  test.each([
    ["the same", LISTING, "ok", "as loaded"],
    ["one gone", LISTING.replace("\t\tdrop\n", ""), "changed", 'a_out lacks "drop"'],
    ["one more", LISTING.replace("\t\tdrop\n", "\t\taccept\n\t\tdrop\n"), "changed", 'a_out has "accept"'],
    [
      "another order",
      LISTING.replace(
        "\t\tip daddr 10.88.0.2 goto a_judged\n\t\tdrop\n",
        "\t\tdrop\n\t\tip daddr 10.88.0.2 goto a_judged\n",
      ),
      "changed",
      "a_out is in another order",
    ],
    ["a chain gone", LISTING.replace("chain a_empty {\n\t}", ""), "changed", "no chain a_empty"],
    ["the table gone", "", "changed", "no chain a_out; no chain a_empty"],
  ] as const)("compared with those loaded: %s", (_, listing, verdict, seen) => {
    expect(compare(listing)).toEqual({ verdict, seen });
  });
});

function trial(): Trial {
  return {
    attempt: JUDGED,
    control: PASSES,
    sealed: true,
    closed: false,
    model: PASSES,
    seen: PASSES,
    counted: undefined,
  };
}
