// SPDX-License-Identifier: GPL-2.0-or-later

// What a PAM process, a keyring and a directory of records hand to the helper. Whatever it is, it is read or it is refused; and
// what is read is within its bounds, and comes out the same when it is written and read again.

import { isDeepStrictEqual } from "node:util";
import { addressBytes, familyOf, parseAddress } from "../../src/address.ts";
import { escapeName, isEscapedName, unescapeName } from "../../src/escaped_name.ts";
import { Refusal } from "../../src/refusal.ts";
import { parseArguments } from "../../src/subjects/session/arguments.ts";
import { claimsTag, parseKeySerial } from "../../src/subjects/session/claims.ts";
import { correlationToken } from "../../src/subjects/session/correlation.ts";
import { findFragment } from "../../src/subjects/session/find.ts";
import { choosePeer } from "../../src/subjects/session/peer.ts";
import { formatRecord, hasRules, parseRecord } from "../../src/subjects/session/record.ts";
import { formatReply, type Reply } from "../../src/subjects/session/reply.ts";
import { decodeRequest, parseRequest, REQUEST_LIMIT } from "../../src/subjects/session/request.ts";
import {
  cgroupPath,
  parseScopeUnit,
  placeOfProcess,
  scopeUnit,
  sessionId,
} from "../../src/subjects/session/scope_unit.ts";
import { parseUserName, type UserName } from "../../src/subjects/session/user_name.ts";
import { sliceId, uidOfSlice } from "../../src/subjects/slice/slice.ts";
import { bytesOf, nearBytes, nearJson, nearText } from "./inputs.ts";
import { sketch, type Target, type Verdict } from "./target.ts";

/** Does something that may be refused for a reason. @returns how it ended, or the complaint that it is refused wrongly */
function judged(reasons: readonly string[], act: () => Verdict): Verdict {
  try {
    return act();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    if (!reasons.includes(error.reason)) return { complaint: `it is refused for ${error.reason}` };
    if (/\p{Cc}/u.test(error.message)) return { complaint: `its refusal is not one line: ${error.message}` };
    return {
      ended: `${error.reason}: ${sketch(error.message)}`,
    };
  }
}

const REQUEST = {
  v: 1,
  type: "open",
  user: "alice",
  uid: 1000,
  gid: 1000,
  service: "sshd",
  rhost: "192.0.2.7",
  tty: "ssh",
  ruser: "",
  pid: 4711,
  args: ["debug", "claims_env=X", "rhost_policy=kernel", "scope=own", "lingering=keep"],
  env: { X: "1" },
  session: "",
};

/** What is wrong with what a name becomes in units, chains and files. */
function complaintOfName(name: UserName): string | undefined {
  if (/[\p{C}/:]/u.test(name.replaceAll(/[\p{Co}\p{Cn}]/gu, ""))) return `the name ${JSON.stringify(name)}`;
  const escaped = escapeName(name);
  const read = unescapeName(escaped);
  if (!isEscapedName(escaped)) return `${escaped} is nobody's`;
  if (read !== name && (read !== undefined || !/\\_[0-9a-f]{32}$/.test(escaped)))
    return `${JSON.stringify(name)} is read back as ${JSON.stringify(read)}`;
  if (/^[A-Za-z0-9_][A-Za-z0-9._-]{0,31}$/.test(name) && name !== (escaped as string))
    return `${name} is not what it was`;
  const unit = scopeUnit(name, 4_194_304, 99);
  const chain = sessionId({ scope_unit: unit, user: "", pid: 1 });
  if (!/^[A-Za-z0-9_.\\-]{1,210}$/.test(unit) || parseScopeUnit(unit) === undefined)
    return `the unit ${unit}`;
  if (!/^session_[A-Za-z0-9/_.-]{1,180}$/.test(chain)) return `the chain ${chain}`;
  return undefined;
}

const REQUESTS = [
  JSON.stringify(REQUEST),
  JSON.stringify({
    ...REQUEST,
    type: "close",
    session: "authnft-alice-4711.scope",
    groups: ["wheel"],
    sockets: [1, 2 ** 32],
  }),
  JSON.stringify({ ...REQUEST, user: "al", groups: ["wheel", "dev"] }),
  JSON.stringify({ ...REQUEST, user: "al", groups: [], tty: "" }),
  JSON.stringify({ ...REQUEST, user: "DOM\\al-ice Ü", groups: ["DOM\\x5cdomain\\x20users"] }),
  JSON.stringify({ ...REQUEST, user: 'a"; {$x}%i*#@'.repeat(19), groups: [], tty: "" }),
  ...["", ".", "a/b", "a\u0001", "a\ufffd", "x".repeat(257)].map((user) =>
    JSON.stringify({ ...REQUEST, user }),
  ),
  JSON.stringify({ ...REQUEST, groups: ["a\\xff"] }),
  JSON.stringify({ ...REQUEST, rhost: "host.example", args: ["rhost_policy=strict"] }),
  JSON.stringify({ ...REQUEST, tty: "192.0.2.7", args: ["rhost_policy=kernel"] }),
  JSON.stringify({ ...REQUEST, tty: "::1", ruser: "192.0.2.7", args: ["rhost_policy=kernel"], env: {} }),
  JSON.stringify({ ...REQUEST, args: ["AUTHNFT_NO_SANDBOX=1", "lingering=kill"] }),
  JSON.stringify({ ...REQUEST, user: "\u00e9" }).replace("é", "\udcff"),
  "",
  "x".repeat(REQUEST_LIMIT + 1),
];

/** The request of a PAM process, and what is made of its parts. */
export const requests: Target = {
  seeds: REQUESTS,
  inputs: nearJson(REQUESTS),
  judge: (input) =>
    judged(["request", "user", "missing", "argument", "address", "claims"], () => {
      const request = parseRequest(decodeRequest(bytesOf(input)));
      const { uid, gid, pid, type, user, rhost, args, env, groups, sockets } = request;
      const sound =
        [uid, gid, pid].every(Number.isInteger) &&
        uid > 0 &&
        uid < 2 ** 32 - 1 &&
        gid >= 0 &&
        pid > 0 &&
        /^(?:open|close)$/.test(type) &&
        !Array.isArray(env) &&
        Object.values(env).every((value) => typeof value === "string") &&
        (groups ?? []).every((group) => !group.includes("/") && !group.startsWith(".")) &&
        (sockets ?? []).every(Number.isSafeInteger);
      if (!sound) return { complaint: "a request that cannot be was read" };
      if (!isDeepStrictEqual(parseRequest(JSON.stringify(request)), request))
        return { complaint: "it is not the same request when it is written and read again" };
      if (Object.getPrototypeOf({}) !== Object.prototype || "v" in {})
        return { complaint: "it changed all objects" };
      const name = parseUserName(user);
      const complaint = complaintOfName(name);
      if (complaint !== undefined) return { complaint };
      const { path, others } = findFragment({ name, groups }, (one) =>
        one.endsWith("/default") ? request.tty !== "" : !/\/(?:al|x)$/.test(one),
      );
      if (
        ![path, ...others].every((one) =>
          /^\/etc\/authnft\/(?:default|(?:users|groups)\/[A-Za-z0-9_\\][A-Za-z0-9_.\\-]{0,254})$/.test(one),
        )
      )
        return { complaint: `the fragment ${path}, or ${others}` };
      const { rhostPolicy, claimsEnv } = parseArguments(args);
      const peer = choosePeer(rhostPolicy, rhost, () => [request.tty, request.ruser]);
      if (claimsEnv !== undefined && Object.hasOwn(env, claimsEnv)) parseKeySerial(env[claimsEnv] ?? "");
      const token = correlationToken(env["X"], { unixSeconds: 1, pid, random: new Uint8Array(4) });
      if (!/^[A-Za-z0-9_.:-]{1,64}$/.test(token)) return { complaint: `the token ${token}` };
      return {
        ended: `read: ${type} ${rhostPolicy} ${peer.address !== undefined} ${peer.note !== undefined}`,
      };
    }),
};

const RECORD = {
  v: 2,
  user: "alice",
  uid: 1000,
  scope_unit: "authnft-alice-4711.scope",
  cg_path: "authnft.slice/authnft-alice-4711.scope",
  cg_id: 27711,
  remote_ip: "192.0.2.7",
  fragment: "/etc/authnft/users/alice",
  claims_tag: "",
  correlation: "x",
  service: "sshd",
  tty: "ssh",
  pid: 4711,
  opened_at: "2025-11-22T01:38:00Z",
  state: "open",
  traffic: { packets: 1, bytes: 2 },
};

const RECORDS = [
  JSON.stringify(RECORD),
  JSON.stringify({
    ...RECORD,
    scope_unit: "session-c1.scope",
    cg_path: "user.slice/user-1000.slice/session-c1.scope",
    state: "lingering",
    lingering: "keep",
    generation: 3,
  }),
  JSON.stringify({ ...RECORD, scope_unit: "authnft-a-b-4711-2.scope" }),
  JSON.stringify({
    ...RECORD,
    user: "DOM\\dina",
    scope_unit: "authnft-DOM\\x5cdina-4711-2.scope",
    cg_path: "authnft.slice/authnft-DOM\\x5cdina-4711-2.scope",
  }),
];

/** The record of a session, which is read by whoever ends, lists or restores it. */
export const records: Target = {
  seeds: RECORDS,
  inputs: nearJson(RECORDS),
  judge: (input) => {
    const record = parseRecord(input);
    if (record === undefined) return { ended: "none" };
    const { v, scope_unit, cg_path, cg_id, pid, uid } = record;
    const sound =
      v === 2 &&
      parseScopeUnit(scope_unit) === scope_unit &&
      !/[/\s\0]/.test(scope_unit) &&
      cg_path === cgroupPath(scope_unit, uid) &&
      !/(?:^|\/)\.\.?(?:\/|$)/.test(cg_path) &&
      [cg_id, pid, uid].every((number) => Number.isInteger(number) && number >= 0) &&
      pid > 0;
    if (!sound) return { complaint: "a record that cannot be was read" };
    if (!isDeepStrictEqual(parseRecord(formatRecord(record)), record))
      return { complaint: "it is not the same record when it is written and read again" };
    if (uidOfSlice(sliceId(uid)) !== uid && uid < 1e10)
      return { complaint: "its cover's name is not read back" };
    const place = placeOfProcess(`0::/${cg_path}\n`);
    if (place?.unit !== scope_unit || (place.uid ?? uid) !== uid)
      return { complaint: `a process in its cgroup is in ${JSON.stringify(place)}` };
    // A login scope tells nothing of the user; the name is checked where it is used.
    const name = sessionId(record);
    if (!/^session_[A-Za-z0-9/_.-]{1,180}$/.test(name)) return { complaint: `the chain ${name}` };
    return { ended: `${record.state} ${hasRules(record)} ${name.split("_").length}` };
  },
};

const TAG = /^[A-Za-z0-9_=,.:;/-]{1,192}$/;

const CLAIMS = [
  "role=dev",
  "",
  "\0x",
  `x${"\0"}y`,
  "\xff\xfe",
  'a"b\n{}#',
  "x".repeat(200),
  "1",
  "2147483648",
  "0x1",
  "-3",
];

/** The payload of a key, and its serial as a PAM variable has it. */
export const claims: Target = {
  seeds: CLAIMS,
  inputs: nearBytes(CLAIMS),
  judge: (input) => {
    const serial = judged(["claims"], () => {
      const number: number = parseKeySerial(input);
      if (!Number.isInteger(number) || number < 1 || number > 0x7fff_ffff || !/^[0-9]+$/.test(input))
        return { complaint: `the serial ${number}` };
      return { ended: "a serial" };
    });
    if ("complaint" in serial) return serial;
    const payload = Buffer.from(input, "latin1");
    return judged(["claims"], () => {
      const tag = claimsTag(payload);
      if (!TAG.test(tag)) return { complaint: `the tag ${JSON.stringify(tag)}` };
      if (claimsTag(Buffer.from(tag)) !== tag)
        return { complaint: "it is another tag when it is read again" };
      const [head = ""] = input.split("\0", 1);
      const expected = [...head.slice(0, 192)].map((one) => (TAG.test(one) ? one : "_")).join("");
      if (tag !== expected) return { complaint: `the tag ${tag} is not ${expected}` };
      return { ended: `${serial.ended}, a tag ${tag.includes("_")} ${tag.length === 192}` };
    });
  },
};

const ADDRESSES = [
  "192.0.2.7",
  "2001:db8::7",
  "::ffff:192.0.2.7",
  "fe80::1%eth0",
  "::",
  "1:2:3:4:5:6:7:8",
  "1::8",
  "::ffff:0:0",
  "64:ff9b::192.0.2.7",
  "host.example",
  "[::1]:22",
];

/** The client's address as a PAM application writes it. */
export const addresses: Target = {
  seeds: ADDRESSES,
  inputs: nearText(ADDRESSES, [
    ":",
    "::",
    ".",
    "%",
    "0",
    "ffff",
    "255",
    "192.0.2.7",
    "1:2:3:4",
    "[",
    "]",
    "/",
    "\0",
    " ",
  ]),
  judge: (input) => {
    const address = parseAddress(input);
    if (address === undefined) return { ended: "none" };
    if (!/^[0-9a-f:.]{2,39}$/.test(address)) return { complaint: `the address ${JSON.stringify(address)}` };
    if (parseAddress(address) !== address)
      return { complaint: `${address} is another address when it is read again` };
    const family = familyOf(address);
    // The URL standard asks for the same form.
    if (family === "ip6" && new URL(`http://[${address}]/`).hostname !== `[${address}]`)
      return { complaint: `${address} is not canonical` };
    const bytes = addressBytes(address);
    if (bytes.length !== (family === "ip" ? 4 : 16))
      return { complaint: `${bytes.length} bytes of ${address}` };
    const written =
      family === "ip"
        ? bytes.join(".")
        : Array.from({ length: 8 }, (_, at) =>
            Buffer.from(bytes)
              .readUInt16BE(at * 2)
              .toString(16),
          ).join(":");
    if (parseAddress(written) !== address) return { complaint: `the bytes of ${address} say ${written}` };
    return { ended: family };
  },
};

const ANSWERS = [
  "Ask the administrator.",
  "two\nresult=ok\nend\n",
  "\u202e\u2028",
  "é".repeat(300),
  "🐟".repeat(200),
  "",
];

/** What the helper tells the PAM process, whatever a name or a file put into it: the shim must be able to read it. */
export const answers: Target = {
  seeds: ANSWERS,
  inputs: nearText(ANSWERS, [
    "\n",
    "end",
    "result=ok",
    "=",
    "\0",
    "\x1b",
    "\u0085",
    "é",
    "🐟",
    "\ud83d",
    "\ufffd",
  ]),
  judge: (input) => {
    const session = parseScopeUnit("authnft-alice-4711.scope");
    const correlation = correlationToken(input, { unixSeconds: 1, pid: 4711, random: new Uint8Array(4) });
    const say = input === "" ? {} : { say: input };
    const replies: readonly Reply[] = [
      { result: "refused", say: input },
      { result: "ok", ...(session === undefined ? {} : { session }), correlation, ...say },
      { result: "ok", ...say },
      { result: "ok", back: `/${input}` },
    ];
    const wrong = replies.map(strangeReply).find((one) => one !== undefined);
    return wrong === undefined ? { ended: `${correlation === input}` } : { complaint: wrong };
  },
};

/** What the shim would not take of a reply: native/reply.c, parse_reply(). */
function strangeReply(reply: Reply): string | undefined {
  const text = formatReply(reply);
  const [version, ...lines] = text.split("\n");
  if (Buffer.byteLength(text) > 4096) return "it is too long";
  if (version !== "authnft 1" || lines.at(-2) !== "end" || lines.at(-1) !== "")
    return `it is not whole: ${text}`;
  const pairs = lines.slice(0, -2).map((line) => line.split(/=(.*)/s, 2));
  const keys = pairs.map(([key]) => key);
  if (new Set(keys).size < keys.length) return `it has other lines: ${text}`;
  for (const [key, value = ""] of pairs) {
    if (Buffer.byteLength(value) > 512) return `its ${key} is too long`;
    if (/\p{Cc}/u.test(value) || !value.isWellFormed())
      return `its ${key} has characters that the shim does not take`;
  }
  return undefined;
}
