// SPDX-License-Identifier: GPL-2.0-or-later
import { confine } from "../confine/seccomp.ts";
import { denied } from "../engine/denied.ts";
import { isSealed, sealState } from "../engine/seal.ts";
import { lockRuleset } from "../engine/store.ts";
import { Refusal } from "../refusal.ts";
import { TABLE_NAME } from "../ruleset/table.ts";
import { SLICE } from "../subjects/session/scope_unit.ts";
import { describeKey } from "../system/ffi/keyring.ts";
import { landlockVersion } from "../system/ffi/landlock.ts";
import { SystemError } from "../system/ffi/libc.ts";
import * as nftables from "../system/ffi/nftables.ts";
import { readText } from "../system/host/text_file.ts";
import { reachAudit } from "../system/kernel/audit.ts";
import { tell } from "./session.ts";

/** What the helper has where it was started, for the doctor, as JSON. */
export type Trial = {
  /** As `landlockVersion` has it. */
  readonly landlock: number | string;
  /** The capabilities, seccomp and more: /proc/self/status. */
  readonly status: string;
  readonly mountinfo: string;
  /** Why claims cannot be read; `undefined` where they can. */
  readonly keys?: string;
  /** Why nothing can be sent to the audit trail; `undefined` where it can. */
  readonly audit?: string;
  /** Why the host's seal cannot be put on anything from there; `undefined` where it can, or there is none. */
  readonly seal?: string;
  /** What it needs and cannot do, in sentences. */
  readonly denied: readonly string[];
};

/** How long each trial may take, in milliseconds. */
const PATIENCE = 3000;

/** The number of a key that does not exist: where keys are not denied the kernel says so. */
const NO_KEY = 0x7fff_fffe;

/**
 * Tries what a login needs, in the place and under the confinement in which it would be, and changes nothing.
 *
 * @returns the exit code, which is always 0
 */
export async function runTry(): Promise<number> {
  const landlock = landlockVersion();
  const status = readText("/proc/self/status") ?? "";
  const mountinfo = readText("/proc/self/mountinfo") ?? "";
  confine();
  const keys = whyDenied(() => describeKey(NO_KEY));
  const audit = whyDenied(reachAudit);
  const seal = sealState().state === "loaded" ? whyDenied(() => isSealed(SLICE)) : undefined;
  const denials: string[] = [];
  for (const attempt of [readTable, takeLock, callSystemd]) {
    try {
      await attempt();
    } catch (error) {
      denials.push(sentence(error));
    }
  }
  const trial: Trial = {
    ...{ landlock, status, mountinfo, denied: denials },
    ...(keys !== undefined && { keys }),
    ...(audit !== undefined && { audit }),
    ...(seal !== undefined && { seal }),
  };
  tell(JSON.stringify(trial));
  return 0;
}

function readTable(): void {
  nftables.countRules(TABLE_NAME, "egress");
}

async function takeLock(): Promise<void> {
  using _held = await lockRuleset(performance.now() + PATIENCE);
}

async function callSystemd(): Promise<void> {
  const { Systemd } = await import("../system/systemd/systemd.ts");
  using systemd = new Systemd(performance.now() + PATIENCE);
  await systemd.hasAddressLists(SLICE);
}

/** Why a call is denied, whatever it is for: any other error is none of a filter's. */
function whyDenied(call: () => unknown): string | undefined {
  try {
    call();
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    if (DENIALS.has(error.code)) return error.message;
  }
  return undefined;
}

/** The last three are what filters and kernels say of a socket of a protocol that they do not have. */
const DENIALS = new Set(["EPERM", "EACCES", "ENOSYS", "EAFNOSUPPORT", "EPROTONOSUPPORT", "EINVAL"]);

function sentence(error: unknown): string {
  const refusal = error instanceof Refusal ? error : denied(error);
  return refusal?.message ?? `${error instanceof Error ? error.message : error}.`;
}
