// SPDX-License-Identifier: GPL-2.0-or-later

// Parses a fragment, once: what it may hold is refused or not while this is read, and everything else looks at what is made
// here.

import { attempt, type Refused } from "../refusal.ts";
import { type Head, isAddition, namedAtLeast, ownObjects, parseAddition, parseHead } from "./definitions.ts";
import { CHAINS, type Dialect } from "./dialect.ts";
import { parseStatements } from "./parse_rule.ts";
import type { Command, Fragment } from "./read.ts";
import { refuse, refuseUnknown } from "./refusals.ts";
import type { OwnObjects, ParsedFragment, Rule } from "./statement.ts";
import { readTerms } from "./terms.ts";

/**
 * Parses a fragment. Only rules of the subject's input and output are let through, objects of the fragment's own and rules of
 * its own chains; and in all of them nothing that reaches beyond the subject.
 *
 * @param fragment The fragment with all that it includes.
 * @param dialect The names that it may use besides its own.
 * @param refused Is told of all that is wrong, instead of the first being thrown; what comes back lacks it then.
 * @returns The rules and objects, in the fragment's order.
 * @throws {Refusal} `content`
 */
export function parseFragment(fragment: Fragment, dialect: Dialect, refused?: Refused): ParsedFragment {
  const known = new Map<Command, Head | undefined>();
  const heads = fragment.commands.filter(isAddition).flatMap((command): Head[] => {
    const head = attempt(refused, () => parseHead(command, dialect));
    known.set(command, head);
    return head === undefined ? namedAtLeast(command) : [head];
  });
  const own = ownObjects(heads, refused);
  const commands = fragment.commands.flatMap((command) => {
    const head = known.get(command);
    if (head === undefined && known.has(command)) return [];
    const parsed = attempt(refused, () =>
      head === undefined
        ? parseRule(command, own, dialect)
        : parseAddition(head, heads, { own, dialect, isCalled: true }),
    );
    return parsed === undefined ? [] : [parsed];
  });
  return { commands, own };
}

/** Parses `add rule inet authnft <chain> …`. @throws {Refusal} `content` */
function parseRule(command: Command, own: OwnObjects, dialect: Dialect): Rule {
  const [verb, object, family, table, ...rest] = command;
  const said = [verb, object, family, table].map((token) => token?.text).join(" ");
  if (said !== `add rule ${dialect.table}`) {
    const written = command
      .slice(0, 4)
      .map(({ text }) => text)
      .join(" ");
    refuse(
      verb,
      `only "add rule ${dialect.table} filter …", "add rule ${dialect.table} egress …", objects of the fragment's own ("add set ${dialect.table} …") and include may stand in a fragment, not "${written}"; ${insteadOf(command, dialect)}.`,
    );
  }
  const [first, second] = rest;
  const isMarked = first?.text === "@" && second !== undefined && !second.spaced;
  const name = isMarked ? `@${second.text}` : (first?.text ?? "");
  const isOwn = own.get(name) === "chain";
  const chain = isOwn ? name : directionOf(name, dialect);
  if (chain === undefined)
    refuseUnknown(
      first ?? verb,
      `a fragment's rules go to chain filter (what arrives) or egress (what is sent), or to a chain that it adds itself, not "${name}"; write one of the two, or add the chain.`,
    );
  const body = rest.slice(isMarked ? 2 : 1);
  if (body.length === 0) refuse(verb, "the rule is empty; say what to match and what to do.");
  const terms = readTerms(body, { own, dialect, isCalled: isOwn });
  return { kind: "rule", chain, statements: parseStatements(terms, dialect), terms, place: verb.place };
}

function directionOf(name: string, { chains }: Dialect): string | undefined {
  for (const known of [CHAINS, chains]) if (Object.hasOwn(known, name)) return known[name];
  return undefined;
}

/** Says what to write instead of a command that no fragment may hold. */
function insteadOf([verb, object, ...rest]: Command, { table, noun }: Dialect): string {
  const isOurs = rest.some(({ text }) => text === table.split(" ")[1]);
  switch (verb.text) {
    case "insert":
    case "replace":
    case "create":
      return `write "add ${object?.text ?? "rule"} ${table} …"`;
    case "define":
    case "redefine":
    case "undefine":
      return "write the value where it is used";
    case "table":
    case "chain":
    case "map":
    case "set":
      return "write commands instead of blocks, and what is for other tables into the host's own rules";
    case "add":
      if (object === undefined || isOurs) return `write "add rule ${table} egress …" or one of the others`;
      return "put it into the host's own rules, and let them match on a mark that is set here";
  }
  // Commands that act on existing things: a subject begins with nothing.
  return rest.length > 0 || object !== undefined
    ? `take it out, for a fragment only adds what a ${noun} begins with`
    : `write "add rule ${table} egress …"`;
}
