// SPDX-License-Identifier: GPL-2.0-or-later

import { type Address, addressElement } from "../address.ts";
import { FRAGMENT_DIRECTORY } from "../paths.ts";
import { type AddressList, addressList } from "../policy/address_list.ts";
import { compileFragment, type Policy } from "../policy/compile.ts";
import { type Fragment, readFragment } from "../policy/read.ts";
import { KINDS } from "../subjects/kinds.ts";
import { type Found, findFragment, type Seeker } from "../subjects/session/find.ts";
import type { Plan } from "../subjects/subject.ts";
import { firewall, isThere, readTrusted } from "./host.ts";

/**
 * The addresses that a session may be locked to besides its rules.
 *
 * @returns `undefined` where its rules do not say, and where the host translates what it sends: the rules see the new address
 *   of a packet, and the lock the one that the program wrote
 */
export function lockOf(policy: Policy, address: Address | undefined): AddressList | undefined {
  const lock = addressList(policy, address && addressElement(address));
  return lock === undefined || firewall.translatesOutput() ? undefined : lock;
}

/** A member of the group. */
export type Person = { readonly name: string; readonly uid: number };

/** Finds the fragment that holds for a user. @throws {Refusal} `missing` or `user` */
export function fragmentOf(seeker: Seeker): Found {
  return findFragment(seeker, isThere);
}

/** Reads a fragment and all that it includes. @throws {Refusal} `missing`, `perms` or `content` */
export function readWhole(path: string): Fragment {
  return readFragment(path, (file, sizeLimit) => readTrusted(file, { top: FRAGMENT_DIRECTORY, sizeLimit }));
}

/** Compiles a fragment for a subject. @throws {Refusal} `content` */
export function compileFor(subject: Plan, fragment: Fragment): Policy {
  return compileFragment(fragment, {
    path: subject.policy.fragment,
    prefix: subject.id,
    level: subject.cgroup.level,
    dialect: KINDS[subject.kind].dialect,
    variables: subject.variables,
  });
}
