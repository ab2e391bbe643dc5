// SPDX-License-Identifier: GPL-2.0-or-later
import { SESSION_KIND } from "./session/session.ts";
import { SLICE_KIND } from "./slice/slice.ts";
import type { Kind, KindName } from "./subject.ts";

/** Every kind of subject. A new one is added here, and the compiler says where else. */
export const KINDS: { readonly [Name in KindName]: Pick<Kind<never>, "name" | "dialect" | "isKeptAs"> } = {
  session: SESSION_KIND,
  slice: SLICE_KIND,
};
