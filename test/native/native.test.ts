// SPDX-License-Identifier: GPL-2.0-or-later

// The shim and the entry, run for real: the shim through libpam, the entry under hostile callers. Needs root, gcc,
// clang, lld, cppcheck, valgrind, libpam0g-dev and libclang-rt-dev; changes nothing outside its own directory.

import { afterAll, afterEach, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import {
  type Build,
  CHECK,
  DEADLINE_MS,
  FUZZ,
  Harness,
  inCgroup,
  LOG_CRIT,
  LOG_DEBUG,
  LOG_ERR,
  LOG_WARNING,
  OK_REPLY,
  PAM_PERM_DENIED,
  PAM_SUCCESS,
  REFUSED_REPLY,
  run,
  type Session,
  type SessionOptions,
  TURN_S,
} from "./harness.ts";

setDefaultTimeout(240_000);

/** One reply after the other, as fast as they come. */
const QUICK = "quick\nreply 0\n";

const VALGRIND = [
  "valgrind",
  "--quiet",
  "--error-exitcode=99",
  "--leak-check=full",
  "--show-leak-kinds=all",
  "--child-silent-after-fork=yes",
];

/** valgrind has no clone3, so this is the way with fork; a process beside it makes the descriptors that it cannot. */
const UNDER_VALGRIND = ["pidfd=server", "clone3=38"];

let harness: Harness;
/** The longest test by far: it goes on beside the others, in a directory of its own. */
let besides: Harness;
let soak: Promise<Session>;

beforeAll(async () => {
  [harness, besides] = await Promise.all([Harness.build(), Harness.build()]);
  soak = besides.session({
    build: "patient",
    plan: QUICK,
    under: VALGRIND,
    words: [...UNDER_VALGRIND, "cycles=2000", "handles=10"],
  });
});

afterAll(async () => {
  await soak;
  harness[Symbol.dispose]();
  besides[Symbol.dispose]();
});

function codes(session: Session): number[] {
  return session.calls.map(({ code }) => code);
}

/** What the application must find as it was, whatever happened. */
function expectNothingLeft(session: Session): void {
  expect(session.stderr).toBe("");
  expect(session.exitCode).toBe(0);
  expect(session.facts.get("descriptors")).toBe("+0");
  expect(session.facts.get("children")).toBe("0");
  expect(session.facts.get("mask")).toBe("same");
}

/** A session that was refused because the helper did not do its part. */
function expectNoAnswer(session: Session, why: RegExp | string): void {
  expect(codes(session)).toEqual([PAM_PERM_DENIED]);
  expect(session.logs).toHaveLength(1);
  expect(session.logs[0]?.level).toBe(LOG_ERR);
  expect(session.logs[0]?.text).toContain("session of alice refused: no answer from ");
  expect(session.logs[0]?.text).toContain('run "authnft doctor"');
  expect(session.logs[0]?.text).toMatch(why);
  expect(session.said).toHaveLength(1);
  expect(session.said[0]).toContain("Ask the administrator");
  expect(session.env).toEqual([]);
  expect(harness.networkTaken).toBe(true);
  expectNothingLeft(session);
}

function expectOpened(session: Session): void {
  expect(session.logs).toEqual([]);
  expect(session.said).toEqual([]);
  expect(codes(session)).toEqual([PAM_SUCCESS]);
  expect(session.env).toEqual(["AUTHNFT_SESSION=authnft-alice-42.scope", "AUTHNFT_CORRELATION=token-1"]);
  expect(harness.networkTaken).toBe(false);
  expectNothingLeft(session);
}

describe.each(["gcc", "sanitized"] as Build[])("shim (%s)", (build) => {
  const session = (options: SessionOptions = {}) => harness.session({ build, ...options });

  describe("a user outside of whom something says that they were to be filtered", () => {
    const traces = [
      ["a fragment", "users/bob"],
      ["a session since the boot", "names/1001"],
    ] as const;
    afterEach(() => {
      for (const [, path] of traces) rmSync(harness.path(path), { force: true });
    });

    test.each(traces)(
      "by %s is let go where all sources of the name service answer, and refused where not",
      async (_, path) => {
        writeFileSync(harness.path(path), "");
        const answered = await session({ user: "bob", reply: "authnft 1\nresult=ok\nend\n" });
        expect(answered).toMatchObject({ logs: [], said: [], env: [] });
        expect(codes(answered)).toEqual([PAM_SUCCESS]);
        expect(harness.seen.get("arg")?.slice(0, 2)).toEqual(["authnft", "sources"]);
        const doubtful = await session({
          user: "bob",
          reply: "authnft 1\nresult=refused\nsay=sss is away\nend\n",
        });
        expect(codes(doubtful)).toEqual([PAM_PERM_DENIED]);
        expect(doubtful.logs[0]?.text).toContain(
          "not all sources of users and groups answer: sss is away; mend it",
        );
        expect(harness.networkTaken).toBe(true);
        const silent = await session({ user: "bob", plan: null });
        expect(codes(silent)).toEqual([PAM_PERM_DENIED]);
        expectNothingLeft(silent);
      },
    );

    test("is root, or somebody else: nobody is asked", async () => {
      for (const name of ["users/root", "users/toor", "users/bobby", "names/0", "names/10010"])
        writeFileSync(harness.path(name), "");
      for (const user of ["root", "toor", "bob"]) {
        expect(codes(await session({ user, plan: null }))).toEqual([PAM_SUCCESS]);
        expect(harness.started).toBe(false);
      }
      for (const name of ["users/root", "users/toor", "users/bobby", "names/0", "names/10010"])
        rmSync(harness.path(name));
    });
  });

  describe("reply", () => {
    test("ok opens the session, sets the PAM environment and leaves nothing behind", async () => {
      expectOpened(await session());
    });

    test("ok is believed whatever the exit status is", async () => {
      expectOpened(await session({ plan: "reply 0\nexit 3\n" }));
    });

    test("ok with keys of a newer helper is ok", async () => {
      expectOpened(await session({ reply: OK_REPLY.replace("end\n", "shoe-size=44\nfuture=\nend\n") }));
    });

    test("ok of exactly 4096 bytes is ok, one byte more is no reply", async () => {
      const filler = (length: number) => `pad=${"x".repeat(length - 5)}\n`;
      const longest = (size: number) => {
        let reply = OK_REPLY.slice(0, -"end\n".length);
        while (size - "end\n".length - reply.length > 1000) reply += filler(500);
        const rest = size - "end\n".length - reply.length;
        return `${reply}${filler(Math.floor(rest / 2))}${filler(Math.ceil(rest / 2))}end\n`;
      };
      expect(longest(4096)).toHaveLength(4096);
      expectOpened(await session({ reply: longest(4096) }));
      expectNoAnswer(await session({ reply: longest(4097) }), "its reply is longer than 4096 bytes");
    });

    test("refused shows the helper's sentence, UTF-8 included, and takes the network", async () => {
      const said = "Bitte fragen Sie den Verwalter: „authnft doctor“ – 100 %s %n.";
      const refused = await session({ reply: REFUSED_REPLY.replace(/say=.*/, `say=${said}`) });
      expect(codes(refused)).toEqual([PAM_PERM_DENIED]);
      expect(refused.said).toEqual([said]);
      expect(refused.logs).toEqual([]);
      expect(refused.env).toEqual([]);
      expect(harness.networkTaken).toBe(true);
      expectNothingLeft(refused);
    });

    test("refused without a sentence says one of the shim's", async () => {
      const refused = await session({ reply: "authnft 1\nresult=refused\nend\n" });
      expect(codes(refused)).toEqual([PAM_PERM_DENIED]);
      expect(refused.said[0]).toContain("Ask the administrator");
    });

    test("refused says nothing under PAM_SILENT", async () => {
      const refused = await session({ reply: REFUSED_REPLY, words: ["open-silent"] });
      expect(codes(refused)).toEqual([PAM_PERM_DENIED]);
      expect(refused.said).toEqual([]);
      expect(harness.networkTaken).toBe(true);
    });

    const ok = (line: string) => OK_REPLY.replace("end\n", `${line}\nend\n`);
    test.each([
      ["nothing", "", "it ended with status 0"],
      ["one line", "authnft 1\n", ""],
      ["another version", OK_REPLY.replace("authnft 1", "authnft 2"), ""],
      ["no first line", OK_REPLY.replace("authnft 1\n", ""), ""],
      ["cut before its end", OK_REPLY.slice(0, -"end\n".length), ""],
      ["cut within its end", OK_REPLY.slice(0, -1), ""],
      ["without a result", OK_REPLY.replace("result=ok\n", ""), ""],
      ["with another result", OK_REPLY.replace("result=ok", "result=maybe"), ""],
      ["with two results", ok("result=refused"), ""],
      ["with two sessions", ok("session=authnft-alice-43.scope"), ""],
      ["with something after its end", `${OK_REPLY}result=ok\n`, ""],
      ["with a byte after its end", `${OK_REPLY}\n`, ""],
      ["with a line that is no pair", ok("hello"), ""],
      ["with an empty line", ok(""), ""],
      ["with an empty key", ok("=x"), ""],
      ["with a key of odd letters", ok("a b=x"), ""],
      ["with a NUL", ok("x=a\0b"), ""],
      ["with a carriage return", OK_REPLY.replaceAll("\n", "\r\n"), ""],
      ["with an escape sequence", ok("say=\u001b]0;owned\u0007"), ""],
      ["with a C1 control", ok("say=\u009b31m"), ""],
      ["with DEL", ok("say=\u007f"), ""],
      ["with a session that is no unit", OK_REPLY.replace("authnft-alice-42.scope", "../x"), ""],
      ["with an empty session", OK_REPLY.replace("authnft-alice-42.scope", ""), ""],
      ["with a token of odd letters", OK_REPLY.replace("token-1", "a=b"), ""],
      ["with a value of 513 bytes", ok(`x=${"y".repeat(513)}`), ""],
      ["binary", "\u0001\u0002\u0003", ""],
    ])("%s is no reply", async (_, reply, why) => {
      expectNoAnswer(await session({ reply }), why === "" ? "bytes that are no reply of this version" : why);
    });

    test("ok without a session or a token is no reply", async () => {
      for (const line of ["session", "correlation"]) {
        expectNoAnswer(
          await session({ reply: OK_REPLY.replace(new RegExp(`${line}=.*\n`), "") }),
          "names no session",
        );
      }
    });

    test("a value of 512 bytes is taken whole", async () => {
      const said = "y".repeat(512);
      expect((await session({ reply: REFUSED_REPLY.replace(/say=.*/, `say=${said}`) })).said).toEqual([said]);
    });
  });

  test("the signs of an entry that waits are no part of the reply, and nothing without one", async () => {
    for (const signs of ["w", "w.", "."]) expectOpened(await session({ reply: `${signs}${OK_REPLY}` }));
    expectNoAnswer(await session({ reply: "w." }), "it ended with status 0");
    expectNoAnswer(await session({ reply: `${OK_REPLY}.` }), "no reply of this version");
  });

  describe("helper", () => {
    test("missing: the session is refused", async () => {
      expectNoAnswer(await session({ plan: null }), "is not there");
    });

    test("crashing: the session is refused and the signal is named", async () => {
      expectNoAnswer(await session({ plan: "kill 11\n" }), "killed by signal 11");
      expectNoAnswer(
        await session({ plan: "kill 31\n" }),
        "killed by a filter of system calls (SIGSYS), its own",
      );
    });

    test("crashing after its reply: the reply counts", async () => {
      expectOpened(await session({ plan: "reply 0\nkill 9\n" }));
    });

    test("ending without a word: the session is refused and the status is named", async () => {
      expectNoAnswer(await session({ plan: "exit 7\n" }), "it ended with status 7");
    });

    test("hanging: killed at the deadline, and the session is refused", async () => {
      const hung = await session({ plan: "sleep 30000\n" });
      expectNoAnswer(hung, `did not answer within ${DEADLINE_MS} ms`);
      expect(hung.calls[0]?.ms).toBeGreaterThanOrEqual(DEADLINE_MS);
      expect(hung.calls[0]?.ms).toBeLessThan(DEADLINE_MS + 1500);
    });

    test("hanging in the middle of its reply: the session is refused", async () => {
      expectNoAnswer(
        await session({ plan: "reply 0\nsleep 30000\n", reply: OK_REPLY.slice(0, 20) }),
        "did not answer within",
      );
    });

    test("hanging after its reply and its end of file: the reply counts, the process goes", async () => {
      expectOpened(await session({ plan: "reply 0\nclose 0\nsleep 30000\n" }));
    });

    test("closing its output without a word and hanging: refused before the deadline, the process goes", async () => {
      expectNoAnswer(await session({ plan: "close 0\nsleep 30000\n" }), "it ended without a word");
    });

    test("leaving a process that holds its output: nobody waits for that one", async () => {
      const opened = await session({ plan: "reply 0\nlinger 3000\n" });
      expectOpened(opened);
      expect(opened.calls[0]?.ms).toBeLessThan(1000);
    });

    test("slow but within the deadline: the session opens", async () => {
      const opened = await session({ plan: "sleep 300\nreply 0\n" });
      expectOpened(opened);
      expect(opened.calls[0]?.ms).toBeGreaterThanOrEqual(300);
    });

    test("is given no environment, three descriptors, a session of its own, no mask, default dispositions", async () => {
      await session({
        env: { LD_PRELOAD: "", SECRET: "x", BUN_OPTIONS: "--preload=/x" },
        words: ["env:PAM_USER=root", "open"],
      });
      const { seen } = harness;
      expect(seen.get("arg")).toEqual(["authnft", "session", "in-turn"]);
      expect(seen.get("env")).toBeUndefined();
      expect([...seen.keys()].filter((key) => key.startsWith("fd-"))).toEqual(["fd-0", "fd-1", "fd-2"]);
      expect(seen.get("fd-0")?.[0]).toStartWith("pipe:");
      expect(seen.get("fd-1")?.[0]).toStartWith("pipe:");
      expect(seen.get("fd-2")).toEqual(["/dev/null"]);
      expect(seen.get("session-leader")).toEqual(["yes"]);
      for (const set of ["SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"])
        expect(seen.get(set)).toEqual(["0".repeat(16)]);
      expect(seen.get("directory")).toEqual(["/"]);
    });

    test("is given the same by a host without descriptors 0, 1 and 2", async () => {
      const opened = await session({
        words: ["closed=0", "closed=1", ...(build === "sanitized" ? [] : ["closed=2"]), "open"],
      });
      expectOpened(opened);
      expect([...harness.seen.keys()].filter((key) => key.startsWith("fd-"))).toEqual([
        "fd-0",
        "fd-1",
        "fd-2",
      ]);
      expect(harness.request["user"]).toBe("alice");
    });

    test.each(["ignore", "handler", "thread"])(
      "SIGCHLD %s in the host: opens, refuses, kills just the same",
      async (how) => {
        const words = [`sigchld=${how}`, "open"];
        expectOpened(await session({ words }));
        expectNoAnswer(await session({ words, reply: "no" }), "no reply of this version");
        expectNoAnswer(await session({ words, plan: null }), /is not there|without a word|ended with status/);
        expectNoAnswer(await session({ words, plan: "kill 11\n" }), /killed by signal 11|without a word/);
        expectNoAnswer(await session({ words, plan: "sleep 30000\n" }), "did not answer within");
      },
    );

    test("Ctrl-C and Ctrl-Z as fast as one can press them do not reach it", async () => {
      const opened = await session({ words: ["storm=4000", "cycles=60"], plan: "quick\nsleep 2\nreply 0\n" });
      expect(opened.facts.get("cycles")).toBe("60 failures 0");
      expect(opened.logs).toEqual([]);
      expect(opened.facts.get("signals")).toMatch(/^int [1-9]\d* tstp [1-9]/);
      expectNothingLeft(opened);
    });

    test("a signal that arrives while it is waited for is the host's, afterwards", async () => {
      const opened = await session({ words: ["interrupt=100", "open"], plan: "sleep 300\nreply 0\n" });
      expectOpened(opened);
      expect(opened.facts.get("signals")).toMatch(/^int 1 tstp 0/);
      expect(opened.calls[0]?.ms).toBeGreaterThanOrEqual(300);
    });

    // ENOSYS: valgrind, old kernels. EPERM: a seccomp filter of the host's.
    test.each([38, 1])("without clone3 (errno %d) fork does the same", async (errno) => {
      const words = [`clone3=${errno}`, "open"];
      expectOpened(await session({ words }));
      expect(harness.seen.get("session-leader")).toEqual(["yes"]);
      expectNoAnswer(await session({ words, plan: "sleep 30000\n" }), "did not answer within");
      expectOpened(await session({ words: ["sigchld=ignore", ...words] }));
      expectOpened(await session({ words: ["sigchld=thread", ...words] }));
      expectNoAnswer(await session({ words, plan: null }), "is not there");
    });
  });

  describe("request", () => {
    test("says who, what and where, byte for byte", async () => {
      const opened = await session({
        args: "rhost_policy=strict claims_env=CLAIMS debug",
        words: [
          "rhost=192.0.2.7",
          "tty=ssh",
          "ruser=eve",
          "env:CLAIMS=123",
          "env:AUTHNFT_CORRELATION=abc",
          "env:OTHER=x",
          "open",
        ],
      });
      expect(harness.requestText).toBe(
        '{"v":1,"type":"open","user":"alice","uid":1000,"gid":1000,"service":"sshd","rhost":"192.0.2.7","tty":"ssh",' +
          `"ruser":"eve","pid":${opened.facts.get("pid")},"args":["rhost_policy=strict","claims_env=CLAIMS","debug"],` +
          '"env":{"AUTHNFT_CORRELATION":"abc","CLAIMS":"123"},"session":"","groups":[]}',
      );
    });

    test("tells those groups of the user that there are fragments for, and asks only where there are fragments", async () => {
      const groups = async (...words: string[]) => {
        const { facts } = await session({ words: [...words, "open"] });
        return { asked: facts.get("asked"), told: (harness.request as { groups?: string[] }).groups };
      };
      try {
        mkdirSync(harness.path("groups"));
        writeFileSync(harness.path("groups/.hidden"), "");
        writeFileSync(harness.path("groups/staff~"), "");
        for (const file of [
          "domain users",
          "DOM\\users",
          "a\\x2db",
          "a\\x61",
          "\\xff",
          "a\\x00b",
          "a\\x5C",
          "\\_x",
          "-x",
          "ü",
        ])
          writeFileSync(harness.path(`groups/${file}`), "");
        expect(await groups()).toEqual({ asked: "person 0 group 0 list 0", told: [] });
        writeFileSync(harness.path("groups/staff"), "");
        const files = ["DOM\\x5cdomain\\x20users", "\\x2dx", "\\xc3\\xbc", "a-b", "g".repeat(255)];
        for (const file of files) writeFileSync(harness.path(`groups/${file}`), "");
        const all = await groups("nss:group=50:", "nss:list=50");
        expect(all.asked).toBe("person 0 group 6 list 1");
        expect(all.told?.toSorted()).toEqual([...files, "staff"].toSorted());
        expect((await groups("nss:group=51:", "nss:list=50")).told).toEqual([]);
        expect((await groups("nss:group=none", "nss:list=50")).told).toEqual([]);
        // Not to know is not "no": left out, so that only a fragment of the user's own will do.
        expect((await groups("nss:group=error:5", "nss:list=50")).told).toBeUndefined();
        expect((await groups("nss:group=50:", "nss:list=fail")).told).toBeUndefined();
        rmSync(harness.path("groups"), { recursive: true });
        writeFileSync(harness.path("groups"), "");
        expect((await groups()).told).toBeUndefined();
      } finally {
        rmSync(harness.path("groups"), { recursive: true, force: true });
      }
    });

    test("tells the internet sockets of the process under rhost_policy=kernel, and no others", async () => {
      const told = async (args: string) => {
        const { facts } = await session({ args, words: ["sockets=3", "open"] });
        return { sockets: (harness.request as { sockets?: number[] }).sockets, made: facts.get("sockets") };
      };
      const { sockets, made } = await told("rhost_policy=kernel");
      expect(sockets?.join(" ")).toBe(made as string);
      expect((await told("")).sockets).toBeUndefined();
    });

    test("has empty strings for what PAM does not know, and no variables that are not set", async () => {
      await session({ args: "claims_env=CLAIMS" });
      expect(harness.request).toMatchObject({
        rhost: "",
        tty: "",
        ruser: "",
        env: {},
        args: ["claims_env=CLAIMS"],
      });
    });

    test("escapes quotes, backslashes, controls, and of other bytes those that are no text", async () => {
      await session({ words: ['rhost=a"b\\c\n\t\u0001\u007f', "ruser=é“𝒟\u0080", "open"] });
      expect(harness.requestText).toContain('"rhost":"a\\"b\\\\c\\u000a\\u0009\\u0001\\u007f"');
      expect(harness.requestText).toContain('"ruser":"é“𝒟\u0080"');
      expect(harness.request["rhost"]).toBe('a"b\\c\n\t\u0001\u007f');
      expect(harness.requestText.replaceAll("\u0080", "")).toMatch(/^\P{Cc}*$/u);
    });

    test("names a variable once, whichever way it is asked for", async () => {
      await session({
        args: "claims_env=AUTHNFT_CORRELATION",
        words: ["env:AUTHNFT_CORRELATION=abc", "open"],
      });
      expect(harness.requestText).toContain('"env":{"AUTHNFT_CORRELATION":"abc"}');
    });

    test("cuts what the user may have written, however long: it does not change the outcome", async () => {
      const long = "\u0001".repeat(20_000);
      const opened = await session({
        args: "claims_env=CLAIMS",
        words: [`env:CLAIMS=${long}`, `env:AUTHNFT_CORRELATION=${long}`, "open"],
      });
      expect(codes(opened)).toEqual([PAM_SUCCESS]);
      expect(harness.request["env"]).toEqual({
        AUTHNFT_CORRELATION: "\u0001".repeat(256),
        CLAIMS: "\u0001".repeat(256),
      });
    });

    test("that would be longer than 8192 bytes is never sent: the session is refused", async () => {
      expectNoAnswer(
        await session({ words: [`ruser=${"h".repeat(9000)}`, "open"] }),
        "longer than 8192 bytes",
      );
      expect(harness.started).toBe(false);
    });

    test("with debug, the shim logs what came of it", async () => {
      const opened = await session({ args: "debug" });
      expect(opened.logs).toEqual([
        { level: LOG_DEBUG, text: expect.stringMatching(/: open: the helper replied "ok" after \d+ ms$/) },
      ]);
    });
  });

  describe("who is affected", () => {
    const nobodyAsked = "person 0 group 0 list 0";

    function expectUntouched(passed: Session): void {
      expect(codes(passed)).toEqual([PAM_SUCCESS]);
      expect(harness.started).toBe(false);
      expect(passed.said).toEqual([]);
      expect(passed.env).toEqual([]);
      expect(harness.networkTaken).toBe(false);
      expectNothingLeft(passed);
    }

    function expectUnknown(refused: Session): void {
      expect(codes(refused)).toEqual([PAM_PERM_DENIED]);
      expect(harness.started).toBe(false);
      expect(refused.logs).toHaveLength(1);
      expect(refused.logs[0]).toEqual({ level: LOG_ERR, text: expect.stringContaining("cannot look up") });
      expect(refused.said[0]).toContain("the user database does not say");
      expect(harness.networkTaken).toBe(true);
      expectNothingLeft(refused);
    }

    test("a member in the local group file: nobody else is asked", async () => {
      const opened = await session({ words: ["nss:person=error:5", "nss:group=error:5", "open"] });
      expectOpened(opened);
      expect(opened.facts.get("asked")).toBe(nobodyAsked);
    });

    test("a member by primary group in the local files: nobody else is asked", async () => {
      const opened = await session({ user: "carol" });
      expect(codes(opened)).toEqual([PAM_SUCCESS]);
      expect(opened.facts.get("asked")).toBe(nobodyAsked);
      expect(harness.request).toMatchObject({ user: "carol", uid: 1002, gid: 900 });
    });

    test("root: not even the name service is asked, and no helper is there", async () => {
      const passed = await session({ user: "root", plan: null, words: ["open", "close"] });
      expect(codes(passed)).toEqual([PAM_SUCCESS, PAM_SUCCESS]);
      expect(passed.logs).toEqual([]);
      expect(passed.facts.get("asked")).toBe(nobodyAsked);
    });

    test("another name of uid 0: passes, even as a member", async () => {
      expectUntouched(await session({ user: "toor", group: "authnft:x:900:toor\n" }));
    });

    test("uid 0 from the name service: passes", async () => {
      expectUntouched(
        await session({ user: "admin", words: ["nss:person=admin:0:900", "nss:group=900:admin", "open"] }),
      );
    });

    test("root by name when the name service fails: passes", async () => {
      expectUntouched(await session({ user: "root", passwd: "", words: ["nss:person=error:5", "open"] }));
    });

    test("no member: passes, with and without a helper, at open and at close", async () => {
      const passed = await session({
        user: "bob",
        plan: null,
        words: ["nss:group=900:alice", "open", "close"],
      });
      expect(codes(passed)).toEqual([PAM_SUCCESS, PAM_SUCCESS]);
      expect(passed.logs).toEqual([]);
      expectUntouched(await session({ user: "bob", words: ["nss:group=900:alice", "open"] }));
    });

    test("a user that the name service does not know: passes", async () => {
      expectUntouched(await session({ user: "nobody-knows" }));
    });

    test("a user of the name service, member in the local group file", async () => {
      const opened = await session({ user: "zoe", words: ["nss:person=zoe:5000:5000", "open"] });
      expect(codes(opened)).toEqual([PAM_SUCCESS]);
      expect(harness.request).toMatchObject({ user: "zoe", uid: 5000, gid: 5000 });
      expect(opened.facts.get("asked")).toBe("person 1 group 0 list 0");
    });

    test("a local user, member in the name service's group", async () => {
      await session({ user: "bob", group: "", words: ["nss:group=7000:x,bob,y", "open"] });
      expect(harness.request).toMatchObject({ user: "bob", uid: 1001 });
    });

    test("a user of the name service, member by primary group", async () => {
      await session({
        user: "dan",
        group: "",
        words: ["nss:person=dan:6000:7000", "nss:group=7000:", "open"],
      });
      expect(harness.request).toMatchObject({ user: "dan", gid: 7000 });
    });

    test("a user whose membership only getgrouplist knows", async () => {
      const words = ["nss:person=dan:6000:6000", "nss:group=7000:", "nss:list=1,2,7000", "open"];
      const opened = await session({ user: "dan", group: "", words });
      expect(codes(opened)).toEqual([PAM_SUCCESS]);
      expect(harness.request["user"]).toBe("dan");
      expect(opened.facts.get("asked")).toBe("person 1 group 1 list 1");
    });

    test("a user of a thousand groups, one of them ours", async () => {
      const many = Array.from({ length: 1000 }, (_, i) => 10_000 + i).join(",");
      const words = ["nss:group=7000:", `nss:list=${many},7000`, "open"];
      await session({ user: "bob", group: "", words });
      expect(harness.request["user"]).toBe("bob");
      expectUntouched(
        await session({ user: "bob", group: "", words: ["nss:group=7000:", `nss:list=${many}`, "open"] }),
      );
    });

    test("a group of ten thousand, the last of them the user", async () => {
      const many = Array.from({ length: 10_000 }, (_, i) => `user${i}`).join(",");
      const opened = await session({ group: `big:x:1:${many}\nauthnft:x:900:${many},alice\n` });
      expectOpened(opened);
      await session({ user: "bob", group: "", words: [`nss:group=900:${many},bob`, "open"] });
      expect(harness.request["user"]).toBe("bob");
    });

    describe("a uid with several names", () => {
      const PASSWD =
        "root:x:0:0::/:/bin/sh\nfirst:x:1000:1000::/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\nlast:x:1000:1000::/:/bin/sh\nbob:x:1001:1001::/:/bin/sh\n";
      const alone = { passwd: PASSWD, group: "authnft:x:900:zoe\n", user: "bob" };

      test.each(["first", "last"])(
        "is a member's by any that the local files have, %s: nobody else is asked",
        async (user) => {
          for (const [passwd, group] of [
            [PASSWD, "authnft:x:900:alice\n"],
            [PASSWD.replace("alice:x:1000:1000", "alice:x:1000:900"), "authnft:x:900:\n"],
          ] as const) {
            const opened = await session({ user, passwd, group });
            expect(codes(opened)).toEqual([PAM_SUCCESS]);
            expect(opened.facts.get("asked")).toBe(nobodyAsked);
            expect(harness.request).toMatchObject({ type: "open", user, uid: 1000 });
          }
          expectUntouched(await session({ user: "bob", passwd: PASSWD, group: "authnft:x:900:alice\n" }));
        },
      );

      test("is a member's by what the name service says of any local one", async () => {
        const local = { user: "first", passwd: PASSWD, group: "" };
        await session({ ...local, words: ["nss:group=7000:alice", "open"] });
        expect(harness.request).toMatchObject({ user: "first" });
        await session({ ...local, words: ["nss:group=7000:", "nss:list-of=last:7000", "open"] });
        expect(harness.request).toMatchObject({ user: "first" });
        expectUntouched(
          await session({
            ...local,
            user: "bob",
            words: ["nss:group=7000:", "nss:list-of=last:7000", "open"],
          }),
        );
      });

      test("is a member's by the one that the name service has for it", async () => {
        const words = ["nss:group=900:zoe", "nss:uid=zoe:1001:1001", "open"];
        await session({ ...alone, words });
        expect(harness.request).toMatchObject({ user: "bob", uid: 1001 });
        expectUntouched(
          await session({ ...alone, words: ["nss:group=900:zoe", "nss:uid=zed:1001:1001", "open"] }),
        );
      });

      test("is a member's by that of a member whom only the name service knows", async () => {
        await session({ ...alone, words: ["nss:person=zoe:1001:1001", "nss:group=none", "open"] });
        expect(harness.request).toMatchObject({ user: "bob", uid: 1001 });
        expectUntouched(
          await session({ ...alone, words: ["nss:person=zoe:1002:1001", "nss:group=none", "open"] }),
        );
      });

      test("no more than 64 members are asked for, none whom the local file knows, and none after one of whom nothing is to be had", async () => {
        const far = Array.from({ length: 200 }, (_, i) => `far${i}`).join(",");
        const near = Array.from({ length: 200 }, (_, i) => `near${i}`);
        const here = near.map((name, i) => `${name}:x:${20_000 + i}:1::/:/bin/sh\n`).join("");
        const asked = async (names: string, ...words: string[]) => {
          const passed = await session({
            ...alone,
            passwd: `${PASSWD}${here}`,
            group: `authnft:x:900:${names}\n`,
            words: [...words, "open"],
          });
          expectUntouched(passed);
          return passed.facts.get("asked");
        };
        // One more each: the name of the user's number.
        expect(await asked(far)).toBe("person 65 group 2 list 1");
        expect(await asked(near.join(","))).toBe("person 1 group 2 list 1");
        expect(await asked(`${near.join(",")},far`)).toBe("person 2 group 2 list 1");
        expect(await asked(far, "nss:person=error:5")).toBe("person 2 group 2 list 1");
        // A user database that is slow is not asked about others.
        expect(await asked(far, "nss:person=slow:300")).toBe("person 2 group 2 list 1");
      });
    });

    test("a group of our name that a local one hides: its members are members, and a failure to tell keeps nobody out", async () => {
      const group = "authnft:x:900:\nstaff:x:50:\n";
      const bob = { user: "bob", group };
      await session({ ...bob, words: ["nss:list=50,7000", "nss:gid=authnft:7000", "open"] });
      expect(harness.request).toMatchObject({ user: "bob" });
      expectUntouched(await session({ ...bob, words: ["nss:list=50,7000", "nss:gid=others:7000", "open"] }));
      expectUntouched(await session({ ...bob, words: ["nss:list=50,7000", "nss:gid=error:5", "open"] }));
      // Nobody is asked for what the local file has a name for; the user's own group is the one that it has not.
      const passed = await session({ ...bob, words: ["nss:list=50,50,900", "open"] });
      expect(codes(passed)).toEqual([PAM_SUCCESS]);
      const { facts } = await session({ ...bob, words: ["nss:list=50,50", "open"] });
      expect(facts.get("asked")).toBe("person 1 group 2 list 1");
    });

    test("a group that PAM gave the process counts, one that the process inherited does not", async () => {
      const bob = { user: "bob", group: "authnft:x:900:\n" };
      await session({ ...bob, words: ["groups=900", "open"] });
      expect(harness.request).toMatchObject({ user: "bob" });
      expectUntouched(await session({ ...bob, words: ["groups=901", "open"] }));
      const under = ["setpriv", "--groups", "900", "sh", "-c", '"$0" "$@"; exit $?'];
      expectUntouched(await session({ ...bob, under }));
    });

    test("the name that is handed on is the name service's, not the application's spelling", async () => {
      await session({ user: "ALICE@EXAMPLE", words: ["nss:person=alice:1000:1000", "open"] });
      expect(harness.request["user"]).toBe("alice");
    });

    test("the group being absent: nobody is a member, with one warning", async () => {
      const passed = await session({ user: "bob", group: "users:x:100:\n", words: ["open", "close"] });
      expect(codes(passed)).toEqual([PAM_SUCCESS, PAM_SUCCESS]);
      expect(passed.logs).toEqual([
        { level: LOG_WARNING, text: expect.stringContaining("there is no group authnft") },
      ]);
      expect(harness.started).toBe(false);
    });

    test.each([
      ["the user", { user: "dan", words: ["nss:person=error:5", "open"] }],
      ["the user, with 'not found' as an error", { user: "dan", words: ["nss:person=error:2", "open"] }],
      ["the group", { user: "bob", group: "", words: ["nss:group=error:110", "open"] }],
      ["a user without end of groups", { user: "bob", words: ["nss:group=900:", "nss:list=fail", "open"] }],
      ["an empty user name", { user: "", words: ["open"] }],
    ] satisfies [string, SessionOptions][])(
      "a look-up of %s that fails is no 'no': refused",
      async (_, options) => {
        expectUnknown(await session(options));
      },
    );

    test("a caller who lowers the limit of descriptors does not become a non-member, and a non-member passes", async () => {
      // The name service of this system says "no such user" then. The call before makes libpam load the module.
      for (const [user, limit] of [
        ["alice", 3],
        ["alice", 12],
        ["bob", 3],
        ["bob", 12],
      ] as const) {
        const words = [
          "nss:person=real",
          "nss:group=900:",
          "nss:list=real",
          "close",
          `limit:nofile=${limit}`,
          "open",
        ];
        const asked = await session({ user, words });
        expect(asked.logs.filter(({ text }) => text.includes("cannot look up"))).toEqual([]);
        // libpam cannot write its audit record with 3, and makes a failure of its own out of our success.
        const passed = asked.calls[1]?.code === PAM_SUCCESS;
        if (user === "alice") expect(passed).toBe(harness.requestText.includes('"type":"open"'));
        else
          expect({ passed: passed || limit === 3, started: harness.started }).toEqual({
            passed: true,
            started: false,
          });
      }
    });

    test("root passes whatever the limits are", async () => {
      for (const passwd of [undefined, ""]) {
        const options: SessionOptions = passwd === undefined ? {} : { passwd };
        const passed = await session({
          ...options,
          user: "root",
          words: ["close", "limit:nofile=3", "open"],
        });
        expect(passed.logs.filter(({ text }) => text.includes("authnft"))).toEqual([]);
        expect(harness.started).toBe(false);
      }
    });

    test("a look-up that takes longer than a second is logged with its time", async () => {
      const passed = await session({ user: "dan", words: ["nss:person=slow:1100", "open"] });
      expect(codes(passed)).toEqual([PAM_SUCCESS]);
      expect(passed.logs).toEqual([
        { level: LOG_WARNING, text: expect.stringMatching(/took 1[1-9]\d\d ms/) },
      ]);
    });

    test("the user manager's own session: nothing happens", async () => {
      const passed = await session({ service: "systemd-user", words: ["open", "close"] });
      expect(codes(passed)).toEqual([PAM_SUCCESS, PAM_SUCCESS]);
      expect(harness.started).toBe(false);
    });
  });

  describe("close", () => {
    test("tells the helper what open left in the PAM data, and asks nobody else", async () => {
      const closed = await session({
        user: "dan",
        group: "",
        words: [
          "nss:person=dan:6000:7000",
          "nss:group=7000:",
          "open",
          "nss:person=error:5",
          "nss:group=none",
          "close",
        ],
      });
      expect(codes(closed)).toEqual([PAM_SUCCESS, PAM_SUCCESS]);
      expect(harness.request).toMatchObject({
        type: "close",
        user: "dan",
        uid: 6000,
        gid: 7000,
        session: "authnft-alice-42.scope",
      });
      expect(closed.facts.get("asked")).toBe("person 1 group 1 list 0");
      expectNothingLeft(closed);
    });

    test("does not take the session from the PAM environment", async () => {
      await session({ words: ["env:AUTHNFT_SESSION=authnft-mallory-1.scope", "close"] });
      expect(harness.request).toMatchObject({ type: "close", user: "alice", session: "" });
    });

    test.each([
      ["missing", { plan: null }],
      ["crashing", { plan: "kill 11\n" }],
      ["talking nonsense", { reply: "nonsense" }],
      ["hanging", { plan: "sleep 30000\n" }],
    ] satisfies [string, SessionOptions][])(
      "succeeds with the helper %s, and logs it",
      async (_, options) => {
        const closed = await session({ ...options, words: ["close"] });
        expect(codes(closed)).toEqual([PAM_SUCCESS]);
        expect(closed.said).toEqual([]);
        expect(closed.logs).toEqual([
          { level: LOG_WARNING, text: expect.stringContaining("end of session: no answer") },
        ]);
        expect(harness.networkTaken).toBe(false);
        expectNothingLeft(closed);
      },
    );

    test("asks once more where the helper was killed, which may have been in the middle of its work", async () => {
      const once = await session({ plan: "next 0\nkill 9\n", next: "reply 0\n", words: ["close"] });
      expect(once.logs).toEqual([]);
      expect(harness.request).toMatchObject({ type: "close", user: "alice" });
      expectNothingLeft(once);
      const never = await session({ plan: "next 0\nkill 9\n", next: "kill 11\n", words: ["close"] });
      expect(never.logs.map(({ text }) => text)).toEqual([expect.stringContaining("killed by signal 11")]);
    });

    test("succeeds when the helper refuses, and when the name service fails", async () => {
      expect(codes(await session({ reply: REFUSED_REPLY, words: ["close"] }))).toEqual([PAM_SUCCESS]);
      const unknown = await session({ user: "dan", words: ["nss:person=error:5", "close"] });
      expect(codes(unknown)).toEqual([PAM_SUCCESS]);
      expect(harness.networkTaken).toBe(false);
    });
  });

  describe("cgroups", () => {
    const inside = () => inCgroup(harness.cgroups);
    const startedIn = (path: string) => [
      ...inside(),
      "sh",
      "-c",
      'mkdir -p "$0" && echo 0 >"$0/cgroup.procs" && exec "$@"',
      `${harness.cgroups}${path}`,
    ];

    test("the helper is born in systemd's own cgroup, not in the caller's", async () => {
      const opened = await session({ under: startedIn("/authnft.slice/authnft-alice-1.scope") });
      expectOpened(opened);
      expect(harness.seen.get("cgroup")).toEqual(["/init.scope"]);
      expect(opened.facts.get("cgroup")).toBe("/authnft.slice/authnft-alice-1.scope");
    });

    test("where there is no such cgroup, the helper starts all the same", async () => {
      const under = [...inside(), "sh", "-c", 'rmdir "$0/init.scope" && exec "$@"', harness.cgroups];
      expectOpened(await session({ under }));
      expect(harness.seen.get("cgroup")).toEqual(["/"]);
    });

    test("without a reply the process is moved to where there is no network", async () => {
      const refused = await session({ under: inside(), reply: "no" });
      expect(codes(refused)).toEqual([PAM_PERM_DENIED]);
      expect(refused.facts.get("cgroup")).toBe("/authnft.slice/run-authnft-refused.mount");
    });

    test("refused where it stood, outside the slice: moved", async () => {
      const refused = await session({ under: inside(), reply: REFUSED_REPLY });
      expect(refused.facts.get("cgroup")).toBe("/authnft.slice/run-authnft-refused.mount");
    });

    test("refused after the helper moved it below the slice: left there", async () => {
      await Bun.write(harness.path("cgroup-target"), "");
      const target = "/authnft.slice/authnft-alice-7.scope";
      const under = [
        ...inside(),
        "sh",
        "-c",
        'printf %s "$1" >"$0" && shift && exec "$@"',
        harness.path("cgroup"),
        `${harness.cgroups}${target}`,
      ];
      const refused = await session({ under, plan: "move 0\nreply 0\n", reply: REFUSED_REPLY });
      expect(codes(refused)).toEqual([PAM_PERM_DENIED]);
      expect(refused.facts.get("cgroup")).toBe(target);
    });

    test("refused inside the living scope of somebody else's session: moved out of it", async () => {
      const refused = await session({
        under: startedIn("/authnft.slice/authnft-bob-1.scope"),
        reply: REFUSED_REPLY,
      });
      expect(refused.facts.get("cgroup")).toBe("/authnft.slice/run-authnft-refused.mount");
    });

    test("where it cannot be moved, that is logged as critical", async () => {
      const under = [...inside(), "sh", "-c", 'rmdir "$0/authnft.slice" && exec "$@"', harness.cgroups];
      const refused = await session({ under, reply: REFUSED_REPLY });
      expect(codes(refused)).toEqual([PAM_PERM_DENIED]);
      expect(refused.logs).toEqual([
        { level: LOG_CRIT, text: expect.stringContaining("cannot move the refused session") },
      ]);
      expect(refused.said).toHaveLength(1);
    });
  });
});

describe("shim, with this system's own name service", () => {
  // In a mount namespace of its own, over the real files: the host's stay as they are.
  const withFiles = (): readonly string[] => [
    "unshare",
    "--mount",
    "sh",
    "-c",
    'for file in passwd group nsswitch.conf; do mount --bind "$0/etc-$file" "/etc/$file" || exit 1; done; rm "$0/passwd" "$0/group"; exec "$@"',
    harness.directory,
  ];
  const real = ["nss:person=real", "nss:group=real", "nss:list=real", "open"];

  test.each([
    ["alice", 1],
    ["carol", 1],
    ["bob", 0],
    ["root", 0],
    ["toor", 0],
    ["nobody-knows", 0],
  ])("%s starts the helper: %d", async (user, starts) => {
    await Bun.write(
      harness.path("etc-passwd"),
      "root:x:0:0::/:/bin/sh\ntoor:x:0:0::/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\nbob:x:1001:1001::/:/bin/sh\ncarol:x:1002:900::/:/bin/sh\n",
    );
    await Bun.write(harness.path("etc-group"), "authnft:x:900:alice\n");
    await Bun.write(harness.path("etc-nsswitch.conf"), "passwd: files\ngroup: files\n");
    const session = await harness.session({ under: withFiles(), user, words: real });
    expect(codes(session)).toEqual([PAM_SUCCESS]);
    expect(harness.started).toBe(starts === 1);
    expectNothingLeft(session);
  });

  // Not under the sanitisers, which take terabytes of address space.
  test("a caller who lowers the limit of memory does not become a non-member, and a non-member passes", async () => {
    const passed = await harness.session({
      user: "bob",
      words: ["nss:group=900:", "close", "limit:spare=1000000", "open"],
    });
    expect(codes(passed)).toEqual([PAM_SUCCESS, PAM_SUCCESS]);
    expect(harness.started).toBe(false);
    expect(passed.logs).toEqual([]);
  });
});

describe("shim, thousands of times in one process", () => {
  test.each([
    ["gcc", 2000],
    ["clang", 200],
  ] as [Build, number][])(
    "%s: %d opens and closes, a tenth of them with a handle of their own, leave nothing",
    async (build, count) => {
      const words = [`cycles=${count}`, `handles=${count / 10}`];
      const session = await harness.session({ build, plan: QUICK, words });
      expect(session.facts.get("cycles")).toBe(`${count} failures 0`);
      expect(session.facts.get("handles")).toBe(`${count / 10} failures 0`);
      expectNothingLeft(session);
    },
  );

  test("2000 opens and closes under the address and undefined behaviour sanitisers", async () => {
    const session = await harness.session({
      build: "sanitized",
      plan: QUICK,
      words: ["cycles=2000", "handles=100"],
    });
    expect(session.facts.get("cycles")).toBe("2000 failures 0");
    expect(session.facts.get("handles")).toBe("100 failures 0");
    expectNothingLeft(session);
  });

  test("2000 opens and closes under valgrind", async () => {
    const session = await soak;
    expect(session.facts.get("cycles")).toBe("2000 failures 0");
    expect(session.facts.get("handles")).toBe("10 failures 0");
    expectNothingLeft(session);
  });

  test("every outcome under valgrind", async () => {
    const words = [...UNDER_VALGRIND, "open", "close", "open", "close"];
    const outcomes: SessionOptions[] = [
      {},
      { reply: REFUSED_REPLY },
      { reply: "garbage" },
      { plan: null },
      { plan: "kill 11\n" },
      { plan: "sleep 30000\n", build: "gcc" },
      { user: "bob" },
      { user: "root" },
      { user: "dan", words: ["nss:person=error:5", ...words] },
      { user: "bob", words: ["nss:group=900:x", "nss:list=fail", ...words] },
    ];
    for (const outcome of outcomes) {
      expectNothingLeft(await harness.session({ build: "patient", words, under: VALGRIND, ...outcome }));
    }
  });
});

describe("a turn", () => {
  const turns = () => harness.path("lock/turns");
  const held = (count: number): string => `turns=${turns()}:${count}`;

  test("is there while fewer than eight log in, and goes with the helper", async () => {
    const opened = await harness.session({
      build: "chain",
      words: [held(7), "open", "close", "open", "close"],
    });
    expect(codes(opened)).toEqual(Array(4).fill(PAM_SUCCESS));
    for (const { ms } of opened.calls) expect(ms).toBeLessThan(TURN_S * 1000);
    expectNothingLeft(opened);
    expect(harness.seen.get("arg")).toEqual(["authnft", "session", "in-turn"]);
  });

  test("is waited for while eight do, before the helper's own time begins, and not for ever", async () => {
    const late = await harness.session({ build: "chain", words: [held(8), "open", "close"] });
    expect(codes(late)).toEqual([PAM_SUCCESS, PAM_SUCCESS]);
    for (const { ms } of late.calls) expect(ms).toBeGreaterThanOrEqual(TURN_S * 1000);
    expectNothingLeft(late);
    expect(harness.seen.get("arg")).toEqual([
      "authnft",
      "session",
      "in-turn",
      expect.stringMatching(/^since=\d+$/),
    ]);
    const hung = await harness.session({ build: "chain", words: [held(8), "open"], plan: "sleep 30000\n" });
    expect(hung.calls[0]?.ms).toBeGreaterThanOrEqual(TURN_S * 1000 + DEADLINE_MS);
    expect(hung.logs[0]?.text).toContain("did not answer within");
  });

  test.each([
    ["where its file cannot be made", "mkdir"],
    ["where somebody has put a link there", "ln -s elsewhere"],
  ])("is done without %s", async (_, command) => {
    rmSync(turns(), { recursive: true, force: true });
    await run([...command.split(" "), turns()]);
    expect(codes(await harness.session({ build: "chain" }))).toEqual([PAM_SUCCESS]);
    rmSync(turns(), { recursive: true });
  });
});

describe.each(["gcc", "clang"])("entry (%s)", (cc) => {
  const entry = (words: readonly string[], args: readonly string[] = [], under: readonly string[] = []) =>
    harness.entry(words, args, { cc, under });
  const fixed = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C", "TMPDIR=/run/authnft", "BUN_JSC_useJIT=0"];
  const hostile = [
    "LD_PRELOAD=/home/bob/p.so",
    "LD_LIBRARY_PATH=/home/bob",
    "LD_AUDIT=/home/bob/a.so",
    "GLIBC_TUNABLES=glibc.malloc.check=3",
    "GCONV_PATH=/home/bob",
    "LOCPATH=/home/bob",
    "BUN_BE_BUN=1",
    "BUN_OPTIONS=--preload=/home/bob/p.js",
    "NODE_OPTIONS=--require /home/bob/p.js",
    "TMPDIR=/home/bob",
    "PATH=/home/bob",
    "HOME=/home/bob",
    "AUTHNFT_NO_SANDBOX=1",
    "AUTHNFT_PAM_USER=root",
    "AUTHNFT_PAM_ENV_CLAIMS=1",
    "PAM_SERVICE=cron",
    "PAM_USER=root",
    "PAM_RHOST=127.0.0.1",
    "PAM_TYPE=close_session",
  ].map((variable) => `env:${variable}`);
  const block = [
    "PAM_SERVICE=sshd",
    "PAM_USER=alice",
    "PAM_TTY=ssh",
    "PAM_RHOST=192.0.2.7",
    "PAM_RUSER=",
    "PAM_TYPE=open_session",
  ];
  const fromPamExec = block.map((variable) => `env:${variable}`);
  const renamed = block.map((variable) => `AUTHNFT_${variable}`);

  test("session: the program gets the fixed environment, whatever the caller had", async () => {
    const { exitCode } = await entry(hostile, ["session"]);
    expect(exitCode).toBe(0);
    expect(harness.seen.get("arg")).toEqual(["authnft", "session"]);
    expect(harness.seen.get("env")).toEqual(fixed);
    expect(harness.seen.get("alarm")).toEqual(["12"]);
  });

  test.each(["end", "cover", "restore"])(
    "%s: arguments are handed on unchanged, without an alarm",
    async (verb) => {
      const args = [verb, "authnft-alice-42.scope", "-x", "", "claims_env=A"];
      await entry([...hostile, "env:A=1", "env:NOTIFY_SOCKET=/run/x"], args);
      expect(harness.seen.get("arg")).toEqual(["authnft", ...args]);
      // "cover" asks the name service first, and comes back for the rest.
      expect(harness.seen.get("env")).toEqual(verb === "cover" ? fixed : [...fixed, "AUTHNFT_CONFINED=1"]);
      expect(harness.seen.get("alarm")).toEqual(["0"]);
    },
  );

  test("pam_exec: its own items only, renamed, and the arguments of the PAM line", async () => {
    const args = ["rhost_policy=strict", "debug", "AUTHNFT_NO_SANDBOX=1"];
    await entry([...hostile, ...fromPamExec], args);
    expect(harness.seen.get("arg")).toEqual(["authnft", "pam", ...args]);
    expect(harness.seen.get("env")).toEqual([...fixed, ...renamed]);
    expect(harness.seen.get("alarm")).toEqual(["12"]);
  });

  test("traced: before a verb and by hand, and never of a PAM line", async () => {
    await entry(["env:LD_PRELOAD=/home/bob/p.so"], ["traced", "session"]);
    expect(harness.seen.get("arg")).toEqual(["authnft", "traced", "session"]);
    expect(harness.seen.get("env")).toEqual(fixed);
    expect(harness.seen.get("alarm")).toEqual(["12"]);
    // A supervisor that is stopped must not have it hold the lock for good.
    await entry([], ["traced", "restore"]);
    expect(harness.seen.get("alarm")).toEqual(["60"]);
    // There it is an argument that there is not, and the program refuses the session: also where only the environment says so.
    for (const words of [[...hostile, ...fromPamExec], hostile]) {
      for (const args of [["traced", "session"], ["session", "traced"], ["traced"]]) {
        await entry(words, args);
        expect(harness.seen.get("arg")).toEqual(["authnft", "pam", ...args]);
      }
    }
    expect((await entry([], ["traced"])).exitCode).toBe(2);
    expect((await entry([], ["session", "traced"])).exitCode).toBe(2);
  });

  test("pam_exec: a whole block of the user's before the real one changes nothing", async () => {
    const forged = [
      "PAM_SERVICE=su",
      "PAM_USER=root",
      "PAM_TTY=x",
      "PAM_RHOST=::1",
      "PAM_RUSER=root",
      "PAM_TYPE=close_session",
    ];
    await entry([...forged.map((variable) => `env:${variable}`), ...fromPamExec]);
    expect(harness.seen.get("env")).toEqual([...fixed, ...renamed]);
  });

  test("pam_exec: items that are not set are not made up from the user's", async () => {
    await entry([
      "env:PAM_RHOST=127.0.0.1",
      "env:PAM_TTY=x",
      "env:PAM_SERVICE=sshd",
      "env:PAM_USER=alice",
      "env:PAM_TYPE=open_session",
    ]);
    expect(harness.seen.get("env")).toEqual([
      ...fixed,
      "AUTHNFT_PAM_SERVICE=sshd",
      "AUTHNFT_PAM_USER=alice",
      "AUTHNFT_PAM_TYPE=open_session",
    ]);
  });

  test("pam_exec: token and claims come from the user's part, the first of each, under names of their own", async () => {
    const users = [
      "AUTHNFT_CORRELATION=one",
      "AUTHNFT_CORRELATION=two",
      "CLAIMSX=0",
      "CLAIMS=12=3",
      "CLAIMS=4",
    ];
    await entry([...users.map((variable) => `env:${variable}`), ...fromPamExec], ["claims_env=CLAIMS"]);
    expect(harness.seen.get("env")).toEqual([
      ...fixed,
      ...renamed,
      "AUTHNFT_PAM_ENV_CORRELATION=one",
      "AUTHNFT_PAM_ENV_CLAIMS=12=3",
    ]);
  });

  test("pam_exec: the claims variable is not looked for among pam_exec's own", async () => {
    await entry([...fromPamExec], ["claims_env=PAM_USER"]);
    expect(harness.seen.get("env")).toEqual([...fixed, ...renamed]);
  });

  test("pam_exec: what the user may have written is cut at 256 bytes", async () => {
    await entry(
      [`env:AUTHNFT_CORRELATION=${"x".repeat(5000)}`, `env:C=${"y".repeat(257)}`, ...fromPamExec],
      ["claims_env=C"],
    );
    expect(harness.seen.get("env")?.slice(-2)).toEqual([
      `AUTHNFT_PAM_ENV_CORRELATION=${"x".repeat(256)}`,
      `AUTHNFT_PAM_ENV_CLAIMS=${"y".repeat(256)}`,
    ]);
  });

  test("pam_exec: an item of 4096 bytes passes, a longer one is refused", async () => {
    const withHost = (length: number) =>
      fromPamExec.map((word) =>
        word.startsWith("env:PAM_RHOST=")
          ? `env:PAM_RHOST=${"h".repeat(length - "PAM_RHOST=".length)}`
          : word,
      );
    expect((await entry(withHost(4096))).exitCode).toBe(0);
    expect(
      harness.seen.get("env")?.find((variable) => variable.startsWith("AUTHNFT_PAM_RHOST=")),
    ).toHaveLength("AUTHNFT_".length + 4096);
    const { exitCode, stderr } = await entry(withHost(4097));
    expect(exitCode).toBe(1);
    expect(stderr).toContain("longer than 4096 bytes");
    expect(harness.started).toBe(false);
  });

  test("pam_exec: a block that pam_exec does not write is refused", async () => {
    const words = ["PAM_SERVICE=sshd", "PAM_RHOST=x", "PAM_USER=alice", "PAM_TYPE=open_session"].map(
      (variable) => `env:${variable}`,
    );
    const { exitCode, stderr } = await entry(words);
    expect(exitCode).toBe(1);
    expect(stderr).toContain("not in pam_exec's order");
  });

  test("by hand: a word about it, and status 2", async () => {
    for (const [words, args] of [
      [[], []],
      [[], ["--help"]],
      [["env:PAM_SERVICE=sshd", "env:PAM_TYPE=open_session", "env:SHELL=/bin/sh"], ["debug"]],
      [["uid=65534,65534"], ["doctor"]],
    ] as [string[], string[]][]) {
      const { exitCode, stderr } = await entry(words, args);
      expect(exitCode).toBe(2);
      expect(stderr).toContain("/usr/sbin/authnft");
      expect(harness.started).toBe(false);
    }
  });

  test("not root: a word about seteuid on stderr and in the log, and status 1", async () => {
    for (const [words, args] of [
      [fromPamExec, []],
      [[], ["session"]],
      [[], ["end", "x.scope"]],
    ] as [string[], string[]][]) {
      const { exitCode, stdout, stderr } = await entry(
        [`log=${harness.logSocket}`, ...words, "uid=65534,65534"],
        args,
      );
      expect(exitCode).toBe(1);
      expect(stderr).toMatch(/^authnft: .*seteuid/);
      expect(stderr.split("\n")).toHaveLength(2);
      expect(stdout).toMatch(/^log: <83>pam_authnft: .*seteuid/);
      expect(harness.started).toBe(false);
    }
  });

  test("no program: one line on stderr and in the log, and status 127", async () => {
    await run(["mv", harness.path("stub-helper"), harness.path("stub-helper-away")]);
    try {
      const { exitCode, stdout, stderr } = await entry([`log=${harness.logSocket}`], ["session"]);
      expect(exitCode).toBe(127);
      expect(stderr).toContain("(error 2)");
      expect(stdout).toMatch(/^log: <83>pam_authnft: Cannot execute .*authnft install/);
      expect(stdout.split("\n")).toHaveLength(2);
    } finally {
      await run(["mv", harness.path("stub-helper-away"), harness.path("stub-helper")]);
    }
  });

  test("a program that cannot be executed: the error is named", async () => {
    chmodSync(harness.path("stub-helper"), 0o644);
    try {
      expect((await entry([], ["session"])).stderr).toContain("(error 13)");
    } finally {
      chmodSync(harness.path("stub-helper"), 0o755);
    }
  });

  test("64 arguments pass, one more is refused", async () => {
    const args = Array.from({ length: 64 }, (_, i) => `a${i}`);
    await entry(fromPamExec, args);
    expect(harness.seen.get("arg")).toEqual(["authnft", "pam", ...args]);
    const { exitCode, stderr } = await entry(fromPamExec, [...args, "x"]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain("more than 64 arguments");
  });

  describe("what is inherited is replaced:", () => {
    // As su would leave it: the caller's real uid, limits, priority, signals, directory, terminal's group.
    const caller = [
      "descriptors=20",
      "nice=5",
      "batch",
      "disk=24583", // idle class
      "umask=000",
      "directory=/tmp",
      "limit:0=3600", // cpu
      "limit:1=1000000", // file size
      "limit:3=65536", // stack
      "limit:4=1000000", // core
      "limit:7=64", // descriptors
      "limit:6=32", // processes
      "limit:9=1000000000", // address space
      "ignore=1",
      "ignore=2",
      "ignore=13",
      "ignore=17",
      "ignore=40",
      "block=15",
      "block=14",
      "pending=10",
      "pending=12",
      "groups=1234",
      "dies-with=9",
      "gid=65534,100",
      "uid=65534,0",
    ];

    test.each([
      ["pam_exec", fromPamExec, []],
      ["session", [], ["session"]],
      ["restore", [], ["restore"]],
    ] as [string, string[], string[]][])("%s", async (_, words, args) => {
      const { exitCode, stderr } = await entry([...words, ...caller], args);
      expect(stderr).toBe("");
      expect(exitCode).toBe(0);
      const { seen } = harness;
      expect(seen.get("Uid")).toEqual(["0\t0\t0\t0"]);
      expect(seen.get("Gid")).toEqual(["0\t0\t0\t0"]);
      expect(seen.get("Groups")).toEqual([""]);
      expect(seen.get("umask")).toEqual(["077"]);
      expect(seen.get("directory")).toEqual(["/"]);
      expect(seen.get("session-leader")).toEqual(["yes"]);
      for (const set of ["SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"])
        expect(seen.get(set)).toEqual(["0".repeat(16)]);
      expect(seen.get("NoNewPrivs")).toEqual(["1"]);
      expect(seen.get("signal-at-parents-death")).toEqual(["0"]);
      expect(seen.get("nice")).toEqual(["0"]);
      expect(seen.get("scheduler")).toEqual(["0"]);
      expect(seen.get("disk-priority")).toEqual(["0"]);
      const held = [...seen.keys()].filter((key) => key.startsWith("fd-"));
      // For a session, the process that asks, too.
      expect(held).toEqual(["fd-0", "fd-1", "fd-2", ...(args[0] === "restore" ? [] : ["fd-3"])]);
      if (args[0] !== "restore") expect(seen.get("fd-3")?.[0]).toMatch(/pidfd/);
      const limits = ["core", "nofile", "fsize", "cpu", "stack", "nice", "rtprio"].map(
        (name) => seen.get(`limit-${name}`)?.[0],
      );
      expect(limits).toEqual([
        "0 0",
        "1024 4096",
        "67108864 67108864",
        "20 25",
        "8388608 8388608",
        "0 0",
        "0 0",
      ]);
      expect(seen.get("limit-data")).toEqual(["1073741824 1073741824"]);
      // Up to whatever this machine lets root have.
      expect(seen.get("limit-as")).toEqual(["-1 -1"]);
      expect(seen.get("limit-nproc")?.[0]).toMatch(/^(-?\d+) \1$/);
    });

    test("standard descriptors that are missing", async () => {
      const { exitCode } = await entry(["closed=0", "closed=1", "closed=2"], ["session"]);
      expect(exitCode).toBe(0);
      for (const fd of ["fd-0", "fd-1", "fd-2"]) expect(harness.seen.get(fd)).toEqual(["/dev/null"]);
      expect(harness.seen.get("fd-3")?.[0]).toMatch(/pidfd/);
    });

    test("what the second run finds in the place of the process that asks, and is none", async () => {
      await entry(["descriptors=20"], ["session", "pam_exec=open"]);
      expect(harness.seen.has("fd-3")).toBe(false);
    });

    test("the signal at the parent's death, where no change of ids has taken it away", async () => {
      await entry(["dies-with=9"], ["restore"]);
      expect(harness.seen.get("signal-at-parents-death")).toEqual(["0"]);
    });

    test("a session that is its own already is kept", async () => {
      expect((await entry(["leader"], ["end", "x"])).exitCode).toBe(0);
      expect(harness.seen.get("session-leader")).toEqual(["yes"]);
    });
  });

  describe("what the program has no use for is given up:", () => {
    const CAPABILITIES = ["CapPrm", "CapEff", "CapBnd"];
    // capability.h: CAP_NET_ADMIN is 12, CAP_SYS_PTRACE 19, CAP_AUDIT_WRITE 29.
    const TWO = "0000000020001000";
    const THREE = "0000000020081000";
    const capabilities = () => CAPABILITIES.map((set) => harness.seen.get(set)?.[0]);
    const attempts = () =>
      Object.fromEntries(
        [...harness.seen].flatMap(([key, [value]]) =>
          key.startsWith("try-") ? [[key.slice(4), value]] : [],
        ),
      );
    /** Where the kernel has no Landlock, nothing is held, and nothing else may be claimed. */
    const held = (sinceVersion: number, by: string, free = "done") =>
      Number(harness.seen.get("landlock")?.[0]) >= sinceVersion ? by : free;

    test.each(["session", "restore", "end x", "release x", "cover-users 1", "reload-sessions"])(
      "%s: two capabilities, and the files that are needed",
      async (line) => {
        expect((await entry([], line.split(" "))).exitCode).toBe(0);
        expect(capabilities()).toEqual([TWO, TWO, TWO]);
        expect(harness.seen.get("CapInh")).toEqual(["0".repeat(16)]);
        expect(harness.seen.get("CapAmb")).toEqual(["0".repeat(16)]);
        expect(attempts()).toEqual({
          "read-shadow": held(1, "EACCES"),
          "read-passwd": "done",
          "list-root": held(1, "EACCES"),
          "write-tmp": held(1, "EACCES"),
          "write-null": "done",
          "write-passwd": held(1, "EACCES"),
          "write-state": "done",
          connect: held(4, "EACCES", "ECONNREFUSED"),
        });
      },
    );

    test("pam_exec: the name service may read what it likes; one capability more, until the program comes back", async () => {
      await entry(fromPamExec);
      expect(capabilities()).toEqual([THREE, THREE, THREE]);
      expect(attempts()).toMatchObject({ "read-shadow": "done", connect: "ECONNREFUSED" });
      // The second run begins with what the first has left, and groups that it could not clear are none.
      const cut = ["setpriv", "--bounding-set=-all,+net_admin,+sys_ptrace,+audit_write", "--clear-groups"];
      const { exitCode } = await entry([], ["session", "pam_exec=open"], cut);
      expect(exitCode).toBe(0);
      // The bounding set bounds what is executed later: nothing is, and that would get no new privileges either.
      expect(capabilities()).toEqual([TWO, TWO, THREE]);
      expect(harness.seen.get("arg")).toEqual(["authnft", "session", "pam_exec=open"]);
    });

    test("groups that cannot be cleared are refused", async () => {
      const cut = ["setpriv", "--bounding-set=-setgid", "--groups=1234"];
      const { exitCode, stderr } = await entry([], ["session"], cut);
      expect(exitCode).toBe(1);
      expect(stderr).toContain("must run as root");
    });

    test("nothing, where the PAM line says so", async () => {
      for (const args of [
        ["session", "AUTHNFT_NO_SANDBOX=1"],
        ["session", "pam_exec=open", "AUTHNFT_NO_SANDBOX=1"],
      ]) {
        await entry([], args);
        expect(capabilities()).not.toContain(TWO);
        expect(attempts()).toMatchObject({
          "read-shadow": "done",
          "write-tmp": "done",
          connect: "ECONNREFUSED",
        });
      }
    });

    test("the words between the program and its second run are no words of a PAM line", async () => {
      for (const word of ["pam_exec=open", "session"]) {
        await entry(fromPamExec, ["debug", word]);
        expect(harness.seen.get("arg")).toEqual(["authnft", "pam", "debug", word]);
      }
      expect((await entry([], ["session", "debug"])).exitCode).toBe(2);
    });
  });

  describe("under pam_exec it stands behind the program:", () => {
    const through = (plan: string, options: SessionOptions = {}) =>
      harness.session({
        line: `pam_exec.so seteuid quiet ${harness.path(`${cc}/authnft-entry`)}`,
        plan,
        ...options,
      });
    const moved = () =>
      readFileSync(`${harness.cgroups}/authnft.slice/run-authnft-refused.mount/cgroup.procs`, "utf8");

    test.each([
      ["opens the session: it stays where it is", "exit 0\n", true, false],
      ["says that it has cut off the process: it stays where it is", "exit 3\n", false, false],
      ["refuses and could not: it is moved", "exit 1\n", false, true],
      ["ends with a status that it does not have: it is moved", "exit 9\n", false, true],
      ["is killed: it is moved", "kill 9\n", false, true],
      ["crashes: it is moved", "kill 11\n", false, true],
      ["hangs: it is ended by its alarm, and moved", "sleep 60000\n", false, true],
      ["is stopped: it is killed, and moved", "kill 19\n", false, true],
    ])("one that %s", async (_, plan, opens, taken) => {
      const { calls, facts } = await through(plan);
      expect(calls.map(({ code }) => code === PAM_SUCCESS)).toEqual([opens]);
      expect(calls[0]?.ms).toBeLessThan(16_000);
      expect(moved()).toBe(taken ? (facts.get("pid") ?? "") : "");
    });

    test("root, and whoever closes a session, stay where they are", async () => {
      await through("kill 9\n", { user: "root" });
      expect(moved()).toBe("");
      await through("kill 9\n", { words: ["close"] });
      expect(moved()).toBe("");
    });
  });

  test("under pam_exec it leaves the session's cgroup; from the shim and systemd it stays where it was put", async () => {
    const under = inCgroup(harness.cgroups);
    await entry(fromPamExec, [], under);
    expect(harness.seen.get("cgroup")).toEqual(["/init.scope"]);
    for (const args of [["session"], ["restore"]]) {
      await entry([], args, under);
      expect(harness.seen.get("cgroup")).toEqual(["/"]);
    }
  });
});

describe("module and pam_exec", () => {
  test("shim, entry and program: request in, reply out, everything replaced on the way", async () => {
    const opened = await harness.session({
      build: "chain",
      words: ["rhost=192.0.2.7", "open"],
      env: { LD_LIBRARY_PATH: "/x" },
    });
    expectOpened(opened);
    expect(harness.request).toMatchObject({ type: "open", user: "alice", rhost: "192.0.2.7" });
    expect(harness.seen.get("arg")).toEqual(["authnft", "session", "in-turn"]);
    expect(harness.seen.get("NoNewPrivs")).toEqual(["1"]);
    expect(harness.seen.get("umask")).toEqual(["077"]);
    expect(harness.seen.get("env")).toContain("TMPDIR=/run/authnft");
    expect(harness.seen.get("parent")).toEqual([opened.facts.get("pid") ?? ""]);
  });

  test("this system's own pam_exec and the entry: the user's variables come to nothing", async () => {
    const forged = [
      "PAM_SERVICE=cron",
      "PAM_USER=root",
      "PAM_RHOST=127.0.0.1",
      "PAM_TYPE=close_session",
      "LD_PRELOAD=/x",
      "BUN_OPTIONS=--preload=/x",
      "TMPDIR=/x",
    ];
    const opened = await harness.session({
      line: `pam_exec.so seteuid quiet ${harness.path("gcc/authnft-entry")} claims_env=CLAIMS`,
      words: [
        ...forged.map((variable) => `env:${variable}`),
        "env:CLAIMS=7",
        "env:AUTHNFT_CORRELATION=abc",
        "rhost=192.0.2.7",
        "tty=ssh",
        "open",
      ],
      plan: "quick",
    });
    expect(codes(opened)).toEqual([PAM_SUCCESS]);
    await harness.session({
      line: `pam_exec.so seteuid quiet ${harness.path("gcc/authnft-entry")} claims_env=CLAIMS`,
      words: [
        ...forged.map((variable) => `env:${variable}`),
        "env:CLAIMS=7",
        "env:AUTHNFT_CORRELATION=abc",
        "rhost=192.0.2.7",
        "tty=ssh",
        "open",
      ],
    });
    expect(harness.seen.get("arg")).toEqual(["authnft", "pam", "claims_env=CLAIMS"]);
    expect(harness.seen.get("env")?.slice(4)).toEqual([
      "AUTHNFT_PAM_SERVICE=sshd",
      "AUTHNFT_PAM_USER=alice",
      "AUTHNFT_PAM_TTY=ssh",
      "AUTHNFT_PAM_RHOST=192.0.2.7",
      "AUTHNFT_PAM_TYPE=open_session",
      "AUTHNFT_PAM_ENV_CORRELATION=abc",
      "AUTHNFT_PAM_ENV_CLAIMS=7",
    ]);
  });
});

describe("without running them", () => {
  test("warnings, static analysis and hardening of both programs", async () => {
    const { exitCode, stdout } = await run([CHECK]);
    expect(stdout.split("\n").filter((line) => line.startsWith("FAIL"))).toEqual([]);
    expect(exitCode).toBe(0);
  });

  test("three seconds of fuzzing the reply's parser", async () => {
    const { exitCode, stderr } = await run([process.execPath, FUZZ, "native/reply", "--seconds", "3"]);
    expect(exitCode, stderr).toBe(0);
  });
});
