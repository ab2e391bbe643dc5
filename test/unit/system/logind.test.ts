// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { BusError } from "../../../src/system/bus.ts";
import { parseSession } from "../../../src/system/logind.ts";

const whole = {
  Id: { value: "c1" },
  Leader: { value: 4711 },
  User: { value: [1000, "/org/freedesktop/login1/user/_1000"] },
  Scope: { value: "session-c1.scope" },
  Service: { value: "sshd" },
  Type: { value: "tty" },
  Class: { value: "user" },
  Remote: { value: true },
};

describe("parseSession", () => {
  test("reads what logind says of a session", () => {
    expect(parseSession(whole)).toEqual({
      id: "c1",
      leader: 4711,
      uid: 1000,
      scope: "session-c1.scope",
      service: "sshd",
      type: "tty",
      class: "user",
    });
  });

  test("takes a session without words on its kind", () => {
    const { Service: _service, Type: _type, Class: _class, ...bare } = whole;
    expect(parseSession(bare)).toMatchObject({ id: "c1", service: "", type: "", class: "" });
  });

  test.each(["Id", "Leader", "User", "Scope"])("takes none without %s", (name) => {
    expect(() => parseSession({ ...whole, [name]: { value: {} } })).toThrow(BusError);
    const { [name]: _, ...rest } = whole as Record<string, { value: unknown }>;
    expect(() => parseSession(rest)).toThrow(BusError);
  });
});
