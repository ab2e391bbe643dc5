// SPDX-License-Identifier: GPL-2.0-or-later

import { SystemError } from "../../system/ffi/libc.ts";
import { silentSources, sourcesIn } from "../../system/ffi/name_sources.ts";
import { findGroup, findUser, findUserById, GROUP, type User } from "../../system/ffi/users.ts";
import { hostCommand } from "../../system/host/host_command.ts";
import { type LocalFiles, localFiles, membership } from "../../system/host/membership.ts";
import { readText } from "../../system/host/text_file.ts";
import { type Check, type Finding, fail, listed as listedNames, ok, TOLD, warn } from "./finding.ts";

/** How long a source of the name service may take, in seconds. */
const PATIENCE = "10";

/** How many names are asked for at once: a command line has an end. */
const BATCH = 1000;

/** Finds users that the name service knows more than once. A login asks less: it must not wait for thousands of answers. */
export const NAME_CHECKS: readonly Check[] = [{ name: "names", run: checkNames }];

function checkNames(): Finding[] {
  const files = localFiles();
  const names = memberNames(files);
  const groups = groupEntries();
  const findings = [
    ...sharedUids(files, names),
    ...secondGroups(groups),
    ...secondUsers(files, names),
    ...membersElsewhere(files, groups),
    ...silent(),
  ];
  return findings.length > 0
    ? findings
    : [ok("No member's uid has a second name, and no second entry hides.")];
}

/** The members that a group's entry lists, and the local users who have the group for primary group. */
function memberNames({ users, groups }: LocalFiles): string[] {
  const ours = [findGroup(GROUP), ...groups.filter(({ name }) => name === GROUP)].filter(
    (group) => group !== undefined,
  );
  const gids = new Set(ours.map(({ gid }) => gid));
  const primary = users.filter(({ gid }) => gids.has(gid)).map(({ name }) => name);
  return [...new Set([...ours.flatMap(({ members }) => members), ...primary])].sort();
}

function sharedUids(files: LocalFiles, members: readonly string[]): Finding[] {
  const local = new Set(files.users.map(({ name }) => name));
  const distant = members.filter((name) => !local.has(name)).flatMap((name) => found(() => findUser(name)));
  const byNumber = distant.flatMap(({ uid }) => found(() => findUserById(uid)));
  const isMember = membership(files);
  const listed = new Set(members);
  const shared = severalNames([...files.users, ...distant, ...byNumber]).filter(
    ([first, ...others]) =>
      [first, ...others].some(({ name }) => listed.has(name)) ||
      found(() => isMember(first) || undefined).length > 0,
  );
  const told = shared.slice(0, TOLD).map((users) =>
    fail({
      what: `The uid ${users[0].uid} of a member has several names: ${users.map(({ name }) => name).join(", ")}.`,
      why: "The kernel knows the uid only, so they share processes, files and the service manager, and each is filtered, by the fragment of the name that logs in. With pam_exec, whose guard goes by name, the others are held by the closed slice alone, or by nothing.",
      mend: 'give each a uid of its own, by "usermod --uid <number> <name>", or remove the others, by "userdel <name>"',
    }),
  );
  if (shared.length <= TOLD) return told;
  return [
    ...told,
    fail({
      what: `There are ${shared.length - TOLD} more uids of members with several names.`,
      why: "The same holds for them.",
      mend: "find out what makes such accounts",
    }),
  ];
}

/** Groups users by uid where there are several names for it, uid 0 left out: it is never filtered. */
export function severalNames(users: readonly User[]): [User, ...User[]][] {
  const byUid = new Map<number, Map<string, User>>();
  for (const user of users) {
    const known = byUid.get(user.uid) ?? new Map<string, User>();
    byUid.set(user.uid, known.set(user.name, user));
  }
  return [...byUid].flatMap(([uid, known]) => {
    const [first, ...others] = [...known.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
    return uid === 0 || first === undefined || others.length === 0 ? [] : [[first, ...others]];
  });
}

/** The entries of our group that the sources have, where there are several sources. */
type GroupEntry = { readonly source: string; readonly gid: string; readonly members: ReadonlySet<string> };

function groupEntries(): GroupEntry[] {
  return sourcesOf("group", readText("/etc/nsswitch.conf") ?? "").flatMap((source) => {
    const [, , gid, list = ""] = ask(source, "group", [GROUP])[0] ?? [];
    return gid === undefined ? [] : [{ source, gid, members: new Set(list.split(",")) }];
  });
}

function secondGroups(entries: readonly GroupEntry[]): Finding[] {
  if (new Set(entries.map(({ gid }) => gid)).size < 2) return [];
  return [
    warn({
      what: `There are several groups ${GROUP}: ${entries.map(({ source, gid }) => `${gid} of ${source}`).join(", ")}.`,
      why: "The name service tells the first and hides the others. The module filters the members of all as far as it can tell; pam_exec's guard and most tools know the first only.",
      mend: "keep one of them, or give them one number",
    }),
  ];
}

/** Names local users of whom the local files do not say that they are members, and another source does. */
function membersElsewhere({ users, groups }: LocalFiles, entries: readonly GroupEntry[]): Finding[] {
  const ours = groups.filter(({ name }) => name === GROUP);
  const listed = new Set(ours.flatMap(({ members }) => members));
  const isLocal = (name: string, gid: number): boolean =>
    listed.has(name) || ours.some((group) => group.gid === gid);
  const told = users.flatMap(({ name, uid, gid }) => {
    const from = entries.find(({ source, members }) => source !== "files" && members.has(name));
    return from === undefined || uid === 0 || isLocal(name, gid) ? [] : [`${name} (${from.source})`];
  });
  if (told.length === 0) return [];
  return [
    warn({
      what: `Local users whom another source alone makes members: ${listedNames(told)}.`,
      why: "While it does not answer, the name service says that they are none, not that it cannot tell: whoever has a fragment, or had a session since the boot, is refused meanwhile, and the others log in unfiltered.",
      mend: `usermod --append --groups ${GROUP} <name>`,
    }),
  ];
}

/** Names the sources that do not answer now. */
function silent(): Finding[] {
  const sources = silentSources();
  if (sources.length === 0) return [];
  return [
    warn({
      what: `Sources that /etc/nsswitch.conf names, and that do not answer: ${sources.join(", ")}.`,
      why: "The name service passes over them without a word. Whoever is a member by one of them alone is refused where there is a fragment of that name, or was a session since the boot, and logs in unfiltered otherwise.",
      mend: "see that they answer, or take them out of /etc/nsswitch.conf",
    }),
  ];
}

function secondUsers({ users }: LocalFiles, members: readonly string[]): Finding[] {
  const sources = sourcesOf("passwd", readText("/etc/nsswitch.conf") ?? "");
  const hidden = new Map<string, string>();
  const listed = new Set(members);
  const local = new Map<string, number>();
  for (const { name, uid } of users) {
    const known = local.get(name) ?? uid;
    local.set(name, known);
    if (known !== uid && listed.has(name))
      hidden.set(name, `${name} (${known}, and ${uid} further below in /etc/passwd)`);
  }
  for (let at = 0; at < members.length; at += BATCH) {
    const names = members.slice(at, at + BATCH);
    const first = new Map<string, string>();
    for (const source of sources)
      for (const [name = "", , uid = ""] of ask(source, "passwd", names)) {
        const known = first.get(name);
        if (known === undefined) first.set(name, uid);
        else if (known !== uid) hidden.set(name, `${name} (${known}, and ${uid} of ${source})`);
      }
  }
  if (hidden.size === 0) return [];
  return [
    warn({
      what: `Members whom the name service knows twice, with different uids: ${listedNames([...hidden.values()])}.`,
      why: "The first is who logs in; the other is hidden, but may own files, and run what was started by its number.",
      mend: "remove one of the two, or give them one uid",
    }),
  ];
}

/** Returns the sources of a database, by nsswitch.conf(5). None where there is one only: it hides nobody. */
export function sourcesOf(database: string, text: string): string[] {
  const sources = sourcesIn(database, text);
  return sources.length > 1 ? sources : [];
}

/** The entries that one source has for these names, in fields. */
function ask(source: string, database: string, names: readonly string[]): string[][] {
  const answer = hostCommand("timeout", PATIENCE, "getent", "-s", source, database, "--", ...names);
  return (answer?.stdout ?? "")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.split(":"));
}

/** Nothing where the name service fails: that is reported elsewhere. */
function found<Value>(look: () => Value | undefined): Value[] {
  try {
    const value = look();
    return value === undefined ? [] : [value];
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    return [];
  }
}
