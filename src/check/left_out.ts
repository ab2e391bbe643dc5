// SPDX-License-Identifier: GPL-2.0-or-later
import type { Policy } from "../policy/compile.ts";
import { parseComplaint } from "../policy/diagnosis.ts";
import { locate, type Place } from "../policy/tokenise.ts";
import type { Remark } from "./findings.ts";
import { type SampleKind, sessionsOf } from "./sample_kind.ts";
import type { Whole } from "./source.ts";

/** A rule or object that some sessions do not get. */
type LeftOut = { readonly what: string; readonly place: Place; kinds: Set<SampleKind> };

/**
 * Warns about commands that are left out for lack of an address. Of two that differ only in their family, which together serve
 * every session, neither is named.
 *
 * @param compiled the policies that the samples have of the fragment
 */
export function leftOut(
  whole: Whole,
  compiled: readonly { readonly kind: SampleKind; readonly policy: Pick<Policy, "notes"> }[],
): Remark[] {
  const left = collect(whole, compiled);
  joinTwins(whole, left);
  const groups = Map.groupBy(left.values(), ({ what, kinds }) => `${what} ${[...kinds].sort()}`);
  return [...groups.values()].flatMap(([first, ...more]): Remark[] => {
    if (first === undefined || first.kinds.size === 0) return [];
    const { what, place, kinds } = first;
    const where = kinds.size === compiled.length ? "every session" : sessionsOf([...kinds]);
    const these =
      more.length === 0
        ? `this ${what} is left out: it needs`
        : `this ${what} and ${more.length} more are left out: they need`;
    return [
      {
        level: "warning",
        text: `${locate(place)}: in ${where} ${these} $user_ip, which is not known there; write a rule for such sessions, or refuse them with "# require address".`,
      },
    ];
  });
}

/** Collects what is left out, by its place. */
function collect(
  { files }: Whole,
  compiled: readonly { readonly kind: SampleKind; readonly policy: Pick<Policy, "notes"> }[],
): Map<string, LeftOut> {
  const left = new Map<string, LeftOut>();
  for (const { kind, policy } of compiled)
    for (const note of policy.notes) {
      const { place, message } = parseComplaint(note, files);
      if (place === undefined) continue;
      const key = locate(place);
      const what = /^the (\w+)/.exec(message)?.[1] ?? "rule";
      const found = left.get(key) ?? { what, place, kinds: new Set<SampleKind>() };
      found.kinds.add(kind);
      left.set(key, found);
    }
  return left;
}

/** Joins commands that differ only in their family: they are left out where both are. */
function joinTwins({ fragment }: Whole, left: Map<string, LeftOut>): void {
  const twins = new Map<string, LeftOut>();
  for (const command of fragment.commands) {
    const one = left.get(locate(command[0].place));
    if (one === undefined) continue;
    const text = command.map((token) => (token.text === "ip6" ? "ip" : token.text)).join(" ");
    const twin = twins.get(text);
    if (twin === undefined) {
      twins.set(text, one);
      continue;
    }
    twin.kinds = twin.kinds.intersection(one.kinds);
    left.delete(locate(one.place));
  }
}
