// SPDX-License-Identifier: GPL-2.0-or-later

// A guest made ready for measuring: the build installed, the C programs built and copied, a PAM service for each kind
// of session, and as many sessions of others as are wanted.

import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Address } from "../../src/address.ts";
import { compileFragment } from "../../src/policy/compile.ts";
import { readFragment } from "../../src/policy/read.ts";
import { addSubject } from "../../src/ruleset/subject.ts";
import { leadRoots } from "../../src/ruleset/table.ts";
import { forSession } from "../../src/subjects/session/dialect.ts";
import { cgroupPath, SLICE, scopeUnit } from "../../src/subjects/session/scope_unit.ts";
import { parseUserName } from "../../src/subjects/session/user_name.ts";
import type { SubjectId } from "../../src/subjects/subject.ts";
import { piecePath } from "../../src/system/host/shipped.ts";
import type { Lab } from "../lab/lab.ts";
import { withHook } from "../lab/pam.ts";
import { progress } from "../lab/progress.ts";

/** Where everything of ours is in the guest. */
export const HOME = "/root/bench";

/** The member whose sessions are measured, and one who is no member. */
export const MEMBER = "alice";
export const OTHER = "dave";

/** The client's address of every session. */
export const ADDRESS = "10.77.0.2";

/** The policy: one of those that we ship, five rules. */
export const FRAGMENT = readFileSync(join(import.meta.dir, "../../data/examples/web-only"), "utf8");

/** A policy of that many rules, each of which names its peers: there is a second lock. Every other has a set without a name. */
export function fragmentOf(rules: number): string {
  const lines = Array.from(
    { length: rules - 2 },
    (_, n) =>
      `add rule inet authnft egress ip daddr 192.0.2.${n % 250} tcp dport ${n % 2 ? 1000 + n : `{ 80, ${1000 + n} }`} accept`,
  );
  return [...lines, "add rule inet authnft egress reject", "add rule inet authnft filter drop", ""].join(
    "\n",
  );
}

/** The kinds of sessions: a PAM service each, and the user that goes with it. */
export const KINDS = {
  pass: { service: "bench-pass", user: MEMBER },
  other: { service: "bench-shim", user: OTHER },
  floor: { service: "bench-floor", user: MEMBER },
  shim: { service: "bench-shim", user: MEMBER },
  exec: { service: "bench-exec", user: MEMBER },
  login: { service: "bench-login", user: MEMBER },
  loginShim: { service: "bench-login-shim", user: MEMBER },
} as const;
export type Kind = keyof typeof KINDS;

/** Debian packages that hold what our C programs are built with, by a file that tells whether they are there. */
const PACKAGES = {
  "/usr/bin/gcc": "gcc",
  "/usr/include/security/pam_modules.h": "libpam0g-dev",
  "/usr/include/systemd/sd-bus.h": "libsystemd-dev",
  "/usr/include/nftables/libnftables.h": "libnftables-dev",
};

/** Installs what is missing on this host for `buildPrograms`. @throws {Error} that names the packages */
export async function installHeaders(): Promise<void> {
  const missing = Object.entries(PACKAGES).flatMap(([file, name]) => (existsSync(file) ? [] : [name]));
  if (missing.length === 0) return;
  progress(`bench: installing ${missing.join(" ")}`);
  const { exitCode, stderr } = await Bun.$`apt-get install --yes --no-install-recommends ${missing}`
    .env({ ...process.env, DEBIAN_FRONTEND: "noninteractive" })
    .quiet()
    .nothrow();
  if (exitCode !== 0)
    throw new Error(
      `Cannot build the floor: ${missing.join(", ")} are missing, and apt-get could not install them: ${stderr}`,
    );
}

/** The programs by name, and what they load. */
export type Programs = Readonly<Record<string, Uint8Array>>;

/** Builds the programs. @throws {Error} with what the compiler said */
export async function buildPrograms(): Promise<Programs> {
  const flags = "-std=gnu11 -O2 -Wall -Wextra -Werror -Wshadow -Wconversion".split(" ");
  const sources = {
    driver: ["-lpam"],
    memory: [],
    packets: [],
    "pam_floor.so": ["-fPIC", "-shared", "-lpam", "-lsystemd", "-lnftables"],
  };
  const scratch = mkdtempSync(join(tmpdir(), "authnft-bench-"));
  try {
    const built = Object.entries(sources).map(async ([name, more]) => {
      const source = join(import.meta.dir, name.replace(/^(pam_)?(\w+).*$/, "$2.c"));
      const output = join(scratch, name);
      const { exitCode, stderr } = await Bun.$`gcc ${flags} ${source} -o ${output} ${more}`.quiet().nothrow();
      if (exitCode !== 0) throw new Error(`Cannot build ${source}:\n${stderr}`);
      return [name, readFileSync(output)] as const;
    });
    return {
      ...Object.fromEntries(await Promise.all(built)),
      policy: await buildPolicy(join(scratch, "policy")),
      "koffi.node": readFileSync(piecePath("koffi.node")),
    };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Builds the program that times what a login does with its fragment, like the one that is shipped. */
async function buildPolicy(outfile: string): Promise<Uint8Array> {
  const { success, logs } = await Bun.build({
    entrypoints: [join(import.meta.dir, "policy.ts")],
    target: "bun",
    format: "esm",
    minify: true,
    bytecode: true,
    throw: false,
    compile: { outfile },
  });
  if (!success) throw new Error(`Cannot build policy.ts:\n${logs.map(String).join("\n")}`);
  return readFileSync(outfile);
}

/** Installs the build and everything that the measurements need. */
export async function prepare(lab: Lab, programs: Programs): Promise<void> {
  await lab.install();
  await lab.fragment(MEMBER, FRAGMENT);
  for (const [name, bytes] of Object.entries(programs))
    await lab.write(`${HOME}/${name}`, bytes, { mode: "0755" });
  // The label in it is that of another cgroup: it costs the same, and the floor need not know how labels are made.
  await lab.write(`${HOME}/transaction`, sessionText("session_@STEM@", "@PATH@", 1n));

  const nothing = "auth required pam_permit.so\naccount required pam_permit.so\n";
  const login = await lab.output("cat /etc/pam.d/lab-login");
  const services: Record<string, string> = {
    "bench-pass": `${nothing}session required pam_permit.so\n`,
    "bench-floor": `${nothing}session required ${HOME}/pam_floor.so ${HOME}/transaction\n`,
    "bench-shim": withHook(nothing, { through: "shim" }),
    "bench-exec": withHook(nothing, { through: "exec" }),
    "bench-login": `${login}\n`,
    "bench-login-shim": withHook(`${login}\n`, { through: "shim" }),
  };
  for (const [name, text] of Object.entries(services)) await lab.write(`/etc/pam.d/${name}`, text);
}

/** Puts sessions of others into the table: real chains and elements for cgroups without processes. */
export async function addOthers(lab: Lab, { from, to }: { from: number; to: number }): Promise<void> {
  const others = Array.from({ length: to - from }, (_, index) => {
    const unit = scopeUnit(parseUserName("other"), from + index + 1, 1);
    return { name: `session_other_${from + index + 1}`, path: cgroupPath(unit, 1) };
  });
  const directories = others.map(({ path }) => `/sys/fs/cgroup/${path}`).join("\n");
  await lab.output("xargs mkdir", { input: directories });
  const ids = (await lab.output("xargs stat --format=%i", { input: directories })).split("\n").map(BigInt);
  const text = others.map(({ name, path }, index) => sessionText(name, path, ids[index] ?? 0n));
  await lab.output("nft -f -", { input: text.join(""), timeoutMs: 60_000 });
}

/** The very transaction that a session of the member loads, for a session of this name in this cgroup. */
function sessionText(name: string, path: string, cgroupId: bigint): string {
  const address = { family: "ip", text: ADDRESS } as const;
  const policy = compileFragment(
    readFragment(`/etc/authnft/users/${MEMBER}`, () => Buffer.from(FRAGMENT)),
    {
      path: `/etc/authnft/users/${MEMBER}`,
      prefix: name,
      level: 2,
      ...forSession({ id: 1000, name: MEMBER, address }),
    },
  );
  const { lines } = addSubject(
    {
      id: name as SubjectId,
      cgroup: { path, id: cgroupId },
      addresses: [ADDRESS as Address],
      comment: `${MEMBER} (PID:1000)`,
      policy: { generation: 0 },
    },
    policy.parts,
  );
  return `${[...leadRoots({ roots: [{ cgroup: SLICE, chains: "members" }] }), ...lines].join("\n")}\n`;
}
