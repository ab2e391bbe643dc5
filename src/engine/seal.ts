// SPDX-License-Identifier: GPL-2.0-or-later

// The seal below the ruleset: packets that our chains have not stamped do not pass, whatever becomes of those chains.

import { existsSync, readdirSync, rmSync } from "node:fs";
import { FRAGMENT_DIRECTORY, RUNTIME, SEAL_PINS } from "../paths.ts";
import { Refusal } from "../refusal.ts";
import { formatStampBits, parseStampBits, STAMP_BITS, type StampBits } from "../ruleset/seal.ts";
import { packetProgram, socketProgram } from "../ruleset/seal_program.ts";
import { SEAL_UNITS, SLICE, USERS_SLICE } from "../subjects/session/scope_unit.ts";
import {
  attachedPrograms,
  attachProgram,
  BpfObject,
  detachProgram,
  type Hook,
  programName,
} from "../system/ffi/bpf.ts";
import { SystemError } from "../system/ffi/libc.ts";
import { networkCookie } from "../system/ffi/namespace.ts";
import { isThere, readTrusted, removeFile, replaceFile } from "../system/host/files.ts";
import { readText } from "../system/host/text_file.ts";
import { CGROUP_ROOT, cgroupId } from "../system/kernel/cgroup.ts";
import { logWarning } from "./warning.ts";

const HOOKS: readonly Hook[] = ["ingress", "egress", "create"];

/** The map of the networks that the seal applies to. */
const NETWORKS = `${SEAL_PINS}/networks`;

/** How many networks there may be: the host's, and those that `authnft verify` makes. */
const MOST_NETWORKS = 64;

/** The file with the bits that an administrator wants. */
export const SETTINGS = `${FRAGMENT_DIRECTORY}/seal`;
const SETTINGS_LIMIT = 4096; // bytes

/** The file with the bits in force. They hold until the next boot, since they must not change under open sessions. */
const IN_FORCE = `${RUNTIME}/seal`;

/** The file that says why there is no seal on this host. */
const DENIED = `${RUNTIME}/unsealed`;

/** The kernel's errors where it has no such programs or they are denied: in a container, under lockdown, in a build without. */
const DENIALS = new Set(["EPERM", "ENOSYS", "EOPNOTSUPP", "EINVAL", "ENOENT", "ENODEV"]);

/** Whether the programs are loaded; the reason where the host denies them. */
export type SealState =
  | { readonly state: "loaded" | "missing" }
  | { readonly state: "denied"; readonly why: string };

/** Returns the bits that packets are stamped with. */
export function stampBits(): StampBits {
  const text = readText(IN_FORCE);
  try {
    return text === undefined ? STAMP_BITS : parseStampBits(text);
  } catch {
    return STAMP_BITS;
  }
}

/** Returns the state of the seal on this host. */
export function sealState(): SealState {
  if ([...HOOKS.map(pinOf), NETWORKS].every(existsSync)) return { state: "loaded" };
  const why = readText(DENIED)?.trim();
  return why === undefined ? { state: "missing" } : { state: "denied", why };
}

function pinOf(hook: Hook): string {
  return `${SEAL_PINS}/${hook}`;
}

/**
 * Loads the seal where it is missing, and writes down its bits. A mistake in the administrator's bits costs nobody the seal: those in
 * force stay, or the default ones hold.
 *
 * @returns its state, and a remark where the administrator's bits are not in force, or the mistake in them
 * @throws {SystemError} where the kernel rejects a program for another reason than that the host denies it
 */
export function loadSeal(): {
  readonly seal: SealState;
  readonly remark?: string;
  readonly mistake?: Refusal;
} {
  const wanted = wantedBits();
  // Programs loaded late must fit the table, which goes by the bits in force.
  const bits = existsSync(IN_FORCE) || wanted instanceof Refusal ? stampBits() : wanted;
  const seal = loadWith(bits);
  if (wanted instanceof Refusal) return { seal, mistake: wanted };
  if (formatStampBits(bits) === formatStampBits(wanted)) return { seal };
  return { seal, remark: `The bits that ${SETTINGS} names hold from the next boot on.` };
}

/** @throws {SystemError} */
function loadWith(bits: StampBits): SealState {
  if (sealState().state === "loaded") return { state: "loaded" };
  // A seal that was lost in part is loaded whole: its pieces must be of one build.
  for (const name of pinned()) rmSync(`${SEAL_PINS}/${name}`);
  try {
    // Two builds on one slice would stop everything: the first one takes the stamp off.
    if (!(existsSync(IN_FORCE) && pinAttached())) {
      const sealed = sealable().filter((cgroup) => attachedOurs(cgroup, detachProgram));
      replaceFile(IN_FORCE, formatStampBits(bits));
      pinPrograms(bits);
      for (const cgroup of sealed) seal(cgroup);
    }
    removeFile(DENIED);
    return { state: "loaded" };
  } catch (error) {
    if (!(error instanceof SystemError && DENIALS.has(error.code))) throw error;
    replaceFile(DENIED, `${error.message}\n`);
    return { state: "denied", why: error.message };
  }
}

/** Pins the programs of a slice that has all of them. @returns whether there is one @throws {SystemError} */
function pinAttached(): boolean {
  return sealable().some((cgroup) => {
    using found = new DisposableStack();
    const programs = new Map<Hook, BpfObject>();
    attachedOurs(cgroup, (_, hook, program) =>
      programs.set(hook, found.use(BpfObject.numbered(program.describe().id))),
    );
    const create = programs.get("create");
    if (create === undefined || programs.size < HOOKS.length) return false;
    using networks = create.describe().map();
    networks.pin(NETWORKS);
    for (const [hook, program] of programs) program.pin(pinOf(hook));
    return true;
  });
}

/** Calls `act` for each program of ours that is attached to a cgroup. @returns whether there is one @throws {SystemError} */
function attachedOurs(
  cgroup: string,
  act: (cgroup: string, hook: Hook, program: BpfObject) => void,
): boolean {
  let some = false;
  for (const hook of HOOKS)
    for (const id of attachedPrograms(cgroup, hook)) {
      using program = BpfObject.numbered(id);
      if (program.describe().name !== programName(hook)) continue;
      some = true;
      act(cgroup, hook, program);
    }
  return some;
}

/** Lists the slices that may have a seal: ours, and users'. */
function sealable(): string[] {
  const users = `${CGROUP_ROOT}/${USERS_SLICE}`;
  const slices = existsSync(users) ? readdirSync(users).filter((name) => name.endsWith(".slice")) : [];
  return [SLICE, ...slices.map((name) => `${USERS_SLICE}/${name}`)].filter(
    (cgroup) => cgroupId(cgroup) !== undefined,
  );
}

function pinned(): string[] {
  try {
    return readdirSync(SEAL_PINS).filter((name) => !name.endsWith(".debug"));
  } catch {
    return [];
  }
}

function pinPrograms(bits: StampBits): void {
  using networks = BpfObject.set(MOST_NETWORKS);
  networks.add(networkCookie());
  using ingress = BpfObject.program("ingress", packetProgram("in", bits));
  using egress = BpfObject.program("egress", packetProgram("out", bits));
  using create = BpfObject.program("create", socketProgram(networks.fd, bits));
  networks.pin(NETWORKS);
  ingress.pin(pinOf("ingress"));
  egress.pin(pinOf("egress"));
  create.pin(pinOf("create"));
}

/** Reads the bits that an administrator wants; a refusal where the file has a mistake. */
export function wantedBits(): StampBits | Refusal {
  if (!isThere(SETTINGS)) return STAMP_BITS;
  try {
    const text = readTrusted(SETTINGS, { top: FRAGMENT_DIRECTORY, sizeLimit: SETTINGS_LIMIT });
    return parseStampBits(Buffer.from(text).toString());
  } catch (error) {
    if (error instanceof Refusal) return error;
    return new Refusal("content", `Cannot use ${SETTINGS}: ${(error as Error).message}.`);
  }
}

/**
 * Puts the seal on a cgroup, unless it is there. Packets of its subjects must be stamped already: all others stop from then on. Best
 * effort, since the ruleset decides first; silent where the host denies the seal.
 */
export function seal(cgroup: string): void {
  if (cgroupId(cgroup) === undefined || sealState().state === "denied") return;
  try {
    eachProgram((hook, program) => attachProgram(cgroup, hook, program));
  } catch (error) {
    logWarning(`${cgroup} is closed by the ruleset alone, because it cannot be sealed`, error);
  }
}

/** Takes the seal off a user's slice, which nothing closes any more. @throws {SystemError} */
export function unseal(cgroup: string): void {
  if (cgroupId(cgroup) !== undefined) attachedOurs(cgroup, detachProgram);
}

/** Takes the seal off our slice and all users'. @throws {SystemError} */
export function unsealAll(): void {
  for (const cgroup of sealable()) attachedOurs(cgroup, detachProgram);
}

/** Tells whether a cgroup itself has the whole seal. @throws {SystemError} where the kernel does not tell */
export function isSealed(cgroup: string): boolean {
  let whole = sealState().state === "loaded";
  if (whole)
    eachProgram((hook, program) => {
      whole &&= attachedPrograms(cgroup, hook).includes(program.describe().id);
    });
  return whole;
}

/**
 * Has systemd load the seal where it is missing, as after its file system was unmounted. Best effort.
 *
 * @param deadline on the clock of `performance.now()`, in milliseconds
 */
export async function findSeal(deadline: number): Promise<void> {
  // Early at boot there is no bus; the unit then starts before the slice.
  if (sealState().state !== "missing" || !existsSync(BUS)) return;
  const { Systemd } = await import("../system/systemd/systemd.ts");
  try {
    using systemd = new Systemd(Math.min(deadline, performance.now() + LOADING));
    await systemd.startUnit(SEAL_UNITS.load);
  } catch (error) {
    logWarning("The seal is gone, and could not be loaded again", error);
  }
}

/** Where the system bus listens. */
const BUS = "/run/dbus/system_bus_socket";

/** How long it may take to have the seal loaded, in milliseconds: a login waits. */
const LOADING = 3000;

function eachProgram(act: (hook: Hook, program: BpfObject) => void): void {
  for (const hook of HOOKS) {
    using program = BpfObject.pinned(pinOf(hook));
    act(hook, program);
  }
}

/** Makes the seal apply to a further network namespace, one with a table of ours, until it is disposed of. */
export class SealedNetwork implements Disposable {
  readonly #cookie: bigint;

  /** @throws {SystemError} */
  constructor(cookie: bigint) {
    this.#cookie = cookie;
    if (sealState().state !== "loaded") return;
    using networks = BpfObject.pinned(NETWORKS);
    networks.add(cookie);
  }

  [Symbol.dispose](): void {
    if (sealState().state !== "loaded") return;
    using networks = BpfObject.pinned(NETWORKS);
    networks.remove(this.#cookie);
  }
}
