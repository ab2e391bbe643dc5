// SPDX-License-Identifier: GPL-2.0-or-later
import { type Found, findFragment, type Seeker } from "../../subjects/session/find.ts";
import { isThere } from "../host.ts";

/** A user, by name and number. */
export type Person = { readonly name: string; readonly uid: number };

/** Finds the fragment that holds for a user. @throws {Refusal} `missing` or `user` */
export function fragmentOf(seeker: Seeker): Found {
  return findFragment(seeker, isThere);
}
