// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { severalNames, sourcesOf } from "../../../../src/cli/doctor/names.ts";

test("several names of a uid are found, a name twice and those of uid 0 are not", () => {
  const user = (name: string, uid: number) => ({ name, uid, gid: 100 });
  expect(
    severalNames([
      user("root", 0),
      user("toor", 0),
      user("b", 1000),
      user("c", 1001),
      user("a", 1000),
      user("b", 1000),
      user("c", 1001),
    ]),
  ).toEqual([[user("a", 1000), user("b", 1000)]]);
});

describe("the sources of a database", () => {
  test.each([
    ["passwd: files sss # and no more", ["files", "sss"]],
    ["passwd:\tfiles [SUCCESS=merge NOTFOUND=continue] ldap", ["files", "ldap"]],
    ["passwd: files", []],
    ["group: files sss", []],
    ["", []],
  ])("of %j are %j: one alone hides nobody", (text, sources) => {
    expect(sourcesOf("passwd", text)).toEqual(sources);
  });
});
