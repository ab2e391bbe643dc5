// SPDX-License-Identifier: GPL-2.0-or-later

// Builds the C programs with their paths in a directory of its own, and runs them there.

import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const here = import.meta.dir;
const native = join(here, "..", "..", "native");

/** The shim's deadline in these builds, in milliseconds: long for a loaded machine, short for a test. */
export const DEADLINE_MS = 1000;

/** How long the entry under test waits for its turn, in seconds, and the shim under test for that, in milliseconds. */
export const TURN_S = 2;
const TURN_MS = 5000;

/** What PAM answers (security/_pam_types.h). */
export const PAM_SUCCESS = 0;
export const PAM_PERM_DENIED = 6;

/** Syslog's levels (syslog.h). */
export const LOG_CRIT = 2;
export const LOG_ERR = 3;
export const LOG_WARNING = 4;
export const LOG_DEBUG = 7;

/**
 * The shim's builds: `patient` has the deadline of real life, `chain` runs the entry instead of the helper's stand-in.
 */
export type Build = "gcc" | "clang" | "sanitized" | "patient" | "chain";

export type Outcome = {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
};

/** Runs a program to its end; one that takes longer than four minutes is killed. */
export async function run(
  command: readonly string[],
  options: { readonly env?: Record<string, string>; readonly cwd?: string } = {},
): Promise<Outcome> {
  const child = Bun.spawn([...command], {
    cwd: options.cwd ?? "/",
    env: { PATH: process.env["PATH"] ?? "", ...options.env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: 240_000,
  });
  const [stdout, stderr, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { exitCode, stdout, stderr };
}

async function must(
  command: readonly string[],
  options: { readonly env?: Record<string, string> } = {},
): Promise<void> {
  const { exitCode, stdout, stderr } = await run(command, options);
  if (exitCode !== 0) throw new Error(`${command.join(" ")} ended with ${exitCode}:\n${stdout}${stderr}`);
}

/** A message that host.c printed. */
export type Line = { readonly level: number; readonly text: string };

/** What a session looked like to the application (host.c). */
export type Session = {
  /** What each call answered, and how long it took. */
  readonly calls: readonly { readonly what: string; readonly code: number; readonly ms: number }[];
  readonly logs: readonly Line[];
  readonly said: readonly string[];
  readonly env: readonly string[];
  /** The lines that stand for themselves: `descriptors`, `children`, `mask`, `asked`, `signals`, `cycles` … */
  readonly facts: ReadonlyMap<string, string>;
  readonly exitCode: number;
  readonly stderr: string;
};

function parseSession({ exitCode, stdout, stderr }: Outcome): Session {
  const calls: { what: string; code: number; ms: number }[] = [];
  const logs: Line[] = [];
  const said: string[] = [];
  const env: string[] = [];
  const facts = new Map<string, string>();
  for (const line of stdout.split("\n").slice(0, -1)) {
    const [word = "", first = "", second = ""] = line.split(" ");
    const rest = line.slice(word.length + 1);
    if (word === "open" || word === "close")
      calls.push({ what: word, code: Number(first), ms: Number(second) });
    else if (word === "log") logs.push({ level: Number(first), text: rest.slice(first.length + 1) });
    else if (word === "say") said.push(rest.slice(first.length + 1));
    else if (word === "env") env.push(rest);
    else facts.set(word, rest);
  }
  return { calls, logs, said, env, facts, exitCode, stderr };
}

/** What the stub helper saw of itself: a list of values for each kind of line. */
export type Seen = ReadonlyMap<string, readonly string[]>;

/** What to run the application with. Everything has a value that makes it an ordinary login of a member. */
export type SessionOptions = {
  readonly build?: Build;
  readonly service?: string;
  readonly user?: string;
  /** The PAM line after its module, or instead of the shim if it names a module itself. */
  readonly args?: string;
  readonly line?: string;
  /** Words for host.c. */
  readonly words?: readonly string[];
  /** The helper's plan and reply; `null` takes the helper away. */
  readonly plan?: string | null;
  /** What the helper does that is started after one whose plan says "next". */
  readonly next?: string;
  readonly reply?: string;
  readonly passwd?: string;
  readonly group?: string;
  /** In front of the application: valgrind, a namespace. */
  readonly under?: readonly string[];
  readonly env?: Record<string, string>;
};

export const OK_REPLY = "authnft 1\nresult=ok\nsession=authnft-alice-42.scope\ncorrelation=token-1\nend\n";
export const REFUSED_REPLY = "authnft 1\nresult=refused\nsay=Ask the administrator for a fragment.\nend\n";

const PASSWD = `root:x:0:0:root:/root:/bin/sh
toor:x:0:0:another root:/root:/bin/sh
alice:x:1000:1000:Alice:/home/alice:/bin/sh
bob:x:1001:1001:Bob:/home/bob:/bin/sh
carol:x:1002:900:Carol, by primary group:/home/carol:/bin/sh
`;
const GROUP = "root:x:0:\nauthnft:x:900:zoe,alice\nusers:x:100:bob\n";

/** A directory with everything built in it. */
export class Harness implements Disposable {
  readonly directory = mkdtempSync("/tmp/authnft-native-");
  /** Where the cgroup tests mount cgroup2; otherwise plain files, which the shim writes to just so. */
  readonly cgroups = join(this.directory, "cg");
  readonly logSocket = join(this.directory, "log");

  /** @throws {Error} if something does not build */
  static async build(): Promise<Harness> {
    const harness = new Harness();
    try {
      await harness.#build();
    } catch (error) {
      harness[Symbol.dispose]();
      throw error;
    }
    return harness;
  }

  async #build(): Promise<void> {
    chmodSync(this.directory, 0o755); // callers that are not root run the entry
    const at = (name: string) => join(this.directory, name);
    const source = (name: string) => join(here, name);
    const define = (name: string, value: string) => `-D${name}="${value}"`;
    const paths = [
      define("HELPER", at("helper")),
      define("PASSWD_FILE", at("passwd")),
      define("GROUP_FILE", at("group")),
      define("GROUP_FRAGMENTS", at("groups")),
      define("USER_FRAGMENTS", at("users")),
      define("NAMES", at("names")),
      define("CGROUP_ROOT", this.cgroups),
      `-DTURN_MS=${TURN_MS}`,
    ];
    const deadline = `-DDEADLINE_MS=${DEADLINE_MS}`;
    const entry = [
      define("PROGRAM", at("stub-helper")),
      define("LOG_SOCKET", this.logSocket),
      define("INIT_PROCS", join(this.cgroups, "init.scope/cgroup.procs")),
      `-DTURN_S=${TURN_S}`,
      // What Landlock lets the program write to.
      define("STATE", this.directory),
      define("SLICE", join(this.cgroups, "authnft.slice")),
    ];
    const chain = [define("HELPER", at("gcc/authnft-entry")), ...paths.slice(1)];
    const build = join(native, "build.sh");
    const sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1"];
    const host = ["-Wall", "-Wextra", "-Werror", "-rdynamic", "-g", source("host.c"), "-lpam"];
    for (const name of ["gcc", "clang", "sanitized", "patient", "chain", "pam.d", "lock", "users", "names"])
      mkdirSync(at(name));
    // libpam logs an error if there is no such file.
    writeFileSync(at("pam.d/other"), "session required pam_deny.so\n");
    for (const cc of ["gcc", "clang"]) {
      await must([build, at(cc), cc, "shim"], { env: { CPPFLAGS: [...paths, deadline].join(" ") } });
      await must([build, at(cc), cc, "entry"], { env: { CPPFLAGS: entry.join(" ") } });
    }
    await must([build, at("patient"), "gcc", "shim"], { env: { CPPFLAGS: paths.join(" ") } });
    await must([build, at("chain"), "gcc", "shim"], { env: { CPPFLAGS: chain.join(" ") } });
    await must([
      "gcc",
      ...sanitize,
      "-fPIC",
      "-shared",
      ...paths,
      deadline,
      ...["pam_shim", "membership", "request", "reply", "helper", "text"].map((name) =>
        join(native, `${name}.c`),
      ),
      "-o",
      at("sanitized/pam_authnft.so"),
      "-lpam",
    ]);
    await must(["gcc", "-O1", ...host, "-o", at("host")]);
    await must(["gcc", ...sanitize, ...host, "-o", at("host-sanitized")]);
    await must(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", source("launch.c"), "-o", at("launch")]);
    // Static, because thousands are started.
    await must([
      "gcc",
      "-O2",
      "-static",
      "-Wall",
      "-Wextra",
      "-Werror",
      define("DIRECTORY", this.directory),
      source("stub_helper.c"),
      "-o",
      at("stub-helper"),
    ]);
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  /** Runs the application in front of the shim, after everything of an earlier run was taken away. */
  async session(options: SessionOptions = {}): Promise<Session> {
    const build = options.build ?? "gcc";
    const service = options.service ?? "sshd";
    for (const name of ["seen", "request", "helper", "next", "passwd", "group", "cg", "cgroup"]) {
      rmSync(this.path(name), { recursive: true, force: true });
    }
    const refused = join(this.cgroups, "authnft.slice", "run-authnft-refused.mount");
    mkdirSync(refused, { recursive: true });
    writeFileSync(join(refused, "cgroup.procs"), "");
    writeFileSync(this.path("passwd"), options.passwd ?? PASSWD);
    writeFileSync(this.path("group"), options.group ?? GROUP);
    if (options.plan !== null) {
      await must(["ln", this.path("stub-helper"), this.path("helper")]);
      writeFileSync(this.path("plan"), options.plan ?? "reply 0\n");
      if (options.next !== undefined) writeFileSync(this.path("next"), options.next);
      writeFileSync(this.path("reply"), options.reply ?? OK_REPLY);
    }
    const shim = join(this.directory, build, "pam_authnft.so");
    const line = options.line ?? `${shim} ${options.args ?? ""}`;
    writeFileSync(join(this.directory, "pam.d", service), `session required ${line}\n`);
    const program = build === "sanitized" ? "host-sanitized" : "host";
    return parseSession(
      await run(
        [
          ...(options.under ?? []),
          this.path(program),
          this.path("pam.d"),
          service,
          options.user ?? "alice",
          ...(options.words ?? ["open"]),
        ],
        { env: { ASAN_OPTIONS: "detect_leaks=1", ...options.env } },
      ),
    );
  }

  /** Runs the entry of that compiler from launch.c, with its words and the program's arguments. */
  async entry(
    words: readonly string[],
    args: readonly string[],
    options: { readonly cc?: string; readonly under?: readonly string[] } = {},
  ): Promise<Outcome> {
    for (const name of ["seen", "request", "plan", "log", "cg"])
      rmSync(this.path(name), { recursive: true, force: true });
    mkdirSync(this.cgroups);
    return await run(
      [
        ...(options.under ?? []),
        this.path("launch"),
        ...words,
        "--",
        join(this.directory, options.cc ?? "gcc", "authnft-entry"),
        ...args,
      ],
      { env: { SECRET: "of the caller" } },
    );
  }

  /** Whether the helper, or the program, was started at all. */
  get started(): boolean {
    return this.#read("seen") !== undefined;
  }

  /** What the helper, or the program, saw of itself. */
  get seen(): Seen {
    const seen = new Map<string, string[]>();
    for (const line of this.#read("seen")?.split("\n").slice(0, -1) ?? []) {
      const [key = "", ...rest] = line.split(/:\s*/);
      const values = seen.get(key) ?? [];
      values.push(line.slice(key.length + 1).trim());
      if (rest.length > 0) seen.set(key, values);
    }
    return seen;
  }

  /** The request as it was sent. */
  get requestText(): string {
    return this.#read("request") ?? "";
  }

  get request(): Record<string, unknown> {
    return JSON.parse(this.requestText);
  }

  /** Whether the shim's last resort was carried out, on the plain files that stand for cgroups. */
  get networkTaken(): boolean {
    return this.#read("cg/authnft.slice/run-authnft-refused.mount/cgroup.procs") === "0";
  }

  #read(name: string): string | undefined {
    try {
      return readFileSync(this.path(name), "utf8");
    } catch {
      return undefined;
    }
  }
}

/** The script that gives a command a cgroup tree of its own, mounted at that directory. */
export function inCgroup(directory: string): readonly string[] {
  return [join(here, "in-cgroup.sh"), directory];
}

export const CHECK = join(native, "check.sh");
export const FUZZ = join(here, "..", "fuzz", "run.ts");
