// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { version } from "../../../package.json" with { type: "json" };

function run(...args: string[]) {
  const { exitCode, stdout, stderr } = Bun.spawnSync(
    [process.execPath, join(import.meta.dir, "../../../src/main.ts"), ...args],
    { env: {}, stdin: "ignore" },
  );
  return { exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}

describe("asked for", () => {
  test.each(["--version", "-V"])("%s prints the version", (option) => {
    expect(run(option)).toEqual({ exitCode: 0, stdout: `authnft ${version}\n`, stderr: "" });
  });

  test.each(["--help", "-h", "help"])("%s prints the verbs and examples", (asked) => {
    const { exitCode, stdout, stderr } = run(asked);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    for (const word of ["install", "uninstall", "doctor", "Examples:", "pam_authnft(8)"]) {
      expect(stdout).toContain(word);
    }
  });

  test.each(["install", "uninstall", "doctor", "example", "trace"])(
    "%s has help with examples, by both ways",
    (verb) => {
      const { exitCode, stdout } = run(verb, "--help");
      expect(exitCode).toBe(0);
      expect(stdout).toContain("Examples:");
      expect(run("help", verb).stdout).toBe(stdout);
    },
  );

  test("help is the same without a terminal, uncoloured", () => {
    expect(run("--help").stdout).not.toContain("\x1b");
  });
});

describe("wrong usage exits with 2, says what was wrong and where to look", () => {
  test.each([
    [["instal"], "unknown command 'instal'", "Did you mean install?"],
    [["doctor", "--jsn"], "unknown option '--jsn'", "authnft doctor --help"],
    [["--bogus"], "unknown option '--bogus'", "authnft --help"],
    [["install", "--root"], "argument missing", "authnft install --help"],
    [["doctor", "extra"], "too many arguments", "authnft doctor --help"],
    [["example", "web"], 'there is no example "web"', "web-only"],
    [["example", "zzz"], 'no example "zzz"; there are ', "no-network"],
    [["example", "quota", "extra"], "too many arguments", "authnft example --help"],
    [["verify", "--seconds", "0"], "a whole number of seconds", "authnft verify --help"],
    [["verify", "--seconds", "1e9"], "a whole number of seconds", "authnft verify --help"],
    [["end"], "Usage: authnft end <scope unit>", "unit"],
    [["end", "a", "b"], "Usage: authnft end <scope unit>", "unit"],
    [["cover", "1", "2"], "Usage: authnft cover", "unit"],
    [[], "Usage: authnft <verb>", "Examples:"],
  ])("%j", (args, complaint, hint) => {
    const { exitCode, stdout, stderr } = run(...args);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    expect(stderr).toContain(complaint);
    expect(stderr).toContain(hint);
  });
});

describe("example", () => {
  test("lists what there is, a line each, and prints one as it is in the sources", () => {
    const { exitCode, stdout, stderr } = run("example");
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    const folder = join(import.meta.dir, "../../../data/examples");
    const names = readdirSync(folder).sort();
    expect(
      stdout
        .trimEnd()
        .split("\n")
        .map((line) => line.split("  ", 1)[0]),
    ).toEqual(names);
    for (const name of names.slice(0, 2)) {
      const text = readFileSync(join(folder, name), "utf8");
      expect(run("example", name)).toEqual({ exitCode: 0, stdout: text, stderr: "" });
      const about = /^# (.+\.)\n# SPDX-/.exec(text)?.[1];
      expect(stdout.replaceAll(/ +/g, " ")).toContain(`${name} ${about}\n`);
    }
  });
});
