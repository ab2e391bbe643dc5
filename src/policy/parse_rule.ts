// SPDX-License-Identifier: GPL-2.0-or-later

// Reads the statements of a rule. Each that a rule may hold is listed here; whatever else nftables may know, now or later, is
// refused.

import { checkConstants, checkKept, checkReckoning, checkSize } from "./check.ts";
import type { Dialect } from "./dialect.ts";
import { takeBraces, takeExpression, takeField, takeMembers, takeOperand, takePlain } from "./expression.ts";
import { addressParts, checkConstant, checkElements, checkKey } from "./host_names.ts";
import { STATEMENT_LIMIT } from "./limits.ts";
import { Reader } from "./reader.ts";
import { NAT, refuse, refuseStatement, SETTABLE } from "./refusals.ts";
import { elementsIn, type Statement, type Term } from "./statement.ts";

const REMARK: Statement = { kind: "remark" };
const LIMIT: Statement = { kind: "limit" };

/**
 * Parses what a rule does.
 *
 * @param body What stands behind the chain's name.
 * @returns Its statements, in their order.
 * @throws {Refusal} `content`, for what is no match and no statement that is listed.
 */
export function parseStatements(body: readonly Term[], dialect: Dialect): Statement[] {
  const reader = new Reader(body);
  const statements: Statement[] = [];
  for (let start = reader.peek(); start !== undefined; start = reader.peek()) {
    if (statements.length === STATEMENT_LIMIT)
      refuse(
        start,
        `here begins the statement after ${STATEMENT_LIMIT} of this rule, and the kernel takes no more; write several rules.`,
      );
    const before = reader.taken;
    const statement = takeStatement(reader);
    if (statement !== undefined) {
      statements.push(statement);
      continue;
    }
    const here = reader.peek();
    if (reader.taken === before || here === undefined) refuseStatement(start, dialect);
    refuse(
      here,
      `"${here.text}" is not known to go on what "${start.text}" begins; see nft(8) on how that is written.`,
    );
  }
  return statements;
}

/** Takes a statement or a match; where it is none that is known, some of it may be taken, or nothing. */
function takeStatement(reader: Reader): Statement | undefined {
  const first = reader.peek()?.text;
  const verdict = reader.takeOne("accept", "drop", "continue", "return");
  if (verdict !== undefined) return { kind: verdict };
  switch (first) {
    case "jump":
    case "goto": {
      reader.next();
      const chain = reader.peek()?.text ?? "";
      return reader.takeName() ? { kind: first, chain } : undefined;
    }
    case "reject":
      return takeReject(reader);
    case "comment":
      return reader.take("comment") && reader.takeValue() ? { kind: "comment" } : undefined;
    case "counter":
      return takeCounter(reader) ? REMARK : undefined;
    case "log":
      return takeLog(reader) ? REMARK : undefined;
    case "last":
      return reader.take("last") ? REMARK : undefined;
    case "limit":
    case "quota":
      if (reader.take(first, "name")) return reader.takeName() ? LIMIT : undefined;
      return takeLimit(reader) ? LIMIT : undefined;
    case "add":
    case "update":
    case "delete":
      // Which set it is has been looked at; in the braces only counters, limits and the like may stand, and nftables sees to that.
      if (reader.peek(1)?.text !== "@") return undefined;
      reader.next();
      return reader.take("@") && reader.takeName() && takeKept(reader) ? { kind: "keep" } : undefined;
  }
  if (first === "ct" && reader.peek(1)?.text === "count") return takeLimit(reader) ? LIMIT : undefined;
  return takeMatch(reader);
}

function takeReject(reader: Reader): Statement | undefined {
  reader.next();
  if (!reader.take("with")) return { kind: "reject", answer: "icmpx" };
  if (reader.take("tcp")) return reader.take("reset") ? { kind: "reject", answer: "tcp" } : undefined;
  const answer = reader.takeOne("icmp", "icmpv6", "icmpx");
  if (answer === undefined) return undefined;
  reader.take("type");
  return reader.takeValue() ? { kind: "reject", answer } : undefined;
}

function takeCounter(reader: Reader): boolean {
  reader.next();
  if (reader.take("packets")) return reader.takeValue() && reader.take("bytes") && reader.takeValue();
  return !reader.take("name") || reader.takeName();
}

function takeLog(reader: Reader): boolean {
  reader.next();
  for (;;) {
    if (reader.takeOne("prefix", "level", "group", "snaplen", "queue-threshold") !== undefined) {
      if (!reader.takeValue()) return false;
    } else if (reader.take("flags")) {
      const known = reader.takeOne("all", "skuid", "ether", "ip", "tcp");
      if (known === undefined) return false;
      if (known === "ip" && !reader.take("options")) return false;
      if (known === "tcp") while (reader.takeOne("sequence", "options", ",") !== undefined);
    } else return true;
  }
}

/** Takes a limit, a quota or a count. */
function takeLimit(reader: Reader): boolean {
  if (reader.take("limit", "rate")) {
    reader.takeOne("over", "until");
    if (!reader.takeValue()) return false;
    // "10/second", or "1 mbytes/second" where the scanner makes one word of the unit.
    if (!reader.take("/") && (!reader.takeValue() || !reader.take("/"))) return takeBurst(reader);
    return reader.takeValue() && takeBurst(reader);
  }
  const quota = reader.take("quota");
  if (!quota && !reader.take("ct", "count")) return false;
  reader.takeOne("over", "until");
  if (!reader.takeValue() || (quota && !reader.takeValue())) return false;
  return !quota || !reader.take("used") || (reader.takeValue() && reader.takeValue());
}

function takeBurst(reader: Reader): boolean {
  return !reader.take("burst") || (reader.takeValue() && reader.takeValue());
}

/** Takes the braces that say what is put into a set. */
function takeKept(reader: Reader): boolean {
  const start = reader.taken;
  if (!takeBraces(reader)) return false;
  const kept = reader.since(start).slice(1, -1);
  checkKept(kept);
  const key = new Reader(kept);
  do {
    const first = key.peek();
    if (!takeField(key) && first !== undefined) checkConstant(first);
  } while (key.take("."));
  return true;
}

const SET_TOO: ReadonlySet<string> = new Set([...SETTABLE, "mark"]);

/** Takes a match, a verdict map, or the setting of something that may be set. */
function takeMatch(reader: Reader): Statement | undefined {
  const first = reader.peek();
  const start = reader.taken;
  if (first === undefined || !takeField(reader)) return undefined;
  const field = written(reader.since(start));
  const takeConstant = (): boolean => takePlain(reader, field);
  const key = takeExpression(
    reader,
    start,
    () =>
      reader.backtrack(() => (reader.peek()?.text === "(" && takeConstant()) || undefined) ??
      (takeField(reader) || takeConstant()),
  );
  if (key === undefined) return undefined;
  checkSize(key.terms);
  checkKey(key.terms);
  if (reader.take("set")) return takeAssignment(reader, key.terms);
  const addresses = addressParts(key.terms);
  if (reader.take("vmap")) {
    const members = takeMembers(reader, addresses);
    return members && { kind: "vmap", key, members };
  }
  const compared = reader.taken;
  if (reader.takeOne("eq", "ne", "lt", "gt", "le", "ge") === undefined)
    while (reader.takeOne("=", "!", "<", ">") !== undefined);
  const operator = written(reader.since(compared));
  // nftables reports what is missing at the end.
  if (reader.done) return { kind: "match", key, operator, values: undefined };
  const members = takeMembers(reader, addresses);
  if (members !== undefined) return { kind: "match", key, operator, values: members };
  const values = reader.taken;
  const expression = takeConstant() ? takeExpression(reader, values, takeConstant) : undefined;
  if (expression === undefined) return undefined;
  checkConstants(expression.terms);
  checkElements(elementsIn(expression.terms), addresses);
  return { kind: "match", key, operator, values: { kind: "plain", expression } };
}

/** Takes the value that something is set to. @throws {Refusal} `content`, where it is nothing that may be set */
function takeAssignment(reader: Reader, target: readonly Term[]): Statement | undefined {
  const to = written(target);
  const [first] = target;
  if (first !== undefined && !SET_TOO.has(to)) {
    const translates = /^ip6? [sd]addr$|^(tcp|udp|th|udplite|sctp|dccp) [sd]port$/.test(to);
    refuse(
      first,
      `"${to} set" has no place in a rule of a fragment${translates ? NAT : `; what may be set is ${SETTABLE.join(", ")}`}.`,
    );
  }
  const start = reader.taken;
  const value = takeOperand(reader) ? takeExpression(reader, start, () => takeOperand(reader)) : undefined;
  if (value === undefined) return undefined;
  checkSize(value.terms);
  checkReckoning(value.terms);
  return { kind: "assignment", to, value };
}

/** Writes terms as they are written, with single blanks. */
function written(terms: readonly Term[]): string {
  return terms
    .map(({ text, spaced }) => `${spaced ? " " : ""}${text}`)
    .join("")
    .trim();
}
