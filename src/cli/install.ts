// SPDX-License-Identifier: GPL-2.0-or-later

import { existsSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { version } from "../../package.json" with { type: "json" };
import { ENTRY, LIBRARY } from "../paths.ts";
import { REFUSED_UNIT, SEAL_UNITS, SWEEP_TIMER } from "../subjects/session/scope_unit.ts";
import { hostCommand, type Outcome } from "../system/host/host_command.ts";
import { pamDirectory } from "../system/host/pam_directory.ts";
import { type Change, type Content, placeDirectory, placeFile, placeLink } from "../system/host/placement.ts";
import { builtExecutable, dataFiles, readData, readPiece } from "../system/host/shipped.ts";
import { mountOf, parseMountinfo } from "../system/kernel/mounts.ts";
import { DIRECTORIES, type Directory, FORMER, type Item, layout, RUNTIME_DIRECTORIES } from "./layout.ts";
import { EXEC_LINES, SHIM_LINE } from "./pam_lines.ts";

/**
 * Lays out the program on this host and sets it going, or below a directory only.
 *
 * @returns the exit code
 */
export async function runInstall(options: { readonly root: string | undefined }): Promise<number> {
  const live = options.root === undefined;
  if (live && process.geteuid?.() !== 0) {
    console.error(
      "Cannot install authnft: only root can; run it with sudo, or give --root DIRECTORY to make a package.",
    );
    return 1;
  }
  const root = resolve(options.root ?? "/");
  const modules = pamDirectory(root);
  if (modules === undefined) {
    console.error(
      "Cannot install authnft: there is no directory with pam_unix.so, so the PAM module has no place; install PAM first.",
    );
    return 1;
  }
  try {
    console.log(`authnft ${version}${live ? "" : `, below ${root}`}:`);
    for (const { path, change } of layOut(layout(modules, dataFiles()), { root, contentOf, live })) {
      console.log(`  ${change.padEnd(9)}  ${path}`);
    }
    for (const path of FORMER) rmSync(join(root, path), { force: true });
    if (live) {
      const running = makeGroup(root) && startUnits();
      warnOfNoexec();
      console.log(nextSteps());
      return running ? 0 : 1;
    }
    if (existsSync(join(root, "etc/group"))) return makeGroup(root) ? 0 : 1;
    console.log(
      "Nothing was started. The group authnft is made by sysusers.d where the package is installed.",
    );
    return 0;
  } catch (error) {
    console.error((error as Error).message);
    return 1;
  }
}

/**
 * Puts directories and files in their places below a root.
 *
 * @param contentOf what an item holds
 * @param live whether this is the system that runs: only then is there a /run to fill
 * @returns what was done, in order
 * @throws {Error} a sentence that names the path and the cause
 */
export function layOut(
  items: readonly Item[],
  options: {
    readonly root: string;
    readonly contentOf: (item: Exclude<Item, { kind: "link" }>) => Content;
    readonly live: boolean;
  },
): { readonly path: string; readonly change: Change }[] {
  const directories: readonly Directory[] = options.live
    ? [...DIRECTORIES, ...RUNTIME_DIRECTORIES]
    : DIRECTORIES;
  return [
    ...directories.map(({ path, mode, keep }) => ({
      path: `${path}/`,
      change: placeDirectory(join(options.root, path), mode, keep),
    })),
    ...items.map((item) => {
      const path = join(options.root, item.path);
      if (item.kind === "link") return { path: item.path, change: placeLink(path, item.target) };
      return { path: item.path, change: placeFile(path, options.contentOf(item), item.mode) };
    }),
  ];
}

/** Returns what an item holds when this program lays it out. @throws {Error} a sentence, when the build has not made it */
export function contentOf(item: Exclude<Item, { kind: "link" }>): Content {
  if (item.kind === "data") return readData(item.name);
  if (item.kind === "executable") return { copyOf: builtExecutable() };
  try {
    return readPiece(item.piece);
  } catch (error) {
    throw new Error(`there is no ${item.piece} to install; run "npm run build" first`, { cause: error });
  }
}

/** Makes the group where it is missing; says what it did. @returns whether the group is there */
function makeGroup(root: string): boolean {
  const listed = root === "/" ? hostCommand("getent", "group", "authnft")?.ok : undefined;
  if (listed ?? /^authnft:/m.test(readFileSync(join(root, "etc/group"), "utf8"))) {
    console.log("Group authnft was there already.");
    return true;
  }
  const attempts: (Outcome | undefined)[] = [];
  const tools: [string, ...string[]][] = [
    ["systemd-sysusers", `--root=${root}`, "authnft.conf"],
    ["groupadd", ...(root === "/" ? [] : ["--prefix", root]), "--system", "authnft"],
  ];
  for (const command of tools) {
    const outcome = hostCommand(...command);
    if (outcome?.ok) {
      console.log("Made group authnft.");
      return true;
    }
    attempts.push(outcome);
  }
  const why = attempts.map((outcome) => outcome?.stderr).find((text) => text) ?? "no tool for it was found";
  console.error(
    `Cannot make the group authnft: ${why}; run "groupadd --system authnft", then install again.`,
  );
  return false;
}

/** Has systemd read the units, and load the table now and at each boot. @returns whether that went well */
function startUnits(): boolean {
  if (!existsSync("/run/systemd/system")) {
    console.error("systemd does not run here, so no unit was started; authnft needs it to run.");
    return false;
  }
  const commands: [string, ...string[]][] = [
    ["systemctl", "daemon-reload"],
    ["systemctl", "enable", "authnft.service"],
    ["systemctl", "enable", "--now", SWEEP_TIMER],
    // The units that authnft.slice wants start with it, but not where it is active already.
    ["systemctl", "start", SEAL_UNITS.load],
    ["systemctl", "reload-or-restart", "authnft.service"],
    ["systemctl", "start", REFUSED_UNIT],
  ];
  for (const command of commands) {
    const outcome = hostCommand(...command);
    if (outcome?.ok) continue;
    const why = outcome?.stderr ?? "there is no systemctl";
    console.error(
      `"${command.join(" ")}" failed: ${why}; "systemctl status authnft.service" and "authnft doctor" say more.`,
    );
    return false;
  }
  console.log("authnft.service runs, now and at each boot.");
  return true;
}

function warnOfNoexec(): void {
  const mounts = parseMountinfo(readFileSync("/proc/self/mountinfo", "utf8"));
  for (const place of [LIBRARY, ENTRY]) {
    const mount = mountOf(realpathSync(place), mounts);
    if (mount?.options.has("noexec")) {
      console.error(
        `${place} cannot be executed: ${mount.point} is mounted noexec; run "mount -o remount,exec ${mount.point}" and change /etc/fstab.`,
      );
    }
  }
}

function nextSteps(): string {
  const indent = (lines: readonly string[]) => lines.map((line) => `       ${line}`).join("\n");
  return `
Nothing in /etc/pam.d was changed. What is left to do:

  1. Name the members:
       usermod --append --groups authnft NAME

  2. Give each a policy, owned by root, in /etc/authnft/users/NAME. Examples are in /usr/share/doc/authnft/examples.

  3. Add this line to each service whose sessions it is about, such as /etc/pam.d/sshd, directly after the line that
     brings pam_systemd.so (on Debian and Ubuntu: after "@include common-session"):
${indent([SHIM_LINE])}

     or, to do without the module, these three:
${indent(EXEC_LINES)}

     Keep a root shell open until a new login has worked.

  4. Run "authnft doctor".`;
}
