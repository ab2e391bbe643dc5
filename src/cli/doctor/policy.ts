// SPDX-License-Identifier: GPL-2.0-or-later

import { readdirSync } from "node:fs";
import { escapeName, unescapeName } from "../../escaped_name.ts";
import { FRAGMENT_DIRECTORY } from "../../paths.ts";
import { oneLine, Refusal } from "../../refusal.ts";
import { shellWord } from "../../shell_word.ts";
import { findFragment } from "../../subjects/session/find.ts";
import { parseUserName } from "../../subjects/session/user_name.ts";
import { SystemError } from "../../system/ffi/libc.ts";
import { hostCommand } from "../../system/host/host_command.ts";
import { readText } from "../../system/host/text_file.ts";
import { type Check, type Finding, fail, listed, ok, TOLD, warn } from "./finding.ts";

const USERS = `${FRAGMENT_DIRECTORY}/users`;

/** Examines the members' policies: whether each has one, and whether a login would accept it. */
export const POLICY_CHECKS: readonly Check[] = [
  { name: "fragments", run: checkFragments },
  { name: "members", run: checkMembers },
];

async function checkFragments(): Promise<Finding[]> {
  const { check, UnknownName } = await import("../../check/check.ts");
  try {
    const { files, diagnoses, gaps } = await check({
      names: [],
      user: undefined,
      root: "",
      tries: true,
      progress: () => undefined,
    });
    const errors = diagnoses.filter(({ level }) => level === "error");
    if (errors.length === 0) {
      const warnings = diagnoses.length === 0 ? "" : `; "authnft check" warns of ${diagnoses.length}`;
      const said =
        files.length === 0
          ? `There is no fragment below ${FRAGMENT_DIRECTORY}.`
          : `Files of policies that would be accepted: ${files.length}${warnings}.`;
      return [ok([said, ...gaps].join(" "))];
    }
    const told = errors.slice(0, TOLD).map(({ file, line, column, message, advice }) =>
      fail({
        what: `${file}${line === undefined ? "" : `:${line}:${column}`}: ${message}.`,
        why: "The logins for which this file holds, or that include it, are refused.",
        mend: `${advice ?? `edit ${file}`}\nauthnft check`,
      }),
    );
    if (errors.length <= TOLD) return told;
    return [
      ...told,
      fail({
        what: `There are ${errors.length - TOLD} more mistakes in fragments.`,
        why: "The same holds for them.",
        mend: "authnft check",
      }),
    ];
  } catch (error) {
    if (!(error instanceof UnknownName)) throw error;
    return [ok(`There is no ${FRAGMENT_DIRECTORY} yet.`)];
  }
}

async function checkMembers(): Promise<Finding[]> {
  const group = hostCommand("getent", "group", "authnft");
  if (!group?.ok) return [];
  const members = memberNames(group.stdout, readText("/etc/passwd") ?? "");
  const without = await membersWithout(members);
  const files = new Set<string>(members.map((name) => escapeName(name)));
  const others = namesIn(USERS).filter((file) => !files.has(file));
  const misnamed = others.filter((file) => files.has(escapeName(file)));
  const left = others.filter((file) => !misnamed.includes(file));
  const idle = left.length === 0 ? [] : await ofNobody(left);
  const findings: Finding[] = members.flatMap(refusedName).slice(0, TOLD);
  if (without.length > 0) {
    findings.push(
      warn({
        what: `Members without a fragment: ${listed(without.map(oneLine))}.`,
        why: "A member whom no policy covers is refused.",
        mend: [
          `write ${USERS}/<name>, ${FRAGMENT_DIRECTORY}/groups/<group> or ${FRAGMENT_DIRECTORY}/default, or "gpasswd --delete <name> authnft"`,
          ...without
            .filter((name) => escapeName(name) !== name)
            .slice(0, TOLD)
            .map((name) => `that of ${oneLine(name)} is called ${shellWord(`${USERS}/${escapeName(name)}`)}`),
        ].join("\n"),
      }),
    );
  }
  if (misnamed.length > 0) {
    findings.push(
      warn({
        what: `Fragments under a member's name as it is, where it has to be escaped: ${listed(misnamed.map(oneLine))}.`,
        why: "They are never read.",
        mend: misnamed
          .slice(0, TOLD)
          .map((file) =>
            ["mv -n", ...[file, escapeName(file)].map((name) => shellWord(`${USERS}/${name}`))].join(" "),
          )
          .join("\n"),
      }),
    );
  }
  if (idle.length > 0) {
    findings.push(
      warn({
        what: `Fragments for nobody who is known to be a member: ${listed(idle.map(oneLine))}.`,
        why: "They have no effect, unless the name service does not list these members of the group.",
        mend: "usermod --append --groups authnft <name>, or remove the file",
      }),
    );
  }
  const { groupFragments } = await import("../../check/groups.ts");
  const known = new Set(groupFragments().map(({ file }) => file));
  const unknown = namesIn(`${FRAGMENT_DIRECTORY}/groups`).filter((name) => !known.has(name));
  if (unknown.length > 0) {
    findings.push(
      warn({
        what: `Fragments for groups that do not exist: ${listed(unknown)}.`,
        why: "They have no effect.",
        mend: "groupadd <group>, or remove the file",
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

/** Selects the files that are fragments of no member, as far as the name service knows them by name. */
async function ofNobody(files: readonly string[]): Promise<string[]> {
  const { membership } = await import("../../system/host/membership.ts");
  const { findUser } = await import("../../system/ffi/users.ts");
  const isMember = membership();
  return files.filter((file) => {
    const name = unescapeName(file);
    try {
      const user = name === undefined ? undefined : findUser(name);
      return user === undefined || user.name !== name || !isMember(user);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      return true;
    }
  });
}

/** Tells whether no session is opened for a member's name. */
function refusedName(name: string): Finding[] {
  try {
    parseUserName(name);
    return [];
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return [
      fail({
        what: error.message,
        why: "What belongs to a session is called after its user.",
        mend: "have the directory's client give another name, or take the user out of the group",
      }),
    ];
  }
}

/** Selects the members without a fragment: neither their own, nor a group's, nor the default. */
async function membersWithout(members: readonly string[]): Promise<string[]> {
  const { groupFragments, groupFiles } = await import("../../check/groups.ts");
  const { isThere } = await import("../../system/host/files.ts");
  const { findUser } = await import("../../system/ffi/users.ts");
  const groups = groupFragments();
  return members.filter((name) => {
    const user = findUser(name);
    try {
      findFragment({ name, groups: user === undefined ? [] : groupFiles(user, groups) }, isThere);
      return false;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return true;
    }
  });
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

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch {
    return [];
  }
}
