// SPDX-License-Identifier: GPL-2.0-or-later

import { existsSync, lstatSync, readdirSync, rmdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { FRAGMENT_DIRECTORY, LIBRARY, RUNTIME } from "../paths.ts";
import { REFUSED_UNIT, SEAL_UNITS, SWEEP_TIMER } from "../subjects/session/scope_unit.ts";
import { hostCommand } from "../system/host/host_command.ts";
import { linesNaming, pamFiles } from "../system/host/pam_config.ts";
import { directoryOf } from "../system/host/pam_directory.ts";
import { linkTarget } from "../system/host/placement.ts";
import { dataFiles } from "../system/host/shipped.ts";
import { readText } from "../system/host/text_file.ts";
import { DIRECTORIES, FORMER, type Item, layout, ownDirectories } from "./layout.ts";

/** The names of the program in a PAM service: the module, the entry or, wrongly, the executable. */
const NAMES_US = /pam_authnft|\/(libexec|sbin|bin|lib\/authnft)\/authnft/;

/**
 * Takes away what `install` laid out. What the administrator wrote stays.
 *
 * @returns the exit code
 */
export async function runUninstall(options: {
  readonly root: string | undefined;
  readonly force: boolean;
}): Promise<number> {
  const live = options.root === undefined;
  if (live && process.geteuid?.() !== 0) {
    console.error("Cannot uninstall authnft: only root can; run it with sudo.");
    return 1;
  }
  const root = resolve(options.root ?? "/");
  const objections = [...pamObjections(root), ...sessionObjections(root)];
  for (const objection of objections) console.error(objection);
  if (objections.length > 0 && !options.force) {
    console.error('Nothing was taken away. "authnft uninstall --force" does it all the same.');
    return 1;
  }
  const complaints: string[] = [];
  const attempt = async (act: () => void | Promise<void>): Promise<void> => {
    try {
      await act();
    } catch (error) {
      complaints.push((error as Error).message);
    }
  };
  if (live) {
    // Sockets without rules must not be stopped by the seal. Done before the seal's file system goes.
    await attempt(unseal);
    await attempt(stopUnits);
    // Before the files go: the addon is one of them.
    await attempt(deleteTable);
  }
  // Where there is no module of ours, any directory will do to remove none from.
  const modules = directoryOf("pam_authnft.so", root) ?? "/usr/lib/security";
  complaints.push(...takeAway(layout(modules, dataFiles()), root));
  if (live) {
    await attempt(() => rmSync(RUNTIME, { recursive: true, force: true }));
    await attempt(reloadUnits);
  }
  for (const complaint of complaints) console.error(complaint);
  console.log(
    complaints.length === 0
      ? "authnft is uninstalled."
      : "authnft is uninstalled, but for what is said above.",
  );
  for (const word of leftBehind(root)) console.log(word);
  return complaints.length === 0 ? 0 : 1;
}

/**
 * Removes items, and the directories that hold nothing else.
 *
 * @returns a sentence about each that could not be removed
 */
export function takeAway(items: readonly Item[], root: string): string[] {
  // In the reverse order of their coming, so that nothing is executed whose means are gone.
  const files = items
    .toReversed()
    .filter((item) => item.kind !== "link" || linkTarget(join(root, item.path)) === item.target)
    .map(({ path }) => complaintOf(join(root, path), (path) => rmSync(path, { force: true })));
  files.push(...FORMER.map((path) => complaintOf(join(root, path), (path) => rmSync(path, { force: true }))));
  const emptied = [...ownDirectories(items), ...DIRECTORIES.toReversed().map(({ path }) => path)];
  const directories = emptied.map((path) => complaintOf(join(root, path), removeIfEmpty));
  return [...files, ...directories].filter((complaint) => complaint !== undefined);
}

function complaintOf(path: string, remove: (path: string) => void): string | undefined {
  try {
    remove(path);
    return undefined;
  } catch (error) {
    return `Cannot remove ${path}: ${(error as Error).message}.`;
  }
}

function removeIfEmpty(path: string): void {
  try {
    rmdirSync(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    // Not empty, not there, or a symbolic link that the administrator put in its place.
    if (code !== "ENOTEMPTY" && code !== "ENOENT" && code !== "ENOTDIR") throw error;
  }
}

function pamObjections(root: string): string[] {
  return pamFiles(root).flatMap(({ path, text }) =>
    linesNaming(text, NAMES_US).map(
      (line) => `${path}:${line} names authnft: logins through it would fail; take the line out first.`,
    ),
  );
}

function sessionObjections(root: string): string[] {
  const directory = join(root, RUNTIME, "sessions");
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .filter((name) => name.endsWith(".json"))
    .map(
      (name) =>
        `Session ${name.slice(0, -".json".length)} lives: it would go on without its rules; wait for its end.`,
    );
}

function stopUnits(): void {
  if (!existsSync("/run/systemd/system")) return;
  const commands: [string, ...string[]][] = [
    ["systemctl", "disable", "--now", "authnft.service", SWEEP_TIMER],
    ["systemctl", "stop", REFUSED_UNIT, SEAL_UNITS.load, SEAL_UNITS.keep],
  ];
  // Stopping the slice would kill the processes in it.
  if (!/^populated 1$/m.test(readText("/sys/fs/cgroup/authnft.slice/cgroup.events") ?? "")) {
    commands.push(["systemctl", "stop", "authnft.slice"]);
  }
  for (const command of commands) {
    const outcome = hostCommand(...command);
    // A half-installed unit cannot be stopped.
    if (outcome?.ok || /not loaded|does not exist|not found/.test(outcome?.stderr ?? "")) continue;
    throw new Error(`"${command.join(" ")}" failed: ${outcome?.stderr ?? "there is no systemctl"}.`);
  }
}

async function unseal(): Promise<void> {
  const { unsealAll } = await import("../engine/seal.ts");
  unsealAll();
}

async function deleteTable(): Promise<void> {
  try {
    const { runTransaction } = await import("../system/ffi/nftables.ts");
    // "add" makes sure that there is something to delete.
    runTransaction(["add table inet authnft", "delete table inet authnft"]);
  } catch (error) {
    throw new Error(
      `Cannot delete the firewall table: ${(error as Error).message}; run "nft delete table inet authnft".`,
      { cause: error },
    );
  }
}

function reloadUnits(): void {
  if (existsSync("/run/systemd/system")) hostCommand("systemctl", "daemon-reload");
}

/** Lists what stays on purpose, and how to remove it. */
function leftBehind(root: string): string[] {
  const words: string[] = [];
  if (lstatSync(join(root, FRAGMENT_DIRECTORY), { throwIfNoEntry: false }) !== undefined) {
    words.push(`Your policies stay in ${FRAGMENT_DIRECTORY}.`);
  }
  if (/^authnft:/m.test(readText(join(root, "etc/group")) ?? "")) {
    words.push('The group authnft and its members stay; "groupdel authnft" removes it.');
  }
  if (existsSync(join(root, LIBRARY)))
    words.push(`${LIBRARY} stays: it holds files that authnft did not lay out.`);
  return words;
}
