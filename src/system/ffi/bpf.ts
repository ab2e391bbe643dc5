// SPDX-License-Identifier: GPL-2.0-or-later

// Programs that the kernel asks about the sockets of a cgroup: bpf(2).

import { closeSync, constants, openSync } from "node:fs";
import { CGROUP_ROOT } from "../kernel/cgroup.ts";
import { koffi, loadLibrary } from "./koffi.ts";
import { errnoName, SystemError } from "./libc.ts";

const libc = loadLibrary("libc.so.6");

// Of union bpf_attr, what each command has. The kernel takes what is cut short for zeros.
const Load = koffi.struct("bpf_load", {
  type: "uint32_t",
  count: "uint32_t",
  instructions: "const void *",
  license: "const char *",
  logLevel: "uint32_t",
  logSize: "uint32_t",
  log: "uint64_t",
  kernelVersion: "uint32_t",
  flags: "uint32_t",
  name: koffi.array("char", 16, "String"),
  interface: "uint32_t",
  attachType: "uint32_t",
});
const CreateMap = koffi.struct("bpf_create_map", {
  type: "uint32_t",
  keySize: "uint32_t",
  valueSize: "uint32_t",
  entries: "uint32_t",
  flags: "uint32_t",
});
const ChangeMap = koffi.struct("bpf_change_map", {
  map: "uint32_t",
  padding: "uint32_t",
  key: "const void *",
  value: "const void *",
  flags: "uint64_t",
});
const Pin = koffi.struct("bpf_pin", { path: "const char *", fd: "uint32_t", flags: "uint32_t" });
const Attach = koffi.struct("bpf_attach", {
  target: "uint32_t",
  program: "uint32_t",
  type: "uint32_t",
  flags: "uint32_t",
});
const Query = koffi.struct("bpf_query", {
  target: "uint32_t",
  type: "uint32_t",
  flags: "uint32_t",
  attachFlags: "uint32_t",
  ids: "void *",
  count: "uint32_t",
  padding: "uint32_t",
});
const ById = koffi.struct("bpf_by_id", { id: "uint32_t", next: "uint32_t", flags: "uint32_t" });
const Info = koffi.struct("bpf_info", { fd: "uint32_t", length: "uint32_t", info: "void *" });
/** The beginning of the kernel's description of a program: struct bpf_prog_info. */
const ProgramInfo = koffi.struct("bpf_prog_info", {
  type: "uint32_t",
  id: "uint32_t",
  tag: koffi.array("uint8_t", 8),
  jitedLength: "uint32_t",
  translatedLength: "uint32_t",
  jited: "uint64_t",
  translated: "uint64_t",
  loaded: "uint64_t",
  uid: "uint32_t",
  mapCount: "uint32_t",
  maps: "void *",
  name: koffi.array("char", 16, "String"),
});

const c = {
  load: prototype(Load),
  createMap: prototype(CreateMap),
  changeMap: prototype(ChangeMap),
  pin: prototype(Pin),
  attach: prototype(Attach),
  query: prototype(Query),
  byId: prototype(ById),
  info: prototype(Info),
};

function prototype(attributes: ReturnType<typeof koffi.struct>): ReturnType<typeof libc.func> {
  return libc.func("syscall", "long", [
    "long",
    "long",
    koffi.inout(koffi.pointer(attributes)),
    "unsigned long",
  ]);
}

// asm/unistd.h
const SYS_BPF = process.arch === "arm64" ? 280 : 321;

// linux/bpf.h
const COMMANDS = {
  createMap: 0,
  update: 2,
  delete: 3,
  load: 5,
  pin: 6,
  get: 7,
  attach: 8,
  detach: 9,
  programById: 13,
  mapById: 14,
  info: 15,
  query: 16,
} as const;
const HASH = 1;
const ALLOW_MULTI = 2; // beside systemd's own programs

/** The hooks of programs, each with its type and place of attachment (linux/bpf.h). */
export const HOOKS = {
  ingress: { type: 8, attachType: 0 },
  egress: { type: 8, attachType: 1 },
  create: { type: 9, attachType: 2 },
} as const;
export type Hook = keyof typeof HOOKS;

/** Names our programs in the kernel. */
export function programName(hook: Hook): string {
  return `authnft_${hook}`;
}

/** Something of BPF's that this process has a descriptor of. To be held with `using`. */
export class BpfObject implements Disposable {
  constructor(readonly fd: number) {}

  /** Opens what is pinned there. @throws {SystemError} `ENOENT` where there is nothing */
  static pinned(path: string): BpfObject {
    return new BpfObject(call("get", c.pin, { path, fd: 0, flags: 0 }, Pin));
  }

  /** Opens a program by the number that the kernel has given it. @throws {SystemError} `ENOENT` where it is gone */
  static numbered(id: number): BpfObject {
    return new BpfObject(call("programById", c.byId, { id, next: 0, flags: 0 }, ById));
  }

  /** Loads a program. @throws {SystemError}, `EACCES` where the kernel does not find it safe, `EPERM` where it takes none */
  static program(hook: Hook, instructions: Uint8Array): BpfObject {
    const { type, attachType } = HOOKS[hook];
    const attributes = {
      type,
      count: instructions.length / 8,
      instructions,
      license: "GPL",
      logLevel: 0,
      logSize: 0,
      log: 0,
      kernelVersion: 0,
      flags: 0,
      name: programName(hook),
      interface: 0,
      attachType,
    };
    return new BpfObject(call("load", c.load, attributes, Load));
  }

  /** Makes a table of numbers of 64 bits, each of which is in it or not. @throws {SystemError} */
  static set(entries: number): BpfObject {
    const attributes = { type: HASH, keySize: 8, valueSize: 1, entries, flags: 0 };
    return new BpfObject(call("createMap", c.createMap, attributes, CreateMap));
  }

  /** Puts a number into a table. @throws {SystemError} */
  add(number: bigint): void {
    this.#change("update", number);
  }

  /** Removes a number from a map; a missing one is passed over. @throws {SystemError} */
  remove(number: bigint): void {
    try {
      this.#change("delete", number);
    } catch (error) {
      if (!(error instanceof SystemError && error.code === "ENOENT")) throw error;
    }
  }

  #change(command: "update" | "delete", number: bigint): void {
    const attributes = {
      map: this.fd,
      padding: 0,
      key: new BigUint64Array([number]),
      value: command === "update" ? Uint8Array.of(1) : null,
      flags: 0,
    };
    call(command, c.changeMap, attributes, ChangeMap);
  }

  /** Keeps it in a file system of type bpf. @throws {SystemError} */
  pin(path: string): void {
    call("pin", c.pin, { path, fd: this.fd, flags: 0 }, Pin);
  }

  /** The number that the kernel has given a program, the name that it was loaded with, and the one map that it uses. @throws {SystemError} */
  describe(): { readonly id: number; readonly name: string; readonly map: () => BpfObject } {
    const info = koffi.alloc(ProgramInfo, 1);
    const maps = koffi.alloc("uint32_t", 1);
    try {
      koffi.encode(info, ProgramInfo, { mapCount: 1, maps });
      call("info", c.info, { fd: this.fd, length: koffi.sizeof(ProgramInfo), info }, Info);
      const { id, name } = koffi.decode(info, ProgramInfo) as { id: number; name: string };
      const map = Number(koffi.decode(maps, "uint32_t"));
      return {
        id,
        name,
        map: () => new BpfObject(call("mapById", c.byId, { id: map, next: 0, flags: 0 }, ById)),
      };
    } finally {
      koffi.free(info);
      koffi.free(maps);
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
  }
}

/** A cgroup's directory, open. To be held with `using`. */
class Cgroup implements Disposable {
  readonly fd: number;

  constructor(path: string) {
    this.fd = openSync(`${CGROUP_ROOT}/${path}`, constants.O_RDONLY | constants.O_DIRECTORY);
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
  }
}

/**
 * Has the kernel ask a program about all sockets of a cgroup and of those below it, beside others that it asks already. Once
 * is enough: what is attached there already is left as it is.
 *
 * @throws {SystemError}, or {Error} of node:fs when there is no such cgroup
 */
export function attachProgram(cgroup: string, hook: Hook, program: BpfObject): void {
  if (attachedPrograms(cgroup, hook).includes(program.describe().id)) return;
  change("attach", cgroup, hook, program, ALLOW_MULTI);
}

/** Undoes `attachProgram`; what is not attached is passed over. @throws as that */
export function detachProgram(cgroup: string, hook: Hook, program: BpfObject): void {
  try {
    change("detach", cgroup, hook, program, 0);
  } catch (error) {
    if (!(error instanceof SystemError && error.code === "ENOENT")) throw error;
  }
}

function change(
  command: "attach" | "detach",
  cgroup: string,
  hook: Hook,
  program: BpfObject,
  flags: number,
): void {
  using directory = new Cgroup(cgroup);
  const attributes = { target: directory.fd, program: program.fd, type: HOOKS[hook].attachType, flags };
  call(command, c.attach, attributes, Attach);
}

/** More programs than anybody attaches to one cgroup: the kernel takes 64. */
const PROGRAMS = 64;

/** Returns the numbers of the programs that are attached to a cgroup itself. @throws as `attachProgram` */
export function attachedPrograms(cgroup: string, hook: Hook): number[] {
  using directory = new Cgroup(cgroup);
  const ids = new Uint32Array(PROGRAMS);
  const attributes = {
    target: directory.fd,
    type: HOOKS[hook].attachType,
    flags: 0,
    attachFlags: 0,
    ids,
    count: PROGRAMS,
    padding: 0,
  };
  call("query", c.query, attributes, Query);
  return [...ids.subarray(0, attributes.count)].filter((id) => id !== 0);
}

function call(
  command: keyof typeof COMMANDS,
  act: ReturnType<typeof libc.func>,
  attributes: object,
  type: ReturnType<typeof koffi.struct>,
): number {
  const result = Number(act(SYS_BPF, COMMANDS[command], attributes, koffi.sizeof(type)));
  if (result < 0) throw new SystemError(`bpf ${command}`, errnoName(koffi.errno()));
  return result;
}
