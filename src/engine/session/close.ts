// SPDX-License-Identifier: GPL-2.0-or-later
import { oneLine, Refusal } from "../../refusal.ts";
import type { Traffic } from "../../ruleset/removal.ts";
import { parseArguments } from "../../subjects/session/arguments.ts";
import type { Event } from "../../subjects/session/events.ts";
import { hasRules, type SessionRecord } from "../../subjects/session/record.ts";
import type { Reply } from "../../subjects/session/reply.ts";
import type { Request } from "../../subjects/session/request.ts";
import {
  cgroupPath,
  isLoginScope,
  parseScopeUnit,
  placeOfProcess,
  REFUSED_CGROUP,
  type ScopeUnit,
  userSlice,
} from "../../subjects/session/scope_unit.ts";
import { SystemError } from "../../system/ffi/libc.ts";
import { Level, log } from "../../system/systemd/journal.ts";
import { change } from "../change.ts";
import {
  cgroupId,
  cgroupIdsBelow,
  cgroupOfProcess,
  destroySockets,
  isAsker,
  isPopulated,
  killCgroup,
  moveProcess,
  processesIn,
  removeCgroup,
  removeFile,
  uptime,
} from "../host.ts";
import { saveBestEffort } from "../saved.ts";
import { dropSpares } from "../shared.ts";
import { closePolicy, lockRuleset, removePolicy } from "../store.ts";
import { forgetGoneSlices, forgettableSlices } from "../table.ts";
import { logWarning } from "../warning.ts";
import type { Asked } from "./open.ts";
import { isOpener, isOpenerGone, sessionAround, settle } from "./opener.ts";
import { lockSession, readRecord, readRecords, removeRecord, writeRecord } from "./records.ts";
import { leaveSlice, removeSession } from "./remove.ts";
import { report } from "./report.ts";
import { setAddresses } from "./scope.ts";

/** How long a close may take, in milliseconds. The module waits 10 s. */
const PATIENCE = 8000;

/** How long systemd may take for the address filter of left-behind processes, in milliseconds: a logout waits for it. */
const FILTER_PATIENCE = 1000;

/** How long tidying up waits for the lock, in milliseconds. */
const TIDYING_PATIENCE = 1000;

/** How long a clean-up waits for the open or close of its session, in milliseconds: longer than these may take. */
const END_PATIENCE = 15_000;

/**
 * Closes the session that the calling process opened. The PAM line decides what happens to processes that are left.
 *
 * The kernel and the record tell which session that is, not the request. Always succeeds; logs what goes wrong.
 */
export async function closeSession(request: Request, { askers }: Asked): Promise<Reply> {
  if (request.service === "systemd-user") return { result: "ok" };
  const caller = askers.find((pid) => pid === request.pid) ?? askers[0] ?? 0;
  const unit = sessionOf(caller, request);
  if (unit === undefined) {
    log({
      level: Level.warning,
      message: `Process ${caller} of ${oneLine(request.user)} closes a session that it did not open; nothing to do.`,
    });
    return { result: "ok" };
  }
  // Looked up first: where the scope is killed, the caller is moved out of it.
  const around = sessionAround(caller);
  await close(unit, { caller, reconstruct: () => reconstruct(unit, request, caller) });
  const back = around && (await settled(around, unit));
  return { result: "ok", ...(back !== undefined && { back }) };
}

async function settled(around: SessionRecord, ended: ScopeUnit): Promise<string | undefined> {
  try {
    return await settle(around, ended, performance.now() + FILTER_PATIENCE);
  } catch (error) {
    logWarning(`Process ${around.pid} stays in ${around.scope_unit}`, error);
    return undefined;
  }
}

/** The way in which a session is closed. */
type Closing = {
  /** The process that closes it, which lives on; `undefined` where there is none. */
  readonly caller: number | undefined;
  /** Makes a record where none can be read. */
  readonly reconstruct: () => SessionRecord;
};

/** Closes a session; logs what goes wrong. */
async function close(unit: ScopeUnit, options: Closing): Promise<void> {
  const { caller } = options;
  try {
    const deadline = performance.now() + PATIENCE;
    using held = await lockSession(unit, deadline);
    const record = readRecord(unit);
    // The clean-up of its scope came first, and has done everything.
    if (record === undefined && cgroupId(options.reconstruct().cg_path) === undefined) {
      removeFile(held.path);
      return;
    }
    if (record?.state === "open" && record.lingering === "keep") {
      resetConnections([], await leaveWithRules(record, deadline));
      return;
    }
    const left = isLeftBehind((record ?? options.reconstruct()).cg_path, caller);
    const closed = await withdraw(unit, record, { ...options, left, deadline });
    if (closed === undefined || !left) return;
    if (closed.lingering === "kill" && kill(closed, caller)) return;
    await setAddresses(unit, { allow: [] }, performance.now() + FILTER_PATIENCE);
  } catch (error) {
    logWarning(`Session ${unit} could not be closed`, error);
  }
}

/** Closes a session whose processes keep its rules. @returns the users whose slices have no network any more */
async function leaveWithRules(record: SessionRecord, deadline: number): Promise<readonly number[]> {
  return await change(deadline, ({ afterwards }) => {
    afterwards(() => report({ kind: "close", how: "pam", keeps: true }, record));
    writeRecord({ ...record, state: "lingering" });
    return leaveSlice(record);
  });
}

/**
 * Removes a session's rules and resets its connections.
 *
 * @param options.left whether processes are left behind
 * @returns its record; `undefined` when it was not open
 */
async function withdraw(
  unit: ScopeUnit,
  record: SessionRecord | undefined,
  { reconstruct, left, deadline }: Closing & { readonly left: boolean; readonly deadline: number },
): Promise<SessionRecord | undefined> {
  const { closed, slices } = await change(deadline, ({ afterwards }) => {
    const { traffic, slices } = removeSession(unit, record, { close: left || isLoginScope(unit) });
    saveBestEffort(`The rules of ${unit} are gone, but`, () => closePolicy(unit));
    dropSpares();
    const closed = record ?? (traffic && reconstruct());
    if (closed?.state !== "open") return { closed: undefined, slices };
    afterwards(() => report({ kind: "close", how: "pam", keeps: false }, closed));
    saveBestEffort(`The rules of ${unit} are gone, but`, () =>
      writeRecord({ ...closed, state: "lingering", ...(traffic && { traffic }) }),
    );
    return { closed, slices };
  });
  if (closed === undefined) return undefined;
  resetConnections([closed.cg_id], slices);
  return closed;
}

/**
 * Resets the connections of cgroups that have no network any more, so that neither end waits for ever. Not to be called under the
 * lock of the ruleset: a user may have made many cgroups.
 *
 * @param cgroups the numbers of scopes
 * @param slices the users whose slices are closed; sessions in them that have rules are not
 */
function resetConnections(cgroups: readonly number[], slices: readonly number[]): void {
  const cutOff = new Set([
    ...cgroups.map(BigInt),
    ...slices.flatMap((uid) => [...cgroupIdsBelow(userSlice(uid))]),
  ]);
  if (slices.length > 0)
    for (const record of readRecords()) if (hasRules(record)) cutOff.delete(BigInt(record.cg_id));
  if (cutOff.size === 0) return;
  try {
    destroySockets(cutOff);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    // Not every kernel can. Readers then wait until their peers give up; nothing passes all the same.
    log({ level: Level.debug, message: `Connections that were left behind are not reset: ${error.message}` });
  }
}

/** Whether a cgroup has processes besides the one that closes the session. */
function isLeftBehind(path: string, caller: number | undefined): boolean {
  return processesIn(path).some((pid) => pid !== caller);
}

/** Kills the processes in a session's scope but the one that closes it. @returns whether that could be done */
function kill(record: SessionRecord, caller: number | undefined): boolean {
  const { cg_path: path, scope_unit: unit } = record;
  try {
    // Only where the entry could not leave the scope.
    if (processesIn(path).includes(process.pid)) throw new Error("this program is in it, too");
    // All at once, so that nothing is born in between. The closing process has work left, and waits below our slice.
    if (caller !== undefined && isAsker(caller)) moveProcess(caller, REFUSED_CGROUP);
    killCgroup(path);
    return true;
  } catch (error) {
    // Before Linux 5.14 there is no way to do it at once. The processes have no network, which is what matters.
    log({
      level: Level.warning,
      message: oneLine(
        `What is left in ${unit} is not killed: ${error}; end it with "systemctl stop ${unit}".`,
      ),
    });
    return false;
  }
}

/** Makes a record for a session whose own is gone or damaged, from its process and its cgroup. */
function reconstruct(unit: ScopeUnit, request: Request, pid: number): SessionRecord {
  const path = cgroupPath(unit, request.uid);
  return {
    v: 2,
    user: request.user,
    uid: request.uid,
    scope_unit: unit,
    cg_path: path,
    cg_id: Number(cgroupId(path) ?? 1),
    remote_ip: "",
    fragment: "",
    claims_tag: "",
    correlation: "",
    service: request.service,
    tty: request.tty,
    pid,
    opened_at: new Date().toISOString(),
    state: "open",
    lingering: lingeringOf(request),
    generation: 0,
    sequence: 0,
    taken_from: "",
    pending: [],
    opened_in: "",
  };
}

function lingeringOf(request: Request): SessionRecord["lingering"] {
  try {
    return parseArguments(request.args).lingering;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return "quarantine";
  }
}

/**
 * Finds the session that a process may close: one that it opened itself, by the handle that it remembers, else by its scope; or one
 * that another process of the same application opened, whose scope it is in, if it has the handle from there or that one is gone.
 */
function sessionOf(pid: number, request: Request): ScopeUnit | undefined {
  const around = placeOfProcess(cgroupOfProcess(pid))?.unit;
  const remembered = parseScopeUnit(request.session);
  return [remembered, around].find((unit) => {
    if (unit === undefined) return false;
    const record = readRecord(unit);
    if (record === undefined)
      return !isLoginScope(unit) && new RegExp(`-${pid}(-[0-9]+)?\\.scope$`).test(unit);
    if (record.uid !== request.uid) return false;
    if (isOpener(record, pid)) return true;
    const isSame = record.service === request.service && unit === around;
    return isSame && (unit === remembered || isOpenerGone(record));
  });
}

/**
 * Closes the sessions that processes of a unit with `PAMName=` opened, once the unit has ended: systemd's own process for that is no
 * longer root. Run by systemd.
 *
 * @returns whether none is left open
 */
export async function closeSessionsOf(service: string): Promise<boolean> {
  const opened = (): SessionRecord[] =>
    readRecords().filter(
      (record) => record.opened_in === service && record.state === "open" && isOpenerGone(record),
    );
  for (const record of opened())
    await close(record.scope_unit, { caller: undefined, reconstruct: () => record });
  return opened().length === 0;
}

/**
 * Cleans up after a scope that has ended, however it ended. Run by systemd.
 *
 * @returns whether everything is gone
 */
export async function endSession(unit: ScopeUnit): Promise<boolean> {
  try {
    const deadline = performance.now() + END_PATIENCE;
    using held = await lockSession(unit, deadline);
    const record = readRecord(unit);
    // Looked up under the lock: a new session may have got the name while we waited.
    const path = record?.cg_path ?? (isLoginScope(unit) ? undefined : cgroupPath(unit, 0));
    if (path !== undefined && isAlive(path, record)) {
      log({
        level: Level.info,
        message: `${unit} lives; it is not cleaned up. To end it: systemctl stop ${unit}`,
      });
      return true;
    }
    const slices = await change(deadline, ({ afterwards }) => {
      const { traffic, slices } = removeSession(unit, record, { close: false });
      removeRecord(unit);
      if (record !== undefined)
        for (const event of endOf(record, traffic ?? record.traffic)) afterwards(() => report(event, record));
      removePolicy(unit);
      dropSpares();
      return slices;
    });
    resetConnections([], slices);
    // A request to systemd about a scope that had just gone has made an empty cgroup of its name.
    if (path !== undefined) removeCgroup(path);
    removeFile(held.path);
    await tidy();
    return true;
  } catch (error) {
    logWarning(`${unit} could not be cleaned up`, error);
    return false;
  }
}

/** Whether a scope lives and is the one in the record. */
function isAlive(path: string, record: SessionRecord | undefined): boolean {
  const id = cgroupId(path);
  return record === undefined ? isPopulated(path) : id === BigInt(record.cg_id);
}

/** Lists the events of a session whose scope has ended. */
function endOf(record: SessionRecord, traffic: Traffic | undefined): Event[] {
  if (record.state === "refused") return [];
  const now = uptime();
  const seconds =
    record.opened_uptime === undefined || now === undefined
      ? Math.max(0, (Date.now() - Date.parse(record.opened_at)) / 1000)
      : Math.max(0, now - record.opened_uptime);
  const end: Event = { kind: "end", seconds, traffic };
  return record.state === "open" ? [{ kind: "close", how: "lost" }, end] : [end];
}

/** Forgets slices that are gone, after everything that matters. Best effort: the next clean-up tries again. */
async function tidy(): Promise<void> {
  try {
    if (forgettableSlices().length === 0) return;
    using _ruleset = await lockRuleset(performance.now() + TIDYING_PATIENCE);
    forgetGoneSlices();
  } catch (error) {
    logWarning("The slices that are gone could not be forgotten", error);
  }
}
