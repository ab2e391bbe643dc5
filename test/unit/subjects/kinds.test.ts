// SPDX-License-Identifier: GPL-2.0-or-later

// What each kind of subject answers for itself.

import { describe, expect, test } from "bun:test";
import { parseRecord, type SessionRecord } from "../../../src/subjects/session/record.ts";
import { SESSION_KIND } from "../../../src/subjects/session/session.ts";
import { SLICE_KIND, sliceId, uidOfSlice } from "../../../src/subjects/slice/slice.ts";

function record(change: Partial<SessionRecord> = {}): SessionRecord {
  const read = parseRecord(
    JSON.stringify({
      v: 2,
      user: "alice",
      uid: 1000,
      scope_unit: "authnft-alice-4711.scope",
      cg_path: "authnft.slice/authnft-alice-4711.scope",
      cg_id: 27711,
      remote_ip: "192.0.2.7",
      fragment: "/etc/authnft/users/alice",
      claims_tag: "",
      correlation: "x",
      service: "sshd",
      tty: "ssh",
      pid: 4711,
      opened_at: "2025-11-22T01:38:00Z",
      state: "open",
      ...change,
    }),
  );
  if (read === undefined) throw new Error("it is no record");
  return read;
}

test("a session has ended when its cgroup is gone, or another has its path", () => {
  expect(SESSION_KIND.hasEnded(record(), 27711n)).toBe(false);
  expect(SESSION_KIND.hasEnded(record(), 27712n)).toBe(true);
  expect(SESSION_KIND.hasEnded(record(), undefined)).toBe(true);
});

describe("a member's slice", () => {
  const slice = (...open: SessionRecord[]) => SLICE_KIND.plan({ name: "alice", uid: 1000, open });

  test("has ended when its cgroup is gone; with another of that path it is the member's again", () => {
    const known = { name: "alice", uid: 1000, open: [] };
    expect(SLICE_KIND.hasEnded(known, undefined)).toBe(true);
    expect(SLICE_KIND.hasEnded(known, 5n)).toBe(false);
  });

  test("is closed without an open session, and has the newest's fragment with one", () => {
    expect(slice()).toMatchObject({ state: "lingering", policy: { fragment: "" }, addresses: [] });
    const older = record({ sequence: 1, fragment: "/etc/authnft/default" });
    expect(slice(record({ sequence: 2 }), older)).toMatchObject({
      state: "open",
      policy: { fragment: "/etc/authnft/users/alice" },
    });
  });

  test("is listed with each peer once, and with none that is no address", () => {
    const peers = ["192.0.2.7", "192.0.2.7", "host.example", "2001:db8::7"];
    expect(slice(...peers.map((remote_ip) => record({ remote_ip }))).addresses as readonly string[]).toEqual([
      "192.0.2.7",
      "2001:db8::7",
    ]);
  });

  test("is called by its uid, as numbers are written", () => {
    expect(uidOfSlice(sliceId(0))).toBe(0);
    expect(uidOfSlice(sliceId(4_294_967_294))).toBe(4_294_967_294);
    for (const name of ["cover_01", "cover_", "cover_x", "xcover_1", "cover_1_in"])
      expect(uidOfSlice(name)).toBeUndefined();
  });
});
