// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import {
  linesNaming,
  type PamFile,
  type PamRule,
  pamStack,
  parsePamFile,
} from "../../../../src/system/host/pam_config.ts";

function file(name: string, text: string): PamFile {
  return { name, path: `/etc/pam.d/${name}`, text };
}

function rules(text: string): PamRule[] {
  return parsePamFile(text, "f").filter((entry): entry is PamRule => !("include" in entry));
}

describe("parsePamFile", () => {
  test("reads type, control, module and arguments", () => {
    expect(rules("session required pam_authnft.so debug claims_env=X")).toEqual([
      {
        type: "session",
        control: "required",
        module: "pam_authnft.so",
        args: ["debug", "claims_env=X"],
        file: "f",
        line: 1,
      },
    ]);
  });

  test("keeps blanks in square brackets together, in the control and in arguments", () => {
    const [rule] = rules("session [success=2 default=ignore]\tpam_x.so [a b] [c \\] d]");
    expect(rule?.control).toBe("[success=2 default=ignore]");
    expect(rule?.args).toEqual(["[a b]", "[c \\] d]"]);
  });

  test("passes over comments, empty lines and what is no rule", () => {
    expect(parsePamFile("# session required pam_x.so\n\nsession required\n  \t\n", "f")).toEqual([]);
    expect(rules("session optional pam_x.so a # b c")[0]?.args).toEqual(["a"]);
  });

  test("joins lines that end in a backslash and numbers them by the first", () => {
    const [, rule] = rules("auth required pam_a.so\nsession required \\\n  pam_x.so \\\n  a\n");
    expect(rule).toMatchObject({ module: "pam_x.so", args: ["a"], line: 2 });
  });

  test("a hyphen and capitals change nothing about the type", () => {
    expect(rules("-Session optional pam_systemd.so")[0]?.type).toBe("session");
  });

  test("knows Debian's @include", () => {
    expect(parsePamFile("@include common-session", "f")).toEqual([
      { include: "common-session", file: "f", line: 1 },
    ]);
  });
});

describe("pamStack", () => {
  const files = new Map<string, PamFile>();
  for (const part of [
    file(
      "common",
      "auth required pam_unix.so\nsession required pam_unix.so\nsession optional pam_systemd.so\n",
    ),
    file("circle", "session required pam_c.so\n@include circle\n"),
  ]) {
    files.set(part.name, part);
  }
  const modules = (text: string) =>
    pamStack(file("sshd", text), "session", (name) => files.get(name)).map(({ module }) => module);

  test("puts included rules where they are included, whichever way", () => {
    for (const inclusion of ["@include common", "session include common", "session substack common"]) {
      expect(modules(`session required pam_a.so\n${inclusion}\nsession required pam_b.so\n`)).toEqual([
        "pam_a.so",
        "pam_unix.so",
        "pam_systemd.so",
        "pam_b.so",
      ]);
    }
  });

  test("leaves out other types, what they include, and files that are missing", () => {
    expect(modules("auth include common\n@include nowhere\naccount required pam_a.so\n")).toEqual([]);
  });

  test("says which file a rule is from", () => {
    const [first] = pamStack(file("sshd", "@include common"), "session", (name) => files.get(name));
    expect(first).toMatchObject({ file: "/etc/pam.d/common", line: 2 });
  });

  test("comes to an end in a circle", () => {
    expect(modules("@include circle").length).toBe(32);
  });
});

test("linesNaming sees through comments and continued lines", () => {
  const text =
    "# pam_authnft.so\nsession required \\\n pam_authnft.so\nsession required pam_x.so # pam_authnft.so\n";
  expect(linesNaming(text, /pam_authnft/)).toEqual([2]);
});
