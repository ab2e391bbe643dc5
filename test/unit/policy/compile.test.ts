// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  type CompiledRule,
  type CompileOptions,
  compileFragment,
  type Policy,
  rulesOf,
} from "../../../src/policy/compile.ts";
import { parseComplaint } from "../../../src/policy/diagnosis.ts";
import { readFragment } from "../../../src/policy/read.ts";
import { Refusal } from "../../../src/refusal.ts";
import { forSession, type SessionSubject } from "../../../src/subjects/session/dialect.ts";
import { nftTokens } from "../../fuzz/nft_scanner.ts";
import { reach } from "../../fuzz/policy_fuzz.ts";
import { REALISTIC } from "./realistic.ts";
import { REFUSED } from "./refused.ts";

const ALICE = "/etc/authnft/users/alice";
const PREFIX = "session_alice_4711";
const JUDGED = `${PREFIX}_judged`;
const V4: SessionSubject["address"] = { family: "ip", text: "192.0.2.7" };
const V6: SessionSubject["address"] = { family: "ip6", text: "2001:db8::7" };

/** Compiles alice's fragment, which may include files of /etc/authnft by their names there. */
function compile(
  text: string,
  address: SessionSubject["address"] = V4,
  files: Record<string, string> = {},
): Policy & { rules: CompiledRule[] } {
  const fragment = readFragment(ALICE, (path) =>
    Buffer.from(path === ALICE ? text : (files[path.slice("/etc/authnft/".length)] ?? "")),
  );
  const options: CompileOptions = {
    path: ALICE,
    prefix: PREFIX,
    level: 2,
    ...forSession({ id: 1000, name: "alice", address }),
  };
  const policy = compileFragment(fragment, options);
  return { ...policy, rules: rulesOf(policy) };
}

/** A rule as nft understands it, whatever the blanks. */
const meaning = (body: string): string =>
  nftTokens(body)
    .map(({ text }) => text)
    .join(" ");

function bodies(text: string, address: SessionSubject["address"] = V4): string[] {
  return compile(text, address).rules.map(({ body }) => meaning(body));
}

function refusalOf(text: string, address: SessionSubject["address"] = V4): Refusal {
  try {
    compile(text, address);
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
  throw new Error(`not refused: ${text}`);
}

describe("rules as administrators write them", () => {
  test.each(REALISTIC.map(([rule, means]) => [rule, means] as const))("%s", (rule, means) => {
    const [chain = "", ...rest] = rule.split(" ");
    const expected = (means ?? rest.join(" ")).replaceAll("JUDGED", `goto ${JUDGED}`);
    const [compiled, ...more] = compile(`add rule inet authnft ${rule}\n`).rules;
    expect(more).toEqual([]);
    expect(meaning(compiled?.body ?? "")).toBe(meaning(expected));
    expect(compiled?.chain).toBe(chain === "egress" ? "out" : "in");
    expect(reach(compiled?.body ?? "")).toBeUndefined();
  });

  test("all together, in order, with the line that each stands on", () => {
    const text = REALISTIC.map(([rule]) => `add rule inet authnft ${rule}\n`).join("");
    const { rules, notes } = compile(text);
    expect(notes).toEqual([]);
    expect(rules.map(({ place }) => place.line)).toEqual(REALISTIC.map((_, index) => index + 1));
  });

  test("over several lines, and several in one", () => {
    const text = `
# web and shells
add rule inet authnft egress tcp dport {
    80,   # plain
    443,
  } \\
  accept
add rule inet authnft egress drop; add rule inet authnft filter drop`;
    const { rules } = compile(text);
    expect(rules.map(({ body }) => meaning(body))).toEqual([
      `tcp dport { 80 , 443 , } goto ${JUDGED}`,
      "drop",
      "drop",
    ]);
    expect(rules.map(({ place }) => `${place.line}:${place.column}`)).toEqual(["3:1", "8:1", "8:36"]);
    expect(rules.map(({ chain }) => chain)).toEqual(["out", "out", "in"]);
    for (const { body } of rules) expect(body).not.toContain("\n");
  });

  test("an included rule is compiled for this session, and told by its own file", () => {
    const { rules } = compile('include "/etc/authnft/groups/dev"', V4, {
      "groups/dev": "\nadd rule inet authnft egress accept",
    });
    expect(rules.map(({ body }) => meaning(body))).toEqual([`goto ${JUDGED}`]);
    expect(rules[0]?.place).toEqual({ file: "/etc/authnft/groups/dev", line: 2, column: 1 });
  });
});

describe("the examples that are shipped", () => {
  const examples = join(import.meta.dir, "../../../data/examples");
  const text = (name: string) => readFileSync(join(examples, name), "utf8");

  test.each(readdirSync(examples))("%s", (name) => {
    for (const address of [V4, V6, undefined]) {
      const read = (path: string) => Buffer.from(text(path === ALICE ? name : "group-base"));
      const compiling = () =>
        compileFragment(readFragment(ALICE, read), {
          path: ALICE,
          prefix: PREFIX,
          level: 2,
          ...forSession({ id: 1000, name: "alice", address }),
        });
      if (address === undefined && text(name).includes("# require address")) {
        expect(compiling).toThrow("asks for a client address");
        continue;
      }
      const policy = compiling();
      expect(policy.notes).toEqual([]);
      const own = /^add (?!rule)/m.test(text(name));
      for (const { body } of rulesOf(policy)) expect(own ? undefined : reach(body)).toBeUndefined();
    }
  });
});

describe("every accept is remembered", () => {
  test.each([
    "accept",
    "tcp dport 22 accept",
    "tcp dport 22\\\naccept",
    "tcp dport 22 # no\\\n",
    "tcp dport vmap { 22 : accept }",
    "tcp dport vmap {22:accept,23:accept}",
    "tcp dport vmap {\n22:\naccept\n}",
    "tcp dport . ip daddr vmap { 22 . 10.0.0.1 : accept }",
    "ct state vmap { new : accept, * : accept }",
    'log prefix "x"accept',
    'oifname "lo"accept',
    "return",
    "tcp dport 22 return",
    'counter accept comment "accept"',
  ])("%j", (rule) => {
    const compiled = compile(`add rule inet authnft egress ${rule}\nadd rule inet authnft egress drop`).rules;
    for (const { body } of compiled) expect(reach(body)).toBeUndefined();
  });

  test("but words in quotes are no verdicts", () => {
    expect(bodies('add rule inet authnft egress log prefix "accept" drop')).toEqual([
      'log prefix "accept" drop',
    ]);
  });
});

describe("variables", () => {
  const RULES = `add rule inet authnft filter ip saddr $user_ip accept
add rule inet authnft filter ip6 saddr $user_ip accept
add rule inet authnft egress meta skuid $user_id drop`;

  test.each<[string, SessionSubject["address"], string[], string[]]>([
    [
      "IPv4",
      V4,
      [`ip saddr 192.0.2.7 goto ${JUDGED}`, "meta skuid 1000 drop"],
      [`${ALICE}:2:1: the rule is left out: it needs an IPv6 address, which this session does not have`],
    ],
    [
      "IPv6",
      V6,
      [`ip6 saddr 2001:db8::7 goto ${JUDGED}`, "meta skuid 1000 drop"],
      [`${ALICE}:1:1: the rule is left out: it needs an IPv4 address, which this session does not have`],
    ],
    [
      "no address",
      undefined,
      ["meta skuid 1000 drop"],
      [
        `${ALICE}:1:1: the rule is left out: it needs the client's address, which this session does not have`,
        `${ALICE}:2:1: the rule is left out: it needs the client's address, which this session does not have`,
      ],
    ],
  ])("with %s", (_, address, expected, notes) => {
    const policy = compileFragment(
      readFragment(ALICE, () => Buffer.from(RULES)),
      { path: ALICE, prefix: PREFIX, level: 2, ...forSession({ id: 1000, name: "alice", address }) },
    );
    expect(rulesOf(policy).map(({ body }) => meaning(body))).toEqual(expected);
    expect(policy.notes).toEqual(notes);
  });

  test("an address without a family before it is the session's", () => {
    expect(bodies("add rule inet authnft filter ct original saddr $user_ip drop", V6)).toEqual([
      "ct original saddr 2001:db8::7 drop",
    ]);
  });

  test("the family that counts is the last one before it", () => {
    expect(bodies("add rule inet authnft filter ip6 hoplimit 1 ip saddr $user_ip drop")).toHaveLength(1);
    expect(
      bodies(
        "add rule inet authnft filter ip ttl 1 ip6 saddr $user_ip drop\nadd rule inet authnft filter drop",
      ),
    ).toEqual(["drop"]);
  });

  test.each([
    ["ipv4_addr . ipv6_addr", "192.0.2.1 . $user_ip", V6, "{ 192.0.2.1 . 2001:db8::7 }"],
    ["ipv6_addr . ipv4_addr", "2001:db8::1 . $user_ip", V4, "{ 2001:db8::1 . 192.0.2.7 }"],
  ])("an element of a set of both families is for either: %s", (type, element, address, expected) => {
    const text = `add set inet authnft s { type ${type}; }
add element inet authnft s { ${element} }
add rule inet authnft egress drop`;
    const fragment = readFragment(ALICE, () => Buffer.from(text));
    const { parts, notes } = compileFragment(fragment, {
      ...{ path: ALICE, prefix: PREFIX, level: 2 },
      ...forSession({ id: 1000, name: "alice", address }),
    });
    const [definition] = parts.flatMap((part) => (part.kind === "element" ? [part.definition] : []));
    expect(definition?.replaceAll(/ +/g, " ")).toBe(expected);
    expect(notes).toEqual([]);
  });

  test("stand for the same in an included file, with its own places", () => {
    const { rules, notes } = compile('include "/etc/authnft/groups/dev"', V4, {
      "groups/dev": `${RULES}\nadd rule inet authnft egress log prefix $user_name`,
    });
    expect(rules.map(({ body }) => meaning(body))).toEqual([
      `ip saddr 192.0.2.7 goto ${JUDGED}`,
      "meta skuid 1000 drop",
      'log prefix "alice"',
    ]);
    expect(notes).toEqual([
      "/etc/authnft/groups/dev:2:1: the rule is left out: it needs an IPv6 address, which this session does not have",
    ]);
  });

  test("a name is a string to nft, never a word of its language", () => {
    const fragment = readFragment(ALICE, () =>
      Buffer.from("add rule inet authnft egress meta skuid $user_name drop"),
    );
    for (const name of ["accept", "jump", "0day", "a.b-c", "drop"]) {
      const subject = { id: 1, name, address: undefined };
      expect(
        rulesOf(
          compileFragment(fragment, { path: ALICE, prefix: PREFIX, level: 2, ...forSession(subject) }),
        )[0]?.body,
      ).toContain(`"${name}"`);
    }
  });
});

test("return leads back to the caller from a chain of the fragment's own, and accepts in the session's", () => {
  expect(
    bodies(
      "add chain inet authnft web\nadd rule inet authnft web return\nadd rule inet authnft egress return",
    ).map(meaning),
  ).toEqual(["return", `goto ${JUDGED}`]);
});

describe("require address", () => {
  const RULE = "add rule inet authnft egress drop";

  test.each(["# require address\n", "#require address\n", "  #   require address  \n"])(
    "%j refuses without one",
    (comment) => {
      const fragment = readFragment(ALICE, () => Buffer.from(comment + RULE));
      const compiled = (address: SessionSubject["address"]): Policy =>
        compileFragment(fragment, {
          path: ALICE,
          prefix: PREFIX,
          level: 2,
          ...forSession({ id: 1000, name: "alice", address }),
        });
      expect(() => compiled(undefined)).toThrow(
        `Cannot use the fragment ${ALICE}: it asks for a client address`,
      );
      expect(rulesOf(compiled(V4))).toHaveLength(1);
      expect(rulesOf(compiled(V6))).toHaveLength(1);
    },
  );

  test("in an included file counts as well", () => {
    const fragment = readFragment(ALICE, (path) =>
      Buffer.from(path === ALICE ? `include "/etc/authnft/x"\n${RULE}` : "# require address"),
    );
    const subject = { id: 1000, name: "alice", address: undefined };
    expect(() =>
      compileFragment(fragment, { path: ALICE, prefix: PREFIX, level: 2, ...forSession(subject) }),
    ).toThrow(Refusal);
  });

  test("in a string is no comment", () => {
    const fragment = readFragment(ALICE, () =>
      Buffer.from('add rule inet authnft egress log prefix "# require address" drop'),
    );
    const subject = { id: 1000, name: "alice", address: undefined };
    expect(
      rulesOf(compileFragment(fragment, { path: ALICE, prefix: PREFIX, level: 2, ...forSession(subject) })),
    ).toHaveLength(1);
  });
});

describe("a policy that is empty by accident", () => {
  test.each(["", "\n", ";;;", "# nothing\n", "\\\n", "\t "])("%j", (text) => {
    expect(refusalOf(text).message).toBe(
      `Cannot use the fragment ${ALICE}: it holds no rule, and a policy must not be empty by accident; to permit everything, write "add rule inet authnft egress accept".`,
    );
  });

  test("an include of nothing", () => {
    expect(refusalOf('include "/etc/authnft/x"').message).toContain("it holds no rule");
  });
});

describe("fragments that are refused", () => {
  test("are many", () => {
    expect(REFUSED.length).toBeGreaterThan(150);
  });

  const inFull = (message: string): string =>
    message.replaceAll("ALICE", ALICE).replace(/^\d/, (digit) => `${ALICE}:${digit}`);

  test.each(REFUSED)("%j", (text, message) => {
    const refusal = refusalOf(text);
    expect(refusal.reason).toBe("content");
    expect(refusal.message).toBe(inFull(message));
    expect(refusal.message).not.toMatch(/\p{Cc}/u);
    // What to do about it is told apart from what is wrong.
    const { place, message: wrong, advice } = parseComplaint(refusal.message, [ALICE]);
    expect(place).toBeDefined();
    expect(wrong).not.toBe("");
    expect(advice ?? "").toMatch(/\w{3}/);
  });

  test("in an included file, are told by that file", () => {
    for (const [text, message] of [
      ["define user_ip = 0.0.0.0/0", 'not "define user_ip = 0.0.0.0"; write the value where it is used.'],
      ["table ip nat { chain postrouting { masquerade } }", "write commands instead of blocks"],
      ["add rule inet authnft egress notrack", '"notrack" has no place in a rule of a fragment; '],
    ] as const) {
      const include = () => compile('include "/etc/authnft/x"', V4, { x: `# one\n ${text}` });
      expect(include).toThrow("/etc/authnft/x:2:");
      expect(include).toThrow(message);
    }
  });

  test("are refused as well behind a good rule, and the place is counted on", () => {
    for (const [text, message] of REFUSED) {
      const [, line, column] = /^(\d+):(\d+): /.exec(message) ?? [];
      const refusal = refusalOf(`add rule inet authnft egress accept\n${text}`);
      expect(refusal.message).toStartWith(`${ALICE}:${Number(line) + 1}:${column}: `);
    }
  });
});

// nft ends a number where it ends, and an address after four hexadecimal digits: what follows without a blank is the next word.
describe("words that run into what stands before them", () => {
  const GLUED = [
    "tcp dport 22accept",
    "tcp dport 22return",
    "tcp dport 22jump session_bob_77_in",
    "tcp dport 0x16goto session_bob_77_judged",
    "tcp dport 1-22jump session_bob_77_in",
    "ip daddr 10.0.0.1jump session_bob_77_in",
    "ip daddr 10.0.0.0/8jump session_bob_77_in",
    "ip6 daddr ::1jump session_bob_77_in",
    "ip6 daddr ::facejump session_bob_77_in",
    "ip6 daddr 1:2:3:4:5:6:7:8jump session_bob_77_in",
    "ip6 daddr ::ffff:192.0.2.7jump session_bob_77_in",
    "ether daddr aa:bb:cc:dd:ee:ffgoto session_bob_77_judged",
    "ct expiration 1d2h3m4sjump session_bob_77_in",
    "vlan type 8021qjump session_bob_77_in",
    "tcp dport 22update @session_map_cg { socket cgroupv2 level 2 }",
    "tcp dport 22add @session_map_ipv4 { ip daddr }",
    "meta mark 1set add ip daddr @session_map_ipv4",
    "tcp dport 22ct label set 5",
    'tcp dport 22include "/etc/authnft/x"',
  ];

  test("are refused", () => {
    const through = GLUED.filter((rule) => {
      try {
        return compile(`add rule inet authnft egress ${rule}`).rules.some(
          ({ body }) => reach(body) !== undefined,
        );
      } catch (error) {
        expect(error).toBeInstanceOf(Refusal);
        return false;
      }
    });
    expect(through).toEqual([]);
  });
});

describe("what is known to slip through", () => {
  // Two sessions with a meter of one name exclude each other: nft makes a set of that name in the table.
  test("a meter", () => {
    refusalOf("add rule inet authnft egress meter m { ip daddr counter } drop");
  });

  // "index 0" counts from the rule that remembers flows, which is not the fragment's.
  test("a rule that chooses its own place", () => {
    for (const place of ["index 0", "handle 5", "position 5"])
      refusalOf(`add rule inet authnft egress ${place} accept`);
  });

  test("a set whose name starts with a digit", () => {
    refusalOf("add rule inet authnft egress ip daddr @8021q accept");
  });

  // libnftables 1.0.6 writes such a prefix over its own stack: the helper dies instead of refusing.
  test("a log prefix of more than 127 bytes", () => {
    refusalOf(`add rule inet authnft egress log prefix "${"x".repeat(137)}" drop`);
    refusalOf(`add rule inet authnft egress log prefix "${"é".repeat(64)}" drop`);
  });

  // The kernel refuses these when the session's elements are added, so the complaint names no rule.
  test("the translation of addresses", () => {
    for (const statement of [
      "masquerade",
      "ip saddr 10.0.0.1 snat ip to 10.0.0.2",
      "tcp dport 1 redirect to :2",
    ]) {
      refusalOf(`add rule inet authnft egress ${statement}`);
    }
  });

  // Each rule is left out for want of an address: what stays is a policy that accepts everything.
  test("a policy that is empty after all", () => {
    refusalOf("add rule inet authnft egress ip6 daddr != $user_ip drop");
  });
});
