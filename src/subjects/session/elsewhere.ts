// SPDX-License-Identifier: GPL-2.0-or-later
import { Refusal } from "../../refusal.ts";

const WORD = "elsewhere=";

const PLACES = {
  network:
    "in another network namespace than the host's, where its rules would not hold; start the service in the host's own, and have no other module of the stack leave it for members",
  users:
    "in another user namespace than the host's, where it can neither be moved nor filtered; start the service in the host's own, and have no other module of the stack leave it for members",
  processes:
    "in another PID namespace than the host's, where its number is somebody else's; start the service in the host's own (vsftpd: isolate=NO)",
} as const;

/** The namespace of a PAM process that is not the host's, process 1's. */
export type Elsewhere = keyof typeof PLACES;

/** Returns what the entry says of the PAM process (native/entry.c); `undefined` where it is in the host's own namespaces. */
export function elsewhereIn(words: readonly string[]): Elsewhere | undefined {
  const word = words.find((word) => word.startsWith(WORD))?.slice(WORD.length);
  return word !== undefined && Object.hasOwn(PLACES, word) ? (word as Elsewhere) : undefined;
}

/** Returns the word that says it. */
export function elsewhereWord(elsewhere: Elsewhere): string {
  return `${WORD}${elsewhere}`;
}

/** Makes the refusal of a session whose process is there. */
export function refusalFor(elsewhere: Elsewhere): Refusal {
  return new Refusal("namespace", `Cannot open a session for a process that is ${PLACES[elsewhere]}.`);
}
