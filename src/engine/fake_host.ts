// SPDX-License-Identifier: GPL-2.0-or-later

// A host in memory: cgroups, files, systemd and a ruleset. It notes each step in order, and any step can be made to fail.

import { Refusal } from "../refusal.ts";
import { STAMP_BITS } from "../ruleset/seal.ts";
import { SLICE, USERS_SLICE } from "../subjects/session/scope_unit.ts";
import { SystemError } from "../system/ffi/libc.ts";
import { BusError } from "../system/systemd/bus_replies.ts";
import type { Entry } from "../system/systemd/journal.ts";
import type { LoginSession } from "../system/systemd/logind.ts";
import type { AddressLists } from "../system/systemd/systemd.ts";
import { FakeFirewall } from "./fake_firewall.ts";
import type { Cgroups, Files, Host, Keys, Logs, Manager, Processes, Seals } from "./host.ts";

type Cgroup = { readonly id: bigint; readonly pids: Set<number> };

/** What is to happen instead of a step, or around it. */
type Interference = (what: string, when: "before" | "after") => void;

export class FakeHost implements Host {
  /** What was done, in order: a word for the kind, and on what. */
  readonly steps: string[] = [];
  /** Everything that was logged. */
  readonly entries: Entry[] = [];
  /** What is on the disk, by path. */
  readonly disk = new Map<string, string>();
  /** The slices and units that are sealed. */
  readonly sealed = new Set<string>();
  /** The numbers of cgroups whose sockets were destroyed. */
  readonly hungUp = new Set<bigint>();
  /** Units' lists of addresses. */
  readonly locks = new Map<string, AddressLists>();
  /** The login sessions that logind knows, by process. */
  readonly logins = new Map<number, LoginSession>();
  /** The kernel's keys, by serial number. */
  readonly keyring = new Map<
    number,
    { readonly type: string; readonly uid: number; readonly text: string }
  >();
  /** Files that look as if this were in them, whatever is. */
  readonly frozen = new Map<string, string>();
  /** How long ago every file was written, in milliseconds. */
  age = 1_000_000;
  /** The process that asks; `undefined` where it cannot be told. */
  asker: number | undefined;
  /** Is told of each step before it is done, when it may throw instead, and after. */
  interfere: Interference = () => undefined;
  readonly #cgroups = new Map<string, Cgroup>();
  readonly #held = new Set<string>();
  /** When processes were started, other than all at once. */
  readonly starts = new Map<number, number>();
  #nextId = 100n;

  constructor() {
    for (const path of ["", SLICE, USERS_SLICE, "system.slice", "init.scope"]) this.addCgroup(path);
  }

  readonly firewall = new FakeFirewall(
    (path) => this.cgroups.cgroupId(path),
    (what, when) => {
      if (when === "before") this.steps.push(what);
      this.interfere(what, when);
    },
  );

  /** Makes a cgroup, with a number that none ever had. @returns the number */
  addCgroup(path: string, ...pids: readonly number[]): bigint {
    this.#cgroups.set(path, { id: this.#nextId++, pids: new Set() });
    for (const pid of pids) this.place(pid, path);
    return this.#nextId - 1n;
  }

  /** Has a cgroup end, and whatever is in it. */
  endCgroup(path: string): void {
    for (const name of this.#cgroups.keys())
      if (name === path || name.startsWith(`${path}/`)) this.#cgroups.delete(name);
  }

  /** Puts a process into a cgroup. */
  place(pid: number, path: string): void {
    this.endProcess(pid);
    this.#cgroup(path).pids.add(pid);
  }

  /** Has a process end; its cgroup stays. */
  endProcess(pid: number): void {
    for (const { pids } of this.#cgroups.values()) pids.delete(pid);
  }

  /** The number of a cgroup that is there. */
  idOf(path: string): bigint {
    return this.#cgroup(path).id;
  }

  /** The path of the cgroup that a process is in; `undefined` when it has ended. */
  placeOf(pid: number): string | undefined {
    return [...this.#cgroups].find(([, { pids }]) => pids.has(pid))?.[0];
  }

  /** Whether somebody holds a lock. */
  isHeld(name: string): boolean {
    return this.#held.has(name);
  }

  /** Has another process take a lock. @returns what gives it back */
  hold(name: string): Disposable {
    this.#held.add(name);
    return { [Symbol.dispose]: () => this.#held.delete(name) };
  }

  /** The messages that were logged. */
  get messages(): string[] {
    return this.entries.map(({ message }) => message);
  }

  /** The events that were told, by kind. */
  get events(): string[] {
    return this.entries.flatMap(({ fields }) => fields?.["AUTHNFT_EVENT"] ?? []);
  }

  #cgroup(path: string): Cgroup {
    const cgroup = this.#cgroups.get(path);
    if (cgroup === undefined) throw new Error(`There is no cgroup ${path}.`);
    return cgroup;
  }

  #below(path: string): Cgroup[] {
    return [...this.#cgroups].flatMap(([name, cgroup]) =>
      name === path || path === "" || name.startsWith(`${path}/`) ? [cgroup] : [],
    );
  }

  #do<Made>(what: string, act: () => Made): Made {
    this.interfere(what, "before");
    this.steps.push(what);
    const made = act();
    this.interfere(what, "after");
    return made;
  }

  readonly cgroups: Cgroups = {
    cgroupId: (path) => this.#cgroups.get(path)?.id,
    cgroupIdsBelow: (path) => new Set(this.#below(path).map(({ id }) => id)),
    cgroupOfProcess: (pid) => {
      const path = this.placeOf(pid);
      return path === undefined ? "" : `0::/${path}\n`;
    },
    processesIn: (path) => this.#below(path).flatMap(({ pids }) => [...pids]),
    isPopulated: (path) => this.#below(path).some(({ pids }) => pids.size > 0),
    mayBeHeldBelow: () => true,
    moveProcess: (pid, path) =>
      this.#do(`move ${pid} ${path}`, () => {
        if (!this.#cgroups.has(path)) this.addCgroup(path);
        this.place(pid, path);
      }),
    killCgroup: (path) =>
      this.#do(`kill ${path}`, () => {
        for (const { pids } of this.#below(path)) pids.clear();
      }),
    removeCgroup: (path) => {
      if (this.#below(path).length === 1 && this.#cgroups.get(path)?.pids.size === 0) this.endCgroup(path);
    },
  };

  readonly processes: Processes = {
    isAsker: (pid) => this.asker === undefined || this.asker === pid,
    parentOf: () => 2,
    startOf: (pid) => (this.placeOf(pid) === undefined ? undefined : (this.starts.get(pid) ?? 1)),
    uptime: () => 1000,
    tcpPeers: () => [],
    destroySockets: (ids) =>
      this.#do("hang up", () => {
        for (const id of ids) this.hungUp.add(id);
        return ids.size;
      }),
  };

  readonly files: Files = {
    fingerprint: (path) => {
      const text = this.frozen.get(path) ?? this.disk.get(path);
      const isDirectory = [...this.disk.keys()].some((file) => file.startsWith(`${path}/`));
      // The program itself is on no disk of ours.
      if (text === undefined && !isDirectory && path !== process.execPath) return undefined;
      return { text: text ?? "unchanged", age: this.age };
    },
    isThere: (path) => this.disk.has(path),
    readText: (path) => this.disk.get(path),
    readTrusted: (path) => {
      const text = this.disk.get(path);
      if (text === undefined) throw new Refusal("missing", `Cannot read fragment ${path}: there is none.`);
      return Buffer.from(text);
    },
    listDirectory: (path) =>
      [...this.disk.keys()].flatMap((file) => {
        const name = file.startsWith(`${path}/`) ? file.slice(path.length + 1) : "";
        return name === "" || name.includes("/") ? [] : [name];
      }),
    makeDirectory: () => undefined,
    replaceFile: (path, content) =>
      this.#do(`write ${path}`, () => {
        this.disk.set(path, content);
      }),
    overwriteFile: (path, content) => {
      if (!this.disk.has(path)) return false;
      try {
        return this.#do(`overwrite ${path}`, () => this.disk.set(path, content)) !== undefined;
      } catch {
        return false;
      }
    },
    removeFile: (path) => {
      if (this.disk.has(path)) this.#do(`remove ${path}`, () => this.disk.delete(path));
    },
    renameFile: (from, to) =>
      this.#do(`rename ${from}`, () => {
        const text = this.disk.get(from);
        if (text === undefined) throw noSuchFile(from);
        this.disk.delete(from);
        this.disk.set(to, text);
      }),
    lock: async (path) => {
      const name = path.slice(path.lastIndexOf("/") + 1);
      this.interfere(`lock ${name}`, "before");
      if (this.#held.has(name)) return undefined;
      this.#held.add(name);
      this.disk.set(path, "");
      this.steps.push(`lock ${name}`);
      return {
        path,
        [Symbol.dispose]: () => {
          this.#held.delete(name);
          this.steps.push(`unlock ${name}`);
        },
      };
    },
  };

  readonly seals: Seals = {
    findSeal: async () => undefined,
    seal: (cgroup) => {
      if (this.#cgroups.has(cgroup)) this.sealed.add(cgroup);
    },
    unseal: (cgroup) => {
      this.sealed.delete(cgroup);
    },
    stampBits: () => STAMP_BITS,
  };

  readonly keys: Keys = {
    describeKey: (serial) => this.#key(serial),
    readKey: (serial) => Buffer.from(this.#key(serial).text),
  };

  #key(serial: number): { readonly type: string; readonly uid: number; readonly text: string } {
    const key = this.keyring.get(serial);
    if (key === undefined) throw new SystemError("keyctl", "ENOKEY");
    return key;
  }

  readonly logs: Required<Logs> = {
    writeEntry: (entry) => {
      this.entries.push(entry);
      const event = entry.fields?.["AUTHNFT_EVENT"];
      if (event !== undefined) this.steps.push(`event ${event}`);
    },
    auditUserError: () => {
      this.steps.push("audit");
    },
  };

  readonly openManager = async (): Promise<Manager> => {
    const listsOf = (unit: string): AddressLists => this.locks.get(unit) ?? { allow: [], deny: [] };
    const set = async (unit: string, lists: AddressLists): Promise<void> =>
      this.#do(`addresses ${unit}`, () => {
        this.locks.set(unit, lists);
      });
    return {
      startScope: async ({ unit, slice, pid, isStill, addresses }) => {
        const path = `${slice}/${unit}`;
        if (this.#cgroups.has(path)) throw new BusError("it exists", "org.freedesktop.systemd1.UnitExists");
        if (!isStill()) throw new BusError(`process ${pid} has ended`, "gone");
        this.#do(`scope ${unit}`, () => {
          this.addCgroup(path, pid);
          if (addresses !== undefined) this.locks.set(unit, { ...addresses, deny: EVERY });
        });
      },
      startUnit: async (unit) => this.#do(`start ${unit}`, () => undefined),
      stop: async (unit) => this.#do(`stop ${unit}`, () => undefined),
      pamUnitOf: async () => undefined,
      loginSessionOf: async (pid) => this.logins.get(pid),
      addressLists: async (unit) => listsOf(unit),
      hasAddressLists: async (unit) => listsOf(unit).allow.length + listsOf(unit).deny.length > 0,
      setAddressLists: set,
      lockAddresses: async (unit, { allow }) => await set(unit, { allow, deny: EVERY }),
      unlockAddresses: async (unit) => await set(unit, { allow: EVERY, deny: EVERY }),
      [Symbol.dispose]: () => undefined,
    };
  };
}

/** Any address. */
const EVERY: AddressLists["deny"] = [{ family: "ip", address: new Uint8Array(4), length: 0 }];

function noSuchFile(path: string): Error {
  return Object.assign(new Error(`ENOENT: no such file or directory, ${path}`), { code: "ENOENT" });
}
