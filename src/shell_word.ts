// SPDX-License-Identifier: GPL-2.0-or-later

/** Writes a text as one word of a shell's, in quotes where it has to be. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
