// SPDX-License-Identifier: GPL-2.0-or-later
import { readSync, writeSync } from "node:fs";
import { confine } from "../confine/seccomp.ts";
import { closeSession } from "../lifecycle/close.ts";
import { groupFragments } from "../lifecycle/groups.ts";
import { openSession } from "../lifecycle/open.ts";
import { reportUnread } from "../lifecycle/report.ts";
import type { GroupFragment } from "../policy/find.ts";
import { Refusal } from "../refusal.ts";
import { formatReply, type Reply } from "../session/reply.ts";
import { decodeRequest, parseRequest, REQUEST_LIMIT, type Request } from "../session/request.ts";

/**
 * Serves the shim: one request on standard input, one reply on standard output.
 *
 * @param options.sandbox `false` leaves confinement out: debugging only
 * @returns the exit code, which nobody decides by
 */
export async function runSession(options: { readonly sandbox: boolean }): Promise<number> {
  let reply: Reply;
  try {
    const groups = groupFragments();
    if (options.sandbox) confine();
    reply = await answer(parseRequest(decodeRequest(readInput())), groups);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    reportUnread(error);
    reply = { result: "refused", say: "authnft: no session. Ask the administrator to run authnft doctor." };
  }
  tell(formatReply(reply));
  return reply.result === "ok" ? 0 : 1;
}

/** Does what a request asks for. */
export function answer(request: Request, groups: readonly GroupFragment[]): Promise<Reply> {
  return request.type === "open" ? openSession(request, groups) : closeSession(request);
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
