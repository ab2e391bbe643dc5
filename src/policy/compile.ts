// SPDX-License-Identifier: GPL-2.0-or-later
import { Refusal } from "../refusal.ts";
import type { Command, Fragment } from "./read.ts";
import { locate, type Place, type Token } from "./tokenise.ts";

/** What a fragment's variables stand for. */
export type Subject = {
  readonly id: number;
  readonly name: string;
  readonly address: { readonly family: "ip" | "ip6"; readonly text: string } | undefined;
};

/** A rule of the fragment, made fit for a chain of its own. */
export type CompiledRule = { readonly direction: "in" | "out"; readonly body: string; readonly place: Place };

/** What came of a fragment: its rules, and words for the log on those that were left out. */
export type Policy = { readonly rules: readonly CompiledRule[]; readonly notes: readonly string[] };

/** What a fragment is compiled for. */
export type CompileOptions = {
  /** The fragment's path, for messages. */
  readonly path: string;
  /** The chain that a packet goes to when a rule accepts it. */
  readonly accepted: string;
  /** How deep the cgroup lies that the rules are for: what "meta cgroup" is read as. */
  readonly level: 2 | 3;
  readonly subject: Subject;
};

/** How many rules a policy may have. A thousand with a set each take nftables a second. */
const RULE_LIMIT = 1000;

/** The two chains that a fragment may write to, by all their names. */
const DIRECTIONS: Readonly<Record<string, "in" | "out">> = {
  filter: "in",
  egress: "out",
  "@session_chain": "in",
};

/** Names of our sets in a published form of fragments, and what they are called now. */
const SET_ALIASES: Readonly<Record<string, string>> = {
  session_v4: "session_map_ipv4",
  session_v6: "session_map_ipv6",
  session_cg: "session_map_cg",
};

const SESSION_SETS = new Set(["session_map_ipv4", "session_map_ipv6", "session_map_cg"]);

/**
 * Makes rules of a fragment. Only `add rule inet authnft filter …` and `… egress …` are let through, and in them nothing
 * that reaches beyond the session: no other chain, no set but the session sets, no flow label.
 *
 * `accept` and `return` become a `goto` to `accepted`, the chain that remembers the flow.
 *
 * @throws {Refusal} `content`
 */
export function compileFragment(fragment: Fragment, options: CompileOptions): Policy {
  const rules: CompiledRule[] = [];
  const notes: string[] = [];
  if (
    options.subject.address === undefined &&
    fragment.comments.some((comment) => /^require\s+address\.?$/i.test(comment))
  ) {
    throw new Refusal(
      "content",
      `Cannot use the fragment ${options.path}: it asks for a client address ("# require address"), and this session has none; log in over the network, or drop that line.`,
    );
  }
  if (fragment.commands.length === 0) {
    throw new Refusal(
      "content",
      `Cannot use the fragment ${options.path}: it holds no rule, and a policy must not be empty by accident; to permit everything, write "add rule inet authnft egress accept".`,
    );
  }
  if (fragment.commands.length > RULE_LIMIT) {
    throw new Refusal(
      "content",
      `Cannot use the fragment ${options.path}: ${fragment.commands.length} rules are more than ${RULE_LIMIT}, and each login would wait for them; put many addresses or ports into one rule: { a, b, … }.`,
    );
  }
  for (const command of fragment.commands) {
    const { direction, body } = parseAddRule(command);
    const place = command[0].place;
    const missing = missingFamily(body, options.subject);
    if (missing !== undefined)
      notes.push(
        `${locate(place)}: the rule is left out: it needs ${missing}, which this session does not have`,
      );
    else rules.push({ direction, body: render(body, options), place });
  }
  if (rules.length === 0) {
    throw new Refusal(
      "content",
      `Cannot use the fragment ${options.path}: no rule is left of it, for ${notes.join("; ")}; add one for every session.`,
    );
  }
  return { rules, notes };
}

/** Takes `add rule inet authnft CHAIN` off a command. */
function parseAddRule(command: Command): { direction: "in" | "out"; body: readonly Token[] } {
  const [verb, object, family, table, ...rest] = command;
  const said = [verb, object, family, table].map((token) => token?.text).join(" ");
  if (said !== "add rule inet authnft") {
    throw new Refusal(
      "content",
      `${locate(verb.place)}: only "add rule inet authnft filter …", "add rule inet authnft egress …" and include may stand in a fragment, not "${command
        .slice(0, 4)
        .map((token) => token.text)
        .join(" ")}".`,
    );
  }
  const marked = rest[0]?.text === "@" && rest[1] !== undefined && !rest[1].spaced;
  const chain = marked ? `@${rest[1]?.text}` : (rest[0]?.text ?? "");
  const direction = Object.hasOwn(DIRECTIONS, chain) ? DIRECTIONS[chain] : undefined;
  if (direction === undefined) {
    throw new Refusal(
      "content",
      `${locate((rest[0] ?? verb).place)}: a fragment's rules go to chain filter (what arrives) or egress (what is sent), not "${chain}".`,
    );
  }
  const body = rest.slice(marked ? 2 : 1);
  if (body.length === 0)
    throw new Refusal(
      "content",
      `${locate(verb.place)}: the rule is empty; say what to match and what to do.`,
    );
  checkBody(body);
  return { direction, body };
}

const NAT = "addresses are translated in the host's own nat table; set a mark here, and match on it there";

/** Statements that would reach beyond the session, and why not. */
const FORBIDDEN: Readonly<Record<string, string>> = {
  jump: "there are no chains that a fragment could jump to",
  goto: "there are no chains that a fragment could go to",
  map: "only the session sets may be named",
  include: "include must stand on a line of its own",
  masquerade: NAT,
  snat: NAT,
  dnat: NAT,
  redirect: NAT,
  tproxy: NAT,
  synproxy: NAT,
  meter: "nftables makes a set of it that all sessions share",
};

/** libnftables 1.0.6 writes a longer prefix of a log statement over its own stack. */
const STRING_LIMIT = 127; // bytes

/** What may stand behind `ip saddr` or `ip daddr` besides an address. */
const BEHIND_ADDRESS = new Set([
  "map",
  "vmap",
  "set",
  "and",
  "or",
  "xor",
  "eq",
  "ne",
  "lt",
  "gt",
  "le",
  "ge",
]);

/** Refuses host names: libnftables would ask a name server in the middle of a login, and keep the answer of that moment. */
function checkAddresses(body: readonly Token[]): void {
  for (const [index, token] of body.entries()) {
    const isAddress =
      (token.text === "saddr" || token.text === "daddr") && /^ip6?$/.test(body[index - 1]?.text ?? "");
    if (!isAddress) continue;
    let at = index + 1;
    while (/^([!=<>]|eq|ne|lt|gt|le|ge)$/.test(body[at]?.text ?? "")) at++;
    const list = body[at]?.text === "{";
    const end = list ? body.findIndex((other, index) => index > at && other.text === "}") : at + 1;
    for (const [place, value] of body.entries()) {
      const named = /^[$@]$/.test(body[place - 1]?.text ?? "");
      if (place < at || place >= end || named || value.kind !== "word") continue;
      if (BEHIND_ADDRESS.has(value.text) || value.text === ".") continue;
      throw new Refusal(
        "content",
        `${locate(value.place)}: "${value.text}" is no address; host names are not looked up at login, write the addresses.`,
      );
    }
  }
}

function checkBody(body: readonly Token[]): void {
  const [first] = body;
  if (first !== undefined && /^(handle|index|position)$/.test(first.text)) {
    throw new Refusal(
      "content",
      `${locate(first.place)}: "${first.text}" has no place in a fragment: its rules stand in the order of the file.`,
    );
  }
  body.forEach((token, index) => {
    const where = locate(token.place);
    const next = body[index + 1];
    if (token.text === "@" && next !== undefined) {
      const name = SET_ALIASES[next.text] ?? next.text;
      const payload = next.text === "ih" || next.text === "nh" || next.text === "th" || next.text === "ll";
      if (!SESSION_SETS.has(name) && !payload) {
        throw new Refusal(
          "content",
          `${where}: cannot use the set "@${next.text}": only @session_map_ipv4, @session_map_ipv6 and @session_map_cg are there.`,
        );
      }
    }
    if (token.text === "$" && !["user_ip", "user_id", "user_name"].includes(next?.text ?? "")) {
      throw new Refusal(
        "content",
        `${where}: there is no variable "$${next?.text ?? ""}"; there are $user_ip, $user_id and $user_name.`,
      );
    }
    if (token.kind === "string" && Buffer.byteLength(token.text) > STRING_LIMIT + 2) {
      throw new Refusal("content", `${where}: a string of more than ${STRING_LIMIT} bytes; make it shorter.`);
    }
    if (token.kind !== "word") return;
    // "add" may also be a part of an IPv6 address; as a statement it stands before a set, or behind "set" in old texts.
    if (
      ["add", "update", "delete"].includes(token.text) &&
      (next?.text === "@" || body[index - 1]?.text === "set")
    ) {
      throw new Refusal(
        "content",
        `${where}: "${token.text}" has no place in a rule of a fragment: it would change a set.`,
      );
    }
    const why = Object.hasOwn(FORBIDDEN, token.text) ? FORBIDDEN[token.text] : undefined;
    const isMessageType = token.text === "redirect" && body[index - 1]?.text === "type"; // "icmp type redirect"
    const isMapOfValues = token.text === "map" && next?.text === "{"; // "tcp dport map { … }" names no set
    if (why !== undefined && !isMapOfValues && !isMessageType)
      throw new Refusal("content", `${where}: "${token.text}" has no place in a rule of a fragment: ${why}.`);
    if (token.text === "label" && body[index - 1]?.text === "ct" && next?.text === "set") {
      throw new Refusal(
        "content",
        `${where}: "ct label set" has no place in a fragment: labels say which flows were judged.`,
      );
    }
  });
  checkAddresses(body);
}

/** The address that a rule needs and the session lacks, in words; `undefined` when nothing is missing. */
function missingFamily(body: readonly Token[], subject: Subject): string | undefined {
  let family: string | undefined;
  for (const [index, token] of body.entries()) {
    if (token.text === "ip" || token.text === "ip6") family = token.text;
    if (token.text !== "$" || body[index + 1]?.text !== "user_ip") continue;
    if (subject.address === undefined) return "the client's address";
    if (family !== undefined && family !== subject.address.family)
      return family === "ip" ? "an IPv4 address" : "an IPv6 address";
  }
  return undefined;
}

/** Writes a rule's body on one line. */
function render(body: readonly Token[], options: CompileOptions): string {
  let text = "";
  for (let index = 0; index < body.length; index++) {
    const token = body[index];
    if (token === undefined) break;
    const next = body[index + 1];
    const glue = token.spaced && text !== "" ? " " : "";
    let piece = token.text;
    if (token.kind === "word" && (piece === "accept" || piece === "return"))
      piece = `goto ${options.accepted}`;
    else if (piece === "meta" && next?.text === "cgroup") {
      // "meta cgroup" reads the class id of cgroup v1's net_cls and never matches what is in the sets.
      piece = `socket cgroupv2 level ${options.level}`;
      index++;
    } else if (piece === "@" && next !== undefined) {
      piece = `@${SET_ALIASES[next.text] ?? next.text}`;
      index++;
    } else if (piece === "$") {
      piece = value(next?.text, options.subject);
      index++;
    }
    // What we put there must not run together with what stands beside it.
    text += piece === token.text ? glue + piece : ` ${piece} `;
  }
  return text;
}

function value(variable: string | undefined, subject: Subject): string {
  if (variable === "user_ip") return subject.address?.text ?? "";
  if (variable === "user_id") return String(subject.id);
  return `"${subject.name}"`;
}
