// SPDX-License-Identifier: GPL-2.0-or-later

// `npm run bench`: what a session, a packet and the helper cost, beside the least that the same work can cost.
//
//   npm run bench                              both releases: a minute, two on a busy machine
//   npm run bench -- --release trixie          one of them
//   npm run bench -- --runs 100                more turns, for smaller differences
//   npm run bench -- --only policy             what an open does with its fragment, and how long a check takes
//   npm run bench -- --json                    figures for machines

import { loadavg } from "node:os";
import { parseArgs } from "node:util";
import { type Lab, type Release, releases, up } from "../lab/lab.ts";
import { elapsed, progress } from "../lab/progress.ts";
import { buildPrograms, installHeaders, type Programs, prepare } from "./host.ts";
import {
  measureCrowds,
  measureMemory,
  measurePackets,
  measurePamtester,
  measurePolicy,
  measureSessions,
} from "./measure.ts";
import {
  formatPolicy,
  formatRelease,
  formatSize,
  type PolicyRelease,
  type ReleaseFigures,
} from "./report.ts";
import { productLines, shippedBytes } from "./size.ts";

const { values } = parseArgs({
  args: process.argv.slice(2),
  options: {
    release: { type: "string" },
    runs: { type: "string", default: "15" },
    only: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const runs = Number(values.runs);
if (!Number.isInteger(runs) || runs < 2)
  fail(`Cannot make ${values.runs} runs: a whole number from 2 on is needed.`);
if (values.only !== undefined && values.only !== "policy")
  fail(`There is no part ${values.only}; the one that can be had alone is "policy".`);
const wanted = releases.filter((release) => values.release === undefined || values.release === release);
if (wanted.length === 0) fail(`There is no lab of ${values.release}; there are ${releases.join(" and ")}.`);

const start = performance.now();
await installHeaders();
const programs = await buildPrograms();
const size = {
  bytes: shippedBytes(),
  lines: { C: productLines("C"), TypeScript: productLines("TypeScript") },
};
// One after the other: side by side they would measure each other.
if (values.only === "policy") {
  const figures: PolicyRelease[] = [];
  for (const release of wanted) figures.push(await measurePolicyOf(release, programs));
  if (values.json) console.log(JSON.stringify({ releases: figures }, null, 2));
  else console.log(figures.map(formatPolicy).join("\n"));
} else {
  const figures: ReleaseFigures[] = [];
  for (const release of wanted) figures.push(await measure(release, programs));
  if (values.json) console.log(JSON.stringify({ size, releases: figures }, null, 2));
  else console.log([formatSize(size), ...figures.map(formatRelease)].join("\n"));
}
progress(`bench: done in ${elapsed(start)}`);

async function measurePolicyOf(release: Release, programs: Programs): Promise<PolicyRelease> {
  await using lab = await up({ release });
  await prepare(lab, programs);
  const policy = await measurePolicy(lab, { runs });
  return { release, versions: await versions(lab), policy, load: loadavg()[0] ?? 0 };
}

async function measure(release: Release, programs: Programs): Promise<ReleaseFigures> {
  const part = async <T>(what: string, work: Promise<T>): Promise<T> => {
    const began = performance.now();
    const result = await work;
    progress(`bench: ${release}: ${what} in ${elapsed(began)}`);
    return result;
  };
  await using lab = await up({ release });
  await prepare(lab, programs);
  const fewer = Math.max(2, Math.round(runs / 3));
  return {
    release,
    versions: await versions(lab),
    // First of all: with the table alone, and no session in it.
    idlePackets: await part(
      "packets before the first session",
      measurePackets(lab, { session: undefined, runs }),
    ),
    sessions: await part(
      "sessions",
      measureSessions(lab, { kinds: ["pass", "other", "floor", "shim", "exec"], base: "floor", runs }),
    ),
    logins: await part(
      "logins",
      measureSessions(lab, { kinds: ["login", "loginShim"], base: "login", runs: fewer }),
    ),
    pamtester: await part(
      "pamtester",
      measurePamtester(lab, { kinds: ["pass", "floor", "shim", "exec"], base: "floor", runs: fewer }),
    ),
    memory: [
      await part("memory", measureMemory(lab, { helpers: 1 })),
      await part("memory", measureMemory(lab, { helpers: 10 })),
    ],
    policy: await part("policy", measurePolicy(lab, { runs: fewer })),
    crowds: await part("crowds", measureCrowds(lab, { runs: fewer, packetRuns: runs })),
    load: loadavg()[0] ?? 0,
  };
}

async function versions(lab: Lab): Promise<Record<string, string>> {
  const [systemd = "", nftables = "", kernel = "", processors = ""] = (
    await lab.output("systemctl --version | head -1; nft --version; uname -r; nproc")
  ).split("\n");
  return {
    systemd: systemd.split(" ")[1] ?? "",
    nftables: nftables.split(" ")[1] ?? "",
    kernel,
    processors,
  };
}

function fail(complaint: string): never {
  console.error(complaint);
  process.exit(2);
}
