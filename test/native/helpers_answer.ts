// SPDX-License-Identifier: GPL-2.0-or-later

// Says of each argument, a name or "uid:NUMBER", whether the program takes that user for a member: "yes", "no" or "unknown", a line each.

import { SystemError } from "../../src/system/ffi/libc.ts";
import { findUser, findUserById } from "../../src/system/ffi/users.ts";
import { membership } from "../../src/system/host/membership.ts";

for (const word of process.argv.slice(2)) console.log(answer(word));

function answer(word: string): string {
  try {
    const user = word.startsWith("uid:") ? findUserById(Number(word.slice(4))) : findUser(word);
    return user !== undefined && membership()(user) ? "yes" : "no";
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    return "unknown";
  }
}
