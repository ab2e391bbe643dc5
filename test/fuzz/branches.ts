// SPDX-License-Identifier: GPL-2.0-or-later

/**
 * Counts how often each branch of some sources is taken. The sources are taken apart by the TypeScript compiler, and a counter
 * is put into each branch when they are loaded: where a function, a loop, a case and a handler begins, each side of a
 * condition, also one that is not written, and the right side of `&&`, `||` and `??`.
 *
 * It has to be called before anything loads one of them: what is loaded stays as it is.
 */

import { readFileSync } from "node:fs";
import * as ts from "typescript/unstable/ast";
import { API } from "typescript/unstable/async";
import { createVirtualFileSystem } from "typescript/unstable/fs";

/** A branch: where it begins, from 1, within which function or class of the file, and what it is of. */
export type Branch = {
  readonly file: string;
  readonly within: string;
  readonly line: number;
  readonly what: string;
};

/** The branches, and how often each was taken since the counts were last set to nought. */
export type Branches = { readonly all: readonly Branch[]; readonly counts: Uint32Array };

const COUNTS = "authnftBranches";

/** Has branches counted from now on. @param files absolute paths of TypeScript files */
export async function countBranches(files: readonly string[]): Promise<Branches> {
  const all: Branch[] = [];
  const texts = new Map<string, string>();
  for (const [file, source] of await parsed(files)) texts.set(file, counted(file, source, all));
  const counts = new Uint32Array(all.length);
  Object.assign(globalThis, { [COUNTS]: counts });
  const names = files.map((file) => RegExp.escape(file)).join("|");
  Bun.plugin({
    name: "count branches",
    setup(build) {
      build.onLoad({ filter: new RegExp(`^(?:${names})$`) }, ({ path }) => ({
        contents: texts.get(path) ?? "",
        loader: "ts",
      }));
    },
  });
  return { all, counts };
}

async function parsed(files: readonly string[]): Promise<Map<string, ts.SourceFile>> {
  const project = "/tsconfig.json";
  const virtual = Object.fromEntries(files.map((file) => [file, readFileSync(file, "utf8")]));
  virtual[project] = JSON.stringify({ compilerOptions: { noLib: true, noResolve: true, types: [] }, files });
  const api = new API({ cwd: "/", fs: createVirtualFileSystem(virtual) });
  try {
    const snapshot = await api.updateSnapshot({ openProject: project });
    const sources = new Map<string, ts.SourceFile>();
    for (const file of files) {
      const source = await snapshot.getProjects()[0]?.program.getSourceFile(file);
      if (source === undefined) throw new Error(`Cannot take ${file} apart: the compiler did not read it.`);
      sources.set(file, source);
    }
    return sources;
  } finally {
    await api.close();
  }
}

/** The text of a file with its counters; its branches are added to `all`. */
function counted(file: string, source: ts.SourceFile, all: Branch[]): string {
  const lines = source.text.split("\n").map((line) => line.length + 1);
  const lineOf = (position: number): number => {
    let [line, end] = [0, 0];
    while (end <= position && line < lines.length) end += lines[line++] ?? 0;
    return line;
  };
  let within = "";
  const count = (node: ts.Node, what: string): string => {
    all.push({ file, within, line: lineOf(node.getStart(source)), what });
    return `${COUNTS}[${all.length - 1}]++`;
  };
  /** The text between two places, with that of the nodes in between in their counted form. */
  const between = (start: number, end: number, children: readonly (readonly [ts.Node, string])[]): string => {
    let [text, at] = ["", start];
    for (const [child, instead] of children) {
      text += source.text.slice(at, child.pos) + instead;
      at = child.end;
    }
    return text + source.text.slice(at, end);
  };
  const statement = (node: ts.Statement, what: string): string => {
    const counter = count(node, what);
    return ` { ${counter}; ${written(node)} }`;
  };
  const expression = (node: ts.Expression, what: string): string => {
    const counter = count(node, what);
    return ` (${counter}, ${written(node)})`;
  };
  const instead = (node: ts.Node, parent: ts.Node): string => {
    if (ts.isIfStatement(parent)) {
      if (node === parent.thenStatement)
        return (
          statement(parent.thenStatement, "if") +
          (parent.elseStatement === undefined ? ` else { ${count(parent, "if not")}; }` : "")
        );
      if (node === parent.elseStatement) return statement(parent.elseStatement, "else");
    }
    if (ts.isConditionalExpression(parent)) {
      if (node === parent.whenTrue) return expression(parent.whenTrue, "? yes");
      if (node === parent.whenFalse) return expression(parent.whenFalse, "? no");
    }
    if (ts.isBinaryExpression(parent) && node === parent.right) {
      const operator = source.text.slice(parent.left.end, parent.right.pos).trim();
      if (/^(?:&&|\|\||\?\?)=?$/.test(operator)) return expression(parent.right, operator);
    }
    if (
      (ts.isForStatement(parent) ||
        ts.isForInStatement(parent) ||
        ts.isForOfStatement(parent) ||
        ts.isWhileStatement(parent)) &&
      node === parent.statement
    )
      return statement(parent.statement, "loop");
    if (ts.isArrowFunction(parent) && node === parent.body && !ts.isBlock(node))
      return expression(node as ts.Expression, "function");
    const isBody =
      ts.isBlock(node) &&
      (ts.isArrowFunction(parent) ||
        ts.isFunctionDeclaration(parent) ||
        ts.isFunctionExpression(parent) ||
        ts.isMethodDeclaration(parent) ||
        ts.isConstructorDeclaration(parent) ||
        ts.isGetAccessorDeclaration(parent) ||
        ts.isCatchClause(parent));
    if (isBody) {
      const counter = count(parent, ts.isCatchClause(parent) ? "catch" : "function");
      return written(node).replace("{", () => `{ ${counter};`);
    }
    if (ts.isCaseClause(node) || ts.isDefaultClause(node)) {
      const colon = node.statements.pos;
      const counter = count(node, "case");
      const children = childrenOf(node).map((child) => [child, instead(child, node)] as const);
      return (
        between(
          node.pos,
          colon,
          children.filter(([child]) => child.end <= colon),
        ) +
        ` ${counter}; ` +
        between(
          colon,
          node.end,
          children.filter(([child]) => child.pos >= colon),
        )
      );
    }
    return written(node);
  };
  const written = (node: ts.Node): string =>
    between(
      node.pos,
      node.end,
      childrenOf(node).map((child) => [child, instead(child, node)]),
    );
  const outermost = (node: ts.Node): string => {
    within =
      (ts.isFunctionDeclaration(node) || ts.isClassDeclaration(node)) && node.name ? node.name.text : "";
    return instead(node, source);
  };
  return between(
    source.pos,
    source.end,
    childrenOf(source).map((child) => [child, outermost(child)]),
  );
}

function childrenOf(node: ts.Node): ts.Node[] {
  const children: ts.Node[] = [];
  node.forEachChild((child) => {
    children.push(child);
    return undefined;
  });
  return children;
}
