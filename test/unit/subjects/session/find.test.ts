// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { Refusal } from "../../../../src/refusal.ts";
import { findFragment, type Seeker } from "../../../../src/subjects/session/find.ts";

const OWN = "/etc/authnft/users/alice";
const DEFAULT = "/etc/authnft/default";
const of = (group: string): string => `/etc/authnft/groups/${group}`;

const ALICE: Seeker = { name: "alice", groups: ["staff", "devs"] };

/** What is there, as a look-up. */
function files(...there: string[]): (path: string) => boolean {
  return (path) => there.includes(path);
}

function refusalOf(seeker: Seeker, exists: (path: string) => boolean): Refusal {
  try {
    findFragment(seeker, exists);
  } catch (error) {
    if (error instanceof Refusal) return error;
  }
  throw new Error("not refused");
}

describe("the fragment that holds", () => {
  test("is the user's own before all others, which are told", () => {
    expect(findFragment(ALICE, files(OWN, DEFAULT))).toEqual({
      path: OWN,
      why: "it is alice's own",
      others: [of("devs"), of("staff"), DEFAULT],
    });
  });

  test("is that of the first group by name, of those that the user is in", () => {
    expect(findFragment(ALICE, files(DEFAULT))).toEqual({
      path: of("devs"),
      why: "alice is in group devs, the first by name of devs, staff",
      others: [of("staff"), DEFAULT],
    });
    expect(findFragment({ ...ALICE, groups: ["staff"] }, files()).why).toBe("alice is in group staff");
    // Bytes decide, as in every locale.
    expect(findFragment({ ...ALICE, groups: ["devs", "Ops"] }, files()).path).toBe(of("Ops"));
  });

  test("is in a file of their escaped names, and said by their own", () => {
    const own = "/etc/authnft/users/DOM\\x5cdina";
    const dina: Seeker = { name: "DOM\\dina", groups: ["domain\\x20users", "b\\xc3\\xbcro"] };
    expect(findFragment(dina, files(own)).path).toBe(own);
    expect(findFragment(dina, files("/etc/authnft/users/DOM\\dina"))).toEqual({
      path: of("b\\xc3\\xbcro"),
      why: "DOM\\dina is in group büro, the first by name of büro, domain users",
      others: [of("domain\\x20users")],
    });
    expect(refusalOf({ ...dina, groups: [] }, files()).message).toContain(
      `write '${own}', or another of them`,
    );
  });

  test("is the default for whoever is in none of the groups", () => {
    expect(findFragment({ ...ALICE, groups: [] }, files(DEFAULT)).path).toBe(DEFAULT);
  });
});

describe("there is none", () => {
  test("where nothing is for the user", () => {
    const refusal = refusalOf({ ...ALICE, groups: [] }, files());
    expect(refusal.reason).toBe("missing");
    expect(refusal.message).toContain(
      `${OWN}: there is none, nor one in /etc/authnft/groups for a group of alice's`,
    );
  });

  test("that can be told, where it depends on groups that the name service does not tell", () => {
    const lost = { name: "alice", groups: undefined };
    expect(refusalOf(lost, files(DEFAULT)).reason).toBe("user");
    expect(findFragment(lost, files(OWN)).path).toBe(OWN);
  });
});
