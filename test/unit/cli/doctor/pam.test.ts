// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { checkPam, judgeService, runsTailscaleSsh } from "../../../../src/cli/doctor/pam.ts";
import { EXEC_LINES, SHIM_LINE } from "../../../../src/cli/pam_lines.ts";
import { type PamFile, pamStack } from "../../../../src/system/host/pam_config.ts";

const SYSTEMD = "session optional pam_systemd.so";
const USER_ENV = "session required pam_env.so user_readenv=1 envfile=/etc/default/locale";

function file(name: string, ...lines: string[]): PamFile {
  return { name, path: `/etc/pam.d/${name}`, text: lines.join("\n") };
}

/** What is found about a service with these lines: level and sentence. */
function judge(...lines: string[]): string[] {
  return judgeService(
    "sshd",
    pamStack(file("sshd", ...lines), "session", () => undefined),
  ).map(({ level, what }) => `${level} ${what}`);
}

describe("in order", () => {
  test("the module after pam_systemd", () => {
    expect(judge(SYSTEMD, SHIM_LINE, USER_ENV)).toEqual([]);
  });

  test("the three lines that install prints", () => {
    expect(judge(SYSTEMD, ...EXEC_LINES)).toEqual([]);
  });

  test("the module where there is no pam_systemd, and with arguments", () => {
    expect(judge(`${SHIM_LINE} rhost_policy=kernel claims_env=TOKEN debug`)).toEqual([]);
  });

  test("a service that does not name us, and pam_exec for something else", () => {
    expect(judge(SYSTEMD, "session optional pam_exec.so /usr/bin/other")).toEqual([]);
  });
});

describe("order", () => {
  test("before pam_systemd the process is moved out of its scope", () => {
    expect(judge(SHIM_LINE, SYSTEMD)).toEqual([
      "fail sshd: /etc/pam.d/sshd:1 comes before pam_systemd.so in /etc/pam.d/sshd:2.",
    ]);
  });

  test("after pam_env with user_readenv a user chooses the PAM environment", () => {
    expect(judge(SYSTEMD, USER_ENV, SHIM_LINE)).toEqual([
      "warn sshd: /etc/pam.d/sshd:3 comes after pam_env.so with user_readenv=1 in /etc/pam.d/sshd:2.",
    ]);
  });
});

describe("programs of root's", () => {
  const ALERT = "session optional pam_exec.so quiet /usr/local/bin/alert";
  const inside = (line: number, moments: string, what = "/usr/local/bin/alert") =>
    `warn sshd: /etc/pam.d/sshd:${line} runs ${what} inside a member's session, when that ${moments}.`;

  test("behind us are in the session when it opens and when it closes", () => {
    expect(judge(SYSTEMD, SHIM_LINE, ALERT)).toEqual([inside(3, "opens and closes")]);
    expect(judge(SYSTEMD, ...EXEC_LINES, ALERT)).toEqual([inside(5, "opens and closes")]);
  });

  test("before us are in it when it closes, and behind pam_systemd in the slice when it opens", () => {
    expect(judge(ALERT, SYSTEMD, SHIM_LINE)).toEqual([inside(1, "closes")]);
    expect(judge(SYSTEMD, ALERT, SHIM_LINE)).toEqual([inside(2, "opens and closes")]);
  });

  test("that are run at one of both only are told for that", () => {
    const only = (type: string) => ALERT.replace("quiet", `quiet type=${type}`);
    expect(judge(only("open_session"), SYSTEMD, SHIM_LINE)).toEqual([]);
    expect(judge(only("close_session"), SYSTEMD, SHIM_LINE)).toEqual([inside(1, "closes")]);
    expect(judge(SYSTEMD, SHIM_LINE, only("open_session"))).toEqual([inside(3, "opens")]);
    expect(judge(SYSTEMD, SHIM_LINE, only("auth"))).toEqual([]);
  });

  test("by other modules are told, and what systemd runs for them is not", () => {
    expect(judge(SYSTEMD, SHIM_LINE, "session optional pam_mount.so")).toEqual([
      inside(3, "opens and closes", "pam_mount.so"),
    ]);
    const [finding] = judgeService(
      "sshd",
      pamStack(file("sshd", SYSTEMD, SHIM_LINE, ALERT), "session", () => undefined),
    );
    const mended = finding?.mend?.replace(/^.*: write /, "") ?? "";
    expect(mended).toStartWith("session optional pam_exec.so seteuid quiet /usr/bin/systemd-run ");
    expect(judge(SYSTEMD, SHIM_LINE, mended)).toEqual([]);
  });
});

describe("second factors, and what else is asked inside a session before somebody rises", () => {
  const SERVICE = file("sshd", SYSTEMD, SHIM_LINE);
  const factors = (...files: PamFile[]) =>
    checkPam([SERVICE, ...files]).flatMap(({ level, what, mend }) =>
      what.includes("asked") ? [{ said: `${level} ${what}`, mend }] : [],
    );

  test("are told of sudo, su and polkit, once for a line that several have", () => {
    const found = factors(
      file("common-auth", "auth required pam_unix.so", "auth required pam_radius_auth.so"),
      file("sudo", "@include common-auth"),
      file("su", "auth sufficient pam_rootok.so", "@include common-auth", "account required pam_duo.so"),
    );
    expect(found.map(({ said }) => said)).toEqual([
      "warn sudo, su: /etc/pam.d/common-auth:2 has pam_radius_auth.so asked inside a member's session (auth).",
      "warn su: /etc/pam.d/su:3 has pam_duo.so asked inside a member's session (account).",
    ]);
    expect(found[0]?.mend).toContain("failmode=secure");
  });

  test("are not told of ssh, which asks before, nor where systemd asks, nor for another moment", () => {
    const ask = (options: string) => `auth required pam_exec.so ${options} /usr/local/bin/ask`;
    expect(factors(file("sudo", ask("type=account")), file("login", ask("quiet")))).toEqual([]);
    const [found] = factors(file("sudo", ask("expose_authtok type=auth")));
    const mended = found?.mend?.replace(/^.*: write /, "") ?? "";
    expect(mended).toMatch(
      /^auth required pam_exec\.so seteuid expose_authtok type=auth \S+\/systemd-run .* --pipe /,
    );
    expect(factors(file("sudo", mended))).toEqual([]);
  });

  test("are nobody's business where no service opens sessions", () => {
    expect(checkPam([file("sudo", "auth required pam_duo.so")]).map(({ what }) => what)).toEqual([
      "No service in /etc/pam.d names authnft.",
    ]);
  });
});

describe("modules that take the login elsewhere", () => {
  const NET = "session required pam_usernet.so";
  const GUARD = "session [success=1 default=ignore] pam_succeed_if.so quiet user ingroup authnft";

  test("to another network: behind us nothing holds, before us the login is refused, and members can pass it by", () => {
    expect(judge(SYSTEMD, SHIM_LINE, NET)).toEqual([
      "fail sshd: /etc/pam.d/sshd:3 (pam_usernet.so) may put a member's session into another network namespace.",
    ]);
    expect(judge(NET, SYSTEMD, SHIM_LINE)).toEqual([
      "fail sshd: /etc/pam.d/sshd:1 (pam_usernet.so) may put the login into another network namespace before /etc/pam.d/sshd:3.",
    ]);
    expect(judge(SYSTEMD, SHIM_LINE, GUARD, NET)).toEqual([]);
    expect(judge(GUARD, SYSTEMD, SHIM_LINE, NET)).toHaveLength(1);
    expect(judge(SYSTEMD, "session required pam_namespace.so", SHIM_LINE)).toEqual([]);
  });

  test("to another cgroup behind us: the rules are about the one before", () => {
    for (const module of ["pam_cgroup.so", "pam_slurm_adopt.so"])
      expect(judge(SYSTEMD, SHIM_LINE, `session optional ${module}`)).toEqual([
        `fail sshd: /etc/pam.d/sshd:2 comes before ${module} in /etc/pam.d/sshd:3.`,
      ]);
    expect(judge("session optional pam_cgfs.so", SYSTEMD, SHIM_LINE)).toEqual([]);
  });

  test("to a job's cgroup before us, which we take it out of", () => {
    const found = checkPam([file("sshd", "account required pam_slurm_adopt.so", SHIM_LINE)]);
    expect(found.map(({ level, what }) => `${level} ${what}`)).toEqual([
      "warn sshd: /etc/pam.d/sshd:1 puts a login into a job's cgroup, and /etc/pam.d/sshd:2 takes a member's out of it.",
    ]);
  });
});

describe("two hooks", () => {
  test("module and pam_exec: take the latter out", () => {
    const lines = [SYSTEMD, ...EXEC_LINES, SHIM_LINE];
    const rules = pamStack(file("sshd", ...lines), "session", () => undefined);
    const [finding] = judgeService("sshd", rules);
    expect(finding).toMatchObject({ level: "fail", mend: "take /etc/pam.d/sshd:4 out" });
  });

  test("the module twice", () => {
    expect(judge(SYSTEMD, SHIM_LINE, SHIM_LINE)).toEqual([
      "fail sshd: /etc/pam.d/sshd:2 and /etc/pam.d/sshd:3 both open a session.",
    ]);
  });
});

describe("pam_exec", () => {
  const [rootGuard = "", groupGuard = "", exec = ""] = EXEC_LINES;

  test("without seteuid it runs as whoever called su", () => {
    expect(judge(SYSTEMD, rootGuard, groupGuard, exec.replace("seteuid ", ""))).toEqual([
      "fail sshd: /etc/pam.d/sshd:4 runs pam_exec.so without seteuid.",
    ]);
  });

  test("seteuid as an argument of ours is not pam_exec's", () => {
    expect(
      judge(SYSTEMD, rootGuard, groupGuard, "session required pam_exec.so /usr/libexec/authnft seteuid"),
    ).toContain("fail sshd: /etc/pam.d/sshd:4 runs pam_exec.so without seteuid.");
  });

  test.each(["/usr/sbin/authnft", "/usr/lib/authnft/authnft"])("%s obeys its environment", (command) => {
    const line = exec.replace("/usr/libexec/authnft", command);
    expect(judge(SYSTEMD, rootGuard, groupGuard, line)).toEqual([
      `fail sshd: /etc/pam.d/sshd:4 runs ${command} instead of /usr/libexec/authnft.`,
    ]);
  });

  test.each(["", "/usr/bin/env -i "])(
    "authnft-member is none of its programs, also behind '%s': the libraries that a user names would be root's",
    (before) => {
      const line = `session [success=1 default=ignore] pam_exec.so seteuid quiet ${before}/usr/lib/authnft/authnft-member`;
      expect(judge(SYSTEMD, rootGuard, line, groupGuard, exec)).toContain(
        "fail sshd: /etc/pam.d/sshd:3 runs /usr/lib/authnft/authnft-member by pam_exec.so.",
      );
    },
  );

  test("without guards a broken helper locks everybody out", () => {
    expect(judge(SYSTEMD, exec)).toEqual([
      "fail sshd: nothing lets root and users outside group authnft pass by /etc/pam.d/sshd:2.",
    ]);
    expect(judge(SYSTEMD, groupGuard, exec)).toEqual([
      "fail sshd: nothing lets root pass by /etc/pam.d/sshd:3.",
    ]);
  });

  test("without guards an optional line only gets a warning", () => {
    expect(judge(SYSTEMD, exec.replace("required", "optional"))).toEqual([
      "warn sshd: nothing lets root and users outside group authnft pass by /etc/pam.d/sshd:2.",
    ]);
  });

  test("a guard that does not skip the line, or skips more, is none", () => {
    const between = "session optional pam_motd.so";
    expect(judge(SYSTEMD, rootGuard, groupGuard, between, exec)).toEqual([
      "fail sshd: nothing lets root and users outside group authnft pass by /etc/pam.d/sshd:5.",
    ]);
    expect(judge(SYSTEMD, rootGuard, groupGuard.replace("success=1", "success=2"), exec)).toEqual([
      "fail sshd: nothing lets users outside group authnft pass by /etc/pam.d/sshd:4.",
    ]);
  });
});

describe("arguments", () => {
  test("an unknown one refuses every login", () => {
    expect(judge(SYSTEMD, `${SHIM_LINE} rhost_polcy=lax`)[0]).toStartWith(
      "fail sshd: Cannot use the argument",
    );
  });

  test("those after pam_exec's program are ours", () => {
    expect(judge(SYSTEMD, ...EXEC_LINES.slice(0, -1), `${EXEC_LINES.at(-1)} bogus`)[0]).toStartWith("fail");
  });

  test("the confinement should not stay off", () => {
    expect(judge(SYSTEMD, `${SHIM_LINE} AUTHNFT_NO_SANDBOX=1`)).toEqual([
      "warn sshd: /etc/pam.d/sshd:2 switches the helper's confinement off.",
    ]);
  });
});

describe("checkPam", () => {
  const common = file("common-session", SYSTEMD);
  const found = (...files: PamFile[]) => checkPam(files).map(({ level, what }) => `${level} ${what}`);

  test("finds the line in an included file, and judges the services that include it", () => {
    const hooked = file("common-session", SYSTEMD, SHIM_LINE);
    expect(
      found(hooked, file("login", "@include common-session"), file("su", "@include common-session")),
    ).toEqual(["ok Services that open sessions for members: login, su."]);
  });

  test("names the services through which a member would not be filtered", () => {
    const files = [
      common,
      file("sudo", "session required pam_unix.so"),
      file("su", "@include common-session"),
      file("su-l", "session include su"),
      file("systemd-user", "@include common-session"),
      file("vsftpd", "@include common-session", SHIM_LINE),
    ];
    expect(found(...files)).toEqual([
      "ok Services that open sessions for members: vsftpd.",
      "warn Services that open login sessions without authnft: su, su-l.",
    ]);
  });

  test("names the services that run a member's jobs unfiltered", () => {
    const part = file("common-session-noninteractive", "session required pam_unix.so");
    const jobs = "@include common-session-noninteractive";
    const sshd = file("sshd", SYSTEMD, SHIM_LINE);
    expect(found(sshd, part, file("cron", jobs), file("atd", jobs, SHIM_LINE))).toEqual([
      "ok Services that open sessions for members: sshd, atd.",
      "warn Services that run jobs of members without authnft: cron.",
    ]);
  });

  test("passes over what package managers and editors leave, which no login reads", () => {
    const names = ["dpkg-old", "dpkg-dist", "ucf-dist", "ucf-old", "rpmsave", "rpmnew", "bak", "orig"];
    const leftovers = [...names.map((end) => `sshd.${end}`), "sshd~", ".sshd.swp", "#sshd#"];
    expect(
      found(
        common,
        file("sshd", "@include common-session", SHIM_LINE),
        ...leftovers.map((name) => file(name, "@include common-session", SHIM_LINE, SHIM_LINE)),
        ...leftovers.map((name) => file(name.replace("sshd", "login"), "@include common-session")),
      ),
    ).toEqual(["ok Services that open sessions for members: sshd."]);
    // What a service includes counts by whatever name.
    expect(found(file("local.parts", SYSTEMD, SHIM_LINE), file("login", "@include local.parts"))).toEqual([
      "ok Services that open sessions for members: login.",
    ]);
  });

  test("says when there is no service at all", () => {
    expect(found(common, file("login", "@include common-session"))).toEqual([
      "warn No service in /etc/pam.d names authnft.",
    ]);
  });

  test("a commented line is none", () => {
    expect(found(file("login", `# ${SHIM_LINE}`))).toEqual(["warn No service in /etc/pam.d names authnft."]);
  });
});

test("Tailscale's own ssh server is told by its settings", () => {
  expect(runsTailscaleSsh('{\n\t"ControlURL": "https://login.example",\n\t"RunSSH": true,\n}')).toBe(true);
  expect(runsTailscaleSsh('{\n\t"RunSSH": false,\n\t"RunWebClient": true\n}')).toBe(false);
});
