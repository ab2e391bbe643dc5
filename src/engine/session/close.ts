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
import { closePolicy, lockRuleset, removePolicy } from "../store.ts";
import { forgetGoneSlices, forgettableSlices } from "../table.ts";
import { logWarning } from "../warning.ts";
import type { Asked } from "./open.ts";
import { isOpener, isOpenerGone, sessionAround, settle } from "./opener.ts";
import { lockSession, readRecord, readRecords, removeRecord, writeRecord } from "./records.ts";
import { leaveSlice, removeSession } from "./remove.ts";
import { report } from "./report.ts";
import { setAddresses } from "./scope.ts";

/** How long a close may take, in milliseconds. The shim waits 10 s. */
const PATIENCE = 8000;

/** How long the address filter of what is left behind may take, in milliseconds: a logout waits for it. */
const FILTER_PATIENCE = 1000;

/** How long it waits to forget what nobody needs, in milliseconds. */
const TIDYING_PATIENCE = 1000;

/** How long a clean-up waits for the open or close of its session, in milliseconds: longer than those may take. */
const END_PATIENCE = 15_000;

/**
 * Closes the session that the calling process opened. What becomes of processes that are left is the PAM line's to say.
 *
 * What it closes is told by the kernel and the record, not by the request. It always succeeds; what goes wrong is logged.
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
  // Asked first: where the scope is killed, the caller is moved out of it.
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

/** Who closes a session. */
type Closing = {
  /** The process that does, which is to live on; `undefined` where there is none. */
  readonly caller: number | undefined;
  /** Makes a record where there is none. */
  readonly reconstruct: () => SessionRecord;
};

/** Closes a session; what goes wrong is logged. */
async function close(unit: ScopeUnit, options: Closing): Promise<void> {
  const { caller } = options;
  try {
    const deadline = performance.now() + PATIENCE;
    using held = await lockSession(unit, deadline);
    const record = readRecord(unit);
    // Its end came first, and has seen to everything.
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

/** Closes a session whose processes keep its rules. @returns whose slices have no network any more */
async function leaveWithRules(record: SessionRecord, deadline: number): Promise<readonly number[]> {
  return await change(deadline, ({ afterwards }) => {
    afterwards(() => report({ kind: "close", how: "pam", keeps: true }, record));
    writeRecord({ ...record, state: "lingering" });
    return leaveSlice(record);
  });
}

/**
 * Takes a session's rules away and resets its connections.
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
 * Ends the connections of what has no network any more: who waits for an answer is told, and nobody waits for ever. Not to
 * be called under the lock of the ruleset: a user may have made many cgroups.
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
    // Not every kernel can. Then a reader waits until its peer gives up; nothing passes all the same.
    log({ level: Level.debug, message: `Connections that were left behind are not reset: ${error.message}` });
  }
}

/** Whether a cgroup has processes besides the one that closes the session. */
function isLeftBehind(path: string, caller: number | undefined): boolean {
  return processesIn(path).some((pid) => pid !== caller);
}

/** Ends all processes of a session but the one that closes it, and those outside its scope. @returns whether it could be done */
function kill(record: SessionRecord, caller: number | undefined): boolean {
  const { cg_path: path, scope_unit: unit } = record;
  try {
    // Only where the entry could not leave the scope.
    if (processesIn(path).includes(process.pid)) throw new Error("this program is in it, too");
    // All at once, so that nothing can be born in between. Who closes has work to do yet, and waits below our slice.
    if (caller !== undefined && isAsker(caller)) moveProcess(caller, REFUSED_CGROUP);
    killCgroup(path);
    return true;
  } catch (error) {
    // Before Linux 5.14 there is no way to do it at once. What is left has no network, which is what matters.
    log({
      level: Level.warning,
      message: oneLine(
        `What is left in ${unit} is not killed: ${error}; end it with "systemctl stop ${unit}".`,
      ),
    });
    return false;
  }
}

/** What can be known of a session whose record is gone or damaged, from its process and its cgroup. */
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
 * The session that a process may close. One that it opened itself: which it remembers, else in which it is. Or one that another
 * process of the same application opened, whose scope it is in: it has the handle from there, or that one is gone.
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
 * Closes the sessions that processes of a unit with PAMName= have opened, once the unit has ended: what systemd has close them
 * is not root any more. Run by systemd.
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
    // Asked under the lock: the name may have been given to a new session while we waited.
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
      return slices;
    });
    resetConnections([], slices);
    // What was asked of systemd for a scope that had just gone has made it a cgroup again, an empty one.
    if (path !== undefined) removeCgroup(path);
    removeFile(held.path);
    await tidy();
    return true;
  } catch (error) {
    logWarning(`${unit} could not be cleaned up`, error);
    return false;
  }
}

/** Whether a scope lives, and is the one that the record is of. */
function isAlive(path: string, record: SessionRecord | undefined): boolean {
  const id = cgroupId(path);
  return record === undefined ? isPopulated(path) : id === BigInt(record.cg_id);
}

/** What happens to a session when its scope has ended. */
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

/** Forgets what nobody needs any more, once everything that matters is done. Best effort: the next one does it, too. */
async function tidy(): Promise<void> {
  try {
    if (forgettableSlices().length === 0) return;
    using _ruleset = await lockRuleset(performance.now() + TIDYING_PATIENCE);
    forgetGoneSlices();
  } catch (error) {
    logWarning("The slices that are gone were not forgotten", error);
  }
}
