// SPDX-License-Identifier: GPL-2.0-or-later
import { SLICE_KIND } from "../../subjects/slice/slice.ts";
import type { Keeper } from "../leftovers.ts";
import { policyNames, rememberedSlices } from "../store.ts";

/** Users' slices leave nothing that is a fault: a slice goes some time after its last session, and nobody is told. */
export const SLICE_LEFTOVERS: Keeper = {
  find: () => [],
  remove: async () => true,
  ids: () => policyNames("nft").filter(SLICE_KIND.isKeptAs),
  cgroups: () => rememberedSlices().map(({ id }) => id),
};
