// SPDX-License-Identifier: GPL-2.0-or-later

import { statSync } from "node:fs";
import * as v from "valibot";
import { groupFiles, groupFragments } from "../check/groups.ts";
import { reportUnread } from "../engine/session/report.ts";
import { ENTRY } from "../paths.ts";
import { Refusal } from "../refusal.ts";
import { shellWord } from "../shell_word.ts";
import { UNCONFINED } from "../subjects/session/arguments.ts";
import { CORRELATION_VARIABLE } from "../subjects/session/correlation.ts";
import { type Elsewhere, elsewhereIn, elsewhereWord } from "../subjects/session/elsewhere.ts";
import { parseRequest, REQUEST_VERSION, type Request } from "../subjects/session/request.ts";
import { becomeProgram } from "../system/ffi/exec.ts";
import { SystemError } from "../system/ffi/libc.ts";
import { findUser, GROUP, type User } from "../system/ffi/users.ts";
import { membership } from "../system/host/membership.ts";
import { isAsker } from "../system/kernel/asker.ts";
import { tcpSocketInodes } from "../system/kernel/sock_diag.ts";
import { Level, log } from "../system/systemd/journal.ts";
import { doubtAbout } from "./doubt.ts";
import { pamProcess } from "./pam_process.ts";
import { CUT_OFF, tell, UNREAD } from "./session.ts";

/** The part of pam_exec's environment that the entry hands on (native/entry.c). */
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
 * Serves pam_exec, whose items are in the environment: asks the name service who it is about, and goes on in the entry
 * with a request like the shim's. Modules of the name service may read any file and talk to any server, so whatever deals
 * with a session comes after that, where neither is allowed.
 *
 * @returns the exit code, where there is nothing to ask for, or it cannot be asked
 */
export async function runPamExec(options: {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
}): Promise<number> {
  const type = options.env["AUTHNFT_PAM_TYPE"];
  // The entry's word comes before those of the PAM line.
  const elsewhere = elsewhereIn(options.args.slice(0, 1));
  const args = elsewhere === undefined ? options.args : options.args.slice(1);
  try {
    const items = v.safeParse(ItemsSchema, options.env);
    if (!items.success) {
      throw new Refusal(
        "request",
        `Cannot serve pam_exec for PAM type ${JSON.stringify(type ?? "")}: authnft belongs on a "session" line of the PAM configuration.`,
      );
    }
    const request = toRequest(items.output, args, elsewhere);
    if (request === undefined) return 0;
    const words: string[] = args.filter((word) => word === UNCONFINED);
    if (elsewhere !== undefined) words.push(elsewhereWord(elsewhere));
    becomeProgram(ENTRY, ["session", `pam_exec=${request.type}`, ...words], JSON.stringify(request));
  } catch (error) {
    const refusal =
      error instanceof SystemError
        ? new Refusal("bug", `Cannot go on with the session: ${error.message}; run "authnft install" again.`)
        : error;
    if (!(refusal instanceof Refusal)) throw refusal;
    // That a session cannot be closed is no refusal; its scope's end cleans up.
    if (type === "close_session") {
      log({ level: Level.warning, message: refusal.message });
      return 0;
    }
    reportUnread(refusal);
    tell(`${UNREAD}\n`);
    return error === GONE ? CUT_OFF : 1;
  }
}

/** Nobody is left to take the network from, and whoever has adopted the child must not lose theirs. */
const GONE = new Refusal(
  "request",
  "Cannot tell whose session it is: the process that asked for it is gone; log in again.",
);

/** Makes a request of pam_exec's items; `undefined` for root and for users outside the group. @throws {Refusal} */
function toRequest(
  items: Items,
  args: readonly string[],
  elsewhere: Elsewhere | undefined,
): Request | undefined {
  // In another PID namespace the numbers that we see are not those of the same processes in /proc.
  const seen = elsewhere === "processes" ? undefined : pamProcess();
  const user = resolve(items.AUTHNFT_PAM_USER, seen);
  if (user === undefined) return undefined;
  const pid = elsewhere === "processes" ? process.ppid : seen;
  if (pid === undefined) throw GONE;
  const env: Record<string, string> = {};
  if (items.AUTHNFT_PAM_ENV_CORRELATION !== undefined)
    env[CORRELATION_VARIABLE] = items.AUTHNFT_PAM_ENV_CORRELATION;
  const claims = args.findLast((arg) => arg.startsWith("claims_env="))?.slice("claims_env=".length);
  if (claims !== undefined && items.AUTHNFT_PAM_ENV_CLAIMS !== undefined)
    env[claims] = items.AUTHNFT_PAM_ENV_CLAIMS;
  const opens = items.AUTHNFT_PAM_TYPE === "open_session";
  const needsSockets = opens && args.includes("rhost_policy=kernel");
  const sockets = needsSockets ? [...tcpSocketInodes(pid)].slice(0, SOCKETS) : undefined;
  const quiet = opens ? isReadByProgram(pid) : undefined;
  // Facts read under its number are its own if that still holds now.
  if (elsewhere !== "processes" && !isAsker(pid)) throw GONE;
  return parseRequest(
    JSON.stringify({
      v: REQUEST_VERSION,
      type: opens ? "open" : "close",
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
      groups: opens ? groupsIn(user) : undefined,
      sockets,
      quiet,
    }),
  );
}

/**
 * Whether a program reads the standard output of the PAM process: what pam_exec has the user told is written there by su and
 * sudo, and a script would take it for its own. sshd has its own way to the user, and none to read there.
 */
function isReadByProgram(pid: number): boolean {
  try {
    const output = statSync(`/proc/${pid}/fd/1`);
    return !output.isCharacterDevice();
  } catch {
    return true; // a notice that is missing does less harm
  }
}

/** How many TCP sockets of the PAM process are told; native/shim.h has the same bound. */
const SOCKETS = 64;

/** The groups of a user that there are fragments for; `undefined` when the name service does not tell. */
function groupsIn(user: User): string[] | undefined {
  try {
    return groupFiles(user, groupFragments());
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    log({ level: Level.warning, message: `The groups of ${user.name} cannot be told: ${error.message}.` });
    return undefined;
  }
}

/** @throws {Refusal} `user`, when the name service fails: "cannot know" is not "no" */
function resolve(name: string, pid: number | undefined): ReturnType<typeof findUser> {
  // Bytes that are not text were lost on the way here, and with them the user to ask about.
  if (name.includes("\u{fffd}")) {
    throw new Refusal(
      "user",
      `Cannot tell whether ${JSON.stringify(name.slice(0, 40))} is a member of group ${GROUP}: the name is not UTF-8; have the user renamed, or use the module, which lets others pass.`,
    );
  }
  try {
    const user = findUser(name);
    if (user === undefined || membership()(user, pid)) return user;
    const doubt = doubtAbout(user);
    if (doubt === undefined) return undefined;
    throw new Refusal(
      "user",
      `Cannot tell whether ${shellWord(name)} is a member of group ${GROUP}: ${doubt}; mend it, or if ${shellWord(name)} is none any more, remove the fragment of that name and run "authnft reload".`,
    );
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    if (name === "root") return undefined;
    throw new Refusal(
      "user",
      `Cannot tell whether ${JSON.stringify(name.slice(0, 40))} is a member of group ${GROUP}: ${error.message}; see nsswitch.conf(5).`,
    );
  }
}
