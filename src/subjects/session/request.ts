// SPDX-License-Identifier: GPL-2.0-or-later
import * as v from "valibot";
import { FILE_LIMIT, unescapeName } from "../../escaped_name.ts";
import { Refusal } from "../../refusal.ts";

/** The version of the request; the shim and the program are installed together, so there is only ever one. */
export const REQUEST_VERSION = 1;

/** The longest request that is read, in bytes. The shim refuses to send a longer one. */
export const REQUEST_LIMIT = 8192;

const UID_MAX = 0xffff_fffe; // (uid_t)-1 means "no user" to the kernel
const item = v.pipe(v.string(), v.maxLength(2048));

/** The kernel gives processes no larger number: PID_MAX_LIMIT on machines of 64 bits. */
const PID_MAX = 4_194_304;

const RequestSchema = v.strictObject({
  v: v.literal(REQUEST_VERSION),
  type: v.picklist(["open", "close"]),
  user: item,
  uid: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(UID_MAX)),
  gid: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(UID_MAX)),
  service: item,
  rhost: item,
  tty: item,
  ruser: item,
  /** As the PAM process knows itself, which in a PID namespace of its own may be 1. */
  pid: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(PID_MAX)),
  args: v.array(item),
  env: v.pipe(
    v.unknown(),
    v.check((value) => !Array.isArray(value), "an object"),
    v.record(v.string(), item),
  ),
  session: item,
  /** The groups of the user that there are fragments for, by the files' names; left out where the name service did not tell, and at a close. */
  groups: v.optional(
    v.array(
      v.pipe(
        v.string(),
        v.check((text) => unescapeName(text, FILE_LIMIT) !== undefined, "a group's file"),
      ),
    ),
  ),
  /** The inodes of the PAM process's internet sockets; left out where nobody asks for its connection. */
  sockets: v.optional(v.array(v.pipe(v.number(), v.safeInteger(), v.minValue(0)))),
  /** Whether what a user is told would be read by a program; of pam_exec's requests only. */
  quiet: v.optional(v.boolean()),
});

/** What the PAM process asks for: its PAM items, as it has them. None of it is believed further than its check. */
export type Request = Readonly<v.InferOutput<typeof RequestSchema>>;

/**
 * Takes the bytes of a request for text.
 *
 * @throws {Refusal} `request`, when there are too many, or they are no UTF-8
 */
export function decodeRequest(bytes: Uint8Array): string {
  if (bytes.length > REQUEST_LIMIT)
    throw new Refusal("request", malformed(`it is longer than ${REQUEST_LIMIT} bytes`));
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Refusal("request", malformed("it is not UTF-8"));
  }
}

/**
 * Reads a request.
 *
 * @throws {Refusal} `request`, when the text is no request of this version.
 */
export function parseRequest(text: string): Request {
  if (text.length > REQUEST_LIMIT)
    throw new Refusal("request", malformed(`it is longer than ${REQUEST_LIMIT} bytes`));
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    throw new Refusal("request", malformed(text === "" ? "it is empty" : "it is not JSON"));
  }
  const result = v.safeParse(RequestSchema, data);
  if (result.success) return result.output;
  const issue = result.issues[0];
  const where = v.getDotPath(issue) ?? "the whole";
  const version = (data as { v?: unknown } | null)?.v;
  if (where === "v" && typeof version === "number") {
    throw new Refusal(
      "request",
      `Cannot read the request of the PAM module: it is of version ${version}, this program reads ${REQUEST_VERSION}; run "authnft install" so that both are of one release.`,
    );
  }
  throw new Refusal("request", malformed(`${where}: expected ${issue.expected ?? "something else"}`));
}

function malformed(what: string): string {
  return `Cannot read the request of the PAM module: ${what}; run "authnft install" so that module and program are of one release.`;
}
