// SPDX-License-Identifier: GPL-2.0-or-later

// The files that are checked, read as a login reads them.

import { FRAGMENT_DIRECTORY } from "../paths.ts";
import { type Fragment, readFragment } from "../policy/read.ts";
import { locate, type Place } from "../policy/tokenise.ts";
import { Refusal } from "../refusal.ts";
import { readPlain, readTrusted } from "../system/host/files.ts";

/** A file to compile: a fragment, a piece that only others could include, or a text that lies elsewhere. */
export type Target = {
  readonly path: string;
  readonly as: "fragment" | "piece" | "text";
  /** The user to compile it for. */
  readonly user: string | undefined;
};

/** A target with all that it includes. */
export type Whole = {
  readonly target: Target;
  readonly fragment: Fragment;
  readonly refusals: readonly Refusal[];
  readonly files: ReadonlySet<string>;
  /** By file, the first place that includes it. */
  readonly includes: ReadonlyMap<string, Place>;
};

/** Reads files, and keeps their texts. */
export class Source {
  /** The texts that were read, by file. */
  readonly texts = new Map<string, string>();
  /** Files that some other file includes. */
  readonly included = new Set<string>();
  readonly #root: string;

  /** @param root the directory that a copy of the tree lies below; "" for the tree itself */
  constructor(root: string) {
    this.#root = root;
  }

  /** Reads a target with all that it includes. */
  read(target: Target): Whole {
    const refusals: Refusal[] = [];
    const files = new Set<string>();
    const includes = new Map<string, Place>();
    const fragment = readFragment(
      target.path,
      (path, sizeLimit, from) => {
        files.add(path);
        if (from !== undefined && !includes.has(path)) includes.set(path, from);
        const bytes = this.#readFile(path, sizeLimit, from);
        this.texts.set(
          path,
          Buffer.from(bytes)
            .toString()
            .replace(/^\ufeff/, ""),
        );
        return bytes;
      },
      (refusal) => refusals.push(refusal),
    );
    for (const path of includes.keys()) this.included.add(path);
    return { target, fragment, refusals, files, includes };
  }

  #readFile(path: string, sizeLimit: number, from: Place | undefined): Uint8Array {
    const inside = path.startsWith(`${FRAGMENT_DIRECTORY}/`);
    try {
      if (inside && this.#root === "") return readTrusted(path, { top: FRAGMENT_DIRECTORY, sizeLimit });
      return readPlain(inside ? `${this.#root}${path}` : path, { sizeLimit });
    } catch (error) {
      if (!(error instanceof Refusal) || from === undefined) throw error;
      const why = error.message.replace(/^Cannot read fragment .*?: /, "").replace(/\.$/, "");
      const cause = error.reason === "missing" ? "there is none; write it, or take this line out" : why;
      throw new Refusal(error.reason, `${locate(from)}: cannot include ${path}: ${cause}.`);
    }
  }
}
