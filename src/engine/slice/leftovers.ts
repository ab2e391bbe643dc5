// SPDX-License-Identifier: GPL-2.0-or-later
import { SLICE_KIND } from "../../subjects/slice/slice.ts";
import type { Keeper } from "../leftovers.ts";
import { policyNames, rememberedSlices } from "../store.ts";

/** What users' slices leave. A slice goes some time after the last of its sessions, and nobody is told: no fault. */
export const SLICE_LEFTOVERS: Keeper = {
  find: () => [],
  remove: async () => true,
  ids: () => policyNames("nft").filter(SLICE_KIND.isKeptAs),
  cgroups: () => rememberedSlices().map(({ id }) => id),
};
