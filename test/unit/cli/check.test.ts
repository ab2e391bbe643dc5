// SPDX-License-Identifier: GPL-2.0-or-later
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

let root = "";

function write(files: Readonly<Record<string, string>>): void {
  rmSync(join(root, "etc"), { recursive: true, force: true });
  mkdirSync(join(root, "etc/authnft/users"), { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, "etc/authnft", name)), { recursive: true });
    writeFileSync(join(root, "etc/authnft", name), text);
  }
}

function check(...args: string[]) {
  const { exitCode, stdout, stderr } = Bun.spawnSync(
    [process.execPath, join(import.meta.dir, "../../../src/main.ts"), "check", ...args],
    { cwd: root, env: {}, stdin: "ignore" },
  );
  return { exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "authnft-check-"));
});
afterAll(() => rmSync(root, { recursive: true }));

const CLOSED = "add rule inet authnft egress reject\nadd rule inet authnft filter drop\n";

describe("check, on a copy of the tree", () => {
  test("says what is wrong the way compilers do, more than one thing at once", () => {
    write({
      "users/alice": `include "/etc/authnft/lib/web"
include "/etc/authnft/lib/none"
add rule inet authnft egress accept; flush ruleset
add set inet authnft s { type ipv4_addr; }; add set inet authnft s { type ipv4_addr; }
`,
      "lib/web": "add rule inet authnft egress\ttcp dport $port accept\n",
    });
    const { exitCode, stdout, stderr } = check("--root", ".");
    expect(stdout).toBe(`./etc/authnft/lib/web:1:40: error: there is no variable "$port"
    add rule inet authnft egress	tcp dport $port accept
                                	          ^
  included by ./etc/authnft/users/alice:1:1
  help: there are $user_ip, $user_id and $user_name

./etc/authnft/users/alice:2:1: error: cannot include /etc/authnft/lib/none: there is none
    include "/etc/authnft/lib/none"
    ^
  help: write it, or take this line out

./etc/authnft/users/alice:3:38: error: only "add rule inet authnft filter …", "add rule inet authnft egress …", objects of the fragment's own ("add set inet authnft …") and include may stand in a fragment, not "flush ruleset"
    add rule inet authnft egress accept; flush ruleset
                                         ^
  help: take it out, for a fragment only adds what a session begins with

./etc/authnft/users/alice:4:45: error: there is a set "s" already
    add set inet authnft s { type ipv4_addr; }; add set inet authnft s { type ipv4_addr; }
                                                ^
  help: give each its own name

2 files, 4 errors, 0 warnings.
`);
    expect(exitCode).toBe(1);
    expect(stderr).toContain("Only the syntax was checked");
    expect(stderr).toContain("Owners and modes are not checked below .");
    expect(stderr).toContain("Whether a firewall of the host drops what is accepted here was not looked at");
  });

  test("one mistake is told once: not again by what depends on it, nor by every file that includes it", () => {
    write({
      "users/alice": 'include "/etc/authnft/lib/web"\n',
      "groups/dev": 'include "/etc/authnft/lib/web"\n',
      "lib/web":
        "add set inet authnft s ( type ipv4_addr; )\nadd rule inet authnft egress ip daddr @s accept\nadd element inet authnft s { 192.0.2.1 }\n",
    });
    const { stdout } = check("--root", ".", "--json");
    expect(
      JSON.parse(stdout).errors.map((error: { line: number; column: number }) => [error.line, error.column]),
    ).toEqual([
      [1, 24],
      [1, 42],
    ]);
  });

  test("an included file is checked through those that include it, any other by itself", () => {
    write({
      "users/alice": `include "/etc/authnft/lib/sets"\nadd rule inet authnft egress ip daddr @used accept\n${CLOSED}`,
      "groups/dev": `include "/etc/authnft/lib/sets"\n${CLOSED}`,
      "lib/sets":
        "add set inet authnft used { type ipv4_addr; }\nadd set inet authnft idle { type ipv4_addr; }\nadd chain inet authnft c\n",
      "lib/alone":
        "add rule inet authnft egress ip daddr @theirs jump far\nadd rule inet authnft egress ip daddr $x drop\n",
    });
    const { stdout, exitCode } = check("--root", ".", "--json");
    const { errors, warnings } = JSON.parse(stdout);
    expect(exitCode).toBe(1);
    expect(errors.map(({ file, line }: { file: string; line: number }) => `${file}:${line}`)).toEqual([
      "./etc/authnft/lib/alone:2",
    ]);
    // A set that one of them uses is of use.
    expect(warnings.map(({ message }: { message: string }) => message)).toEqual([
      'no rule uses set "idle"',
      'no rule leads to chain "c", so none of its rules can ever act',
    ]);
    // Named, it is looked at alone.
    expect(check("--root", ".", "etc/authnft/lib/sets").stdout).toContain('no rule uses set "idle"');
    expect(check("--root", ".", "etc/authnft/users").exitCode).toBe(0);
  });

  test("what depends on a session's address is told with the sessions that it is about", () => {
    const rule = (family: string): string => `add rule inet authnft filter ${family} saddr $user_ip accept\n`;
    const told = (text: string): string[] => {
      write({ "users/alice": text });
      const { errors, warnings } = JSON.parse(check("--root", ".", "--json").stdout);
      expect(errors).toEqual([]);
      return warnings.map(({ line, message }: { line: number; message: string }) => `${line} ${message}`);
    };
    expect(told(rule("ip") + CLOSED)).toEqual([
      "1 in sessions without an IPv4 address this rule is left out: it needs $user_ip, which is not known there",
    ]);
    expect(told(rule("ip") + rule("ip6") + CLOSED)).toEqual([
      "1 in sessions without an address this rule is left out: it needs $user_ip, which is not known there",
    ]);
    expect(told(`# require address\n${rule("ip")}${rule("ip6")}${CLOSED}`)).toEqual([]);
    const [refused] = told(rule("ip") + rule("ip6"));
    expect(refused).toStartWith(
      "null in sessions without an address the login is refused: no rule is left of it",
    );
  });

  test("what editors leave is told and not checked, what they hide is not looked at, and a link is no fragment", () => {
    write({
      "users/alice": CLOSED,
      "users/alice~": "flush ruleset",
      "users/.alice.swp": "\0",
      "default.dpkg-old": "x",
    });
    symlinkSync("alice", join(root, "etc/authnft/users/bob"));
    const { stdout } = check("--root", ".");
    expect(stdout.match(/^\S+: (error|warning): .*$/gm)).toEqual([
      "./etc/authnft/default.dpkg-old: warning: this is nobody's fragment, by its name, and was not checked",
      "./etc/authnft/users/alice~: warning: this is nobody's fragment, by its name, and was not checked",
      expect.stringContaining("users/bob: error: it is a symbolic link"),
    ]);
  });
});

describe("check, of a file elsewhere", () => {
  test("checks it as a fragment, and says that nobody's login reads it", () => {
    write({ "lib/web": "add rule inet authnft egress tcp dport 443 accept\n" });
    writeFileSync(join(root, "new"), `include "/etc/authnft/lib/web"\n${CLOSED}`, { mode: 0o666 });
    const good = check("--root", ".", "--user", "alice", "./new");
    expect(good.exitCode).toBe(0);
    expect(good.stdout).toContain("./new: warning: ./new is not below ./etc/authnft");
    writeFileSync(join(root, "new"), "flush ruleset\n");
    expect(check("--root", ".", "new").stdout).toContain("new:1:1: error: only ");
    expect(check("--root", ".", "new").exitCode).toBe(1);
  });
});

test("which fragment holds for a user who has one, and what would hold without it", () => {
  write({ "users/nobody-here": CLOSED, default: CLOSED });
  const { stdout, exitCode } = check("--root", ".", "--user", "nobody-here");
  expect(exitCode).toBe(0);
  expect(stdout).toBe(
    "nobody-here: /etc/authnft/users/nobody-here holds, for it is nobody-here's own. Without it: /etc/authnft/default.\n\n1 file, 0 errors, 0 warnings.\n",
  );
});

test("a user whom no fragment holds for is a mistake beside the others, the name of nobody wrong usage", () => {
  write({ "users/alice": "flush ruleset\n" });
  const { stdout, exitCode } = check("--root", ".", "--json", "root", "etc/authnft/users/alice");
  expect(exitCode).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({
    ok: false,
    users: [{ user: "root", fragment: null, why: null, others: [] }],
    errors: [
      { file: "./etc/authnft/users/alice", line: 1 },
      { file: "./etc/authnft/users/root", line: null, message: expect.stringContaining("there is none") },
    ],
  });
});

test.each([[["nobody-else"]], [["./none"]], [["--user", "nobody-else"]], [["/"]], [["--root", "none"]]])(
  "%j is wrong usage",
  (args) => {
    write({});
    const { exitCode, stdout, stderr } = check("--root", ".", ...args);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    expect(stderr).toStartWith("authnft check: ");
  },
);
