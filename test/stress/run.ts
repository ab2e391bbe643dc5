// SPDX-License-Identifier: GPL-2.0-or-later

// Opens and closes sessions in the lab, many at once, short of memory and of processors, and collecting garbage without
// end, and counts those that did not work. A system call that the filter does not know shows as one of them.
//
//   npm run stress -- [number of sessions] [--release bookworm|trixie]

import { parseArgs } from "node:util";
import { type Release, up } from "../lab/lab.ts";
import { progress } from "../lab/progress.ts";
import { stress } from "./stress.ts";

const { values, positionals } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: { release: { type: "string", default: "bookworm" } },
});
const count = Number(positionals[0] ?? 10_000);
await using lab = await up({ release: values.release as Release });
await lab.install();
const outcomes = await stress(lab, count, progress);
for (const { way, counts } of outcomes) console.log(`${way}: ${JSON.stringify(counts)}`);
process.exitCode = outcomes.every(({ counts }) => Object.keys(counts).join() === "ok") ? 0 : 1;
