// SPDX-License-Identifier: GPL-2.0-or-later

/**
 * Fuzzes what reads texts from outside: fragments, requests, records.
 *
 *     bun test/fuzz/policy_fuzz.ts [SECONDS [SEED]]      20 seconds if left out, and a seed by chance
 *
 * Whatever the text, it is read or it is refused; and of a fragment that is let through nothing reaches beyond its session,
 * by the word of a scanner that knows nothing of the compiler's. Ends with 1 and the input that did it, if one breaks that;
 * with that input's own seed it comes first.
 */

import { compileFragment, type Subject } from "../../src/policy/compile.ts";
import { FRAGMENT_DIRECTORY, readFragment } from "../../src/policy/read.ts";
import { Refusal } from "../../src/refusal.ts";
import { parseRecord } from "../../src/session/record.ts";
import { parseRequest } from "../../src/session/request.ts";
import { type NftToken, nftTokens } from "./nft_scanner.ts";

/** An input that broke a promise, and which. */
export type Finding = { readonly seed: number; readonly input: string; readonly complaint: string };

/** What is fuzzed. */
export type Kind = "fragments" | "requests" | "records";

/** What a fuzzer tries, from which seed on, and how long: by a count of inputs, or by a clock. */
export type Plan = {
  readonly kinds: readonly Kind[];
  readonly seed: number;
  readonly more: (inputs: number) => boolean;
};

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
      if (!OURS.has(next.text) && !HEADERS.has(next.text) && !isOwn(next)) return `the set ${next.text}`;
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

/** Numbers by chance that come again with the same seed. */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A whole number from 0 to `limit` - 1. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  }

  one<T>(of: readonly T[]): T {
    const chosen = of[this.below(of.length)];
    if (chosen === undefined) throw new Error("nothing to choose from");
    return chosen;
  }
}

const WORDS =
  `add rule inet authnft filter egress accept drop return jump goto continue reject queue map vmap set update
delete element include define meter ct label mark meta cgroup socket cgroupv2 level l4proto tcp udp th dport sport ip ip6
saddr daddr counter limit rate over second log prefix comment state established new reply direction handle index position
flow offload name ether fib type jump session_bob_77_in session_bob_77_judged session_in session_out session_map_cg
session_map_ipv4 session_v4 session_v6 session_cg session_chain member_slices members_out user_ip user_id user_name
constructor face dead beef 22 80 443 0 0x1f 1024-65535 10s 1d 1h30m 5ms 192.0.2.7 10.0.0.0/8 2001:db8:: ::1 ::face fe80::
::ffff:192.0.2.7 1:2:3:4:5:6:7:8 aa:bb:cc:dd:ee:ff 8021q eth0 eth* "eth0" "a;b" "#" "" "goto" $user_ip $user_id $user_name
web s m q l hits name @s @m type typeof flags interval dynamic elements = ipv4_addr inet_service verdict timeout size
@session_map_cg @session_map_ipv4 @session_v4 @session_in @th,16,16 /etc/authnft/x "/etc/authnft/x" "/etc/authnft/../x"
{ } ( ) [ ] , : = == != < > <= >= << >> & | ^ ! * / - + @ $ % ~ ' . ; # \\`.split(/\s+/);

/** What stands between words; nothing, often: gluing is where scanners differ. */
const GAPS = ["", "", " ", " ", " ", " ", "\t", "\n", "\\\n", " # x\n", ";", "\r", "\0", "\u00a0", "é"];

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

function fragment(chance: Chance): string {
  let text = "";
  for (let lines = 1 + chance.below(3); lines > 0; lines--) {
    text += chance.one(STARTS);
    for (let words = 1 + chance.below(9); words > 0; words--) {
      text +=
        chance.one(WORDS) + (chance.below(3) === 0 ? chance.one(GAPS) : chance.one(["", " ", " ", " "]));
    }
    text += "\n";
  }
  return chance.below(3) === 0 ? mutated(text, chance) : text;
}

/** Changes a few characters of a text: one is dropped, doubled, replaced, or moved. */
export function mutated(text: string, chance: Chance): string {
  let now = text;
  for (let changes = 1 + chance.below(3); changes > 0; changes--) {
    const at = chance.below(now.length + 1);
    const character = String.fromCharCode(
      chance.below(4) === 0 ? chance.below(0x3000) : 32 + chance.below(96),
    );
    const middle = chance.one(["", character, `${now[at] ?? ""}${character}`, (now[at] ?? "").repeat(2)]);
    now = now.slice(0, at) + middle + now.slice(at + 1);
  }
  return now;
}

const SUBJECTS: readonly Subject[] = [
  { id: 1000, name: "alice", address: { family: "ip", text: "192.0.2.7" } },
  { id: 1000, name: "alice", address: { family: "ip6", text: "2001:db8::7" } },
  { id: 1000, name: "a-b.c", address: undefined },
];

function tryFragment(chance: Chance): Omit<Finding, "seed"> | undefined {
  const path = `${FRAGMENT_DIRECTORY}/users/alice`;
  const [input, included, subject] = [fragment(chance), fragment(chance), chance.one(SUBJECTS)];
  const both = `${input}\n--- included ---\n${included}`;
  try {
    const read = readFragment(path, (file) => Buffer.from(file === path ? input : included));
    for (const part of compileFragment(read, { path, prefix: PREFIX, level: 2, subject }).parts) {
      const own = part.kind === "rule" && part.chain !== "in" && part.chain !== "out";
      const beyond =
        part.kind === "rule"
          ? reach(part.body, own ? "own" : "rule")
          : (reach(part.definition, "object") ??
            (/^[A-Za-z][\w.-]*$/.test(part.name) ? undefined : "by its name"));
      if (beyond !== undefined)
        return {
          input: both,
          complaint: `line ${part.place.line} reaches ${beyond}: ${JSON.stringify(part)}`,
        };
    }
    return undefined;
  } catch (error) {
    return judge(error, both, "content");
  }
}

const REQUEST = JSON.stringify({
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
  args: ["debug", "claims_env=X"],
  env: { X: "1" },
  session: "",
});

function tryRequest(chance: Chance): Omit<Finding, "seed"> | undefined {
  const input = mutated(REQUEST, chance);
  try {
    const { uid, gid, pid, type } = parseRequest(input);
    const sound =
      [uid, gid, pid].every(Number.isInteger) &&
      uid > 0 &&
      gid >= 0 &&
      pid > 1 &&
      /^(open|close)$/.test(type);
    return sound ? undefined : { input, complaint: "a request that cannot be was read" };
  } catch (error) {
    return judge(error, input, "request");
  }
}

const RECORD = JSON.stringify({
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
});

function tryRecord(chance: Chance): Omit<Finding, "seed"> | undefined {
  const input = mutated(RECORD, chance);
  try {
    const record = parseRecord(input);
    const sound =
      record === undefined ||
      (record.v === 2 && /^authnft-[^/\s]+\.scope$/.test(record.scope_unit) && record.pid > 0);
    return sound ? undefined : { input, complaint: "a record that cannot be was read" };
  } catch (error) {
    return { input, complaint: `it throws ${error}` };
  }
}

/** A refusal is right, if it is of the right kind and fits on one line. */
function judge(error: unknown, input: string, reason: string): Omit<Finding, "seed"> | undefined {
  if (!(error instanceof Refusal)) return { input, complaint: `it throws ${error}` };
  if (error.reason !== reason) return { input, complaint: `it is refused for ${error.reason}` };
  return /\p{Cc}/u.test(error.message)
    ? { input, complaint: `its refusal is not one line: ${error.message}` }
    : undefined;
}

const TRIALS: Readonly<Record<Kind, (chance: Chance) => Omit<Finding, "seed"> | undefined>> = {
  fragments: tryFragment,
  requests: tryRequest,
  records: tryRecord,
};

/** Tries inputs until one breaks a promise or `more` has enough. Each has a seed of its own, by which it comes again. */
export function fuzz(plan: Plan): { readonly inputs: number; readonly finding: Finding | undefined } {
  let inputs = 0;
  for (; plan.more(inputs); inputs++) {
    const seed = (plan.seed + inputs) >>> 0;
    const chance = new Chance(Math.imul(seed, 0x9e3779b1));
    const found = TRIALS[chance.one(plan.kinds)](chance);
    if (found !== undefined) return { inputs, finding: { seed, ...found } };
  }
  return { inputs, finding: undefined };
}

if (import.meta.main) {
  const seconds = Number(process.argv[2] ?? 20);
  const seed = Number(process.argv[3] ?? crypto.getRandomValues(new Uint32Array(1))[0]);
  const end = performance.now() + seconds * 1000;
  console.log(`seed ${seed}`);
  const { inputs, finding } = fuzz({
    // Most of what can be wrong is in fragments.
    kinds: ["fragments", "fragments", "fragments", "fragments", "requests", "records"],
    seed,
    more: (done) => done % 256 !== 0 || performance.now() < end,
  });
  if (finding !== undefined) {
    console.error(`${finding.complaint}\nseed ${finding.seed}, input ${JSON.stringify(finding.input)}`);
    process.exit(1);
  }
  console.log(`fragments, requests, records: ${inputs} inputs in ${seconds} s, each read or refused`);
}
