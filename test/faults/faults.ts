// SPDX-License-Identifier: GPL-2.0-or-later

// Makes the helper fail at a system call, or kills it there, and looks at what is left.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { RULES } from "../../src/confine/allowlist.ts";
import { callName } from "../../src/system/ffi/libseccomp.ts";
import { type Call, type Decision, Supervisor } from "../../src/system/ffi/seccomp_notify.ts";
import { ruleOf } from "../../src/system/kernel/seccomp_rule.ts";
import { type Lab, type Running, waitFor } from "../lab/lab.ts";

const DRIVER = "/usr/local/lib/faults-driver.py";
const ENTRY = "/usr/libexec/authnft";
const REAL = "/usr/libexec/authnft-real";
/** A file that has the next helper of a PAM process wait for a supervisor: this, and the process's number. */
const ARMED = "/run/faults-armed-";
const WRAPPER = `#!/bin/sh
if [ "$1" = session ] && rm "${ARMED}$PPID" 2>/dev/null; then exec ${REAL} traced "$@"; fi
exec ${REAL} "$@"
`;
const FRAGMENT = `add rule inet authnft egress ip daddr 10.88.0.2 accept
add rule inet authnft egress reject
add rule inet authnft filter drop
`;

/** Where a fault is: in what, at which of the calls of that name (from 0), and which. */
export type Point = {
  readonly verb: "open" | "close";
  readonly call: string;
  readonly nth: number;
  readonly fault: "killed" | ErrorName;
};

/** What came of it. */
export type Outcome = Point & {
  /** Whether there were so many calls of that name. */
  readonly met: boolean;
  readonly end: "whole" | "refused" | "closed" | "as before";
  /** The call at which the filter killed the helper, with its arguments; after a fault it takes ways that it takes at no other time. */
  readonly filtered: string | undefined;
  readonly violations: readonly string[];
};

const ERRORS = {
  EIO: 5,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  ENOENT: 2,
  ENFILE: 23,
  EMFILE: 24,
  ENOSPC: 28,
  EROFS: 30,
  ENOLCK: 37,
  ENOBUFS: 105,
  ECONNREFUSED: 111,
  ECONNRESET: 104,
  EINTR: 4,
} as const; // prettier-ignore
type ErrorName = keyof typeof ERRORS;

/** The errors that can occur for a call; none for those that cannot fail, or whose failing nobody can do anything about. */
const OCCURRING: Readonly<Record<string, readonly ErrorName[]>> = {
  access: ["ENOENT", "EACCES"],
  bind: ["ENOMEM"],
  clone: ["EAGAIN", "ENOMEM"],
  connect: ["ECONNREFUSED", "EACCES", "ENOENT"],
  fchmod: ["EROFS", "EIO"],
  flock: ["ENOLCK", "EINTR"],
  fstat: ["EIO"],
  ftruncate: ["ENOSPC", "EIO"],
  getdents64: ["EIO", "ENOENT"],
  memfd_create: ["ENFILE", "ENOMEM"],
  mkdir: ["ENOSPC", "EROFS", "EACCES"],
  mmap: ["ENOMEM"],
  newfstatat: ["ENOENT", "EIO"],
  openat: ["ENOENT", "EMFILE", "ENOSPC", "EACCES", "EIO"],
  read: ["EIO"],
  recvfrom: ["ENOBUFS", "ECONNRESET", "EINTR"],
  recvmsg: ["ENOBUFS", "ECONNRESET"],
  rename: ["ENOSPC", "EROFS", "EIO"],
  rmdir: ["EIO"],
  sendmsg: ["ENOBUFS", "ECONNRESET"],
  sendto: ["ENOBUFS", "ECONNREFUSED", "EAGAIN"],
  setsockopt: ["ENOBUFS"],
  socket: ["EMFILE", "ENOMEM"],
  statx: ["ENOENT", "EIO"],
  unlinkat: ["ENOENT", "EROFS"],
  write: ["ENOSPC", "EIO"],
};

/** How long there may be something wrong after a fault, in milliseconds. */
const SETTLING = 1000;
/** How long the clean-up may take, which systemd starts: longer where the helper was killed in the middle of a change. */
const CLEANING = 5000;

type Told = { result: number | null; cgroup: string; reach: boolean; strays: boolean };
type Seen = {
  chains: string[];
  leads: string[];
  sets: string[];
  records: Record<string, string>;
  policy: string[];
  locks: string[];
  scopes: string[];
}; // prettier-ignore

/** Makes the guest ready. @returns what puts it back */
export async function prepare(lab: Lab, users: readonly string[]): Promise<AsyncDisposable> {
  await lab.write(DRIVER, await Bun.file(join(import.meta.dir, "driver.py")).text());
  await lab.pam("lab", { through: "shim" });
  for (const user of users) await lab.fragment(user, FRAGMENT);
  await lab.output(["mv", ENTRY, REAL]);
  await lab.write(ENTRY, WRAPPER, { mode: "0755" });
  return {
    [Symbol.asyncDispose]: async () => {
      await lab.output(["mv", "-f", REAL, ENTRY]);
    },
  };
}

/** What the filter says, in whose place we are. */
function filter({ number, args }: Call): Decision {
  const name = callName(number);
  // The only one about a process, whose number is another inside of the guest.
  const rule = ruleOf(RULES, name, args, name === "tgkill" ? Number(args[0]) : 0);
  if (rule === undefined) return "end";
  return rule.errno === undefined ? "continue" : { errno: rule.errno };
}

/** One user's sessions, one after another. */
export class Lane implements AsyncDisposable {
  readonly #user: string;
  readonly #driver: Running;
  /** Tells it from the drivers of other labs, which may run at the same time. */
  readonly #mark = crypto.randomUUID();
  #host: number | undefined;

  constructor(lab: Lab, user: string) {
    this.#user = user;
    this.#driver = lab.start(["python3", DRIVER, this.#mark]);
  }

  /** The calls that an open and a close make, in order, where nothing fails. */
  async calls(): Promise<{ readonly open: readonly string[]; readonly close: readonly string[] }> {
    const seen = { open: [] as string[], close: [] as string[] };
    await this.watch((verb, { number }) => seen[verb].push(callName(number)));
    return seen;
  }

  /** Has one session opened and closed, and is shown each call of its helpers while they wait for it. */
  async watch(see: (verb: Point["verb"], call: Call) => void): Promise<void> {
    const pid = Number(await this.#tell(`begin ${this.#user}`));
    for (const verb of ["open", "close"] as const)
      await this.#supervised(verb, pid, (call) => {
        see(verb, call);
        return "continue";
      });
    await this.#tell("leave");
  }

  /** Has a session meet a fault, and looks. */
  async try(point: Point): Promise<Outcome> {
    const violations: string[] = [];
    const pid = Number(await this.#tell(`begin ${this.#user}`));
    const state: { count: number; met: boolean; filtered?: string } = { count: 0, met: false };
    const decide = (call: Call): Decision => {
      const name = callName(call.number);
      if (name === point.call && state.count++ === point.nth) {
        state.met = true;
        return point.fault === "killed" ? "end" : { errno: ERRORS[point.fault] };
      }
      const decision = filter(call);
      if (decision === "end")
        state.filtered ??= `${name} ${call.args.map((word) => word.toString(16)).join(" ")}`;
      return decision;
    };
    let told: Told;
    if (point.verb === "open") told = await this.#supervised("open", pid, decide);
    else {
      const opened = (await this.#tell("open")) as Told;
      if (opened.result !== 0) violations.push("the open before it did not work");
      told = await this.#supervised("close", pid, decide);
    }
    let end = "refused" as Outcome["end"];
    const wrong = async (): Promise<string[]> => {
      const now = (await this.#tell("now")) as Told;
      const seen = (await this.#tell("look")) as Seen;
      const judged = point.verb === "open" ? afterOpen(told, now, seen) : afterClose(now, seen);
      end = judged.end;
      return judged.wrong;
    };
    violations.push(...(await settled(wrong, SETTLING)));
    // A session that stands is closed as it should be, and then everything ends.
    if (end === "whole") await this.#tell("close");
    await this.#tell("leave");
    violations.push(...(await settled(async () => left((await this.#tell("look")) as Seen), CLEANING)));
    violations.push(...(await this.#next()));
    return { ...point, met: state.met, filtered: state.filtered, end, violations };
  }

  /** Whether root and the user can log in now. */
  async #next(): Promise<string[]> {
    const wrong: string[] = [];
    for (const user of ["root", this.#user]) {
      await this.#tell(`begin ${user}`);
      const opened = (await this.#tell("open")) as Told;
      const closed = (await this.#tell("close")) as Told;
      await this.#tell("leave");
      if (opened.result !== 0 || !opened.reach || closed.result !== 0)
        wrong.push(`the next login of ${user} does not work: ${JSON.stringify(opened)}`);
    }
    return wrong;
  }

  async #supervised(verb: "open" | "close", pid: number, decide: (call: Call) => Decision): Promise<Told> {
    await this.#tell(`arm ${ARMED}${pid}`);
    const answer = this.#tell(verb);
    const child = this.#hostPid(pid);
    const helper = await waitFor(() => childrenOf(child)[0], { everyMs: 5, what: "a helper" });
    const supervisor = await Supervisor.of(helper, performance.now() + 8000);
    let idle = 0;
    while (supervisor !== undefined) {
      const did = supervisor.answer(decide, 0);
      if (did === "ended") break;
      // The next call mostly comes at once, and others wait for their turn as well.
      idle = did === "idle" ? idle + 1 : 0;
      if (did === "idle") await (idle > 20 ? Bun.sleep(1) : new Promise((resolve) => setImmediate(resolve)));
    }
    supervisor?.[Symbol.dispose]();
    return (await answer) as Told;
  }

  /** The number that a process of the driver's has outside of the guest. */
  #hostPid(pid: number): number {
    this.#host ??= pidsOutside().find(
      (candidate) =>
        readProc(candidate, "cmdline") === `python3\0${DRIVER}\0${this.#mark}\0` &&
        numberInside(candidate) !== 0,
    );
    const found = childrenOf(this.#host ?? 0).find((candidate) => numberInside(candidate) === pid);
    if (found === undefined) throw new Error(`The lab's process ${pid} is not to be found.`);
    return found;
  }

  async #tell(line: string): Promise<unknown> {
    this.#driver.write(`${line}\n`);
    const [answer] = await this.#driver.expect(/^.*\n/, { timeoutMs: 30_000 });
    return JSON.parse(answer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#driver.kill();
  }
}

/** Asks again until nothing is wrong, or the time is over. */
async function settled(wrong: () => Promise<string[]>, time: number): Promise<string[]> {
  const deadline = performance.now() + time;
  for (;;) {
    const found = await wrong();
    if (found.length === 0 || performance.now() > deadline) return found;
    await Bun.sleep(20);
  }
}

/** A session is whole, or there is nothing of it and its process has no network. */
function afterOpen(told: Told, now: Told, seen: Seen): { end: Outcome["end"]; wrong: string[] } {
  if (told.result === 0) return { end: "whole", wrong: halfOf(now, seen) };
  const wrong: string[] = [];
  if (now.reach || now.strays) wrong.push(`refused, and has network in ${now.cgroup}`);
  if (!now.cgroup.startsWith("/authnft.slice/")) wrong.push(`refused, and is in ${now.cgroup}`);
  if (seen.leads.length > 0) wrong.push(`refused, and ${seen.leads.join(" ")} lead to its chains`);
  const open = Object.entries(seen.records).filter(([, state]) => state !== "refused");
  if (open.length > 0) wrong.push(`refused, and there is a record: ${JSON.stringify(seen.records)}`);
  return { end: "refused", wrong };
}

/** A session is closed, or as it was; or the module has put its process back, and what it leaves is gone by itself. */
function afterClose(now: Told, seen: Seen): { end: Outcome["end"]; wrong: string[] } {
  if (!now.cgroup.startsWith("/authnft.slice/")) {
    const wrong =
      seen.scopes.length > 0 || seen.leads.length > 0
        ? [`put back, and there is ${JSON.stringify(seen)}`]
        : [];
    return { end: "closed", wrong };
  }
  if (now.strays) return { end: "as before", wrong: ["what is forbidden can be reached"] };
  const isOpen = Object.values(seen.records).includes("open");
  if (isOpen || seen.leads.length > 0) return { end: "as before", wrong: halfOf(now, seen) };
  return { end: "closed", wrong: now.reach ? [`closed, and has network in ${now.cgroup}`] : [] };
}

/** What is missing of a session that should be whole. */
function halfOf(now: Told, seen: Seen): string[] {
  const wrong: string[] = [];
  if (!now.reach) wrong.push("open, and cannot reach what is allowed");
  if (now.strays) wrong.push("open, and reaches what is forbidden");
  if (Object.values(seen.records).join() !== "open")
    wrong.push(`open, and its records are ${JSON.stringify(seen.records)}`);
  if (!["_in", "_out"].every((end) => seen.chains.some((chain) => chain.endsWith(end))))
    wrong.push(`open, and its chains are ${seen.chains.join(" ") || "none"}`);
  if (seen.leads.join() !== "session_in,session_out")
    wrong.push(`open, and ${seen.leads.join(" ") || "nothing"} leads to its chains`);
  if (!seen.policy.some((name) => name.endsWith(".nft"))) wrong.push("open, and its rules are not kept");
  if (!/\/authnft-.*\.scope$/.test(now.cgroup)) wrong.push(`open, and is in ${now.cgroup}`);
  return wrong;
}

/** What is left of a session whose process has ended. */
function left({ locks, ...seen }: Seen): string[] {
  return Object.entries(seen).flatMap(([kind, found]) =>
    (Array.isArray(found) ? found.length : Object.keys(found).length) === 0
      ? []
      : [`over, and there are ${kind}: ${JSON.stringify(found)}`],
  );
}

/** All points of the calls that were seen: killed at each, and failing with what can occur. */
export function pointsOf(calls: {
  readonly open: readonly string[];
  readonly close: readonly string[];
}): Point[] {
  return (["open", "close"] as const).flatMap((verb) => {
    const counts = new Map<string, number>();
    return calls[verb].flatMap((call) => {
      const nth = counts.get(call) ?? 0;
      counts.set(call, nth + 1);
      return (["killed", ...(OCCURRING[call] ?? [])] as const).map((fault) => ({ verb, call, nth, fault }));
    });
  });
}

/** Tries points on several lanes at once. */
export async function inject(
  lab: Lab,
  users: readonly string[],
  choose: (all: Point[]) => Point[],
  tell: (outcome: Outcome) => void = () => undefined,
): Promise<Outcome[]> {
  await using _prepared = await prepare(lab, users);
  const outcomes: Outcome[] = [];
  const lanes = users.map((user) => new Lane(lab, user));
  try {
    const queue = choose(pointsOf(await (lanes[0] as Lane).calls()));
    await Promise.all(
      lanes.map(async (lane) => {
        for (let point = queue.shift(); point !== undefined; point = queue.shift()) {
          const outcome = await lane.try(point);
          tell(outcome);
          outcomes.push(outcome);
        }
      }),
    );
  } finally {
    await Promise.all(lanes.map((lane) => lane[Symbol.asyncDispose]()));
  }
  return outcomes;
}

function pidsOutside(): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => pid > 0);
}

function readProc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return "";
  }
}

function childrenOf(parent: number): number[] {
  const line = new RegExp(`^PPid:\\t${parent}$`, "m");
  return pidsOutside().filter((pid) => line.test(readProc(pid, "status")));
}

/** The number that a process has in its own namespace; 0 for one of ours. */
function numberInside(pid: number): number {
  const numbers = /^NSpid:(.*)$/m.exec(readProc(pid, "status"))?.[1]?.trim().split(/\s+/) ?? [];
  return numbers.length < 2 ? 0 : Number(numbers.at(-1));
}
