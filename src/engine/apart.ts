// SPDX-License-Identifier: GPL-2.0-or-later

// Transactions in a process of their own: nftables may crash of what it is to take, or not come to an end.

import { readFileSync, writeFileSync } from "node:fs";
import { inPrivateNetwork } from "../system/ffi/namespace.ts";
import { runTransaction, TransactionError } from "../system/ffi/nftables.ts";
import { ownCommand } from "../system/host/shipped.ts";

/** How long a transaction may take, in milliseconds: the largest fragment that the limits permit takes one second. */
export const PATIENCE = 10_000;

/** The process that was to run a transaction did not live to say what came of it. */
export class Crash extends Error {
  override readonly name = "Crash";
}

type Answer =
  | { readonly is: "done" }
  | ({ readonly is: "refused" } & Pick<TransactionError, "output" | "line" | "complaint" | "complaints">)
  | { readonly is: "failed"; readonly message: string };

/**
 * Runs a transaction in a network that is made for it and gone after it.
 *
 * @throws {TransactionError} as `runTransaction` does
 * @throws {Crash} with what happened, in words
 * @throws {Error} where no such network can be made
 */
export function tryApart(lines: readonly string[]): void {
  const child = Bun.spawnSync([...ownCommand(), "try-rules"], {
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C.UTF-8" },
    cwd: "/",
    stdin: Buffer.from(JSON.stringify(lines)),
    stdout: "pipe",
    stderr: "ignore",
    timeout: PATIENCE,
    killSignal: "SIGKILL",
  });
  const said = child.stdout.toString();
  if (child.exitedDueToTimeout) throw new Crash(`nftables is not done with it after ${PATIENCE / 1000} s`);
  if (child.exitCode !== 0 || said === "")
    throw new Crash(`nftables crashes of it${child.signalCode ? ` (${child.signalCode})` : ""}`);
  const answer = JSON.parse(said) as Answer;
  if (answer.is === "failed") throw new Error(answer.message);
  if (answer.is === "refused")
    throw new TransactionError(answer.output, answer.line ?? undefined, answer.complaint, answer.complaints);
}

/** Runs the transaction that comes on standard input, and says what came of it. @returns the exit code */
export function runTryRules(): number {
  const answer = answerTo(JSON.parse(readFileSync(0, "utf8")) as string[]);
  writeFileSync(1, JSON.stringify(answer));
  return 0;
}

function answerTo(lines: readonly string[]): Answer {
  try {
    inPrivateNetwork(() => runTransaction(lines));
    return { is: "done" };
  } catch (error) {
    if (!(error instanceof TransactionError))
      return { is: "failed", message: error instanceof Error ? error.message : String(error) };
    const { output, line, complaint, complaints } = error;
    return { is: "refused", output, line, complaint, complaints };
  }
}
