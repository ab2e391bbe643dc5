// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import {
  addShared,
  asksForSubject,
  jumpsTo,
  sharedIn,
  sharedOf,
  sharingAt,
} from "../../../src/ruleset/shared_policy.ts";

const NAME = "policy_0123456789abcdef";

test("its two chains go back to accept; from elsewhere the subject is looked up, at its level", () => {
  expect(sharingAt(2)).toEqual({ accept: "return", acceptCalled: "goto accepted_2" });
  expect(sharingAt(3)).toEqual({ accept: "return", acceptCalled: "goto accepted_3" });
});

test("it is loaded chains first, then objects, then rules, and each line tells its part", () => {
  const { lines, sources } = addShared({
    name: NAME,
    parts: [
      { kind: "rule", chain: "out", body: "drop" },
      { kind: "set", name: "s", definition: "{ type ipv4_addr; }" },
    ],
  });
  expect(lines.map((line) => line.split(" ").slice(0, 2).join(" "))).toEqual([
    "create chain",
    "create chain",
    "create set",
    "add rule",
  ]);
  expect(sources).toEqual([undefined, undefined, 1, 0]);
});

test("only one that accepts from elsewhere than its two chains asks for the subject", () => {
  const asks = (body: string) =>
    asksForSubject({ name: NAME, parts: [{ kind: "rule", chain: "web", body }] });
  expect(asks("tcp dport 80 goto accepted_2")).toBe(true);
  expect(asks("tcp dport 80 return")).toBe(false);
});

test("it is found again in the rules of its subject, and by the names of what is its own", () => {
  const lines = jumpsTo(NAME, "/etc/authnft/users/alice").map((part) =>
    part.kind === "rule" ? `add rule inet authnft session_alice_1_${part.chain} ${part.body}` : "",
  );
  expect(sharedIn(lines)).toBe(NAME);
  expect(sharedIn(["add rule inet authnft session_alice_1_in drop"])).toBeUndefined();
  expect(sharedOf(`${NAME}_in`)).toBe(NAME);
  // A digit less is another's name.
  expect(sharedOf(`${NAME.slice(0, -1)}_in`)).toBeUndefined();
});
