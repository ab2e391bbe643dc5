// SPDX-License-Identifier: GPL-2.0-or-later

// What the kernel and the services on the bus answer. Whatever the bytes or values, nothing is made up: what is read stands in
// the answer, bytes beside it have no say, and every loop ends.

import fc from "fast-check";
import { SystemError } from "../../src/system/ffi/libc.ts";
import {
  attribute,
  eachAttribute,
  message,
  nested,
  readAnswer,
  textAttribute,
} from "../../src/system/kernel/netlink.ts";
import {
  isOutputNat,
  parseDeclaration,
  parseElements,
  parseNamed,
  parseUses,
} from "../../src/system/kernel/nft_answers.ts";
import { parseSocket } from "../../src/system/kernel/sock_diag.ts";
import {
  addressEntries,
  BusError,
  isSignal,
  JobEnds,
  listedUnits,
  objectPath,
  propertyValue,
} from "../../src/system/systemd/bus_replies.ts";
import { parseSession } from "../../src/system/systemd/logind.ts";
import { nearBytes, nearJson } from "./inputs.ts";
import type { Target, Verdict } from "./target.ts";

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");
const number = (value: bigint): Uint8Array => Buffer.from(value.toString(16).padStart(16, "0"), "hex");

/** The same bytes with others around them: a reader that looks beyond its own reads two different things. */
function twice<T>(input: string, read: (bytes: Uint8Array) => T): T | undefined {
  const bytes = Buffer.from(input, "latin1");
  const [one, other] = [0x00, 0x03].map((around) => {
    const larger = new Uint8Array(bytes.length + 128).fill(around);
    larger.set(bytes, 64);
    return read(larger.subarray(64, 64 + bytes.length));
  });
  return Bun.deepEquals(one, other) ? one : undefined;
}

const BEYOND: Verdict = { complaint: "bytes beside it have a say" };

const ATTRIBUTES = [
  "",
  text(attribute(1, new Uint8Array(3))),
  text(Buffer.concat([textAttribute(1, "authnft"), nested(2, attribute(3, new Uint8Array(8)))])),
  text(Uint8Array.of(0, 0, 1, 0, 4, 0, 1, 0)),
];

/** Attributes one behind the other, as the kernel writes them. */
const WHOLE = fc
  .array(fc.tuple(fc.nat(0x3fff), fc.uint8Array({ maxLength: 12 })), { maxLength: 10, size: "max" })
  .map((all) => text(Buffer.concat(all.map(([type, value]) => attribute(type, value)))));

/** Attributes of netlink messages. */
export const attributes: Target = {
  seeds: ATTRIBUTES,
  inputs: nearBytes(ATTRIBUTES, WHOLE),
  judge: (input) => {
    const found = twice(input, (bytes) =>
      [...eachAttribute(bytes)].map(([type, value]) => ({ type, value })),
    );
    if (found === undefined) return BEYOND;
    let at = 0;
    for (const { type, value } of found) {
      // Read again by its own numbers: each attribute stands behind the one before.
      const head = Buffer.from(input.slice(at, at + 4), "latin1");
      if (head.readUInt16LE(0) !== value.length + 4 || (head.readUInt16LE(2) & 0x3fff) !== type)
        return { complaint: `attribute ${type} of ${value.length} bytes does not stand at ${at}` };
      if (text(value) !== input.slice(at + 4, at + 4 + value.length))
        return { complaint: `attribute ${type} has other bytes` };
      at += (value.length + 7) & ~3;
    }
    if (at > input.length + 3) return { complaint: "attributes beyond the end" };
    return { ended: `${Math.min(found.length, 8)} attributes` };
  },
};

const ACK = message(2, 0, new Uint8Array(20));
const DONE = message(3, 2, new Uint8Array(4));

const MESSAGES = [
  "",
  text(ACK),
  text(DONE),
  text(Buffer.concat([message(20, 2, new Uint8Array(72)), message(20, 2, new Uint8Array(73)), DONE])),
  text(message(2, 0, Uint8Array.of(0xfe, 0xff, 0xff, 0xff))),
  text(message(2, 0, Uint8Array.of(0, 0, 0, 0x80))),
  text(message(2, 0, Uint8Array.of(1, 0, 0, 0))),
  text(message(20, 0x10, new Uint8Array(4))),
  text(message(3, 0)),
];

/** What the kernel sends in one go: parts of a dump, ends of it, errors. */
export const messages: Target = {
  seeds: MESSAGES,
  inputs: nearBytes(MESSAGES),
  judge: (input) => {
    const answer = twice(input, (bytes) => {
      try {
        return readAnswer(bytes);
      } catch (error) {
        if (!(error instanceof SystemError)) throw error;
        return error.code;
      }
    });
    if (answer === undefined) return BEYOND;
    if (typeof answer === "string") return { ended: answer.replace(/\d+/, "…") };
    const { parts, ends } = answer;
    // Every byte belongs to a message that is told or counted: nothing was passed over.
    const read = parts.reduce((sum, { payload }) => sum + ((payload.length + 19) & ~3), 0);
    if (read + ends * 20 > input.length + 3) return { complaint: "more is read than there is" };
    if (input !== "" && parts.length + ends === 0) return { complaint: "something is read as nothing" };
    if (parts.some(({ payload }) => !input.includes(text(payload))))
      return { complaint: "a part has other bytes" };
    return { ended: `${Math.min(parts.length, 4)} parts, ${Math.min(ends, 2)} ends` };
  },
};

/** struct inet_diag_msg with a peer, and a cgroup behind it. */
function description(family: number, peer: readonly number[], ...extra: readonly Uint8Array[]): string {
  const bytes = new Uint8Array(72);
  bytes[0] = family;
  bytes.set(peer, 24);
  bytes.set([0x67, 0x12], 68);
  return text(Buffer.concat([bytes, ...extra]));
}

const SOCKETS = [
  description(2, [192, 0, 2, 7], attribute(21, new Uint8Array(8).fill(7))),
  description(10, [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7], attribute(8, Uint8Array.of(3))),
  description(10, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 7]),
  description(1, []),
];

/** A socket as sock_diag describes it. */
export const sockets: Target = {
  seeds: SOCKETS,
  inputs: nearBytes(SOCKETS),
  judge: (input) => {
    const bytes = Buffer.from(input, "latin1");
    const whole = twice(input, (some) => [parseSocket(some)])?.[0];
    // Cut anywhere, it is no socket, or the same as the whole but for the cgroup, which comes last.
    for (const length of [0, 28, 40, 71, 72, 76, bytes.length - 1].filter(
      (one) => one >= 0 && one < bytes.length,
    )) {
      const cut = parseSocket(bytes.subarray(0, length));
      if (length < 72 ? cut !== undefined : cut?.peer !== whole?.peer || cut?.inode !== whole?.inode)
        return { complaint: `cut to ${length} bytes it is a socket of ${cut?.peer}` };
    }
    if (whole === undefined) {
      const family = bytes[0];
      return bytes.length >= 72 && (family === 2 || family === 10) ? BEYOND : { ended: "none" };
    }
    const { family, peer, id, inode, cgroup } = whole;
    const octets = family === 2 ? bytes.subarray(24, 28) : bytes.subarray(24, 40);
    const expected =
      family === 2
        ? [...octets].join(".")
        : Array.from({ length: 8 }, (_, at) => octets.readUInt16BE(at * 2).toString(16)).join(":");
    if (peer !== expected) return { complaint: `the peer ${peer}, not ${expected}` };
    if (id.length !== 48 || text(id) !== input.slice(4, 52)) return { complaint: "another socket" };
    if (inode !== bytes.readUInt32LE(68)) return { complaint: `inode ${inode}` };
    if (cgroup !== undefined && !input.slice(72).includes(text(number(cgroup).reverse())))
      return { complaint: `the cgroup ${cgroup} does not stand there` };
    return { ended: `family ${family} ${cgroup !== undefined}` };
  },
};

const VERDICT = nested(
  2,
  nested(2, attribute(1, Uint8Array.of(255, 255, 255, 252)), textAttribute(2, "session_alice_4711_in")),
);
const COUNTER = nested(
  7,
  textAttribute(1, "counter"),
  nested(2, attribute(1, number(9n)), attribute(2, number(3n))),
);
const KEY = nested(1, attribute(1, new Uint8Array(12).fill(9)));
const elementsOf = (...parts: readonly Uint8Array[]): string =>
  text(Buffer.concat([Uint8Array.of(1, 0, 0, 0), textAttribute(1, "authnft"), nested(3, ...parts)]));

const big = (value: number): Uint8Array => Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
const setOf = (flags: number, key: number, ...parts: readonly Uint8Array[]): string =>
  text(
    Buffer.concat([Uint8Array.of(1, 0, 0, 0), attribute(3, big(flags)), attribute(4, big(key)), ...parts]),
  );

const ELEMENTS = [
  "",
  elementsOf(),
  elementsOf(nested(1, KEY)),
  setOf(0, 46),
  setOf(0, (46 << 6) | 7),
  setOf(8, 46, attribute(6, big(0xffff_ff00)), nested(17, textAttribute(1, "counter"))),
  setOf(8, 46, attribute(6, big(7))),
  setOf(0, 46, nested(17, textAttribute(1, "limit"))),
  setOf(0, 46, nested(9, attribute(1, big(7)))),
  setOf(0, 46, attribute(11, big(7))),
  elementsOf(nested(1, KEY, VERDICT, COUNTER), nested(1, KEY, COUNTER), nested(2)),
  text(
    Buffer.concat([
      new Uint8Array(4),
      textAttribute(7, "nat"),
      attribute(6, big(2)),
      nested(4, attribute(1, Uint8Array.of(0, 0, 0, 3)), attribute(2, new Uint8Array(4))),
    ]),
  ),
];

/** Elements of sets and maps, how these are declared, and chains, as nf_tables describes them. */
export const elements: Target = {
  seeds: ELEMENTS,
  inputs: nearBytes(ELEMENTS),
  judge: (input) => {
    const found = twice(input, (bytes) => ({
      elements: parseElements(bytes),
      nat: isOutputNat(bytes),
      uses: parseUses(bytes),
      named: [2, 3].map((nameType) => parseNamed(bytes, nameType)),
      declared: parseDeclaration(bytes),
    }));
    if (found === undefined) return BEYOND;
    if (found.nat && !input.includes("nat"))
      return { complaint: "a chain is of a type that does not stand there" };
    if (
      found.declared !== undefined &&
      !/^typeof [a-z0-9 .]+( : verdict)?(; counter)?$/.test(found.declared.body)
    )
      return { complaint: `a set is declared as ${found.declared.body}` };
    for (const { key, chain, counter } of found.elements) {
      if (!input.includes(text(key))) return { complaint: "a key does not stand there" };
      if (chain !== undefined && (chain.includes("\0") || !input.includes(chain)))
        return { complaint: `the chain ${JSON.stringify(chain)} does not stand there` };
      if (counter !== undefined && !(counter.packets >= 0 && counter.bytes >= 0))
        return { complaint: "a counter below nought" };
    }
    const [first] = found.elements;
    return {
      ended: `${Math.min(found.elements.length, 3)} elements ${first?.chain !== undefined} ${first?.counter !== undefined} ${found.nat} ${found.declared?.body}`,
    };
  },
};

const SIGNAL = {
  destination: "org.freedesktop.systemd1",
  path: "/org/freedesktop/systemd1",
  interface: "org.freedesktop.systemd1.Manager",
  member: "JobRemoved",
};
const JOB = "/org/freedesktop/systemd1/job/7";
const { destination: _, ...HEAD } = SIGNAL;
const SESSION = {
  Id: { value: "c1" },
  Leader: { value: 4711 },
  User: { value: [1000, "/org/freedesktop/login1/user/_1000"] },
  Scope: { value: "session-c1.scope" },
  Service: { value: "sshd" },
  Type: { value: "tty" },
  Class: { value: "user" },
};

type Conversation = {
  /** What a call answers with. */
  readonly answer: readonly unknown[];
  /** The signals before and after that answer, heads and bodies. */
  readonly signals: readonly { readonly head: object; readonly body: readonly unknown[] }[];
};

/** Makes bytes of lists of numbers, as the library does. */
function withBytes(answer: readonly unknown[]): unknown[] {
  return answer.map((variant) => {
    const { value } = Object(variant) as { value?: unknown };
    if (!Array.isArray(value)) return variant;
    const isBytes = (one: unknown): one is number[] =>
      Array.isArray(one) && one.every((byte) => Number.isInteger(byte));
    return {
      value: value.map((entry) =>
        Array.isArray(entry) ? entry.map((one) => (isBytes(one) ? Uint8Array.from(one) : one)) : entry,
      ),
    };
  });
}

const CONVERSATIONS = [
  { answer: [JOB], signals: [{ head: HEAD, body: [7, JOB, "x.scope", "done"] }] },
  {
    answer: [JOB],
    signals: [
      { head: HEAD, body: [8, "/org/freedesktop/systemd1/job/8", "y.scope", "failed"] },
      { head: { ...HEAD, destination: ":1.9" }, body: [7, JOB, "x.scope", "done"] },
      { head: HEAD, body: [7, JOB, "x.scope", "failed"] },
      { head: HEAD, body: [7, JOB, "x.scope", "done"] },
    ],
  },
  { answer: [SESSION], signals: [] },
  {
    answer: [
      {
        value: [
          [2, [10, 0, 0, 0], 8],
          [10, Array(16).fill(0), 64],
        ],
      },
    ],
    signals: [],
  },
  { answer: [{ value: [] }], signals: [] },
  { answer: [], signals: [{ head: {}, body: [] }] },
].map((conversation) => JSON.stringify(conversation));

/** What services on the bus answer and tell: a job, how it ends, a property, a session. */
export const bus: Target = {
  seeds: CONVERSATIONS,
  inputs: nearJson(CONVERSATIONS),
  judge: async (input) => {
    let conversation: Partial<Conversation> | null;
    try {
      conversation = JSON.parse(input);
    } catch {
      return { ended: "no values" };
    }
    // The library hands over lists of values; what is in them is the sender's.
    const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
    const answer = list(conversation?.answer);
    const ended = [
      () => objectPath(answer, "Call"),
      () => propertyValue(answer, "P"),
      () => parseSession(answer),
      () => addressEntries(withBytes(answer), "IPAddressDeny"),
      () => listedUnits(answer, "ListUnitsByPatterns"),
    ].map((read) => {
      try {
        return read();
      } catch (error) {
        if (!(error instanceof BusError)) throw error;
        return undefined;
      }
    });
    const [job, , session, addresses] = ended;
    for (const [family, address, length] of (addresses ?? []) as ReturnType<typeof addressEntries>) {
      if (address.length !== (family === 2 ? 4 : 16) || !(length >= 0 && length <= 8 * address.length))
        return { complaint: `an address that cannot be: ${family} ${address} ${length}` };
    }
    if (session !== undefined) {
      const { id, leader, uid, scope, service } = session as ReturnType<typeof parseSession>;
      const sound =
        [id, scope, service].every((value) => typeof value === "string") &&
        leader >= 0 &&
        uid >= 0 &&
        uid < 2 ** 32;
      if (!sound) return { complaint: `a session that cannot be: ${JSON.stringify(session)}` };
    }
    if (typeof job !== "string") return { ended: `no job ${ended.map((one) => one !== undefined)}` };
    // Whenever the answer comes among the signals, the first that everybody was told of this job is how it ended.
    const heard = list(conversation?.signals).map(
      (signal) => Object(signal) as { head?: object; body?: unknown },
    );
    const told = heard.filter(({ head, body }) => {
      const { path, interface: of, member, destination } = Object(head) as Record<string, unknown>;
      const [, about, , result] = list(body);
      const isOurs = path === HEAD.path && of === HEAD.interface && member === HEAD.member && about === job;
      return isOurs && (destination ?? "") === "" && typeof result === "string";
    });
    const expected = told[0] === undefined ? "still waiting" : list(told[0].body)[3];
    for (let position = 0; position <= heard.length; position++) {
      const ends = new JobEnds();
      const hear = ({ head, body }: (typeof heard)[number]): void => {
        if (isSignal(Object(head), SIGNAL)) ends.removed(list(body));
      };
      heard.slice(0, position).forEach(hear);
      const end = ends.of(job);
      heard.slice(position).forEach(hear);
      const result = await Promise.race([end, Promise.resolve("still waiting")]);
      if (result !== expected) return { complaint: `the job ended as ${result}, not as ${expected}` };
    }
    return { ended: `a job, ${expected}`.slice(0, 40) };
  },
};
