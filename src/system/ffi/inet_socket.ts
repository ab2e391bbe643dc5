// SPDX-License-Identifier: GPL-2.0-or-later

// Sockets of any family, type and protocol, in the network of the calling thread. None of them ever waits.

import { koffi, loadLibrary } from "./koffi.ts";
import { errnoName, SystemError } from "./libc.ts";

const libc = loadLibrary("libc.so.6");
const Iovec = koffi.struct("probe_iovec", { base: "void *", length: "size_t" });
const Message = koffi.struct("probe_msghdr", {
  name: "void *",
  nameLength: "uint32_t",
  parts: koffi.pointer(Iovec),
  partCount: "size_t",
  control: "void *",
  controlLength: "size_t",
  flags: "int",
});
const Program = koffi.struct("probe_fprog", { length: "uint16_t", instructions: "void *" });

const c = {
  socket: libc.func("int socket(int domain, int type, int protocol)"),
  bind: libc.func("int bind(int fd, const void *address, uint32_t length)"),
  connect: libc.func("int connect(int fd, const void *address, uint32_t length)"),
  listen: libc.func("int listen(int fd, int backlog)"),
  accept: libc.func("int accept4(int fd, void *address, void *length, int flags)"),
  send: libc.func(
    "long sendto(int fd, const void *data, size_t length, int flags, const void *to, uint32_t toLength)",
  ),
  receive: libc.func("long recv(int fd, _Out_ void *data, size_t length, int flags)"),
  sendMessage: libc.func("sendmsg", "long", ["int", koffi.pointer(Message), "int"]),
  receiveMessage: libc.func("recvmsg", "long", ["int", koffi.inout(koffi.pointer(Message)), "int"]),
  setOption: libc.func("int setsockopt(int fd, int level, int name, const void *value, uint32_t length)"),
  setFilter: libc.func("setsockopt", "int", ["int", "int", "int", koffi.pointer(Program), "uint32_t"]),
  option: libc.func(
    "int getsockopt(int fd, int level, int name, _Out_ void *value, _Inout_ uint32_t *length)",
  ),
  ownName: libc.func("int getsockname(int fd, _Out_ void *address, _Inout_ uint32_t *length)"),
  close: libc.func("int close(int fd)"),
  toBytes: libc.func("int inet_pton(int family, const char *text, _Out_ void *address)"),
};

/** Where packets go: an address and port, or the name of an abstract Unix socket, which each network has its own of. */
export type SocketAddress =
  | { readonly ip: string; readonly port: number; readonly scope?: number }
  | { readonly name: string };

/** A socket's option, by the kernel's numbers; the value as a number or as bytes. */
export type Option = {
  readonly level: number;
  readonly name: number;
  readonly value: number | readonly number[];
};

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const AF_PACKET = 17;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const EINPROGRESS = 115;
const SOL_SOCKET = 1;
const SO_ERROR = 4;
const SO_ATTACH_FILTER = 26;
const SCM_RIGHTS = 1;
const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;
/** The loopback has this number in every network. */
const LOOPBACK_INDEX = 1;
/** struct cmsghdr and one descriptor, padded. */
const CONTROL = 24;

/** The longest packet that is read whole. */
const BUFFER = 2048;

/** Makes a socket. @returns its descriptor @throws {SystemError} */
export function openSocket(family: number, type: number, protocol: number): number {
  return checked("socket", c.socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol));
}

/** @throws {SystemError} */
export function setOption(fd: number, { level, name, value }: Option): void {
  const bytes =
    typeof value === "number" ? new Uint8Array(Int32Array.of(value).buffer) : Uint8Array.from(value);
  checked("setsockopt", c.setOption(fd, level, name, bytes, bytes.length));
}

/** @throws {SystemError} */
export function bindSocket(fd: number, address: SocketAddress): void {
  const bytes = encode(address);
  checked("bind", c.bind(fd, bytes, bytes.length));
}

/** Begins to connect, or gives a datagram socket its peer; {@link pendingError} tells the result. @throws {SystemError} */
export function connectSocket(fd: number, address: SocketAddress): void {
  const bytes = encode(address);
  if (c.connect(fd, bytes, bytes.length) < 0 && koffi.errno() !== EINPROGRESS)
    throw new SystemError("connect", errnoName(koffi.errno()));
}

/** @throws {SystemError} */
export function listenSocket(fd: number): void {
  checked("listen", c.listen(fd, 8));
}

/** @returns the descriptor of a connection @throws {SystemError} `EAGAIN` when there is none yet */
export function acceptSocket(fd: number): number {
  return checked("accept", c.accept(fd, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

/** Sends to an address, or to the peer. @throws {SystemError} */
export function sendBytes(fd: number, data: Uint8Array, to?: SocketAddress): void {
  const address = to === undefined ? null : encode(to);
  checked("send", c.send(fd, data, data.length, MSG_NOSIGNAL, address, address?.length ?? 0));
}

/** @throws {SystemError} `EAGAIN` when there is nothing yet */
export function receiveBytes(fd: number): Uint8Array {
  const buffer = new Uint8Array(BUFFER);
  return buffer.subarray(0, checked("recv", c.receive(fd, buffer, buffer.length, 0)));
}

/** Returns the error that a socket met since it was last asked, such as `ECONNREFUSED`; `OK` when none. @throws {SystemError} */
export function pendingError(fd: number): string {
  const value = new Int32Array(1);
  checked("getsockopt", c.option(fd, SOL_SOCKET, SO_ERROR, value, Uint32Array.of(4)));
  return errnoName(value[0] ?? 0);
}

/** Returns the port that a socket has. @throws {SystemError} */
export function portOf(fd: number): number {
  const address = new Uint8Array(28);
  checked("getsockname", c.ownName(fd, address, Uint32Array.of(address.length)));
  return new DataView(address.buffer).getUint16(2);
}

/** Hands a descriptor to the process at the other end of a Unix socket. @throws {SystemError} */
export function giveDescriptor(over: number, fd: number): void {
  const control = new Uint8Array(CONTROL);
  const view = new DataView(control.buffer);
  view.setBigUint64(0, 20n, true); // without the padding
  view.setInt32(8, SOL_SOCKET, true);
  view.setInt32(12, SCM_RIGHTS, true);
  view.setInt32(16, fd, true);
  checked("sendmsg", c.sendMessage(over, descriptorMessage(control), MSG_NOSIGNAL));
}

/** Takes a descriptor from the process at the other end of a Unix socket. @throws {SystemError} `EAGAIN` when none has come yet */
export function takeDescriptor(over: number): number {
  const control = new Uint8Array(CONTROL);
  checked("recvmsg", c.receiveMessage(over, descriptorMessage(control), MSG_CMSG_CLOEXEC));
  const view = new DataView(control.buffer);
  if (view.getBigUint64(0, true) !== 20n) throw new SystemError("recvmsg", "ENOMSG");
  return view.getInt32(16, true);
}

function descriptorMessage(control: Uint8Array): object {
  return {
    name: null,
    nameLength: 0,
    parts: [{ base: new Uint8Array(1), length: 1 }],
    partCount: 1,
    control,
    controlLength: control.length,
    flags: 0,
  };
}

/**
 * Watches the loopback for packets to one address, whatever becomes of them there.
 *
 * @returns a descriptor that the packets are received from, beginning with their IP headers
 * @throws {SystemError}
 */
export function watchLoopback(destination: string): number {
  const six = destination.includes(":");
  const address = new DataView(addressBytes(six ? AF_INET6 : AF_INET, destination).buffer);
  // Without a protocol it receives nothing until it is bound, with the filter in place.
  const fd = openSocket(AF_PACKET, SOCK_DGRAM, 0);
  try {
    // Load the destination address, or the end of a long one; if it is the wanted one take all of the packet, else nothing.
    const instructions = [
      [0x20, 0, 0, six ? 36 : 16],
      [0x15, 0, 1, address.getUint32(six ? 12 : 0)],
      [0x06, 0, 0, 0xffff],
      [0x06, 0, 0, 0],
    ] as const;
    const program = new Uint8Array(instructions.length * 8);
    const view = new DataView(program.buffer);
    instructions.forEach(([code, yes, no, value], index) => {
      view.setUint16(index * 8, code, true);
      view.setUint8(index * 8 + 2, yes);
      view.setUint8(index * 8 + 3, no);
      view.setUint32(index * 8 + 4, value, true);
    });
    checked(
      "setsockopt",
      c.setFilter(
        fd,
        SOL_SOCKET,
        SO_ATTACH_FILTER,
        { length: instructions.length, instructions: program },
        koffi.sizeof(Program),
      ),
    );
    const place = new DataView(new ArrayBuffer(20)); // struct sockaddr_ll
    place.setUint16(0, AF_PACKET, true);
    place.setUint16(2, six ? ETH_P_IPV6 : ETH_P_IP);
    place.setInt32(4, LOOPBACK_INDEX, true);
    checked("bind", c.bind(fd, new Uint8Array(place.buffer), place.byteLength));
    return fd;
  } catch (error) {
    closeSocket(fd);
    throw error;
  }
}

export function closeSocket(fd: number): void {
  c.close(fd);
}

function encode(address: SocketAddress): Uint8Array {
  if ("name" in address) return Buffer.concat([Uint8Array.of(AF_UNIX, 0, 0), Buffer.from(address.name)]);
  const six = address.ip.includes(":");
  const bytes = new Uint8Array(six ? 28 : 16);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, six ? AF_INET6 : AF_INET, true);
  view.setUint16(2, address.port);
  bytes.set(addressBytes(six ? AF_INET6 : AF_INET, address.ip), six ? 8 : 4);
  if (six) view.setUint32(24, address.scope ?? 0, true);
  return bytes;
}

function addressBytes(family: number, text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(family === AF_INET6 ? 16 : 4);
  if (c.toBytes(family, text, bytes) !== 1) throw new SystemError(`the address ${text}`, "EINVAL");
  return bytes;
}

function checked(act: string, result: number | bigint): number {
  if (result >= 0) return Number(result);
  throw new SystemError(act, errnoName(koffi.errno()));
}
