// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { type Finding, faultOf } from "../../../src/cli/doctor/finding.ts";
import { checkCgroups, checkKernel } from "../../../src/cli/doctor/host.ts";
import { memberNames } from "../../../src/cli/doctor/policy.ts";
import { judgeConntrack, tablesThatSetLabels } from "../../../src/cli/doctor/ruleset.ts";
import { formatFinding } from "../../../src/cli/doctor.ts";

describe("checkKernel", () => {
  test.each(["5.13.0", "6.1.0-18-amd64", "5.15-rc1", "10.0"])("%s is new enough", (release) => {
    expect(checkKernel(release).level).toBe("ok");
  });

  test.each(["5.12.19", "4.19.0-26-amd64", "5.4", "unknown"])("%s is not", (release) => {
    expect(checkKernel(release).level).toBe("fail");
  });
});

describe("checkCgroups", () => {
  const mount = (type: string) => `30 22 0:26 / /sys/fs/cgroup rw - ${type} x rw\n`;

  test("unified", () => {
    expect(checkCgroups(mount("cgroup2")).level).toBe("ok");
  });

  test("hybrid: version 2 lies below a tmpfs", () => {
    const unified = "31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 x rw\n";
    expect(checkCgroups(mount("tmpfs") + unified).level).toBe("fail");
  });
});

describe("memberNames", () => {
  const passwd =
    "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/:/\ncarol:x:1002:997::/:/\ntoor:x:0:0::/:/\n";

  test("by the group's list and by primary group, uid 0 left out", () => {
    expect(memberNames("authnft:x:997:bob,alice,root,toor\n", passwd)).toEqual(["alice", "bob", "carol"]);
  });

  test("an empty list names nobody", () => {
    expect(memberNames("authnft:x:998:\n", passwd)).toEqual([]);
  });
});

describe("tablesThatSetLabels", () => {
  const listing = `table inet host {
	chain input {
		ct label set 1 accept
	}
}
table ip nat {
	chain output {
		ct label 1 accept
		ct mark set 0x1
	}
}
`;

  test("finds those that set, not those that match", () => {
    expect(tablesThatSetLabels(listing)).toEqual(["inet host"]);
  });
});

test("judgeConntrack warns before the table is full", () => {
  expect(judgeConntrack(79, 100).level).toBe("ok");
  expect(judgeConntrack(80, 100).level).toBe("warn");
});

describe("faultOf", () => {
  test("takes the last part of a sentence of the house for what mends it", () => {
    expect(faultOf("Cannot read x: a; b; run y.", "Why.", "z")).toEqual({
      what: "Cannot read x: a; b.",
      why: "Why.",
      mend: "run y",
    });
  });

  test("knows what to say where the message does not", () => {
    expect(faultOf("Cannot.", "Why.", "z")).toEqual({ what: "Cannot.", why: "Why.", mend: "z" });
  });
});

describe("formatFinding", () => {
  const terminal = { colour: false, width: 40 };
  const finding: Finding = {
    level: "fail",
    what: "One two three four five six seven eight.",
    why: "Why.",
    mend: "a\nb",
  };

  test("wraps sentences and leaves commands whole", () => {
    expect(formatFinding({ ...finding, mend: `run ${"x".repeat(60)}` }, terminal)).toBe(
      `fail  One two three four five six seven\n      eight.\n      Why.\n      To mend it: run ${"x".repeat(60)}`,
    );
  });

  test("puts several lines to write below each other", () => {
    expect(formatFinding(finding, terminal)).toEndWith("      To mend it: a\n        b");
  });

  test("no control character of what it found reaches the terminal", () => {
    const nasty = "\x1b[2J\u202e\x07";
    const text = formatFinding({ level: "ok", what: nasty, why: nasty, mend: nasty }, terminal);
    expect(text.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Cf}]/u);
  });

  test("colours the level alone, and only where wanted", () => {
    expect(formatFinding({ level: "ok", what: "Fine." }, { colour: true, width: 80 })).toBe(
      "\x1b[32mok  \x1b[39m  Fine.",
    );
  });
});
