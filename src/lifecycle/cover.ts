// SPDX-License-Identifier: GPL-2.0-or-later

// The cover: what a member runs outside of sessions, through the own service manager. All of it under the lock of the ruleset.

import { type Member, memberChain, memberElements, ownObjectsIn, replaceMember } from "../ruleset/members.ts";
import { coverSlice, TABLE_NAME } from "../ruleset/table.ts";
import type { SessionRecord } from "../session/record.ts";
import { chainOf } from "../session/removal.ts";
import { coverName, userSlice } from "../session/scope_unit.ts";
import { cgroupId, firewall, seal } from "./host.ts";
import type { Person } from "./policy.ts";
import { readPolicy, savePolicy, swapPolicy } from "./store.ts";
import { coverMember, kept, remember, run } from "./table.ts";

/** The commands that open a cover. */
export type Opening = {
  readonly lines: readonly string[];
  /** Keeps them, before they are run. @returns what brings back what was kept before */
  readonly save: () => () => void;
  /** To be called once they have been run. */
  readonly seal: () => void;
};

/**
 * Puts what a user runs outside of sessions under the rules of a session that opens.
 *
 * @param parts compiled for the cover's own chains
 * @param open the records of all open sessions of the user
 * @param isReload whether the session is reloaded rather than opened: then open flows are judged anew
 * @returns nothing to do where the user has no slice
 */
export function openCover(
  person: Person,
  parts: Member["parts"],
  open: readonly SessionRecord[],
  isReload = false,
): Opening {
  const unjudged = coverMember(person, parts, open);
  if (unjudged === undefined) return { lines: [], save: () => () => undefined, seal: () => undefined };
  const { name: chains, cgroupPath: slice, cgroupId: id } = unjudged;
  const before = readPolicy(chains) ?? [];
  const inForce = chainOf(id, firewall) === memberChain(chains, "out");
  // What was closed in between counts on.
  const known = generationIn(inForce ? before : [...(readPolicy(chains, "closed") ?? []), ...before]);
  const generation = known + (isReload ? 1 : 0);
  const member: Member = { ...unjudged, generation };
  const whole = [coverSlice(slice), `# generation ${generation}`, ...replaceMember(member, []).lines];
  // Chains of its name may be there though nothing leads to them: the slice was made anew, and nft alone has closed it.
  const isThere = firewall.hasChain(TABLE_NAME, memberChain(chains, "out"));
  const previous = isThere ? ownObjectsIn(before, member.name) : [];
  return {
    // To delete rules makes the kernel wait for their readers: only where they differ.
    lines:
      inForce && policyIn(before) === policyIn(whole)
        ? [coverSlice(slice), ...memberElements(member)]
        : [coverSlice(slice), ...replaceMember(member, previous).lines],
    save: () => {
      keepClosed(person.uid);
      return swapPolicy(member.name, whole);
    },
    seal: () => seal(slice),
  };
}

/** How often a cover's rules were replaced: kept among its commands, for it outlives the sessions whose rules it has. */
function generationIn(lines: readonly string[]): number {
  return Number(/^# generation (\d{1,9})/m.exec(lines.join("\n"))?.[1] ?? 0);
}

/** What lines bring besides the elements that lead to it. */
function policyIn(lines: readonly string[]): string {
  return lines
    .filter(
      (line) => /^(create|add rule) /.test(line) || (/^add element /.test(line) && !OUR_ELEMENT.test(line)),
    )
    .join("\n");
}

/** An element of ours: one that leads to a member's chains, closes a slice or holds an address. */
const OUR_ELEMENT = /^add element \S+ \S+ (covered_slices|session_(in|out|map_\w+)) /;

/**
 * Closes a user's slice by default, or leads it to the rules that it had where a session of theirs is open. The slice is
 * another one after each of the user's last logouts.
 *
 * @throws {Refusal} `ruleset`
 */
export function coverUser(uid: number): void {
  const slice = userSlice(uid);
  if (cgroupId(slice) === undefined) return;
  const name = coverName(uid);
  const closed = coverSlice(slice);
  // First of all, and whatever becomes of the rest.
  run([closed]);
  keepClosed(uid);
  const lines = readPolicy(name);
  if (lines !== undefined) {
    // Where the rules are in force already, the new slice is led to them.
    const there = firewall.hasChain(TABLE_NAME, memberChain(name, "in"));
    run(there ? lines.filter((line) => OUR_ELEMENT.test(line)) : lines);
  }
  seal(slice);
}

/** Keeps what closes a slice, for a restoration and for nft. */
function keepClosed(uid: number): void {
  const slice = userSlice(uid);
  remember("covered_slices", slice);
  kept(`${slice} is closed, but`, () => savePolicy(coverName(uid), [coverSlice(slice)], "slice"));
}
