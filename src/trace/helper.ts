// SPDX-License-Identifier: GPL-2.0-or-later
import type { FileSink, Subprocess } from "bun";
import { type Call, type Decision, Supervisor } from "../system/ffi/seccomp_notify.ts";
import { moveProcess } from "../system/kernel/cgroup.ts";
import { startOf } from "../system/kernel/process_age.ts";
import type { Order, Report } from "./fake_pam_client.ts";

/** How long a stand-in may take to do something, in milliseconds: longer than the entry's alarm. */
const PATIENCE = 20_000;
/** How long the helper may take to its confinement, and then from one call to the next, in milliseconds. */
const STEP = 10_000;

/** What became of a helper. */
export type Done = { readonly code: number; readonly output: string };

/** A process that stands in for one that calls PAM. To be held with `await using`. */
export class StandIn implements AsyncDisposable {
  readonly #process: Subprocess<"pipe", "pipe", "inherit">;
  readonly #input: FileSink;
  readonly #lines: AsyncIterator<string>;
  readonly #left: { readonly pid: number; readonly started: number | undefined }[] = [];

  private constructor(command: readonly string[]) {
    this.#process = Bun.spawn([...command], {
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C.UTF-8" },
      cwd: "/",
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#input = this.#process.stdin;
    this.#lines = linesOf(this.#process.stdout);
  }

  /** Starts one, outside of every session. @throws {Error} */
  static start(command: readonly string[]): StandIn {
    const standIn = new StandIn(command);
    moveProcess(standIn.pid, "init.scope");
    return standIn;
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Has something done. @throws {Error} that says what went wrong */
  async tell(order: Order): Promise<Report> {
    this.#input.write(`${JSON.stringify(order)}\n`);
    await this.#input.flush();
    const report = await this.#report();
    if (order.do === "leave" && report.pid !== undefined)
      this.#left.push({ pid: report.pid, started: startOf(report.pid) });
    return report;
  }

  /** Has the entry run, and decides about each system call that its program makes once it is confined. */
  async help(
    order: { readonly command: readonly string[]; readonly input: string; readonly terminal?: boolean },
    decide: (call: Call, self: number) => Decision,
  ): Promise<Done> {
    const { pid } = await this.tell({ do: "help", ...order });
    if (pid === undefined) throw new Error("the stand-in does not say what it has started");
    using supervisor = await Supervisor.of(pid, performance.now() + STEP);
    if (supervisor?.watch((call) => decide(call, pid), STEP) === "stuck") process.kill(pid, "SIGKILL");
    const { code = -1, output = "" } = await this.#report();
    return { code, output };
  }

  /** Ends what it has left behind. */
  clear(): void {
    for (const { pid, started } of this.#left.splice(0)) {
      try {
        // Its number may be another's by now: it ends by itself, too.
        if (startOf(pid) === started) process.kill(pid, "SIGKILL");
      } catch {
        // Ended already.
      }
    }
  }

  async #report(): Promise<Report> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error("the stand-in does not answer")), PATIENCE);
    });
    try {
      const { value, done } = await Promise.race([this.#lines.next(), late]);
      if (done === true) throw new Error("the stand-in has ended");
      const report = JSON.parse(value) as Report;
      if (report.error !== undefined) throw new Error(report.error);
      return report;
    } finally {
      clearTimeout(timer);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.clear();
    this.#process.kill("SIGKILL");
    await this.#process.exited;
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, undefined> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    text += decoder.decode(chunk, { stream: true });
    const lines = text.split("\n");
    text = lines.pop() ?? "";
    yield* lines;
  }
  return undefined;
}
