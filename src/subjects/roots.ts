// SPDX-License-Identifier: GPL-2.0-or-later
import type { Root } from "../ruleset/table.ts";
import { SLICE, USERS_SLICE } from "./session/scope_unit.ts";

/** Where subjects are. The first is there whenever anybody is closed; the others may not exist. */
export const ROOTS: readonly Root[] = [
  { cgroup: SLICE, chains: "members" },
  { cgroup: USERS_SLICE, chains: "users" },
];
