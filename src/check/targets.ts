// SPDX-License-Identifier: GPL-2.0-or-later

// Which files are checked, by the names that were given.

import { type Dirent, lstatSync, readdirSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { escapeName } from "../escaped_name.ts";
import { FRAGMENT_DIRECTORY } from "../paths.ts";
import { oneLine, Refusal } from "../refusal.ts";
import { shellWord } from "../shell_word.ts";
import type { Found } from "../subjects/session/find.ts";
import { isThere } from "../system/host/files.ts";
import type { Findings } from "./findings.ts";
import { escapedOf, isFileName, kindOf, userOf } from "./names.ts";
import type { Source, Target } from "./source.ts";

/** A file or user that is not there to be checked. */
export class UnknownName extends Error {
  override readonly name = "UnknownName";
}

/** Which fragment holds for a user; `undefined` where none does. */
export type Holding = { readonly user: string; readonly found: Found | undefined };

/** What is chosen by. */
export type Choice = {
  /** Files and users; everything when empty. */
  readonly names: readonly string[];
  /** The user whose fragment is checked, or for whom the files are compiled. */
  readonly user: string | undefined;
  /** The directory that a copy of the tree lies below; "" for the tree itself. */
  readonly root: string;
};

/** What is checked. */
export type Chosen = {
  readonly targets: readonly Target[];
  /** The fragments that hold for the users that were named. */
  readonly holdings: readonly Holding[];
  /** The files whose findings are of interest; `undefined` for all. */
  readonly only: ReadonlySet<string> | undefined;
};

/**
 * Chooses the targets of a check.
 *
 * @param source reads what includes a chosen piece
 * @param findings takes what the choice itself finds
 * @throws {UnknownName} when something that was named is not there
 */
export async function chooseTargets(
  { names, user, root }: Choice,
  source: Source,
  findings: Findings,
): Promise<Chosen> {
  const base = `${root}${FRAGMENT_DIRECTORY}`;
  const targets: Target[] = [];
  const through: Target[] = [];
  const pieces: string[] = [];
  const holdings: Holding[] = [];
  const asFragment = (path: string): Target => ({ path, as: "fragment", user: user ?? userOf(path) });

  /** Chooses everything below a directory of the tree. */
  const chooseAll = (directory: string): void => {
    const paths = filesBelow(directory, base, findings);
    const fragments = paths.filter((path) => kindOf(path) === "fragment");
    targets.push(...fragments.map(asFragment));
    const those = paths.filter((path) => kindOf(path) === "piece");
    if (those.length > 0) choosePieces(those, resolve(directory) === resolve(base) ? fragments : undefined);
  };

  /** Chooses pieces through the fragments that include them, and by themselves where none does. */
  const choosePieces = (those: readonly string[], chosen: readonly string[] | undefined): void => {
    const fragments =
      chosen ?? filesBelow(base, base, findings).filter((path) => kindOf(path) === "fragment");
    const wholes = fragments.map((path) => source.read(asFragment(path)));
    const included = new Set(wholes.flatMap(({ includes }) => [...includes.keys()]));
    if (chosen === undefined) {
      pieces.push(...those);
      for (const { files, target } of wholes)
        if (those.some((piece) => files.has(piece))) through.push(target);
    }
    for (const path of those) if (!included.has(path)) targets.push({ path, as: "piece", user });
  };

  /** Chooses a file by its name; false when it must be a user's name. */
  const chooseFile = (name: string): boolean => {
    const known = nameInTree(name, base);
    const stat = isFileName(name) ? lstatSync(name, { throwIfNoEntry: false }) : undefined;
    if (!name.includes("/") && (stat === undefined || isThere(`${base}/users/${escapeName(name)}`)))
      return false;
    if (stat === undefined) throw new UnknownName(`There is no file ${oneLine(name)} to check.`);
    if (stat.isDirectory()) {
      if (known === undefined && resolve(name) !== resolve(base))
        throw new UnknownName(
          `Cannot check ${oneLine(name)}: it is a directory other than ${base}; name files, or the tree that it is a copy of with --root.`,
        );
      chooseAll(name);
    } else if (known === undefined) targets.push({ path: name, as: "text", user });
    else if (kindOf(known) === "piece") choosePieces([known], undefined);
    else targets.push(asFragment(known));
    return true;
  };

  if (names.length === 0 && user === undefined) {
    chooseAll(base);
    return { targets, holdings, only: undefined };
  }
  for (const name of names) if (!chooseFile(name)) holdings.push(await holding(name, root, findings));
  if (user !== undefined && names.length === 0) holdings.push(await holding(user, root, findings));
  for (const { user, found } of holdings)
    if (found !== undefined) targets.push({ path: found.path, as: "fragment", user });
  if (pieces.length === 0) return { targets, holdings, only: undefined };
  // Of the fragments that include the pieces, only what they make of these matters.
  const only = [...targets.map(({ path }) => path), ...pieces, ...holdings.map(({ user }) => ownPath(user))];
  return { targets: [...targets, ...through], holdings, only: new Set(only) };
}

/** Returns the path of a user's own fragment, whether it is there or not. */
function ownPath(user: string): string {
  return `${FRAGMENT_DIRECTORY}/users/${escapeName(user)}`;
}

/** Lists the files below a directory, by the names that they have in the tree itself. */
function filesBelow(directory: string, base: string, findings: Findings): string[] {
  let entries: Dirent[];
  try {
    entries = readdirSync(directory, { recursive: true, withFileTypes: true });
  } catch (error) {
    throw new UnknownName(
      `Cannot look into ${directory}: ${(error as NodeJS.ErrnoException).code}; run "authnft install", or name files.`,
    );
  }
  return entries
    .flatMap((entry) => {
      if (entry.isDirectory()) return [];
      const path = nameInTree(join(entry.parentPath, entry.name), base);
      if (path === undefined || entry.name.startsWith(".")) return [];
      if (kindOf(path) !== "leftover") return [path];
      const escaped = escapedOf(path);
      findings.remarkOnFile(path, {
        level: "warning",
        text: `this is nobody's fragment, by its name, and was not checked; ${escaped === undefined ? "remove it, or rename it" : `remove it, or call it ${shellWord(escaped)} if ${JSON.stringify(oneLine(basename(path)))} is whose it is`}`,
      });
      return [];
    })
    .sort();
}

/** Returns the name that a file of a copy has in the tree itself; `undefined` for a file elsewhere. */
function nameInTree(path: string, base: string): string | undefined {
  const tree = resolve(base);
  const whole = resolve(path);
  return whole.startsWith(`${tree}/`) ? `${FRAGMENT_DIRECTORY}${whole.slice(tree.length)}` : undefined;
}

/** Finds the fragment that holds for a user. That there is none is what a login would refuse, and a finding. */
async function holding(name: string, root: string, findings: Findings): Promise<Holding> {
  const exists = (path: string): boolean => isThere(`${root}${path}`);
  const { findUser } = await import("../system/ffi/users.ts");
  const { groupFragments, groupFiles } = await import("./groups.ts");
  const { findFragment } = await import("../subjects/session/find.ts");
  const user = findUser(name);
  const own = name !== "" && exists(`${FRAGMENT_DIRECTORY}/users/${escapeName(name)}`);
  if (user === undefined && !own) {
    throw new UnknownName(
      `There is no file and no user ${JSON.stringify(oneLine(name))} to check; a file in this directory is named with "./" before it.`,
    );
  }
  const groups = user === undefined ? [] : groupFiles(user, groupFragments(root));
  const seeker = { name: user?.name ?? name, groups };
  try {
    return { user: seeker.name, found: findFragment(seeker, exists) };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    findings.remarkOnFile(ownPath(seeker.name), { level: "error", text: error.message });
    return { user: seeker.name, found: undefined };
  }
}
