// SPDX-License-Identifier: GPL-2.0-or-later
import * as v from "valibot";
import { confine } from "../confine/seccomp.ts";
import { groupFragments } from "../lifecycle/groups.ts";
import { reportUnread } from "../lifecycle/report.ts";
import { Refusal } from "../refusal.ts";
import { CORRELATION_VARIABLE } from "../session/correlation.ts";
import type { Reply } from "../session/reply.ts";
import { parseRequest, REQUEST_VERSION, type Request } from "../session/request.ts";
import { Level, log } from "../system/journal.ts";
import { SystemError } from "../system/libc.ts";
import { findUser, GROUP, groupsOf, isMember } from "../system/users.ts";
import { cutOffPamProcess, pamProcess } from "./last_resort.ts";
import { answer, tell } from "./session.ts";

/** How many groups of a user are told; native/pam_shim.c has the same bound. */
const TOLD_GROUPS = 128;

/** What the entry hands on of pam_exec's environment (native/entry.c). */
const ItemsSchema = v.object({
  AUTHNFT_PAM_TYPE: v.picklist(["open_session", "close_session"]),
  AUTHNFT_PAM_USER: v.string(),
  AUTHNFT_PAM_SERVICE: v.string(),
  AUTHNFT_PAM_RHOST: v.optional(v.string(), ""),
  AUTHNFT_PAM_TTY: v.optional(v.string(), ""),
  AUTHNFT_PAM_RUSER: v.optional(v.string(), ""),
  AUTHNFT_PAM_ENV_CORRELATION: v.optional(v.string()),
  AUTHNFT_PAM_ENV_CLAIMS: v.optional(v.string()),
});
type Items = v.InferOutput<typeof ItemsSchema>;

/**
 * Serves pam_exec: items in the environment, the outcome as exit code, the user's sentence on standard output.
 *
 * The name service is asked before confinement: its modules may read any file and talk to any server.
 */
export async function runPamExec(options: {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
}): Promise<number> {
  const type = options.env["AUTHNFT_PAM_TYPE"];
  let reply: Reply;
  try {
    const items = v.safeParse(ItemsSchema, options.env);
    if (!items.success) {
      throw new Refusal(
        "request",
        `Cannot serve pam_exec for PAM type ${JSON.stringify(type ?? "")}: authnft belongs on a "session" line of the PAM configuration.`,
      );
    }
    const request = toRequest(items.output, options.args);
    if (request === undefined) return 0;
    const groups = groupFragments();
    if (!options.args.includes("AUTHNFT_NO_SANDBOX=1")) confine();
    reply = await answer(request, groups);
  } catch (error) {
    cutOffPamProcess(options.env);
    if (!(error instanceof Refusal)) throw error;
    // That a session cannot be closed is no refusal; its scope's end cleans up.
    if (type === "close_session") log({ level: Level.warning, message: error.message });
    else reportUnread(error);
    reply = { result: "refused", say: "authnft: no session. Ask the administrator to run authnft doctor." };
  }
  // A close always succeeds.
  if (type === "close_session") return 0;
  if (reply.say !== undefined) tell(`${reply.say}\n`);
  return reply.result === "ok" ? 0 : 1;
}

/** Makes a request of pam_exec's items; `undefined` for root and for users outside the group. @throws {Refusal} */
function toRequest(items: Items, args: readonly string[]): Request | undefined {
  const user = resolve(items.AUTHNFT_PAM_USER);
  if (user === undefined) return undefined;
  const pid = pamProcess();
  if (pid === undefined) {
    throw new Refusal(
      "request",
      "Cannot tell whose session it is: the process that asked for it is gone; log in again.",
    );
  }
  const gids = groupsOf(user);
  const env: Record<string, string> = {};
  if (items.AUTHNFT_PAM_ENV_CORRELATION !== undefined)
    env[CORRELATION_VARIABLE] = items.AUTHNFT_PAM_ENV_CORRELATION;
  const claims = args.findLast((arg) => arg.startsWith("claims_env="))?.slice("claims_env=".length);
  if (claims !== undefined && items.AUTHNFT_PAM_ENV_CLAIMS !== undefined)
    env[claims] = items.AUTHNFT_PAM_ENV_CLAIMS;
  return parseRequest(
    JSON.stringify({
      v: REQUEST_VERSION,
      type: items.AUTHNFT_PAM_TYPE === "open_session" ? "open" : "close",
      user: user.name,
      uid: user.uid,
      gid: user.gid,
      service: items.AUTHNFT_PAM_SERVICE,
      rhost: items.AUTHNFT_PAM_RHOST,
      tty: items.AUTHNFT_PAM_TTY,
      ruser: items.AUTHNFT_PAM_RUSER,
      pid,
      args,
      env,
      session: "",
      gids: gids.length > TOLD_GROUPS ? undefined : gids,
    }),
  );
}

/** @throws {Refusal} `user`, when the name service fails: "cannot know" is not "no" */
function resolve(name: string): ReturnType<typeof findUser> {
  try {
    const user = findUser(name);
    return user === undefined || user.uid === 0 || !isMember(user, GROUP) ? undefined : user;
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    if (name === "root") return undefined;
    throw new Refusal(
      "user",
      `Cannot tell whether ${JSON.stringify(name.slice(0, 40))} is a member of group ${GROUP}: ${error.message}; see nsswitch.conf(5).`,
    );
  }
}
