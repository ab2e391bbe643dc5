// SPDX-License-Identifier: GPL-2.0-or-later
import type { KindName } from "../subjects/subject.ts";

/** A part of the table besides its base. */
export type Wanted = {
  readonly kind: KindName;
  readonly cgroup: string;
  readonly lines: readonly string[];
  /** The shared policy that the lines jump to. */
  readonly shared?: { readonly name: string; readonly lines: readonly string[] };
  /** Whether the lines give it rules of its own, rather than close it. */
  readonly hasRules: boolean;
};
