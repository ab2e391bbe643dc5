// SPDX-License-Identifier: GPL-2.0-or-later

// Finds what the words of a fragment refer to, and refuses what reaches beyond the subject.

import { type Dialect, givenSet, listed, RAW_HEADERS } from "./dialect.ts";
import { refuse, refuseStatement, refuseUnknown } from "./refusals.ts";
import type { ObjectKind, OwnObjects, Reference, Term } from "./statement.ts";
import type { Token } from "./tokenise.ts";

/** What words may refer to. */
export type Scope = {
  readonly own: OwnObjects;
  readonly dialect: Dialect;
  /** Whether `return` leads back to a caller. In the subject's own chains nobody called, and it accepts. */
  readonly isCalled: boolean;
};

/** libnftables 1.0.6 writes a longer prefix of a log statement over its own stack. */
const STRING_LIMIT = 127; // bytes

/** Words that no rule may hold, wherever they stand. */
const NEVER = new Set(["include", "masquerade", "meter", "synproxy", "tproxy"]);

/**
 * Finds what the tokens of a rule, or of an object's definition, refer to.
 *
 * @param body The tokens, as they are written.
 * @param scope The names that there are.
 * @returns The tokens with what they refer to; a variable is one term.
 * @throws {Refusal} `content`, for what reaches beyond the subject or refers to nothing.
 */
export function readTerms(body: readonly Token[], scope: Scope): Term[] {
  const [first] = body;
  if (first !== undefined && /^(handle|index|position)$/.test(first.text))
    refuse(first, `"${first.text}" has no place in a fragment; put the rule where it is to stand.`);
  body.forEach((_, index) => {
    checkToken(body, index, scope);
  });
  const terms: Term[] = [];
  for (let index = 0; index < body.length; index++) {
    const [before, token, next] = [body[index - 1], body[index], body[index + 1]];
    if (token === undefined) break;
    const refers = referenceOf(token, before, next, scope);
    if (refers === undefined) terms.push(token);
    else if (refers.kind === "variable")
      terms.push({ ...token, kind: "word", text: `$${refers.name}`, refers });
    else terms.push({ ...token, refers });
    if (refers === undefined || refers.kind === "accept") continue;
    index++;
    if (refers.kind !== "variable" && next !== undefined) terms.push(next);
  }
  return terms;
}

/** Finds what a token, with the one behind it, refers to; `undefined` for what is written in the table as it is here. */
function referenceOf(
  { kind, text }: Token,
  before: Token | undefined,
  next: Token | undefined,
  { own, dialect, isCalled }: Scope,
): Reference | undefined {
  if (kind === "word" && (text === "accept" || (text === "return" && !isCalled))) return { kind: "accept" };
  if (next === undefined) return undefined;
  if (kind === "word" && (text === "jump" || text === "goto")) return { kind: "chain", name: next.text };
  if (kind === "word" && text === "name" && countingKind(before) !== undefined)
    return { kind: "object", name: unquoted(next) };
  // "meta cgroup" reads the class id of cgroup v1's net_cls and never matches what is in the sets.
  if (text === "meta" && next.text === "cgroup") return { kind: "cgroup" };
  if (text === "$")
    return {
      kind: "variable",
      name: next.text,
      isAddress: dialect.variables[next.text]?.kind === "address",
    };
  if (text !== "@") return undefined;
  const given = own.has(next.text) ? undefined : givenSet(dialect, next.text);
  if (given === undefined) return { kind: "set", name: next.text, isOwn: own.has(next.text) };
  const { name, set } = given;
  return { kind: "set", name, isOwn: false, ...(set.holds === undefined ? {} : { holds: set.holds }) };
}

/** Refuses a token that reaches beyond the subject, by what stands beside it. @throws {Refusal} `content` */
function checkToken(body: readonly Token[], index: number, { own, dialect }: Scope): void {
  const token = body[index];
  if (token === undefined) return;
  const before = body[index - 1];
  const next = body[index + 1];
  if (token.text === "@" && next !== undefined) checkSet(token, next, before, { own, dialect });
  if (token.text === "$" && !Object.hasOwn(dialect.variables, next?.text ?? "")) {
    const known = Object.keys(dialect.variables).map((name) => `$${name}`);
    refuse(
      token,
      `there is no variable "$${next?.text ?? ""}"; there ${known.length === 1 ? "is" : "are"} ${listed(known) || "none"}.`,
    );
  }
  if (token.kind === "string" && Buffer.byteLength(token.text) > STRING_LIMIT + 2)
    refuse(token, `a string of more than ${STRING_LIMIT} bytes; make it shorter.`);
  if (token.kind !== "word") return;
  if (
    (token.text === "jump" || token.text === "goto") &&
    (next?.kind !== "word" || own.get(next.text) !== "chain")
  )
    refuseUnknown(
      token,
      `"${token.text} ${next?.text ?? ""}" leads to no chain that the fragment adds itself, and only such may be reached; add it, with "add chain ${dialect.table} <name>".`,
    );
  const counting = token.text === "name" ? countingKind(before) : undefined;
  if (counting !== undefined && own.get(unquoted(next)) !== counting)
    refuseUnknown(
      token,
      `there is no ${counting} "${unquoted(next)}" in this fragment; add it, with "add ${counting} ${dialect.table} <name>".`,
    );
  if (["add", "update", "delete"].includes(token.text)) checkChange(body, index, { own, dialect });
  if (NEVER.has(token.text)) refuseStatement(token, dialect);
  if (token.text !== "label" || before?.text !== "ct") return;
  // libnftables 1.0.6 does not survive values of it.
  if ([next?.text, body[index - 2]?.text].includes("."))
    refuse(
      token,
      '"ct label" cannot stand together with something else; match on "ct mark", or on each by itself.',
    );
  if (next?.text === "set")
    refuse(
      token,
      '"ct label set" has no place in a fragment: labels say which flows were judged; set "ct mark".',
    );
}

type Names = Pick<Scope, "own" | "dialect">;

/** Refuses a change of a set that is not the fragment's own. "add" may also be a part of an IPv6 address. */
function checkChange(body: readonly Token[], index: number, { own, dialect }: Names): void {
  const [before, token, next] = [body[index - 1], body[index], body[index + 1]];
  if (token === undefined) return;
  if (before?.text === "set" || before?.text === "flow")
    refuse(
      token,
      `"${before.text} ${token.text}" has no place in a rule of a fragment; write "${token.text} @<set> { … }", with a set that the fragment adds itself.`,
    );
  if (next?.text !== "@") return;
  const name = body[index + 2]?.text ?? "";
  if (!own.has(name))
    refuse(
      token,
      `"${token.text}" has no place in a rule of a fragment: it would change a set that is not the fragment's own; add one, with "add set ${dialect.table} <name> { … }".`,
    );
  const behind = body.slice(index + 3);
  const colon = behind
    .slice(
      0,
      behind.findIndex(({ text }) => text === "}"),
    )
    .find(({ text }) => text === ":");
  // libnftables 1.0.6 does not survive it.
  if (colon !== undefined && own.get(name) !== "map")
    refuse(
      colon,
      `"${name}" is a set, and only a map leads to something; take out the ":" and what follows, or add a map.`,
    );
}

function checkSet(mark: Token, name: Token, before: Token | undefined, { own, dialect }: Names): void {
  const kind = own.get(name.text);
  if (before?.kind === "word" && /^v?map$/.test(before.text) && kind !== "map")
    refuseUnknown(
      mark,
      `there is no map "${name.text}" in this fragment; add it, with "add map ${dialect.table} <name> { type … : …; }".`,
    );
  if (givenSet(dialect, name.text) !== undefined || kind === "set" || kind === "map") return;
  if (RAW_HEADERS.has(name.text)) return; // "@th,16,16"
  if (name.kind === "number" && before?.text === "option") return; // raw bits of an option: "tcp option @254,8,8"
  const given = Object.keys(dialect.sets).map((one) => `@${one}`);
  const there =
    given.length === 0
      ? "there is only what"
      : `there ${given.length === 1 ? "is" : "are"} ${listed(given)}, and what`;
  refuseUnknown(
    mark,
    `cannot use the set "@${name.text}"; ${there} the fragment adds itself, with "add set ${dialect.table} <name> { … }".`,
  );
}

function countingKind(token: Token | undefined): ObjectKind | undefined {
  const text = token?.text;
  return text === "counter" || text === "quota" || text === "limit" ? text : undefined;
}

function unquoted(token: Token | undefined): string {
  return token?.kind === "string" ? token.text.slice(1, -1) : (token?.text ?? "");
}
