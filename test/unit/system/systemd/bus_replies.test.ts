// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import {
  addressEntries,
  BusError,
  isSignal,
  JobEnds,
  objectPath,
  propertyValue,
} from "../../../../src/system/systemd/bus_replies.ts";

const SIGNAL = {
  destination: "org.freedesktop.systemd1",
  path: "/org/freedesktop/systemd1",
  interface: "org.freedesktop.systemd1.Manager",
  member: "JobRemoved",
};
const { destination: _, ...broadcast } = SIGNAL;
const JOB = "/org/freedesktop/systemd1/job/7";

describe("isSignal", () => {
  test("takes what the bus hands to all who asked for it", () => {
    expect(isSignal(broadcast, SIGNAL)).toBe(true);
  });

  // Any user can send the same to the helper's own name on the bus, and no match rule is asked for that.
  test("takes nothing that was sent to us alone", () => {
    expect(isSignal({ ...broadcast, destination: ":1.42" }, SIGNAL)).toBe(false);
  });

  test.each(["path", "interface", "member"])("takes nothing of another %s", (name) => {
    expect(isSignal({ ...broadcast, [name]: "/other" }, SIGNAL)).toBe(false);
    expect(isSignal({ ...broadcast, [name]: undefined }, SIGNAL)).toBe(false);
  });
});

describe("an answer of the wrong kind is an error of the bus, and no bug", () => {
  const wrong: readonly (readonly unknown[])[] = [
    [],
    [null],
    [7],
    [{}],
    [[]],
    [""],
    ["/"],
    ["job/7"],
    ["/a b"],
    ["/a/"],
  ];

  test.each(wrong)("%j is no object", (...body) => {
    expect(() => objectPath(body, "StartUnit")).toThrow(BusError);
  });

  test("a job is", () => {
    expect(objectPath([JOB], "StartUnit")).toBe(JOB);
  });

  test.each(wrong)("%j is no property", (...body) => {
    expect(() => propertyValue(body, "IPAddressAllow")).toThrow(BusError);
  });

  test("a variant is", () => {
    expect(propertyValue([{ value: [] }], "IPAddressAllow")).toEqual([]);
  });
});

describe("JobEnds", () => {
  const result = async (end: Promise<string>): Promise<string> =>
    Promise.race([end, Promise.resolve("waiting")]);

  test("tells an end that came before the answer, and one that comes after", async () => {
    const ends = new JobEnds();
    ends.removed([7, JOB, "x.scope", "done"]);
    expect(await result(ends.of(JOB))).toBe("done");
    const other = ends.of("/org/freedesktop/systemd1/job/8");
    expect(await result(other)).toBe("waiting");
    ends.removed([8, "/org/freedesktop/systemd1/job/8", "y.scope", "failed"]);
    expect(await result(other)).toBe("failed");
  });

  test("tells no other job's end, and the first word on a job holds", async () => {
    const ends = new JobEnds();
    const end = ends.of(JOB);
    ends.removed([9, "/org/freedesktop/systemd1/job/9", "z.scope", "failed"]);
    expect(await result(end)).toBe("waiting");
    ends.removed([7, JOB, "x.scope", "done"]);
    ends.removed([7, JOB, "x.scope", "failed"]);
    expect(await result(end)).toBe("done");
  });

  test.each<[string, readonly unknown[]]>([
    ["nothing", []],
    ["no result", [7, JOB, "x.scope"]],
    ["a number for a result", [7, JOB, "x.scope", 0]],
    ["a list for a job", [7, [JOB], "x.scope", "done"]],
  ])("takes %s for no end", async (_, body) => {
    const ends = new JobEnds();
    const end = ends.of(JOB);
    ends.removed(body);
    expect(await result(end)).toBe("waiting");
  });
});

describe("a list of addresses", () => {
  const V4 = [2, new Uint8Array([192, 0, 2, 0]), 24];
  const V6 = [10, new Uint8Array(16), 0];
  const of = (value: unknown) => () => addressEntries([{ value }], "IPAddressDeny");

  test("is taken as it is", () => {
    expect<unknown>(of([])()).toEqual([]);
    expect<unknown>(of([V4, V6])()).toEqual([V4, V6]);
  });

  test.each<unknown>([
    "any",
    [V4, null],
    [[2, [192, 0, 2, 0], 24]],
    [[3, new Uint8Array(4), 24]],
    [[2, new Uint8Array(16), 24]],
    [[10, new Uint8Array(4), 24]],
    [[2, new Uint8Array(4), 33]],
    [[2, new Uint8Array(4), -1]],
    [[2, new Uint8Array(4), 1.5]],
    [[2, new Uint8Array(4)]],
  ])("is not believed: %j", (value) => {
    expect(of(value)).toThrow("the answer about IPAddressDeny is no list of addresses");
  });
});
