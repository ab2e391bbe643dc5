// SPDX-License-Identifier: GPL-2.0-or-later
import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  cgroupIdsBelow,
  isPopulated,
  killCgroup,
  mayBeHeldBelow,
  processesIn,
} from "../../../../src/system/kernel/cgroup.ts";

// Directories that look like cgroups: the kernel's own are for the lab.
const root = mkdtempSync(join(tmpdir(), "cgroup-"));
afterAll(() => rmSync(root, { recursive: true }));

function cgroup(path: string, pids: string, populated: 0 | 1): void {
  mkdirSync(join(root, path), { recursive: true });
  writeFileSync(join(root, path, "cgroup.procs"), pids);
  writeFileSync(join(root, path, "cgroup.events"), `populated ${populated}\nfrozen 0\n`);
  writeFileSync(join(root, path, "cgroup.kill"), "");
}

cgroup("a.slice", "", 1);
cgroup("a.slice/one.scope", "11\n12\n", 1);
cgroup("a.slice/one.scope/deep/deeper", "0\n13\n", 1);
cgroup("a.slice/empty.scope", "", 0);
cgroup("b.slice", "21\n", 1);
// A threaded cgroup's processes cannot be read: its root names them.
mkdirSync(join(root, "threaded/below/cgroup.procs"), { recursive: true });
writeFileSync(join(root, "threaded/cgroup.procs"), "31\n");

const inode = (path: string): bigint => statSync(join(root, path), { bigint: true }).ino;

describe("processesIn", () => {
  test.each<[string, number[]]>([
    ["a.slice", [11, 12, 13]],
    ["a.slice/one.scope", [11, 12, 13]],
    ["a.slice/one.scope/deep", [13]],
    ["a.slice/empty.scope", []],
    ["b.slice", [21]],
    ["threaded", [31]],
    ["gone.slice", []],
  ])("%s", (path, pids) => {
    expect(processesIn(path, { root }).sort()).toEqual(pids);
  });
});

describe("cgroupIdsBelow", () => {
  test("is a cgroup and all that is below it", () => {
    const paths = ["a.slice", "a.slice/one.scope", "a.slice/one.scope/deep"];
    expect(cgroupIdsBelow("a.slice", { root })).toEqual(
      new Set([...paths, "a.slice/one.scope/deep/deeper", "a.slice/empty.scope"].map(inode)),
    );
    expect(cgroupIdsBelow("b.slice", { root })).toEqual(new Set([inode("b.slice")]));
  });

  test("is nothing when the cgroup is gone", () => {
    expect(cgroupIdsBelow("gone.slice", { root })).toEqual(new Set());
  });
});

test.each<[string, boolean]>([
  ["a.slice", true],
  ["a.slice/empty.scope", false],
  ["gone.slice", false],
])("isPopulated: %s", (path, populated) => {
  expect(isPopulated(path, { root })).toBe(populated);
});

test.each<[string, boolean]>([
  ["nr_descendants 3\nnr_dying_descendants 0\n", false],
  ["nr_descendants 3\nnr_dying_descendants 1\n", true],
  ["nr_descendants 3\nnr_dying_descendants 10\n", true],
  ["", true],
])("mayBeHeldBelow: %j", (stat, may) => {
  writeFileSync(join(root, "a.slice/cgroup.stat"), stat);
  expect(mayBeHeldBelow("a.slice", { root })).toBe(may);
  expect(mayBeHeldBelow("gone.slice", { root })).toBe(true);
});

describe("killCgroup", () => {
  test("tells the cgroup itself, once", () => {
    killCgroup("a.slice/one.scope", { root });
    const told = (path: string): string => readFileSync(join(root, path, "cgroup.kill"), "utf8");
    expect(["a.slice", "a.slice/one.scope", "a.slice/one.scope/deep/deeper"].map(told)).toEqual([
      "",
      "1",
      "",
    ]);
  });

  test("does nothing when the cgroup is gone", () => {
    expect(() => killCgroup("gone.slice", { root })).not.toThrow();
  });

  test("fails where the kernel cannot: nobody is to think that they are dead", () => {
    expect(() => killCgroup("threaded", { root })).toThrow("ENOENT");
  });
});
