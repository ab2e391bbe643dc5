// SPDX-License-Identifier: GPL-2.0-or-later
import { Command, CommanderError, InvalidArgumentError } from "commander";
import { version } from "../../package.json" with { type: "json" };
import { SWEEP_TIMER } from "../subjects/session/scope_unit.ts";

/** The output's properties that matter to what is written. */
export type Terminal = {
  readonly colour: boolean;
  /** In columns. */
  readonly width: number;
};

const DESCRIPTION = "Gives every login session of the members of group authnft a firewall of its own.";

const OVERVIEW = `
Sessions are opened and closed by PAM and need no command.

Files:
  /etc/authnft/users/<name>      a member's policy, nftables commands; groups/<group> and default serve the others
  /run/authnft/sessions/         live sessions, a record each
  /run/authnft/policy/           their rules as they were loaded, for restore

Examples:
  sudo ./authnft install         lay out the program on this host
  authnft example                policies to begin with
  sudo authnft doctor            find out what is missing or wrong, and how to fix it
  sudo authnft verify            try to get past the policies of live sessions
  sudo authnft restore           bring them back after the ruleset was flushed
  sudo authnft check             find mistakes in the policies before a login does
  sudo nft list table inet authnft
                                 the sessions' rules, as they are in force
  journalctl -t pam_authnft      what happened to sessions, and why one was refused

See pam_authnft(8) for the PAM line and its arguments, and authnft-fragment(5) for what a policy may say.`;

/** How long `verify` tries unless it is told, in seconds: some hundred sessions take no longer. */
const VERIFY_SECONDS = 120;

/** A number of seconds, a day at most. */
function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (!/^[1-9][0-9]{0,4}$/.test(text) || seconds > 86_400)
    throw new InvalidArgumentError("Expected a whole number of seconds, 1 to 86400.");
  return seconds;
}

/**
 * Runs an administrator's verb.
 *
 * @returns the exit code: 0 done, 1 failure or findings, 2 wrong usage
 */
export async function runProgram(args: readonly string[], terminal: Terminal): Promise<number> {
  let code = 0;
  const program = new Command("authnft")
    .description(DESCRIPTION)
    .version(`authnft ${version}`, "-V, --version", "print the version")
    .helpOption("-h, --help", "print help")
    .helpCommand("help [verb]", "print help for a verb")
    .usage("<verb> [options]")
    .addHelpText("after", OVERVIEW)
    .configureOutput({ getOutHasColors: () => terminal.colour, getErrHasColors: () => terminal.colour })
    .configureHelp({ styleTitle: (title) => (terminal.colour ? `\x1b[1m${title}\x1b[22m` : title) })
    .showHelpAfterError('(run "authnft --help" to see what there is)')
    .exitOverride();

  program
    .command("install")
    .description("Lay out the program on this host, or below a directory for a package.")
    .option("--root <directory>", "lay out below this directory, and start nothing")
    .addHelpText(
      "after",
      `
Puts the PAM module where this distribution's modules are, makes the group authnft and its directories, and loads the
firewall table now and at each boot. Changes nothing in /etc/pam.d: it prints the lines to add there. Safe to repeat;
running it from a newer authnft is the upgrade, and live sessions keep their rules.

Examples:
  sudo ./authnft install
  ./authnft install --root debian/authnft`,
    )
    .action(async (options: { root?: string }) => {
      code = await (await import("./install.ts")).runInstall({ root: options.root });
    });

  program
    .command("uninstall")
    .description("Take away what install laid out.")
    .option("--root <directory>", "take away below this directory, and stop nothing")
    .option("--force", "even if PAM still names the program or a session is open")
    .addHelpText(
      "after",
      `
Refuses while a file in /etc/pam.d names the program, since logins would then fail, and while a session lives. What you
wrote yourself stays: policies below /etc/authnft, and the group with its members.

Examples:
  sudo authnft uninstall
  sudo authnft uninstall --force`,
    )
    .action(async (options: { root?: string; force?: true }) => {
      code = await (await import("./uninstall.ts")).runUninstall({
        root: options.root,
        force: options.force === true,
      });
    });

  program
    .command("doctor")
    .description("Examine this host: what is missing or wrong, why it matters and how to fix it.")
    .option("--json", "print the findings as JSON")
    .addHelpText(
      "after",
      `
Changes nothing. Kernel features are tried in a network namespace of their own. Exits with 1 if anything failed;
warnings alone exit with 0.

Examples:
  sudo authnft doctor
  sudo authnft doctor --json | jq '.findings[] | select(.level != "ok")'`,
    )
    .action(async (options: { json?: true }) => {
      code = await (await import("./doctor.ts")).runDoctor({ json: options.json === true, ...terminal });
    });

  program
    .command("example")
    .argument("[name]", "the example to print; without it, a list of all")
    .description("Print an example fragment, or list the examples.")
    .addHelpText(
      "after",
      `
The addresses in them are reserved for documentation (192.0.2.10, 198.51.100.0/24, 2001:db8::/32): replace them by yours.
The files are also in /usr/share/doc/authnft/examples; authnft-fragment(5) describes all that a fragment may hold.

Examples:
  authnft example
  authnft example web-only | sudo tee /etc/authnft/users/alice`,
    )
    .action(async (name: string | undefined) => {
      code = (await import("./example.ts")).runExample(name);
    });

  program
    .command("check")
    .argument("[file or user...]", "what to check; every file below /etc/authnft when left out")
    .description(
      "Check policies as a login would, and say what is wrong or probably unintended, where, and what to write instead.",
    )
    .option(
      "--user <name>",
      "check the fragment that holds for this user, or files as if they were that user's",
    )
    .option("--root <directory>", "check the copy of /etc/authnft below this directory")
    .option("--json", "print what was found as JSON")
    .addHelpText(
      "after",
      `
As root it also loads each policy behind the real table in a private network namespace, to hear what nftables says; the
rules in force do not change. Others get the syntax checked. A file elsewhere, such as one that a tool is about to put in
place, is checked as if it were a fragment. Warnings are about rules that are allowed but probably unintended.

Exits with 0 if logins would take everything, with 1 if not, with 2 if a file or user is not there.

Examples:
  sudo authnft check                            everything
  sudo authnft check --user alice               which fragment holds for alice, why, and is it right?
  sudo authnft check --user alice /tmp/new      before it becomes alice's: "validate" of configuration management
  authnft check --root . etc/authnft/default    in a repository, without root, before a commit
  sudo authnft check --json | jq '.errors[]'`,
    )
    .action(async (names: string[], options: { user?: string; root?: string; json?: true }) => {
      code = await (await import("./check.ts")).runCheck(names, {
        user: options.user,
        root: options.root,
        json: options.json === true,
        ...terminal,
      });
    });

  program
    .command("restore")
    .description("Load the table, and put every live session back under its rules.")
    .addHelpText(
      "after",
      `
Runs by itself at boot and whenever nftables.service was started, reloaded or stopped. Run it after anything else that
flushed the ruleset. One transaction: no packet is judged by half of it. A cgroup without a record has no network. Counters
and quotas of the sessions start again.

Example:
  sudo nft flush ruleset && sudo nft -f my.nft && sudo authnft restore`,
    )
    .action(async () => {
      code = await (await import("./restore.ts")).runRestore();
    });

  program
    .command("sweep")
    .description("Remove what sessions left behind whose clean-up failed.")
    .option("--dry-run", "show it, and remove nothing")
    .option("--json", "print what was found as JSON")
    .addHelpText(
      "after",
      `
Runs daily by itself, from ${SWEEP_TIMER}, and with every restore. Nothing should ever be found; findings are in the
journal. Each is looked at again after five seconds, since a session may be ending. Exits with 1 if something could not be
removed.

Examples:
  sudo authnft sweep --dry-run
  journalctl -t pam_authnft -g "Swept away"`,
    )
    .action(async (options: { dryRun?: true; json?: true }) => {
      code = await (await import("./sweep.ts")).runSweep({
        dryRun: options.dryRun === true,
        json: options.json === true,
      });
    });

  program
    .command("reload")
    .argument("[user or session...]", "users, or sessions by their scopes")
    .description("Give open sessions the policy as it now stands, and look who is a member now.")
    .option("--all", "every session that is open")
    .addHelpText(
      "after",
      `
Each session changes in one transaction: no packet is judged by a mixture. Where a fragment has a mistake, the session
keeps the rules that it has, and the exit code is 1. Counters and quotas of the sessions start again.

Membership is looked up as well. What a new member runs outside of sessions is closed; a former member's is open again, and
logins from now on are not filtered, while open sessions keep their rules until they end.

Examples:
  sudo authnft reload alice
  sudo authnft reload --all
  sudo gpasswd --delete alice authnft && sudo authnft reload alice`,
    )
    .action(async (whom: string[], { all }: { all?: true }) => {
      if ((all === true) === whom.length > 0) {
        console.error("authnft reload: name users or sessions, or say --all.");
        code = 2;
        return;
      }
      code = await (await import("./reload.ts")).runReload(whom);
    });

  program
    .command("release")
    .argument("<session...>", "scopes, as the user was told at login")
    .description("Give processes that outlived a session its rules back.")
    .addHelpText(
      "after",
      `
They keep them until their scope ends. The address filter that was derived from the policy does not come back. To end the
processes instead: systemctl stop <session>.

Example:
  sudo authnft release authnft-alice-4711.scope`,
    )
    .action(async (units: string[]) => {
      code = await (await import("./release.ts")).runRelease(units);
    });

  program
    .command("verify")
    .argument("[session|user]", "a session's scope, or a user with all of theirs; everything when left out")
    .description("Try to get past the policies of live sessions, and report what got through.")
    .option("--json", "print the table as JSON")
    .option(
      "--seconds <number>",
      "stop after this long; the rest is reported as untried",
      parseSeconds,
      VERIFY_SECONDS,
    )
    .addHelpText(
      "after",
      `
Enters each session's cgroup as its user and tries every protocol, family, direction and detour, over the loopback: no
packet leaves this host. What a policy lets through is learnt by trying the same in a private network, under the rules as
they were loaded. Changes nothing; but what is tried is counted, logged and limited like the session's own packets. Exits
with 1 if something got through that should not, the rules are not those that were loaded, or it cannot be told. Of a
process of no session: authnft verify authnft.slice.

  leak       got through although the policy does not let it, or unjudged
  harm       something of somebody else's did not arrive, because of the member
  changed    the rules in force are not those that were loaded
  unknown    it could not be found out
  lost       the policy lets it through, but it did not get through
  outside    belongs to another, whose freedom it has
  untried    it could not be tried here, or there was no time

Examples:
  sudo authnft verify
  sudo authnft verify alice
  sudo authnft verify authnft-alice-4711.scope --json | jq '.findings[].rows[] | select(.verdict != "ok")'`,
    )
    .action(async (name: string | undefined, options: { json?: true; seconds: number }) => {
      code = await (await import("./verify.ts")).runVerify(name, {
        json: options.json === true,
        seconds: options.seconds,
        ...terminal,
      });
    });

  program
    .command("trace")
    .description("Print which system calls the helper makes once it is confined; also as --trace.")
    .option("--user <name>", "whose sessions are opened; the first member who has a fragment when left out")
    .option("--diff", "print how the list that the filter is made of differs from them")
    .option("--json", "print them, or the difference, as JSON")
    .addHelpText(
      "after",
      `
Opens and closes sessions for real, and does what else the helper does, with a process of its own in place of a login's and
a supervisor in the filter's place. What it makes is gone afterwards; the log and the audit trail keep what they were told,
and counters and quotas of sessions that are open begin anew, as with "authnft restore". Exits with 1 if a call is missing
from the list, or something did not work.

Examples:
  sudo authnft --trace
  sudo authnft --trace --diff
  sudo authnft --trace --user alice --json | jq '.calls[] | select(.call == "openat") | .what'`,
    )
    .action(async (options: { user?: string; diff?: true; json?: true }) => {
      code = await (await import("./trace.ts")).runTrace({
        user: options.user,
        diff: options.diff === true,
        json: options.json === true,
        ...terminal,
      });
    });

  // Verbs inherit neither of these from the program.
  for (const verb of program.commands) {
    verb.helpOption("-h, --help", "print help").exitOverride();
    verb.showHelpAfterError(`(run "authnft ${verb.name()} --help" to see what it takes)`);
    verb.allowExcessArguments(false);
  }

  if (args.length === 0) {
    program.outputHelp({ error: true });
    return 2;
  }
  try {
    // "--trace" is the verb's other name.
    const words = args[0] === "--trace" ? ["trace", ...args.slice(1)] : args;
    await program.parseAsync(words, { from: "user" });
    return code;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Asked-for help and version come as errors too, with code 0; whatever else commander throws is wrong usage.
    return error.exitCode === 0 ? 0 : 2;
  }
}
