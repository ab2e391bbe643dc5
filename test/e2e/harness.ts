// SPDX-License-Identifier: GPL-2.0-or-later

// The end-to-end tests share one guest with the build installed, and reach sessions in it via the module or via pam_exec.

import { describe, expect } from "bun:test";
import { type Lab, type PamHook, type Release, releases, up, waitFor } from "../lab/lab.ts";

export type Via = PamHook["through"];

/** The release under test; test/run.ts runs each suite once for each. */
const release = (Bun.env["AUTHNFT_LAB_RELEASE"] ?? "bookworm") as Release;
if (!releases.includes(release))
  throw new Error(`There is no lab of ${release}; there are ${releases.join(" and ")}.`);

async function bring(): Promise<Lab> {
  const lab = await up({ release });
  await lab.install();
  return lab;
}

// One guest serves all files of a run: the test runner keeps this object, whatever it does with modules.
const shared = globalThis as { authnftLab?: Promise<Lab> };
shared.authnftLab ??= bring();

/** The guest. It ends with the test run. */
export const lab: Lab = await shared.authnftLab;

/**
 * Describes a behaviour of both the module and pam_exec. To save time each release tries one of them; which one depends on the
 * title. With AUTHNFT_VIA_BOTH set (`npm test -- --all`), each release tries both.
 */
export function viaBoth(what: string, body: (via: Via) => void): void {
  const turn = Buffer.from(what).reduce((sum, byte) => sum + byte, releases.indexOf(release));
  const vias: Via[] = Bun.env["AUTHNFT_VIA_BOTH"] ? ["shim", "exec"] : [turn % 2 === 0 ? "shim" : "exec"];
  for (const via of vias)
    describe(`${what} (${release}, ${via === "shim" ? "shim" : "pam_exec"})`, () => body(via));
}

/** Describes a behaviour of open sessions: via the module on one release, via pam_exec on the other, always. */
export function viaOne(what: string, body: (via: Via) => void): void {
  const via: Via = release === "bookworm" ? "shim" : "exec";
  describe(`${what} (${release}, ${via === "shim" ? "shim" : "pam_exec"})`, () => body(via));
}

/** Describes a behaviour that involves no PAM stack. */
export function onThisRelease(what: string, body: () => void): void {
  describe(`${what} (${release})`, body);
}

/** A fragment under which world's first address can be reached and its second cannot. */
export const ONLY_FIRST = `
add rule inet authnft egress ip daddr 10.88.0.2 accept
add rule inet authnft egress ip6 daddr fd88::2 accept
add rule inet authnft egress ip daddr 10.88.0.0/24 reject
add rule inet authnft egress ip6 daddr fd88::/64 reject
`;

/** Starts a command as the process of that number in this PID namespace: clone3(2) with set_tid. */
export const AS_PROCESS = `
import ctypes, os, struct, sys
number = (ctypes.c_int * 1)(int(sys.argv[1]))
arguments = struct.pack("=11Q", 0, 0, 0, 0, 17, 0, 0, 0, ctypes.addressof(number), 1, 0)
pid = ctypes.CDLL(None, use_errno=True).syscall(435, ctypes.c_char_p(arguments), ctypes.c_size_t(len(arguments)))
if pid == -1:
    raise OSError(ctypes.get_errno(), "clone3")
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;

/** Has swept away what helpers leave that are killed: nobody is told of a lock of theirs. Nothing of it may be held. */
export async function sweep(): Promise<void> {
  await lab.output("authnft sweep");
}

/** Waits until nothing of any session is left: no record, no lock, no saved rules, no chain, no element, no scope. */
export async function nothingLeft(timeoutMs = 5000): Promise<void> {
  await waitFor(async () => (await leftovers()) === "", {
    timeoutMs,
    what: "every session gone",
  }).catch(async (error) => {
    throw new Error(`${error.message} Left: ${await leftovers()}`);
  });
}

type Verified = { findings: { subject: string; rows: { tried: string; verdict: string }[] }[] };

/** Has `authnft verify` try to get past a session's policies, or a user's, and expects that it cannot. */
export async function expectNoLeak(subject: string): Promise<void> {
  const { code, stdout, stderr } = await lab.run(["authnft", "verify", "--json", subject], {
    timeoutMs: 90_000,
  });
  const { findings } = JSON.parse(stdout) as Verified;
  const bad = findings.flatMap(({ subject: of, rows }) =>
    rows
      .filter(({ verdict }) => !["ok", "outside", "untried", "lost"].includes(verdict))
      .map((row) => ({ of, ...row })),
  );
  expect({ bad, code, stderr }).toEqual({ bad: [], code: 0, stderr: "" });
  expect(findings.length).toBeGreaterThan(0);
}

async function leftovers(): Promise<string> {
  const { stdout } = await lab.run(`
    find /run/authnft/sessions /run/authnft/lock /run/authnft/policy -type f ! -name ruleset ! -name turns ! -name 'cover_*.closed' ! -name 'cover_*.slice'
    systemctl list-units --no-legend --plain 'authnft-*.scope' 'authnft-session@*' | cut -d' ' -f1
    nft --terse list table inet authnft | grep -E 'chain (session|cover)_'
    for set in session_in session_out; do nft list map inet authnft $set; done | grep elements
    for set in session_map_cg session_map_ipv4 session_map_ipv6; do nft list set inet authnft $set; done | grep elements
  `);
  return stdout.trim();
}
