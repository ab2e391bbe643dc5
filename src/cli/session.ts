// SPDX-License-Identifier: GPL-2.0-or-later
import { readSync, writeSync } from "node:fs";
import { confine } from "../confine/seccomp.ts";
import { closeSession } from "../engine/session/close.ts";
import { type Asked, openSession } from "../engine/session/open.ts";
import { reportUnread } from "../engine/session/report.ts";
import { Refusal } from "../refusal.ts";
import type { Elsewhere } from "../subjects/session/elsewhere.ts";
import { formatReply, type Reply } from "../subjects/session/reply.ts";
import { decodeRequest, parseRequest, REQUEST_LIMIT, type Request } from "../subjects/session/request.ts";
import { askerNumber } from "../system/kernel/asker.ts";
import { parentOf } from "../system/kernel/parent.ts";
import { processAge } from "../system/kernel/process_age.ts";
import { Level, log } from "../system/systemd/journal.ts";

/**
 * What the entry is told for pam_exec of a session that is refused, and whose process has no network any more (native/entry.c).
 * After any other but 0 it takes the network itself.
 */
export const CUT_OFF = 3;

/**
 * Answers one request, which is on standard input: for the shim by a reply on standard output; for pam_exec by the exit
 * code, and by the user's sentence on standard output.
 *
 * @param options.sandbox `false` leaves confinement out: debugging only
 * @param options.pamExec what it is for, if for pam_exec
 * @param options.elsewhere what the entry says of where the PAM process is
 * @param options.since when the entry let this program begin, in milliseconds since the host was started, if it had it wait
 * @returns the exit code; the shim does not decide by it
 */
export async function runSession(options: {
  readonly sandbox: boolean;
  readonly pamExec: "open" | "close" | undefined;
  readonly elsewhere: Elsewhere | undefined;
  readonly since?: number | undefined;
}): Promise<number> {
  const { pamExec } = options;
  let reply: Reply;
  let quiet = false;
  try {
    if (options.sandbox) confine();
    const request = parseRequest(decodeRequest(readInput()));
    quiet = request.quiet === true;
    reply = await answer(request, {
      askers: askers(pamExec !== undefined),
      elsewhere: options.elsewhere,
      age: processAge(options.since),
    });
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    // That a session cannot be closed is no refusal; its scope's end cleans up.
    if (pamExec === "close") log({ level: Level.warning, message: error.message });
    else reportUnread(error);
    reply = { result: "refused", say: UNREAD };
  }
  if (pamExec === undefined) tell(formatReply(reply));
  // A close always succeeds.
  if (pamExec === "close") return 0;
  if (pamExec === "open" && reply.say !== undefined && !(quiet && reply.result === "ok"))
    tell(`${reply.say}\n`);
  if (reply.result === "ok") return 0;
  return pamExec === "open" && reply.isCutOff ? CUT_OFF : 1;
}

/** The processes of which one asks; none when it is gone. */
function askers(forPamExec: boolean): number[] {
  const asker = askerNumber();
  if (asker !== undefined) return asker === 0 ? [] : [asker];
  // For pam_exec our parent is the entry, or under a trace the process itself.
  return forPamExec ? [parentOf(process.ppid), process.ppid] : [process.ppid];
}

/** The message to the user about a request that could not be read. */
export const UNREAD = "authnft: no session. Ask the administrator to run authnft doctor.";

/** Does what a request asks for. */
function answer(request: Request, asked: Asked): Promise<Reply> {
  return request.type === "open" ? openSession(request, asked) : closeSession(request, asked);
}

/** Writes to standard output. Its reader may be gone; the decision stands all the same. */
export function tell(text: string): void {
  try {
    writeSync(1, text);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPIPE") throw error;
  }
}

function readInput(): Uint8Array {
  const buffer = Buffer.alloc(REQUEST_LIMIT + 1);
  let filled = 0;
  while (filled < buffer.length) {
    const got = readSync(0, buffer, filled, buffer.length - filled, null);
    if (got === 0) break;
    filled += got;
  }
  return buffer.subarray(0, filled);
}
