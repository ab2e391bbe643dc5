// SPDX-License-Identifier: GPL-2.0-or-later
import { subjectChain } from "../ruleset/subject.ts";
import { CLOSED, SLICE_MAPS, TABLE_NAME } from "../ruleset/table.ts";
import { isLoginScope, parseScopeUnit, SLICE, USERS_SLICE } from "../subjects/session/scope_unit.ts";
import { type Element, element } from "../system/ffi/nftables.ts";
import { cgroupId } from "../system/kernel/cgroup.ts";
import type { Subject } from "./targets.ts";
import type { Row } from "./verdict.ts";

/** Where the table may lead a cgroup's packets: `absent` without an element, `member` where it is in a set. */
type Lead = { readonly set: string; readonly cgroup: string; readonly to: readonly string[] };

/** Looks whether the table leads a subject's packets where they belong. What leads past every chain may not show in packets. */
export function compareDispatch(subject: Subject): Row {
  const wrong = expectedLeads(subject).flatMap(({ set, cgroup, to }) => {
    const found = leadOf(set, cgroup);
    return to.includes(found) ? [] : [`${set}: ${found}`];
  });
  return {
    tried: "the dispatch in force",
    expected: "as loaded",
    seen: wrong.length === 0 ? "as loaded" : wrong.join("; "),
    verdict: wrong.length === 0 ? "ok" : "changed",
  };
}

/** A subject's element in `session_in` or `session_out`, if it leads to the subject's chain. */
export function ownElement({ cgroup, name }: Subject, direction: "in" | "out"): Element | undefined {
  const found = find(`session_${direction}`, cgroup);
  return name !== undefined && found?.chain === subjectChain(name, direction) ? found : undefined;
}

function expectedLeads({ cgroup, name }: Subject): Lead[] {
  const directions = ["in", "out"] as const;
  if (cgroup === SLICE) {
    return Object.entries(SLICE_MAPS).flatMap(([set, end]) => [
      { set, cgroup: SLICE, to: [`members_${end}`] },
      { set, cgroup: USERS_SLICE, to: [`users_${end}`] },
    ]);
  }
  const unit = parseScopeUnit(cgroup.replace(/.*\//, ""));
  const own = directions.map((direction) => {
    if (name !== undefined)
      return { set: `session_${direction}`, cgroup, to: [subjectChain(name, direction)] };
    // A scope in something open has to be closed by an element of its own; others may be.
    const needed = unit !== undefined && isLoginScope(unit);
    return {
      set: `session_${direction}`,
      cgroup,
      to: needed ? [CLOSED[direction]] : ["absent", CLOSED[direction]],
    };
  });
  return unit === undefined ? [{ set: "covered_slices", cgroup, to: ["member"] }, ...own] : own;
}

function leadOf(set: string, cgroup: string): string {
  const found = find(set, cgroup);
  if (found === undefined) return "absent";
  return found.chain ?? (set === "covered_slices" ? "member" : "no chain");
}

function find(set: string, cgroup: string): Element | undefined {
  const key = new Uint8Array(8);
  new DataView(key.buffer).setBigUint64(0, cgroupId(cgroup) ?? 0n, true);
  return element(TABLE_NAME, set, key);
}
