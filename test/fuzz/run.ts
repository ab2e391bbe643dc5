// SPDX-License-Identifier: GPL-2.0-or-later

/**
 * Fuzzes what reads what comes from outside, one kind after the other, and prints what came of it:
 *
 *     npm run fuzz -- [KIND…] [--seconds N | --inputs N] [--seed S] [--uncovered]
 *     npm run fuzz -- --input TEXT KIND      one input again
 *     npm run fuzz -- --cases                the fragments that the tests hold, refused and accepted, by what is said of them
 *
 * All kinds and 20 seconds for each if left out, and a seed by chance. Ends with 1 and the input that did it, if one breaks a
 * promise; with the same seed it comes again, after as many inputs.
 */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { parseArgs } from "node:util";
import { countBranches } from "./branches.ts";
import { guided, type Target } from "./engine.ts";

/** What is fuzzed: by which module's export, and whose branches count: of files, or of functions in them. */
const KINDS: Readonly<Record<string, { readonly module: string; readonly sources: readonly string[] }>> = {
  // All but find.ts, to which no fragment comes; it is among what is made of requests.
  fragments: { module: "./policy_fuzz.ts", sources: ["policy/[!f]*"] },
  tokens: { module: "./tokens_fuzz.ts", sources: ["policy/tokenise"] },
  requests: {
    module: "./session_fuzz.ts",
    sources: [
      ...["request", "arguments", "peer", "user_name", "correlation"].map(
        (name) => `subjects/session/${name}`,
      ),
      "subjects/session/find",
      "escaped_name",
    ],
  },
  records: {
    module: "./session_fuzz.ts",
    sources: [
      "subjects/session/record",
      "subjects/session/scope_unit#parseScopeUnit,cgroupPath,sessionId,placeOfProcess",
    ],
  },
  claims: { module: "./session_fuzz.ts", sources: ["subjects/session/claims"] },
  addresses: { module: "./session_fuzz.ts", sources: ["address", "address_bytes"] },
  answers: { module: "./session_fuzz.ts", sources: ["subjects/session/reply"] },
  attributes: { module: "./system_fuzz.ts", sources: ["system/kernel/netlink#eachAttribute"] },
  messages: { module: "./system_fuzz.ts", sources: ["system/kernel/netlink#readAnswer,split"] },
  sockets: { module: "./system_fuzz.ts", sources: ["system/kernel/sock_diag#parseSocket,groups"] },
  elements: { module: "./system_fuzz.ts", sources: ["system/kernel/nft_answers"] },
  bus: {
    module: "./system_fuzz.ts",
    sources: ["system/systemd/bus_replies", "system/systemd/logind#parseSession,isNumber"],
  },
};

/** The shim's parser in C: libFuzzer does the same for it. */
const REPLY = "reply";

/** How much longer than the run its process may take, in milliseconds. */
const GRACE = 20_000;
/** The longest input in bytes, and more. */
const TRYING_SIZE = 1 << 20;

const root = join(import.meta.dir, "..", "..");
const { values, positionals } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    seconds: { type: "string", default: "20" },
    inputs: { type: "string" },
    seed: { type: "string", default: String(crypto.getRandomValues(new Uint32Array(1))[0]) },
    uncovered: { type: "boolean", default: false },
    input: { type: "string" },
    cases: { type: "boolean", default: false },
    // Between this program and itself: the file in which the input that is tried stands.
    trying: { type: "string" },
  },
});
const seconds = Number(values.seconds);
const seed = Number(values.seed);
const inputs = values.inputs === undefined ? undefined : Number(values.inputs);
if (!(seconds > 0) || !((inputs ?? 1) > 0) || !Number.isInteger(seed))
  stop("--seconds and --inputs take a number above 0, --seed a whole one.");
const unknown = positionals.find((kind) => kind !== REPLY && !Object.hasOwn(KINDS, kind));
if (unknown !== undefined)
  stop(`There is no kind "${unknown}" to fuzz, but: ${[...Object.keys(KINDS), REPLY].join(", ")}.`);
const [only] = positionals;

if (values.cases) await import("./cases.ts");
else if (values.trying !== undefined) process.exit((await fuzzHere(positionals, values.trying)) ? 0 : 1);
else if (values.input !== undefined && only !== undefined) {
  console.log(await (await targetOf(only)).judge(values.input));
} else {
  console.log(`seed ${seed}`);
  const kinds = positionals.length > 0 ? positionals : [...Object.keys(KINDS), REPLY];
  const ours = kinds.filter((kind) => kind !== REPLY);
  const sound = ours.length === 0 || (await fuzzApart(ours));
  process.exit((!kinds.includes(REPLY) || (await fuzzReply())) && sound ? 0 : 1);
}

async function targetOf(kind: string): Promise<Target> {
  const exports: Record<string, Target> = await import(KINDS[kind]?.module ?? "");
  const target = exports[kind];
  if (target === undefined) throw new Error(`the module of ${kind} has no such target`);
  return target;
}

/** Fuzzes in a process of its own, which can be ended if an input never ends. @returns whether no promise was broken */
async function fuzzApart(kinds: readonly string[]): Promise<boolean> {
  const scratch = mkdtempSync(join(tmpdir(), "authnft-fuzz-"));
  const trying = join(scratch, "trying");
  try {
    writeFileSync(trying, new Uint8Array(TRYING_SIZE));
    const options = ["--trying", trying, "--seconds", String(seconds), "--seed", String(seed)];
    if (values.inputs !== undefined) options.push("--inputs", values.inputs);
    if (values.uncovered) options.push("--uncovered");
    const child = Bun.spawn([process.execPath, import.meta.path, ...options, ...kinds], {
      cwd: root,
      stdio: ["ignore", "inherit", "inherit"],
      timeout: kinds.length * seconds * 1000 + GRACE,
      killSignal: "SIGKILL",
    });
    const code = await child.exited;
    if (code <= 1) return code === 0;
    const bytes = readFileSync(trying);
    const input = bytes.subarray(4, 4 + bytes.readUInt32LE(0)).toString("utf8");
    console.error(
      `An input never ended, or ended the process (${child.signalCode ?? code})\nseed ${seed}, input ${JSON.stringify(input)}`,
    );
    return false;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Files, each with those of its functions that count; all of it where none is named. */
function sourcesOf(kind: string): Map<string, readonly string[]> {
  return new Map(
    (KINDS[kind]?.sources ?? []).flatMap((source) => {
      const [pattern = "", functions] = source.split("#");
      const files = [...new Bun.Glob(`src/${pattern}.ts`).scanSync({ cwd: root, absolute: true })].sort();
      return files.map((file) => [file, functions?.split(",") ?? []] as const);
    }),
  );
}

async function fuzzHere(kinds: readonly string[], trying: string): Promise<boolean> {
  const sources = new Set(kinds.flatMap((kind) => [...sourcesOf(kind).keys()]));
  const branches = await countBranches([...sources]);
  const shared = Bun.mmap(trying);
  const length = new DataView(shared.buffer);
  const text = new TextEncoder();
  let sound = true;
  for (const kind of kinds) {
    const target = await targetOf(kind);
    const start = performance.now();
    const end = start + seconds * 1000;
    const { executions, corpus, endings, reached, finding } = await guided(target, branches, {
      seed,
      more: (executions) => (inputs === undefined ? performance.now() < end : executions < inputs),
      trying: (input) => length.setUint32(0, text.encodeInto(input, shared.subarray(4)).written, true),
    });
    const own = sourcesOf(kind);
    const all = branches.all
      .map((branch, index) => ({ ...branch, taken: reached[index] }))
      .filter(
        ({ file, within }) =>
          own.has(file) && (own.get(file)?.length === 0 || own.get(file)?.includes(within)),
      );
    const taken = all.filter(({ taken }) => taken).length;
    console.log(
      `${kind}: ${executions} inputs in ${((performance.now() - start) / 1000).toFixed(1)} s, ${corpus} kept, ${endings} endings, ${taken} of ${all.length} branches`,
    );
    for (const { file, line, what, taken } of values.uncovered ? all : [])
      if (!taken) console.log(`  ${relative(root, file)}:${line}: ${what}`);
    if (finding === undefined) continue;
    sound = false;
    console.error(`${kind}: ${finding.complaint}\nseed ${seed}, input ${JSON.stringify(finding.input)}`);
  }
  return sound;
}

async function fuzzReply(): Promise<boolean> {
  const child = Bun.spawn([join(import.meta.dir, "reply.sh"), String(Math.ceil(seconds))], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  return (await child.exited) === 0;
}

function stop(complaint: string): never {
  console.error(complaint);
  process.exit(2);
}
