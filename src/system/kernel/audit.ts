// SPDX-License-Identifier: GPL-2.0-or-later
import { AF_NETLINK, SOCK_RAW, Socket } from "../ffi/libc.ts";
import { message, NLM_F_ACK, netlink } from "./netlink.ts";

const NETLINK_AUDIT = 9;
const AUDIT_USER_ERR = 1109; // linux/audit.h: an error that a user's login ran into

/**
 * Writes a record of type AUDIT_USER_ERR into the kernel's audit trail.
 *
 * @param text `key=value` pairs; values from outside must be encoded with `auditValue`
 * @throws {SystemError} when the kernel has no audit, or refuses
 */
export function auditUserError(text: string): void {
  netlink(NETLINK_AUDIT, [message(AUDIT_USER_ERR, NLM_F_ACK, Buffer.from(`${text}\0`))], { answers: 1 });
}

/** Encodes a value as auditd's own tools do: in quotes, or in hex where it could break out of them. */
export function auditValue(text: string): string {
  return /^[!#-~]*$/.test(text) ? `"${text}"` : Buffer.from(text).toString("hex").toUpperCase();
}

/** Finds out whether the audit trail can be written to from here, and sends nothing. @throws {SystemError} where not */
export function reachAudit(): void {
  using _socket = new Socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT);
}
