// SPDX-License-Identifier: GPL-2.0-or-later

// The files below /run/authnft that every kind of subject shares: locks, saved rules, the list of closed slices.

import { statSync } from "node:fs";
import {
  COMPILED_DIRECTORY,
  LOCK_DIRECTORY,
  NAMES_DIRECTORY,
  POLICY_DIRECTORY,
  RECORD_DIRECTORY,
  RULESET_FILE,
  RUNTIME,
  SESSIONS_FILE,
  SLICES_FILE,
} from "../paths.ts";
import { Refusal } from "../refusal.ts";
import { BASE_SETS, TABLE } from "../ruleset/table.ts";
import { isUnfinished, type Lock, writerOf } from "../system/host/files.ts";
import { asElements, withoutLookingAtOthers } from "../system/kernel/nft_commands.ts";
import { deniedDirectory } from "./denied.ts";
import { listDirectory, lock, makeDirectory, readText, removeFile, renameFile, replaceFile } from "./host.ts";

/**
 * Saved commands: those in force, those put aside when a subject is closed, those that close a slice; and of shared policies those
 * that the table has, and those of which only closed subjects may need a copy.
 */
type Kind = "nft" | "closed" | "slice" | "shared" | "spare";

/**
 * The first line of saved commands. Those of an earlier release, whose rules do not stamp the packets that they let through, are not
 * restored but compiled again.
 */
const FORMAT = "# format 3";

/** The last line of saved commands: a file without it was cut, and a command cut in its middle would swallow those of others. */
const END = "# end";

/**
 * Takes the lock under which the table, the records and the saved rules change together. Hold it for milliseconds only, and take
 * it after a session's own lock.
 *
 * @throws {Refusal} `timeout` or `record`
 */
export function lockRuleset(deadline: number): Promise<Lock> {
  return takeLock("ruleset", deadline, "ps -C authnft");
}

/**
 * Takes a lock of ours by its name.
 *
 * @param deadline on the clock of `performance.now()`, in milliseconds
 * @param hint a command that shows its holder
 * @throws {Refusal} `timeout` or `record`
 */
export async function takeLock(name: string, deadline: number, hint: string): Promise<Lock> {
  try {
    makeDirectory(LOCK_DIRECTORY, 0o700);
    const held = await lock(`${LOCK_DIRECTORY}/${name}`, deadline);
    if (held !== undefined) return held;
  } catch (error) {
    throw notKept(`lock ${name}`, error);
  }
  throw new Refusal("timeout", `Cannot lock ${name}: another process of authnft holds it; see "${hint}".`);
}

/** Removes the unfinished files that a killed process left for a session or a user. @throws {Error} of node:fs */
export function removeUnfinished(directory: string, name: string): void {
  for (const file of namesIn(directory))
    if (file.startsWith(`${name}.`) && isUnfinished(file)) removeFile(`${directory}/${file}`);
}

/** Saves the commands that loaded a subject's rules, or that close a slice. @throws {Refusal} `record` */
export function savePolicy(
  name: string,
  lines: readonly string[],
  kind: Exclude<Kind, "closed"> = "nft",
): void {
  try {
    makeDirectory(POLICY_DIRECTORY, 0o700);
    replaceFile(
      `${POLICY_DIRECTORY}/${name}.${kind}`,
      `${[FORMAT, ...forNft(lines), END].join("\n")}\n`,
      0o600,
    );
    if (kind === "nft") removeFile(`${POLICY_DIRECTORY}/${name}.closed`);
  } catch (error) {
    throw notKept(`write the rules of ${name}`, error);
  }
}

/**
 * Saves the commands that loaded a subject's rules, like {@link savePolicy}.
 *
 * @returns the undoing: it puts back the commands that were saved before, in force or put aside. It throws as saving does.
 */
export function swapPolicy(name: string, lines: readonly string[]): () => void {
  const before = (["nft", "closed"] as const).map((kind) => {
    const path = `${POLICY_DIRECTORY}/${name}.${kind}`;
    return { path, text: readText(path) };
  });
  savePolicy(name, lines);
  return () => {
    for (const { path, text } of before) {
      if (text === undefined) removeFile(path);
      else replaceFile(path, text, 0o600);
    }
  };
}

/** Reads the saved commands of a subject; `undefined` when there are none. */
export function readPolicy(name: string, kind: Exclude<Kind, "slice"> = "nft"): string[] | undefined {
  const [format, ...lines] =
    readText(`${POLICY_DIRECTORY}/${name}.${kind}`)
      ?.split("\n")
      .filter((line) => line !== "") ?? [];
  return format === FORMAT && lines.pop() === END
    ? lines.map((line) => asElements(line, isOfBase))
    : undefined;
}

/** Returns a string that differs for every saving of a subject's commands, be they the same word for word. */
export function policyVersion(name: string): string {
  return (["nft", "closed"] as const)
    .map((kind) => {
      const file = statSync(`${POLICY_DIRECTORY}/${name}.${kind}`, { bigint: true, throwIfNoEntry: false });
      return file === undefined ? kind : `${kind} ${file.ino} ${file.ctimeNs}`;
    })
    .join(", ");
}

/** Puts a subject's commands aside: they are no longer in force. Forgets them where that fails. @throws {Refusal} `record` */
export function closePolicy(name: string): void {
  const path = `${POLICY_DIRECTORY}/${name}.nft`;
  try {
    renameFile(path, `${POLICY_DIRECTORY}/${name}.closed`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    try {
      removeFile(path);
    } catch {
      throw notKept(`put aside the rules of ${name}`, error);
    }
  }
}

/** Forgets a subject's commands. @throws {Error} of node:fs */
export function removePolicy(name: string): void {
  for (const kind of ["nft", "closed", "slice"]) removeFile(`${POLICY_DIRECTORY}/${name}.${kind}`);
  removeUnfinished(POLICY_DIRECTORY, name);
}

/** Returns the path of a file of saved commands. */
export function policyPath(name: string, kind: Kind): string {
  return `${POLICY_DIRECTORY}/${name}.${kind}`;
}

/** Puts the commands of a shared policy aside, which the table does not have any more. @throws {Error} of node:fs */
export function makeSpare(name: string): void {
  try {
    renameFile(`${POLICY_DIRECTORY}/${name}.shared`, `${POLICY_DIRECTORY}/${name}.spare`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

/** Removes one file of saved commands. @throws {Error} of node:fs */
export function removePolicyFile(name: string, kind: Kind): void {
  removeFile(`${POLICY_DIRECTORY}/${name}.${kind}`);
}

/** Lists the ids with saved commands of a kind. */
export function policyNames(kind: Kind): string[] {
  return namesIn(POLICY_DIRECTORY).flatMap((file) => {
    const name = file.endsWith(`.${kind}`) ? file.slice(0, -kind.length - 1) : "";
    return name === "" ? [] : [name];
  });
}

/** An unfinished file, and the process that began it. */
export type Unfinished = { readonly path: string; readonly writer: number };

/** Lists the unfinished files of ours. A process may be about to finish one. */
export function unfinishedFiles(): Unfinished[] {
  return [RUNTIME, RECORD_DIRECTORY, POLICY_DIRECTORY, NAMES_DIRECTORY, COMPILED_DIRECTORY].flatMap(
    (directory) =>
      namesIn(directory).flatMap((name) => {
        const writer = writerOf(name);
        return writer === undefined ? [] : [{ path: `${directory}/${name}`, writer }];
      }),
  );
}

/** Saves the files by which nft itself restores the table and every session's rules. @throws {Refusal} `record` */
export function saveRuleset(base: readonly string[]): void {
  const include = (names: string): string => `include "${POLICY_DIRECTORY}/${names}"`;
  try {
    makeDirectory(POLICY_DIRECTORY, 0o700);
    replaceFile(RULESET_FILE, `${[...forNft(base), include("cover_*.slice")].join("\n")}\n`, 0o600);
    replaceFile(SESSIONS_FILE, `${[include("*.shared"), include("*.nft")].join("\n")}\n`, 0o600);
  } catch (error) {
    throw notKept("write the ruleset", error);
  }
}

/** Rewrites commands so that nft runs them without fetching the elements of other tables' sets, which may be very many. */
function forNft(lines: readonly string[]): string[] {
  const base = BASE_SETS.map(
    ({ kind, name, definition }) => `add ${kind} ${TABLE} ${name} { ${definition}; }`,
  );
  return withoutLookingAtOthers([...base, ...lines], () => undefined)
    .slice(base.length)
    .map(({ text }) => text);
}

/** Whether a set or map is one of the base. A subject's own keeps its declaration. */
function isOfBase(name: string): boolean {
  return BASE_SETS.some((set) => set.name === name);
}

/** A closed slice, and the set in the table that closes it. */
export type ClosedSlice = {
  readonly set: "slices" | "covered_slices";
  readonly name: string;
  readonly id: bigint;
};

/** Adds a slice to the list of closed ones. @throws {Refusal} `record` */
export function rememberSlice({ set, name, id }: ClosedSlice): void {
  const line = `${set} ${name} ${id}`;
  try {
    const kept = readText(SLICES_FILE) ?? "";
    // Written whole, like every file here: appending would follow a link, or wait for the reader of a FIFO.
    if (!kept.split("\n").includes(line)) replaceFile(SLICES_FILE, `${kept}${line}\n`, 0o600);
  } catch (error) {
    throw notKept("write the list of slices", error);
  }
}

/** Reads the list of slices that were closed since the boot, or since nobody was logged in. */
export function rememberedSlices(): ClosedSlice[] {
  return (readText(SLICES_FILE) ?? "").split("\n").flatMap((line) => {
    const [, set, name, id] = /^(slices|covered_slices) (\S+) (\d+)$/.exec(line) ?? [];
    if ((set !== "slices" && set !== "covered_slices") || name === undefined || id === undefined) return [];
    return [{ set, name, id: BigInt(id) }];
  });
}

/** Replaces the list of slices. @throws {Refusal} `record` */
export function keepSlices(slices: readonly ClosedSlice[]): void {
  try {
    replaceFile(SLICES_FILE, slices.map(({ set, name, id }) => `${set} ${name} ${id}\n`).join(""), 0o600);
  } catch (error) {
    throw notKept("write the list of slices", error);
  }
}

/** Lists a directory of ours; nothing where it is not there yet. */
export function namesIn(directory: string): string[] {
  try {
    return listDirectory(directory);
  } catch {
    return []; // there was no session yet
  }
}

/** Makes the refusal that says that our state cannot be saved. */
export function notKept(act: string, error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  const code = (error as NodeJS.ErrnoException).code ?? String(error);
  const hidden = deniedDirectory(code);
  if (hidden !== undefined) return new Refusal("host", `Cannot ${act} in /run/authnft: ${hidden}.`);
  return new Refusal(
    "record",
    `Cannot ${act} in /run/authnft: ${code}; make room in /run, and run "systemd-tmpfiles --create authnft.conf".`,
  );
}
