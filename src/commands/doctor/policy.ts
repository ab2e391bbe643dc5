// SPDX-License-Identifier: GPL-2.0-or-later
import { readdirSync } from "node:fs";
import { compileFragment } from "../../policy/compile.ts";
import { FRAGMENT_DIRECTORY, readFragment } from "../../policy/read.ts";
import { Refusal } from "../../refusal.ts";
import { hostCommand } from "../../system/host_command.ts";
import { readText } from "../../system/text_file.ts";
import { type Check, type Finding, fail, faultOf, ok, warn } from "./finding.ts";

const USERS = `${FRAGMENT_DIRECTORY}/users`;

/** The members' policies: whether each has one, and whether it would be accepted. */
export const POLICY_CHECKS: readonly Check[] = [
  { name: "fragments", run: checkFragments },
  { name: "members", run: checkMembers },
];

async function checkFragments(): Promise<Finding[]> {
  const { readTrusted } = await import("../../system/files.ts");
  const names = fragmentNames();
  const faults = names.flatMap((name): Finding[] => {
    const path = `${USERS}/${name}`;
    try {
      const fragment = readFragment(path, (file, sizeLimit) =>
        readTrusted(file, { top: FRAGMENT_DIRECTORY, sizeLimit }),
      );
      // An address of the documentation range stands for the one that the session will have.
      const subject = { id: 1000, name, address: { family: "ip", text: "192.0.2.1" } } as const;
      compileFragment(fragment, { path, prefix: "trial", level: 2, subject });
      return [];
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return [fail(faultOf(error.message, `The logins of ${name} are refused.`, `edit ${path}`))];
    }
  });
  if (faults.length > 0) return faults;
  return [
    ok(
      names.length === 0
        ? `There is no fragment in ${USERS}.`
        : `Fragments that would be accepted: ${names.length}.`,
    ),
  ];
}

function checkMembers(): Finding[] {
  const group = hostCommand("getent", "group", "authnft");
  if (!group?.ok) return [];
  const members = memberNames(group.stdout, readText("/etc/passwd") ?? "");
  const fragments = new Set(fragmentNames());
  const without = members.filter((name) => !fragments.has(name));
  const idle = [...fragments].filter((name) => !members.includes(name));
  const findings: Finding[] = [];
  if (without.length > 0) {
    findings.push(
      warn({
        what: `Members without a fragment: ${without.join(", ")}.`,
        why: "A member whom no policy covers is refused.",
        mend: `write ${USERS}/<name>, or "gpasswd --delete <name> authnft"`,
      }),
    );
  }
  if (idle.length > 0) {
    findings.push(
      warn({
        what: `Fragments for nobody who is known to be a member: ${idle.join(", ")}.`,
        why: "They have no effect, unless the name service does not list these members of the group.",
        mend: "usermod --append --groups authnft <name>, or remove the file",
      }),
    );
  }
  if (findings.length > 0) return findings;
  return [
    ok(
      members.length === 0
        ? "The group authnft has no members yet."
        : `Members with a fragment: ${members.length}.`,
    ),
  ];
}

/**
 * The members of the group, uid 0 left out: it is never filtered.
 *
 * @param group the group's line as getent prints it
 * @param passwd the local users; whose primary group it is stands there
 */
export function memberNames(group: string, passwd: string): string[] {
  const [, , gid, list = ""] = group.trim().split(":");
  const users = passwd.split("\n").map((line) => line.split(":"));
  const roots = new Set(users.filter((fields) => fields[2] === "0").map((fields) => fields[0]));
  const primary = users.filter((fields) => fields[3] === gid).map((fields) => fields[0] ?? "");
  const names = new Set([...list.split(","), ...primary]);
  return [...names].filter((name) => name !== "" && !roots.has(name)).sort();
}

function fragmentNames(): string[] {
  try {
    return readdirSync(USERS).sort();
  } catch {
    return [];
  }
}
