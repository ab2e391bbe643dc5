// SPDX-License-Identifier: GPL-2.0-or-later

// `npm test`: everything, and at the end one line that counts. The suites of the two releases run side by side.
//
//   npm test                          all of it
//   npm test -- e2e --release trixie  one part: unit, native or e2e, with or without a release; another word filters by file name
//   npm test -- --strict              no second try
//   npm test -- --all                 each via into a session on each release, not one on each: half as long again

import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Release, releases } from "./lab/lab.ts";
import { elapsed, progress } from "./lab/progress.ts";

const { values, positionals } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    release: { type: "string" },
    all: { type: "boolean", default: false },
    strict: { type: "boolean", default: false },
  },
});
const parts = new Set(["check", "unit", "native", "e2e"]);
const chosen = positionals.filter((word) => parts.has(word));
const filters = positionals.filter((word) => !parts.has(word));
const wanted = (part: string): boolean => chosen.length === 0 || chosen.includes(part);
const onReleases = values.release === undefined ? releases : ([values.release] as Release[]);

const root = join(import.meta.dir, "..");
const total = { passed: 0, failed: 0 };
/** What failed, with what was printed about it: told again at the end, where it is seen. */
const failures: string[] = [];
/** What failed at first and passed when its file was run again. */
const unsteady: string[] = [];
/** So many files with failed tests are tried again, of those of one release: more have a reason that will not go away. */
const AGAIN = 3;

const start = performance.now();
if (wanted("check") && filters.length === 0) {
  await step("types", ["node_modules/.bin/tsc", "--noEmit"]);
  await step("lint", ["node_modules/.bin/biome", "check", "."]);
  await step("C under gcc and clang, analysers, hardening", ["native/check.sh"]);
}
if (wanted("unit")) await suite("unit", "test/unit");
// Both use both processors, so one after the other.
if (wanted("native")) await suite("native", "test/native");
if (wanted("e2e"))
  await Promise.all(
    onReleases.map((release) =>
      suite(
        `e2e on ${release}`,
        "test/e2e",
        { AUTHNFT_LAB_RELEASE: release, ...(values.all ? { AUTHNFT_VIA_BOTH: "1" } : {}) },
        // A real machine under real load: what fails once is told, and tried again.
        !values.strict,
      ),
    ),
  );

if (failures.length > 0) console.log(`\n== what failed\n${failures.join("\n\n")}`);
if (unsteady.length > 0)
  console.log(
    `\n== what failed at first and passed at the second try: a race, in the test or in what it tests\n${unsteady.join("\n\n")}`,
  );
console.log(`\nAll of it in ${elapsed(start)}.`);
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exit(total.failed === 0 && total.passed > 0 ? 0 : 1);

/** A check that passes or fails as a whole. */
async function step(name: string, command: string[]): Promise<void> {
  const began = performance.now();
  const { code, output } = await run(command, {});
  total[code === 0 ? "passed" : "failed"]++;
  if (code !== 0) {
    console.log(output);
    failures.push(`${name}:\n${output}`);
  }
  progress(`test: ${name}: ${code === 0 ? "passed" : "FAILED"} in ${elapsed(began)}`);
}

/** A directory of tests under bun:test. Its output is shown in one piece, when it is through. */
async function suite(
  name: string,
  directory: string,
  env: Record<string, string> = {},
  secondTry = false,
): Promise<void> {
  const began = performance.now();
  progress(`test: ${name}: running`);
  const paths = filters.length === 0 ? [directory] : filesOf(directory);
  const first = await tests(name, paths, env);
  console.log(`\n== ${name}\n${first.output}`);
  let { passed, failed } = first;
  let told = failedTests(first.output);
  const files = [...new Set(told.map(({ file }) => file))];
  if (secondTry && failed > 0 && failed === told.length && files.length <= AGAIN) {
    progress(`test: ${name}: ${failed} failed; once more: ${files.join(", ")}`);
    const second = await tests(name, files, env);
    console.log(`\n== ${name}, once more\n${second.output}`);
    if (second.failed === 0) {
      unsteady.push(...told.map(({ text }) => `${name}:\n${text}`));
      passed += failed;
      failed = 0;
      told = [];
    }
  }
  total.passed += passed;
  total.failed += failed;
  failures.push(...told.map(({ text }) => `${name}:\n${text}`));
  if (told.length === 0 && failed > 0)
    failures.push(`${name}: no test failed, but it did not end well:\n${first.output.slice(-2000)}`);
  progress(`test: ${name}: ${passed} passed, ${failed} failed in ${elapsed(began)}`);
}

/** Runs tests, and counts. */
async function tests(
  name: string,
  paths: readonly string[],
  env: Record<string, string>,
): Promise<{ passed: number; failed: number; output: string }> {
  const files = new FileByFile(name);
  const command = [process.execPath, "test", "--timeout", "120000", ...paths];
  const { code, output } = await run(command, env, files.hear);
  files.end();
  const count = (what: string): number =>
    Number(new RegExp(`^\\s*(\\d+) (?:${what})$`, "m").exec(output)?.[1] ?? 0);
  const passed = count("pass");
  // A skipped test is no test.
  const failed = count("fail") + count("skip") + count("todo");
  // A run that ends badly without a failed test has crashed, and one without any test has not run.
  const odd = failed === 0 && (code !== 0 || passed === 0);
  return { passed, failed: odd ? 1 : failed, output };
}

/** Of what `bun test` prints, each failed or skipped test with the lines before it: its error stands above its name. */
function failedTests(output: string): { file: string; text: string }[] {
  const lines = output.split("\n");
  const found: { file: string; text: string }[] = [];
  let after = 0;
  let file = "";
  for (const [index, line] of lines.entries()) {
    file = /^(test\/\S+\.test\.ts):$/.exec(line)?.[1] ?? file;
    if (/^\((?:fail|skip|todo)\)/.test(line))
      found.push({ file, text: lines.slice(Math.max(after, index - 60), index + 1).join("\n") });
    if (/^\((?:pass|fail|skip|todo)\)/.test(line)) after = index + 1;
    // Below the counts, bun prints the failed tests once more.
    if (/^\s*\d+ (?:tests? failed|pass)/.test(line)) break;
  }
  return found;
}

/** The test files of a directory with one of the words in their names. */
function filesOf(directory: string): string[] {
  const all = [...new Bun.Glob(`${directory}/**/*.test.ts`).scanSync(root)];
  return all.filter((file) => filters.some((word) => file.includes(word)));
}

async function run(
  command: string[],
  env: Record<string, string>,
  heard?: (text: string) => void,
): Promise<{ code: number; output: string }> {
  const child = Bun.spawn(command, {
    cwd: root,
    env: { ...process.env, ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const read = async (stream: ReadableStream<Uint8Array>): Promise<string> => {
    const decoder = new TextDecoder();
    let text = "";
    for await (const chunk of stream) {
      const more = decoder.decode(chunk, { stream: true });
      text += more;
      heard?.(more);
    }
    return text;
  };
  const [stdout, stderr] = await Promise.all([read(child.stdout), read(child.stderr)]);
  return { code: await child.exited, output: `${stdout}${stderr}`.trim() };
}

/** Says a line for each file of tests when it is through: how many passed and failed, and how long it took. */
class FileByFile {
  readonly #suite: string;
  #rest = "";
  #file: { name: string; began: number; passed: number; failed: number } | undefined;

  constructor(suite: string) {
    this.#suite = suite;
  }

  /** Takes more of what `bun test` prints. */
  readonly hear = (text: string): void => {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      const name = /^(test\/\S+\.test\.ts):$/.exec(line)?.[1];
      if (name !== undefined) {
        this.end();
        this.#file = { name, began: performance.now(), passed: 0, failed: 0 };
      } else if (this.#file !== undefined && /^\(pass\)/.test(line)) this.#file.passed++;
      else if (this.#file !== undefined && /^\((?:fail|skip|todo)\)/.test(line)) this.#file.failed++;
      // Below the counts, bun prints the failed tests once more.
      else if (/^\s*\d+ (?:tests? failed|pass)/.test(line)) this.end();
    }
  };

  /** Says the last one. */
  end(): void {
    if (this.#file === undefined) return;
    const { name, began, passed, failed } = this.#file;
    const result = failed === 0 ? `${passed} passed` : `${passed} passed, ${failed} FAILED`;
    progress(`test: ${this.#suite}: ${name}: ${result} in ${elapsed(began)}`);
    this.#file = undefined;
  }
}
