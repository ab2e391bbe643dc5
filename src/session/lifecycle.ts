// SPDX-License-Identifier: GPL-2.0-or-later
import { randomBytes } from "node:crypto";
import { compileFragment, type Policy } from "../policy/compile.ts";
import { FRAGMENT_DIRECTORY, readFragment } from "../policy/read.ts";
import { locate } from "../policy/tokenise.ts";
import { oneLine, Refusal } from "../refusal.ts";
import { addMember, judgedChain, type Member } from "../ruleset/members.ts";
import { BASE_CHAINS, baseTable, closeSlice, TABLE, TABLE_NAME } from "../ruleset/table.ts";
import { auditUserError, auditValue } from "../system/audit.ts";
import { cgroupId, cgroupOfProcess, moveProcess } from "../system/cgroup.ts";
import { type Lock, lock, makeDirectory, readTrusted, removeFile, replaceFile } from "../system/files.ts";
import { Level, log } from "../system/journal.ts";
import { describeKey, readKey } from "../system/keyring.ts";
import { SystemError } from "../system/libc.ts";
import * as nftables from "../system/nftables.ts";
import { tcpPeers } from "../system/sock_diag.ts";
import { readText } from "../system/text_file.ts";
import { familyOf } from "./address.ts";
import { type Arguments, parseArguments } from "./arguments.ts";
import { type ClaimsTag, claimsTag, parseKeySerial } from "./claims.ts";
import { CORRELATION_VARIABLE, correlationToken } from "./correlation.ts";
import { describeEvent, type Event, type Told } from "./events.ts";
import { choosePeer } from "./peer.ts";
import { formatRecord, parseRecord, RECORD_DIRECTORY, type SessionRecord } from "./record.ts";
import { removeSession, type Traffic } from "./removal.ts";
import type { Reply } from "./reply.ts";
import type { Request } from "./request.ts";
import {
  cgroupPath,
  objectStem,
  parseScopeUnit,
  REFUSED_CGROUP,
  type ScopeUnit,
  SLICE,
  scopeOfProcess,
  scopeUnit,
} from "./scope_unit.ts";
import { parseUserName, type UserName } from "./user_name.ts";

const LOCK_DIRECTORY = "/run/authnft/lock";

/** How long an open or a close may take, in milliseconds. The shim waits 10 s; what is left is for undoing. */
const PATIENCE = 8000;

/** How long a refused process may take on its way into a scope, in milliseconds, on top of that. */
const REFUSAL_PATIENCE = 1000;

/** How long a clean-up waits for the open or close of its session, in milliseconds: longer than those may take. */
const END_PATIENCE = 15_000;

/** How many sessions of one process are told apart. */
const ATTEMPTS = 99;

/** What is known of a session while it is being opened; grows from step to step. */
type Draft = { -readonly [Key in keyof SessionRecord]: SessionRecord[Key] };

/** The cgroup of a session that has none yet. */
const NO_CGROUP = 0;

/**
 * Opens a session: everything that the request asks for, or nothing of it and a process without network.
 *
 * @returns what to tell the PAM process. A refusal is logged here and becomes a reply.
 */
export async function openSession(request: Request): Promise<Reply> {
  if (request.service === "systemd-user") return { result: "ok" };
  const { user, uid, service, tty, pid } = request;
  const draft: Draft = {
    v: 2,
    user,
    uid,
    scope_unit: "",
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
    state: "open",
  };
  // Until the outcome is written down, the clean-up of a scope that ends at once has to wait.
  using locks = new DisposableStack();
  try {
    return await open(request, draft, locks);
  } catch (error) {
    const refusal =
      error instanceof Refusal
        ? error
        : new Refusal("bug", `The helper failed: ${error instanceof Error ? error.stack : error}`);
    return await refuse(refusal, draft, locks);
  }
}

async function open(request: Request, draft: Draft, locks: DisposableStack): Promise<Reply> {
  const deadline = performance.now() + PATIENCE;
  const correlation = correlationToken(request.env[CORRELATION_VARIABLE], {
    unixSeconds: Math.floor(Date.now() / 1000),
    pid: request.pid,
    random: randomBytes(4),
  });
  draft.correlation = correlation;
  if (request.pid !== process.ppid) {
    throw new Refusal(
      "request",
      `Cannot open a session for process ${request.pid}: it is process ${process.ppid} that asks.`,
    );
  }
  const args = parseArguments(request.args);
  const step = (what: string): void => {
    if (args.debug)
      log({ level: Level.debug, message: `Session of ${request.user}, process ${request.pid}: ${what}.` });
  };

  const user = parseUserName(request.user);
  const peer = choosePeer(args.rhostPolicy, request.rhost, () => connectionsOf(request.pid));
  if (peer.note !== undefined)
    log({ level: Level.warning, message: `The address of ${user}'s session: ${peer.note}.` });
  const address = peer.address && { family: familyOf(peer.address), text: peer.address };
  draft.remote_ip = peer.address ?? "";
  draft.claims_tag = readClaims(args, request.env) ?? "";
  step(`address ${draft.remote_ip || "unknown"}, claims ${draft.claims_tag || "none"}`);

  draft.fragment = `${FRAGMENT_DIRECTORY}/users/${user}`;
  const fragment = readFragment(draft.fragment, (path, sizeLimit) =>
    readTrusted(path, { top: FRAGMENT_DIRECTORY, sizeLimit }),
  );
  const compile = (unit: ScopeUnit): Policy =>
    compileFragment(fragment, {
      path: draft.fragment,
      accepted: judgedChain(objectStem(unit)),
      subject: { id: request.uid, name: user, address },
    });
  step(`fragment ${draft.fragment} read, ${fragment.commands.length} commands`);

  const { unit, made: policy } = await enterScope(user, request.pid, { deadline, locks, prepare: compile });
  step(`in ${unit}`);
  const id = cgroupId(cgroupPath(unit));
  if (id === undefined || scopeOfProcess(cgroupOfProcess(request.pid)) !== unit) {
    await stopEmptyScope(unit, deadline);
    throw new Refusal(
      "cgroup",
      `Cannot find process ${request.pid} in ${unit}: it ended or was moved while its session was opened; log in again.`,
    );
  }
  Object.assign(draft, { scope_unit: unit, cg_path: cgroupPath(unit), cg_id: Number(id) });

  // What is pushed here is undone in reverse when a later step fails.
  using undo = new DisposableStack();
  for (const note of policy.notes) log({ level: Level.notice, message: `${note}.` });
  loadRules(unit, policy, {
    stem: objectStem(unit),
    cgroupPath: cgroupPath(unit),
    cgroupId: id,
    address,
    comment: `${user} (PID:${request.pid})${draft.claims_tag === "" ? "" : ` [${draft.claims_tag}]`}`,
    rules: policy.rules,
  });
  undo.defer(() => {
    try {
      removeSession(unit, draft, nftables);
    } catch (error) {
      complain(`The rules of ${unit} could not be taken back`, error);
    }
  });
  step(`${policy.rules.length} rules loaded for cgroup ${id}`);

  writeRecord(draft);
  undo.move();
  report({ kind: "open" }, draft);
  return { result: "ok", session: unit, correlation };
}

/** Leaves the process of a refused session where it has no network, and says why it is refused to all who should know. */
async function refuse(refusal: Refusal, draft: Draft, locks: DisposableStack): Promise<Reply> {
  report({ kind: "refuse", reason: refusal.reason, why: refusal.message }, draft);
  if (refusal.concernsFragment) audit(refusal, draft);
  // Of a request that is not believed, neither is the process id. The shim sees to its own process then.
  if (refusal.reason !== "request") await quarantine(refusal, draft, locks);
  return { result: "refused", say: excuse(refusal, draft) };
}

async function quarantine(refusal: Refusal, draft: Draft, locks: DisposableStack): Promise<void> {
  if (cgroupOfProcess(draft.pid) === "") return; // dead: nobody is left to cut off
  draft.state = "refused";
  try {
    if (draft.cg_id === NO_CGROUP) {
      // Where systemd has just failed it would only fail again.
      if (refusal.reason === "systemd" || refusal.reason === "timeout") throw refusal;
      const deadline = performance.now() + REFUSAL_PATIENCE;
      const { unit } = await enterScope(parseUserName(draft.user), draft.pid, {
        deadline,
        locks,
        prepare: () => undefined,
      });
      Object.assign(draft, {
        scope_unit: unit,
        cg_path: cgroupPath(unit),
        cg_id: Number(cgroupId(cgroupPath(unit)) ?? NO_CGROUP),
      });
    }
    writeRecord(draft);
  } catch {
    // No scope, or no room for its record: to be below the slice is enough. The refusal itself is logged already.
    if (draft.cg_id === NO_CGROUP) cutOff(draft.pid);
  }
  closeDefault();
}

/** Sees to it that what is below the slice without an element has no network, whatever became of the table. Best effort. */
function closeDefault(): void {
  // A table that is whole is ours, and live sessions stand on it. One that will not become whole has our name and is
  // somebody else's; ours takes its place.
  const replacement = [`add table ${TABLE}`, `delete table ${TABLE}`, ...baseTable(SLICE)];
  for (const lines of baseIsWhole() ? [[closeSlice(SLICE)]] : [baseTable(SLICE), replacement]) {
    try {
      run(lines);
      return;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      complain("The table that closes refused sessions cannot be loaded", error);
    }
  }
}

/** Logs a refusal of which nothing is known but the reason. */
export function reportUnread(refusal: Refusal): void {
  report(
    { kind: "refuse", reason: refusal.reason, why: refusal.message },
    {
      user: "",
      cg_path: "",
      cg_id: NO_CGROUP,
      remote_ip: "",
      fragment: "",
      claims_tag: "",
      scope_unit: "",
      correlation: "",
    },
  );
}

/** Moves a process to where it has no network, without asking anybody. Best effort: what goes wrong is logged. */
function cutOff(pid: number): void {
  try {
    moveProcess(pid, REFUSED_CGROUP);
  } catch (error) {
    log({
      level: Level.warning,
      message: `Process ${pid}, whose session is refused, cannot be cut off from the network: ${error}; end it.`,
    });
  }
}

/** What the user is told: what to ask the administrator for. */
function excuse(refusal: Refusal, draft: Draft): string {
  const what = {
    missing: `to write the fragment ${draft.fragment}`,
    perms: `to mend the permissions of the fragment ${draft.fragment}`,
    content: `to mend the fragment ${draft.fragment}`,
    "nft-syntax": `to mend the fragment ${draft.fragment}`,
    address: "why your client's address is not known to this host",
    claims: "to look at the claims that came with your login",
    argument: "to mend the authnft line in the PAM configuration",
    user: "to give you a user name that authnft can use",
  }[refusal.reason as string];
  return `authnft: no session for ${oneLine(draft.user).slice(0, 40)}. Ask the administrator ${what ?? "to run authnft doctor"}; the reference is ${draft.correlation || "in the log"}.`;
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

/**
 * Closes the session that the calling process opened. Its rules go; its processes, should some be left, have no network.
 *
 * What it closes is told by the kernel and the record, not by the request. It always succeeds; what goes wrong is logged.
 */
export async function closeSession(request: Request): Promise<Reply> {
  if (request.service === "systemd-user") return { result: "ok" };
  const unit = sessionOf(process.ppid, request.session);
  if (unit === undefined) {
    log({
      level: Level.warning,
      message: `Process ${process.ppid} of ${oneLine(request.user)} closes a session that it did not open; nothing to do.`,
    });
    return { result: "ok" };
  }
  try {
    using _held = await lockSession(unit, performance.now() + PATIENCE);
    const record = readRecord(unit);
    const traffic = removeSession(unit, record, nftables);
    const closed = record ?? (traffic && reconstruct(unit, request));
    if (closed?.state === "open") {
      report({ kind: "close", how: "pam" }, closed);
      writeRecord({ ...closed, state: "lingering", ...(traffic && { traffic }) });
    }
  } catch (error) {
    complain(`Session ${unit} could not be closed`, error);
  }
  return { result: "ok" };
}

/** What can be known of a session whose record is gone or damaged, from its process and its cgroup. */
function reconstruct(unit: ScopeUnit, request: Request): SessionRecord {
  return {
    v: 2,
    user: request.user,
    uid: request.uid,
    scope_unit: unit,
    cg_path: cgroupPath(unit),
    cg_id: Number(cgroupId(cgroupPath(unit)) ?? 1),
    remote_ip: "",
    fragment: "",
    claims_tag: "",
    correlation: "",
    service: request.service,
    tty: request.tty,
    pid: process.ppid,
    opened_at: new Date().toISOString(),
    state: "open",
  };
}

/** The session that a process opened: the one it is in, else the one it remembers, if its record or name says that it is this process's. */
function sessionOf(pid: number, remembered: string): ScopeUnit | undefined {
  const candidates = [scopeOfProcess(cgroupOfProcess(pid)), parseScopeUnit(remembered)];
  return candidates.find((unit) => {
    if (unit === undefined) return false;
    const record = readRecord(unit);
    return record === undefined ? new RegExp(`-${pid}(-[0-9]+)?\\.scope$`).test(unit) : record.pid === pid;
  });
}

/**
 * Cleans up after a scope that has ended, however it ended. Run by systemd.
 *
 * @returns whether everything is gone
 */
export async function endSession(unit: ScopeUnit): Promise<boolean> {
  try {
    using held = await lockSession(unit, performance.now() + END_PATIENCE);
    // Asked under the lock: the name may have been given to a new session while we waited.
    if (cgroupId(cgroupPath(unit)) !== undefined) {
      log({
        level: Level.info,
        message: `${unit} lives; it is not cleaned up. To end it: systemctl stop ${unit}`,
      });
      return true;
    }
    const record = readRecord(unit);
    const traffic = removeSession(unit, record, nftables) ?? record?.traffic;
    removeFile(recordPath(unit));
    if (record !== undefined) reportEnd(record, traffic);
    removeFile(held.path);
    return true;
  } catch (error) {
    complain(`${unit} could not be cleaned up`, error);
    return false;
  }
}

function reportEnd(record: SessionRecord, traffic: Traffic | undefined): void {
  if (record.state === "refused") return;
  if (record.state === "open") report({ kind: "close", how: "lost" }, record);
  const seconds = Math.max(0, (Date.now() - Date.parse(record.opened_at)) / 1000);
  report({ kind: "end", seconds, traffic }, record);
}

/** Loads the part of the table that does not depend on sessions. @throws {Refusal} `ruleset` */
export function loadBaseTable(): void {
  run(baseTable(SLICE));
}

/** The peers of a process's connections; none where the kernel does not tell. */
function connectionsOf(pid: number): string[] {
  try {
    return tcpPeers(pid);
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
      `Cannot read the claims: key ${serial}: ${error.code}; have the module that makes it keep it readable for root.`,
    );
  }
}

/**
 * Starts a scope with the process in it, under a name that is free and is locked before.
 *
 * @param options.prepare what has to be made for that name before the scope may start
 * @throws {Refusal} `systemd`, `timeout`, `record`, or what `prepare` throws
 */
async function enterScope<T>(
  user: UserName,
  pid: number,
  options: {
    readonly deadline: number;
    readonly locks: DisposableStack;
    readonly prepare: (unit: ScopeUnit) => T;
  },
): Promise<{ readonly unit: ScopeUnit; readonly made: T }> {
  // Loading D-Bus takes milliseconds that a close need not wait for.
  const { Systemd, SystemdError } = await import("../system/systemd.ts");
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const unit = scopeUnit(user, pid, attempt);
    if (cgroupId(cgroupPath(unit)) !== undefined) continue;
    if (cgroupOfProcess(pid) === "") {
      // systemd would make a scope of nothing, which never ends.
      throw new Refusal("cgroup", `Cannot open a session for process ${pid}: it has ended; log in again.`);
    }
    const made = options.prepare(unit);
    const held = options.locks.use(await lockSession(unit, options.deadline));
    try {
      using systemd = new Systemd(options.deadline);
      await systemd.startScope({
        unit,
        slice: SLICE,
        description: `Session of ${user} under a firewall of its own`,
        pid,
        whenOver: `authnft-end@${unit}.service`,
      });
      return { unit, made };
    } catch (error) {
      if (!(error instanceof SystemdError)) throw error;
      if (error.code !== "org.freedesktop.systemd1.UnitExists") {
        removeFile(held.path);
        throw new Refusal(
          error.code === "timeout" ? "timeout" : "systemd",
          `Cannot start ${unit}: ${error.message}; see "systemctl status dbus authnft.slice".`,
        );
      }
    }
  }
  throw new Refusal(
    "systemd",
    `Cannot name a scope for process ${pid}: it has ${ATTEMPTS} of them; end some with "systemctl stop authnft-${user}-${pid}-*.scope".`,
  );
}

/** Ends a scope whose only process died before it came there: nothing would ever tell systemd that it is empty. */
async function stopEmptyScope(unit: ScopeUnit, deadline: number): Promise<void> {
  if (readText(`/sys/fs/cgroup/${cgroupPath(unit)}/cgroup.events`)?.includes("populated 1")) return;
  const { Systemd, SystemdError } = await import("../system/systemd.ts");
  try {
    using systemd = new Systemd(deadline);
    await systemd.stop(unit);
  } catch (error) {
    if (!(error instanceof SystemdError)) throw error;
  }
}

async function lockSession(unit: ScopeUnit, deadline: number): Promise<Lock> {
  try {
    makeDirectory(LOCK_DIRECTORY, 0o700);
    const held = await lock(`${LOCK_DIRECTORY}/${unit}`, deadline);
    if (held !== undefined) return held;
  } catch (error) {
    throw notKept(`lock ${unit}`, error);
  }
  throw new Refusal(
    "timeout",
    `Cannot lock ${unit}: another process of authnft holds it; see "systemctl status authnft-end@${unit}.service".`,
  );
}

/** Loads a session's rules, and the base table where it is not whole. @throws {Refusal} `nft-syntax` or `ruleset` */
function loadRules(unit: ScopeUnit, policy: Policy, member: Member): void {
  const { lines, firstRule } = addMember(member);
  const load = (base: readonly string[]): void =>
    run([...base, ...lines], (line) => {
      const rule = policy.rules[line - base.length - firstRule];
      return rule && locate(rule.place);
    });
  try {
    load(baseIsWhole() ? [closeSlice(SLICE)] : baseTable(SLICE));
  } catch (error) {
    if (!(error instanceof Refusal && error.reason === "ruleset")) throw error;
    // Chains of this name may have been left by a session that was never cleaned up, or the table was flushed just now.
    // With both mended, the rules are either loaded or really refused.
    removeSession(unit, undefined, nftables);
    load(baseTable(SLICE));
  }
}

function baseIsWhole(): boolean {
  return Object.entries(BASE_CHAINS).every(
    ([chain, rules]) => nftables.countRules(TABLE_NAME, chain) === rules,
  );
}

/**
 * Runs a transaction.
 *
 * @param place tells the place in a fragment that a line, from 0, comes from
 * @throws {Refusal} `nft-syntax` for a line that comes from a fragment, `ruleset` for any other
 */
function run(lines: readonly string[], place: (line: number) => string | undefined = () => undefined): void {
  try {
    nftables.runTransaction(lines);
  } catch (error) {
    if (!(error instanceof nftables.TransactionError)) throw error;
    const where = error.line === undefined ? undefined : place(error.line);
    if (where !== undefined)
      throw new Refusal(
        "nft-syntax",
        `${where}: nftables does not take what it says: ${error.complaint}; see nft(8).`,
      );
    throw new Refusal(
      "ruleset",
      `Cannot load the rules into table ${TABLE}: ${error.complaint} (${lines[error.line ?? -1] ?? "the transaction as a whole"}); run "authnft doctor", and if the table is somebody else's, "nft delete table ${TABLE}".`,
    );
  }
}

function writeRecord(record: SessionRecord): void {
  try {
    makeDirectory(RECORD_DIRECTORY, 0o755);
    replaceFile(recordPath(record.scope_unit), formatRecord(record));
  } catch (error) {
    throw notKept(`write the record of ${record.scope_unit}`, error);
  }
}

/** The refusal that follows when our state cannot be kept on disk. */
function notKept(act: string, error: unknown): Refusal {
  const code = (error as NodeJS.ErrnoException).code ?? String(error);
  return new Refusal(
    "record",
    `Cannot ${act} in /run/authnft: ${code}; make room in /run, and run "systemd-tmpfiles --create authnft.conf".`,
  );
}

function recordPath(unit: string): string {
  return `${RECORD_DIRECTORY}/${unit}.json`;
}

/** A session's record; `undefined` when there is none, or none that can be believed. */
function readRecord(unit: ScopeUnit): SessionRecord | undefined {
  const text = readText(recordPath(unit));
  if (text === undefined) return undefined;
  const record = parseRecord(text);
  if (record?.scope_unit === unit) return record;
  log({
    level: Level.warning,
    message: `The record ${recordPath(unit)} is not one of ours; the ruleset is asked instead.`,
  });
  return undefined;
}

function report(event: Event, told: Told & { readonly cg_id: number }): void {
  const { message, messageId, fields } = describeEvent(event, {
    ...told,
    cg_id: told.cg_id === NO_CGROUP ? undefined : told.cg_id,
  });
  log({ level: event.kind === "refuse" ? Level.warning : Level.info, message, messageId, fields });
}

function complain(what: string, error: unknown): void {
  const cause =
    error instanceof Refusal || error instanceof SystemError ? error.message : String((error as Error).stack);
  log({ level: Level.warning, message: oneLine(`${what}: ${cause}`) });
}
