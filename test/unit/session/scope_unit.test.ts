// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import {
  cgroupPath,
  objectStem,
  parseScopeUnit,
  type ScopeUnit,
  scopeOfProcess,
  scopeUnit,
} from "../../../src/session/scope_unit.ts";
import { parseUserName } from "../../../src/session/user_name.ts";

const unit = (user: string, pid: number, attempt: number): ScopeUnit =>
  scopeUnit(parseUserName(user), pid, attempt);

test.each<[string, number, number, string]>([
  ["alice", 4711, 1, "authnft-alice-4711.scope"],
  ["alice", 4711, 2, "authnft-alice-4711-2.scope"],
  ["alice", 4711, 99, "authnft-alice-4711-99.scope"],
  ["a-b.c_d", 2, 1, "authnft-a-b.c_d-2.scope"],
  ["x".repeat(32), 4194304, 3, `authnft-${"x".repeat(32)}-4194304-3.scope`],
])("the scope of %s, process %j, attempt %j", (user, pid, attempt, name) => {
  const made = unit(user, pid, attempt);
  expect(made).toBe(name as ScopeUnit);
  expect(parseScopeUnit(made)).toBe(made);
  expect(cgroupPath(made)).toBe(`authnft.slice/${name}`);
});

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
  "session-3.scope",
  `authnft-${"x".repeat(33)}-12.scope`,
  `authnft-${"x".repeat(200)}-12.scope`,
])("%j is no scope of ours", (text) => {
  expect(parseScopeUnit(text)).toBeUndefined();
});

describe("objects in the ruleset", () => {
  test.each<[string, number, string]>([
    ["alice", 4711, "alice_4711"],
    ["a-b.c_d", 12, "a-b.c_d_12"],
    ["svc-1", 340, "svc-1_340"],
    ["x".repeat(32), 4194304, `${"x".repeat(32)}_4194304`],
  ])("are called after user %s and process %j", (user, pid, stem) => {
    expect(objectStem(unit(user, pid, 1))).toBe(stem);
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
    ];
    const units = new Set<ScopeUnit>();
    for (const user of users)
      for (const pid of [1, 2, 3, 12, 23, 1234])
        for (const attempt of [1, 2, 3, 12, 99]) units.add(unit(user, pid, attempt));
    expect(new Set([...units].map(objectStem)).size).toBe(units.size);
  });

  // Unit names alone do not tell "alice-12" in process 34 from "alice" in process 12 at the 34th attempt: the name on disk
  // is what keeps them apart.
  test("one name may belong to two users, and stays one name", () => {
    expect(unit("alice-12", 34, 1)).toBe(unit("alice", 12, 34));
  });

  test.each([[unit("x".repeat(32), 4194304, 99)], [unit("alice", 1, 1)]])(
    "a chain called after %s has a name that nftables takes",
    (made) => {
      expect(`session_${objectStem(made)}_judged`).toMatch(/^[A-Za-z_][A-Za-z0-9_.-]{0,126}$/);
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
    expect(scopeOfProcess(text)).toBe(name as ScopeUnit);
  });

  test.each([
    "",
    "\n",
    "0::/",
    "0::/authnft.slice",
    "0::/authnft.slice/",
    "0::/authnft.slice/refused",
    "0::/authnft.slice/authnft-alice-12.scope (deleted)\n",
    "0::/user.slice/authnft-alice-12.scope",
    "0::/user.slice/authnft.slice/authnft-alice-12.scope",
    "0::/system.slice/authnft.slice",
    "0::/../authnft.slice/authnft-alice-12.scope",
    "0::authnft.slice/authnft-alice-12.scope",
    "10::/authnft.slice/authnft-alice-12.scope",
    "4:net_cls:/authnft.slice/authnft-alice-12.scope\n0::/user.slice\n",
    "4:net_cls:/x\n 0::/authnft.slice/authnft-alice-12.scope\n",
  ])("none in %j", (text) => {
    expect(scopeOfProcess(text)).toBeUndefined();
  });
});
