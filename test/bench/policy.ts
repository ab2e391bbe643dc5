// SPDX-License-Identifier: GPL-2.0-or-later

// `bun test/bench/policy.ts`: what reading and compiling a fragment costs a login. Each turn is a process of its own without
// a compiler for the runtime's code, as the helper is; the first time in it is what a login pays.

import { addressLock } from "../../src/policy/address_lock.ts";
import { compileFragment } from "../../src/policy/compile.ts";
import { readFragment } from "../../src/policy/read.ts";
import { addMember } from "../../src/ruleset/members.ts";
import { spread } from "./statistics.ts";

const TURNS = 15;
const SIZES = [5, 100, 1000];

function fragment(rules: number): string {
  const lines = Array.from(
    { length: rules - 2 },
    (_, n) => `add rule inet authnft egress ip daddr 192.0.2.${n % 250} tcp dport { 80, ${1000 + n} } accept`,
  );
  return [...lines, "add rule inet authnft egress reject", "add rule inet authnft filter drop"].join("\n");
}

/** What a login does with a fragment once it is read: for the session, and for what the user runs outside of it. */
function compileOnce(text: string): void {
  const path = "/etc/authnft/users/alice";
  const read = readFragment(path, () => Buffer.from(text));
  const address = { family: "ip", text: "192.0.2.7" } as const;
  for (const prefix of ["session_alice_4711", "cover_1000"]) {
    const policy = compileFragment(read, {
      path,
      prefix,
      level: 2,
      subject: { id: 1000, name: "alice", address },
    });
    if (prefix !== "cover_1000") addressLock(policy, address);
    addMember({
      name: prefix,
      cgroupPath: "x",
      cgroupId: 1n,
      addresses: [address],
      comment: "",
      parts: policy.parts,
    });
  }
}

const [size] = process.argv.slice(2);
if (size !== undefined) {
  const text = fragment(Number(size));
  const start = performance.now();
  compileOnce(text);
  console.log(performance.now() - start);
} else {
  console.log("policy, ms of a login: read, compiled twice, lock derived, commands made");
  for (const rules of SIZES) {
    const times: number[] = [];
    for (let turn = 0; turn < TURNS; turn++) {
      const child = Bun.spawnSync([process.execPath, import.meta.path, String(rules)], {
        env: { ...process.env, BUN_JSC_useJIT: "0" },
      });
      times.push(Number(child.stdout.toString()));
    }
    const { median, p10, p90 } = spread(times);
    console.log(
      `  ${String(rules).padStart(5)} rules: ${median.toFixed(1)} (${p10.toFixed(1)}–${p90.toFixed(1)})`,
    );
  }
}
