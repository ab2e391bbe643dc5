// SPDX-License-Identifier: GPL-2.0-or-later
import { oneLine, Refusal } from "../refusal.ts";
import { parseArguments } from "../session/arguments.ts";
import type { Event } from "../session/events.ts";
import { hasRules, type SessionRecord } from "../session/record.ts";
import type { Traffic } from "../session/removal.ts";
import type { Reply } from "../session/reply.ts";
import type { Request } from "../session/request.ts";
import {
  cgroupPath,
  isLoginScope,
  parseScopeUnit,
  placeOfProcess,
  REFUSED_CGROUP,
  type ScopeUnit,
  userSlice,
} from "../session/scope_unit.ts";
import {
  cgroupId,
  cgroupIdsBelow,
  cgroupOfProcess,
  isPopulated,
  killCgroup,
  moveProcess,
  processesIn,
  removeCgroup,
} from "../system/cgroup.ts";
import { removeFile } from "../system/files.ts";
import { Level, log } from "../system/journal.ts";
import { SystemError } from "../system/libc.ts";
import { destroySockets } from "../system/sock_diag.ts";
import { change } from "./change.ts";
import type { Asked } from "./open.ts";
import { complain } from "./report.ts";
import { setAddresses } from "./scope.ts";
import {
  closePolicy,
  lockRuleset,
  lockSession,
  readRecord,
  readRecords,
  removePolicy,
  removeRecord,
  writeRecord,
} from "./store.ts";
import { forgetGoneSlices, forgettableSlices, kept } from "./table.ts";
import { leaveCover, takeOut } from "./take_out.ts";

/** How long a close may take, in milliseconds. The shim waits 10 s. */
const PATIENCE = 8000;

/** How long the second lock of what is left behind may take, in milliseconds: a logout waits for it. */
const LOCK_PATIENCE = 1000;

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
  const caller = askers.find((pid) => pid === request.pid) ?? process.ppid;
  const unit = sessionOf(caller, request.session);
  if (unit === undefined) {
    log({
      level: Level.warning,
      message: `Process ${caller} of ${oneLine(request.user)} closes a session that it did not open; nothing to do.`,
    });
    return { result: "ok" };
  }
  try {
    const deadline = performance.now() + PATIENCE;
    using _session = await lockSession(unit, deadline);
    const record = readRecord(unit);
    if (record?.state === "open" && record.lingering === "keep") {
      hangUp([], await leaveWithRules(record, deadline));
      return { result: "ok" };
    }
    const left = isLeftBehind(record?.cg_path ?? cgroupPath(unit, request.uid), caller);
    const closed = await withdraw(unit, record, request, { caller, left, deadline });
    if (closed === undefined || !left) return { result: "ok" };
    if (closed.lingering === "kill" && kill(closed, caller)) return { result: "ok" };
    await setAddresses(unit, { allow: [] }, performance.now() + LOCK_PATIENCE);
  } catch (error) {
    complain(`Session ${unit} could not be closed`, error);
  }
  return { result: "ok" };
}

/** Closes a session whose processes keep its rules. @returns whose slices have no network any more */
async function leaveWithRules(record: SessionRecord, deadline: number): Promise<readonly number[]> {
  return await change(deadline, ({ tell }) => {
    tell({ kind: "close", how: "pam", keeps: true }, record);
    writeRecord({ ...record, state: "lingering" });
    return leaveCover(record).covers;
  });
}

/**
 * Takes a session's rules away and resets its connections.
 *
 * @param options.caller the process that closes it
 * @param options.left whether processes are left behind
 * @returns its record; `undefined` when it was not open
 */
async function withdraw(
  unit: ScopeUnit,
  record: SessionRecord | undefined,
  request: Request,
  { caller, left, deadline }: { readonly caller: number; readonly left: boolean; readonly deadline: number },
): Promise<SessionRecord | undefined> {
  const { closed, covers } = await change(deadline, ({ tell }) => {
    const { traffic, covers } = takeOut(unit, record, { close: left || isLoginScope(unit) });
    kept(`The rules of ${unit} are gone, but`, () => closePolicy(unit));
    const closed = record ?? (traffic && reconstruct(unit, request, caller));
    if (closed?.state !== "open") return { closed: undefined, covers };
    tell({ kind: "close", how: "pam", keeps: false }, closed);
    kept(`The rules of ${unit} are gone, but`, () =>
      writeRecord({ ...closed, state: "lingering", ...(traffic && { traffic }) }),
    );
    return { closed, covers };
  });
  if (closed === undefined) return undefined;
  hangUp([closed.cg_id], covers);
  return closed;
}

/**
 * Ends the connections of what has no network any more: who waits for an answer is told, and nobody waits for ever. Not to
 * be called under the lock of the ruleset: a user may have made many cgroups.
 *
 * @param cgroups the numbers of scopes
 * @param covers the users whose slices are closed; sessions in them that have rules are not
 */
function hangUp(cgroups: readonly number[], covers: readonly number[]): void {
  const cutOff = new Set([
    ...cgroups.map(BigInt),
    ...covers.flatMap((uid) => [...cgroupIdsBelow(userSlice(uid))]),
  ]);
  if (covers.length > 0)
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
function isLeftBehind(path: string, caller: number): boolean {
  return processesIn(path).some((pid) => pid !== caller);
}

/** Ends all processes of a session but the one that closes it, and those outside its scope. @returns whether it could be done */
function kill(record: SessionRecord, caller: number): boolean {
  const { cg_path: path, scope_unit: unit } = record;
  try {
    // Only where the entry could not leave the scope.
    if (processesIn(path).includes(process.pid)) throw new Error("this program is in it, too");
    // All at once, so that nothing can be born in between. Who closes has work to do yet, and waits below our slice.
    moveProcess(caller, REFUSED_CGROUP);
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

/** The session that a process opened: the one it is in, else the one it remembers, if its record or name says that it is this process's. */
function sessionOf(pid: number, remembered: string): ScopeUnit | undefined {
  const candidates = [placeOfProcess(cgroupOfProcess(pid))?.unit, parseScopeUnit(remembered)];
  return candidates.find((unit) => {
    if (unit === undefined) return false;
    const record = readRecord(unit);
    if (record !== undefined) return record.pid === pid;
    return !isLoginScope(unit) && new RegExp(`-${pid}(-[0-9]+)?\\.scope$`).test(unit);
  });
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
    const covers = await change(deadline, ({ tell }) => {
      const { traffic, covers } = takeOut(unit, record, { close: false });
      removeRecord(unit);
      if (record !== undefined)
        for (const event of endOf(record, traffic ?? record.traffic)) tell(event, record);
      removePolicy(unit);
      return covers;
    });
    hangUp([], covers);
    // What was asked of systemd for a scope that had just gone has made it a cgroup again, an empty one.
    if (path !== undefined) removeCgroup(path);
    removeFile(held.path);
    await tidy();
    return true;
  } catch (error) {
    complain(`${unit} could not be cleaned up`, error);
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
  const seconds = Math.max(0, (Date.now() - Date.parse(record.opened_at)) / 1000);
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
    complain("The slices that are gone were not forgotten", error);
  }
}
