// SPDX-License-Identifier: GPL-2.0-or-later

// A disposable Debian with real systemd, D-Bus, logind, sshd and nftables, for tests and for people.
//
//   await using lab = await up({ release: "trixie" });
//   await lab.install();
//   await lab.pam("sshd", { through: "shim" });
//   await lab.fragment("alice", "add rule inet authnft egress ip daddr 10.88.0.2 accept\n…");
//   await lab.ssh("alice", "probe tcp 10.88.0.2 7001");    // → { code: 0, stdout: "ok\n", stderr: "" }
//
// In the guest:
//   users      alice, bob, m0 to m9 (members of authnft), carol (by her primary group), dave (no member), root;
//              password <name>-password, all may log in with root's key and use sudo
//   networks   client (10.77.0.2, fd77::2, fe80::2), where ssh logins come from; the guest is .1 and ::1 on each
//              world (10.88.0.2, .3, fd88::2, ::3), which answers on TCP and UDP ports 7001 to 7004
//   sshd       port 22; port 2222 is a dual-stack socket, where IPv4 clients appear as IPv4-mapped
//   commands   client CMD, world CMD: in that network; ssh v4, v6, link-local, mapped from client; probe
//   noexec     /run, /tmp, /var/tmp, /dev/shm

import { existsSync } from "node:fs";
import { readlink } from "node:fs/promises";
import { join } from "node:path";
import { escapeName } from "../../src/escaped_name.ts";
import type { Guest, SystemState } from "./guest.ts";
import { boot, interact, reboot, start } from "./guest.ts";
import type { Release } from "./image.ts";
import type { PamHook } from "./pam.ts";
import { withHook } from "./pam.ts";
import { elapsed, progress } from "./progress.ts";
import { Running } from "./running.ts";

export type { Release } from "./image.ts";
export { releases } from "./image.ts";
export type { PamHook } from "./pam.ts";
export { Running } from "./running.ts";

export interface Result {
  code: number;
  stdout: string;
  stderr: string;
}

export interface StartOptions {
  /** Whose ids the command gets, without PAM and without a session. Default: root. */
  user?: string;
  /** The network it runs in. Default: the guest's own. */
  netns?: "client" | "world";
  /** Added to a plain root environment; nothing of this process's own is passed on. */
  env?: Record<string, string>;
  /** Gives it a terminal of its own; what is written to it goes through that terminal. */
  tty?: boolean;
}

export interface RunOptions extends StartOptions {
  input?: string | Uint8Array;
  /** Default: 30 s. After it the command is killed and the call throws. */
  timeoutMs?: number;
}

export interface SshOptions {
  /** How to reach the guest: a name of the list, or an address. Default: v4. */
  to?: "v4" | "v6" | "link-local" | "mapped" | (string & {});
  /** Asks for a terminal at the other end. */
  tty?: boolean;
  /** Further arguments of ssh, such as ["-N"] or ["-L", "8000:10.88.0.2:7001"]. */
  args?: string[];
  /** Log in with this password and no key. */
  password?: string;
  netns?: "client" | "world";
  env?: Record<string, string>;
}

/** A session record as the contract gives it, and whatever fields came later. */
export interface SessionRecord {
  v: number;
  user: string;
  uid: number;
  scope_unit: string;
  cg_path: string;
  cg_id: number;
  remote_ip: string;
  fragment: string;
  claims_tag: string;
  correlation: string;
  service: string;
  tty: string;
  pid: number;
  opened_at: string;
  state: string;
  [later: string]: unknown;
}

/** An entry of the journal: its fields, as journalctl names them. */
export type JournalEntry = Record<string, string>;

export interface AuditRecord {
  /** 1109 is AUDIT_USER_ERR. */
  type: number;
  text: string;
}

export interface UpOptions {
  release: Release;
  /**
   * Has the guest's services confined by nspawn's own system call filter, as those of a stock container, and gives nspawn
   * further arguments. Commands of `run` come from outside and are not; those of `systemd-run` are.
   */
  container?: readonly string[];
}

/** Boots a guest. With an image in the cache this takes about a second; building one, about a minute. */
export async function up({ release, container }: UpOptions): Promise<Lab> {
  return new Lab(await boot(release, container));
}

/** The password of a user of the guest. */
export function passwordOf(user: string): string {
  return `${user}-password`;
}

/**
 * Waits until `attempt` returns something other than undefined, null or false, and returns it.
 * Throws after the time, with the last error if `attempt` threw. Default: every 50 ms for 5 s.
 */
export async function waitFor<T>(
  attempt: () => Promise<T> | T,
  { timeoutMs = 5000, everyMs = 50, what = "what was waited for" } = {},
): Promise<Exclude<T, undefined | null | false>> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    let failure: unknown;
    try {
      const value = await attempt();
      if (value !== undefined && value !== null && value !== false) {
        return value as Exclude<T, undefined | null | false>;
      }
    } catch (error) {
      failure = error;
    }
    if (performance.now() > deadline) {
      throw new Error(`${timeoutMs} ms passed without ${what}.`, { cause: failure });
    }
    await Bun.sleep(everyMs);
  }
}

/** How long a mark in the journal is looked for, in milliseconds: reading all of a busy one takes a second. */
const JOURNAL_PATIENCE = 30_000;

export class Lab {
  readonly release: Release;
  /** The cgroup controllers that the guest has: what TasksMax= (pids) and MemoryMax= (memory) need to act. */
  readonly controllers: ReadonlySet<string>;
  #guest: Guest;
  readonly #running = new Set<Running>();
  #installed = false;

  constructor(guest: Guest) {
    this.#guest = guest;
    this.release = guest.release;
    this.controllers = guest.controllers;
  }

  /** Whether `install` succeeded in this guest. */
  get installed(): boolean {
    return this.#installed;
  }

  /** Runs a command in the guest: a string by bash, an array as it is. Whatever its exit code, it is returned. */
  async run(command: string | string[], options: RunOptions = {}): Promise<Result> {
    const running = this.#start(command, options, options.input ?? "");
    return await finish(running, options.timeoutMs);
  }

  /** Like `run`, but throws unless the exit code is 0, and returns standard output without the last line end. */
  async output(command: string | string[], options: RunOptions = {}): Promise<string> {
    const running = this.#start(command, options, options.input ?? "");
    const { code, stdout } = await finish(running, options.timeoutMs);
    if (code !== 0)
      throw new Error(`A command in the lab failed with exit code ${code}: ${running.report()}`);
    return stdout.replace(/\n$/, "");
  }

  /** Starts a command that goes on; it ends with `kill`, with its scope (`await using`), or with the guest. */
  start(command: string | string[], options: StartOptions = {}): Running {
    return this.#start(command, options);
  }

  /** Logs in by ssh from the client network, with a key unless a password is given, and runs a command there. */
  async ssh(
    user: string,
    command: string | null,
    options: SshOptions & { input?: string | Uint8Array; timeoutMs?: number } = {},
  ): Promise<Result> {
    const running = this.#start(...sshCommand(user, command, options), options.input ?? "");
    return await finish(running, options.timeoutMs);
  }

  /** Like `ssh` for a session that stays open: an interactive shell if the command is null, or -N in `args`. */
  sshStart(user: string, command: string | null, options: SshOptions = {}): Running {
    return this.#start(...sshCommand(user, command, options));
  }

  /** Runs commands of sftp, a line each, in one batch; exit code 1 if one of them failed. */
  async sftp(
    user: string,
    batch: string,
    { to = "v4", timeoutMs }: { to?: SshOptions["to"]; timeoutMs?: number } = {},
  ): Promise<Result> {
    const running = this.#start(["sftp", "-b", "-", sshTarget(user, to)], { netns: "client" }, batch);
    return await finish(running, timeoutMs);
  }

  /** Writes a file in the guest, directories and all. Default: 0644, root:root. */
  async write(
    path: string,
    content: string | Uint8Array,
    { mode = "0644", owner = "root:root" }: { mode?: string; owner?: string } = {},
  ): Promise<void> {
    const script =
      'mkdir -p "$(dirname "$1")" && cat >"$1.new" && chown "$2" "$1.new" && chmod "$3" "$1.new" && mv -fT "$1.new" "$1"';
    await this.output(["bash", "-c", script, "write", path, owner, mode], { input: content });
  }

  /** Writes a user's fragment. */
  async fragment(
    user: string,
    text: string | Uint8Array,
    options: { mode?: string; owner?: string } = {},
  ): Promise<void> {
    await this.write(`/etc/authnft/users/${escapeName(user)}`, text, options);
  }

  /**
   * Puts the hook into a service's file in /etc/pam.d, or takes it out again (null); each call begins with the file as
   * it was. "su" serves `su -` as well: su-l includes it. "lab" and "lab-login" are services for pamtester,
   * without anything else and with logind.
   */
  async pam(service: string, hook: PamHook | null): Promise<void> {
    const stack = await this.output(["cat", `/usr/local/lib/lab/pristine/etc/pam.d/${service}`]);
    await this.write(`/etc/pam.d/${service}`, hook ? withHook(`${stack}\n`, hook) : `${stack}\n`);
  }

  /** Our table as nft prints it, or "" if there is none. */
  async ruleset(): Promise<string> {
    const { code, stdout, stderr } = await this.run(["nft", "list", "table", "inet", "authnft"]);
    if (code !== 0 && !stderr.includes("No such file or directory"))
      throw new Error(`Cannot list our table: ${stderr}`);
    return code === 0 ? stdout : "";
  }

  /** The records in /run/authnft/sessions, parsed. Throws when one is no JSON. */
  async sessions(): Promise<SessionRecord[]> {
    const script =
      'shopt -s nullglob; for f in /run/authnft/sessions/*.json; do cat "$f" && printf "\\0"; done';
    const texts = (await this.output(script)).split("\0").filter((text) => text.trim() !== "");
    return texts.map((text) => JSON.parse(text) as SessionRecord);
  }

  /**
   * Marks the journal's end, as it is now, for `journal({ since })`: seconds since the epoch, and an entry of its own. (A
   * cursor of journald's will not do: now and then journalctl begins later than it should, and nothing tells.)
   */
  async cursor(): Promise<string> {
    // Until it is there: journald drops what comes while its socket is full.
    const script = `mark="$(date +%s) ${crypto.randomUUID()}"
      for try in $(seq 50); do
        logger -t lab-mark "$mark" && journalctl --sync
        journalctl --quiet --identifier=lab-mark --since=-1min --output=cat | grep -qxF "$mark" && echo "$mark" && exit
        sleep 0.1
      done; echo "journald takes no mark" >&2; exit 1`;
    return (await this.output(script)).trim();
  }

  /** The journal's entries after a cursor whose fields match: by default, ours, written by root. */
  async journal({
    since,
    match = { SYSLOG_IDENTIFIER: "pam_authnft", _UID: "0" },
  }: {
    since?: string;
    match?: Record<string, string>;
  } = {}): Promise<JournalEntry[]> {
    const read = async (...options: string[]): Promise<JournalEntry[] | undefined> => {
      const lines = await this.output(["journalctl", "--quiet", "--all", "--output=json", ...options]);
      const entries = lines.split("\n").filter(Boolean).map(parseJournalEntry);
      if (since === undefined) return entries;
      const mark = entries.findIndex((entry) => entry["MESSAGE"] === since);
      return mark === -1 ? undefined : entries.slice(mark + 1);
    };
    // Until two readings agree: one that meets a busy journald now and then lacks entries, the mark among them, and nothing tells.
    let last: JournalEntry[] | undefined;
    const end = performance.now() + JOURNAL_PATIENCE;
    for (let readings = 0; readings < 5 || (!last && performance.now() < end); readings++) {
      await this.output(["journalctl", "--sync"]);
      // The whole of it, which takes longer, if its beginning was missed.
      const all = (since && (await read(`--since=@${Number(since.split(" ", 1)[0]) - 1}`))) || (await read());
      const entries = all?.filter((entry) =>
        Object.entries(match).every(([field, value]) => entry[field] === value),
      );
      if (entries && entries.length === last?.length) return entries;
      last = entries;
    }
    if (!last) {
      const { stdout } = await this.run(
        "journalctl --quiet --identifier=lab-mark --output=short-unix | tail -n 3; journalctl --header | grep -E '^(File path|State|Head real|Tail real|Entry obj)'; journalctl --unit=systemd-journald --output=short-unix | tail -n 5",
      );
      throw new Error(`Cannot find "${since}" in the journal. There is:\n${stdout}`);
    }
    return last;
  }

  /**
   * Collects the audit records that programs in the guest send while it lives (`await using`). The kernel shows
   * them to listeners in the host's own namespaces only, and drops them where auditing is off: it is switched on
   * for that time, for the whole host.
   */
  async audit(): Promise<AuditWatch> {
    const namespace = await readlink(`/proc/${this.#guest.init}/ns/pid`);
    const watching = Bun.spawn(
      [
        ...["/bin/sh", "-c", 'exec 3</proc 4<>"$1"; shift; exec "$@"', "sh", "/run/authnft-lab/audit"],
        ...["nsenter", `--target=${this.#guest.init}`, "--mount", "--"],
        ...["/usr/bin/python3", "/usr/local/lib/lab/audit", namespace],
      ],
      { stdin: "pipe", stdout: "pipe", stderr: "pipe" },
    );
    const running = new Running(watching, null, "the listener for audit records");
    await running.expect(/^listening\n/);
    return new AuditWatch(running);
  }

  /** Has the guest reboot, and waits until it is up again, with a failed unit if `state` says so; what ran in it has ended. */
  async reboot(state: SystemState = "running"): Promise<void> {
    this.#guest = await reboot(this.#guest, state);
  }

  /**
   * Installs a build: copies the one file into the guest, runs `authnft install` there, starts the boot unit.
   * Throws with the step that failed and what it said.
   */
  async install({ from = join(import.meta.dir, "../../dist/authnft") } = {}): Promise<void> {
    if (!existsSync(from)) throw new Error(`Cannot install: ${from} does not exist. Run \`npm run build\`.`);
    const start = performance.now();
    await this.write("/root/authnft", await Bun.file(from).bytes(), { mode: "0755" });
    await this.output(["/root/authnft", "install"]);
    await this.output(["systemctl", "daemon-reload"]);
    const started = await this.run(["systemctl", "start", "authnft.service"]);
    if (started.code !== 0) {
      const status = await this.run(["systemctl", "status", "--full", "--no-pager", "authnft.service"]);
      throw new Error(`Installed, but authnft.service does not start: ${started.stderr}\n${status.stdout}`);
    }
    this.#installed = true;
    progress(`lab: ${this.release}: installed in ${elapsed(start)}`);
  }

  /**
   * Puts the guest back to how it came up (or was installed): every session and every process of a user ended;
   * accounts, homes, PAM, sshd, drop-ins, fragments, records, rules as they were. Installed files are not looked at.
   */
  async reset(): Promise<void> {
    await Promise.all([...this.#running].map((running) => running.kill()));
    await this.output(["/usr/local/lib/lab/reset"], { timeoutMs: 60_000 });
  }

  /** A shell in the guest on this process's terminal; returns its exit status. */
  async shell(): Promise<number> {
    return await interact(this.#guest, [
      "script",
      "--quiet",
      "--return",
      "--command",
      "cd; exec bash --login",
      "/dev/null",
    ]);
  }

  /** Ends the guest; nothing of it is left. */
  async down(): Promise<void> {
    await this.#guest.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down();
  }

  #start(command: string | string[], options: StartOptions, input?: string | Uint8Array): Running {
    let argv = typeof command === "string" ? ["bash", "-c", command] : command;
    if (options.user !== undefined) argv = ["/usr/local/lib/lab/as", options.user, ...argv];
    if (options.netns) argv = [options.netns, ...argv];
    if (options.tty)
      argv = ["script", "--quiet", "--return", "--command", argv.map(quote).join(" "), "/dev/null"];
    const running = start(this.#guest, argv, {
      env: options.env ?? {},
      ...(input !== undefined && { input }),
    });
    this.#running.add(running);
    void running.exited.finally(() => this.#running.delete(running));
    return running;
  }
}

/** Audit records as they arrive. */
export class AuditWatch {
  readonly #running: Running;

  constructor(running: Running) {
    this.#running = running;
  }

  /** The records so far; give the kernel a moment (`waitFor`). */
  get records(): AuditRecord[] {
    return this.#running.lines.slice(1).map((line) => {
      const space = line.indexOf(" ");
      return { type: Number(line.slice(0, space)), text: line.slice(space + 1) };
    });
  }

  /** Stops listening, and switches auditing off again if it was. */
  async end(): Promise<void> {
    this.#running.end();
    await this.#running.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }
}

async function finish(running: Running, timeoutMs = 30_000): Promise<Result> {
  let timer: Timer | undefined;
  const late = new Promise<"late">((resolve) => {
    timer = setTimeout(() => resolve("late"), timeoutMs);
  });
  const code = await Promise.race([running.exited, late]);
  clearTimeout(timer);
  if (code === "late") {
    await running.kill();
    throw new Error(
      `A command in the lab did not end within ${timeoutMs} ms and was killed: ${running.report()}`,
    );
  }
  return { code, stdout: running.stdout, stderr: running.stderr };
}

function sshTarget(user: string, to: string): string {
  return `${user}@${to}`;
}

function sshCommand(
  user: string,
  command: string | null,
  { to = "v4", tty = false, args = [], password, netns = "client", env = {} }: SshOptions,
): [string[], StartOptions] {
  const argv = ["ssh", tty ? "-tt" : "-T", ...args];
  if (password !== undefined) {
    argv.push(
      "-o",
      "PubkeyAuthentication=no",
      "-o",
      "PreferredAuthentications=password",
      "-o",
      "NumberOfPasswordPrompts=1",
    );
    env = {
      ...env,
      SSH_ASKPASS: "/usr/local/lib/lab/askpass",
      SSH_ASKPASS_REQUIRE: "force",
      LAB_PASSWORD: password,
    };
  }
  argv.push(sshTarget(user, to));
  if (command !== null) argv.push("--", command);
  return [argv, { netns, env }];
}

/** journalctl gives a field as numbers where it is not plain text, and as a list where an entry has it twice. */
function parseJournalEntry(line: string): JournalEntry {
  const entry: JournalEntry = {};
  for (const [name, value] of Object.entries(JSON.parse(line) as Record<string, unknown>)) {
    const bytes = Array.isArray(value) && value.every((byte) => typeof byte === "number");
    entry[name] = bytes ? Buffer.from(value as number[]).toString() : String(value);
  }
  return entry;
}

function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
