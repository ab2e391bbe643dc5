// SPDX-License-Identifier: GPL-2.0-or-later

// Commands put so that libnftables need not know what is in the sets of others. No input or output.

/** A set or map as a command declares it. */
export type Declaration = {
  readonly kind: "set" | "map";
  /** What stands in its braces, without elements. */
  readonly body: string;
};

/** A command, and by how many bytes what follows the name of its object lies further behind than it did; 0 where it is as it was. */
export type Command = { readonly text: string; readonly shift: number };

/**
 * Puts commands that add elements as declarations of the set or map with these elements: for the kernel it is the same.
 *
 * For `add element` libnftables (1.0.6 to 1.1.3) first fetches the elements of every set of intervals in every table, half a
 * million of which take some ten seconds. For a declaration it fetches no element at all.
 *
 * @param declared says how a set or map of table `inet` is declared that no command before declares; where it cannot, the
 * command stays as it is
 */
export function withoutLookingAtOthers(
  lines: readonly string[],
  declared: (table: string, name: string) => Declaration | undefined,
): Command[] {
  const known = new Map<string, Declaration | undefined>();
  const emptied = new Set<string>();
  return lines.map((text) => {
    const [, verb, kind, table, name, rest] =
      /^(add|create|delete) (set|map|element|table) inet (\S+)(?: (\S+)(?: (.*))?)?$/s.exec(text) ?? [];
    if (kind === "table" && verb === "delete" && table !== undefined) {
      emptied.add(table);
      for (const key of known.keys()) if (key.startsWith(`${table} `)) known.delete(key);
    }
    if (table === undefined || name === undefined) return { text, shift: 0 };
    const key = `${table} ${name}`;
    if (kind === "set" || kind === "map") {
      const body = verb === "delete" ? undefined : bodyOf(rest ?? "");
      known.set(key, body === undefined ? undefined : { kind, body });
    }
    if (kind !== "element" || verb === "delete" || !/^\{.*\}$/s.test(rest ?? "")) return { text, shift: 0 };
    if (!known.has(key)) known.set(key, emptied.has(table) ? undefined : declared(table, name));
    const set = known.get(key);
    if (set === undefined) return { text, shift: 0 };
    const start = `add ${set.kind} inet ${table} ${name} { ${set.body}; elements = `;
    const put = `${start}${rest}; }`;
    return {
      text: put,
      shift: Buffer.byteLength(start) - Buffer.byteLength(`${verb} element inet ${table} ${name} `),
    };
  });
}

/** Puts what {@link withoutLookingAtOthers} made of a command that adds elements as that command again; others as they are. */
export function asElements(line: string, isDeclared: (name: string) => boolean): string {
  const [, table, name, elements] =
    /^add (?:set|map) inet (\S+) (\S+) \{ .*?; elements = (\{.*\}); \}$/s.exec(line) ?? [];
  return name !== undefined && isDeclared(name) ? `add element inet ${table} ${name} ${elements}` : line;
}

/** Takes the elements out of what a set or map is declared by; `undefined` where that is not in braces. */
function bodyOf(definition: string): string | undefined {
  const [, inner] = /^\{(.*)\}$/s.exec(definition.trim()) ?? [];
  if (inner === undefined) return undefined;
  return statements(inner)
    .filter((statement) => statement !== "" && !/^elements\b/.test(statement))
    .join("; ");
}

/** Splits at what ends a statement, but not within quotes or braces. */
function statements(inner: string): string[] {
  const found = [""];
  let depth = 0;
  for (const [piece] of inner.matchAll(/"[^"]*"|./gs)) {
    if (piece === "{") depth++;
    if (piece === "}") depth--;
    if (depth === 0 && (piece === ";" || piece === "\n")) found.push("");
    else found[found.length - 1] += piece;
  }
  return found.map((statement) => statement.trim());
}
