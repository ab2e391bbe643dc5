// SPDX-License-Identifier: GPL-2.0-or-later
import { AF_UNIX, SOCK_DGRAM, Socket, unixAddress } from "../ffi/libc.ts";

/**
 * Sends one datagram to a Unix socket.
 *
 * @param patience how long to wait for a receiver that is busy, in milliseconds from 1 on
 * @throws {SystemError} `EAGAIN` when it was busy all that time
 */
export function sendDatagram(path: string, data: Uint8Array, patience: number): void {
  using socket = new Socket(AF_UNIX, SOCK_DGRAM, 0);
  socket.setTimeout(patience);
  socket.send(data, unixAddress(path));
}
