// SPDX-License-Identifier: GPL-2.0-or-later
import { closeSync } from "node:fs";
import { writeWhole } from "../host/files.ts";
import {
  attribute,
  type Message,
  message,
  NLM_F_ACK,
  NLM_F_DUMP,
  nested,
  netlink,
  textAttribute,
  view,
} from "../kernel/netlink.ts";
import {
  type Element,
  isOutputNat,
  type NamedAnswer,
  NFT_SET_MAP,
  NFTA_DATA_VALUE,
  NFTA_DATA_VERDICT,
  NFTA_LIST_ELEM,
  NFTA_SET_ELEM_DATA,
  NFTA_SET_ELEM_KEY,
  NFTA_SET_ELEM_LIST_ELEMENTS,
  NFTA_VERDICT_CHAIN,
  parseDeclaration,
  parseElements,
  parseNamed,
  parseUses,
} from "../kernel/nft_answers.ts";
import { type Declaration, withoutLookingAtOthers } from "../kernel/nft_commands.ts";
import { koffi, loadLibrary } from "./koffi.ts";
import { memoryFile, SystemError } from "./libc.ts";

export type { Element } from "../kernel/nft_answers.ts";

const library = loadLibrary("libnftables.so.1");
const Context = koffi.pointer("nft_ctx", koffi.opaque());

const nft = {
  contextNew: library.func("nft_ctx_new", Context, ["uint32_t"]),
  contextFree: library.func("nft_ctx_free", "void", [Context]),
  bufferOutput: library.func("nft_ctx_buffer_output", "int", [Context]),
  bufferError: library.func("nft_ctx_buffer_error", "int", [Context]),
  setOutput: library.func("nft_ctx_output_set_flags", "void", [Context, "uint32_t"]),
  getOutput: library.func("nft_ctx_get_output_buffer", "const char *", [Context]),
  getError: library.func("nft_ctx_get_error_buffer", "const char *", [Context]),
  runBuffer: library.func("nft_run_cmd_from_buffer", "int", [Context, "const char *"]),
  runFile: library.func("nft_run_cmd_from_filename", "int", [Context, "const char *"]),
};

/** Something that libnftables complains of: the line of the transaction, from 0, the byte in it, from 0, and what it says. */
export type Complaint = { readonly line: number; readonly offset: number; readonly text: string };

/** nftables refused a transaction: nothing of it is in force. */
export class TransactionError extends Error {
  override readonly name = "TransactionError";

  constructor(
    /** What libnftables printed. */
    readonly output: string,
    /** The line of the transaction that the first complaint is about, from 0; `undefined` where it names none. */
    readonly line: number | undefined,
    /** The first complaint, on one line and without its place. */
    readonly complaint: string,
    /** All complaints that name a place in the transaction. */
    readonly complaints: readonly Complaint[] = [],
  ) {
    super(complaint);
  }
}

/**
 * Runs nftables commands, one a line, as one transaction: all of it or nothing. How long it takes does not depend on what
 * is in the sets of other tables.
 *
 * @throws {TransactionError}
 */
export function runTransaction(lines: readonly string[]): void {
  const commands = withoutLookingAtOthers(lines, declaration);
  const text = `${commands.map(({ text }) => text).join("\n")}\n`;
  if (attempt((context) => nft.runBuffer(context, text)) === undefined) return;
  // Of text in memory libnftables cannot tell the line. A refused transaction changed nothing, so try again from a file.
  const fd = memoryFile("transaction");
  try {
    writeWhole(fd, Buffer.from(text));
    const output = attempt((context) => nft.runFile(context, `/proc/self/fd/${fd}`));
    if (output === undefined) return;
    const [, line, complaint] = /^[^\n]*?:(\d+):\d+(?:-\d+)?: (?:Error: )?([^\n]*)/.exec(output) ?? [];
    const first = output.split("\n", 1)[0]?.replace(/^Error: /, "");
    throw new TransactionError(
      output,
      line === undefined ? undefined : Number(line) - 1,
      complaint ?? first ?? "",
      [...output.matchAll(/^\/proc\/self\/fd\/\d+:(\d+):(\d+)(?:-\d+)?: (?:Error: )?(.*)$/gm)].map(
        ([, line, column, text = ""]) => ({
          line: Number(line) - 1,
          offset: Math.max(0, Number(column) - 1 - (commands[Number(line) - 1]?.shift ?? 0)),
          text,
        }),
      ),
    );
  } finally {
    closeSync(fd);
  }
}

// nftables/libnftables.h
const NFT_CTX_OUTPUT_STATELESS = 1 << 2;
const NFT_CTX_OUTPUT_TERSE = 1 << 11; // without the elements of sets

/**
 * A table as nft prints it, without what changes by itself, such as counters.
 *
 * @param table family and name
 * @returns nothing when there is none
 */
export function listTable(table: string): string {
  return listing(`list table ${table}`);
}

/**
 * All tables as nft prints them, without the elements of sets. Of one table alone libnftables (1.0.6) fetches these though it
 * prints none: half a million intervals take forty seconds.
 */
export function listRuleset(): string {
  return listing("list ruleset", NFT_CTX_OUTPUT_STATELESS | NFT_CTX_OUTPUT_TERSE);
}

function listing(command: string, flags = NFT_CTX_OUTPUT_STATELESS): string {
  let listing = "";
  const complaint = attempt((context) => {
    nft.setOutput(context, flags);
    const result = nft.runBuffer(context, command);
    listing = String(nft.getOutput(context) ?? "");
    return result;
  });
  return complaint === undefined ? listing : "";
}

/** Lets libnftables do something; returns `undefined`, or what it complains of. */
function attempt(act: (context: unknown) => number): string | undefined {
  const context = nft.contextNew(0);
  if (context === null) return "Error: libnftables could not be set up";
  try {
    nft.bufferOutput(context);
    nft.bufferError(context);
    return act(context) === 0 ? undefined : String(nft.getError(context) ?? "");
  } finally {
    nft.contextFree(context);
  }
}

// linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h
const NETLINK_NETFILTER = 12;
const NFNL_MSG_BATCH_BEGIN = 0x10;
const NFNL_MSG_BATCH_END = 0x11;
const NFNL_SUBSYS_NFTABLES = 10;
const NFPROTO_UNSPEC = 0;
const NFPROTO_INET = 1;
const NFT_MSG_GETCHAIN = 4;
const NFT_MSG_DELCHAIN = 5;
const NFT_MSG_GETRULE = 7;
const NFT_MSG_DELRULE = 8;
const NFT_MSG_GETSET = 10;
const NFT_MSG_NEWSETELEM = 12;
const NFT_MSG_GETSETELEM = 13;
const NFT_MSG_DELSETELEM = 14;
const NFT_MSG_DELSET = 11;
const NFT_MSG_GETOBJ = 19;
const NFT_MSG_DELOBJ = 20;
const NFT_SET_ANONYMOUS = 1;
const NFTA_OBJ_TYPE = 3;
const OBJECT_TYPES = { counter: 1, quota: 2, limit: 4 } as const;
const NFTA_CHAIN_TABLE = 1;
const NFTA_CHAIN_NAME = 3;
const NFTA_RULE_TABLE = 1;
const NFTA_RULE_CHAIN = 2;
const NFTA_SET_ELEM_LIST_TABLE = 1;
const NFTA_SET_ELEM_LIST_SET = 2;
const NFTA_VERDICT_CODE = 1;
const NFT_JUMP = -3;
const NFT_GOTO = -4;
const NFTA_SET_ELEM_USERDATA = 6;
const UDATA_SET_ELEM_COMMENT = 0;

/** Something to take out of a table; or an element to put in, of a verdict map with the chain that it leads to. */
export type Change =
  | {
      readonly set: string;
      readonly key: Uint8Array;
      readonly add?: true;
      readonly goto?: string;
      readonly jump?: string;
      readonly comment?: string;
    }
  /** All rules of a chain. */
  | { readonly flush: string }
  | { readonly kind: "chain" | "set" | "map" | keyof typeof OBJECT_TYPES; readonly name: string };

/** How many changes a transaction may have: 200 KiB fit into a socket's buffer, and each takes up to 200 bytes. */
const CHANGES = 500;

/**
 * Takes elements and chains out of a table and puts elements in, by key rather than by path: the cgroup may be gone, and
 * libnftables knows only paths. One transaction, up to 500 changes; where a part is no longer there, the rest goes part by part.
 *
 * @param changes what names something before what it names
 * @throws {SystemError} when the kernel refuses for another reason than that a part is gone
 */
export function change(table: string, changes: readonly Change[]): void {
  if (changes.length === 0) return;
  if (changes.length > CHANGES) {
    change(table, changes.slice(0, CHANGES));
    change(table, changes.slice(CHANGES));
    return;
  }
  try {
    batch(changes.flatMap((part) => changeMessages(table, part)));
  } catch (error) {
    if (!isGone(error)) throw error;
    for (const part of changes) {
      try {
        batch(changeMessages(table, part));
      } catch (again) {
        if (!isGone(again)) throw again;
      }
    }
  }
}

function changeMessages(table: string, part: Change): Uint8Array[] {
  if ("set" in part) {
    const key = nested(NFTA_SET_ELEM_KEY, attribute(NFTA_DATA_VALUE, part.key));
    const element = [
      key,
      ...(part.goto === undefined ? [] : [verdict(NFT_GOTO, part.goto)]),
      ...(part.jump === undefined ? [] : [verdict(NFT_JUMP, part.jump)]),
      ...(part.comment === undefined ? [] : [attribute(NFTA_SET_ELEM_USERDATA, commentData(part.comment))]),
    ];
    return [
      nftMessage(
        part.add ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM,
        textAttribute(NFTA_SET_ELEM_LIST_TABLE, table),
        textAttribute(NFTA_SET_ELEM_LIST_SET, part.set),
        nested(NFTA_SET_ELEM_LIST_ELEMENTS, nested(NFTA_LIST_ELEM, ...element)),
      ),
    ];
  }
  if ("flush" in part) {
    return [
      // Without a handle: all rules of the chain.
      nftMessage(
        NFT_MSG_DELRULE,
        textAttribute(NFTA_RULE_TABLE, table),
        textAttribute(NFTA_RULE_CHAIN, part.flush),
      ),
    ];
  }
  // Table and name are attributes 1 and 2 of sets and objects, 1 and 3 of chains.
  const of = textAttribute(1, table);
  switch (part.kind) {
    case "chain":
      return [nftMessage(NFT_MSG_DELCHAIN, of, textAttribute(NFTA_CHAIN_NAME, part.name))];
    case "set":
    case "map":
      return [nftMessage(NFT_MSG_DELSET, of, textAttribute(2, part.name))];
    default: {
      const type = new Uint8Array(4);
      view(type).setUint32(0, OBJECT_TYPES[part.kind]);
      return [nftMessage(NFT_MSG_DELOBJ, of, textAttribute(2, part.name), attribute(NFTA_OBJ_TYPE, type))];
    }
  }
}

/** A comment as nft keeps it with an element: type, length and text with its NUL, libnftnl's udata.h. */
function commentData(comment: string): Uint8Array {
  const text = Buffer.from(`${comment}\0`);
  return Buffer.concat([Uint8Array.of(UDATA_SET_ELEM_COMMENT, text.length), text]);
}

/** The data of a verdict map's element that leads to a chain. */
function verdict(how: number, chain: string): Uint8Array {
  const code = new Uint8Array(4);
  view(code).setInt32(0, how);
  return nested(
    NFTA_SET_ELEM_DATA,
    nested(NFTA_DATA_VERDICT, attribute(NFTA_VERDICT_CODE, code), textAttribute(NFTA_VERDICT_CHAIN, chain)),
  );
}

/** Returns all elements of a set or map; none when it, or its table, is not there. @throws {SystemError} */
export function elements(table: string, set: string): Element[] {
  const request = message(
    (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETSETELEM,
    NLM_F_DUMP,
    family(NFPROTO_INET),
    textAttribute(NFTA_SET_ELEM_LIST_TABLE, table),
    textAttribute(NFTA_SET_ELEM_LIST_SET, set),
  );
  return ask(request).flatMap(({ payload }) => parseElements(payload));
}

/** How a set or map is declared; `undefined` when it is not there, is none that our table has, or the kernel does not tell. */
function declaration(table: string, set: string): Declaration | undefined {
  try {
    const [answer] = ask(nftMessage(NFT_MSG_GETSET, textAttribute(1, table), textAttribute(2, set)));
    return answer === undefined ? undefined : parseDeclaration(answer.payload);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    return undefined; // libnftables says why
  }
}

/** What a table holds that has a name. */
export type Named = {
  readonly kind: "chain" | "set" | "map" | keyof typeof OBJECT_TYPES;
  readonly name: string;
};

/**
 * The chains, sets, maps and named objects of a table; none when it is not there. How long it takes depends on how many the
 * tables of the family have, but not on what is in them.
 *
 * @throws {SystemError}
 */
export function named(table: string): Named[] {
  const of = textAttribute(1, table);
  const all = (type: number): NamedAnswer[] =>
    ask(message((NFNL_SUBSYS_NFTABLES << 8) | type, NLM_F_DUMP, family(NFPROTO_INET), of))
      .map(({ payload }) => parseNamed(payload, type === NFT_MSG_GETCHAIN ? NFTA_CHAIN_NAME : 2))
      .filter((answer) => answer.table === table);
  return [
    ...all(NFT_MSG_GETCHAIN).map(({ name }): Named => ({ kind: "chain", name })),
    ...all(NFT_MSG_GETSET).flatMap(({ name, flags }): Named[] =>
      // An anonymous one goes with its rule.
      (flags & NFT_SET_ANONYMOUS) !== 0 ? [] : [{ kind: (flags & NFT_SET_MAP) !== 0 ? "map" : "set", name }],
    ),
    ...all(NFT_MSG_GETOBJ).flatMap(({ name, flags: type }): Named[] => {
      const kind = (Object.keys(OBJECT_TYPES) as (keyof typeof OBJECT_TYPES)[]).find(
        (kind) => OBJECT_TYPES[kind] === type,
      );
      return kind === undefined ? [] : [{ kind, name }];
    }),
  ];
}

/** Tells whether a table has a chain. @throws {SystemError} */
export function hasChain(table: string, chain: string): boolean {
  return (
    ask(
      nftMessage(
        NFT_MSG_GETCHAIN,
        textAttribute(NFTA_CHAIN_TABLE, table),
        textAttribute(NFTA_CHAIN_NAME, chain),
      ),
    ).length > 0
  );
}

/**
 * Whether somebody's nat chain sees what this host sends. What legacy iptables has is not seen here.
 *
 * @throws {SystemError}
 */
export function translatesOutput(): boolean {
  const request = message((NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETCHAIN, NLM_F_DUMP, family(NFPROTO_UNSPEC));
  return ask(request).some(({ payload }) => isOutputNat(payload));
}

/** Counts the rules of a chain; 0 when there is none of that name. @throws {SystemError} */
export function countRules(table: string, chain: string): number {
  const request = message(
    (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETRULE,
    NLM_F_DUMP,
    family(NFPROTO_INET),
    textAttribute(NFTA_RULE_TABLE, table),
    textAttribute(NFTA_RULE_CHAIN, chain),
  );
  return ask(request).length;
}

/**
 * Counts what the kernel counts as a chain's uses: its rules, and whatever leads to it.
 *
 * @returns `undefined` when there is no such chain
 * @throws {SystemError}
 */
export function usesOf(table: string, chain: string): number | undefined {
  const request = nftMessage(
    NFT_MSG_GETCHAIN,
    textAttribute(NFTA_CHAIN_TABLE, table),
    textAttribute(NFTA_CHAIN_NAME, chain),
  );
  return ask(request).map(({ payload }) => parseUses(payload))[0];
}

/** Returns one element of a set or map, by its key; `undefined` when it is not there. @throws {SystemError} */
export function element(table: string, set: string, key: Uint8Array): Element | undefined {
  const wanted = nested(NFTA_LIST_ELEM, nested(NFTA_SET_ELEM_KEY, attribute(NFTA_DATA_VALUE, key)));
  const request = nftMessage(
    NFT_MSG_GETSETELEM,
    textAttribute(NFTA_SET_ELEM_LIST_TABLE, table),
    textAttribute(NFTA_SET_ELEM_LIST_SET, set),
    nested(NFTA_SET_ELEM_LIST_ELEMENTS, wanted),
  );
  return ask(request).flatMap(({ payload }) => parseElements(payload))[0];
}

const DUMP_ATTEMPTS = 100;

function ask(request: Uint8Array): Message[] {
  // Somebody else's transaction may make a dump a mixture of before and after; a storm of logins makes many of them.
  for (let attempt = 1; ; attempt++) {
    try {
      return netlink(NETLINK_NETFILTER, [request], { answers: 1 });
    } catch (error) {
      if (isGone(error)) return [];
      if (!(error instanceof SystemError && error.code === "EINTR") || attempt === DUMP_ATTEMPTS) throw error;
    }
  }
}

function batch(messages: readonly Uint8Array[]): void {
  // The kernel reports failures in any case; one acknowledgement says that there were none, and a thousand would not fit.
  const FLAGS = 6; // where they are in struct nlmsghdr
  for (const one of messages.slice(0, -1))
    view(one).setUint16(FLAGS, view(one).getUint16(FLAGS, true) & ~NLM_F_ACK, true);
  const mark = (type: number): Uint8Array => message(type, 0, family(0, NFNL_SUBSYS_NFTABLES));
  netlink(NETLINK_NETFILTER, [mark(NFNL_MSG_BATCH_BEGIN), ...messages, mark(NFNL_MSG_BATCH_END)], {
    answers: 1,
  });
}

function nftMessage(type: number, ...parts: readonly Uint8Array[]): Uint8Array {
  return message((NFNL_SUBSYS_NFTABLES << 8) | type, NLM_F_ACK, family(NFPROTO_INET), ...parts);
}

/** struct nfgenmsg: family, version, resource id in network order. */
function family(protocol: number, resource = 0): Uint8Array {
  return Uint8Array.of(protocol, 0, resource >> 8, resource & 255);
}

function isGone(error: unknown): boolean {
  return error instanceof SystemError && error.code === "ENOENT";
}
