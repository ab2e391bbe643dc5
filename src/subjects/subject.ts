// SPDX-License-Identifier: GPL-2.0-or-later

// The owner of rules in the table, of whatever kind. A kind is a folder beside this file.

import type { Brand } from "valibot";
import type { Address } from "../address.ts";
import type { Dialect, Variables } from "../policy/dialect.ts";

/** The beginning of the names of a subject's chains, such as `session_alice_4711`: no two subjects share one. */
export type SubjectId = string & Brand<"SubjectId">;

/** The kinds of subjects. */
export type KindName = "session" | "slice";

/** Whether a subject's policy is in force, was in force until it was closed, or never was. */
export type State = "open" | "lingering" | "refused";

/** Where a subject's processes are. */
export type Cgroup = {
  /** The path below the root of cgroup v2, without a leading slash, as nftables takes it. */
  readonly path: string;
  /** How deep it lies, from 1, as `socket cgroupv2 level` counts. */
  readonly level: number;
  /** The inode of its directory, which the kernel gives no other cgroup. */
  readonly id: bigint;
};

/** Something that has rules of its own in the table. */
export type Subject = {
  readonly id: SubjectId;
  readonly kind: KindName;
  readonly cgroup: Cgroup;
  /** The values of the variables that its kind's fragments may use. */
  readonly variables: Variables;
  /** The peers that it is listed with in the sets of addresses. */
  readonly addresses: readonly Address[];
  readonly policy: {
    /** The path of the fragment that holds for it. */
    readonly fragment: string;
    /** How often its rules were replaced: older flows are judged again. */
    readonly generation: number;
  };
  readonly state: State;
  /** Whom an administrator finds in the comments of its elements; without double quotes. */
  readonly comment: string;
};

/** A subject whose cgroup may not be there yet. It is enough to compile a policy for. */
export type Plan = Omit<Subject, "cgroup"> & { readonly cgroup: Omit<Cgroup, "id"> };

/**
 * The answers of a kind of subject.
 *
 * @typeParam Known What is known of a subject of this kind, in records or from the host.
 */
export type Kind<Known> = {
  readonly name: KindName;
  /** Which names its fragments may use, and what such a subject is called in messages. */
  readonly dialect: Dialect;
  /** Identifies a subject: its id, the fragment that holds for it, and the values of its variables. */
  readonly plan: (known: Known) => Plan;
  /** Tells whether the name of a saved policy is the id of a subject of this kind. */
  readonly isKeptAs: (name: string) => boolean;
  /** Tells whether it has ended, by the id of the cgroup now at its path; `undefined` where there is none. */
  readonly hasEnded: (known: Known, now: bigint | undefined) => boolean;
};

/** Gives a plan the cgroup that has been made for it. */
export function placed(plan: Plan, id: bigint): Subject {
  return { ...plan, cgroup: { ...plan.cgroup, id } };
}

/** Counts how deep a path lies. */
export function levelOf(path: string): number {
  return path.split("/").length;
}
