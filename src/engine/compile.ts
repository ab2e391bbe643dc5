// SPDX-License-Identifier: GPL-2.0-or-later

// From a fragment to what is loaded for a subject.

import { type Address, addressElement } from "../address.ts";
import { FRAGMENT_DIRECTORY } from "../paths.ts";
import { type AddressList, addressList } from "../policy/address_list.ts";
import { compileFragment, type Policy } from "../policy/compile.ts";
import { type Fragment, readFragment } from "../policy/read.ts";
import { isForAnybody } from "../policy/sharing.ts";
import { locate } from "../policy/tokenise.ts";
import { addShared, asksForSubject, sharingAt } from "../ruleset/shared_policy.ts";
import type { Part } from "../ruleset/subject.ts";
import { KINDS } from "../subjects/kinds.ts";
import type { Plan } from "../subjects/subject.ts";
import { type Compilation, type Keep, keepCompiled, readCompiled, watchFiles } from "./compiled.ts";
import { firewall, readTrusted } from "./host.ts";

/** A policy that many subjects share, as commands. */
export type SharedRules = {
  /** What the names of its chains and objects begin with. */
  readonly name: string;
  readonly lines: readonly string[];
  /** For each line its location in a fragment; `null` for a line of ours. */
  readonly places: readonly (string | null)[];
  /** Whether it accepts by the subject's cgroup. */
  readonly isListed: boolean;
};

/** A fragment compiled for a subject. */
export type Compiled = {
  /** Sentences for the log about what was left out. */
  readonly notes: readonly string[];
  /** How many commands it has. */
  readonly commands: number;
  /** The addresses of all peers that it can accept packets to or from; `undefined` where it does not say. */
  readonly addresses: (peer: Address | undefined) => AddressList | undefined;
} & ({ readonly shared: SharedRules } | { readonly shared?: undefined; readonly parts: readonly OwnPart[] });

/** A part of a policy of one subject's own, and its location in a fragment. */
export type OwnPart = Part & Pick<Policy["parts"][number], "place">;

/** A fragment that is read and compiled when that is needed, and no more often. */
export class FragmentSource {
  readonly path: string;
  #read: { readonly fragment: Fragment; readonly isSame: () => Compilation["files"] | undefined } | undefined;
  readonly #compiled = new Map<number, Compiled>();
  readonly #unkept: Keep[] = [];

  constructor(path: string) {
    this.path = path;
  }

  /**
   * Finds out whether it was compiled before, for subjects at a level, and reads it where it was not.
   *
   * @returns whether it was
   * @throws {Refusal} `missing`, `perms` or `content`
   */
  prepare(level: number): boolean {
    if (this.#compiled.has(level)) return true;
    const kept = readCompiled(this.path, level);
    if (kept === undefined) this.#fragment();
    else this.#compiled.set(level, restored(kept));
    return kept !== undefined;
  }

  /**
   * Compiles it for a subject, unless that was done before, by this login or an earlier one.
   *
   * @throws {Refusal} `missing`, `perms` or `content`
   */
  compileFor(subject: Plan): Compiled {
    const { level } = subject.cgroup;
    this.prepare(level);
    const known = this.#compiled.get(level);
    if (known !== undefined) return known;
    const policy = compileFor(subject, this.#fragment());
    const compiled = asCompiled(policy);
    if (compiled.shared !== undefined && isForAnybody(policy.parts)) {
      this.#compiled.set(level, compiled);
      const files = this.#read?.isSame();
      if (files !== undefined)
        this.#unkept.push({ path: this.path, level, compilation: toKeep(compiled, compiled.shared, files) });
    }
    return compiled;
  }

  /** Compiles it into rules of a subject's own, which others cannot share. @throws {Refusal} `missing`, `perms` or `content` */
  compileOwn(subject: Plan): Compiled {
    return asCompiled(compileFor(subject, this.#fragment(), { own: true }));
  }

  /** Keeps what was compiled for later logins. Best effort. */
  keep(): void {
    for (const one of this.#unkept.splice(0)) keepCompiled(one);
  }

  #fragment(): Fragment {
    if (this.#read === undefined) {
      const watch = watchFiles();
      const fragment = readWhole(this.path, watch.look);
      this.#read = { fragment, isSame: () => (fragment.asksForAddress ? undefined : watch.unchanged()) };
    }
    return this.#read.fragment;
  }
}

function asCompiled(policy: Policy): Compiled {
  const common = {
    notes: policy.notes,
    commands: policy.parts.length,
    addresses: (peer: Address | undefined) => addressList(policy, peer && addressElement(peer)),
  };
  const { parts, shared: name } = policy;
  if (name === undefined) return { ...common, parts };
  const { lines, sources } = addShared({ name, parts });
  const places = sources.map((source) => {
    const part = parts[source ?? -1];
    return part === undefined ? null : locate(part.place);
  });
  return { ...common, shared: { name, lines, places, isListed: asksForSubject({ name, parts }) } };
}

function toKeep(compiled: Compiled, shared: SharedRules, files: Compilation["files"]): Compilation {
  const allow = compiled.addresses(undefined)?.allow;
  return {
    files,
    commands: compiled.commands,
    addresses:
      allow?.map(({ family, address, length }) => [family, Buffer.from(address).toString("hex"), length]) ??
      null,
    shared,
  };
}

function restored({ commands, addresses, shared }: Compilation): Compiled {
  const allow = addresses?.map(([family, address, length]) => ({
    family,
    address: new Uint8Array(Buffer.from(address, "hex")),
    length,
  }));
  return { notes: [], commands, addresses: () => allow && { allow }, shared };
}

/**
 * Returns the addresses for the filter of systemd's that a session has below its rules.
 *
 * @returns `undefined` where the rules do not say which addresses they need, and where the host translates what sessions send: rules
 *   see the new address of a packet, the filter the one that the program wrote
 */
export function addressFilterOf(
  compiled: Pick<Compiled, "addresses">,
  peer: Address | undefined,
): AddressList | undefined {
  const addresses = compiled.addresses(peer);
  return addresses === undefined || firewall.translatesOutput() ? undefined : addresses;
}

/**
 * Reads a fragment and everything that it includes.
 *
 * @param look is told of each file before it is read
 * @throws {Refusal} `missing`, `perms` or `content`
 */
export function readWhole(path: string, look: (file: string) => void = () => undefined): Fragment {
  return readFragment(path, (file, sizeLimit) => {
    look(file);
    return readTrusted(file, { top: FRAGMENT_DIRECTORY, sizeLimit });
  });
}

/**
 * Compiles a fragment for a subject: in the form that others can share, where there is one.
 *
 * @param options.own whether the subject is to have rules of its own in any case
 * @throws {Refusal} `content`
 */
export function compileFor(
  subject: Plan,
  fragment: Fragment,
  { own = false }: { readonly own?: boolean } = {},
): Policy {
  return compileFragment(fragment, {
    path: subject.policy.fragment,
    prefix: subject.id,
    level: subject.cgroup.level,
    dialect: KINDS[subject.kind].dialect,
    variables: subject.variables,
    ...(!own && { sharing: sharingAt(subject.cgroup.level) }),
  });
}
