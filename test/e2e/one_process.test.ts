// SPDX-License-Identifier: GPL-2.0-or-later

// A service that opens the sessions of several users in one and the same process.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { lab, nothingLeft, ONLY_FIRST, onThisRelease } from "./rig.ts";

/** Opens and closes sessions as it is told, and has each word followed by where it is and what a child can reach. */
const SERVICE = `
import ctypes, subprocess, sys
pam = ctypes.CDLL("libpam.so.0")
class Conversation(ctypes.Structure):
    _fields_ = [("conv", ctypes.c_void_p), ("data", ctypes.c_void_p)]
handles = {}
for word in sys.argv[1:]:
    what, user = word.split(":")
    if what == "open":
        handles[user] = ctypes.c_void_p()
        pam.pam_start(b"lab", user.encode(), ctypes.byref(Conversation()), ctypes.byref(handles[user]))
        code = pam.pam_open_session(handles[user], 0x8000)
    else:
        code = pam.pam_close_session(handles[user], 0x8000)
    place = open("/proc/self/cgroup").read().split("0::")[1].strip().split("/")[-1]
    reach = [subprocess.run(["probe", "tcp", to, "7001", "--timeout", "1"], capture_output=True, text=True).stdout.strip() for to in ("10.88.0.2", "10.88.0.3")]
    print(word, code, place, *reach, flush=True)
`;

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
    return output.trim().split("\n");
  }

  for (const through of ["shim", "exec"] as const)
    test(`the second one is refused with a sentence, and the process stays in the first one's (${through})`, async () => {
      await lab.pam("lab", { through });
      const since = await lab.cursor();
      const told = await serve("open:alice", "open:carol", "close:alice");
      expect(told[0]).toMatch(/^open:alice 0 authnft-alice-\d+\.scope ok refused$/);
      expect(told[1]).toMatch(/^open:carol [1-9]\d* authnft-alice-\d+\.scope ok refused$/);
      const refused = (await lab.journal({ since })).filter((entry) => entry["AUTHNFT_EVENT"] === "refuse");
      expect(refused.map((entry) => entry["AUTHNFT_REASON"])).toEqual(["occupied"]);
      expect(refused[0]?.["MESSAGE"]).toMatch(
        /it has one of alice's open, .*; have the service open each session/,
      );
      await nothingLeft();
    });

  test("the module puts the process back, so that whoever comes next is not harmed", async () => {
    await lab.pam("lab", { through: "shim" });
    for (const lingering of ["quarantine", "keep", "kill"]) {
      await lab.pam("lab", { through: "shim", args: [`lingering=${lingering}`] });
      const told = await serve(
        "open:alice",
        "close:alice",
        "open:dave",
        "close:dave",
        "open:carol",
        "close:carol",
      );
      expect(told[1]).toBe("close:alice 0 lab-service.service ok ok");
      expect(told[2]).toBe("open:dave 0 lab-service.service ok ok");
      expect(told[4]).toMatch(/^open:carol 0 authnft-carol-\d+\.scope ok refused$/);
      expect(told[5]).toBe("close:carol 0 lab-service.service ok ok");
      await nothingLeft();
    }
  });
});
