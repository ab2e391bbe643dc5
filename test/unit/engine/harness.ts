// SPDX-License-Identifier: GPL-2.0-or-later

// Sessions on a host that is data.

import { FakeHost } from "../../../src/engine/fake_host.ts";
import { onHost } from "../../../src/engine/host.ts";
import { closeSession, endSession } from "../../../src/engine/session/close.ts";
import { openSession } from "../../../src/engine/session/open.ts";
import { readRecord } from "../../../src/engine/session/records.ts";
import type { SessionRecord } from "../../../src/subjects/session/record.ts";
import type { Reply } from "../../../src/subjects/session/reply.ts";
import type { Request } from "../../../src/subjects/session/request.ts";
import type { ScopeUnit } from "../../../src/subjects/session/scope_unit.ts";
import { SystemError } from "../../../src/system/ffi/libc.ts";

/** What stands between a daemon's processes and those of a session. */
export const DAEMON = "system.slice/ssh.service";

export const ALICE = { user: "alice", uid: 1000, pid: 4711, rhost: "192.0.2.7" } as const;

/** Who logs in, and by which PAM line. */
export type Login = {
  readonly user: string;
  readonly uid: number;
  readonly pid: number;
  readonly rhost?: string;
  readonly args?: readonly string[];
  readonly session?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly service?: string;
};

export class Harness implements Disposable {
  readonly host = new FakeHost();
  readonly #on = onHost(this.host);

  constructor() {
    this.host.addCgroup(DAEMON);
    this.write("add rule inet authnft egress tcp dport 443 accept");
  }

  /** Writes alice's fragment. */
  write(...lines: readonly string[]): void {
    this.host.disk.set("/etc/authnft/users/alice", `${lines.join("\n")}\n`);
  }

  /** Makes a user's slice. @returns its number */
  addSlice(uid = 1000): bigint {
    return this.host.addCgroup(`user.slice/user-${uid}.slice`);
  }

  /** Opens a session for a process, which is a daemon's before if it is nowhere. */
  async open(login: Login = ALICE): Promise<Reply> {
    if (this.host.placeOf(login.pid) === undefined) this.host.place(login.pid, DAEMON);
    return await openSession(requestOf("open", login), { askers: [login.pid], elsewhere: undefined, age: 0 });
  }

  /** Opens a session. @returns its record, and the number of its cgroup */
  async opened(login: Login = ALICE): Promise<{ unit: ScopeUnit; record: SessionRecord; id: bigint }> {
    const reply = await this.open(login);
    const unit = (reply.result === "ok" ? reply.session : undefined) as ScopeUnit | undefined;
    const record = unit && readRecord(unit);
    if (unit === undefined || record === undefined)
      throw new Error(`No session was opened: ${this.host.messages.join(" ")}`);
    this.forget();
    return { unit, record, id: BigInt(record.cg_id) };
  }

  /** Closes a session as its process does that has its name from PAM. */
  async close(login: Login = ALICE): Promise<Reply> {
    return await closeSession(requestOf("close", login), {
      askers: [login.pid],
      elsewhere: undefined,
      age: 0,
    });
  }

  /** Has a session's scope end, and systemd clean up after it. */
  async end({
    unit,
    record,
  }: {
    readonly unit: ScopeUnit;
    readonly record: SessionRecord;
  }): Promise<boolean> {
    this.host.endCgroup(record.cg_path);
    return await endSession(unit);
  }

  /** Forgets what was done and told. */
  forget(): void {
    this.host.steps.length = 0;
    this.host.entries.length = 0;
    this.host.firewall.asked.length = 0;
  }

  /** The rules of a chain, those of a shared policy in the place of the jump to it. */
  rulesOf(chain: string): string[] {
    const { firewall } = this.host;
    return firewall.rules(chain).flatMap((rule) => {
      const shared = /^jump (policy_\w+) comment /.exec(rule)?.[1];
      return shared === undefined ? [rule] : firewall.rules(shared);
    });
  }

  /** The files that are kept of sessions. */
  files(...directories: readonly string[]): string[] {
    const all = directories.length === 0 ? ["sessions", "policy", "lock"] : directories;
    return [...this.host.disk.keys()].filter((path) =>
      all.some((directory) => path.startsWith(`/run/authnft/${directory}/`)),
    );
  }

  /** Lets the n-th step of this kind fail, from 0, before or after it is done. */
  fail(
    which: RegExp,
    error: Error,
    { nth = 0, when = "before" as "before" | "after", times = 1 } = {},
  ): void {
    let seen = 0;
    this.host.interfere = (what, now) => {
      if (now !== when || !which.test(what)) return;
      const number = seen++;
      if (number >= nth && number < nth + times) throw error;
    };
  }

  /** Does something once when a step of this kind is about to be done. */
  upon(which: RegExp, act: () => void): void {
    this.host.interfere = (what, when) => {
      if (when !== "before" || !which.test(what)) return;
      this.host.interfere = () => undefined;
      act();
    };
  }

  [Symbol.dispose](): void {
    this.#on[Symbol.dispose]();
  }
}

export function requestOf(type: Request["type"], login: Login): Request {
  const { user, uid, pid, rhost = "", args = [], session = "", service = "sshd", env = {} } = login;
  return {
    v: 1,
    type,
    user,
    uid,
    gid: uid,
    service,
    rhost,
    tty: "ssh",
    ruser: "",
    pid,
    args: [...args],
    env: { ...env },
    session,
    groups: [],
  } as Request;
}

/** A disk without room. */
export function full(): Error {
  return Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
}

/** A kernel that does not take what it is told, or whose answer is lost. */
export function noAnswer(code = "ENOBUFS"): Error {
  return new SystemError("netlink", code);
}
