// SPDX-License-Identifier: GPL-2.0-or-later
import { formatReply } from "../subjects/session/reply.ts";
import { SystemError } from "../system/ffi/libc.ts";
import { silence } from "./doubt.ts";
import { tell } from "./session.ts";

/** Tells the module whether all sources of users and groups answer. Returns the exit code: 0 where they do. */
export function runSources(): number {
  let silent: string | undefined;
  try {
    silent = silence();
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    silent = error.message;
  }
  tell(
    formatReply(
      silent === undefined ? { result: "ok" } : { result: "refused", say: silent, isCutOff: false },
    ),
  );
  return silent === undefined ? 0 : 1;
}
