// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { SIZE_LIMIT } from "../../../src/policy/limits.ts";
import { type Fragment, readFragment } from "../../../src/policy/read.ts";
import { Refusal } from "../../../src/refusal.ts";

const ALICE = "/etc/authnft/users/alice";
const RULE = "add rule inet authnft egress accept";

/** A reader of files that are only a table here, as strict as the real one. */
function read(files: Record<string, string | Uint8Array>): Fragment & { readonly opened: string[] } {
  const opened: string[] = [];
  const fragment = readFragment(ALICE, (path, sizeLimit) => {
    opened.push(path);
    const content = files[path];
    if (content === undefined) throw new Refusal("missing", `Cannot read fragment ${path}: there is none.`);
    const bytes = Buffer.from(content);
    if (bytes.length > sizeLimit)
      throw new Refusal(
        "content",
        `Cannot read fragment ${path}: ${bytes.length} bytes are more than the ${sizeLimit}; make it shorter.`,
      );
    return bytes;
  });
  return { ...fragment, opened };
}

const commands = (text: string | Uint8Array, files: Record<string, string> = {}): string[] =>
  read({ [ALICE]: text, ...files }).commands.map((command) => command.map((token) => token.text).join(" "));

function refusalOf(files: Record<string, string | Uint8Array>): Refusal {
  try {
    read(files);
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
  throw new Error("not refused");
}

describe("commands", () => {
  test.each<[string, string[]]>([
    ["", []],
    ["\n\n;;;\n", []],
    ["# only words\n", []],
    ["a b\nc", ["a b", "c"]],
    ["a b; c;d", ["a b", "c", "d"]],
    ["a \\\n b \\\n c", ["a b c"]],
    ["a { 1,\n 2, # two\n\n 3 } b\nc", ["a { 1 , 2 , 3 } b", "c"]],
    ["a { { 1 } , { 2 } }\nb", ["a { { 1 } , { 2 } }", "b"]],
    ['a "x;y" b', ['a "x;y" b']],
    ["\ufeffa b", ["a b"]], // an editor's byte order mark
    ["a # x; y\nb", ["a", "b"]],
  ])("in %j", (text, expected) => {
    expect(commands(text)).toEqual(expected);
  });

  test("a list over several lines keeps its words apart", () => {
    const [command] = read({ [ALICE]: "a {\nb\nc\n}" }).commands;
    expect(command?.map((token) => token.spaced)).toEqual([false, true, true, true, true]);
  });

  test.each<[string, string]>([
    ["a { 1; 2 }", `${ALICE}:1:6: a ";" inside braces; a fragment has no blocks`],
    ["table inet authnft {\n chain filter { accept; }\n}", `${ALICE}:2:23: a ";" inside braces`],
    ["a }", `${ALICE}:1:3: this "}" closes nothing`],
    ["a { b } }", `${ALICE}:1:9: this "}" closes nothing`],
    ["a {\nb", `${ALICE}:1:3: this "{" is never closed`],
    ["a { { }\n", `${ALICE}:1:3: this "{" is never closed`],
  ])("braces that do not fit: %j", (text, message) => {
    expect(() => commands(text)).toThrow(message);
  });
});

describe("what is no text", () => {
  test.each<[string, Uint8Array, string]>([
    ["a NUL", Buffer.from(`${RULE}\0`), "it holds a NUL byte"],
    ["an executable", Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0), "it holds a NUL byte"],
    ["UTF-16", Buffer.from(RULE, "utf16le"), "it holds a NUL byte"],
    ["latin-1", Uint8Array.of(0x23, 0xe9), "it is not UTF-8 text"],
    ["a lone surrogate", Uint8Array.of(0x23, 0xed, 0xa0, 0x80), "it is not UTF-8 text"],
    ["an overlong form", Uint8Array.of(0x23, 0xc0, 0x8a), "it is not UTF-8 text"],
    ["a character cut short", Uint8Array.of(0x23, 0xe2, 0x82), "it is not UTF-8 text"],
  ])("%s", (_, bytes, part) => {
    const refusal = refusalOf({ [ALICE]: bytes });
    expect(refusal.reason).toBe("content");
    expect(refusal.message).toMatch(new RegExp(`^${ALICE}:1:\\d+: ${part}`));
  });

  test("is told with its line, and with who includes it", () => {
    const files = {
      "/etc/authnft/a": 'include "/etc/authnft/b"',
      "/etc/authnft/b": Buffer.from("# one\n# two\n# \xff\n", "latin1"),
    };
    expect(refusalOf({ [ALICE]: '# first\ninclude "/etc/authnft/a"', ...files }).message).toBe(
      `/etc/authnft/b:3:1: it is not UTF-8 text; write nftables commands. It is included at /etc/authnft/a:1:1, through ${ALICE}.`,
    );
  });
});

const include = (path: string): string => `include "${path}"`;

test("files may have a mebibyte, each counted as often as it is included", () => {
  const twice = `${include("/etc/authnft/x")}\n${include("/etc/authnft/x")}\n`;
  const piece = `#${"x".repeat(SIZE_LIMIT / 4)}`;
  const files = (more: number): Readonly<Record<string, string>> => ({
    [ALICE]: `${twice}#${"y".repeat(SIZE_LIMIT - 2 * piece.length - twice.length - 1 + more)}`,
    "/etc/authnft/x": piece,
  });
  expect(read(files(0)).commands).toEqual([]);
  expect(() => read(files(1))).toThrow(
    "with what is included more than once, a policy may have 1048576 bytes",
  );
});

describe("include", () => {
  test("puts the other file's commands where it stands, as often as it stands there", () => {
    const files = { "/etc/authnft/groups/dev": "b\nc", "/etc/authnft/x": "d" };
    const text = `a\n${include("/etc/authnft/groups/dev")}\n${include("/etc/authnft/x")}; ${include("/etc/authnft/x")}\ne`;
    expect(commands(text, files)).toEqual(["a", "b", "c", "d", "d", "e"]);
  });

  test("keeps each command's own file and line for messages", () => {
    const { commands: found } = read({
      [ALICE]: `\n${include("/etc/authnft/x")}`,
      "/etc/authnft/x": "\n\n a",
    });
    expect(found[0]?.[0].place).toEqual({ file: "/etc/authnft/x", line: 3, column: 2 });
  });

  test.each([
    ["# require address", true],
    ["  # Require  Address.", true],
    ["# requires address", false],
  ])("brings what its comments ask for: %s", (comment, asks) => {
    const files = { [ALICE]: `# one\n${include("/etc/authnft/x")}\n# three`, "/etc/authnft/x": comment };
    expect(read(files).asksForAddress).toBe(asks);
  });

  test.each<[string, string]>([
    ['include "/etc/authnft/groups/dev" x', "one file name in double quotes"],
    ["include", "one file name in double quotes"],
    ["include /etc/authnft/x", "one file name in double quotes"],
    ["include { }", "one file name in double quotes"],
    ['include "/etc/authnft/x" "/etc/authnft/y"', "one file name in double quotes"],
    ['include ""', 'cannot include ""'],
    ['include "x"', "one plain file below /etc/authnft, by its full name"],
    ['include "./x"', "one plain file below"],
    ['include "/etc/passwd"', "one plain file below"],
    ['include "/etc/authnft"', "one plain file below"],
    ['include "/etc/authnft/"', "one plain file below"],
    ['include "/etc/authnft/groups/"', "one plain file below"],
    ['include "/etc/authnft/."', "one plain file below"],
    ['include "/etc/authnft/groups/.."', "one plain file below"],
    ['include "/etc/authnft-evil/x"', "one plain file below"],
    ['include "/etc/authnftx"', "one plain file below"],
    ['include "/etc/authnft/../passwd"', "one plain file below"],
    ['include "/etc/authnft/users/../../passwd"', "one plain file below"],
    ['include "/etc/authnft/groups/../users/bob"', "one plain file below"],
    ['include "/etc/authnft//x"', "one plain file below"],
    ['include "/etc/authnft/./x"', "one plain file below"],
    ['include "//etc/authnft/x"', "one plain file below"],
    ['include "/ETC/authnft/x"', "one plain file below"],
    ['include " /etc/authnft/x"', "one plain file below"],
    ['include "/etc/authnft/*"', "one plain file below"],
    ['include "/etc/authnft/groups/?ev"', "one plain file below"],
    ['include "/etc/authnft/groups/[d]ev"', "one plain file below"],
    ['include "/tmp/x\\"', "one plain file below"],
  ])("%s", (text, message) => {
    const refusal = refusalOf({
      [ALICE]: `\n ${text}`,
      "/etc/authnft/x": RULE,
      "/etc/authnft/groups/dev": RULE,
    });
    expect(refusal.reason).toBe("content");
    expect(refusal.message).toStartWith(`${ALICE}:2:2: `);
    expect(refusal.message).toContain(message);
  });

  test("of a file that is not there says which", () => {
    expect(refusalOf({ [ALICE]: include("/etc/authnft/nowhere") }).message).toContain(
      "/etc/authnft/nowhere: there is none",
    );
  });

  test("of itself is a circle", () => {
    expect(refusalOf({ [ALICE]: include(ALICE) }).message).toBe(
      `${ALICE}:1:1: the fragment includes itself: ${ALICE} → ${ALICE}; break the circle.`,
    );
  });

  test("a circle is found where it closes", () => {
    const refusal = refusalOf({
      [ALICE]: include("/etc/authnft/a"),
      "/etc/authnft/a": `x\n${include("/etc/authnft/b")}`,
      "/etc/authnft/b": include("/etc/authnft/a"),
    });
    expect(refusal.reason).toBe("content");
    expect(refusal.message).toBe(
      `/etc/authnft/b:1:1: the fragment includes itself: ${ALICE} → /etc/authnft/a → /etc/authnft/b → /etc/authnft/a; break the circle.`,
    );
  });

  test("sixteen deep is deep enough", () => {
    const chain = (depth: number): Record<string, string> => ({
      [ALICE]: include("/etc/authnft/1"),
      ...Object.fromEntries(
        Array.from({ length: depth }, (_, index) => [
          `/etc/authnft/${index + 1}`,
          index + 1 === depth ? "deepest" : include(`/etc/authnft/${index + 2}`),
        ]),
      ),
    });
    expect(read(chain(16)).commands[0]?.[0].text).toBe("deepest");
    const refusal = refusalOf(chain(17));
    expect(refusal.reason).toBe("content");
    const all = [ALICE, ...Array.from({ length: 16 }, (_, index) => `/etc/authnft/${index + 1}`)];
    expect(refusal.message).toBe(
      `/etc/authnft/16:1:1: fragments are included more than 16 deep: ${all.join(" → ")}; make it flatter.`,
    );
  });

  test("a file is opened once, however often it is included: it says the same each time", () => {
    const { opened, commands } = read({
      [ALICE]: `${include("/etc/authnft/x")}\n`.repeat(2) + include("/etc/authnft/y"),
      "/etc/authnft/x": "a",
      "/etc/authnft/y": include("/etc/authnft/x"),
    });
    expect(opened).toEqual([ALICE, "/etc/authnft/x", "/etc/authnft/y"]);
    expect(commands).toHaveLength(3);
  });

  test("a command cannot run on from one file into the next", () => {
    expect(commands(`a\n${include("/etc/authnft/x")}\nc`, { "/etc/authnft/x": "b" })).toEqual([
      "a",
      "b",
      "c",
    ]);
    expect(() => commands(`${include("/etc/authnft/x")}\nc`, { "/etc/authnft/x": "b {" })).toThrow(
      "/etc/authnft/x:1:3",
    );
  });
});

describe("size", () => {
  test("a policy may have a megabyte", () => {
    const text = `${RULE} # `.padEnd(SIZE_LIMIT, "x");
    expect(commands(text)).toEqual([RULE]);
    expect(refusalOf({ [ALICE]: `${text}x` }).reason).toBe("content");
  });

  test("all its files together", () => {
    const half = "#".padEnd(SIZE_LIMIT / 2, "x");
    const two = `include "/etc/authnft/x"\n`.repeat(2);
    expect(refusalOf({ [ALICE]: two, "/etc/authnft/x": half }).message).toBe(
      `Cannot read fragment /etc/authnft/x: with what is included more than once, a policy may have 1048576 bytes; make it shorter, or include it once. It is included at ${ALICE}:2:1.`,
    );
    const deep: Record<string, string> = {
      [ALICE]: `# one\n${include("/etc/authnft/1")}`,
      "/etc/authnft/1": include("/etc/authnft/2"),
      "/etc/authnft/2": `\n ${include("/etc/authnft/x")}`,
      "/etc/authnft/x": "#".padEnd(SIZE_LIMIT, "x"),
    };
    const left =
      SIZE_LIMIT -
      [ALICE, "/etc/authnft/1", "/etc/authnft/2"].reduce((sum, name) => sum + (deep[name]?.length ?? 0), 0);
    expect(refusalOf(deep).message).toBe(
      `Cannot read fragment /etc/authnft/x: 1048576 bytes are more than the ${left}; make it shorter. It is included at /etc/authnft/2:2:2, through /etc/authnft/1, ${ALICE}.`,
    );
    const one = `include "/etc/authnft/x"\n`;
    expect(commands(one, { "/etc/authnft/x": half })).toEqual([]);
  });

  test("files that include one another twice come to an end", () => {
    const files: Record<string, string> = { [ALICE]: `include "/etc/authnft/1"\n`.repeat(2) };
    for (let depth = 1; depth < 16; depth++) {
      files[`/etc/authnft/${depth}`] = `include "/etc/authnft/${depth + 1}"\n`.repeat(2);
    }
    files["/etc/authnft/16"] = "#".padEnd(1000, "x");
    expect(refusalOf(files).reason).toBe("content");
  });
});

test("what the reader says goes to the caller", () => {
  const perms = new Refusal("perms", "Cannot read fragment: it is writable by everyone.");
  expect(() =>
    readFragment(ALICE, () => {
      throw perms;
    }),
  ).toThrow(perms);
});
