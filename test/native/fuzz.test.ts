// SPDX-License-Identifier: GPL-2.0-or-later

// A little of what `npm run fuzz` does with the C targets, with a fixed seed and number of inputs.

import { expect, test } from "bun:test";
import { fuzzNative, NATIVE } from "../fuzz/native.ts";

test.each(Object.keys(NATIVE))("whatever comes in, %s keeps its promises", async (name) => {
  expect(await fuzzNative(name, { seed: 1, inputs: 50_000, seconds: 0 })).toBe(true);
});
