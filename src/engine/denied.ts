// SPDX-License-Identifier: GPL-2.0-or-later
import { Refusal } from "../refusal.ts";
import { SystemError } from "../system/ffi/libc.ts";

/** What the helper cannot do without, by how the kernel denies it; and the line that gives it to the service that members log in by. */
const DENIALS: Readonly<Record<string, readonly [what: string, mend: string]>> = {
  "socket: EAFNOSUPPORT": ["netlink sockets", "RestrictAddressFamilies=AF_UNIX AF_NETLINK"],
  "socket: EPERM": ["netlink sockets", "SystemCallFilter=@network-io"],
  "netlink: EPERM": ["CAP_NET_ADMIN", "CapabilityBoundingSet=CAP_NET_ADMIN"],
};

/** Where the line belongs. */
const WHERE =
  'in the unit of the service that members log in by ("systemctl edit", or the container\'s manager)';

/**
 * Makes one sentence of what went wrong where the host keeps from the helper what it cannot do without.
 *
 * @returns `undefined` for any other error
 */
export function denied(error: unknown): Refusal | undefined {
  if (!(error instanceof SystemError)) return undefined;
  const [what, mend] = DENIALS[error.message] ?? [];
  if (what === undefined) return undefined;
  return new Refusal("host", `The host denies the helper ${what} (${error.message}): add ${mend} ${WHERE}.`);
}

/** The same for a directory of ours that cannot be written, by the name of the error; `undefined` for any other. */
export function deniedDirectory(code: string): string | undefined {
  return code === "EROFS" ? `it is mounted read-only: add ReadWritePaths=/run/authnft ${WHERE}` : undefined;
}
