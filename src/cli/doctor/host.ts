// SPDX-License-Identifier: GPL-2.0-or-later

import { realpathSync, statSync } from "node:fs";
import { release } from "node:os";
import { ENTRY, LIBRARY } from "../../paths.ts";
import { hostCommand } from "../../system/host/host_command.ts";
import { readText } from "../../system/host/text_file.ts";
import { mountOf, parseMountinfo } from "../../system/kernel/mounts.ts";
import { type Check, type Finding, fail, faultOf, ok, warn } from "./finding.ts";

/** The first Linux whose nftables can match a socket's cgroup. */
const LINUX = [5, 13] as const;

/** The oldest systemd that this was tried on. OnSuccess= on a scope exists since 249. */
const SYSTEMD = 252;
const SYSTEMD_AT_LEAST = 249;

/** The requirements on the host, before anything of ours is looked at. */
export const HOST_CHECKS: readonly Check[] = [
  { name: "kernel", run: () => [checkKernel(release())] },
  { name: "cgroups", run: () => [checkCgroups(readText("/proc/self/mountinfo") ?? "")] },
  { name: "systemd", run: () => [checkSystemd()] },
  { name: "libraries", run: checkLibraries },
  { name: "noexec", run: () => checkNoexec(readText("/proc/self/mountinfo") ?? "") },
];

/** Judges the kernel by its release. */
export function checkKernel(name: string): Finding {
  const [major = 0, minor = 0] = name.split(/[.-]/).map(Number);
  if (major > LINUX[0] || (major === LINUX[0] && minor >= LINUX[1]))
    return ok(`Linux ${name} is new enough.`);
  return fail({
    what: `Linux ${name} is older than ${LINUX.join(".")}.`,
    why: "Before that, nftables cannot tell which session's socket a packet belongs to.",
    mend: "install a newer kernel and boot it",
  });
}

/** Judges the cgroup hierarchy by /proc/self/mountinfo. */
export function checkCgroups(mountinfo: string): Finding {
  if (mountOf("/sys/fs/cgroup", parseMountinfo(mountinfo))?.type === "cgroup2")
    return ok("The cgroups are unified.");
  return fail({
    what: "/sys/fs/cgroup is not cgroup version 2.",
    why: "A session is known by its cgroup of version 2; with the old or a hybrid hierarchy there is none.",
    mend: 'boot with "systemd.unified_cgroup_hierarchy=1" on the kernel\'s command line',
  });
}

function checkSystemd(): Finding {
  const why = "systemd makes the scope of each session, when it is asked over the system bus.";
  if (!statSync("/run/systemd/system", { throwIfNoEntry: false })?.isDirectory()) {
    return fail({ what: "systemd does not run here.", why, mend: "use a host whose init is systemd" });
  }
  if (!statSync("/run/dbus/system_bus_socket", { throwIfNoEntry: false })?.isSocket()) {
    return fail({
      what: "There is no system bus: /run/dbus/system_bus_socket is missing.",
      why,
      mend: "systemctl start dbus.socket",
    });
  }
  const manager = [
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
  ];
  const answer = hostCommand("busctl", "--system", "--timeout=5", "get-property", ...manager, "Version");
  const version = /^s "([0-9]+)/.exec(answer?.stdout ?? "")?.[1];
  if (version === undefined) {
    const said = answer?.stderr ?? "there is no busctl to ask with";
    return fail({
      what: `systemd does not answer over the system bus: ${said}.`,
      why,
      mend: "systemctl status dbus.service",
    });
  }
  if (Number(version) < SYSTEMD_AT_LEAST) {
    return fail({
      what: `systemd ${version} is older than ${SYSTEMD_AT_LEAST}.`,
      why: "It cannot run the clean-up when a session's scope ends.",
      mend: "use a newer release of the distribution",
    });
  }
  if (Number(version) < SYSTEMD) {
    return warn({
      what: `systemd ${version} answers over the system bus, and is older than ${SYSTEMD}.`,
      why: "authnft was not tried with it.",
      mend: "use a newer release of the distribution",
    });
  }
  return ok(`systemd ${version} answers over the system bus.`);
}

/** The libraries that are loaded, and Debian's names for their packages. */
const LIBRARIES = [
  // First: the addon that loads the others needs it.
  { soname: "libstdc++.so.6", package: "libstdc++6" },
  { soname: "libnftables.so.1", package: "libnftables1" },
  { soname: "libseccomp.so.2", package: "libseccomp2" },
] as const;

async function checkLibraries(): Promise<Finding[]> {
  const why = "Without it no session can be opened.";
  let koffi: typeof import("../../system/ffi/koffi.ts").koffi;
  try {
    koffi = (await import("../../system/ffi/koffi.ts")).koffi;
  } catch (error) {
    return [fail(faultOf((error as Error).message, why, "apt install libstdc++6"))];
  }
  return LIBRARIES.map((library): Finding => {
    try {
      koffi.load(library.soname);
    } catch (error) {
      return fail({
        what: `Cannot load ${library.soname}: ${(error as Error).message}.`,
        why,
        mend: `apt install ${library.package}`,
      });
    }
    return checkMapped(library.soname, readText("/proc/self/maps") ?? "");
  });
}

function checkMapped(soname: string, maps: string): Finding {
  const path = maps
    .split("\n")
    .map((line) => line.slice(line.indexOf("/")))
    .find((candidate) => candidate.split("/").at(-1)?.startsWith(soname));
  if (path === undefined) return ok(`${soname} is loaded.`);
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat !== undefined && (stat.uid !== 0 || (stat.mode & 0o022) !== 0)) {
    return fail({
      what: `${soname} is loaded from ${path}, which others than root can write.`,
      why: "Whoever can change it is root at the next login.",
      mend: `find out how it came there; chown root:root ${path} && chmod go-w ${path}`,
    });
  }
  return ok(`${soname} is loaded from ${path}.`);
}

/** Judges by /proc/self/mountinfo whether the program can be executed where it is. */
export function checkNoexec(mountinfo: string): Finding[] {
  const mounts = parseMountinfo(mountinfo);
  const faults = [LIBRARY, ENTRY].flatMap((place): Finding[] => {
    const real = realPath(place);
    const mount = real === undefined ? undefined : mountOf(real, mounts);
    if (mount === undefined || !mount.options.has("noexec")) return [];
    return [
      fail({
        what: `${place} lies on ${mount.point}, which is mounted noexec.`,
        why: "The helper cannot be executed, so every member's login is refused.",
        mend: `mount -o remount,exec ${mount.point}, and take noexec out of /etc/fstab`,
      }),
    ];
  });
  return faults.length > 0 ? faults : [ok("The program lies where it can be executed.")];
}

function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}
