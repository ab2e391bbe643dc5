// SPDX-License-Identifier: GPL-2.0-or-later
import { readdirSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";

/** A rule of a PAM service: pam.d(5). */
export type PamRule = {
  /** `auth`, `account`, `password` or `session`, in lower case. */
  readonly type: string;
  /** As written: a word, or what stands in square brackets, with them. */
  readonly control: string;
  /** The module as written, or the file that `include` and `substack` name. */
  readonly module: string;
  readonly args: readonly string[];
  readonly file: string;
  /** From 1; the first of several lines joined by backslashes. */
  readonly line: number;
};

/** Debian's `@include`: another file's rules of every type. */
export type PamInclude = { readonly include: string; readonly file: string; readonly line: number };

/** A file that holds a service's rules, or a part that services include. */
export type PamFile = { readonly name: string; readonly path: string; readonly text: string };

/** How deep includes may nest before libpam gives up. */
const DEPTH_LIMIT = 32;

/** Reads the text of a file of /etc/pam.d. Lines that libpam could not use are left out. */
export function parsePamFile(text: string, file: string): (PamRule | PamInclude)[] {
  return logicalLines(text).flatMap(({ content, line }): (PamRule | PamInclude)[] => {
    const words = splitWords(content);
    if (words[0] === "@include") return words[1] === undefined ? [] : [{ include: words[1], file, line }];
    const [type, control, module, ...args] = words;
    if (type === undefined || control === undefined || module === undefined) return [];
    // A leading hyphen only says that the module may be missing without a word in the log.
    return [{ type: type.replace(/^-/, "").toLowerCase(), control, module, args, file, line }];
  });
}

/**
 * The rules of one type that a service goes through, in order, with those of included files in their places.
 *
 * @param read finds an included file by its name
 */
export function pamStack(
  start: PamFile,
  type: string,
  read: (name: string) => PamFile | undefined,
  depth = 0,
): PamRule[] {
  const follow = (name: string): PamRule[] => {
    const file = read(name);
    return file === undefined || depth === DEPTH_LIMIT ? [] : pamStack(file, type, read, depth + 1);
  };
  return parsePamFile(start.text, start.path).flatMap((entry) => {
    if ("include" in entry) return follow(entry.include);
    if (entry.type !== type) return [];
    return isInclusion(entry) ? follow(entry.module) : [entry];
  });
}

/** Returns the file name of a rule's module. */
export function moduleName(rule: PamRule): string {
  return posix.basename(rule.module);
}

/** Returns where a rule is written: file and line. */
export function placeOf(rule: PamRule): string {
  return `${rule.file}:${rule.line}`;
}

/** Returns the number of rules that a rule skips when its module succeeds. */
export function skippedBy(rule: PamRule): number {
  const skipped = /\bsuccess=([0-9]+)\b/.exec(rule.control)?.[1];
  return skipped === undefined ? 0 : Number(skipped);
}

/** Returns the numbers of the lines that name something outside a comment. */
export function linesNaming(text: string, pattern: RegExp): number[] {
  return logicalLines(text)
    .filter(({ content }) => pattern.test(content))
    .map(({ line }) => line);
}

/**
 * The files of a system's PAM configuration: those of the administrator, and of the distribution where the administrator
 * has none of that name.
 *
 * @param root the system's root directory
 */
export function pamFiles(root: string): PamFile[] {
  const found = new Map<string, PamFile>();
  for (const directory of ["/etc/pam.d", "/usr/lib/pam.d"]) {
    for (const name of list(join(root, directory))) {
      if (found.has(name)) continue;
      const path = `${directory}/${name}`;
      try {
        found.set(name, { name, path, text: readFileSync(join(root, path), "utf8") });
      } catch {
        // A directory, or not for us to read: libpam could not use the one, and the other is not a service's.
      }
    }
  }
  return [...found.values()];
}

function isInclusion(rule: PamRule): boolean {
  return rule.control === "include" || rule.control === "substack";
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch {
    return [];
  }
}

/** Lines without comments, those that end in a backslash joined with what follows. */
function logicalLines(text: string): { content: string; line: number }[] {
  const lines: { content: string; line: number }[] = [];
  let begun: { content: string; line: number } | undefined;
  for (const [index, raw] of text.split("\n").entries()) {
    // libpam cuts the comment first: a backslash within it continues nothing.
    const content = raw.replace(/#.*$/, "").trimEnd();
    const continued = content.endsWith("\\");
    const piece = continued ? content.slice(0, -1) : content;
    begun =
      begun === undefined
        ? { content: piece, line: index + 1 }
        : { ...begun, content: `${begun.content} ${piece}` };
    if (continued) continue;
    if (begun.content.trim() !== "") lines.push(begun);
    begun = undefined;
  }
  if (begun !== undefined && begun.content.trim() !== "") lines.push(begun);
  return lines;
}

/** Words are separated by blanks; square brackets hold blanks together, and `\]` in them is a bracket. */
function splitWords(content: string): string[] {
  return [...content.matchAll(/\[(?:\\.|[^\]\\])*\]|\S+/g)].map(([word]) => word);
}
