// SPDX-License-Identifier: GPL-2.0-or-later

// The policy of a user's processes outside of sessions: that of the session opened last, or no network. All of it under the lock
// of the ruleset.

import { chainOf } from "../../ruleset/removal.ts";
import { sharedIn } from "../../ruleset/shared_policy.ts";
import { ownObjectsIn, replaceSubject, subjectChain, subjectElements } from "../../ruleset/subject.ts";
import { closeUserSlice, TABLE_NAME } from "../../ruleset/table.ts";
import type { SessionRecord } from "../../subjects/session/record.ts";
import { userSlice } from "../../subjects/session/scope_unit.ts";
import { type MemberSlice, SLICE_KIND, sliceId } from "../../subjects/slice/slice.ts";
import { placed, type Subject } from "../../subjects/subject.ts";
import type { Compiled, FragmentSource } from "../compile.ts";
import { cgroupId, firewall, seal } from "../host.ts";
import { rememberClosed, saveBestEffort } from "../saved.ts";
import type { Person } from "../session/fragment.ts";
import { dropSpares, dropUnused, layOut, loading, readRules } from "../shared.ts";
import { readPolicy, savePolicy, swapPolicy } from "../store.ts";
import { type Piece, run } from "../transaction.ts";

/** A policy compiled for a slice, and a way to compile it with rules of the slice's own. */
export type CompiledForSlice = { readonly shared: Compiled; readonly own: () => Compiled };

/** Compiles a fragment for a user's slice. That takes long, and needs no lock. @throws {Refusal} `missing`, `perms` or `content` */
export function compiledForSlice(member: MemberSlice, source: FragmentSource): CompiledForSlice {
  const plan = SLICE_KIND.plan(member);
  return { shared: source.compileFor(plan), own: () => source.compileOwn(plan) };
}

/**
 * Puts a user's processes outside of sessions under the rules of a session that opens.
 *
 * @param compiled from {@link compiledForSlice}
 * @param open the records of all open sessions of the user
 * @param isReload whether the session is reloaded rather than opened: then open flows are judged again
 * @returns the slice's piece of the change; `undefined` where the user has no slice
 */
export function slicePolicy(
  { name, uid }: Person,
  compiled: CompiledForSlice,
  open: readonly SessionRecord[],
  isReload = false,
): Piece | undefined {
  const plan = SLICE_KIND.plan({ name, uid, open });
  const slice = plan.cgroup.path;
  const id = cgroupId(slice);
  if (id === undefined) return undefined;
  const before = readPolicy(plan.id) ?? [];
  const inForce = chainOf(id, firewall) === subjectChain(plan.id, "out");
  // Rules that were closed in between count as well.
  const known = generationIn(inForce ? before : [...(readPolicy(plan.id, "closed") ?? []), ...before]);
  const generation = known + (isReload ? 1 : 0);
  const subject: Subject = { ...placed(plan, id), policy: { ...plan.policy, generation } };
  const { subject: ruled, parts, shared } = layOut(subject, compiled.shared);
  const whole = [
    closeUserSlice(slice),
    `# generation ${generation}`,
    ...replaceSubject(ruled, parts, []).lines,
  ];
  // Its chains may exist though nothing leads to them: the slice was made again, and nft alone has closed it.
  const isThere = firewall.hasChain(TABLE_NAME, subjectChain(plan.id, "out"));
  const previous = isThere ? ownObjectsIn(before, plan.id) : [];
  return {
    // Deleting rules makes the kernel wait for their readers, so only where they differ.
    lines:
      inForce && policyIn(before) === policyIn(whole)
        ? [closeUserSlice(slice), ...subjectElements(ruled)]
        : [closeUserSlice(slice), ...replaceSubject(ruled, parts, previous).lines],
    save: () => {
      keepClosed(uid);
      return swapPolicy(plan.id, whole);
    },
    ...(shared !== undefined && {
      shared,
      unshared: () =>
        slicePolicy({ name, uid }, { ...compiled, shared: compiled.own() }, open, isReload) as Piece,
    }),
    after: () => {
      seal(slice);
      dropUnused([sharedIn(before)]);
      dropSpares();
    },
  };
}

/** Reads how often a slice's rules were replaced. It stands among the commands, since a slice outlives its sessions. */
function generationIn(lines: readonly string[]): number {
  return Number(/^# generation (\d{1,9})/m.exec(lines.join("\n"))?.[1] ?? 0);
}

/** Selects the rules, objects and elements of a subject's own from its commands. */
function policyIn(lines: readonly string[]): string {
  return lines
    .filter(
      (line) => /^(create|add rule) /.test(line) || (/^add element /.test(line) && !OUR_ELEMENT.test(line)),
    )
    .join("\n");
}

/** An element of the base's sets: it leads to a subject's chains, closes a slice or holds an address. */
const OUR_ELEMENT = /^add element \S+ \S+ (covered_slices|session_(in|out|judged|map_\w+)) /;

/**
 * Closes a user's slice by default, and leads it to its rules where a session of theirs is open. After a user's last logout the
 * next slice of that name is another one.
 *
 * @throws {Refusal} `ruleset`
 */
export function applySlicePolicy(uid: number): void {
  const slice = userSlice(uid);
  if (cgroupId(slice) === undefined) return;
  const name = sliceId(uid);
  const closed = closeUserSlice(slice);
  // First of all, whatever happens to the rest.
  run([closed]);
  keepClosed(uid);
  const rules = readRules(name);
  if (rules !== undefined) {
    // Where the rules are in force already, the new slice is led to them.
    const isThere = firewall.hasChain(TABLE_NAME, subjectChain(name, "in"));
    run(isThere ? rules.own.filter((line) => OUR_ELEMENT.test(line)) : loading(rules));
  }
  seal(slice);
}

/** Saves what closes a slice, for restorations and for nft. */
function keepClosed(uid: number): void {
  const slice = userSlice(uid);
  rememberClosed("covered_slices", slice);
  saveBestEffort(`${slice} is closed, but`, () => savePolicy(sliceId(uid), [closeUserSlice(slice)], "slice"));
}
