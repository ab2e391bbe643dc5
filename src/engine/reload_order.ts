// SPDX-License-Identifier: GPL-2.0-or-later
import * as v from "valibot";

/** What the confined part of a reload is told by the part that asked the name service. */
export const ReloadOrderSchema = v.object({
  /** Whose slices are to be closed. */
  cover: v.array(v.number()),
  /** Sessions by their scopes, each with its user's groups that there are fragments for; `null` where they cannot be told. */
  groups: v.record(v.string(), v.nullable(v.array(v.string()))),
  /** Whether something could not be done so far, and whether something was. */
  failed: v.boolean(),
  changed: v.boolean(),
});
export type ReloadOrder = v.InferOutput<typeof ReloadOrderSchema>;
