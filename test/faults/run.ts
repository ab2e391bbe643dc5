// SPDX-License-Identifier: GPL-2.0-or-later

// Has the helper fail, or be killed, at every system call of an open and a close, and prints what came of it.
//
//   npm run faults -- [--release bookworm|trixie]
//     --every N     one point of N only
//     --only TEXT   those that a regular expression matches, as they are printed: "close, rename .*, EIO"

import { parseArgs } from "node:util";
import { type Release, up } from "../lab/lab.ts";
import { progress } from "../lab/progress.ts";
import { inject, type Outcome, type Point } from "./faults.ts";

const { values } = parseArgs({
  options: {
    release: { type: "string", default: "bookworm" },
    every: { type: "string", default: "1" },
    only: { type: "string", default: "" },
  },
});
const every = Number(values.every);
const only = new RegExp(values.only);
await using lab = await up({ release: values.release as Release });
await lab.install();
const began = performance.now();
let chosen = 0;
let tried = 0;
const outcomes = await inject(
  lab,
  ["alice", "bob", "m0", "m1"],
  (all) => {
    const points = all.filter((point, index) => index % every === 0 && only.test(nameOf(point)));
    chosen = points.length;
    return points;
  },
  (outcome) => {
    if (++tried % 25 === 0) progress(`${tried} of ${chosen} faults`);
    if (outcome.violations.length > 0) console.log(describe(outcome));
  },
);

const kinds = new Map<string, Map<string, number>>();
for (const { verb, met, fault, end, violations } of outcomes) {
  const kind = `${verb}, ${fault === "killed" ? "killed" : "an error"}${met ? "" : ", not reached"}`;
  const counts = kinds.get(kind) ?? new Map<string, number>();
  kinds.set(kind, counts);
  const key = violations.length > 0 ? "VIOLATION" : end;
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
for (const [kind, counts] of kinds)
  console.log(`${kind}: ${[...counts].map(([end, count]) => `${count} ${end}`).join(", ")}`);
const filtered = Map.groupBy(
  outcomes.filter(({ filtered }) => filtered !== undefined),
  ({ filtered }) => filtered?.split(" ", 1)[0],
);
for (const [call, those] of filtered)
  console.log(
    `killed by the filter at ${call}: ${those.length} times, first at ${those[0]?.filtered} after ${describe(those[0] as Outcome)}`,
  );
const wrong = outcomes.filter(({ violations }) => violations.length > 0).length;
console.log(
  `${outcomes.length} faults in ${Math.round((performance.now() - began) / 1000)} s, ${wrong} violations.`,
);
process.exitCode = wrong === 0 ? 0 : 1;

function nameOf({ verb, call, nth, fault }: Point): string {
  return `${verb}, ${call} ${nth}, ${fault}`;
}

function describe(outcome: Outcome): string {
  const { met, end, violations } = outcome;
  return [`${nameOf(outcome)}${met ? "" : ", not reached"}: ${end}`, ...violations].join("\n  ");
}
