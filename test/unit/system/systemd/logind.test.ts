// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { BusError } from "../../../../src/system/systemd/bus.ts";
import { parseSession } from "../../../../src/system/systemd/logind.ts";

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
    expect(parseSession([whole])).toEqual({
      id: "c1",
      leader: 4711,
      uid: 1000,
      scope: "session-c1.scope",
      service: "sshd",
      type: "tty",
      class: "user",
    });
  });

  test("takes a session without words on its kind, or with something else for them", () => {
    const { Service: _service, Type: _type, Class: _class, ...bare } = whole;
    expect(parseSession([bare])).toMatchObject({ id: "c1", service: "", type: "", class: "" });
    expect(parseSession([{ ...whole, Service: { value: { toString: 1 } } }])).toMatchObject({ service: "" });
  });

  test.each(["Id", "Leader", "User", "Scope"])("takes none without %s", (name) => {
    expect(() => parseSession([{ ...whole, [name]: { value: {} } }])).toThrow(BusError);
    const { [name]: _, ...rest } = whole as Record<string, { value: unknown }>;
    expect(() => parseSession([rest])).toThrow(BusError);
  });

  test.each<[string, readonly unknown[]]>([
    ["nothing", []],
    ["null", [null]],
    ["a text", ["x"]],
    ["a list", [[whole]]],
    ["a property that is no value", [{ ...whole, Id: "c1" }]],
    ["a leader below nought", [{ ...whole, Leader: { value: -1 } }]],
    ["half a leader", [{ ...whole, Leader: { value: 1.5 } }]],
    ["a user beyond 32 bits", [{ ...whole, User: { value: [2 ** 32, "/"] } }]],
  ])("takes none from an answer of %s", (_, body) => {
    expect(() => parseSession(body)).toThrow(BusError);
  });
});
