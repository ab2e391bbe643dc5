// SPDX-License-Identifier: GPL-2.0-or-later
import { Refusal } from "../refusal.ts";
import { checkWord } from "./statements.ts";
import { locate, type Token } from "./tokenise.ts";

/** What a fragment's variables stand for. */
export type Subject = {
  readonly id: number;
  readonly name: string;
  readonly address: { readonly family: "ip" | "ip6"; readonly text: string } | undefined;
};

/** What a fragment may have of its own, by nft's names. */
export type ObjectKind = "chain" | "set" | "map" | "counter" | "quota" | "limit";

/** A fragment's own objects, by the names that it gives them. */
export type OwnObjects = ReadonlyMap<string, ObjectKind>;

/** What statements are rendered for. */
export type RenderOptions = {
  /**
   * What the names of a member's chains, and of the fragment's own objects, begin with: `<prefix>_<name>`. A packet that a
   * rule accepts goes to `<prefix>_judged`.
   */
  readonly prefix: string;
  /** How deep the cgroup lies that the rules are for: what "meta cgroup" is read as. */
  readonly level: 2 | 3;
  readonly subject: Subject;
};

/** A fragment names an object that it does not add itself; a file that includes it might. */
export class UnknownObject extends Refusal {
  constructor(message: string) {
    super("content", message);
  }
}

/** Names of our sets in a published form of fragments, and what they are called now. */
const SET_ALIASES: Readonly<Record<string, string>> = {
  session_v4: "session_map_ipv4",
  session_v6: "session_map_ipv6",
  session_cg: "session_map_cg",
};

const SESSION_SETS = new Set(["session_map_ipv4", "session_map_ipv6", "session_map_cg"]);

/** libnftables 1.0.6 writes a longer prefix of a log statement over its own stack. */
const STRING_LIMIT = 127; // bytes

/**
 * Checks a rule, or what is in a set: that nothing in it reaches beyond the session.
 *
 * @throws {Refusal} `content`
 */
export function checkBody(body: readonly Token[], own: OwnObjects): void {
  const [first] = body;
  if (first !== undefined && /^(handle|index|position)$/.test(first.text)) {
    throw new Refusal(
      "content",
      `${locate(first.place)}: "${first.text}" has no place in a fragment; put the rule where it is to stand.`,
    );
  }
  body.forEach((token, index) => {
    const where = locate(token.place);
    const before = body[index - 1];
    const next = body[index + 1];
    if (token.text === "@" && next !== undefined) checkSet(token, next, own, before);
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
    if (token.text === "jump" || token.text === "goto") {
      if (next?.kind !== "word" || own.get(next.text) !== "chain") {
        throw new UnknownObject(
          `${where}: "${token.text} ${next?.text ?? ""}" leads to no chain that the fragment adds itself, and only such may be reached; add it, with "add chain inet authnft <name>".`,
        );
      }
    }
    if (token.text === "name" && isNamedObject(before)) {
      const name = unquoted(next);
      if (own.get(name) !== before.text) {
        throw new UnknownObject(
          `${where}: there is no ${before.text} "${name}" in this fragment; add it, with "add ${before.text} inet authnft <name>".`,
        );
      }
    }
    // "add" may also be a part of an IPv6 address; as a statement it stands before a set, or behind "set" in old texts.
    const changes = ["add", "update", "delete"].includes(token.text);
    if (changes && (before?.text === "set" || before?.text === "flow")) {
      throw new Refusal(
        "content",
        `${where}: "${before.text} ${token.text}" has no place in a rule of a fragment; write "${token.text} @<set> { … }", with a set that the fragment adds itself.`,
      );
    }
    if (changes && next?.text === "@" && !own.has(body[index + 2]?.text ?? "")) {
      throw new Refusal(
        "content",
        `${where}: "${token.text}" has no place in a rule of a fragment: it would change a set that is not the fragment's own; add one, with "add set inet authnft <name> { … }".`,
      );
    }
    const colon = changes && next?.text === "@" ? pairIn(body.slice(index + 3)) : undefined;
    if (colon !== undefined && own.get(body[index + 2]?.text ?? "") !== "map") {
      // libnftables 1.0.6 does not survive it.
      throw new Refusal(
        "content",
        `${locate(colon.place)}: "${body[index + 2]?.text}" is a set, and only a map leads to something; take out the ":" and what follows, or add a map.`,
      );
    }
    checkWord(token);
    if (
      token.text === "label" &&
      before?.text === "ct" &&
      [next?.text, body[index - 2]?.text].includes(".")
    ) {
      // libnftables 1.0.6 does not survive values of it.
      throw new Refusal(
        "content",
        `${where}: "ct label" cannot stand together with something else; match on "ct mark", or on each by itself.`,
      );
    }
    if (token.text === "label" && before?.text === "ct" && next?.text === "set") {
      throw new Refusal(
        "content",
        `${where}: "ct label set" has no place in a fragment: labels say which flows were judged; set "ct mark".`,
      );
    }
  });
}

/** The ":" in the braces that tokens begin with. */
function pairIn(tokens: readonly Token[]): Token | undefined {
  const end = tokens.findIndex(({ text }) => text === "}");
  return tokens.slice(0, end).find(({ text }) => text === ":");
}

function checkSet(mark: Token, name: Token, own: OwnObjects, before: Token | undefined): void {
  const kind = own.get(name.text);
  if (before?.kind === "word" && /^v?map$/.test(before.text) && kind !== "map") {
    throw new UnknownObject(
      `${locate(mark.place)}: there is no map "${name.text}" in this fragment; add it, with "add map inet authnft <name> { type … : …; }".`,
    );
  }
  if (SESSION_SETS.has(aliased(name.text)) || kind === "set" || kind === "map") return;
  if (["ih", "nh", "th", "ll"].includes(name.text)) return; // raw payload: "@th,16,16"
  if (name.kind === "number" && before?.text === "option") return; // raw bits of an option: "tcp option @254,8,8"
  throw new UnknownObject(
    `${locate(mark.place)}: cannot use the set "@${name.text}"; there are @session_map_ipv4, @session_map_ipv6 and @session_map_cg, and what the fragment adds itself, with "add set inet authnft <name> { … }".`,
  );
}

function aliased(name: string): string {
  return Object.hasOwn(SET_ALIASES, name) ? (SET_ALIASES[name] ?? name) : name;
}

function isNamedObject(token: Token | undefined): token is Token {
  return token !== undefined && ["counter", "quota", "limit"].includes(token.text);
}

function unquoted(token: Token | undefined): string {
  return token?.kind === "string" ? token.text.slice(1, -1) : (token?.text ?? "");
}

/** The address that tokens need and the session lacks, in words; `undefined` when nothing is missing. */
export function missingAddress(
  body: readonly Token[],
  subject: Subject,
  declared: "ip" | "ip6" | undefined = undefined,
): string | undefined {
  let family: string | undefined = declared;
  for (const [index, token] of body.entries()) {
    if (token.text === "ip" || token.text === "ip6") family = token.text;
    if (token.text !== "$" || body[index + 1]?.text !== "user_ip") continue;
    if (subject.address === undefined) return "the client's address";
    if (family !== undefined && family !== subject.address.family)
      return family === "ip" ? "an IPv4 address" : "an IPv6 address";
  }
  return undefined;
}

/**
 * Writes tokens on one line, with the names that the session's objects have in the table.
 *
 * @param options.returns whether `return` stays what it is: in a chain of the fragment's own it leads back to the caller;
 *   in the session's chains nobody called, and it accepts
 */
export function render(
  body: readonly Token[],
  own: OwnObjects,
  options: RenderOptions & { readonly returns: boolean },
): string {
  return rendered(body, own, options)
    .map(({ text }) => text)
    .join("")
    .trim();
}

/** The token that a place in rendered text comes from; `undefined` outside of it. */
export function tokenAt(
  body: readonly Token[],
  own: OwnObjects,
  options: RenderOptions & { readonly returns: boolean; readonly offset: number },
): Token | undefined {
  const pieces = rendered(body, own, options);
  const [first] = pieces;
  // A blank before the first word was trimmed.
  let end = first === undefined ? 0 : first.text.trimStart().length - first.text.length;
  return pieces.find(({ text }) => {
    end += text.length;
    return options.offset < end;
  })?.token;
}

function rendered(
  body: readonly Token[],
  own: OwnObjects,
  options: RenderOptions & { readonly returns: boolean },
): { readonly text: string; readonly token: Token }[] {
  const pieces: { text: string; token: Token }[] = [];
  for (let index = 0; index < body.length; index++) {
    const token = body[index];
    if (token === undefined) break;
    const before = body[index - 1];
    const next = body[index + 1];
    const glue = token.spaced && pieces.length > 0 ? " " : "";
    const { text: word, kind } = token;
    let piece = word;
    if (kind === "word" && (word === "accept" || (word === "return" && !options.returns)))
      piece = `goto ${options.prefix}_judged`;
    else if (kind === "word" && (word === "jump" || word === "goto") && next !== undefined) {
      piece = `${word} ${options.prefix}_${next.text}`;
      index++;
    } else if (kind === "word" && word === "name" && isNamedObject(before) && next !== undefined) {
      piece = `name "${options.prefix}_${unquoted(next)}"`;
      index++;
    } else if (word === "meta" && next?.text === "cgroup") {
      // "meta cgroup" reads the class id of cgroup v1's net_cls and never matches what is in the sets.
      piece = `socket cgroupv2 level ${options.level}`;
      index++;
    } else if (word === "@" && next !== undefined) {
      piece = `@${own.has(next.text) ? `${options.prefix}_${next.text}` : aliased(next.text)}`;
      index++;
    } else if (word === "$") {
      piece = value(next?.text, options.subject);
      index++;
    }
    // What we put there must not run together with what stands beside it.
    pieces.push({ text: piece === word ? glue + piece : ` ${piece} `, token });
  }
  return pieces;
}

function value(variable: string | undefined, subject: Subject): string {
  if (variable === "user_ip") return subject.address?.text ?? "";
  if (variable === "user_id") return String(subject.id);
  return `"${subject.name}"`;
}
