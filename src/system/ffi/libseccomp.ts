// SPDX-License-Identifier: GPL-2.0-or-later
import type { Condition, Rule } from "../kernel/seccomp_rule.ts";
import { koffi, loadLibrary } from "./koffi.ts";
import { errnoName, SystemError } from "./libc.ts";

const library = loadLibrary("libseccomp.so.2");
const Filter = koffi.pointer("scmp_filter_ctx", koffi.opaque());

const c = {
  init: library.func("seccomp_init", Filter, ["uint32_t"]),
  release: library.func("seccomp_release", "void", [Filter]),
  attrSet: library.func("seccomp_attr_set", "int", [Filter, "int", "uint32_t"]),
  resolve: library.func("seccomp_syscall_resolve_name", "int", ["const char *"]),
  resolveNumber: library.func("seccomp_syscall_resolve_num_arch", "const char *", ["uint32_t", "int"]),
  ruleAdd: library.func("seccomp_rule_add_array", "int", [Filter, "uint32_t", "int", "uint32_t", "void *"]),
  load: library.func("seccomp_load", "int", [Filter]),
};

// seccomp.h of libseccomp
const SCMP_ACT_KILL_PROCESS = 0x8000_0000;
const SCMP_ACT_ALLOW = 0x7fff_0000;
const SCMP_ACT_ERRNO = 0x0005_0000;
const SCMP_FLTATR_ACT_BADARCH = 2;
const SCMP_FLTATR_CTL_TSYNC = 4;
const SCMP_CMP_MASKED_EQ = 7;

/**
 * Confines every thread of this process to what the rules let through; any other call kills the process, and so does every
 * call by another architecture's numbers, such as those of 32-bit programs and of x32.
 *
 * @param rules those for calls that this machine does not have are passed over
 * @throws {SystemError}
 */
export function loadFilter(rules: readonly Rule[]): void {
  const filter = c.init(SCMP_ACT_KILL_PROCESS);
  if (filter === null) throw new SystemError("seccomp_init", "ENOMEM");
  try {
    checked("seccomp_attr_set", c.attrSet(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS));
    checked("seccomp_attr_set", c.attrSet(filter, SCMP_FLTATR_CTL_TSYNC, 1));
    for (const { call, when, errno } of rules) {
      const number = c.resolve(call);
      // A negative number stands for a call that exists on other machines only.
      if (number < 0) continue;
      const action = errno === undefined ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO | errno;
      const comparisons = when.length === 0 ? null : Buffer.concat(when.map(comparison));
      checked(`seccomp_rule_add ${call}`, c.ruleAdd(filter, action, number, when.length, comparisons));
    }
    checked("seccomp_load", c.load(filter));
  } finally {
    c.release(filter);
  }
}

/** struct scmp_arg_cmp: which argument, the operator, and for this one a mask and a value. */
function comparison({ argument, value, mask = 0xffff_ffff }: Condition): Uint8Array {
  const bytes = Buffer.alloc(24);
  bytes.writeUInt32LE(argument, 0);
  bytes.writeUInt32LE(SCMP_CMP_MASKED_EQ, 4);
  bytes.writeBigUInt64LE(BigInt(mask), 8);
  bytes.writeBigUInt64LE(BigInt(value === "self" ? process.pid : value), 16);
  return bytes;
}

/** Names a system call of that number; the number itself where it has no name. */
export function callName(number: number): string {
  const name: string | null = c.resolveNumber(SCMP_ARCH_NATIVE, number);
  return name ?? String(number);
}

/** Tells whether this machine has a system call of that name. */
export function hasCall(name: string): boolean {
  return c.resolve(name) >= 0;
}

const SCMP_ARCH_NATIVE = 0;

function checked(act: string, result: number): void {
  if (result < 0) throw new SystemError(act, errnoName(-result));
}
