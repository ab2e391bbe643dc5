// SPDX-License-Identifier: GPL-2.0-or-later

// The first command of the README, in guests of its own.

import { expect, test } from "bun:test";
import { join } from "node:path";
import { viaOne } from "./harness.ts";

const DEMO = join(import.meta.dir, "../lab/demo.ts");

viaOne("npm run demo", (via) => {
  test("shows what it says, and ends well", async () => {
    const release = Bun.env["AUTHNFT_LAB_RELEASE"] ?? "bookworm";
    const child = Bun.spawn([process.execPath, DEMO, "--release", release, "--through", via], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const [shown, told] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    expect(await child.exited, `${shown}${told}`).toBe(0);
    expect(shown).toContain("what she left behind has no network");
  });
});
