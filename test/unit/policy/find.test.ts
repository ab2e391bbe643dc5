// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { type Choice, findFragment, type Seeker } from "../../../src/policy/find.ts";
import { Refusal } from "../../../src/refusal.ts";

const OWN = "/etc/authnft/users/alice";
const DEFAULT = "/etc/authnft/default";
const of = (group: string): string => `/etc/authnft/groups/${group}`;

const GROUPS = [
  { name: "staff", gid: 50 },
  { name: "devs", gid: 3000 },
  { name: "Ops", gid: 3001 },
];
const ALICE: Seeker = { name: "alice", gids: [1000, 3000, 50] };

function choice(...there: string[]): Choice {
  return { groups: GROUPS, exists: (path) => there.includes(path) };
}

function refusalOf(seeker: Seeker, from: Choice): Refusal {
  try {
    findFragment(seeker, from);
  } catch (error) {
    if (error instanceof Refusal) return error;
  }
  throw new Error("not refused");
}

describe("the fragment that holds", () => {
  test("is the user's own before all others, which are told", () => {
    expect(findFragment(ALICE, choice(OWN, DEFAULT))).toEqual({
      path: OWN,
      why: "it is alice's own",
      others: [of("devs"), of("staff"), DEFAULT],
    });
  });

  test("is that of the first group by name, of those that the user is in", () => {
    expect(findFragment(ALICE, choice(DEFAULT))).toEqual({
      path: of("devs"),
      why: "alice is in group devs, the first by name of devs, staff",
      others: [of("staff"), DEFAULT],
    });
    expect(findFragment({ ...ALICE, gids: [50] }, choice()).why).toBe("alice is in group staff");
    // Bytes decide, as in every locale.
    expect(findFragment({ ...ALICE, gids: [3000, 3001] }, choice()).path).toBe(of("Ops"));
  });

  test("is the default for whoever is in none of the groups", () => {
    expect(findFragment({ ...ALICE, gids: [1000] }, choice(DEFAULT)).path).toBe(DEFAULT);
  });
});

describe("there is none", () => {
  test("where nothing is for the user", () => {
    const refusal = refusalOf({ ...ALICE, gids: [1000] }, choice());
    expect(refusal.reason).toBe("missing");
    expect(refusal.message).toContain(
      `${OWN}: there is none, nor one in /etc/authnft/groups for a group of alice's`,
    );
  });

  test("that can be told, where it depends on groups that are too many to tell", () => {
    const lost = { name: "alice", gids: undefined };
    expect(refusalOf(lost, choice(DEFAULT)).reason).toBe("user");
    expect(findFragment(lost, choice(OWN)).path).toBe(OWN);
    expect(findFragment(lost, { groups: [], exists: (path) => path === DEFAULT }).path).toBe(DEFAULT);
  });
});
