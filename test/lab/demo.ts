// SPDX-License-Identifier: GPL-2.0-or-later

// `npm run demo`: one login, from before it to after it, on a real Debian. What is shown is what happened: the demo
// ends with an error when a step does not turn out as it says.
//
//   npm run demo                    on Debian 12
//   npm run demo -- --release trixie --through exec

import { parseArgs, styleText } from "node:util";
import { type Lab, type PamHook, type Release, releases, up, waitFor } from "./lab.ts";
import { hookLines } from "./pam.ts";
import { elapsed } from "./progress.ts";

const HELP = `Usage: npm run demo -- [--release ${releases.join("|")}] [--through shim|exec]

Boots a disposable Debian, installs the build, logs a member in by ssh, and shows the session's firewall at work.`;

const { values } = parseArgs({
  args: process.argv.slice(2),
  options: {
    release: { type: "string", default: "bookworm" },
    through: { type: "string", default: "shim" },
    help: { type: "boolean", short: "h", default: false },
  },
});
if (values.help) {
  console.log(HELP);
  process.exit(0);
}
if (!(releases as readonly string[]).includes(values.release) || !["shim", "exec"].includes(values.through)) {
  console.error(HELP);
  process.exit(2);
}

const FRAGMENT = `# What alice may do with the network.
add rule inet authnft egress ip daddr 10.88.0.2 accept
add rule inet authnft egress ip daddr 10.88.0.0/24 reject
`;

const start = performance.now();
{
  await using lab = await up({ release: values.release as Release });
  await lab.install();
  await show(lab, { through: values.through as PamHook["through"] });
}
console.log(`\n${paint("green", "That was all of it")}, in ${elapsed(start)}. The Debian is gone, too.`);
console.log(`A shell in one of your own: npm run lab -- shell ${values.release}`);
process.exit(0);

async function show(lab: Lab, hook: PamHook): Promise<void> {
  heading("An administrator gives alice a policy, and puts our line into /etc/pam.d/sshd");
  await lab.fragment("alice", FRAGMENT);
  await lab.pam("sshd", hook);
  file("/etc/authnft/users/alice", FRAGMENT);
  file("/etc/pam.d/sshd", hookLines(hook).join("\n"));

  heading("Before she logs in, the table knows nobody");
  print(await chains(lab));

  heading("alice logs in from 10.77.0.2");
  command("ssh alice@10.77.0.1");
  await using alice = lab.sshStart("alice", "bash");
  const type = async (line: string): Promise<string> => {
    alice.write(`${line}\necho "==$?"\n`);
    const answer = await alice.expect(/([\s\S]*?)==(\d+)\n/);
    return answer[1]?.trim() ?? "";
  };
  const cgroup = await type("grep ^0:: /proc/self/cgroup");
  print(cgroup);
  expect(cgroup.startsWith("0::/authnft.slice/authnft-alice-"), "her shell is in a scope of its own");

  heading("Her session has rules that nobody else has");
  command("nft list table inet authnft");
  print(await chains(lab));

  heading("What her policy permits, passes; what it forbids, is refused at once");
  await attempt(type, "probe tcp 10.88.0.2 7001", "ok");
  await attempt(type, "probe tcp 10.88.0.3 7001", "refused");
  command("dave, no member, from a login of his own: probe tcp 10.88.0.3 7001");
  const dave = await lab.ssh("dave", "probe tcp 10.88.0.3 7001");
  print(dave.stdout.trim());
  expect(dave.stdout.trim() === "ok", "others are not affected");

  heading("alice leaves something behind and logs out");
  command("nohup sh -c 'sleep 2; probe tcp 10.88.0.2 7001 >left-behind' &");
  await type("nohup sh -c 'sleep 2; probe tcp 10.88.0.2 7001 >left-behind' >/dev/null 2>&1 &");
  command("exit");
  alice.write("exit\n");
  await alice.exited;
  await waitFor(async () => !(await lab.ruleset()).includes("session_alice"), { what: "the rules gone" });
  print(await chains(lab));
  expect(true, "her rules are gone");
  const left = await waitFor(
    async () => (await lab.run("cat /home/alice/left-behind")).stdout.trim() || undefined,
    {
      what: "an answer",
    },
  );
  print(`left-behind: ${left}`);
  // Which answer is the lock's to say: the rules' own reset does not get past it.
  expect(
    /^(refused|unreachable|eperm)$/.test(left),
    "what she left behind has no network, not even where she had it",
  );

  heading("The journal has it all");
  command("journalctl -t pam_authnft -o cat");
  print((await lab.journal()).map((entry) => entry["MESSAGE"]).join("\n"));
}

/** The part of the table that is about sessions, as nft prints it. */
async function chains(lab: Lab): Promise<string> {
  const blocks = (await lab.ruleset()).trim().split("\n").slice(1, -1).join("\n").split("\n\n");
  return blocks
    .filter((block) => /chain session_|map session_out|set session_map_ipv4/.test(block))
    .join("\n");
}

async function attempt(
  type: (line: string) => Promise<string>,
  line: string,
  expected: string,
): Promise<void> {
  command(line);
  const answer = await type(line);
  print(answer);
  expect(answer === expected, answer === "ok" ? "permitted" : "forbidden");
}

function expect(truth: boolean, what: string): void {
  if (!truth)
    throw new Error(
      `The demo did not turn out as it should: not "${what}". Please report it with the output above.`,
    );
  console.log(`  ${paint("green", "✓")} ${what}`);
}

function heading(text: string): void {
  console.log(`\n${paint("bold", text)}`);
}

function command(line: string): void {
  console.log(paint("cyan", `  $ ${line}`));
}

function file(path: string, text: string): void {
  console.log(paint("cyan", `  ${path}`));
  print(text.trimEnd());
}

function print(text: string): void {
  for (const line of text.split("\n")) console.log(paint("dim", `    ${line.replaceAll("\t", "  ")}`));
}

function paint(style: Parameters<typeof styleText>[0], text: string): string {
  return process.stdout.isTTY && !process.env["NO_COLOR"] ? styleText(style, text) : text;
}
