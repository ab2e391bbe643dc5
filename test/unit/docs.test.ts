// SPDX-License-Identifier: GPL-2.0-or-later

// Documents that name tests and files name those that exist.

import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

const root = join(import.meta.dir, "../..");
const documents = [
  join(root, "README.md"),
  join(root, "SECURITY.md"),
  ...readdirSync(join(root, "docs"))
    .filter((name) => name.endsWith(".md"))
    .map((name) => join(root, "docs", name)),
];
const integrations = readFileSync(join(root, "docs/integrations.md"), "utf8");

describe("docs/integrations.md", () => {
  /** The document's form: `file: "describe > test"`, where … stands for what differs from case to case. */
  const references = referencesIn(integrations);

  test("names tests that exist, and so do the other documents", () => {
    expect(references.length).toBeGreaterThan(100);
    const all = documents.flatMap((document) => referencesIn(readFileSync(document, "utf8")));
    expect(all.map(({ file, name }) => faultOf(file, name)).filter(Boolean)).toEqual([]);
  });

  test("has no reference in another form, which nobody would check", () => {
    expect(integrations.match(/\.test\.ts\b/g)).toHaveLength(references.length);
  });

  test("has a test, or says that there is none, in each row of its tables", () => {
    const rows = tables(integrations).filter(({ header }) => header.at(-1) === "held by");
    expect(rows.length).toBeGreaterThan(80);
    const silent = rows.filter(({ cells }) => !/\.test\.ts: "|^no test: /.test(cells.at(-1) ?? ""));
    expect(silent.map(({ cells }) => cells[0])).toEqual([]);
  });

  test("has every row of the published test table, in order", () => {
    const numbers = tables(integrations)
      .filter(({ header }) => header[0] === "row")
      .map(({ cells }) => cells[0]);
    const upTo = (last: number, prefix = ""): string[] =>
      Array.from({ length: last + 1 }, (_, number) => `${prefix}${number}`);
    expect(numbers).toEqual([...upTo(10), ...upTo(10, "10.").slice(1), "valgrind"]);
  });
});

test("the README stays short, and leads to every other page", () => {
  const readme = readFileSync(join(root, "README.md"), "utf8");
  expect(readme.split("\n").length).toBeLessThanOrEqual(200);
  const pages = documents
    .map((document) => relative(root, document))
    .filter((page) => page.startsWith("docs/"));
  expect(pages.filter((page) => !prose(readme).includes(`](${page})`))).toEqual([]);
});

test("commands of npm in the documents are scripts of package.json", () => {
  const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { scripts: object };
  const named = documents.flatMap((document) =>
    [...readFileSync(document, "utf8").matchAll(/\bnpm run (?:--silent )?([\w-]+)/g)].map(
      ([, name = ""]) => name,
    ),
  );
  expect(named.length).toBeGreaterThan(5);
  expect(named.filter((name) => !Object.hasOwn(scripts, name))).toEqual([]);
});

test("relative links lead to files and headings that exist", () => {
  const links = documents.flatMap((document) =>
    [...prose(readFileSync(document, "utf8")).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = ""]) => ({
      document,
      target,
    })),
  );
  expect(links.length).toBeGreaterThan(10);
  const dead = links.filter(
    ({ document, target }) => !/^[a-z]+:/.test(target) && !resolves(document, target),
  );
  expect(dead.map(({ document, target }) => `${relative(root, document)}: ${target}`)).toEqual([]);
});

function referencesIn(text: string): { file: string; name: string }[] {
  return [...text.matchAll(/`([\w/]+\.test\.ts): "([^`]+)"`/g)].map(([, file = "", name = ""]) => ({
    file,
    name,
  }));
}

/** What is wrong with a reference; `undefined` when nothing is. */
function faultOf(file: string, name: string): string | undefined {
  const path = join(root, "test", file);
  if (!existsSync(path)) return `${file} does not exist`;
  const source = readFileSync(path, "utf8");
  // Each part is a whole string literal there: a test's first argument, or the name of a case in a list.
  const lost = name.split(" > ").find((part) => {
    const literal = part.split("…").map(RegExp.escape).join("(?:\\$\\{.*?\\}|%[sdj])");
    return !new RegExp(`(["'\`])${literal}\\1`).test(source);
  });
  return lost === undefined ? undefined : `${file} has no "${lost}"`;
}

type Row = { header: string[]; cells: string[] };

function tables(text: string): Row[] {
  let header: string[] | undefined;
  return text.split("\n").flatMap((line) => {
    if (!line.startsWith("|")) {
      header = undefined;
      return [];
    }
    const cells = line
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) => cell.trim());
    if (header === undefined) {
      header = cells;
      return [];
    }
    return cells.every((cell) => /^-+$/.test(cell)) ? [] : [{ header, cells }];
  });
}

/** The text without what stands in code. */
function prose(text: string): string {
  return text.replace(/^```[\s\S]*?^```/gm, "").replace(/`[^`\n]*`/g, "");
}

function resolves(document: string, target: string): boolean {
  const [path = "", heading] = target.split("#", 2);
  const file = path === "" ? document : join(dirname(document), path);
  if (!existsSync(file)) return false;
  return heading === undefined || headings(readFileSync(file, "utf8")).has(heading);
}

/** The anchors that a Markdown file's headings get. */
function headings(text: string): Set<string> {
  const lines = text.replace(/^```[\s\S]*?^```/gm, "").matchAll(/^#+ (.*)$/gm);
  return new Set(
    [...lines].map(([, heading = ""]) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, "")
        .replaceAll(" ", "-"),
    ),
  );
}
