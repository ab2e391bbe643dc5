// SPDX-License-Identifier: GPL-2.0-or-later

// Runs the helper for real, with a supervisor in its filter's place, in everything that it does and that its arguments lead to.

import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { groupFiles, groupFragments } from "../check/groups.ts";
import { RULES } from "../confine/allowlist.ts";
import type { ReloadOrder } from "../engine/reload_order.ts";
import { readRecords } from "../engine/session/records.ts";
import { ENTRY, FRAGMENT_DIRECTORY } from "../paths.ts";
import { REQUEST_VERSION, type Request } from "../subjects/session/request.ts";
import { cgroupPath, parseScopeUnit, type ScopeUnit, scopeUnit } from "../subjects/session/scope_unit.ts";
import { parseUserName } from "../subjects/session/user_name.ts";
import { forgetKey, makeKey } from "../system/ffi/keyring.ts";
import { SystemError } from "../system/ffi/libc.ts";
import { callName } from "../system/ffi/libseccomp.ts";
import type { Call, Decision } from "../system/ffi/seccomp_notify.ts";
import type { User } from "../system/ffi/users.ts";
import { hostCommand } from "../system/host/host_command.ts";
import { linkTarget } from "../system/host/placement.ts";
import { readText } from "../system/host/text_file.ts";
import { cgroupId } from "../system/kernel/cgroup.ts";
import { parentOf } from "../system/kernel/parent.ts";
import { socketInodes } from "../system/kernel/sock_diag.ts";
import { Evidence } from "./evidence.ts";
import { type Done, StandIn } from "./helper.ts";

/** One run of the helper, and whether it did what it should. */
export type Run = {
  readonly name: string;
  readonly calls: number;
  /** Failures: less was seen than there is. */
  readonly failed?: string;
};

export type Trace = {
  readonly evidence: Evidence;
  readonly runs: readonly Run[];
  /** Steps that this host cannot do, and why. */
  readonly leftOut: readonly string[];
};

export type Options = {
  /** The command that starts a stand-in. */
  readonly standIn: readonly string[];
  readonly progress: (run: string) => void;
  readonly signal: AbortSignal;
};

/** The word that has the entry's program wait for a supervisor: native/entry.c. */
const TRACED = "traced";
const SERVICE = "authnft-trace";
/** Two made-up users: one whose fragment nftables rejects, one without a fragment. */
const UNSOUND = "authnft-trace-unsound";
const MISSING = "authnft-trace-missing";
/** One whose fragment is large: for some inputs libraries call what they do not for smaller ones. */
const LARGE = "authnft-trace-large";
const LARGE_FRAGMENT = `${FRAGMENT_DIRECTORY}/users/${LARGE}`;
/** Elements of each of its sets: each is more bytes than a library sorts on its stack, and than a socket takes at once. */
const ELEMENTS = 4000;
const UNSOUND_FRAGMENT = `${FRAGMENT_DIRECTORY}/users/${UNSOUND}`;
const CLAIMS = "AUTHNFT_TRACE_CLAIMS";
const UNITS = "/run/systemd/system";
const TEMPORARY = "/run/authnft-trace-";
/** How long it may take until nothing is left of the sessions, in milliseconds. */
const CLEANING = 10_000;

/** Options of a session other than a plain one. */
type Way = {
  readonly args?: readonly string[];
  readonly rhost?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly sockets?: readonly number[];
  /** The owner of the fragment, if not the user. */
  readonly user?: string;
  readonly forPamExec?: true;
  /** The clean-up is traced, too. */
  readonly ends?: true;
};

/**
 * Traces everything once. What it makes is gone when it returns, but for what the log and the audit trail were told.
 *
 * @throws {Error}
 */
export async function trace(user: User, options: Options): Promise<Trace> {
  sweep();
  const tracer = new Tracer(user, options);
  await using undo = new AsyncDisposableStack();
  undo.defer(cleaned);
  await tracer.sessions(undo);
  await tracer.refusals(undo);
  return tracer;
}

class Tracer implements Trace {
  readonly evidence = new Evidence();
  readonly runs: Run[] = [];
  readonly leftOut: string[] = [];
  readonly #user: User;
  readonly #groups: string[];
  readonly #options: Options;

  constructor(user: User, options: Options) {
    this.#user = user;
    this.#groups = groupFiles(user, groupFragments());
    this.#options = options;
  }

  async sessions(undo: AsyncDisposableStack): Promise<void> {
    await this.#session("", { ends: true }, async (session) => {
      const order: ReloadOrder = {
        cover: [this.#user.uid],
        groups: { [session.unit]: this.#groups },
        failed: false,
        changed: false,
      };
      await session.verb("reload", ["reload-sessions"], JSON.stringify(order));
      await session.verb("restore", ["restore"]);
      await session.verb("restore, on a terminal", ["restore"]);
      await session.verb("cover", ["cover-users", String(this.#user.uid)]);
      await session.close();
      await session.end();
    });

    const strict: Way = { args: ["rhost_policy=strict"], rhost: "192.0.2.10", ends: true };
    await this.#session("rhost_policy=strict", strict, async (session) => {
      await session.standIn.tell({ do: "connect" });
      await session.standIn.tell({ do: "leave" });
      await session.close();
      // Left-behind processes are reported at the next login.
      await this.#session("after a session that left something", {}, (next) => next.close());
      await session.verb("release", ["release", session.unit]);
      session.standIn.clear();
      await session.end();
    });

    await this.#claims(undo);

    await this.#session(
      "lingering=keep",
      { args: ["lingering=keep"], rhost: "2001:db8::10" },
      async (session) => {
        await session.standIn.tell({ do: "leave" });
        await session.close();
      },
    );

    await this.#session("for pam_exec", { forPamExec: true }, (session) => session.close());
    await this.#large(undo);
    await this.#loginSession();
  }

  /** With sets of every kind that are large, put in place of each other while the session lasts. */
  async #large(undo: AsyncDisposableStack): Promise<void> {
    undo.defer(() => rmSync(LARGE_FRAGMENT, { force: true }));
    writeFileSync(LARGE_FRAGMENT, largeFragment(), { mode: 0o644 });
    await this.#session("a large fragment", { user: LARGE }, async (session) => {
      await session.verb("restore", ["restore"]);
      await session.close();
    });
  }

  /** With a key for claims, where the host has a keyring for us. */
  async #claims(undo: AsyncDisposableStack): Promise<void> {
    const args = ["rhost_policy=kernel", "lingering=kill", "debug"];
    const env: Record<string, string> = {};
    try {
      const key = makeKey(SERVICE, "role=trace, id:7");
      undo.defer(() => forgetKey(key));
      args.push(`claims_env=${CLAIMS}`);
      env[CLAIMS] = String(key);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.leftOut.push(
        `claims_env=: the host denies keys (${error.message}); in a container of systemd-nspawn SystemCallFilter=@keyring lets them through`,
      );
    }
    await this.#session(args.join(" "), { args, rhost: "192.0.2.10", env }, async (session) => {
      await session.standIn.tell({ do: "leave" });
      await session.close();
    });
  }

  async refusals(undo: AsyncDisposableStack): Promise<void> {
    undo.defer(() => rmSync(UNSOUND_FRAGMENT, { force: true }));
    writeFileSync(UNSOUND_FRAGMENT, "add rule inet authnft egress tcp dport 1-1-1 accept\n", { mode: 0o644 });
    for (const [name, user, way] of [
      ["no fragment", MISSING, {}],
      ["a fragment that nftables refuses", UNSOUND, {}],
      ["no address", this.#user.name, { args: ["rhost_policy=strict"] }],
    ] as const) {
      await using standIn = this.#standIn();
      const request = this.#request(standIn, "open", { ...way, args: "args" in way ? way.args : [] });
      await this.#run(
        `open, refused: ${name}`,
        standIn,
        ["session"],
        JSON.stringify({ ...request, user }),
        isRefused,
      );
    }
  }

  /** In a login session's own scope, where logind makes one for us. */
  async #loginSession(): Promise<void> {
    const directory = mkdtempSync(TEMPORARY);
    await using standIn = this.#standIn();
    try {
      writeFileSync(`${directory}/${SERVICE}`, "session required pam_systemd.so\n");
      try {
        await standIn.tell({ do: "log in", directory, service: SERVICE, user: this.#user.name });
      } catch (error) {
        this.leftOut.push(`scope=session: ${(error as Error).message}`);
        return;
      }
      await this.#open("scope=session", standIn, { args: ["scope=session"] }, async (session) => {
        await session.close();
      });
      await standIn.tell({ do: "log out" });
    } finally {
      rmSync(directory, { recursive: true });
    }
  }

  async #session(name: string, way: Way, during: (session: Session) => Promise<void>): Promise<void> {
    await using standIn = this.#standIn();
    if (way.args?.includes("rhost_policy=kernel")) await standIn.tell({ do: "connect" });
    await this.#open(name, standIn, way, during);
  }

  async #open(
    name: string,
    standIn: StandIn,
    way: Way,
    during: (session: Session) => Promise<void>,
  ): Promise<void> {
    const words = way.forPamExec ? ["session", "pam_exec=open"] : ["session"];
    const input = JSON.stringify(this.#request(standIn, "open", way));
    const own = scopeUnit(parseUserName(way.user ?? this.#user.name), standIn.pid, 1);
    // The clean-up is ours to run, with a supervisor: systemd is not to be there first.
    using _masked = way.ends ? masked(`authnft-end@${own}.service`) : undefined;
    const done = await this.#run(label("open", name), standIn, words, input, isOk);
    const unit = parseScopeUnit(/^session=(.*)$/m.exec(done.output)?.[1] ?? own);
    if (unit === undefined || !isOk(done)) return;
    const session: Session = {
      unit,
      standIn,
      verb: async (verb, words, input = "") => {
        await this.#run(label(verb, name), standIn, words, input, ({ code }) => code === 0);
      },
      close: async () => {
        const words = way.forPamExec ? ["session", "pam_exec=close"] : ["session"];
        const request = { ...this.#request(standIn, "close", way), session: unit };
        await this.#run(label("close", name), standIn, words, JSON.stringify(request), isOk);
      },
      end: async () => {
        await standIn[Symbol.asyncDispose]();
        await using other = this.#standIn();
        await until(() => cgroupId(cgroupPath(unit, this.#user.uid)) === undefined);
        await this.#run(label("end", name), other, ["end", unit], "", ({ code }) => code === 0);
      },
    };
    await during(session);
  }

  #standIn(): StandIn {
    this.#options.signal.throwIfAborted();
    return StandIn.start(this.#options.standIn);
  }

  async #run(
    name: string,
    standIn: StandIn,
    words: readonly string[],
    input: string,
    isRight: (done: Done) => boolean,
  ): Promise<Done> {
    this.#options.signal.throwIfAborted();
    this.#options.progress(name);
    let calls = 0;
    const decide = ({ number, args, ...memory }: Call, self: number): Decision => {
      calls++;
      const rule = this.evidence.record(RULES, name, { call: callName(number), args, self }, memory);
      return rule?.errno === undefined ? "continue" : { errno: rule.errno };
    };
    const command = [ENTRY, TRACED, ...words];
    const done = await standIn.help({ command, input, terminal: name.includes("terminal") }, decide);
    const failed = isRight(done) ? {} : { failed: done.output.trim() || `exit code ${done.code}` };
    this.runs.push({ name, calls, ...failed });
    return done;
  }

  #request(standIn: StandIn, type: Request["type"], { args = [], rhost = "", env = {}, user }: Way): Request {
    const { name, uid, gid } = this.#user;
    return {
      v: REQUEST_VERSION,
      type,
      user: user ?? name,
      uid,
      gid,
      service: SERVICE,
      rhost,
      tty: "",
      ruser: "",
      pid: standIn.pid,
      args: [...args],
      env,
      session: "",
      groups: this.#groups,
      ...(args.includes("rhost_policy=kernel") && { sockets: [...socketInodes(standIn.pid)] }),
    };
  }
}

/** A policy with sets of addresses, of networks, and of networks with ports, and with many rules. */
function largeFragment(): string {
  const each = (one: (index: number) => string): string =>
    Array.from({ length: ELEMENTS }, (_, index) => one((index * 7919) % ELEMENTS)).join(", ");
  const network = (index: number): string => `20.${index >> 8}.${index & 255}.0/25`;
  const set = (name: string, type: string, elements: string): string =>
    `add set inet authnft ${name} { type ${type}; elements = { ${elements} } }\n`;
  return [
    set(
      "addresses",
      "ipv4_addr",
      each((index) => `20.0.${index >> 8}.${index & 255}`),
    ),
    set("networks", "ipv4_addr; flags interval", each(network)),
    set(
      "pairs",
      "ipv4_addr . inet_service; flags interval",
      each((index) => `${network(index)} . 1-9`),
    ),
    "add rule inet authnft egress ip daddr @addresses accept\n",
    "add rule inet authnft egress ip daddr @networks accept\n",
    "add rule inet authnft egress ip daddr . tcp dport @pairs accept\n",
    "add rule inet authnft egress tcp dport { 7777, 7778 } reject\n".repeat(200),
    "add rule inet authnft egress reject\nadd rule inet authnft filter drop\n",
  ].join("");
}

type Session = {
  readonly unit: ScopeUnit;
  readonly standIn: StandIn;
  /** Runs one of systemd's or an administrator's verbs. */
  readonly verb: (name: string, words: readonly string[], input?: string) => Promise<void>;
  readonly close: () => Promise<void>;
  /** Ends the stand-in, and runs the clean-up. */
  readonly end: () => Promise<void>;
};

function label(verb: string, name: string): string {
  return name === "" ? verb : `${verb}, ${name}`;
}

function isOk({ code, output }: Done): boolean {
  return code === 0 && !output.includes("result=refused");
}

function isRefused({ output }: Done): boolean {
  return output.includes("result=refused");
}

/** Takes away what a trace left that was killed: who stood in for a login, its helper, what is masked for it, its sessions. */
function sweep(): void {
  const orphans = new Set(
    readdirSync("/proc").flatMap((name) => (/^[0-9]+$/.test(name) && isOrphan(Number(name)) ? [name] : [])),
  );
  for (const pid of orphans) {
    // The helper waits for its supervisor, and may hold the lock of the ruleset for as long.
    const children = readText(`/proc/${pid}/task/${pid}/children`)?.match(/[0-9]+/g) ?? [];
    for (const one of [...children, pid]) {
      try {
        process.kill(Number(one), "SIGKILL");
      } catch {
        // Ended already.
      }
    }
  }
  const isGone = (pid: string): boolean => orphans.has(pid) || !existsSync(`/proc/${pid}`);
  for (const name of existsSync(UNITS) ? readdirSync(UNITS) : []) {
    const pid = /^authnft-end@authnft-.+?-([0-9]+)(?:-[0-9]+)?\.scope\.service$/.exec(name)?.[1];
    const path = `${UNITS}/${name}`;
    if (pid !== undefined && isGone(pid) && linkTarget(path) === "/dev/null") rmSync(path);
  }
  for (const { service, scope_unit, pid } of readRecords())
    if (service === SERVICE && isGone(String(pid))) hostCommand(ENTRY, "end", scope_unit);
}

/** Whether a process stands in for a login of a trace that is no more: it waits for its helper, and that for a supervisor. */
function isOrphan(pid: number): boolean {
  const command = (of: number): string => readText(`/proc/${of}/cmdline`) ?? "";
  return command(pid).includes("trace-stand-in") && !/\0(--)?trace\0/.test(command(parentOf(pid)));
}

/** Has systemd pass a unit over, for a while. */
function masked(unit: string): Disposable {
  mkdirSync(UNITS, { recursive: true });
  symlinkSync("/dev/null", `${UNITS}/${unit}`);
  return { [Symbol.dispose]: () => rmSync(`${UNITS}/${unit}`, { force: true }) };
}

/** Waits until nothing of our sessions is left, and sees to it if need be. */
async function cleaned(): Promise<void> {
  const left = (): ScopeUnit[] =>
    readRecords().flatMap(({ service, scope_unit }) => (service === SERVICE ? [scope_unit] : []));
  if (await until(() => left().length === 0)) return;
  for (const unit of left()) hostCommand(ENTRY, "end", unit);
}

/** Waits until something is so, for a while. @returns whether it is */
async function until(isSo: () => boolean): Promise<boolean> {
  const deadline = performance.now() + CLEANING;
  while (!isSo()) {
    if (performance.now() > deadline) return false;
    await Bun.sleep(5);
  }
  return true;
}
