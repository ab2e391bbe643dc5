// SPDX-License-Identifier: GPL-2.0-or-later
import { oneLine, Refusal } from "../refusal.ts";
import { SystemError } from "../system/ffi/libc.ts";
import { Level, log } from "../system/systemd/journal.ts";

/**
 * Logs what went wrong where nothing is refused for it.
 *
 * @param what the act that failed, as a main clause without its full stop
 * @param error its cause; its stack is logged where it is none of ours
 */
export function logWarning(what: string, error: unknown): void {
  // The bus's errors go by name: importing their class would load D-Bus.
  const isTold =
    error instanceof Refusal || error instanceof SystemError || (error as Error).name === "BusError";
  const cause = isTold ? (error as Error).message : String((error as Error).stack ?? error);
  log({ level: Level.warning, message: oneLine(`${what}: ${cause}`) });
}
