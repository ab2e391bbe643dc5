// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import {
  judgeCapabilities,
  judgeLandlock,
  judgeProc,
  judgeSeccomp,
} from "../../../../src/cli/doctor/confinement.ts";

describe("judgeSeccomp", () => {
  test("filters that can kill a process are enough", () => {
    expect(judgeSeccomp("kill_process kill_thread trap errno trace log allow\n").level).toBe("ok");
  });

  test.each([undefined, "", "kill_thread trap errno"])("%j is not", (actions) => {
    expect(judgeSeccomp(actions).level).toBe("fail");
  });
});

describe("judgeLandlock", () => {
  test("names the option of the kernel, or of its command line, where there is none", () => {
    expect(judgeLandlock("ENOSYS")).toMatchObject({ level: "warn" });
    expect(judgeLandlock("ENOSYS").mend).toContain("CONFIG_SECURITY_LANDLOCK");
    // A filter's word, not the kernel's: another kernel would not help.
    expect(judgeLandlock("EPERM").mend).toContain("SystemCallFilter=landlock_create_ruleset ");
    expect(judgeLandlock("EPERM").mend).not.toContain("kernel");
    expect(judgeLandlock("EOPNOTSUPP")).toMatchObject({ level: "warn" });
    expect(judgeLandlock("EOPNOTSUPP").mend).toContain("lsm=landlock");
  });

  test("says which version there is, and what a later one would add", () => {
    expect(judgeLandlock(7)).toEqual({
      level: "ok",
      what: "The helper sees no files but those that it needs (Landlock, version 7).",
    });
    expect(judgeLandlock(4).what).toContain("version 4; a newer kernel would confine signals and abstract");
    expect(judgeLandlock(2).what).toContain("truncating files, TCP, signals");
  });
});

describe("judgeCapabilities", () => {
  const status = (mask: string): string => `Name:\tx\nCapPrm:\t${mask}\nCapEff:\t${mask}\nCapBnd:\t${mask}\n`;

  test("root as it is on a host has them", () => {
    expect(judgeCapabilities(status("000001ffffffffff")).level).toBe("ok");
    expect(judgeCapabilities(status("0000000020001000")).level).toBe("ok");
  });

  test("without the one for the network nothing works, without the other there is no audit record", () => {
    expect(judgeCapabilities(status("000001ffffffefff")).level).toBe("fail");
    expect(judgeCapabilities(status("000001ffdfffffff")).level).toBe("warn");
    expect(judgeCapabilities("").level).toBe("fail");
  });
});

describe("judgeProc", () => {
  const proc = (options: string): string =>
    `24 22 0:22 / /proc rw,nosuid shared:5 - proc proc rw${options}\n`;

  test.each(["", ",hidepid=off", ",hidepid=invisible", ",hidepid=2", ",hidepid=noaccess,gid=0"])(
    "%j lets the helper see",
    (options) => {
      expect(judgeProc(proc(options)).level).toBe("ok");
    },
  );

  test.each([",gid=23,hidepid=invisible", ",gid=23,hidepid=1", ",hidepid=ptraceable", ",hidepid=4"])(
    "%j does not",
    (options) => {
      expect(judgeProc(proc(options))).toMatchObject({
        level: "fail",
        what: expect.stringContaining("hidepid="),
      });
    },
  );
});
