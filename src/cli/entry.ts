// SPDX-License-Identifier: GPL-2.0-or-later
import { ENTRY } from "../paths.ts";
import { becomeProgram } from "../system/ffi/exec.ts";
import { isThere } from "../system/host/files.ts";
import { cameConfined } from "./way_in.ts";

/**
 * Goes on in the entry, which gives up capabilities and files before it starts this program again: to be called when all
 * that needs more has been asked. Where this program came that way already, or is not installed, it returns.
 *
 * @param args the verb, and what belongs to it
 * @param input what that verb reads on standard input
 * @throws {SystemError} where the entry cannot be executed
 */
export function goOnConfined(args: readonly string[], input?: string): void {
  if (!cameConfined() && isThere(ENTRY)) becomeProgram(ENTRY, args, input);
}
