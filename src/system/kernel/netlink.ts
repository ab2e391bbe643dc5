// SPDX-License-Identifier: GPL-2.0-or-later
import { AF_NETLINK, errnoName, SOCK_RAW, Socket, SystemError } from "../ffi/libc.ts";

/** A message as it came: its type and what follows the header. */
export type Message = { readonly type: number; readonly payload: Uint8Array };

// linux/netlink.h
export const NLM_F_REQUEST = 0x01;
export const NLM_F_ACK = 0x04;
export const NLM_F_DUMP = 0x300;
const NLM_F_DUMP_INTR = 0x10; // what was dumped changed meanwhile
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const HEADER = 16;
const ERRNO_MAX = 4095; // linux/err.h
const NLA_TYPE_MASK = 0x3fff;
const NLA_F_NESTED = 0x8000;

/** The kernel answers at once; this long means that it does not. */
const TIMEOUT = 5000; // milliseconds
/** Dumps come in pieces of at most 32 KiB. */
const BUFFER = 1 << 17;

/**
 * Sends netlink messages and collects the answers. The messages are numbered here, from 1.
 *
 * @param answers how many acknowledgements or ends of a dump are waited for
 * @returns the messages of a dump
 * @throws {SystemError} `EAGAIN` on time-out, and as `readAnswer`
 */
export function netlink(
  protocol: number,
  messages: readonly Uint8Array[],
  options: { readonly answers: number },
): Message[] {
  using socket = new Socket(AF_NETLINK, SOCK_RAW, protocol);
  socket.setTimeout(TIMEOUT);
  const kernel = new Uint8Array(12);
  new DataView(kernel.buffer).setUint16(0, AF_NETLINK, true);
  messages.forEach((message, index) => {
    new DataView(message.buffer, message.byteOffset).setUint32(8, index + 1, true);
  });
  socket.send(Buffer.concat(messages), kernel);
  const received: Message[] = [];
  const buffer = new Uint8Array(BUFFER);
  let waiting = options.answers;
  while (waiting > 0) {
    const { parts, ends } = readAnswer(socket.receive(buffer));
    received.push(...parts);
    waiting -= ends;
  }
  return received;
}

/** The contents of one read: parts of a dump, and the number of acknowledgements or ends of a dump. */
export type Answer = { readonly parts: readonly Message[]; readonly ends: number };

/**
 * Reads what the kernel sends in one go.
 *
 * @throws {SystemError} with the error that the kernel reports; `EINTR` when what is dumped has changed meanwhile; `EBADMSG`
 * when a message is cut short or makes no sense, for what is left of a dump must not pass for the whole
 */
export function readAnswer(bytes: Uint8Array): Answer {
  const parts: Message[] = [];
  let ends = 0;
  for (const { type, flags, payload } of split(bytes)) {
    if ((flags & NLM_F_DUMP_INTR) !== 0) throw new SystemError("netlink", "EINTR");
    if (type === NLMSG_ERROR || type === NLMSG_DONE) {
      const errno = payload.length < 4 ? -1 : -view(payload).getInt32(0, true);
      if (errno < 0 || errno > ERRNO_MAX) throw new SystemError("netlink", "EBADMSG");
      if (errno !== 0) throw new SystemError("netlink", errnoName(errno));
      ends++;
    } else parts.push({ type, payload: payload.slice() });
  }
  return { parts, ends };
}

/** Makes a message of a type, flags and its parts. */
export function message(type: number, flags: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const body = Buffer.concat(parts);
  const bytes = new Uint8Array(pad(HEADER + body.length));
  const header = view(bytes);
  header.setUint32(0, HEADER + body.length, true);
  header.setUint16(4, type, true);
  header.setUint16(6, flags | NLM_F_REQUEST, true);
  bytes.set(body, HEADER);
  return bytes;
}

/** Makes an attribute, padded to four bytes. */
export function attribute(type: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(pad(4 + value.length));
  view(bytes).setUint16(0, 4 + value.length, true);
  view(bytes).setUint16(2, type, true);
  bytes.set(value, 4);
  return bytes;
}

/** Makes an attribute that holds attributes. */
export function nested(type: number, ...attributes: readonly Uint8Array[]): Uint8Array {
  return attribute(type | NLA_F_NESTED, Buffer.concat(attributes));
}

/** Makes an attribute of a text with its terminating NUL. */
export function textAttribute(type: number, text: string): Uint8Array {
  return attribute(type, Buffer.from(`${text}\0`));
}

/** Reads attributes; of two with one type the last stays. Truncated ones are passed over. */
export function attributes(bytes: Uint8Array): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  for (const [type, value] of eachAttribute(bytes)) found.set(type, value);
  return found;
}

/** Goes through attributes in order. */
export function* eachAttribute(bytes: Uint8Array): Generator<[type: number, value: Uint8Array]> {
  for (let at = 0; at + 4 <= bytes.length; ) {
    const length = view(bytes).getUint16(at, true);
    if (length < 4 || at + length > bytes.length) return;
    yield [view(bytes).getUint16(at + 2, true) & NLA_TYPE_MASK, bytes.subarray(at + 4, at + length)];
    at += pad(length);
  }
}

function* split(bytes: Uint8Array): Generator<Message & { readonly flags: number }> {
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.length - at < HEADER ? 0 : view(bytes).getUint32(at, true);
    if (length < HEADER || at + length > bytes.length) throw new SystemError("netlink", "EBADMSG");
    yield {
      type: view(bytes).getUint16(at + 4, true),
      flags: view(bytes).getUint16(at + 6, true),
      payload: bytes.subarray(at + HEADER, at + length),
    };
    at += pad(length);
  }
}

/** Returns a view on bytes, for reading and writing numbers. Netlink is in host order; the machines that we run on are little-endian. */
export function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function pad(length: number): number {
  return (length + 3) & ~3;
}
