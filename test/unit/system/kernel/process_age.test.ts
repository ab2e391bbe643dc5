// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { ageFrom, processAge } from "../../../../src/system/kernel/process_age.ts";

const STAT = (name: string, start: string): string =>
  `4242 (${name}) S 1 4242 4242 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 ${start} 1000 100 18446744073709551615\n`;

describe("the age of a process", () => {
  test.each([
    ["a moment", STAT("authnft", "1000"), "10.25 20.00\n", 250],
    ["a name with parentheses and blanks in it", STAT("a) R 1 2 (b", "1000"), "11.00 20.00\n", 1000],
    ["started within the tick", STAT("authnft", "1001"), "10.00 20.00\n", 0],
    ["nothing to be read", "", "", 0],
    ["no uptime", STAT("authnft", "1000"), "", 0],
    ["no stat", "", "10.00 20.00\n", 0],
  ])("%s", (_, stat, uptime, age) => {
    expect(ageFrom(stat, uptime)).toBeCloseTo(age);
  });

  test("goes on when the process becomes another program", async () => {
    expect(processAge()).toBeGreaterThan(0);
    const code = `process.stdout.write(String((await import("${import.meta.dir}/../../../../src/system/kernel/process_age.ts")).processAge()))`;
    const child = Bun.spawn(["sh", "-c", 'sleep 0.3; exec "$@"', "sh", process.execPath, "-e", code], {
      stdout: "pipe",
    });
    expect(Number(await child.stdout.text())).toBeGreaterThan(280);
  });
});
