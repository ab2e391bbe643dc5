// SPDX-License-Identifier: GPL-2.0-or-later

// The C targets, which libFuzzer runs with AddressSanitizer and UBSan: it goes on from inputs that take a new branch.

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { elapsed } from "../lab/progress.ts";

const ROOT = join(import.meta.dir, "../..");

/** What a target is linked with: all of native/ but these, which are programs of their own. */
const PROGRAMS = ["entry.c", "member.c"];

/** A target in C. Texts stand for bytes, a character from 0 to 255 each. */
type NativeTarget = {
  /** Where it starts from: one input of each kind. */
  readonly seeds: readonly string[];
  /** What takes long to find byte by byte. */
  readonly words: readonly string[];
  /** In bytes; longer inputs mean nothing new. */
  readonly longest: number;
};

/** By the path of the source, from here. */
export const NATIVE: Readonly<Record<string, NativeTarget>> = {
  "native/reply": {
    seeds: [
      "authnft 1\nresult=ok\nsession=authnft-alice-42.scope\ncorrelation=token-1\nend\n",
      "authnft 1\nresult=ok\nback=/user.slice/user-1000.slice/session-1.scope\nend\n",
      "authnft 1\nresult=refused\nsay=Ask the administrator \xe2\x80\x93 now.\nend\n",
      "authnft 1\nresult=ok\nend\n",
      "authnft 1\nresult=ok\nlater=\xf0\x9f\x90\x9f\nend\n",
      // At an edge, and one beyond.
      ...[512, 513].flatMap((length) =>
        ["session", "say"].map((key) => `authnft 1\nresult=ok\n${key}=${"x".repeat(length)}\nend\n`),
      ),
      ...[
        "\x1f",
        "\x20",
        "\x7e",
        "\x7f",
        "\xc2\x9f",
        "\xc2\xa0",
        "\xc1\xbf",
        "\xed\xa0\x80",
        "\xf4\x90\x80\x80",
      ].map((character) => `authnft 1\nresult=refused\nsay=${character}\nend\n`),
    ],
    words: [
      ...[
        "authnft 1\n",
        "end\n",
        "result=ok\n",
        "result=refused\n",
        "session=",
        "correlation=",
        "say=",
        "back=",
      ],
      ...["\xc2\x9b", "\xed\xa0\x80", "\xf4\x90\x80\x80"],
    ],
    // One byte over the limit.
    longest: 4097,
  },
  "native/names": {
    seeds: [
      "alice",
      "-x",
      ".x",
      "DOM\\dina",
      "a b",
      "\xc3\xa9",
      "x".repeat(255),
      " ".repeat(63),
      " ".repeat(64),
    ],
    words: ["\\x", "..", "/", "\xff"],
    longest: 300,
  },
  "native/request": {
    seeds: [
      "alice\0sshd\x0192.0.2.7\0ssh\0\0token\x0a34\0authnft-alice-42.scope\0debug\0",
      '"\\\0\n\x7f\0\xc3\xa9\0\xff\xc3\0\xf0\x9f\x90\x9f\0\0\0\0AUTHNFT_NO_SANDBOX=1\0',
    ],
    words: ["\0", '"', "\\", '","uid":0,"x":"', "\xc2\x9b", "\xed\xa0\x80", "AUTHNFT_NO_SANDBOX=1"],
    longest: 9000,
  },
};

/** How a run is bounded: by inputs if there is a number of them, and by seconds if not. */
export type NativePlan = {
  readonly seed: number;
  readonly inputs: number | undefined;
  readonly seconds: number;
};

/** Fuzzes a target, and prints what came of it. @returns whether nothing was found */
export async function fuzzNative(name: string, plan: NativePlan): Promise<boolean> {
  const scratch = mkdtempSync(join(tmpdir(), "authnft-fuzz-"));
  try {
    const program = join(scratch, "fuzz");
    const mistake = await build(name, program);
    if (mistake !== undefined) {
      console.error(mistake);
      return false;
    }
    return await run(name, program, scratch, plan);
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

/** Builds a target. @returns what stands in the way, if something does */
async function build(name: string, program: string): Promise<string | undefined> {
  if (Bun.which("clang") === null)
    return `${name}: not fuzzed: clang is missing. As root, test/lab/setup installs it.`;
  const sources = readdirSync(join(ROOT, "native"))
    .filter((file) => file.endsWith(".c") && !PROGRAMS.includes(file))
    .map((file) => join(ROOT, "native", file));
  const { code, errors } = await execute([
    ...["clang", "-g", "-O1", "-std=gnu11", "-Wall", "-Wextra"],
    ...["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"],
    // No name service is asked.
    '-DGROUP_FRAGMENTS="/nonexistent"',
    ...[join(import.meta.dir, `${name}.c`), ...sources, "-lpam", "-o", program],
  ]);
  if (code === 0) return undefined;
  return `${errors}\n${name}: not fuzzed: it does not build. As root, test/lab/setup installs what is missing of clang's libraries.`;
}

async function run(name: string, program: string, scratch: string, plan: NativePlan): Promise<boolean> {
  const { seeds = [], words = [], longest = 0 } = NATIVE[name] ?? {};
  const corpus = join(scratch, "corpus");
  const dictionary = join(scratch, "words");
  mkdirSync(corpus);
  for (const [index, seed] of seeds.entries()) writeFileSync(join(corpus, String(index)), seed, "latin1");
  writeFileSync(dictionary, words.map((word) => `"${quoted(word)}"\n`).join(""));
  const began = performance.now();
  const { code, errors } = await execute([
    program,
    // 0 would be one by chance.
    `-seed=${(Math.abs(plan.seed) % (2 ** 32 - 1)) + 1}`,
    plan.inputs === undefined ? `-max_total_time=${Math.ceil(plan.seconds)}` : `-runs=${plan.inputs}`,
    // From the first on inputs may be long: edges of lengths are what is looked for.
    ...[`-max_len=${longest}`, "-len_control=0", `-dict=${dictionary}`, `-artifact_prefix=${scratch}/found-`],
    ...["-timeout=10", "-print_final_stats=1", "-verbosity=0", corpus],
  ]);
  if (code === 0) {
    const count = /^stat::number_of_executed_units: *(\d+)$/m.exec(errors)?.[1];
    console.log(`${name}: ${count} inputs in ${elapsed(began)}, none crashed`);
    return true;
  }
  console.error(errors);
  for (const file of readdirSync(scratch).filter((file) => file.startsWith("found-")))
    console.error(`${name}: the input, in base64: ${readFileSync(join(scratch, file)).toString("base64")}`);
  return false;
}

/** A word as libFuzzer's dictionaries have it. */
function quoted(word: string): string {
  return [...Buffer.from(word, "latin1")].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
}

async function execute(command: readonly string[]): Promise<{ code: number; errors: string }> {
  const child = Bun.spawn([...command], { stdio: ["ignore", "ignore", "pipe"] });
  const errors = await child.stderr.text();
  return { code: await child.exited, errors };
}
