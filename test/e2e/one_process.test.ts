// SPDX-License-Identifier: GPL-2.0-or-later

// A service that opens and closes the sessions of several users in one and the same process.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { lab, nothingLeft, ONLY_FIRST, onThisRelease } from "./harness.ts";

/**
 * Opens and closes sessions as it is told, and has each word followed by where it is and what a child can reach. Like every
 * application, it ends a handle with the status that it got, and after the close.
 */
const SERVICE = `
import ctypes, os, subprocess, sys, threading
pam = ctypes.CDLL("libpam.so.0")
pam.pam_end.argtypes = pam.pam_open_session.argtypes = pam.pam_close_session.argtypes = [ctypes.c_void_p, ctypes.c_int]
class Conversation(ctypes.Structure):
    _fields_ = [("conv", ctypes.c_void_p), ("data", ctypes.c_void_p)]
handles = {}
def place():
    return open("/proc/self/cgroup").read().split("0::")[1].strip().split("/")[-1]
def close(session):
    code = pam.pam_close_session(handles[session], 0x8000)
    pam.pam_end(handles.pop(session), code)
    return code
def open_session(session):
    handle = ctypes.c_void_p()
    pam.pam_start(b"lab", session.rstrip("2").encode(), ctypes.byref(Conversation()), ctypes.byref(handle))
    code = pam.pam_open_session(handle, 0x8000)
    if code == 0:
        handles[session] = handle
    else:
        pam.pam_end(handle, code)
    return code
for word in sys.argv[1:]:
    what, session = word.split(":")
    if what == "open":
        code = open_session(session)
    elif what == "race":
        threads = [threading.Thread(target=open_session, args=(user,)) for user in session.split("+")]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        code = len(handles)
        handles = {"winner": handle for handle in handles.values()}
    elif what == "sleep":
        subprocess.Popen(["sleep", "2"])
        code = 0
    elif what == "close":
        code = close(session)
    elif what == "thread":
        thread = threading.Thread(target=close, args=(session,))
        thread.start()
        thread.join()
        code = 0
    else:
        child = os.fork()
        if child == 0:
            code = close(session)
            print("child", code, place(), flush=True)
            os._exit(0)
        code = os.waitpid(child, 0)[1]
    reach = [subprocess.run(["probe", "tcp", to, "7001", "--timeout", "1"], capture_output=True, text=True).stdout.strip() for to in ("10.88.0.2", "10.88.0.3")]
    print(word, code, place(), *reach, flush=True)
`;

/** Where the service is without a session, and what it reaches. */
const FREE = "lab-service.service ok ok";

const ALICES = /^\S+ 0 authnft-alice-\d+(-2)?\.scope ok refused$/;

/** Below the slice, without network. */
const CUT_OFF = /^\S+ \d+ (authnft-\w+-\d+(-2)?\.scope|run-authnft-refused\.mount) (?!ok)\S+ (?!ok)\S+$/;

onThisRelease("One process for several users", () => {
  beforeAll(async () => {
    await lab.reset();
    await lab.write("/root/service.py", SERVICE);
    for (const user of ["alice", "carol"]) await lab.fragment(user, ONLY_FIRST);
  });
  afterAll(async () => {
    await lab.run("rm -f /root/service.py");
  });

  async function serve(...words: string[]): Promise<string[]> {
    const output = await lab.output(
      `systemd-run --quiet --wait --pipe --unit=lab-service.service python3 /root/service.py ${words.join(" ")}`,
    );
    await nothingLeft();
    return output.trim().split("\n");
  }

  async function reasonsSince(since: string): Promise<(string | undefined)[]> {
    const refused = (await lab.journal({ since })).filter((entry) => entry["AUTHNFT_EVENT"] === "refuse");
    return refused.map((entry) => entry["AUTHNFT_REASON"]);
  }

  test("the second one is refused with a sentence, and the process goes on in the first one's", async () => {
    await lab.pam("lab", { through: "shim" });
    const since = await lab.cursor();
    const told = await serve(
      "open:alice",
      "open:carol",
      "open:dave",
      "close:dave",
      "close:alice",
      "open:carol",
      "close:carol",
    );
    expect(told[0]).toMatch(ALICES);
    expect(told[1]).toMatch(/^open:carol [1-9]\d* authnft-alice-\d+\.scope ok refused$/);
    expect(told[3]).toMatch(ALICES);
    expect(told[4]).toBe(`close:alice 0 ${FREE}`);
    expect(told[5]).toMatch(/^open:carol 0 authnft-carol-\d+\.scope ok refused$/);
    expect(told[6]).toBe(`close:carol 0 ${FREE}`);
    expect(await reasonsSince(since)).toEqual(["occupied"]);
  });

  test("the process is put back at the close and after a refusal, so that whoever comes next is not harmed", async () => {
    for (const lingering of ["quarantine", "keep", "kill"]) {
      await lab.pam("lab", { through: "shim", args: [`lingering=${lingering}`] });
      const told = await serve(
        "open:alice",
        "thread:alice",
        "open:bob",
        "open:dave",
        "close:dave",
        "open:root",
        "open:carol",
        "close:carol",
      );
      expect(told[0]).toMatch(ALICES);
      expect(told[1]).toBe(`thread:alice 0 ${FREE}`);
      expect(told[2]).toMatch(new RegExp(`^open:bob [1-9]\\d* ${FREE}$`));
      expect(told[3]).toBe(`open:dave 0 ${FREE}`);
      expect(told[5]).toBe(`open:root 0 ${FREE}`);
      expect(told[6]).toMatch(/^open:carol 0 authnft-carol-\d+\.scope ok refused$/);
      expect(told[7]).toBe(`close:carol 0 ${FREE}`);
    }
  });

  test("of two that threads open at the same moment one is refused, and the other one is whole", async () => {
    await lab.pam("lab", { through: "shim" });
    for (let time = 0; time < 4; time++) {
      const told = await serve("race:alice+carol", "close:winner", "open:dave");
      expect(told[0]).toMatch(/^race:alice\+carol 1 authnft-(alice|carol)-\d+\.scope ok refused$/);
      expect(told[1]).toBe(`close:winner 0 ${FREE}`);
      expect(told[2]).toBe(`open:dave 0 ${FREE}`);
    }
  });

  test("two of one user's may be closed in any order, and without the helper", async () => {
    await lab.pam("lab", { through: "shim" });
    const inner = await serve("open:alice", "open:alice2", "close:alice2", "close:alice", "open:dave");
    expect(inner[1]).toMatch(ALICES);
    // Nobody else is in the first one's scope, so it has ended: what is left of the session has no network.
    expect(inner[2]).toMatch(CUT_OFF);
    expect(inner.slice(3)).toEqual([`close:alice 0 ${FREE}`, `open:dave 0 ${FREE}`]);
    const inhabited = await serve("open:alice", "sleep:alice", "open:alice2", "close:alice2", "close:alice");
    expect(inhabited[3]).toMatch(ALICES);
    expect(inhabited[3]?.split(" ")[2]).toBe(inhabited[0]?.split(" ")[2]);
    expect(inhabited[4]).toBe(`close:alice 0 ${FREE}`);

    const outer = await serve("open:alice", "open:alice2", "close:alice", "close:alice2");
    expect(outer[2]?.split(" ").slice(2)).toEqual(outer[1]?.split(" ").slice(2));
    expect(outer[3]).toBe(`close:alice2 0 ${FREE}`);

    await lab.pam("lab", {
      through: "shim",
      before: [
        "session optional pam_exec.so type=close_session /bin/mv /usr/libexec/authnft /usr/libexec/away",
      ],
    });
    try {
      const [, closed] = await Promise.all([
        lab.run(
          "for try in $(seq 100); do sleep 0.1; mv /usr/libexec/away /usr/libexec/authnft && break; done",
        ),
        lab.output(
          "systemd-run --quiet --wait --pipe --unit=lab-service.service python3 /root/service.py open:alice close:alice",
        ),
      ]);
      expect(closed.trim().split("\n")[1]).toBe(`close:alice 0 ${FREE}`);
    } finally {
      await lab.run("mv /usr/libexec/away /usr/libexec/authnft");
    }
    await nothingLeft();
  });

  test("a child that closes the session stays in its scope, and so does one that was refused and not told", async () => {
    await lab.pam("lab", { through: "shim" });
    const forked = await serve("open:alice", "fork:alice", "close:alice");
    expect(forked[1]).toMatch(/^child 0 authnft-alice-\d+\.scope$/);
    expect(forked[2]).toMatch(/^fork:alice 0 authnft-alice-\d+\.scope (?!ok)\S+ (?!ok)\S+$/);
    expect(forked[3]).toBe(`close:alice 0 ${FREE}`);

    await lab.pam("lab", { through: "shim", control: "optional" });
    // Where the application is not told, the other user is under the policy of the first one's, and then without network.
    const nested = await serve("open:alice", "open:carol", "close:carol", "close:alice");
    expect(nested.slice(0, 3)).toEqual([ALICES, ALICES, ALICES].map((line) => expect.stringMatching(line)));
    expect(nested[3]).toBe(`close:alice 0 ${FREE}`);
    const crossed = await serve(
      "open:alice",
      "open:carol",
      "close:alice",
      "open:dave",
      "close:carol",
      "open:bob",
      "close:bob",
    );
    expect(crossed[2]).toMatch(CUT_OFF);
    expect(crossed[3]).toMatch(CUT_OFF);
    expect(crossed[4]).toBe(`close:carol 0 ${FREE}`);
    expect(crossed[5]).toMatch(CUT_OFF);
    expect(crossed[6]).toBe(`close:bob 0 ${FREE}`);
  });

  test("under pam_exec nobody puts it back: it is never under another's policy, nor without one", async () => {
    await lab.pam("lab", { through: "exec" });
    const told = await serve("open:alice", "open:carol", "close:alice", "open:dave");
    expect(told[0]).toMatch(ALICES);
    expect(told[1]).toMatch(/^open:carol [1-9]\d* authnft-alice-\d+\.scope ok refused$/);
    for (const line of told.slice(2)) expect(line).toMatch(CUT_OFF);
  });
});
