// SPDX-License-Identifier: GPL-2.0-or-later

// The cgroup of a session: a scope of ours made for it, or the login session's own.

import { escapeName } from "../../escaped_name.ts";
import { Refusal } from "../../refusal.ts";
import { shellWord } from "../../shell_word.ts";
import type { SessionRecord } from "../../subjects/session/record.ts";
import {
  cgroupPath,
  isLoginScope,
  placeOfProcess,
  type ScopeUnit,
  SLICE,
  scopeUnit,
  USERS_SLICE,
} from "../../subjects/session/scope_unit.ts";
import type { UserName } from "../../subjects/session/user_name.ts";
import type { AddressLock } from "../../system/systemd/systemd.ts";
import {
  cgroupId,
  cgroupOfProcess,
  isAsker,
  isPopulated,
  type Manager,
  openManager,
  parentOf,
  removeFile,
} from "../host.ts";
import { logWarning } from "../warning.ts";
import type { Person } from "./fragment.ts";
import { lockSession, readRecord } from "./records.ts";

/** How many sessions of one process can have scopes. */
const ATTEMPTS = 99;

/**
 * Units stop in the reverse order: at shutdown a session ends before the firewall goes, which starts before this unit. Nothing
 * else is named here, since a login would wait for its start.
 */
const AFTER = ["systemd-user-sessions.service"];

/** The terms on which a scope is entered. */
export type Entering<T> = {
  readonly deadline: number;
  readonly locks: DisposableStack;
  /** Makes what must exist before the process may be in the scope. */
  readonly prepare: (unit: ScopeUnit) => T;
  /** Returns the addresses for the scope's filter; `undefined` where the ruleset alone decides. */
  readonly addresses: (made: T) => AddressLock | undefined;
};

/** A scope with the process in it, and the result of `prepare`. */
export type Entered<T> = { readonly unit: ScopeUnit; readonly made: T };

/**
 * Starts a scope of ours with the process in it, under a free name that is locked first.
 *
 * @throws {Refusal} `systemd`, `timeout`, `record`, or what `prepare` throws
 */
export async function enterScope<T>(user: UserName, pid: number, options: Entering<T>): Promise<Entered<T>> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const unit = scopeUnit(user, pid, attempt);
    if (cgroupId(`${SLICE}/${unit}`) !== undefined) continue;
    if (cgroupOfProcess(pid) === "" || !isAsker(pid)) {
      // systemd would make an empty scope, which never ends.
      throw new Refusal("cgroup", `Cannot open a session for process ${pid}: it has ended; log in again.`);
    }
    const made = options.prepare(unit);
    const held = options.locks.use(await lockSession(unit, options.deadline));
    try {
      using systemd = await openManager(options.deadline);
      const addresses = await filterBeside(systemd, [SLICE], options.addresses(made));
      await systemd.startScope({
        isStill: () => isAsker(pid),
        unit,
        slice: SLICE,
        description: `Session of ${user} under a firewall of its own`,
        pid,
        whenOver: `authnft-end@${unit}.service`,
        after: AFTER,
        ...(addresses && { addresses }),
      });
      return { unit, made };
    } catch (error) {
      const refusal = refusalOf(error, `start ${unit}`);
      if (refusal === "taken") continue;
      removeFile(held.path);
      throw refusal;
    }
  }
  throw new Refusal(
    "systemd",
    `Cannot name a scope for process ${pid}: it has ${ATTEMPTS} of them; end some with "systemctl stop ${shellWord(`authnft-${escapeName(user)}-${pid}-*.scope`)}".`,
  );
}

/**
 * Takes the login session's own scope, where logind says that it belongs to this process and this user.
 *
 * @throws {Refusal} `cgroup` when it is not, `systemd`, `timeout`, or what `prepare` throws
 */
export async function adoptScope<T>(person: Person, pid: number, options: Entering<T>): Promise<Entered<T>> {
  const place = placeOfProcess(cgroupOfProcess(pid));
  const instead =
    "put the line directly after pam_systemd.so, or write scope=own, as in the files of su and sudo";
  if (place === undefined || !isLoginScope(place.unit)) {
    throw new Refusal(
      "cgroup",
      `Cannot use scope=session: process ${pid} of ${person.name} is in no login session of its own; ${instead}.`,
    );
  }
  const { unit } = place;
  try {
    using systemd = await openManager(options.deadline);
    const session = await systemd.loginSessionOf(pid);
    if (
      session?.scope !== unit ||
      session.leader !== pid ||
      session.uid !== person.uid ||
      place.uid !== person.uid
    ) {
      throw new Refusal(
        "cgroup",
        `Cannot use scope=session: the login session around process ${pid} is not one that this process began for ${person.name}; ${instead}.`,
      );
    }
    const made = options.prepare(unit);
    options.locks.use(await lockSession(unit, options.deadline));
    if (readRecord(unit) !== undefined) {
      throw new Refusal(
        "cgroup",
        `Cannot use scope=session: ${unit} is under a firewall already; keep one authnft line in the PAM configuration.`,
      );
    }
    const slices = [USERS_SLICE, `user-${person.uid}.slice`];
    const addresses = await filterBeside(systemd, slices, options.addresses(made));
    if (addresses !== undefined) await systemd.lockAddresses(unit, addresses);
    await systemd.startUnit(`authnft-session@${unit}.service`);
    return { unit, made };
  } catch (error) {
    const refusal = refusalOf(error, `take ${unit}`);
    throw refusal === "taken" ? error : refusal;
  }
}

/**
 * Has systemd close the sessions of a unit with `PAMName=` when it ends, if the process that opens one was started for such a unit.
 *
 * @returns the unit's name; `undefined` for any other process
 * @throws {Refusal} `systemd` or `timeout`
 */
export async function attendUnit(pid: number, deadline: number): Promise<string | undefined> {
  if (parentOf(pid) !== 1) return undefined;
  try {
    using systemd = await openManager(deadline);
    const unit = await systemd.pamUnitOf(pid);
    // Its start may wait for us, and must not begin again where it has just ended.
    if (unit !== undefined) await systemd.startUnit(`authnft-close@${unit}.service`, "ignore-dependencies");
    return unit;
  } catch (error) {
    const refusal = refusalOf(error, `find the unit of process ${pid}`);
    throw refusal === "taken" ? error : refusal;
  }
}

/**
 * Makes a filter that leaves an administrator's alone: systemd merges the lists of a unit and of its slices, and what one of them
 * allows no other can deny. A filter that allows nothing weakens no other.
 */
async function filterBeside(
  systemd: Manager,
  slices: readonly string[],
  addresses: AddressLock | undefined,
): Promise<AddressLock | undefined> {
  if (addresses === undefined || addresses.allow.length === 0) return addresses;
  for (const slice of slices) if (await systemd.hasAddressLists(slice)) return undefined;
  return addresses;
}

/** Turns an error of the bus into a refusal; into "taken" when there is a unit of that name. */
function refusalOf(error: unknown, act: string): Refusal | "taken" {
  if (error instanceof Refusal) return error;
  const { code, message } = error as Error & { readonly code?: string };
  // Not by class: importing it would load D-Bus.
  if (!(error instanceof Error) || error.name !== "BusError") throw error;
  if (code === "org.freedesktop.systemd1.UnitExists") return "taken";
  if (code === "gone") return new Refusal("cgroup", `Cannot ${act}: ${message}; log in again.`);
  return new Refusal(
    code === "timeout" ? "timeout" : "systemd",
    `Cannot ${act}: ${message}; see "systemctl status dbus authnft.slice".`,
  );
}

/** Ends a scope whose only process died before it got there: systemd would never learn that it is empty. */
export async function stopEmptyScope(unit: ScopeUnit, deadline: number): Promise<void> {
  if (isLoginScope(unit) || isPopulated(cgroupPath(unit, 0))) return;
  try {
    using systemd = await openManager(deadline);
    await systemd.stop(unit);
  } catch (error) {
    refusalOf(error, `stop ${unit}`);
  }
}

/**
 * Limits a unit's sockets to some addresses, with `{ allow: [] }` to none, or lifts the limit. Best effort: the ruleset decides
 * first.
 */
export async function setAddresses(
  unit: ScopeUnit,
  addresses: AddressLock | undefined,
  deadline: number,
): Promise<void> {
  await changeAddressFilter(unit, deadline, async (systemd) => {
    if (addresses !== undefined) await systemd.lockAddresses(unit, addresses);
    // Only where there was a filter: every address may be more than an administrator's slice permits.
    else if (await systemd.hasAddressLists(unit, "Scope")) await systemd.unlockAddresses(unit);
  });
}

/** The second half of widening an address filter: after the rules were replaced, or could not be. */
export type WidenedFilter = {
  readonly narrow: () => Promise<void>;
  readonly putBack: () => Promise<void>;
};

/**
 * Widens a session's address filter before its rules are replaced: it must not drop what the old or the new rules accept. Best
 * effort, as is the second half.
 *
 * @param addresses those that the new rules may accept; `undefined` where they alone decide
 * @param options.patience how long systemd may take for each step, in milliseconds
 */
export async function widenAddressFilter(
  { scope_unit: unit, uid }: Pick<SessionRecord, "scope_unit" | "uid">,
  addresses: AddressLock | undefined,
  options: { readonly patience: number },
): Promise<WidenedFilter> {
  const done = async (): Promise<void> => undefined;
  const soon = (): number => performance.now() + options.patience;
  const nothing: WidenedFilter = { narrow: done, putBack: done };
  const widened = await changeAddressFilter(unit, soon(), async (systemd): Promise<WidenedFilter> => {
    const before = await systemd.addressLists(unit, "Scope");
    const isLocked = before.allow.length + before.deny.length > 0;
    const slices = isLoginScope(unit) ? [USERS_SLICE, `user-${uid}.slice`] : [SLICE];
    const lock = await filterBeside(systemd, slices, addresses);
    if (isLocked) {
      const allow = [...before.allow, ...(lock?.allow ?? [])];
      if (lock === undefined || allow.length > WIDEST_FILTER) await systemd.unlockAddresses(unit);
      else if (lock.allow.length > 0) await systemd.setAddressLists(unit, { ...before, allow });
    }
    const change = (act: (systemd: Manager) => Promise<void>) => async (): Promise<void> =>
      await changeAddressFilter(unit, soon(), act);
    return {
      narrow: lock === undefined ? done : change((systemd) => systemd.lockAddresses(unit, lock)),
      putBack: isLocked ? change((systemd) => systemd.setAddressLists(unit, before)) : done,
    };
  });
  return widened ?? nothing;
}

/** How many addresses a filter for old and new rules may have: twice the limit of each. */
const WIDEST_FILTER = 2000;

/** Changes a unit's address filter; logs what goes wrong. */
async function changeAddressFilter<T>(
  unit: ScopeUnit,
  deadline: number,
  act: (systemd: Manager) => Promise<T>,
): Promise<T | undefined> {
  try {
    using systemd = await openManager(deadline);
    return await act(systemd);
  } catch (error) {
    logWarning(`The address filter of ${unit} could not be changed`, refusalOf(error, `reach ${unit}`));
    return undefined;
  }
}
