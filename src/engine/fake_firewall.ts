// SPDX-License-Identifier: GPL-2.0-or-later

// A ruleset that is data. It takes the commands that this program writes and no others, and answers as nftables would.

import { addressBytes, parseAddress } from "../address.ts";
import { SystemError } from "../system/ffi/libc.ts";
import { type Element, TransactionError } from "../system/ffi/nftables.ts";
import type { Firewall } from "./host.ts";

type Change = Parameters<Firewall["change"]>[1][number];
type Named = ReturnType<Firewall["named"]>[number];

/** A set or map: how its keys are made, and its elements by their keys in hex; of a subject's own only the text is kept. */
type FakeSet = {
  readonly kind: "set" | "map";
  readonly key: "cgroup" | "cgroup and address" | "own";
  readonly elements: Map<string, { readonly leads: string; readonly counter: Counter }>;
};

type Counter = { packets: number; bytes: number };

type Table = {
  readonly chains: Map<string, string[]>;
  readonly sets: Map<string, FakeSet>;
  readonly objects: Map<string, "counter" | "quota" | "limit">;
};

const NAME = "[a-zA-Z/][a-zA-Z0-9/\\\\_.-]*";

/** The commands that this program writes. */
const GRAMMAR = {
  comment: /^#.*$/,
  table: /^(add|delete) table inet authnft$/,
  chain: new RegExp(`^(add|create|flush|delete) chain inet authnft (${NAME})( \\{ type .*\\})?$`),
  set: new RegExp(`^(add|create) (set|map) inet authnft (${NAME}) (\\{.*\\})$`),
  object: new RegExp(`^create (counter|quota|limit) inet authnft (${NAME})(?: .*)?$`),
  deletion: new RegExp(`^delete (set|map|counter|quota|limit) inet authnft (${NAME})$`),
  element: new RegExp(`^add element inet authnft (${NAME}) \\{ (.+) \\}$`),
  rule: new RegExp(`^add rule inet authnft (${NAME}) (.+)$`),
  keyed: /^"([^"]+)"(?: \. (\S+))?(?: comment "[^"]{0,127}")?(?: : (.+))?$/,
} as const;

const NO_SUCH = "No such file or directory";
const EXISTS = "File exists";
const BUSY = "Device or resource busy";

/** What nftables says of a line. */
class Complaint extends Error {}

/** A ruleset that holds one table at most. */
export class FakeFirewall implements Firewall {
  /** What was asked of it: the lines of transactions, and the changes by key. */
  readonly asked: (readonly string[] | readonly Change[])[] = [];
  /** Words that nftables takes for a mistake. */
  readonly mistakes = new Set<string>();
  /** Whether somebody translates what this host sends. */
  translates = false;
  #table: Table | undefined;

  /**
   * @param cgroupId the number of a cgroup, by its path
   * @param step called before anything is changed, and after; what it throws is thrown
   */
  constructor(
    private readonly cgroupId: (path: string) => bigint | undefined,
    private readonly step: (what: string, when: "before" | "after") => void = () => undefined,
  ) {}

  /** Empties it, as `nft flush ruleset` does. */
  flush(): void {
    this.#table = undefined;
  }

  readonly runTransaction = (lines: readonly string[]): void => {
    this.asked.push(lines);
    this.step("transaction", "before");
    const tried = structuredClone(this.#table);
    let table = tried;
    for (const [line, text] of lines.entries()) {
      try {
        table = this.#obey(table, text);
      } catch (error) {
        if (!(error instanceof Complaint)) throw error;
        const complaint = error.message;
        throw new TransactionError(`/proc/self/fd/3:${line + 1}:1: Error: ${complaint}`, line, complaint);
      }
    }
    this.#table = table;
    this.step("transaction", "after");
  };

  readonly change = (name: string, changes: readonly Change[]): void => {
    if (name !== "authnft") throw new Error(`There is no fake of table ${name}.`);
    if (changes.length === 0) return;
    this.asked.push(changes);
    this.step("change", "before");
    const tried = structuredClone(this.#table);
    try {
      for (const part of changes) applyTo(tried, part);
      this.#table = tried;
    } catch (error) {
      if (!isGone(error)) throw error;
      for (const part of changes) {
        const alone = structuredClone(this.#table);
        try {
          applyTo(alone, part);
          this.#table = alone;
        } catch (again) {
          if (!isGone(again)) throw again;
        }
      }
    }
    this.step("change", "after");
  };

  readonly elements = (_table: string, set: string): Element[] =>
    [...(this.#table?.sets.get(set)?.elements ?? [])].map(([key, { leads, counter }]) => ({
      key: new Uint8Array(Buffer.from(key, "hex")),
      chain: chainIn(leads),
      counter,
    }));

  readonly element = (table: string, set: string, key: Uint8Array): Element | undefined =>
    this.elements(table, set).find((element) => Buffer.compare(element.key, key) === 0);

  readonly hasChain = (_table: string, chain: string): boolean => this.#table?.chains.has(chain) ?? false;

  readonly countRules = (_table: string, chain: string): number => this.rules(chain).length;

  readonly usesOf = (_table: string, chain: string): number | undefined => {
    const table = this.#table;
    if (table === undefined || !table.chains.has(chain)) return undefined;
    const jumps = [...table.chains.values()]
      .flat()
      .flatMap((rule) => [...withoutStrings(rule).matchAll(LEADS)]);
    return this.rules(chain).length + jumps.filter(([, to]) => to === chain).length;
  };

  readonly named = (): Named[] => [
    ...[...(this.#table?.chains.keys() ?? [])].map((name): Named => ({ kind: "chain", name })),
    ...[...(this.#table?.sets ?? [])].map(([name, { kind }]): Named => ({ kind, name })),
    ...[...(this.#table?.objects ?? [])].map(([name, kind]): Named => ({ kind, name })),
  ];

  readonly translatesOutput = (): boolean => this.translates;

  /** The rules of a chain; none when it is not there. */
  rules(chain: string): readonly string[] {
    return this.#table?.chains.get(chain) ?? [];
  }

  /** The chain that what a cgroup sends or receives is led to; `undefined` when there is no element. */
  leadOf(direction: "in" | "out", id: bigint): string | undefined {
    return this.element("authnft", `session_${direction}`, keyOf(id))?.chain;
  }

  /** The sets that hold something of a cgroup's. */
  setsWith(id: bigint): string[] {
    const begins = hex(keyOf(id));
    return [...(this.#table?.sets ?? [])].flatMap(([name, { elements }]) =>
      [...elements.keys()].some((key) => key.startsWith(begins)) ? [name] : [],
    );
  }

  /** Lets traffic of a cgroup pass its elements. */
  pass(id: bigint, traffic: Counter): void {
    for (const set of ["session_in", "session_out"]) {
      const counter = this.#table?.sets.get(set)?.elements.get(hex(keyOf(id)))?.counter;
      if (counter !== undefined) {
        counter.packets += traffic.packets;
        counter.bytes += traffic.bytes;
      }
    }
  }

  /** Everything that it holds, as one text: two rulesets are the same where this is. */
  print(): string {
    const { chains, sets, objects } = this.#table ?? emptyTable();
    return [
      ...[...chains].map(([name, rules]) => `chain ${name} ${rules.join("; ")}`),
      ...[...sets].map(([name, { elements }]) => {
        const said = [...elements].map(([key, { leads }]) => `${key} ${leads}`);
        return `set ${name} ${said.sort().join(", ")}`;
      }),
      ...[...objects].map(([name, kind]) => `${kind} ${name}`),
    ]
      .sort()
      .join("\n");
  }

  #obey(table: Table | undefined, text: string): Table | undefined {
    for (const word of this.mistakes) if (text.includes(word)) throw new Complaint("syntax error");
    if (GRAMMAR.comment.test(text)) return table;
    const [, tableVerb] = GRAMMAR.table.exec(text) ?? [];
    if (tableVerb === "add") return table ?? emptyTable();
    if (table === undefined) throw new Complaint(NO_SUCH);
    if (tableVerb === "delete") return undefined;
    if (!this.#obeyWithin(table, text)) throw new Error(`nftables was never told this before: ${text}`);
    return table;
  }

  /** @returns whether there is such a command */
  #obeyWithin(table: Table, text: string): boolean {
    const { chains, sets, objects } = table;
    const [, chainVerb, chain, hook] = GRAMMAR.chain.exec(text) ?? [];
    if (chain !== undefined) {
      if (hook !== undefined && chainVerb !== "add") return false;
      if (chainVerb === "create" && chains.has(chain)) throw new Complaint(EXISTS);
      if (chainVerb === "add" || chainVerb === "create") chains.set(chain, chains.get(chain) ?? []);
      else if (!chains.has(chain)) throw new Complaint(NO_SUCH);
      else if (chainVerb === "flush") chains.set(chain, []);
      else remove(table, "chain", chain);
      return true;
    }
    const [, setVerb, kind, set, body] = GRAMMAR.set.exec(text) ?? [];
    if (set !== undefined && body !== undefined) {
      if (sets.has(set) && setVerb === "create") throw new Complaint(EXISTS);
      checkNames(table, body);
      if (!sets.has(set))
        sets.set(set, { kind: kind === "map" ? "map" : "set", key: keyIn(body), elements: new Map() });
      return true;
    }
    const [, objectKind, object] = GRAMMAR.object.exec(text) ?? [];
    if (object !== undefined) {
      if (objects.has(object)) throw new Complaint(EXISTS);
      objects.set(object, objectKind as "counter" | "quota" | "limit");
      return true;
    }
    const [, leavingKind, leaving] = GRAMMAR.deletion.exec(text) ?? [];
    if (leaving !== undefined && leavingKind !== undefined) {
      remove(table, leavingKind as Named["kind"], leaving);
      return true;
    }
    const [, into, element] = GRAMMAR.element.exec(text) ?? [];
    if (into !== undefined && element !== undefined) {
      this.#addElement(table, into, element);
      return true;
    }
    const [, of, rule] = GRAMMAR.rule.exec(text) ?? [];
    if (of === undefined || rule === undefined) return false;
    const rules = chains.get(of);
    if (rules === undefined) throw new Complaint(NO_SUCH);
    checkNames(table, rule);
    rules.push(rule);
    return true;
  }

  #addElement(table: Table, name: string, text: string): void {
    const set = table.sets.get(name);
    if (set === undefined) throw new Complaint(NO_SUCH);
    checkNames(table, text);
    if (set.key === "own") {
      set.elements.set(hex(Buffer.from(text)), { leads: "", counter: { packets: 0, bytes: 0 } });
      return;
    }
    const [, path, address, leads] = GRAMMAR.keyed.exec(text) ?? [];
    const hasAddress = set.key === "cgroup and address";
    if (
      path === undefined ||
      hasAddress !== (address !== undefined) ||
      (set.kind === "map") !== (leads !== undefined)
    )
      throw new Error(`nftables was never told this before: add element ${name} ${text}`);
    const id = this.cgroupId(path);
    if (id === undefined) throw new Complaint(`cgroupv2 path fails: ${NO_SUCH}`);
    const parsed = address === undefined ? undefined : parseAddress(address);
    if (hasAddress && parsed === undefined) throw new Complaint("Could not resolve hostname");
    const key = hex(parsed === undefined ? keyOf(id) : Buffer.concat([keyOf(id), addressBytes(parsed)]));
    put(set, key, leads ?? "");
  }
}

function emptyTable(): Table {
  return { chains: new Map(), sets: new Map(), objects: new Map() };
}

function keyIn(body: string): FakeSet["key"] {
  if (
    /^\{ typeof socket cgroupv2 level \d [:;]/.test(body) ||
    /^\{ typeof socket cgroupv2 level \d; \}/.test(body)
  )
    return "cgroup";
  return /^\{ typeof socket cgroupv2 level \d \. ip6? saddr/.test(body) ? "cgroup and address" : "own";
}

function put(set: FakeSet, key: string, leads: string): void {
  const there = set.elements.get(key);
  if (there !== undefined && there.leads !== leads) throw new Complaint(EXISTS);
  if (there === undefined) set.elements.set(key, { leads, counter: { packets: 0, bytes: 0 } });
}

/** Throws where a text leads to a chain, or looks into a set, that is not there. */
function checkNames({ chains, sets, objects }: Table, text: string): void {
  const said = withoutStrings(text);
  for (const [, chain = ""] of said.matchAll(LEADS)) if (!chains.has(chain)) throw new Complaint(NO_SUCH);
  for (const [, set = ""] of said.matchAll(/@(?!(?:ll|nh|th|ih),)([\w/.\\-]+)/g))
    if (!sets.has(set)) throw new Complaint(NO_SUCH);
  for (const [, object = ""] of text.matchAll(/\b(?:counter|quota|limit) name "([^"]+)"/g))
    if (!objects.has(object)) throw new Complaint(NO_SUCH);
}

const LEADS = /\b(?:goto|jump) ([\w/.\\-]+)/g;

/** Takes away what stands in quotes. */
function withoutStrings(text: string): string {
  return text.replace(/"[^"]*"/g, '""');
}

/** The chain that a verdict leads to. */
function chainIn(verdict: string): string | undefined {
  return /^(?:goto|jump) (\S+)$/.exec(verdict)?.[1];
}

/** Whether something of the table names a chain, set or object. */
function isNamed({ chains, sets }: Table, kind: Named["kind"], name: string): boolean {
  const rules = [...chains.values()].flat();
  if (kind === "set" || kind === "map")
    return rules.some((rule) =>
      new RegExp(`@${RegExp.escape(name)}(?![\\w/.\\\\-])`).test(withoutStrings(rule)),
    );
  if (kind !== "chain") return rules.some((rule) => rule.includes(`name "${name}"`));
  const verdicts = [...sets.values()].flatMap(({ elements }) =>
    [...elements.values()].map(({ leads }) => leads),
  );
  return [...rules, ...verdicts].some((text) =>
    [...withoutStrings(text).matchAll(LEADS)].some(([, chain]) => chain === name),
  );
}

function remove(table: Table, kind: Named["kind"], name: string): void {
  const { chains, sets, objects } = table;
  const isThere =
    kind === "chain"
      ? chains.has(name)
      : kind === "set" || kind === "map"
        ? sets.has(name)
        : objects.get(name) === kind;
  if (!isThere) throw new Complaint(NO_SUCH);
  // Stricter than the kernel, which takes a chain's own rules along.
  if (isNamed(table, kind, name) || (chains.get(name) ?? []).length > 0) throw new Complaint(BUSY);
  (kind === "chain" ? chains : kind === "set" || kind === "map" ? sets : objects).delete(name);
}

/** @throws {SystemError} as the kernel answers */
function applyTo(table: Table | undefined, part: Change): void {
  if (table === undefined) throw new SystemError("netlink", "ENOENT");
  try {
    applyWithin(table, part);
  } catch (error) {
    if (!(error instanceof Complaint)) throw error;
    const code = { [NO_SUCH]: "ENOENT", [EXISTS]: "EEXIST", [BUSY]: "EBUSY" }[error.message];
    throw new SystemError("netlink", code ?? "EINVAL");
  }
}

function applyWithin(table: Table, part: Change): void {
  if ("flush" in part) {
    if (!table.chains.has(part.flush)) throw new Complaint(NO_SUCH);
    table.chains.set(part.flush, []);
    return;
  }
  if ("kind" in part) {
    remove(table, part.kind, part.name);
    return;
  }
  const set = table.sets.get(part.set);
  if (set === undefined) throw new Complaint(NO_SUCH);
  const key = hex(part.key);
  if (!part.add) {
    if (!set.elements.delete(key)) throw new Complaint(NO_SUCH);
    return;
  }
  const leads =
    part.goto !== undefined ? `goto ${part.goto}` : part.jump !== undefined ? `jump ${part.jump}` : "";
  checkNames(table, leads);
  put(set, key, leads);
}

function isGone(error: unknown): boolean {
  return error instanceof SystemError && error.code === "ENOENT";
}

/** A cgroup's id as the kernel keeps it in a set. */
function keyOf(id: bigint): Uint8Array {
  const key = new Uint8Array(8);
  new DataView(key.buffer).setBigUint64(0, id, true);
  return key;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
