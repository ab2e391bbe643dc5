// SPDX-License-Identifier: GPL-2.0-or-later
import { readSync, writeSync } from "node:fs";
import { confine } from "../confine/seccomp.ts";
import { closeSession } from "../lifecycle/close.ts";
import { openSession } from "../lifecycle/open.ts";
import { reportUnread } from "../lifecycle/report.ts";
import { Refusal } from "../refusal.ts";
import { formatReply, type Reply } from "../session/reply.ts";
import { decodeRequest, parseRequest, REQUEST_LIMIT, type Request } from "../session/request.ts";
import { Level, log } from "../system/journal.ts";
import { cutOffPamProcess } from "./last_resort.ts";

/**
 * Answers one request, which is on standard input: for the shim by a reply on standard output; for pam_exec by the exit
 * code, and by the user's sentence on standard output.
 *
 * @param options.sandbox `false` leaves confinement out: debugging only
 * @param options.pamExec what it is for, if for pam_exec; nobody stands behind us then who would cut off a process
 * @returns the exit code; the shim does not decide by it
 */
export async function runSession(options: {
  readonly sandbox: boolean;
  readonly pamExec: "open" | "close" | undefined;
}): Promise<number> {
  const { pamExec } = options;
  let reply: Reply;
  let quiet = false;
  try {
    if (options.sandbox) confine();
    const request = parseRequest(decodeRequest(readInput()));
    quiet = request.quiet === true;
    reply = await answer(request);
  } catch (error) {
    if (pamExec === "open") cutOffPamProcess();
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
  return reply.result === "ok" ? 0 : 1;
}

/** What a user is told of a request that could not be read. */
export const UNREAD = "authnft: no session. Ask the administrator to run authnft doctor.";

/** Does what a request asks for. */
function answer(request: Request): Promise<Reply> {
  return request.type === "open" ? openSession(request) : closeSession(request);
}

/** Writes to standard output. Whoever should read it may be gone; what was decided stands all the same. */
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
