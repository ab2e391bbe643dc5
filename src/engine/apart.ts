// SPDX-License-Identifier: GPL-2.0-or-later

// Transactions in a process of their own: libnftables may crash on its input, or never finish.

import { readFileSync, writeFileSync } from "node:fs";
import { inPrivateNetwork } from "../system/ffi/namespace.ts";
import { runTransaction, TransactionError } from "../system/ffi/nftables.ts";
import { ownCommand } from "../system/host/shipped.ts";

/** How long a transaction may take, in milliseconds: the largest fragment that the limits permit takes one second. */
export const PATIENCE = 10_000;

/** Says that the process died before it could tell the transaction's result. */
export class Crash extends Error {
  override readonly name = "Crash";
}

type Answer =
  | { readonly is: "done" }
  | ({ readonly is: "refused" } & Pick<TransactionError, "output" | "line" | "complaint" | "complaints">)
  | { readonly is: "failed"; readonly message: string };

/**
 * Runs a transaction in a network namespace of its own, which is gone afterwards.
 *
 * @throws {TransactionError} as `runTransaction` does
 * @throws {Crash} with a sentence about the end of the process
 * @throws {Error} where no such namespace can be made
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
    throw new Crash(`nftables crashes on it${child.signalCode ? ` (${child.signalCode})` : ""}`);
  const answer = JSON.parse(said) as Answer;
  if (answer.is === "failed") throw new Error(answer.message);
  if (answer.is === "refused")
    throw new TransactionError(answer.output, answer.line ?? undefined, answer.complaint, answer.complaints);
}

/** Runs the transaction on standard input, and writes its result to standard output. @returns the exit code */
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
