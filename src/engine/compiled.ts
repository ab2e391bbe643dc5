// SPDX-License-Identifier: GPL-2.0-or-later

// Compiled policies, kept from one login to the next: a fragment that did not change is not compiled again.

import { createHash } from "node:crypto";
import { dirname } from "node:path";
import * as v from "valibot";
import { COMPILED_DIRECTORY, FRAGMENT_DIRECTORY, RUNTIME } from "../paths.ts";
import { Refusal } from "../refusal.ts";
import { fingerprint, makeDirectory, readTrusted, replaceFile } from "./host.ts";

const CompilationSchema = v.object({
  /** The fingerprints of every file and directory that it was made from, by path. */
  files: v.record(v.string(), v.string()),
  commands: v.number(),
  /** Of the address filter: family, address in hex, and how many bits count. */
  addresses: v.nullable(v.array(v.tuple([v.picklist(["ip", "ip6"]), v.string(), v.number()]))),
  shared: v.object({
    name: v.pipe(v.string(), v.regex(/^policy_[0-9a-f]{16}$/)),
    lines: v.pipe(
      v.array(v.pipe(v.string(), v.regex(/^(create|add) (chain|set|map|element|rule) inet authnft policy_/))),
      v.readonly(),
    ),
    places: v.pipe(v.array(v.nullable(v.string())), v.readonly()),
    isListed: v.boolean(),
  }),
});

/** A policy that is the same for every subject at a level, as it was compiled. */
export type Compilation = v.InferOutput<typeof CompilationSchema>;

/** A compilation to be kept. */
export type Keep = { readonly path: string; readonly level: number; readonly compilation: Compilation };

/** Bytes of a kept compilation: more than the largest policy has. */
const SIZE_LIMIT = 32 << 20;

/**
 * How long a file must not have changed before its compilation is kept, in milliseconds: two changes within one tick of the
 * kernel's clock leave it with the same times.
 */
const SETTLED = 2000;

/** Reads what was kept of a fragment, if it is what would be compiled now; `undefined` otherwise. */
export function readCompiled(path: string, level: number): Compilation | undefined {
  let parsed: v.SafeParseResult<typeof CompilationSchema>;
  try {
    const bytes = readTrusted(fileOf(path, level), { top: RUNTIME, sizeLimit: SIZE_LIMIT });
    parsed = v.safeParse(CompilationSchema, JSON.parse(Buffer.from(bytes).toString()));
  } catch {
    return undefined; // there is none, or it is not to be believed
  }
  if (!parsed.success) return undefined;
  const { files } = parsed.output;
  const isSame = Object.entries(files).every(([file, print]) => fingerprint(file)?.text === print);
  return isSame && Object.hasOwn(files, path) ? parsed.output : undefined;
}

/** Keeps a compilation. Best effort: without it the next login compiles again. */
export function keepCompiled({ path, level, compilation }: Keep): void {
  try {
    makeDirectory(COMPILED_DIRECTORY, 0o700);
    replaceFile(fileOf(path, level), JSON.stringify(compilation), 0o600);
  } catch (error) {
    if (!(error instanceof Refusal) && !("code" in (error as object))) throw error;
  }
}

/** Looks at files before they are read, and tells afterwards whether they are still the same. */
export function watchFiles(): {
  readonly look: (file: string) => void;
  /** Returns all fingerprints; `undefined` where something changed meanwhile, or a moment ago. */
  readonly unchanged: () => Compilation["files"] | undefined;
} {
  const seen = new Map<string, ReturnType<typeof fingerprint>>();
  const look = (path: string): void => {
    if (!seen.has(path)) seen.set(path, fingerprint(path));
  };
  look(process.execPath);
  return {
    look: (file) => {
      for (let at = file; at.startsWith(FRAGMENT_DIRECTORY); at = dirname(at)) look(at);
    },
    unchanged: () => {
      const files: Record<string, string> = {};
      for (const [path, before] of seen) {
        const now = fingerprint(path);
        if (now === undefined || now.text !== before?.text || now.age < SETTLED) return undefined;
        files[path] = now.text;
      }
      return files;
    },
  };
}

function fileOf(path: string, level: number): string {
  return `${COMPILED_DIRECTORY}/${createHash("sha256").update(`${level} ${path}`).digest("hex")}.json`;
}
