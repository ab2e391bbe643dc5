// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import {
  cgroupPath,
  isLoginScope,
  parseScopeUnit,
  placeOfProcess,
  type ScopeUnit,
  scopeUnit,
  sessionId,
} from "../../../../src/subjects/session/scope_unit.ts";
import { parseUserName } from "../../../../src/subjects/session/user_name.ts";

const unit = (user: string, pid: number, attempt: number): ScopeUnit =>
  scopeUnit(parseUserName(user), pid, attempt);

test.each<[string, number, number, string]>([
  ["alice", 4711, 1, "authnft-alice-4711.scope"],
  ["alice", 4711, 2, "authnft-alice-4711-2.scope"],
  ["alice", 4711, 99, "authnft-alice-4711-99.scope"],
  ["a-b.c_d", 2, 1, "authnft-a-b.c_d-2.scope"],
  ["x".repeat(32), 4194304, 3, `authnft-${"x".repeat(32)}-4194304-3.scope`],
  ["x".repeat(160), 4194304, 99, `authnft-${"x".repeat(160)}-4194304-99.scope`],
  ["DOM\\dina", 4711, 2, "authnft-DOM\\x5cdina-4711-2.scope"],
  ["-rf", 12, 1, "authnft-\\x2drf-12.scope"],
  [
    "ü".repeat(128),
    4194304,
    99,
    `${`authnft-${"\\xc3\\xbc".repeat(16)}`.slice(0, -4)}\\_a5aa7de3af1582471f7b83bbccd73be7-4194304-99.scope`,
  ],
])("the scope of %s, process %j, attempt %j", (user, pid, attempt, name) => {
  const made = unit(user, pid, attempt);
  expect(made).toBe(name as ScopeUnit);
  expect(parseScopeUnit(made)).toBe(made);
  expect(cgroupPath(made, 1000)).toBe(`authnft.slice/${name}`);
  expect(isLoginScope(made)).toBe(false);
});

test.each(["session-3.scope", "session-c12.scope", "session-139.scope"])(
  "%s is a login session's",
  (text) => {
    const parsed = parseScopeUnit(text);
    expect(parsed).toBe(text as ScopeUnit);
    expect(isLoginScope(text as ScopeUnit)).toBe(true);
    expect(cgroupPath(text as ScopeUnit, 1000)).toBe(`user.slice/user-1000.slice/${text}`);
  },
);

test.each([
  "",
  "authnft-.scope",
  "authnft-alice.scope",
  "authnft-alice-.scope",
  "authnft-alice-0.scope",
  "authnft-alice-007.scope",
  "authnft-alice-12345678901.scope",
  "authnft-alice-x.scope",
  "authnft--12.scope",
  "authnft-.hidden-12.scope",
  "authnft-../../x-12.scope",
  "authnft-a/b-12.scope",
  "authnft-a b-12.scope",
  "authnft-alice-12.scope\n",
  " authnft-alice-12.scope",
  "authnft-alice-12.scope (deleted)",
  "authnft-alice-12.service",
  "authnft-alice-12.scope.scope",
  "Authnft-alice-12.scope",
  "session-.scope",
  "session-3.scope/x",
  "session-3-4.scope",
  "session-\n.scope",
  "Session-3.scope",
  `session-${"1".repeat(33)}.scope`,
  `authnft-${"x".repeat(161)}-12.scope`,
  `authnft-${"\\x20".repeat(41)}-12.scope`,
  "authnft-DOM\\dina-12.scope",
  "authnft-DOM\\x5-12.scope",
  "authnft-DOM\\x5C-12.scope",
  "authnft-a-b\\x5c-12.scope",
  "authnft-a\\_abc-12.scope",
  "authnft-a@b-12.scope",
  "authnft-ü-12.scope",
])("%j is no scope of ours", (text) => {
  expect(parseScopeUnit(text)).toBeUndefined();
});

const nameOf = (made: ScopeUnit): string => sessionId({ scope_unit: made, user: "from-record", pid: 99 });

describe("objects in the ruleset", () => {
  test("of a login session's scope are called after the user and the process in its record", () => {
    expect(nameOf("session-3.scope" as ScopeUnit)).toBe("session_from-record_99");
    const session = { scope_unit: "session-3.scope" as ScopeUnit, user: 'a"; flush ruleset; #', pid: 99 };
    expect(String(sessionId(session))).toBe("session_a/x22/x3b/x20flush/x20ruleset/x3b/x20/x23_99");
  });

  test.each<[string, number, string]>([
    ["alice", 4711, "alice_4711"],
    ["a-b.c_d", 12, "a-b.c_d_12"],
    ["svc-1", 340, "svc-1_340"],
    ["x".repeat(32), 4194304, `${"x".repeat(32)}_4194304`],
    ["DOM\\dina", 12, "DOM/x5cdina_12"],
    ["DOM\\al-ice", 12, "DOM/x5cal/x2dice_12"],
  ])("are called after user %s and process %j", (user, pid, stem) => {
    expect(nameOf(unit(user, pid, 1))).toBe(`session_${stem}`);
  });

  test("two scopes never share a name there", () => {
    const users = [
      "a",
      "a-1",
      "a-1-2",
      "a_1",
      "a_1_2",
      "a-",
      "a-2",
      `${"x".repeat(30)}`,
      `${"x".repeat(30)}-3`,
      "a@1",
      "a\\x401",
      "a 1",
      "a-1 2",
      "ü".repeat(128),
      "ü".repeat(127),
    ];
    const units = new Set<ScopeUnit>();
    for (const user of users)
      for (const pid of [1, 2, 3, 12, 23, 1234])
        for (const attempt of [1, 2, 3, 12, 99]) units.add(unit(user, pid, attempt));
    expect(new Set([...units].map(nameOf)).size).toBe(units.size);
  });

  // Unit names alone do not tell "alice-12" in process 34 from "alice" in process 12 at the 34th attempt: the name on disk
  // is what keeps them apart.
  test("one name may belong to two users, and stays one name", () => {
    expect(unit("alice-12", 34, 1)).toBe(unit("alice", 12, 34));
  });

  test.each([
    unit("x".repeat(32), 4194304, 99),
    unit("alice", 1, 1),
    unit("x".repeat(160), 4194304, 99),
    unit("ü".repeat(128), 4194304, 99),
    unit(" ".repeat(40), 4194304, 99),
  ])(
    "an object of a fragment's called after %s has a name that nftables takes, and its unit one that systemd does",
    (made) => {
      expect(`${nameOf(made)}_${"o".repeat(63)}`).toMatch(/^[A-Za-z][A-Za-z0-9/_.-]{0,254}$/);
      expect(`authnft-end@${made}.service`).toMatch(/^[A-Za-z0-9:_.\\@-]{1,255}$/);
    },
  );
});

describe("the scope that a process is in", () => {
  test.each<[string, string]>([
    ["0::/authnft.slice/authnft-alice-12.scope\n", "authnft-alice-12.scope"],
    ["0::/authnft.slice/authnft-alice-12.scope", "authnft-alice-12.scope"],
    ["0::/authnft.slice/authnft-alice-12.scope/below/it\n", "authnft-alice-12.scope"],
    ["12:cpu:/\n1:name=systemd:/x\n0::/authnft.slice/authnft-a-1-2.scope\n", "authnft-a-1-2.scope"],
    [
      "4:net_cls:/authnft.slice/authnft-eve-1.scope\n0::/authnft.slice/authnft-a-1.scope\n",
      "authnft-a-1.scope",
    ],
  ])("%j", (text, name) => {
    expect(placeOfProcess(text)).toEqual({ unit: name as ScopeUnit, uid: undefined });
  });

  test.each<[string, string, number]>([
    ["0::/user.slice/user-1000.slice/session-3.scope\n", "session-3.scope", 1000],
    ["1:cpu:/\n0::/user.slice/user-0.slice/session-c1.scope/deeper\n", "session-c1.scope", 0],
  ])("%j, with its user", (text, name, uid) => {
    expect(placeOfProcess(text)).toEqual({ unit: name as ScopeUnit, uid });
  });

  test.each([
    "",
    "\n",
    "0::/",
    "0::/authnft.slice",
    "0::/authnft.slice/",
    "0::/authnft.slice/run-authnft-refused.mount",
    "0::/authnft.slice/authnft-alice-12.scope (deleted)\n",
    "0::/user.slice/authnft-alice-12.scope",
    "0::/authnft.slice/session-3.scope",
    "0::/user.slice/session-3.scope",
    "0::/user.slice/user-1000.slice/authnft-alice-12.scope",
    "0::/user.slice/user-01.slice/session-3.scope",
    "0::/user.slice/user-1000.slice/user@1000.service/session-3.scope",
    "0::/system.slice/user-1000.slice/session-3.scope",
    "0::/user.slice/authnft.slice/authnft-alice-12.scope",
    "0::/system.slice/authnft.slice",
    "0::/../authnft.slice/authnft-alice-12.scope",
    "0::authnft.slice/authnft-alice-12.scope",
    "10::/authnft.slice/authnft-alice-12.scope",
    "4:net_cls:/authnft.slice/authnft-alice-12.scope\n0::/user.slice\n",
    "4:net_cls:/x\n 0::/authnft.slice/authnft-alice-12.scope\n",
  ])("none in %j", (text) => {
    expect(placeOfProcess(text)).toBeUndefined();
  });
});

test("a process's first scope has no number, so 1 is none", () => {
  const id = (scope_unit: string) => sessionId({ scope_unit: scope_unit as ScopeUnit, user: "", pid: 9 });
  expect<string>(id("authnft-alice-4711-2.scope")).toBe("session_alice_4711-2");
  // Of this one the user is called alice-4711, and the process has the number 1.
  expect<string>(id("authnft-alice-4711-1.scope")).toBe("session_alice-4711_1");
});

test("the hierarchy of version 2 is the one with no name, wherever its line stands", () => {
  const place = "0::/authnft.slice/authnft-alice-4711.scope";
  expect(placeOfProcess(`1:name=systemd:/\n${place}\n`)?.unit).toBe("authnft-alice-4711.scope" as ScopeUnit);
  expect(placeOfProcess(`0:cpu:/x\n${place}\n`)?.unit).toBe("authnft-alice-4711.scope" as ScopeUnit);
});
