// SPDX-License-Identifier: GPL-2.0-or-later
import type { FileSink, Subprocess } from "bun";
import type { Answer, Operation, Operations, Request, Station } from "./operation.ts";

/** How long one thing may take, in milliseconds: longer than a program that is run may. */
const PATIENCE = 5000;

/** A probing process, from the side that tells it what to do. To be held with `await using`. */
export class Agent implements AsyncDisposable {
  readonly #process: Subprocess<"pipe", "pipe", "ignore">;
  readonly #input: FileSink;
  readonly #waiting: PromiseWithResolvers<Answer>[] = [];
  #over: Error | undefined;
  #late: ReturnType<typeof setTimeout> | undefined;

  private constructor(command: readonly string[]) {
    this.#process = Bun.spawn([...command], {
      // Nothing of the administrator's environment or directory has a say in what runs as somebody else.
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C.UTF-8" },
      cwd: "/",
      stdin: "pipe",
      stdout: "pipe",
      stderr: "ignore",
    });
    this.#input = this.#process.stdin;
    void this.#listen();
  }

  /** Starts a process, and waits until it is where it is to be. @throws {Error} when it cannot go there */
  static async start(command: readonly string[], station: Station): Promise<Agent> {
    const agent = new Agent(command);
    try {
      const answer = await agent.#say(JSON.stringify(station));
      if ("error" in answer) throw new Error(`cannot enter ${station.cgroup}: ${answer.error}`);
      return agent;
    } catch (error) {
      await agent[Symbol.asyncDispose]();
      throw error;
    }
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Has something done. @returns its value, or the name of an error @throws {Error} when the process has ended */
  async try<Name extends Operation>(op: Name, ask: Operations[Name]["ask"]): Promise<Answer<Name>> {
    const request: Request<Name> = { op, ask };
    return (await this.#say(JSON.stringify(request))) as Answer<Name>;
  }

  /** Like `try`, where an error means that nothing can be told. @throws {Failure} */
  async do<Name extends Operation>(
    op: Name,
    ask: Operations[Name]["ask"],
  ): Promise<Operations[Name]["answer"]> {
    const answer = await this.try(op, ask);
    if ("error" in answer) throw new Failure(op, answer.error);
    return answer.value;
  }

  async #say(line: string): Promise<Answer> {
    if (this.#over !== undefined) throw this.#over;
    const waiting = Promise.withResolvers<Answer>();
    this.#waiting.push(waiting);
    this.#expect();
    const [answer] = await Promise.all([waiting.promise, this.#send(line)]);
    return answer;
  }

  /** A process that has ended does not read what it is told; that it has is known soon enough. */
  async #send(line: string): Promise<void> {
    try {
      await this.#input.write(`${line}\n`);
      await this.#input.flush();
    } catch {
      // Whoever waits for the answer is told.
    }
  }

  /** A session's processes can be stopped or frozen, and ours with them. To be killed they need not run. */
  #expect(): void {
    clearTimeout(this.#late);
    if (this.#waiting.length > 0) this.#late = setTimeout(() => this.#process.kill("SIGKILL"), PATIENCE);
  }

  async #listen(): Promise<void> {
    const decoder = new TextDecoder();
    let text = "";
    try {
      for await (const chunk of this.#process.stdout) {
        text += decoder.decode(chunk, { stream: true });
        const lines = text.split("\n");
        text = lines.pop() ?? "";
        for (const line of lines) this.#waiting.shift()?.resolve(JSON.parse(line) as Answer);
        this.#expect();
      }
    } finally {
      clearTimeout(this.#late);
      this.#over = new Error("a probing process was ended by somebody, or stopped");
      for (const waiting of this.#waiting.splice(0)) waiting.reject(this.#over);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over ??= new Error("The probing is over.");
    this.#process.kill("SIGKILL");
    await this.#process.exited;
  }
}

/** Something that an attempt cannot do without did not work. */
export class Failure extends Error {
  override readonly name = "Failure";

  constructor(
    readonly op: Operation,
    readonly code: string,
  ) {
    super(`${op}: ${code}`);
  }
}
