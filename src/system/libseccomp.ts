// SPDX-License-Identifier: GPL-2.0-or-later
import { koffi, loadLibrary } from "./koffi.ts";
import { errnoName, SystemError } from "./libc.ts";

const library = loadLibrary("libseccomp.so.2");
const Filter = koffi.pointer("scmp_filter_ctx", koffi.opaque());

const c = {
  init: library.func("seccomp_init", Filter, ["uint32_t"]),
  release: library.func("seccomp_release", "void", [Filter]),
  attrSet: library.func("seccomp_attr_set", "int", [Filter, "int", "uint32_t"]),
  resolve: library.func("seccomp_syscall_resolve_name", "int", ["const char *"]),
  ruleAdd: library.func("seccomp_rule_add_array", "int", [Filter, "uint32_t", "int", "uint32_t", "void *"]),
  load: library.func("seccomp_load", "int", [Filter]),
};

// seccomp.h of libseccomp
const SCMP_ACT_KILL_PROCESS = 0x8000_0000;
const SCMP_ACT_ALLOW = 0x7fff_0000;
const SCMP_ACT_ERRNO = 0x0005_0000;
const SCMP_FLTATR_CTL_TSYNC = 4;
const ENOSYS = 38;
const SCMP_CMP_EQ = 4;

/** A call that is allowed with certain first arguments only, and answers an errno with certain others. */
export type Gate = {
  readonly name: string;
  readonly allowed: readonly number[];
  readonly refused: readonly number[];
  readonly errno: number;
};

/**
 * Confines every thread of this process to the named system calls; any other kills the process.
 *
 * @param options.absent calls that answer ENOSYS, as on a kernel without them. Names that this machine does not have are passed over.
 * @throws {SystemError}
 */
export function loadFilter(options: {
  readonly allowed: readonly string[];
  readonly absent: readonly string[];
  readonly gated: readonly Gate[];
}): void {
  const filter = c.init(SCMP_ACT_KILL_PROCESS);
  if (filter === null) throw new SystemError("seccomp_init", "ENOMEM");
  try {
    checked("seccomp_attr_set", c.attrSet(filter, SCMP_FLTATR_CTL_TSYNC, 1));
    for (const name of options.allowed) add(filter, SCMP_ACT_ALLOW, name);
    for (const name of options.absent) add(filter, SCMP_ACT_ERRNO | ENOSYS, name);
    for (const gate of options.gated) {
      for (const value of gate.allowed) add(filter, SCMP_ACT_ALLOW, gate.name, value);
      for (const value of gate.refused) add(filter, SCMP_ACT_ERRNO | gate.errno, gate.name, value);
    }
    checked("seccomp_load", c.load(filter));
  } finally {
    c.release(filter);
  }
}

function add(filter: unknown, action: number, name: string, firstArgument?: number): void {
  const number = c.resolve(name);
  // A negative number stands for a call that exists on other machines only.
  if (number < 0) return;
  const comparison = firstArgument === undefined ? null : equals(firstArgument);
  const count = comparison === null ? 0 : 1;
  checked(`seccomp_rule_add ${name}`, c.ruleAdd(filter, action, number, count, comparison));
}

/** struct scmp_arg_cmp: which argument, the operator, two numbers. */
function equals(value: number): Uint8Array {
  const bytes = new Uint8Array(24);
  const fields = new DataView(bytes.buffer);
  fields.setUint32(4, SCMP_CMP_EQ, true);
  fields.setBigUint64(8, BigInt(value), true);
  return bytes;
}

function checked(act: string, result: number): void {
  if (result < 0) throw new SystemError(act, errnoName(-result));
}
