// SPDX-License-Identifier: GPL-2.0-or-later
import { ENGINE } from "./engine.ts";
import type { Mutant } from "./mutant.ts";
import { POLICY } from "./policy.ts";
import { RULESET } from "./ruleset.ts";
import { SUBJECTS } from "./subjects.ts";
import { SYSTEM } from "./system.ts";

/** Those of each room. */
export const ALL: readonly Mutant[] = [...POLICY, ...RULESET, ...SUBJECTS, ...ENGINE, ...SYSTEM];
