// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import { askerIn } from "../../../../src/system/kernel/asker.ts";

const of = (pid: string) => `pos:\t0\nflags:\t02000002\nmnt_id:\t15\nino:\t9\nPid:\t${pid}\nNSpid:\t${pid}\n`;

test("the descriptor of a process has its number, until it has ended and been collected", () => {
  expect(askerIn(of("4711"))).toBe(4711);
  expect(askerIn(of("-1"))).toBe(0);
});

test("one that is not to be seen from here has none, either", () => {
  expect(askerIn(of("0"))).toBe(0);
});

test("any other descriptor says nothing", () => {
  expect(askerIn("pos:\t0\nflags:\t02\nmnt_id:\t15\nino:\t9\n")).toBeUndefined();
  expect(askerIn("")).toBeUndefined();
});
