// SPDX-License-Identifier: GPL-2.0-or-later

// A process in a session, or in a network of the lab, that does with sockets what a test tells it.

import { join } from "node:path";
import { type Running, type SshOptions, type StartOptions, waitFor } from "../lab/lab.ts";
import { lab } from "./harness.ts";

/** Answers with sockets; see the file. */
export const AGENT = "/usr/local/lib/agent.py";

/** Those that are out, so that a failed test's are not in the way of the next. */
const out = new Set<Agent>();

/** Lets those that are out now serve all tests. */
export function spareAgents(): void {
  out.clear();
}

/** Ends those that a test left. */
export async function dropAgents(): Promise<void> {
  await Promise.all([...out].map((agent) => agent.running.kill()));
  out.clear();
}

export type Answer = string | number | string[];

export async function installAgent(): Promise<void> {
  await lab.write(AGENT, await Bun.file(join(import.meta.dir, "fixtures/packets/agent.py")).text());
}

export class Agent {
  /** Where it was when it began. */
  cgroup = "";
  /** How long the last thing took, in milliseconds, on its own clock. */
  ms = 0;

  constructor(readonly running: Running) {}

  async ready(): Promise<this> {
    out.add(this);
    this.cgroup = String(await this.#answer());
    return this;
  }

  /** The unit that it began in. */
  get scope(): string {
    return this.cgroup.replace(/.*\//, "");
  }

  async tell(...command: unknown[]): Promise<Answer> {
    this.say(...command);
    return await this.#answer();
  }

  /** Begins something whose answer is waited for later. */
  say(...command: unknown[]): void {
    this.running.write(`${JSON.stringify(command)}\n`);
  }

  async answer(): Promise<Answer> {
    return await this.#answer();
  }

  /** Lets it end; in a session, that is the logout. */
  async end(): Promise<void> {
    this.running.end();
    const code = await this.running.exited;
    if (code !== 0) throw new Error(`It ended with ${code}: ${this.running.report()}`);
  }

  async #answer(): Promise<Answer> {
    const [line] = await this.running.expect(/^.*\n/, { timeoutMs: 20_000 });
    const { value, ms } = JSON.parse(line) as { value: Answer; ms: number };
    this.ms = ms;
    return value;
  }
}

/** The program that is started: another that understands what a agent does, instead of it. */
type Program = { program?: string };

export async function logIn(
  user: string,
  { program = AGENT, ...options }: SshOptions & Program = {},
): Promise<Agent> {
  return await new Agent(lab.sshStart(user, `exec python3 ${program}`, options)).ready();
}

export async function outside({ program = AGENT, ...options }: StartOptions & Program = {}): Promise<Agent> {
  return await new Agent(lab.start(["python3", program], options)).ready();
}

export interface LeftBehind {
  agents: Agent[];
  session: Running;
  logOut: () => Promise<void>;
}

/**
 * Logs in and starts processes of these names in the background, which hear us after the logout, too.
 * `by` is what starts them: by default the session's shell; "systemd-run --user" makes it the user's manager.
 */
export async function logInAndLeave(
  user: string,
  names: readonly string[],
  { by = "setsid nohup", program = AGENT, ...options }: SshOptions & Program & { by?: string } = {},
): Promise<LeftBehind> {
  const start = names.map((name) => `${by} python3 ${program} ${name} </dev/null >/dev/null 2>&1 &`);
  const session = lab.sshStart(user, `${start.join(" ")} read`, options);
  const agents = await Promise.all(
    names.map((name) =>
      waitFor(() => new Agent(lab.start(["socat", "-", `ABSTRACT-CONNECT:${name}`])).ready()),
    ),
  );
  const logOut = async () => {
    session.write("\n");
    await session.exited;
  };
  return { agents, session, logOut };
}
