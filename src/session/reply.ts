// SPDX-License-Identifier: GPL-2.0-or-later
import { oneLine } from "../refusal.ts";
import type { CorrelationToken } from "./correlation.ts";
import type { ScopeUnit } from "./scope_unit.ts";

/** The outcome of a request, as the PAM process is told. */
export type Reply =
  | {
      readonly result: "ok";
      readonly session?: ScopeUnit;
      readonly correlation?: CorrelationToken;
      /** What to tell the user, though nothing is wrong with this login. */
      readonly say?: string;
    }
  | {
      readonly result: "refused";
      readonly say: string;
      /** Whether its process is where it has no network. The shim looks for itself. */
      readonly isCutOff?: boolean;
      /** It is to stay where it is, in another session that it has open. */
      readonly stays?: boolean;
    };

// The shim takes 4096 bytes in all and 512 a value (native/pam_shim.c).
const VALUE_LIMIT = 500;

/** Writes a reply in the form that the shim reads: a first line, `key=value` lines, `end`. */
export function formatReply(reply: Reply): string {
  const lines = ["authnft 1", `result=${reply.result}`];
  if (reply.result === "ok") {
    if (reply.session !== undefined) lines.push(`session=${reply.session}`);
    if (reply.correlation !== undefined) lines.push(`correlation=${reply.correlation}`);
  }
  if (reply.result === "refused" && reply.stays) lines.push("stays=yes");
  if (reply.say !== undefined) lines.push(`say=${clip(oneLine(reply.say))}`);
  return `${[...lines, "end"].join("\n")}\n`;
}

function clip(text: string): string {
  return Buffer.from(text)
    .subarray(0, VALUE_LIMIT)
    .toString()
    .replace(/\uFFFD+$/, "");
}
