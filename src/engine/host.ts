// SPDX-License-Identifier: GPL-2.0-or-later

// Everything outside of this program that the engine changes or asks. The fake beside it lets tests run the engine without a
// kernel, systemd or a disk.

import { readdirSync, renameSync } from "node:fs";
import * as keyring from "../system/ffi/keyring.ts";
import * as nftables from "../system/ffi/nftables.ts";
import * as file from "../system/host/files.ts";
import * as text from "../system/host/text_file.ts";
import * as asker from "../system/kernel/asker.ts";
import * as audit from "../system/kernel/audit.ts";
import * as cgroup from "../system/kernel/cgroup.ts";
import * as parent from "../system/kernel/parent.ts";
import * as processAges from "../system/kernel/process_age.ts";
import * as sockets from "../system/kernel/sock_diag.ts";
import { type Entry, writeEntriesTo } from "../system/systemd/journal.ts";
import type { LoginSession } from "../system/systemd/logind.ts";
import type { Systemd } from "../system/systemd/systemd.ts";
import * as seals from "./seal.ts";

/** The kernel's ruleset. */
export type Firewall = Pick<
  typeof nftables,
  | "runTransaction"
  | "change"
  | "element"
  | "elements"
  | "hasChain"
  | "countRules"
  | "usesOf"
  | "named"
  | "translatesOutput"
>;

/** The tree of cgroups and the processes in it. */
export type Cgroups = Pick<
  typeof cgroup,
  | "cgroupId"
  | "cgroupIdsBelow"
  | "cgroupOfProcess"
  | "processesIn"
  | "isPopulated"
  | "mayBeHeldBelow"
  | "moveProcess"
  | "killCgroup"
  | "removeCgroup"
>;

/** Processes with their start times and sockets, and the system's uptime. */
export type Processes = Pick<typeof asker, "isAsker"> &
  Pick<typeof parent, "parentOf"> &
  Pick<typeof processAges, "startOf" | "uptime"> &
  Pick<typeof sockets, "tcpPeers" | "destroySockets">;

/** Files: our state, fragments, and /proc. */
export type Files = Pick<
  typeof file,
  | "fingerprint"
  | "isThere"
  | "lock"
  | "makeDirectory"
  | "overwriteFile"
  | "readTrusted"
  | "removeFile"
  | "replaceFile"
> &
  Pick<typeof text, "readText"> & {
    /** Lists the names in a directory. @throws {Error} of node:fs */
    readonly listDirectory: (path: string) => string[];
    /** Renames a file over another. @throws {Error} of node:fs */
    readonly renameFile: (from: string, to: string) => void;
  };

/** The seal below the ruleset. */
export type Seals = Pick<typeof seals, "findSeal" | "seal" | "stampBits" | "unseal">;

/** The logs. */
export type Logs = Pick<typeof audit, "auditUserError"> & {
  /** Takes the entries for the journal; without it they go there. */
  readonly writeEntry?: (entry: Entry) => void;
};

/** A connection to systemd and logind, to be held with `using`. */
export type Manager = Disposable &
  Pick<
    Systemd,
    | "addressLists"
    | "hasAddressLists"
    | "lockAddresses"
    | "pamUnitOf"
    | "setAddressLists"
    | "startScope"
    | "startUnit"
    | "stop"
    | "unlockAddresses"
  > & {
    /** Asks logind for the login session that a process is in. @throws {BusError} */
    readonly loginSessionOf: (pid: number) => Promise<LoginSession | undefined>;
  };

/** The kernel's keys. */
export type Keys = Pick<typeof keyring, "describeKey" | "readKey">;

/** The host, as the engine sees it. */
export type Host = {
  readonly firewall: Firewall;
  readonly cgroups: Cgroups;
  readonly processes: Processes;
  readonly files: Files;
  readonly seals: Seals;
  readonly keys: Keys;
  readonly logs: Logs;
  /** Connects to systemd. @param deadline on the clock of `performance.now()`, in milliseconds */
  readonly openManager: (deadline: number) => Promise<Manager>;
};

/** The host that this program runs on. */
const THIS_HOST: Host = {
  firewall: nftables,
  cgroups: cgroup,
  processes: { ...asker, ...parent, ...processAges, ...sockets },
  files: { ...file, ...text, listDirectory: (path) => readdirSync(path), renameFile: renameSync },
  seals,
  keys: keyring,
  logs: audit,
  openManager: async (deadline) => {
    // Loading D-Bus takes milliseconds that a close need not spend.
    const { Systemd } = await import("../system/systemd/systemd.ts");
    const systemd = new Systemd(deadline);
    return Object.assign(systemd, {
      loginSessionOf: async (pid: number) =>
        (await import("../system/systemd/logind.ts")).sessionOfProcess(systemd.bus, pid),
    });
  },
};

export let { firewall, openManager } = THIS_HOST;
export let {
  cgroupId,
  cgroupIdsBelow,
  cgroupOfProcess,
  processesIn,
  isPopulated,
  mayBeHeldBelow,
  moveProcess,
  killCgroup,
  removeCgroup,
} = THIS_HOST.cgroups;
export let { isAsker, parentOf, startOf, uptime, tcpPeers, destroySockets } = THIS_HOST.processes;
export let {
  fingerprint,
  isThere,
  lock,
  makeDirectory,
  overwriteFile,
  readTrusted,
  removeFile,
  replaceFile,
  readText,
  listDirectory,
  renameFile,
} = THIS_HOST.files;
export let { findSeal, seal, stampBits, unseal } = THIS_HOST.seals;
export let { describeKey, readKey } = THIS_HOST.keys;
export let { auditUserError } = THIS_HOST.logs;

/** Lets the engine work on another host until the result is disposed of. For tests. */
export function onHost(host: Host): Disposable {
  settle(host);
  return { [Symbol.dispose]: () => settle(THIS_HOST) };
}

function settle(host: Host): void {
  ({ firewall, openManager } = host);
  ({
    cgroupId,
    cgroupIdsBelow,
    cgroupOfProcess,
    processesIn,
    isPopulated,
    mayBeHeldBelow,
    moveProcess,
    killCgroup,
    removeCgroup,
  } = host.cgroups);
  ({ isAsker, parentOf, startOf, uptime, tcpPeers, destroySockets } = host.processes);
  ({
    fingerprint,
    isThere,
    lock,
    makeDirectory,
    overwriteFile,
    readTrusted,
    removeFile,
    replaceFile,
    readText,
    listDirectory,
    renameFile,
  } = host.files);
  ({ findSeal, seal, stampBits, unseal } = host.seals);
  ({ describeKey, readKey } = host.keys);
  ({ auditUserError } = host.logs);
  writeEntriesTo(host.logs.writeEntry);
}
