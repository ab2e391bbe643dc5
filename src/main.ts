// SPDX-License-Identifier: GPL-2.0-or-later

// Arguments and environment become one command. This is the only reader of either.
// The verbs that a login waits for come first, and load nothing but themselves.

import { oneLine } from "./refusal.ts";

/** Runs the command and returns the exit code: 0 done, 1 failure, refusal or findings, 2 wrong usage. */
async function run(args: readonly string[]): Promise<number> {
  const [verb, ...rest] = args;
  switch (verb) {
    case "traced":
      // Of the entry's command line, and of none that PAM has a part in (native/entry.c).
      await beTraced();
      return await run(rest);
    case "session":
      return (await import("./cli/session.ts")).runSession({
        sandbox: !rest.includes("AUTHNFT_NO_SANDBOX=1"),
        pamExec: pamExecIn(rest),
        elsewhere: (await import("./subjects/session/elsewhere.ts")).elsewhereIn(rest),
        since: sinceIn(rest),
      });
    case "pam":
      return (await import("./cli/pam.ts")).runPamExec({ args: rest, env: process.env });
    case "end": {
      const [unit, ...more] = rest;
      if (unit === undefined || more.length > 0) return usage("end <scope unit>");
      return (await import("./cli/end.ts")).runEnd(unit);
    }
    case "cover": {
      await noteWayIn();
      const [uid, ...more] = rest;
      if (more.length > 0) return usage("cover [user number]");
      return (await import("./cli/close_slice.ts")).runCover(uid);
    }
    case "sources":
      return (await import("./cli/sources.ts")).runSources();
    case "seal":
      if (rest.length > 0) return usage("seal");
      return (await import("./cli/seal.ts")).runSeal();
    case "try":
    case "try-login":
      return await (await import("./cli/try.ts")).runTry();
    case "cover-users":
      return (await import("./cli/close_slice.ts")).runCoverUsers(rest.map(Number));
    case "reload-sessions":
      await noteWayIn();
      return (await import("./cli/reload.ts")).runReloadSessions();
    case "trace-stand-in":
      return await (await import("./trace/fake_pam_client.ts")).runStandIn();
    case "try-rules":
      return (await import("./engine/apart.ts")).runTryRules();
    case "verify-probe":
      return (await import("./verify/probe.ts")).runProbe();
    default: {
      await noteWayIn();
      const { runProgram } = await import("./cli/program.ts");
      return runProgram(args, {
        colour: process.stdout.isTTY && !process.env["NO_COLOR"],
        width: process.stdout.columns ?? 100,
      });
    }
  }
}

/** The entry alone sets this variable: whoever else does is root. */
async function noteWayIn(): Promise<void> {
  if (process.env["AUTHNFT_CONFINED"] === "1") (await import("./cli/way_in.ts")).noteConfined();
}

async function beTraced(): Promise<void> {
  const [{ confineBy }, { awaitSupervision }] = await Promise.all([
    import("./confine/seccomp.ts"),
    import("./system/ffi/seccomp_notify.ts"),
  ]);
  confineBy(awaitSupervision);
}

/** Returns the purpose of a request that this program made for pam_exec. */
function pamExecIn(words: readonly string[]): "open" | "close" | undefined {
  if (words.includes("pam_exec=open")) return "open";
  return words.includes("pam_exec=close") ? "close" : undefined;
}

/** When the entry let this program begin, in milliseconds since the host was started; `undefined` where it did not wait. */
function sinceIn(words: readonly string[]): number | undefined {
  const [, since] = /^since=(\d{1,15})$/.exec(words.find((word) => word.startsWith("since=")) ?? "") ?? [];
  return since === undefined ? undefined : Number(since);
}

function usage(form: string): number {
  console.error(`Usage: authnft ${form}, as its unit calls it.`);
  return 2;
}

const AUTHPRIV_ERR = (10 << 3) | 3; // syslog(3)

/**
 * Says what went wrong where nobody caught it: a bug, or a host that the program cannot run on, such as one whose
 * libraries are missing. Then the program's own way to the journal may be missing too.
 */
async function complain([first, second]: readonly string[], error: unknown): Promise<void> {
  const verb = first === "traced" ? second : first;
  const complaint = oneLine(`authnft: ${error instanceof Error ? error.message : error}`);
  // Nobody sees what these write to standard error.
  if (verb === "session" || verb === "pam")
    await (await import("./system/systemd/journal_stream.ts")).writeToJournal(
      "pam_authnft",
      AUTHPRIV_ERR,
      complaint,
    );
  // Last, for what the runtime does to write there may be more than a confined process may.
  console.error(complaint);
}

const args = process.argv.slice(2);
try {
  process.exit(await run(args));
} catch (error) {
  await complain(args, error);
  process.exit(1);
}
