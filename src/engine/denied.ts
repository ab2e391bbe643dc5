// SPDX-License-Identifier: GPL-2.0-or-later
import { Refusal } from "../refusal.ts";
import { SystemError } from "../system/ffi/libc.ts";

/** What the helper needs, by the error that says it is denied; and the line that grants it to the service that members log in by. */
const DENIALS: Readonly<Record<string, readonly [what: string, remedy: string]>> = {
  "socket: EAFNOSUPPORT": ["netlink sockets", "RestrictAddressFamilies=AF_UNIX AF_NETLINK"],
  "socket: EPERM": ["netlink sockets", "SystemCallFilter=@network-io"],
  "netlink: EPERM": ["CAP_NET_ADMIN", "CapabilityBoundingSet=CAP_NET_ADMIN"],
};

/** The place for the line. */
const WHERE =
  'in the unit of the service that members log in by ("systemctl edit", or the container\'s manager)';

/**
 * Turns an error into one sentence where the host denies the helper what it needs.
 *
 * @returns `undefined` for any other error
 */
export function denied(error: unknown): Refusal | undefined {
  if (!(error instanceof SystemError)) return undefined;
  const [what, remedy] = DENIALS[error.message] ?? [];
  if (what === undefined) return undefined;
  return new Refusal(
    "host",
    `The host denies the helper ${what} (${error.message}): add ${remedy} ${WHERE}.`,
  );
}

/** Does the same for a directory of ours that cannot be written, by the error's name; `undefined` for any other error. */
export function deniedDirectory(code: string): string | undefined {
  return code === "EROFS" ? `it is mounted read-only: add ReadWritePaths=/run/authnft ${WHERE}` : undefined;
}
