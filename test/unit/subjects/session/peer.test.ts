// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import type { Address } from "../../../../src/address.ts";
import { Refusal } from "../../../../src/refusal.ts";
import { choosePeer } from "../../../../src/subjects/session/peer.ts";

const unasked = (): never => {
  throw new Error("the kernel was asked");
};

describe.each(["lax", "strict"] as const)("%s", (policy) => {
  test.each<[string, string]>([
    ["192.0.2.7", "192.0.2.7"],
    ["::ffff:192.0.2.7", "192.0.2.7"],
    ["fe80::1%eth0", "fe80::1"],
  ])("takes %s and asks nobody", (rhost, address) => {
    expect(choosePeer(policy, rhost, unasked)).toEqual({ address: address as Address, note: undefined });
  });
});

test.each(["", "client.example.org", "192.0.2.07", "[::1]"])(
  "lax makes do without an address: %j",
  (rhost) => {
    expect(choosePeer("lax", rhost, unasked)).toEqual({ address: undefined, note: undefined });
  },
);

test.each(["", "client.example.org", "192.0.2.7:22", "x".repeat(200)])(
  "strict refuses without one: %j",
  (rhost) => {
    try {
      choosePeer("strict", rhost, unasked);
      throw new Error("not refused");
    } catch (error) {
      expect(error).toBeInstanceOf(Refusal);
      expect((error as Refusal).reason).toBe("address");
      expect((error as Refusal).message).toContain(JSON.stringify(rhost.slice(0, 80)));
      expect((error as Refusal).message.length).toBeLessThan(300);
    }
  },
);

describe("kernel", () => {
  test.each<[string, string, string[], string | undefined, RegExp | undefined]>([
    ["agrees with PAM_RHOST", "192.0.2.7", ["192.0.2.7"], "192.0.2.7", undefined],
    ["agrees in another spelling", "192.0.2.7", ["0:0:0:0:0:ffff:c000:207"], "192.0.2.7", undefined],
    ["knows where PAM_RHOST is a name", "client.example.org", ["192.0.2.7"], "192.0.2.7", /says "client/],
    ["knows where PAM_RHOST is empty", "", ["2001:db8:0:0:0:0:0:7"], "2001:db8::7", /says ""/],
    [
      "wins over another address",
      "203.0.113.9",
      ["192.0.2.7"],
      "192.0.2.7",
      /comes from 192\.0\.2\.7, which is taken$/,
    ],
    ["wins over the other family", "::1", ["192.0.2.7"], "192.0.2.7", /comes from 192/],
    ["has no answer", "192.0.2.7", [], "192.0.2.7", /no connection of its own/],
    ["has no answer and PAM_RHOST neither", "tty1", [], undefined, /no connection of its own/],
    [
      "has no address among its answers",
      "192.0.2.7",
      ["nonsense", ""],
      "192.0.2.7",
      /no connection of its own/,
    ],
    [
      "has two answers, one of them PAM_RHOST",
      "192.0.2.7",
      ["192.0.2.9", "192.0.2.7"],
      "192.0.2.7",
      undefined,
    ],
    [
      "has two answers, none PAM_RHOST",
      "192.0.2.1",
      ["192.0.2.9", "192.0.2.7"],
      "192.0.2.1",
      /several connections/,
    ],
    ["has two answers and no PAM_RHOST", "", ["192.0.2.9", "192.0.2.7"], undefined, /several connections/],
    ["has one answer twice", "", ["192.0.2.7", "::ffff:192.0.2.7"], "192.0.2.7", /says ""/],
    ["shortens what it quotes", "x".repeat(4000), ["192.0.2.7"], "192.0.2.7", /^.{0,200}$/],
  ])("the kernel %s", (_, rhost, peers, address, note) => {
    const peer = choosePeer("kernel", rhost, () => peers);
    expect(peer.address).toBe(address as Address);
    if (note === undefined) expect(peer.note).toBeUndefined();
    else expect(peer.note).toMatch(note);
  });

  test("the kernel is asked once", () => {
    let asked = 0;
    choosePeer("kernel", "", () => {
      asked++;
      return [];
    });
    expect(asked).toBe(1);
  });
});
