// SPDX-License-Identifier: GPL-2.0-or-later

// The figures as text for people.

import {
  type Compared,
  type Crowd,
  type Memory,
  PARTS,
  type Packets,
  type PolicyFigures,
  type Sender,
  type Sessions,
} from "./measure.ts";
import type { Lines } from "./size.ts";

/** What is measured on one release, where only policies are of interest. */
export interface PolicyRelease {
  readonly release: string;
  /** The programs that the figures depend on, and their versions. */
  readonly versions: Readonly<Record<string, string>>;
  readonly policy: PolicyFigures;
  /** How many processes wanted a processor in the last minute, ours among them: some 0.5. */
  readonly load: number;
}

/** Everything that is measured on one release. */
export interface ReleaseFigures extends PolicyRelease {
  /** Milliseconds, compared with the floor. */
  readonly sessions: Sessions;
  /** Milliseconds, with logind, compared with the same login without us. */
  readonly logins: Sessions;
  /** Milliseconds, compared with the floor. */
  readonly pamtester: Readonly<Record<string, Compared>>;
  readonly memory: readonly Readonly<Record<"open" | "close", Memory>>[];
  /** Before the first session, with the table alone. */
  readonly idlePackets: Readonly<Partial<Record<Sender, Packets>>>;
  readonly crowds: readonly Crowd[];
}

export interface SizeFigures {
  readonly bytes: Readonly<Record<string, number>>;
  readonly lines: Readonly<Record<string, Lines>>;
}

const NAMES: Readonly<Record<string, string>> = {
  pass: "pass-through (pam_permit)",
  other: "no member, through the shim",
  floor: "floor: the same work in C",
  shim: "member, through the shim",
  exec: "member, through pam_exec",
  login: "login with logind, without us",
  loginShim: "login with logind, and the shim",
};

const SENDERS: Readonly<Record<Sender, string>> = {
  without: "table switched off",
  other: "no member",
  member: "member",
};

/** Writes the figures of one release as tables. */
export function formatRelease(figures: ReleaseFigures): string {
  return [
    head(figures),
    sessionTable(
      "Sessions, ms; × is the ratio to the floor, of means without the outer tenths",
      figures.sessions,
    ),
    sessionTable("Logins with logind, ms; × is the ratio to the login without us", figures.logins),
    table("pamtester open_session close_session, its start included, ms; × the floor", [
      ["", "both", ...SPREAD_HEADS],
      ...Object.entries(figures.pamtester).map(([kind, value]) => [NAMES[kind] ?? kind, ...cells(value)]),
    ]),
    table("Memory of the helper, MB", [
      ["", "peak", "PSS of all", "private of all"],
      ...figures.memory.flatMap(({ open, close }) => [
        [`open, ${helpers(open)}`, ...memoryCells(open)],
        [`close, ${helpers(close)}`, ...memoryCells(close)],
      ]),
    ]),
    packetTable(figures),
    crowdTable(figures.crowds),
    ...policyTables(figures.policy),
  ].join("\n");
}

/** Writes what is known of policies on one release. */
export function formatPolicy(figures: PolicyRelease): string {
  return [head(figures), ...policyTables(figures.policy)].join("\n");
}

function head(figures: PolicyRelease): string {
  const versions = Object.entries(figures.versions).map(([name, version]) => `${name} ${version}`);
  return [
    `\n${figures.release}: ${versions.join(", ")}, load ${figure(figures.load)}`,
    ...(figures.load > BUSY
      ? ["  Others kept this machine busy: look at the least values and the ratios."]
      : []),
  ].join("\n");
}

function policyTables({ shares, checks }: PolicyFigures): string[] {
  const percent = (share: number): string => `${(share * 100).toFixed(1)}%`;
  return [
    table("What an open does with its fragment, ms, and its share of the whole open in the same turns", [
      ["", "open", ...PARTS.flatMap((part) => [part, "share"]), "together"],
      ...shares.map(({ rules, open, parts }) => [
        `${count(rules)} rules`,
        figure(open.median),
        ...PARTS.flatMap((part) => [figure(parts[part].median), percent(parts[part].ratio)]),
        percent(PARTS.reduce((sum, part) => sum + parts[part].ratio, 0)),
      ]),
    ]),
    "  read: from disk, checked, tokenised; compile: for the session and for what runs outside of it; nftables: what the",
    "  rules add to the transaction, parsed and loaded. Each is done by another process than the open's.",
    table("authnft check, ms, its start included", [
      ["", "check", "p10–p90", "min"],
      ...checks.map(({ files, median, p10, p90, min }) => [
        `${count(files)} ${files === 1 ? "file" : "files"} of 5 rules`,
        figure(median),
        `${figure(p10)}–${figure(p90)}`,
        figure(min),
      ]),
    ]),
  ];
}

/** Writes what is shipped, and what it is made from. */
export function formatSize({ bytes, lines }: SizeFigures): string {
  return [
    table("Shipped, bytes", [
      ["", "size"],
      ...Object.entries(bytes).map(([name, size]) => [name, count(size)]),
    ]),
    table("Lines of the product, without blank ones", [
      ["", "files", "code", "with comments"],
      ...Object.entries(lines).map(([language, { files, code, written }]) => [
        language,
        count(files),
        count(code),
        count(written),
      ]),
    ]),
  ].join("\n");
}

/** The benchmark alone does not get above this. */
const BUSY = 1.5;

const SPREAD_HEADS = ["p10–p90", "min", "×"];

function sessionTable(title: string, sessions: Sessions): string {
  return table(title, [
    ["", "open", ...SPREAD_HEADS, "close", ...SPREAD_HEADS],
    ...Object.entries(sessions).map(([kind, value]) => sessionRow(NAMES[kind] ?? kind, value)),
  ]);
}

function crowdTable(crowds: readonly Crowd[]): string {
  return table("Sessions while others have some, ms; × the floor among as many", [
    ["", "open", ...SPREAD_HEADS, "close", ...SPREAD_HEADS],
    ...crowds.flatMap(({ others, sessions }) =>
      Object.entries(sessions).map(([kind, value]) => {
        const name = kind === "floor" ? "floor" : "shim";
        return sessionRow(`${name}, ${among(others)}`, value);
      }),
    ),
  ]);
}

function sessionRow(name: string, { open, close }: Sessions[string]): string[] {
  return [name, ...cells(open), ...cells(close)];
}

function packetTable({ idlePackets, crowds }: ReleaseFigures): string {
  const rows = (when: string, packets: Crowd["packets"]): string[][] =>
    Object.entries(packets).map(([sender, { datagram, connection }]) => [
      `${SENDERS[sender as Sender]}, ${when}`,
      ...cells(datagram),
      ...cells(connection),
    ]);
  return table("A datagram, ns, and a connection, µs; × is the ratio to our table switched off", [
    ["", "ns", ...SPREAD_HEADS, "µs", ...SPREAD_HEADS],
    ...rows("no session yet", idlePackets),
    ...crowds.flatMap(({ others, packets }) => rows(among(others), packets)),
  ]);
}

function among(others: number): string {
  return `${count(others)} others`;
}

function cells({ median, p10, p90, min, ratio }: Compared): string[] {
  return [figure(median), `${figure(p10)}–${figure(p90)}`, figure(min), figure(ratio)];
}

function memoryCells({ peak, pss, private: rest }: Memory): string[] {
  return [peak, pss, rest].map((kilobytes) => figure(kilobytes / 1024));
}

function helpers({ helpers }: Memory): string {
  return helpers === 1 ? "one helper" : `${helpers} helpers at once`;
}

/** Three digits: more would be noise. */
function figure(value: number): string {
  if (value >= 100) return value.toFixed(0);
  if (value >= 10) return value.toFixed(1);
  return value.toFixed(2);
}

function count(value: number): string {
  return value.toLocaleString("en");
}

/** A table with a title; the first row are its heads, the first column is names. */
function table(title: string, rows: readonly (readonly string[])[]): string {
  const columns = rows[0]?.length ?? 0;
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  const lines = rows.map((row) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join("  ")
      .trimEnd(),
  );
  return `\n${title}\n${lines.map((line) => `  ${line}`).join("\n")}`;
}
