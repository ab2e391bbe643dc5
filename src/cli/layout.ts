// SPDX-License-Identifier: GPL-2.0-or-later

import { dirname } from "node:path";
import { ENTRY, FRAGMENT_DIRECTORY, LIBRARY, MEMBER, RUNTIME } from "../paths.ts";
import type { Piece } from "../system/host/shipped.ts";

const UNITS = "/usr/lib/systemd/system";
const EXAMPLES = "/usr/share/doc/authnft/examples";

/** Something that `install` lays out, `uninstall` takes away and `doctor` looks at. Paths are absolute, below the root. */
export type Item =
  | { readonly kind: "executable"; readonly path: string; readonly mode: number }
  | { readonly kind: "piece"; readonly path: string; readonly mode: number; readonly piece: Piece }
  | { readonly kind: "data"; readonly path: string; readonly mode: number; readonly name: string }
  | { readonly kind: "link"; readonly path: string; readonly target: string };

/** A directory of ours; whether it stays as found when it is there already. */
export type Directory = { readonly path: string; readonly mode: number; readonly keep: boolean };

/**
 * The files to lay out, in the order in which a running host can meet them: what is executed before what executes it.
 *
 * @param pamDirectory where this distribution's PAM modules are
 * @param dataNames the files below `data/`
 */
export function layout(pamDirectory: string, dataNames: readonly string[]): Item[] {
  return [
    { kind: "piece", path: `${LIBRARY}/koffi.node`, mode: 0o644, piece: "koffi.node" },
    { kind: "executable", path: `${LIBRARY}/authnft`, mode: 0o755 },
    { kind: "link", path: "/usr/sbin/authnft", target: "../lib/authnft/authnft" },
    { kind: "piece", path: MEMBER, mode: 0o755, piece: "authnft-member" },
    { kind: "piece", path: ENTRY, mode: 0o755, piece: "authnft-entry" },
    ...dataNames.flatMap((name): Item[] => {
      const path = dataPath(name);
      return path === undefined ? [] : [{ kind: "data", path, mode: 0o644, name }];
    }),
    { kind: "piece", path: `${pamDirectory}/pam_authnft.so`, mode: 0o644, piece: "pam_authnft.so" },
  ];
}

/** Files of earlier releases that are elsewhere now, or gone: `install` and `uninstall` remove them. */
export const FORMER: readonly string[] = [`${UNITS}/nftables.service.d/authnft.conf`];

/** The directories of ours, each before those in it. Those of the policy are the administrator's once they are there. */
export const DIRECTORIES: readonly Directory[] = [
  { path: LIBRARY, mode: 0o755, keep: false },
  { path: FRAGMENT_DIRECTORY, mode: 0o755, keep: true },
  { path: `${FRAGMENT_DIRECTORY}/users`, mode: 0o755, keep: true },
  { path: `${FRAGMENT_DIRECTORY}/groups`, mode: 0o755, keep: true },
];

/** The directories that are made again at each boot. */
export const RUNTIME_DIRECTORIES: readonly Directory[] = [
  { path: RUNTIME, mode: 0o755, keep: false },
  { path: `${RUNTIME}/sessions`, mode: 0o755, keep: false },
  { path: `${RUNTIME}/lock`, mode: 0o700, keep: false },
  { path: `${RUNTIME}/policy`, mode: 0o700, keep: false },
  { path: `${RUNTIME}/names`, mode: 0o700, keep: false },
];

/** Returns the directories that hold nothing but items, each after those in it: gone with the last of them. */
export function ownDirectories(items: readonly Item[]): string[] {
  const dropIns = items
    .map(({ path }) => dirname(path))
    .filter((path) => path.startsWith(UNITS) && path.endsWith(".d"));
  return [...new Set(dropIns), EXAMPLES, dirname(EXAMPLES), LIBRARY];
}

/** Where a file of `data/` belongs; `undefined` for what is not installed. */
function dataPath(name: string): string | undefined {
  if (name === "tmpfiles.conf") return "/usr/lib/tmpfiles.d/authnft.conf";
  if (name === "sysusers.conf") return "/usr/lib/sysusers.d/authnft.conf";
  if (/^[^/]+\.(service|slice|mount|timer)$/.test(name)) return `${UNITS}/${name}`;
  // A drop-in for another's unit.
  if (/^[^/]+\.(service|slice)\.d\/[^/]+\.conf$/.test(name)) return `${UNITS}/${name}`;
  if (name === "close-slice") return `${LIBRARY}/${name}`;
  const page = /^man\/([^/]+\.([1-9]))$/.exec(name);
  if (page !== null) return `/usr/share/man/man${page[2]}/${page[1]}`;
  const example = /^examples\/([^/]+)$/.exec(name);
  if (example !== null) return `${EXAMPLES}/${example[1]}`;
  return undefined;
}
