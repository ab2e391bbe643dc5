// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import * as wrapped from "koffi";
import { koffi } from "../../../../src/system/ffi/koffi.ts";

test("the addon lacks nothing of koffi's API but what its type leaves out", () => {
  const missing = Object.keys(wrapped).filter((name) => !(name in koffi));
  expect(missing.sort()).toEqual(["default", "introspect", "resolve"]);
  expect(koffi.version).toBe(wrapped.version);
});

test("it calls a function of libc", () => {
  expect(koffi.load("libc.so.6").func("int getpid()")()).toBe(process.pid);
});
