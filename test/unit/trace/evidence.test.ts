// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { RULES } from "../../../src/confine/allowlist.ts";
import { type Rule, ruleName, ruleOf } from "../../../src/system/kernel/seccomp_rule.ts";
import { compare, describe as describeCall, Evidence, isTelling } from "../../../src/trace/evidence.ts";

const SELF = 4711;
const EVERYWHERE = (): boolean => true;
const NOTHING = { text: () => undefined, bytes: () => undefined };

/** One call of each kind that the list lets through, as it would be seen. */
const WHOLE = RULES.map((rule) => ({ call: rule.call, what: "", rule: ruleName(rule) }));

function judged(call: string, ...args: number[]): string | undefined {
  const rule = ruleOf(RULES, call, args.map(BigInt), SELF);
  return rule && `${rule.errno === undefined ? "may" : `errno ${rule.errno}`}: ${ruleName(rule)}`;
}

describe("the list", () => {
  test("has no rule twice, and none that lets a call through whatever it does", () => {
    const names = RULES.map(ruleName);
    expect(names.length).toBe(new Set(names).size);
    expect(compare(RULES, [], EVERYWHERE).wide).toEqual([]);
  });

  test.each([
    ["socket", [1, 0x80002, 0], "may: socket AF_UNIX"],
    ["socket", [16, 3, 12], "may: socket AF_NETLINK, NETLINK_NETFILTER"],
    ["socket", [16, 3, 15], undefined], // events of devices
    ["socket", [2, 1, 0], "errno 97: socket AF_INET"],
    ["socket", [17, 3, 0], undefined], // packets
    ["clone", [0x3d0f00], "may: clone a thread"],
    ["clone", [0x3d0f00 | 0x1000_0000], undefined], // and a user namespace
    ["clone", [17], undefined], // a process
    ["mmap", [0, 4096, 3, 0x22], "may: mmap not executable"],
    ["mmap", [0, 4096, 5, 2], "errno 13: mmap executable"],
    ["mprotect", [0, 4096, 3], "may: mprotect not executable"],
    ["mprotect", [0, 4096, 5], undefined],
    ["tgkill", [SELF, SELF + 1, 10], "may: tgkill itself"],
    ["tgkill", [1, 1, 9], undefined],
    ["prlimit64", [0, 3, 0, 0x7fff_0000], "may: prlimit64 itself, to read"],
    ["prlimit64", [0, 3, 0x7fff_0000, 0], undefined],
    ["ioctl", [0, 0x5412], undefined], // puts words into a terminal's mouth
    ["prctl", [15], "may: prctl PR_SET_NAME"],
    ["prctl", [4], undefined], // dumpable again
    ["execve", [], undefined],
    ["ptrace", [], undefined],
    ["unshare", [], undefined],
    ["kill", [SELF], undefined],
  ] as const)("%s %j: %s", (call, args, expected) => {
    expect(judged(call, ...args)).toBe(expected as string | undefined);
  });

  test("of an int only the bits that the kernel looks at count", () => {
    expect(ruleOf(RULES, "socket", [0xffff_ffff_0000_0001n, 2n, 0n], SELF)?.named).toBe("AF_UNIX");
  });
});

describe("compare", () => {
  test("a list under which everything was seen: no difference", () => {
    expect(compare(RULES, WHOLE, EVERYWHERE)).toEqual({ missing: [], unused: [], wide: [], kept: [] });
  });

  test("a list with one call taken out: it is missing", () => {
    const without = RULES.filter(({ call }) => call !== "rename");
    const evidence = new Evidence();
    const seen = { call: "rename", args: [1n, 2n], self: SELF };
    expect(evidence.record(without, "open", seen, { ...NOTHING, text: () => "/run/x" })).toBeUndefined();
    expect(compare(without, evidence.kinds, EVERYWHERE).missing).toEqual(["rename /run/x /run/x"]);
    const again = new Evidence();
    again.record(RULES, "open", seen, NOTHING);
    expect(compare(RULES, again.kinds, EVERYWHERE).missing).toEqual([]);
  });

  test("a call that nobody made is unused, unless it has a reason or this machine does not have it", () => {
    const more: Rule[] = [
      { call: "mount", when: [] },
      { call: "nanosleep", when: [], named: "again", reason: "it may be" },
    ];
    const { unused, kept } = compare([...RULES, ...more], WHOLE, EVERYWHERE);
    expect(unused).toEqual(["mount"]);
    expect(kept).toEqual([{ rule: "nanosleep again", reason: "it may be" }]);
    expect(compare([...RULES, ...more], WHOLE, (call) => call !== "mount").unused).toEqual([]);
  });

  test("a call that is let through whatever its arguments say is wide", () => {
    expect(compare([{ call: "ioctl", when: [] }], [], EVERYWHERE).wide).toEqual(["ioctl"]);
    expect(compare([{ call: "read", when: [] }], [], EVERYWHERE).wide).toEqual([]);
    expect([isTelling("socket"), isTelling("close")]).toEqual([true, false]);
  });
});

test.each([
  ["openat", [0n, 1n, 0o2000000n], "/proc/4711/stat", "/proc/N/stat RDONLY|CLOEXEC"],
  ["openat", [0n, 1n, 0o301n], "/run/a.4711.tmp", "/run/a.N.tmp WRONLY|CREAT|EXCL"],
  ["openat", [0n, 1n, 0n], "/lib/x86_64-linux-gnu/tls/libnss_db.so.2", "/usr/lib/*/libnss_db.so.2 RDONLY"],
  ["newfstatat", [0n, 1n], "/lib/x86_64-linux-gnu/tls", "/usr/lib/*"],
  ["unlinkat", [0n, 1n], "/run/authnft/lock/authnft-alice-4711.scope", "/run/authnft/lock/authnft-*.scope"],
  ["tgkill", [4711n, 4712n, 10n], "", "itself"],
  ["kill", [1n, 9n], "", "process 1"],
  ["close", [7n], "", ""],
] as const)("what matters of %s", (call, args, text, expected) => {
  expect(describeCall({ call, args, self: SELF }, { ...NOTHING, text: () => text })).toBe(expected);
});
