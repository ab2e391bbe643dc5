// SPDX-License-Identifier: GPL-2.0-or-later

// Fuzzes what reads what comes from outside, one kind after the other, and prints what came of it; see HELP.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { elapsed, progress } from "../lab/progress.ts";
import { fuzzNative, NATIVE } from "./native.ts";
import { fuzz, type Target } from "./target.ts";

/** What is fuzzed in TypeScript: by which module's export. */
const KINDS: Readonly<Record<string, string>> = {
  fragments: "./policy_fuzz.ts",
  tokens: "./tokens_fuzz.ts",
  requests: "./session_fuzz.ts",
  records: "./session_fuzz.ts",
  claims: "./session_fuzz.ts",
  addresses: "./session_fuzz.ts",
  answers: "./session_fuzz.ts",
  attributes: "./system_fuzz.ts",
  messages: "./system_fuzz.ts",
  sockets: "./system_fuzz.ts",
  elements: "./system_fuzz.ts",
  bus: "./system_fuzz.ts",
};

const HELP = `Fuzzes what reads what comes from outside, and ends with 1 and the input if one breaks a promise.

  npm run fuzz -- [KIND…] [--seconds N | --inputs N] [--seed S]
  npm run fuzz -- --input INPUT KIND     one input again, as it was printed, in its quotes
  npm run fuzz -- --cases                the fragments that the tests hold, refused and accepted, by what is said of them

20 seconds for each kind if left out, and a seed by chance. With the same seed and number of inputs the same are tried.

By fast-check: ${Object.keys(KINDS).join(", ")}.
By libFuzzer, in C: ${Object.keys(NATIVE).join(", ")}.`;

/** How much longer than the run its process may take, in milliseconds: also to make what it found small. */
const GRACE = 60_000;
/** Between two lines of progress, in milliseconds. */
const PROGRESS = 10_000;
/** The longest input in bytes, and more. */
const TRYING_SIZE = 1 << 20;

const { values, positionals } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    help: { type: "boolean", default: false },
    seconds: { type: "string", default: "20" },
    inputs: { type: "string" },
    seed: { type: "string", default: String(crypto.getRandomValues(new Uint32Array(1))[0]) },
    input: { type: "string" },
    cases: { type: "boolean", default: false },
    // Between this program and itself: the file in which the input that is tried stands.
    trying: { type: "string" },
  },
});
const seconds = Number(values.seconds);
const seed = Number(values.seed);
const inputs = values.inputs === undefined ? undefined : Number(values.inputs);
if (values.help) {
  console.log(HELP);
  process.exit(0);
}
if (!(seconds > 0) || !((inputs ?? 1) > 0) || !Number.isInteger(inputs ?? 1) || !Number.isInteger(seed))
  stop("--seconds takes a number above 0, --inputs a whole one, and --seed a whole one.");
const unknown = positionals.find((kind) => !Object.hasOwn(KINDS, kind) && !Object.hasOwn(NATIVE, kind));
if (unknown !== undefined)
  stop(
    `There is no kind "${unknown}" to fuzz, but: ${[...Object.keys(KINDS), ...Object.keys(NATIVE)].join(", ")}.`,
  );
const [only] = positionals;

if (values.cases) await import("./cases.ts");
else if (values.trying !== undefined) process.exit((await fuzzHere(positionals, values.trying)) ? 0 : 1);
else if (values.input !== undefined) {
  if (only === undefined || !Object.hasOwn(KINDS, only))
    stop("--input takes a kind of fast-check's beside it.");
  console.log(await (await targetOf(only)).judge(JSON.parse(values.input)));
} else {
  console.log(`seed ${seed}`);
  const kinds = positionals.length > 0 ? positionals : [...Object.keys(KINDS), ...Object.keys(NATIVE)];
  let sound = true;
  for (const kind of kinds) {
    progress(`fuzz: ${kind}: begins`);
    const isSound = Object.hasOwn(NATIVE, kind)
      ? fuzzNative(kind, { seed, inputs, seconds })
      : fuzzApart(kind);
    sound = (await isSound) && sound;
  }
  process.exit(sound ? 0 : 1);
}

async function targetOf(kind: string): Promise<Target> {
  const exports: Record<string, Target> = await import(KINDS[kind] ?? "");
  const target = exports[kind];
  if (target === undefined) throw new Error(`the module of ${kind} has no such target`);
  return target;
}

/** Fuzzes in a process of its own, which can be ended if an input never ends. @returns whether no promise was broken */
async function fuzzApart(kind: string): Promise<boolean> {
  const scratch = mkdtempSync(join(tmpdir(), "authnft-fuzz-"));
  const trying = join(scratch, "trying");
  try {
    writeFileSync(trying, new Uint8Array(TRYING_SIZE));
    const options = ["--trying", trying, "--seconds", String(seconds), "--seed", String(seed)];
    if (values.inputs !== undefined) options.push("--inputs", values.inputs);
    const child = Bun.spawn([process.execPath, import.meta.path, ...options, kind], {
      stdio: ["ignore", "inherit", "inherit"],
      timeout: seconds * 1000 + GRACE,
      killSignal: "SIGKILL",
    });
    const code = await child.exited;
    if (code <= 1) return code === 0;
    const bytes = readFileSync(trying);
    const input = bytes.subarray(4, 4 + bytes.readUInt32LE(0)).toString("utf16le");
    console.error(
      `${kind}: an input never ended, or ended the process (${child.signalCode ?? code})\nseed ${seed}, input ${JSON.stringify(input)}`,
    );
    return false;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Fuzzes in this process, and leaves each input in a file while it is tried. @returns whether no promise was broken */
async function fuzzHere(kinds: readonly string[], trying: string): Promise<boolean> {
  const shared = Bun.mmap(trying);
  const tried = Buffer.from(shared.buffer);
  let sound = true;
  for (const kind of kinds) {
    const began = performance.now();
    let told = began;
    const { executions, endings, finding } = await fuzz(await targetOf(kind), {
      seed,
      inputs,
      milliseconds: seconds * 1000,
      trying: (input, count) => {
        tried.writeUInt32LE(tried.write(input, 4, "utf16le"), 0);
        if (performance.now() - told < PROGRESS) return;
        told = performance.now();
        progress(`fuzz: ${kind}: ${count} inputs, ${elapsed(began)}`);
      },
    });
    console.log(`${kind}: ${executions} inputs in ${elapsed(began)}, ${endings} endings`);
    if (finding === undefined) continue;
    sound = false;
    console.error(`${kind}: ${finding.complaint}\nseed ${seed}, input ${JSON.stringify(finding.input)}`);
  }
  return sound;
}

function stop(complaint: string): never {
  console.error(complaint);
  process.exit(2);
}
