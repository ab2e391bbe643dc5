// SPDX-License-Identifier: GPL-2.0-or-later

/**
 * Fragments by chance, and the judge of them. Whatever the text, it is read or it is refused; and of a fragment that is let
 * through nothing reaches beyond its session, by the word of a scanner that knows nothing of the compiler's.
 */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { FRAGMENT_DIRECTORY } from "../../src/paths.ts";
import { addressList } from "../../src/policy/address_list.ts";
import {
  type CompiledPart,
  type CompileOptions,
  compileFragment,
  type Policy,
} from "../../src/policy/compile.ts";
import { formatDiagnosis, parseComplaint } from "../../src/policy/diagnosis.ts";
import { lint } from "../../src/policy/lint.ts";
import { type ReadTrusted, readFragment } from "../../src/policy/read.ts";
import { tokenAt } from "../../src/policy/render.ts";
import { Refusal } from "../../src/refusal.ts";
import { sharingAt } from "../../src/ruleset/shared_policy.ts";
import { forSession, SESSION_DIALECT, type SessionSubject } from "../../src/subjects/session/dialect.ts";
import { REALISTIC } from "../unit/policy/realistic.ts";
import { REFUSED } from "../unit/policy/refused.ts";
import { MOSTLY_ACCEPTED, OBJECTS } from "./fragments.ts";
import { bytesOf, misspelt, nearText } from "./inputs.ts";
import { type NftToken, nftTokens } from "./nft_scanner.ts";
import { sketch, type Target } from "./target.ts";

const PREFIX = "session_alice_4711";
const OURS = new Set(["session_map_ipv4", "session_map_ipv6", "session_map_cg"]);
const HEADERS = new Set(["ll", "nh", "th", "ih"]);
const CHANGES = new Set(["add", "update", "delete"]);

/**
 * Says how a rule, or the definition of an object, reaches beyond its session, if it does; see authnft-fragment(5) on what
 * is a session's own.
 *
 * @param where `own` for a chain of the fragment's own, which leads back to its caller; `object` for a definition
 */
export function reach(body: string, where: "rule" | "own" | "object" = "rule"): string | undefined {
  const tokens = nftTokens(body);
  const isOwn = (token: NftToken | undefined): boolean =>
    token?.text.replace(/^"/, "").startsWith(`${PREFIX}_`) ?? false;
  let depth = 0;
  const isWord = (token: NftToken | undefined, ...words: string[]): boolean =>
    token?.kind === "word" && words.includes(token.text);
  for (const [index, token] of tokens.entries()) {
    const next = tokens[index + 1];
    if (token.text === "{") depth++;
    if (token.text === "}") depth--;
    if (token.kind === "end" && !(where === "object" && depth === 1)) return "a second command";
    if (token.text === "@" && (next?.kind === "word" || next?.kind === "value")) {
      const bits = next.kind === "value" && isWord(tokens[index - 1], "option");
      if (!bits && !OURS.has(next.text) && !HEADERS.has(next.text) && !isOwn(next))
        return `the set ${next.text}`;
    }
    if (isWord(token, "jump") && !isOwn(next)) return "a jump";
    if (isWord(token, "goto") && !isOwn(next)) return `a goto to ${next?.text}`;
    if (isWord(token, "accept")) return "accept, past the chain that remembers flows";
    if (isWord(token, "return") && where === "rule") return "return, past the chain that remembers flows";
    if (isWord(token, ...CHANGES) && next?.text === "@" && !isOwn(tokens[index + 2]))
      return "a change of a set";
    if (isWord(token, "counter", "quota", "limit") && isWord(next, "name") && !isOwn(tokens[index + 2]))
      return `the ${token.text} ${tokens[index + 2]?.text}`;
    if (isWord(token, "set") && next?.kind === "word" && CHANGES.has(next.text))
      return "a change of a set, old style";
    if (isWord(token, "meter")) return "a set that all sessions share";
    if (where !== "object" && isWord(token, "set") && !mayBeSet(tokens.slice(0, index)))
      return `what is set, ${tokens[index - 1]?.text}`;
    if (where !== "object" && isWord(token, ...ELSEWHERE)) return `what packets do, by ${token.text}`;
    if (isWord(token, "reset") && next?.text === "tcp") return "a packet's options";
    // Values of "ct status" and "icmp type" as well.
    if (where !== "object" && depth === 0 && isWord(token, "snat", "dnat", "redirect")) {
      const before = tokens.slice(0, index).map(({ text }) => text);
      if (!before.includes(token.text === "redirect" ? "type" : "status"))
        return `the translation ${token.text}`;
    }
    if (isWord(token, "ct") && isWord(next, "label") && isWord(tokens[index + 2], "set"))
      return "a flow's label";
    if (index === 0 && isWord(token, "handle", "position", "index")) return "a place of its own choice";
  }
  return undefined;
}

/** Statements that act on packets in a way that is no session's business. */
const ELSEWHERE = "dup fwd queue notrack flow xt masquerade tproxy synproxy include".split(" ");

/** Whether it is harmless to set what tokens end with. */
function mayBeSet(tokens: readonly NftToken[]): boolean {
  const words = tokens.map(({ text }) => text).join(" ");
  return /(^| )(mark|meta priority|ip6? dscp|tcp option maxseg size)$/.test(words);
}

export const WORDS =
  `add rule inet authnft filter egress accept drop return jump goto continue reject queue map vmap set update
delete element include define meter ct label mark meta cgroup socket cgroupv2 level l4proto tcp udp th dport sport ip ip6
saddr daddr counter limit rate over second log prefix comment state established new reply direction handle index position
flow offload name ether fib type jump session_bob_77_in session_bob_77_judged session_in session_out session_map_cg
session_map_ipv4 session_v4 session_v6 session_cg session_chain member_slices members_out user_ip user_id user_name
notrack dup fwd queue num to snat dnat redirect masquerade xt reset zone event helper nftrace priority dscp option maxseg
status icmp set set constructor face dead beef 22 80 443 0 0x1f 1024-65535 10s 1d 1h30m 5ms 192.0.2.7 10.0.0.0/8 2001:db8:: ::1 ::face fe80::
::ffff:192.0.2.7 1:2:3:4:5:6:7:8 aa:bb:cc:dd:ee:ff 8021q eth0 eth* "eth0" "a;b" "#" "" "goto" $user_ip $user_id $user_name
web s m q l hits name @s @m type typeof flags interval dynamic elements = ipv4_addr inet_service verdict timeout size
@session_map_cg @session_map_ipv4 @session_v4 @session_in @th,16,16 /etc/authnft/x "/etc/authnft/x" "/etc/authnft/../x"
{ } ( ) [ ] , : = == != < > <= >= << >> & | ^ ! * / - + @ $ % ~ ' . ; # \\`.split(/\s+/);

/** What stands between words; nothing, often: gluing is where scanners differ. */
export const GAPS = [
  "",
  "",
  " ",
  " ",
  " ",
  " ",
  "\t",
  "\n",
  "\\\n",
  " # x\n",
  ";",
  "\r",
  "\0",
  "\u00a0",
  "é",
  "\udcff",
];

const STARTS = [
  "add rule inet authnft filter ",
  "add rule inet authnft egress ",
  "add rule inet authnft @session_chain ",
  "add rule inet authnft web ",
  "add chain inet authnft web\nadd rule inet authnft egress jump web\nadd rule inet authnft web ",
  "add counter inet authnft hits\nadd rule inet authnft egress counter name hits ",
  "add set inet authnft s { type ipv4_addr; elements = { 192.0.2.1, ",
  "add set inet authnft s { type ipv4_addr; flags dynamic; }\nadd element inet authnft s { ",
  "add map inet authnft m { type inet_service : verdict; elements = { 80 : ",
  "add set inet authnft s { ",
  "add quota inet authnft q { over 5 mbytes } ",
  "add limit inet authnft l ",
  "",
];

/** Lines of words that a fragment may have, whatever the order. */
const LINES: fc.Arbitrary<string> = fc
  .array(
    fc.tuple(
      fc.constantFrom(...STARTS),
      fc.array(
        fc.tuple(
          fc.constantFrom(...WORDS),
          fc.oneof(fc.constantFrom(...GAPS), { weight: 2, arbitrary: fc.constantFrom("", " ", " ", " ") }),
        ),
        { minLength: 1, maxLength: 9 },
      ),
    ),
    { minLength: 1, maxLength: 3 },
  )
  .map((lines) => lines.map(([start, words]) => `${start}${words.flat().join("")}\n`).join(""));

const FRAGMENT = fc.oneof({ weight: 2, arbitrary: LINES }, misspelt(LINES));

/** What stands between a fragment and the file that its `include` names, whichever it is. */
const INCLUDED = "\n--- included ---\n";

const SUBJECTS: readonly SessionSubject[] = [
  { id: 1000, name: "alice", address: { family: "ip", text: "192.0.2.7" } },
  { id: 1000, name: "alice", address: { family: "ip6", text: "2001:db8::7" } },
  { id: 1000, name: "a-b.c", address: undefined },
];

const PATH = `${FRAGMENT_DIRECTORY}/users/alice`;
const HOST = { drops: { in: "the chain inet filter input drops", out: undefined } };

const CLOSED = "add rule inet authnft filter drop\nadd rule inet authnft egress drop";

/** Rules that say outright whom they are for; such a policy is locked to addresses, too. */
const LOCKED: readonly string[] = [
  "egress ip daddr { 10.0.0.1, 192.0.2.0 / 24, $user_ip, }",
  "egress ip6 daddr { 2001:db8::1, 2001:db8:1::/48, ::ffff:192.0.2.7 }",
  "filter ip saddr == 10.0.0.0/8 tcp dport { 22, 80-90 } ct state new",
  "filter socket cgroupv2 level 2 . ip saddr @session_map_ipv4 limit rate over 10/second burst 5 packets",
  "egress ip daddr 10.0.0.1 quota until 5 mbytes fib daddr type unicast ct count over 5 oifname { eth0, lo }",
  "egress ip daddr 10.0.0.1 counter tcp flags syn / syn,ack meta mark 0x1-0x5",
  "egress ip daddr 224.0.0.1",
];

/** The examples that are shipped. */
function examples(): string[] {
  const directory = join(import.meta.dir, "../../data/examples");
  return readdirSync(directory).map((name) => readFileSync(join(directory, name), "utf8"));
}

const FRAGMENTS = [
  ...REFUSED.map(([text]) => text),
  ...REALISTIC.map(([rule]) => `add rule inet authnft ${rule}`),
  ...OBJECTS,
  OBJECTS.join("\n"),
  ...REALISTIC.map(([rule]) => `add rule inet authnft ${rule}\n${CLOSED}`),
  ...examples(),
  ...LOCKED.map((rule) => `add rule inet authnft ${rule} accept\n${CLOSED}`),
  `include "${FRAGMENT_DIRECTORY}/x"${INCLUDED}${OBJECTS.join("\n")}`,
];

/** Fragments: each is compiled as a login does it, and as "authnft check" does. */
export const fragments: Target = {
  seeds: FRAGMENTS,
  inputs: fc.oneof(
    { weight: 7, arbitrary: nearText(FRAGMENTS, WORDS) },
    FRAGMENT,
    MOSTLY_ACCEPTED,
    fc.tuple(FRAGMENT, FRAGMENT).map((files) => files.join(INCLUDED)),
    MOSTLY_ACCEPTED.map((included) => `include "${FRAGMENT_DIRECTORY}/x"${INCLUDED}${included}`),
  ),
  judge: (input) => {
    const [text = "", included = text] = input.split(INCLUDED);
    const textOf = (file: string): string => (file === PATH ? text : included);
    const read: ReadTrusted = (file) => bytesOf(textOf(file));
    // The input decides, so that it comes out the same again.
    const subject = SUBJECTS[input.length % SUBJECTS.length];
    if (subject === undefined) throw new Error("there is nobody to compile it for");
    const options = { path: PATH, prefix: PREFIX, level: 2, ...forSession(subject) } as const;
    const told: Refusal[] = [];
    compileFragment(
      readFragment(PATH, read, (refusal) => told.push(refusal)),
      options,
      (refusal) => told.push(refusal),
    );
    const complaint = told.map((one) => strangeRefusal(one, textOf)).find((one) => one !== undefined);
    if (complaint !== undefined) return { complaint };
    let policy: Policy;
    try {
      policy = compileFragment(readFragment(PATH, read), options);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const strange = strangeRefusal(error, textOf);
      if (strange !== undefined) return { complaint: strange };
      if (told.length === 0)
        return { complaint: `a check finds nothing that a login is refused for: ${error.message}` };
      return { ended: sketch(error.message) };
    }
    if (told.length > 0)
      return { complaint: `a check finds what no login is refused for: ${told[0]?.message}` };
    for (const part of policy.parts) {
      const wrong = wrongWith(part, options);
      if (wrong !== undefined)
        return { complaint: `line ${part.place.line} ${wrong}: ${JSON.stringify(part)}` };
    }
    const common = compileFragment(readFragment(PATH, read), { ...options, sharing: sharingAt(2) });
    const different = policy.parts.find(
      (part, index) => !saysTheSame(part, common.parts[index], common.shared),
    );
    if (different !== undefined || common.parts.length !== policy.parts.length)
      return { complaint: `shared, it says something else: ${JSON.stringify(different)}` };
    const [warning] = lint(policy, HOST, SESSION_DIALECT);
    const lock = addressList(policy, subject.address);
    const said = warning === undefined ? "" : sketch(warning.advice);
    return { ended: `accepted ${lock !== undefined} ${said}` };
  },
};

/** Whether a part of a shared policy says what that of a session's own says, but for how it accepts and what names begin with. */
function saysTheSame(own: CompiledPart, common: CompiledPart | undefined, shared = PREFIX): boolean {
  if (common === undefined) return false;
  const textOf = (part: CompiledPart): string => (part.kind === "rule" ? part.body : part.definition);
  const plain = (text: string): string =>
    text
      .replaceAll(shared, PREFIX)
      .replaceAll("goto accepted_2", `goto ${PREFIX}_judged`)
      .replace(/\breturn\b/g, `goto ${PREFIX}_judged`);
  return plain(textOf(common)) === plain(textOf(own));
}

/** Says what is wrong with a part of a policy that was let through. */
function wrongWith(part: CompiledPart, options: CompileOptions): string | undefined {
  const beyond = reachOfPart(part);
  if (beyond !== undefined) return `reaches ${beyond}`;
  if (part.kind !== "rule") return undefined;
  // What nft complains of is traced back to what was written: there is a token behind each place but the last.
  const at = (offset: number): unknown => tokenAt(part.terms, { ...options, offset });
  if (at(0) === undefined || at(part.body.length - 1) === undefined || at(part.body.length + 1) !== undefined)
    return "cannot be traced back to what was written";
  return undefined;
}

/** Says how a part of a policy reaches beyond its session, if it does. */
function reachOfPart(part: CompiledPart): string | undefined {
  if (part.kind === "rule")
    return reach(part.body, part.chain === "in" || part.chain === "out" ? "rule" : "own");
  if (!/^[A-Za-z][\w.-]*$/.test(part.name)) return "beyond the session by its name";
  return reach(part.definition, "object");
}

/** The files that a fragment of ours may be made of. */
const FILES = [PATH, `${FRAGMENT_DIRECTORY}/x`];

/**
 * A refusal is right if it is of the right kind, fits on one line and names a place within the text; and what is shown of it
 * has nothing in it that could steer a terminal.
 */
function strangeRefusal({ reason, message }: Refusal, textOf: (file: string) => string): string | undefined {
  if (reason !== "content") return `it is refused for ${reason}: ${message}`;
  if (/\p{Cc}/u.test(message)) return `its refusal is not one line: ${message}`;
  const { place, ...rest } = parseComplaint(message, FILES);
  const [line, column] = [place?.line ?? 1, place?.column ?? 1];
  const lines = textOf(place?.file ?? PATH).split("\n");
  if (line < 1 || line > lines.length || column < 1) return `its refusal names no place in it: ${message}`;
  const diagnosis = {
    level: "error",
    file: PATH,
    line,
    column,
    included: place === undefined ? [] : [place],
    ...rest,
  } as const;
  const shown = formatDiagnosis(diagnosis, {
    colour: false,
    width: 80,
    textOf,
    nameOf: (file) => file,
  });
  return /(?![\n\t])\p{Cc}/u.test(shown) ? `what is shown of it could steer a terminal: ${shown}` : undefined;
}
