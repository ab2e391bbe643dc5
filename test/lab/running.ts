// SPDX-License-Identifier: GPL-2.0-or-later

import { readFileSync, rmdirSync } from "node:fs";
import type { Subprocess } from "bun";

/** A command that goes on in a guest. Ends with its scope when declared by `await using`. */
export class Running {
  /** Everything it wrote so far; of a command with a terminal, both streams come as stdout. */
  stdout = "";
  stderr = "";
  /** Its exit status, once it has ended and all its output is here; 137 when it was killed. */
  readonly exited: Promise<number>;

  readonly #process: Subprocess<"pipe", "pipe", "pipe">;
  readonly #cgroup: string | null;
  readonly #what: string;
  #ended = false;
  #consumed = 0;
  #wake = Promise.withResolvers<void>();

  /** @param cgroup the command's own cgroup, which this object removes at the end; null: it has none */
  constructor(process: Subprocess<"pipe", "pipe", "pipe">, cgroup: string | null, what: string) {
    this.#process = process;
    this.#cgroup = cgroup;
    this.#what = what;
    const read = async (stream: ReadableStream<Uint8Array>, store: (text: string) => void) => {
      const decoder = new TextDecoder();
      for await (const chunk of stream) {
        store(decoder.decode(chunk, { stream: true }));
        this.#notify();
      }
    };
    const output = Promise.all([
      read(process.stdout, (text) => {
        this.stdout += text;
      }),
      read(process.stderr, (text) => {
        this.stderr += text;
      }),
    ]);
    this.exited = process.exited.then(async (code) => {
      // What it left in the background may hold the pipes open for ever; what it wrote itself is here at once.
      await Promise.race([output, Bun.sleep(500)]);
      this.#ended = true;
      this.#notify();
      try {
        if (this.#cgroup) rmdirSync(this.#cgroup);
      } catch {
        // Something still runs there; `reset` ends it.
      }
      return code;
    });
  }

  /** The complete lines of standard output so far, without line ends. */
  get lines(): string[] {
    return this.stdout.split(/\r?\n/).slice(0, -1);
  }

  /**
   * Waits until standard output matches, in what came after the previous match, and returns the match.
   * Throws when the command ends first, or after the time, with what it wrote.
   */
  async expect(pattern: RegExp, { timeoutMs = 10_000 } = {}): Promise<RegExpExecArray> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const woken = this.#wake.promise;
      const match = pattern.exec(this.stdout.slice(this.#consumed));
      if (match) {
        this.#consumed += match.index + match[0].length;
        return match;
      }
      const left = deadline - performance.now();
      if (this.#ended || left <= 0) {
        const why = this.#ended ? "It ended" : `${timeoutMs} ms passed`;
        throw new Error(`${why} before ${pattern} was seen: ${this.report()}`);
      }
      await Promise.race([woken, Bun.sleep(left), this.exited]);
    }
  }

  /** Writes to its standard input; on a terminal, "\x03" is Ctrl-C and "\x1a" Ctrl-Z. */
  write(text: string | Uint8Array): void {
    tolerate(this.#process.stdin.write(text));
    tolerate(this.#process.stdin.flush());
  }

  /** Closes its standard input. */
  end(): void {
    tolerate(this.#process.stdin.end());
  }

  /** Sends a signal to the command and what it started here (not to the other end of an ssh connection). */
  signal(signal: NodeJS.Signals): void {
    for (const pid of this.#pids()) {
      try {
        process.kill(pid, signal);
      } catch {
        // Ended meanwhile.
      }
    }
  }

  /** Kills the command and what it started here, and waits for the end. */
  async kill(): Promise<void> {
    // Not cgroup.kill: nsenter, in the same cgroup, must live to collect its child, which nobody else would.
    while (!this.#ended) {
      this.signal("SIGKILL");
      await Promise.race([this.exited, Bun.sleep(20)]);
    }
    this.signal("SIGKILL");
  }

  /** What it was and what it wrote, for messages. */
  report(): string {
    return `${this.#what}\n--- stdout\n${this.stdout}\n--- stderr\n${this.stderr}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  #notify(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers<void>();
  }

  #pids(): number[] {
    if (!this.#cgroup) return [this.#process.pid];
    try {
      // nsenter waits outside for what it started; the signal is for the latter.
      return readFileSync(`${this.#cgroup}/cgroup.procs`, "utf8")
        .split("\n")
        .map(Number)
        .filter((pid) => pid > 0 && pid !== this.#process.pid);
    } catch {
      return [];
    }
  }
}

/** A command may end without reading all that it is given: no error of ours. */
function tolerate(written: number | Promise<number>): void {
  if (written instanceof Promise) {
    written.catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
    });
  }
}
