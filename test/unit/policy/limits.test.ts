// SPDX-License-Identifier: GPL-2.0-or-later

// Limits, each at its edge and one beyond; and that what is within them, or far beyond, takes no time of anybody's.

import { describe, expect, test } from "bun:test";
import { compileFragment, type Policy } from "../../../src/policy/compile.ts";
import {
  ANONYMOUS_SET_LIMIT,
  COMMAND_LIMIT,
  DEPTH_LIMIT,
  INTERVAL_LIMIT,
  MISTAKE_LIMIT,
  OPERATOR_LIMIT,
  SIZE_LIMIT,
  STATEMENT_LIMIT,
  TOKEN_LIMIT,
  WAY_LIMIT,
} from "../../../src/policy/limits.ts";
import { lint } from "../../../src/policy/lint.ts";
import { readFragment } from "../../../src/policy/read.ts";
import { Refusal, type Refused } from "../../../src/refusal.ts";
import { forSession, SESSION_DIALECT } from "../../../src/subjects/session/dialect.ts";

const ALICE = "/etc/authnft/users/alice";
const RULE = "add rule inet authnft egress";

function compile(text: string, files: Readonly<Record<string, string>> = {}, refused?: Refused): Policy {
  const read = (path: string): Uint8Array => Buffer.from(path === ALICE ? text : (files[path] ?? ""));
  return compileFragment(
    readFragment(ALICE, read, refused),
    {
      path: ALICE,
      prefix: "session_alice_1",
      level: 2,
      ...forSession({ id: 1000, name: "alice", address: { family: "ip", text: "192.0.2.7" } }),
    },
    refused,
  );
}

/** What a login says of a fragment; "" where it takes it. Whoever collects is told the same first. */
function refusal(text: string, files: Readonly<Record<string, string>> = {}): string {
  const collected: Refusal[] = [];
  compile(text, files, (one) => collected.push(one));
  try {
    compile(text, files);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    expect(error.reason).toBe("content");
    expect(collected.map(({ message }) => message)).toContain(error.message);
    return error.message;
  }
  expect(collected).toEqual([]);
  return "";
}

const lines = (count: number, line: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => line(index)).join("\n");

describe("a fragment may have", () => {
  test("a thousand commands, includes among them", () => {
    const rules = lines(COMMAND_LIMIT, () => `${RULE} drop`);
    expect(refusal(rules)).toBe("");
    expect(refusal(`\n${rules}; ${RULE} drop`)).toBe(
      `${ALICE}:1001:36: here begins the command after 1,000, with all that is included, and each login would wait for them; put many addresses or ports into one rule: { a, b, … }.`,
    );
    const includes = lines(COMMAND_LIMIT - 1, () => 'include "/etc/authnft/nothing"');
    expect(refusal(`${includes}\n${RULE} drop`)).toBe("");
    expect(refusal(`${includes}\n${RULE} drop\n${RULE} drop`)).toStartWith(`${ALICE}:1001:1: here begins`);
  });

  test("a hundred thousand words and marks, of all its files together", () => {
    const list = (count: number): string => `${RULE} ip daddr { ${"192.0.2.1,".repeat(count)}} drop`;
    const around = list(0).split(" ").length;
    const most = list((TOKEN_LIMIT - around) / 2);
    expect(refusal(most)).toBe("");
    const told = "here are more than 100,000 words, numbers and marks, with all that is included, and other";
    expect(refusal(`${most}\n \\\n drop # and no more`)).toStartWith(`${ALICE}:3:2: ${told}`);
    const half = list((TOKEN_LIMIT - 2 * around) / 4);
    const twice = 'include "/etc/authnft/half"\n'.repeat(2);
    expect(refusal(`${half}\n${half}`)).toBe("");
    expect(refusal(twice, { "/etc/authnft/half": half })).toContain(told);
  });

  test("parentheses and braces sixteen deep", () => {
    const nested = (depth: number): string =>
      `${RULE} meta mark & ${"(".repeat(depth)}1${")".repeat(depth)} == 1 drop`;
    expect(refusal(nested(DEPTH_LIMIT))).toBe("");
    const deep = nested(DEPTH_LIMIT + 1);
    expect(refusal(deep)).toBe(
      `${ALICE}:1:${deep.lastIndexOf("(") + 1}: this "(" is more than 16 deep in others; make it flatter.`,
    );
    for (const mark of ["(", "{", "({"])
      expect(refusal(`${RULE} meta mark ${mark.repeat(60_000 / mark.length)}`)).toContain(
        "more than 16 deep",
      );
    // Each command begins anew, also behind one that closes nothing.
    expect(refusal(lines(DEPTH_LIMIT + 1, () => `${RULE} meta mark (1) drop`))).toBe("");
  });

  test("128 statements in a rule", () => {
    const rule = (count: number): string => `${RULE}${" counter".repeat(count)}`;
    expect(refusal(rule(STATEMENT_LIMIT))).toBe("");
    expect(refusal(rule(STATEMENT_LIMIT + 1))).toBe(
      `${ALICE}:1:${rule(STATEMENT_LIMIT).length + 2}: here begins the statement after 128 of this rule, and the kernel takes no more; write several rules.`,
    );
    expect(refusal(`${RULE}${" tcp dport 1".repeat(30_000)}`)).toContain("the statement after 128");
  });

  test("fifteen operators in an expression, wherever it stands", () => {
    const forms: ((count: number) => string)[] = [
      (count) => `meta mark set meta mark${" or 0x1".repeat(count)}`,
      (count) => `meta mark${" & 0x1".repeat(count)} == 1`,
      (count) =>
        `${"(".repeat(DEPTH_LIMIT)}meta mark${")".repeat(DEPTH_LIMIT)}${" xor 1".repeat(count)} == 1`,
      (count) => `tcp flags syn${" | syn".repeat(count)}`,
      (count) => `tcp flags & (syn${" | syn".repeat(count - 1)}) == syn`,
      (count) => `tcp flags { fin, syn${" | syn".repeat(count)} }`,
    ];
    for (const form of forms) {
      expect(refusal(`${RULE} ${form(OPERATOR_LIMIT)} drop`)).toBe("");
      expect(refusal(`${RULE} ${form(OPERATOR_LIMIT + 1)} drop`)).toContain(
        ": more than 15 operators in one expression, and nftables takes no more; ",
      );
    }
    // Values that are listed are not reckoned with.
    expect(refusal(`${RULE} ct state new${", established".repeat(30)} drop`)).toBe("");
  });

  test("500 sets without a name", () => {
    const rules = `add set inet authnft s { type ipv4_addr; flags dynamic; size 9; }
${lines(ANONYMOUS_SET_LIMIT / 2, () => `${RULE} ip daddr { 192.0.2.1, 192.0.2.2 } tcp dport { 1, 2 } drop`)}
${lines(100, () => `${RULE} update @s { ip daddr }`)}`;
    expect(refusal(rules)).toBe("");
    expect(refusal(`${rules}\n${RULE} tcp dport { 1, 2 } drop`)).toStartWith(
      `${ALICE}:352:1: with this rule the fragment has more than 500 sets without a name, { … }, `,
    );
  });

  test("20,000 elements in sets and maps with intervals", () => {
    const half = (name: string): string =>
      `add element inet authnft ${name} { ${Array.from({ length: INTERVAL_LIMIT / 2 }, () => "192.0.2.0/24").join(", ")} }`;
    const sets = `add set inet authnft s { type ipv4_addr; flags timeout, interval; auto-merge; }
add map inet authnft m { type ipv4_addr : verdict; flags interval; elements = { 192.0.2.0/24 : drop } }
add set inet authnft plain { type ipv4_addr; }
${RULE} ip daddr @s drop`;
    const most = `${sets.replace("elements = { 192.0.2.0/24 : drop }", "")}\n${half("s")}\n${half("m")}`;
    expect(refusal(`${most}\nadd element inet authnft plain { 192.0.2.1, 192.0.2.2 }`)).toBe("");
    expect(refusal(`${sets}\n${half("s")}\n${half("m")}`)).toStartWith(
      `${ALICE}:6:1: with these elements the fragment has more than 20,000 in sets and maps with "flags interval", `,
    );
    // A set keyed by a packet's flags is not taken for one without intervals.
    const flags = "add set inet authnft f { typeof ip daddr . tcp flags; flags interval; }";
    expect(refusal(`${most}\n${flags}\nadd element inet authnft f { 192.0.2.0/24 . syn }`)).toStartWith(
      `${ALICE}:8:1: with these elements`,
    );
    // A definition counts as its elements do.
    const defined = "add set inet authnft d { type ipv4_addr; elements = { 192.0.2.0/24 }; flags interval; }";
    expect(refusal(`${most}\n${defined}`)).toStartWith(`${ALICE}:7:1: with these elements`);
  });

  test("a hundred thousand rules on all ways through jumps, and not one more", () => {
    const chains = `add chain inet authnft c
${lines(99, () => "add rule inet authnft c counter")}
add chain inet authnft d
${lines(99, () => "add rule inet authnft d jump c")}`;
    // Ten ways of 9,901 rules, nine of 100 and ninety of one.
    const most = `${chains}
${lines(10, () => `${RULE} jump d`)}
${lines(9, () => `${RULE} jump c`)}
${lines(90, () => `${RULE} counter`)}`;
    expect(refusal(most)).toBe("");
    expect(refusal(`${most}\n${RULE} counter`)).toStartWith(
      `${ALICE}:310:1: with this rule there are more than`,
    );
  });

  test("a hundred thousand rules on all ways through jumps", () => {
    // A thousand ways of a hundred rules, on which 500 of all the commands are spent.
    const chain = `add chain inet authnft c\n${lines(99, () => "add rule inet authnft c counter")}`;
    const most = `${chain}\n${lines(WAY_LIMIT / 100 / 2, () => `${RULE} jump c`)}`;
    expect(refusal(most)).toBe("");
    const bomb = (depth: number): string =>
      lines(
        depth,
        (at) => `add chain inet authnft c${at}
add rule inet authnft c${at} ${at === 0 ? "counter" : `ip daddr vmap { 192.0.2.1 : jump c${at - 1}, 192.0.2.2 : goto c${at - 1} }`}`,
      );
    // From the chain after n others, 2^(n+1) - 1 rules on all ways.
    const jumps = (...to: number[]): string => to.map((at) => `${RULE} jump c${at}`).join("\n");
    expect(refusal(`${bomb(16)}\n${jumps(15, 14)}`)).toBe("");
    expect(refusal(`${bomb(16)}\n${jumps(15, 14, 10)}`)).toBe(
      `${ALICE}:35:1: with this rule there are more than 100,000 rules on all the ways through jumps that a packet can take, and each way is looked through; jump to a chain from fewer places.`,
    );
    expect(refusal(`${bomb(400)}\n${RULE} jump c399`)).toContain("more than 100,000 rules");
    const map = "add map inet authnft m { type inet_service : verdict; }";
    const element = `add element inet authnft m { ${lines(20, (at) => `${at} : jump c12,`)} }`;
    expect(refusal(`${bomb(13)}\n${map}\n${element}\n${RULE} tcp dport vmap @m`)).toContain(
      "more than 100,000",
    );
    // A circle is the kernel's to refuse, and takes no time.
    const circle = `add chain inet authnft a\nadd chain inet authnft b\nadd rule inet authnft a jump b
add rule inet authnft b jump a\n${RULE} jump a`;
    expect(refusal(circle)).toBe("");
  });
});

// Each kills libnftables, of Debian 12 or of both: registers, and shapes that it does not expect.
test.each([
  ["meta mark 1 << 1", '"<" cannot stand in a value'],
  ["meta mark { 1, 1 lshift 1 }", '"lshift" cannot stand in a value'],
  ["tcp dport { { 1 } }", "braces in braces"],
  ["tcp dport vmap { { 1 } : drop }", "braces in braces"],
  [
    `tcp dport${" . tcp dport".repeat(16)} { 1${" . 1".repeat(16)} }`,
    "68 bytes together, and nftables takes 64",
  ],
  ["ip6 saddr . ip6 daddr . iifname . oifname . tcp dport @s", "68 bytes together, and nftables takes 64"],
  ["meta mark set jhash ip6 saddr . ip6 daddr . ip6 saddr . tcp dport mod 2", "52 bytes together"],
  [`update @s { tcp dport${" . tcp dport".repeat(12)} }`, "52 bytes together, and nftables takes 48"],
  ["update @m { ip saddr . th sport . ip daddr . th dport . meta l4proto : meta mark }", "20 bytes together"],
])("what nftables has no room for is refused: %s", (rule, message) => {
  const objects = `add set inet authnft s { type mark; flags dynamic; size 9; }
add map inet authnft m { type mark : mark; flags dynamic; size 9; }`;
  expect(refusal(`${objects}\n${RULE} ${rule}`)).toContain(message);
});

test.each([
  `tcp dport${" . tcp dport".repeat(15)} { 1${" . 1".repeat(15)} }`,
  "ip6 saddr . ip6 daddr . iifname . oifname vmap { ::1 . ::1 . lo . lo : drop }",
  "meta mark set jhash ip6 saddr . ip6 daddr . tcp dport mod 2",
  "meta mark set ip6 saddr . tcp dport map { ::1 . 1 : 0x1 }",
  "update @s { meta l4proto . ip6 saddr . th sport . ip6 daddr . th dport }",
  "update @m { ip saddr . th sport . meta l4proto : meta mark }",
  "meta mark set meta mark << 1",
])("what it has room for is not: %s", (rule) => {
  const objects = `add set inet authnft s { type mark; flags dynamic; size 9; }
add map inet authnft m { type mark : mark; flags dynamic; size 9; }`;
  expect(refusal(`${objects}\n${RULE} ${rule}`)).toBe("");
});

test("of many mistakes some are told, and that the rest was not read", () => {
  const told: string[] = [];
  compile("`\n".repeat(SIZE_LIMIT / 2), {}, ({ message }) => told.push(message));
  expect(told.length).toBeLessThan(MISTAKE_LIMIT + 5);
  expect(told).toContain(
    `${ALICE}:100:2: 100 lines are wrong, and what follows was not read; mend these first.`,
  );
  const spread: string[] = [];
  const includes = lines(500, () => 'include "/etc/authnft/x"');
  compile(includes, { "/etc/authnft/x": "`\n".repeat(20) }, ({ message }) => spread.push(message));
  expect(spread.length).toBeLessThan(MISTAKE_LIMIT + 5);
});

/** Texts of a megabyte or of as many tokens as there may be, on which a careless reader spends hours. */
const HOSTILE: Readonly<Record<string, string>> = {
  colons: `${RULE} ip6 daddr ${":".repeat(TOKEN_LIMIT)} drop`,
  "short addresses": `${RULE} ip6 daddr ${"1:".repeat(SIZE_LIMIT / 3)}`,
  digits: `${RULE} tcp dport ${"1".repeat(SIZE_LIMIT / 2)}`,
  "hexadecimal digits": `${RULE} ip6 daddr ${"a".repeat(SIZE_LIMIT / 2)}:`,
  dots: `${RULE} ip daddr ${"1.".repeat(SIZE_LIMIT / 3)}`,
  quotes: `${RULE} comment ${'"'.repeat(SIZE_LIMIT / 2)}`,
  "carriage returns": "\r".repeat(SIZE_LIMIT / 2),
  backslashes: "\\\n".repeat(SIZE_LIMIT / 3),
  blanks: ` ${"\n \n".repeat(SIZE_LIMIT / 4)}`,
  "line ends": "\n".repeat(SIZE_LIMIT / 2),
  "closing braces": `add set inet authnft s { ${"} ".repeat(TOKEN_LIMIT / 2)}`,
  "opened and closed": `add set inet authnft s { ${"{ } ".repeat(TOKEN_LIMIT / 3)}}`,
  "statements of a set": `add set inet authnft s { type ipv4_addr;${"\nflags interval".repeat(TOKEN_LIMIT / 3)} }`,
  "elements of a large set": `add set inet authnft s { type ipv4_addr; elements = { ${"192.0.2.1, ".repeat(45_000)} } }
${lines(900, () => "add element inet authnft s { 192.0.2.1 }")}\n${RULE} ip daddr @s drop`,
  maps: `${RULE} meta mark set ip daddr${" map { 1 : 1 }".repeat(TOKEN_LIMIT / 7)}`,
  updates: `add set inet authnft s { type mark; flags dynamic; size 9; }\n${RULE}${" update @s { meta mark }".repeat(TOKEN_LIMIT / 7)}`,
  tunnels: `${RULE}${" vxlan".repeat(TOKEN_LIMIT / 2)} tcp dport 1`,
  "interfaces of fib": `${RULE} fib saddr${" . iif".repeat(TOKEN_LIMIT / 3)} oif 1`,
  "values in a list": `${RULE} ct state new${",new".repeat(TOKEN_LIMIT / 2 - 10)} drop`,
  "parts of a key": `${RULE} tcp dport${" . tcp dport".repeat(TOKEN_LIMIT / 4)} @s`,
  "flags of a log": `${RULE} log flags tcp ${"sequence,".repeat(TOKEN_LIMIT / 3)}options`,
  "braces of values": `${RULE} tcp dport${" { 1 }".repeat(TOKEN_LIMIT / 4)}`,
};

// Tens of milliseconds each on an idle machine; without limits, minutes. What lies between is a busy machine's.
test.each(Object.keys(HOSTILE))(
  "%s are read, or refused, and that ends",
  (name) => {
    const text = HOSTILE[name] ?? "";
    expect(text.length).toBeLessThan(SIZE_LIMIT);
    const told: Refusal[] = [];
    const policy = compile(text, {}, (refusal) => told.push(refusal));
    lint(policy, { drops: { in: undefined, out: undefined } }, SESSION_DIALECT);
    expect(told.length + policy.parts.length).toBeGreaterThan(0);
  },
  60_000,
);
