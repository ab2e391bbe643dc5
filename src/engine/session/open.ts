// SPDX-License-Identifier: GPL-2.0-or-later

import { randomBytes } from "node:crypto";
import { escapeName } from "../../escaped_name.ts";
import { FRAGMENT_DIRECTORY } from "../../paths.ts";
import { oneLine, Refusal } from "../../refusal.ts";
import { addSubject, closeCgroup } from "../../ruleset/subject.ts";
import { shellWord } from "../../shell_word.ts";
import { type Arguments, parseArguments } from "../../subjects/session/arguments.ts";
import { type ClaimsTag, claimsTag, parseKeySerial } from "../../subjects/session/claims.ts";
import { CORRELATION_VARIABLE, correlationToken } from "../../subjects/session/correlation.ts";
import { type Elsewhere, refusalFor } from "../../subjects/session/elsewhere.ts";
import { choosePeer } from "../../subjects/session/peer.ts";
import { hasRules, type SessionRecord } from "../../subjects/session/record.ts";
import type { Reply } from "../../subjects/session/reply.ts";
import type { Request } from "../../subjects/session/request.ts";
import {
  cgroupIn,
  cgroupPath,
  isLoginScope,
  placeOfProcess,
  REFUSED_CGROUP,
  type ScopeUnit,
} from "../../subjects/session/scope_unit.ts";
import { SESSION_KIND, sessionSubject } from "../../subjects/session/session.ts";
import { parseUserName } from "../../subjects/session/user_name.ts";
import { SystemError } from "../../system/ffi/libc.ts";
import { auditValue } from "../../system/kernel/audit.ts";
import { Level, log } from "../../system/systemd/journal.ts";
import { change } from "../change.ts";
import { addressFilterOf, type Compiled, FragmentSource } from "../compile.ts";
import { denied } from "../denied.ts";
import {
  auditUserError,
  cgroupId,
  cgroupOfProcess,
  describeKey,
  findSeal,
  isAsker,
  moveProcess,
  processesIn,
  readKey,
  readText,
  startOf,
  tcpPeers,
  uptime,
} from "../host.ts";
import { dropSpares, layOut } from "../shared.ts";
import { applySlicePolicy, compiledForSlice, slicePolicy } from "../slice/policy.ts";
import { lockRuleset, removePolicy, savePolicy } from "../store.ts";
import { closeBase, repairTable } from "../table.ts";
import { commit, type Piece, run } from "../transaction.ts";
import { logWarning } from "../warning.ts";
import { fragmentOf, type Person } from "./fragment.ts";
import { keepPending, sessionAround, unended } from "./opener.ts";
import { readRecords, rememberName, removeRecord, writeRecord } from "./records.ts";
import { removeSession } from "./remove.ts";
import { NO_CGROUP, report } from "./report.ts";
import { adoptScope, attendUnit, type Entering, enterScope, setAddresses, stopEmptyScope } from "./scope.ts";

/**
 * How long an open may take, in milliseconds since the start of the helper: on a very busy host the runtime alone takes seconds.
 * The module waits 10 s, and the entry's alarm comes after 12; the rest is for undoing.
 */
const PATIENCE = 8000;

/** How long a refused process may take on its way into a scope, in milliseconds, on top of that. */
const REFUSAL_PATIENCE = 1000;

/** How deep the cgroups of sessions lie: a scope of ours in our slice, a login session's in its user's slice. */
const LEVELS: Readonly<Record<Arguments["scope"], number>> = { own: 2, session: 3 };

/** The scope of a session that has none yet. */
const NO_UNIT = "" as ScopeUnit;

/** Facts about a request that need no belief in it. */
export type Asked = {
  /** The processes that ask. One of them must be the one that the request names. */
  readonly askers: readonly number[];
  /** Their namespaces, where these are not the host's own. */
  readonly elsewhere: Elsewhere | undefined;
  /** How long ago the helper could begin, in milliseconds. */
  readonly age: number;
};

/** The record of a session that is being opened; grows from step to step. */
type Draft = { -readonly [Key in keyof SessionRecord]: SessionRecord[Key] };

/**
 * Opens a session: all that the request asks for, or nothing of it and a process without network.
 *
 * @returns the reply to the PAM process. A refusal is logged here and becomes a reply.
 */
export async function openSession(request: Request, asked: Asked): Promise<Reply> {
  if (request.service === "systemd-user") return { result: "ok" };
  const { user, uid, service, tty, pid } = request;
  const draft: Draft = {
    v: 2,
    user,
    uid,
    scope_unit: NO_UNIT,
    cg_path: "",
    cg_id: NO_CGROUP,
    remote_ip: "",
    fragment: "",
    claims_tag: "",
    correlation: "",
    service,
    tty,
    pid,
    opened_at: new Date().toISOString(),
    opened_uptime: uptime(),
    state: "open",
    lingering: "quarantine",
    generation: 0,
    sequence: 0,
    taken_from: "",
    pending: [],
    opened_in: "",
  };
  // The clean-up of a scope that ends at once waits until the outcome is written down.
  using locks = new DisposableStack();
  try {
    return await open(request, asked, draft, locks);
  } catch (error) {
    const refusal =
      error instanceof Refusal
        ? error
        : (denied(error) ??
          new Refusal("bug", `The helper failed: ${error instanceof Error ? error.stack : error}`));
    return await refuse(refusal, asked, draft, locks);
  }
}

async function open(
  request: Request,
  { askers, elsewhere, age }: Asked,
  draft: Draft,
  locks: DisposableStack,
): Promise<Reply> {
  const deadline = performance.now() + Math.max(0, PATIENCE - age);
  const correlation = correlationToken(request.env[CORRELATION_VARIABLE], {
    unixSeconds: Math.floor(Date.now() / 1000),
    pid: request.pid,
    random: randomBytes(4),
  });
  draft.correlation = correlation;
  if (elsewhere !== undefined) throw refusalFor(elsewhere);
  if (!askers.includes(request.pid)) {
    throw new Refusal(
      "request",
      `Cannot open a session for process ${request.pid}: ${askers.length === 0 ? "it has ended; log in again" : `it is process ${askers[0]} that asks`}.`,
    );
  }
  const started = startOf(request.pid);
  if (started !== undefined) draft.pid_started = started;
  const around = sessionAround(request.pid);
  draft.taken_from = around?.taken_from ?? cgroupIn(cgroupOfProcess(request.pid));
  draft.pending = [...unended(around)];
  if (around !== undefined && around.state !== "lingering" && around.uid !== request.uid) {
    throw new Refusal(
      "occupied",
      `Cannot open a session for process ${request.pid}: it has one of ${around.user}'s, ${around.scope_unit}, and a process is under one policy only; have the service open each session in a process of its own, or take the line out of its PAM file.`,
    );
  }
  const args = parseArguments(request.args);
  const step = (what: string): void => {
    if (args.debug)
      log({ level: Level.debug, message: `Session of ${request.user}, process ${request.pid}: ${what}.` });
  };

  const user = parseUserName(request.user);
  const peer = choosePeer(args.rhostPolicy, request.rhost, () => connectionsOf(request));
  if (peer.note !== undefined)
    log({ level: Level.warning, message: `The address of ${user}'s session: ${peer.note}.` });
  draft.remote_ip = peer.address ?? "";
  draft.claims_tag = readClaims(args, request.env) ?? "";
  step(`address ${draft.remote_ip || "unknown"}, claims ${draft.claims_tag || "none"}`);

  draft.lingering = args.lingering;

  draft.fragment = `${FRAGMENT_DIRECTORY}/users/${escapeName(user)}`;
  const person = { name: user, uid: request.uid };
  const found = fragmentOf({ name: user, groups: request.groups });
  draft.fragment = found.path;
  const source = new FragmentSource(found.path);
  const isKept = source.prepare(LEVELS[args.scope]);
  step(`fragment ${found.path}, for ${found.why}, read, ${isKept ? "compiled before" : "to be compiled"}`);

  draft.opened_in = (await attendUnit(request.pid, deadline)) ?? "";
  const entering: Entering<Compiled> = {
    deadline,
    locks,
    prepare: (unit) => source.compileFor(SESSION_KIND.plan(inScope(draft, unit))),
    addresses: (compiled) => addressFilterOf(compiled, peer.address),
  };
  const { unit, made: compiled } =
    args.scope === "own"
      ? await enterScope(user, request.pid, entering)
      : await adoptScope(person, request.pid, entering);
  step(`in ${unit}`);
  const path = cgroupPath(unit, request.uid);
  const id = cgroupId(path);
  if (
    id === undefined ||
    placeOfProcess(cgroupOfProcess(request.pid))?.unit !== unit ||
    !isAsker(request.pid)
  ) {
    await stopEmptyScope(unit, deadline);
    throw new Refusal(
      "cgroup",
      `Cannot find process ${request.pid} in ${unit}: it ended or was moved while its session was opened; log in again.`,
    );
  }
  Object.assign(draft, { scope_unit: unit, cg_path: path, cg_id: Number(id) });
  for (const note of compiled.notes) log({ level: Level.notice, message: `${note}.` });
  // Slow steps that change nothing come before the lock, for which others wait.
  const slicePolicyOf = compiledForSlice({ ...person, open: [draft] }, source);

  await findSeal(deadline);
  // From here on a session is in the table, in a record and among the saved rules, or in none of them.
  const earlier = await change(deadline, ({ undo, afterwards }) => {
    const others = readRecords(person).filter(({ scope_unit }) => scope_unit !== unit);
    draft.sequence = 1 + Math.max(0, ...others.map(({ sequence }) => sequence));
    const open = [draft, ...others.filter(({ state }) => state === "open")];
    const opened = beginning(draft, person, compiled, source);
    const place = (): void => {
      // First, so that a restoration does not find this session.
      repairTable();
      const before = closeBase();
      using tried = new DisposableStack();
      const slice = slicePolicy(person, slicePolicyOf, open);
      commit(slice === undefined ? [opened] : [opened, slice], { undo: (act) => tried.defer(act) }, before);
      tried.move();
    };
    const forget = (): void => {
      removeRecord(unit);
      removePolicy(unit);
      dropSpares();
    };
    undo(forget);
    undo(() => undoOpen(unit, draft));
    try {
      place();
    } catch (error) {
      if (!(error instanceof Refusal && error.reason === "ruleset")) throw error;
      // A session that was never cleaned up may have left chains of this name, or the user's slice or the table went just now. With all
      // that repaired, the rules are either loaded or really refused.
      removeSession(unit, undefined, { close: false });
      forget();
      place();
    }
    afterwards(() => report({ kind: "open" }, draft));
    return others;
  });
  step(`${compiled.commands} commands loaded for cgroup ${id}`);
  source.keep();
  const say = leftBehind(earlier);
  return { result: "ok", session: unit, correlation, ...(say !== undefined && { say }) };
}

/** Removes the rules of a session that cannot be opened: they may be in force, with only the kernel's answer lost. */
function undoOpen(unit: ScopeUnit, draft: Draft): void {
  try {
    removeSession(unit, draft, { close: isLoginScope(unit) });
  } catch (error) {
    logWarning(`The rules of ${unit} could not be removed again`, error);
  }
}

/** Returns the record as it will be in a scope. */
function inScope(draft: Draft, unit: ScopeUnit): Draft {
  return { ...draft, scope_unit: unit, cg_path: cgroupPath(unit, draft.uid) };
}

/** Makes the piece that puts a session under its rules. Its undoing stands with that of the whole session. */
function beginning(draft: Draft, person: Person, compiled: Compiled, source: FragmentSource): Piece {
  const { subject, parts, shared, placesIn } = layOut(sessionSubject(draft), compiled);
  const commands = addSubject(subject, parts);
  const place = placesIn(commands);
  return {
    lines: commands.lines,
    ...(place !== undefined && { place }),
    ...(shared !== undefined && {
      shared,
      unshared: () => beginning(draft, person, source.compileOwn(SESSION_KIND.plan(draft)), source),
    }),
    save: () => {
      savePolicy(draft.scope_unit, commands.lines);
      writeRecord(draft);
      rememberName(person);
      return () => undefined;
    },
  };
}

/** How many left-behind processes are named at a user's next login. */
const NAMED = 8;

/** Names the processes of a user's earlier sessions that have no network, and the way to release them; `undefined` for none. */
function leftBehind(records: readonly SessionRecord[]): string | undefined {
  const cutOff = records.flatMap((record) => {
    if (record.state !== "lingering" || hasRules(record)) return [];
    const pids = processesIn(record.cg_path);
    return pids.length === 0 ? [] : [{ unit: record.scope_unit, pids }];
  });
  if (cutOff.length === 0) return undefined;
  const pids = cutOff.flatMap(({ pids }) => pids);
  const named = pids.slice(0, NAMED).map((pid) => `${readText(`/proc/${pid}/comm`)?.trim() ?? "?"} (${pid})`);
  const more = pids.length > NAMED ? ` and ${pids.length - NAMED} more` : "";
  const units = cutOff.slice(0, 2).map(({ unit }) => unit);
  return oneLine(
    `authnft: without network since their session was closed: ${named.join(", ")}${more}. To have them released, ask the administrator to run: authnft release ${units.map(shellWord).join(" ")}`,
  );
}

/** Leaves the process of a refused session without network, and gives the reason to the user and the logs. */
async function refuse(
  refusal: Refusal,
  { askers, elsewhere }: Asked,
  draft: Draft,
  locks: DisposableStack,
): Promise<Reply> {
  report({ kind: "refuse", reason: refusal.reason, why: refusal.message }, draft);
  if (refusal.concernsFragment) audit(refusal, draft);
  // The process id of a request that is not believed is not believed either, and one of another PID namespace is somebody else's
  // here. The module then cuts off its own process, the entry its parent.
  const around = refusal.reason === "occupied" ? sessionAround(draft.pid) : undefined;
  const session = around && (await goOn(around, draft));
  if (session !== undefined)
    return { result: "refused", say: userMessage(refusal, draft), isCutOff: true, session };
  const isKnown = askers.includes(draft.pid) && elsewhere !== "processes";
  const isCutOff = isKnown && (await quarantine(refusal, draft, locks));
  return { result: "refused", say: userMessage(refusal, draft), isCutOff };
}

/**
 * Leaves a process in the session that it has: moving it away would end that one, if nobody else is in it.
 *
 * @returns the name under which it must end the refused one; `undefined` where that cannot be noted
 */
async function goOn(around: SessionRecord, { user }: Draft): Promise<ScopeUnit | undefined> {
  try {
    return await keepPending(around, parseUserName(user), performance.now() + REFUSAL_PATIENCE);
  } catch (error) {
    logWarning(`The session of ${oneLine(user)} could not be noted`, error);
    return undefined;
  }
}

/** Takes the network from a refused process. @returns whether it has none any more */
async function quarantine(refusal: Refusal, draft: Draft, locks: DisposableStack): Promise<boolean> {
  // Dead: nobody is left to cut off, and the number may be another process's.
  if (cgroupOfProcess(draft.pid) === "" || !isAsker(draft.pid)) return true;
  let isCutOff = true;
  draft.state = "refused";
  // A login session's own scope lies in the user's slice, which another session may have opened.
  if (isLoginScope(draft.scope_unit)) draft.cg_id = NO_CGROUP;
  try {
    if (draft.cg_id === NO_CGROUP) {
      // Where systemd has just failed it would only fail again.
      if (refusal.reason === "systemd" || refusal.reason === "timeout") throw refusal;
      const { unit } = await enterScope(parseUserName(draft.user), draft.pid, {
        deadline: performance.now() + REFUSAL_PATIENCE,
        locks,
        prepare: () => undefined,
        addresses: () => ({ allow: [] }),
      });
      const path = cgroupPath(unit, draft.uid);
      Object.assign(draft, { scope_unit: unit, cg_path: path, cg_id: Number(cgroupId(path) ?? NO_CGROUP) });
    }
    // It was started with the session's addresses, or with all.
    else await setAddresses(draft.scope_unit, { allow: [] }, performance.now() + REFUSAL_PATIENCE);
    writeRecord(draft);
  } catch {
    // No scope, or no room for its record: being below the slice is enough. The refusal itself is logged already.
    if (draft.cg_id === NO_CGROUP) isCutOff = cutOff(draft.pid);
  }
  await closeDefault(draft);
  return isCutOff;
}

/** Makes sure that cgroups without an element have no network below the slices, whatever became of the table. Best effort. */
async function closeDefault({ uid, cg_id: id, cg_path: path }: Draft): Promise<void> {
  const orLog = (act: () => void): void => {
    try {
      act();
    } catch (error) {
      logWarning("The table that closes refused sessions cannot be loaded", error);
    }
  };
  try {
    using _held = await lockRuleset(performance.now() + REFUSAL_PATIENCE);
    orLog(repairTable);
    // The scope may be gone by now; its user's slice is closed all the same.
    if (id !== NO_CGROUP && cgroupId(path) !== undefined) orLog(() => run(closeCgroup(path)));
    orLog(() => applySlicePolicy(uid));
  } catch (error) {
    logWarning("The table that closes refused sessions cannot be loaded", error);
  }
}

/** Moves a process into the quarantine cgroup, without systemd. @returns whether it could; logs what goes wrong */
function cutOff(pid: number): boolean {
  if (!isAsker(pid)) return true;
  try {
    moveProcess(pid, REFUSED_CGROUP);
    return true;
  } catch (error) {
    log({
      level: Level.warning,
      message: `Process ${pid}, whose session is refused, cannot be cut off from the network: ${error}; end it.`,
    });
    return false;
  }
}

/** Tells the user what to ask the administrator for. */
function userMessage(refusal: Refusal, draft: Draft): string {
  const favour = {
    missing: `to write the fragment ${draft.fragment}`,
    perms: `to mend the permissions of the fragment ${draft.fragment}`,
    content: `to mend the fragment ${draft.fragment}`,
    "nft-syntax": `to mend the fragment ${draft.fragment}`,
    address: "why your client's address is not known to this host",
    claims: "to look at the claims that came with your login",
    argument: "to mend the authnft line in the PAM configuration",
    user: "to give you a user name that authnft can use",
    occupied: "to have the service open each session in a process of its own",
    namespace: "to start the service in the host's own namespaces",
  }[refusal.reason as string];
  return `authnft: no session for ${oneLine(draft.user).slice(0, 40)}. Ask the administrator ${favour ?? "to run authnft doctor"}; the reference is ${draft.correlation || "in the log"}.`;
}

function audit(refusal: Refusal, draft: Draft): void {
  const text = `op=authnft-fragment-reject reason=${refusal.reason} user=${auditValue(draft.user)} fragment=${auditValue(draft.fragment)}`;
  try {
    auditUserError(text);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    log({ level: Level.debug, message: `The audit trail took no record (${error.message}): ${text}` });
  }
}

/** Lists the peers of the PAM process's connections; none where the kernel does not tell. */
function connectionsOf({ pid, sockets }: Request): string[] {
  try {
    return tcpPeers(new Set(sockets));
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    log({
      level: Level.warning,
      message: `The kernel does not tell the connections of process ${pid}: ${error.message}.`,
    });
    return [];
  }
}

function readClaims(args: Arguments, env: Request["env"]): ClaimsTag | undefined {
  if (args.claimsEnv === undefined || !Object.hasOwn(env, args.claimsEnv)) return undefined;
  const serial = env[args.claimsEnv];
  if (serial === undefined) return undefined;
  try {
    const key = parseKeySerial(serial);
    const { type, uid } = describeKey(key);
    if (uid === 0 && type === "user") return claimsTag(readKey(key));
    throw new Refusal(
      "claims",
      `Cannot believe the claims: key ${serial} is of type "${type}" and belongs to uid ${uid}; only a key of type "user" that belongs to uid 0 is taken.`,
    );
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    throw new Refusal(
      "claims",
      `Cannot read the claims: key ${serial}: ${error.code}; ${
        // EPERM comes from a filter of the host's; for a key that may not be read the kernel says EACCES.
        error.code === "EPERM"
          ? "the host denies keyrings: permit @keyring in its filter of system calls, or take claims_env= from the PAM line."
          : "have the module that makes it keep it readable for root."
      }`,
    );
  }
}
