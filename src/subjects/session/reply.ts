// SPDX-License-Identifier: GPL-2.0-or-later
import { oneLine } from "../../refusal.ts";
import type { CorrelationToken } from "./correlation.ts";
import type { ScopeUnit } from "./scope_unit.ts";

/** The outcome of a request, for the PAM process. */
export type Reply =
  | {
      readonly result: "ok";
      readonly session?: ScopeUnit;
      readonly correlation?: CorrelationToken;
      /** A message for the user, though nothing is wrong with this login. */
      readonly say?: string;
      /** After a close, the cgroup where the process belongs, with a leading slash. */
      readonly back?: string;
    }
  | {
      readonly result: "refused";
      readonly say: string;
      /** Whether its process has no network. The module looks for itself. */
      readonly isCutOff?: boolean;
      /** Where the process stays in another session that it has: how it calls this one when it ends it. */
      readonly session?: ScopeUnit;
    };

// The shim takes 4096 bytes in all and 512 a value (native/shim.h).
const VALUE_LIMIT = 500;

/** A path as the shim takes it. Of another it remembers itself where it came from. */
const BACK = /^\/[A-Za-z0-9:_.\\@/-]{0,499}$/;

/** Writes a reply in the form that the shim reads: a first line, `key=value` lines, `end`. */
export function formatReply(reply: Reply): string {
  const lines = ["authnft 1", `result=${reply.result}`];
  if (reply.session !== undefined) lines.push(`session=${reply.session}`);
  if (reply.result === "ok") {
    if (reply.correlation !== undefined) lines.push(`correlation=${reply.correlation}`);
    if (reply.back !== undefined && BACK.test(reply.back)) lines.push(`back=${reply.back}`);
  }
  if (reply.say !== undefined) lines.push(`say=${clip(oneLine(reply.say))}`);
  return `${[...lines, "end"].join("\n")}\n`;
}

function clip(text: string): string {
  return Buffer.from(text)
    .subarray(0, VALUE_LIMIT)
    .toString()
    .replace(/\uFFFD+$/, "");
}
