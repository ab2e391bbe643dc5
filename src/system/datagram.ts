// SPDX-License-Identifier: GPL-2.0-or-later
import { AF_UNIX, SOCK_DGRAM, Socket, unixAddress } from "./libc.ts";

/** Sends one datagram to a Unix socket; waits a second at most. @throws {SystemError} */
export function sendDatagram(path: string, data: Uint8Array): void {
  using socket = new Socket(AF_UNIX, SOCK_DGRAM, 0);
  socket.setTimeout(1000);
  socket.send(data, unixAddress(path));
}
