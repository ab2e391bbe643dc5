// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import { elsewhereIn, elsewhereWord, refusalFor } from "../../../../src/subjects/session/elsewhere.ts";

test("what the entry says of a process is read among other words, and nothing that every object has", () => {
  for (const place of ["network", "users", "processes"] as const) {
    expect(elsewhereIn(["session", elsewhereWord(place)])).toBe(place);
    expect(refusalFor(place)).toMatchObject({
      reason: "namespace",
      message: expect.stringContaining("namespace"),
    });
  }
  for (const word of ["elsewhere=toString", "elsewhere=", "network", "elsewhere=network "])
    expect(elsewhereIn([word])).toBeUndefined();
});
