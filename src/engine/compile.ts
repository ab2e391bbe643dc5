// SPDX-License-Identifier: GPL-2.0-or-later

import { type Address, addressElement } from "../address.ts";
import { FRAGMENT_DIRECTORY } from "../paths.ts";
import { type AddressList, addressList } from "../policy/address_list.ts";
import { compileFragment, type Policy } from "../policy/compile.ts";
import { type Fragment, readFragment } from "../policy/read.ts";
import { sharingAt } from "../ruleset/shared_policy.ts";
import { KINDS } from "../subjects/kinds.ts";
import type { Plan } from "../subjects/subject.ts";
import { firewall, readTrusted } from "./host.ts";

/**
 * Returns the addresses for the filter of systemd's that a session has below its rules.
 *
 * @returns `undefined` where the rules do not say which addresses they need, and where the host translates what sessions send: rules
 *   see the new address of a packet, the filter the one that the program wrote
 */
export function addressFilterOf(policy: Policy, address: Address | undefined): AddressList | undefined {
  const lock = addressList(policy, address && addressElement(address));
  return lock === undefined || firewall.translatesOutput() ? undefined : lock;
}

/** Reads a fragment and everything that it includes. @throws {Refusal} `missing`, `perms` or `content` */
export function readWhole(path: string): Fragment {
  return readFragment(path, (file, sizeLimit) => readTrusted(file, { top: FRAGMENT_DIRECTORY, sizeLimit }));
}

/**
 * Compiles a fragment for a subject: in the form that others can share, where there is one.
 *
 * @param options.own whether the subject is to have rules of its own in any case
 * @throws {Refusal} `content`
 */
export function compileFor(
  subject: Plan,
  fragment: Fragment,
  { own = false }: { readonly own?: boolean } = {},
): Policy {
  return compileFragment(fragment, {
    path: subject.policy.fragment,
    prefix: subject.id,
    level: subject.cgroup.level,
    dialect: KINDS[subject.kind].dialect,
    variables: subject.variables,
    ...(!own && { sharing: sharingAt(subject.cgroup.level) }),
  });
}
