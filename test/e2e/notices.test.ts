// SPDX-License-Identifier: GPL-2.0-or-later

// What a user is told at a login must not stand in what a script reads.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { waitFor } from "../lab/lab.ts";
import { lab, nothingLeft, ONLY_FIRST, viaBoth } from "./harness.ts";

viaBoth("the notice of what is left behind", (via) => {
  beforeAll(async () => {
    await lab.reset();
    await lab.fragment("alice", ONLY_FIRST);
    for (const service of ["sshd", "su", "sudo-i"]) await lab.pam(service, { through: via });
    await lab.ssh("alice", "setsid sleep 1000 >/dev/null 2>&1 </dev/null &");
    await waitFor(async () => (await lab.sessions())[0]?.state === "lingering");
  });
  afterAll(async () => {
    await lab.output("pkill -x -u alice sleep; true");
    await nothingLeft();
    await lab.reset();
  });

  const told = "authnft: without network since their session was closed: sleep";

  test.each([
    ["su with a command", "su - alice -c 'echo data'"],
    ["su with a script on standard input", "echo 'echo data' | su - alice"],
    ["su into a file", "su alice -c 'echo data' >/run/notice-out; cat /run/notice-out; rm /run/notice-out"],
    ["su into a pipe", "su alice -c 'echo data' | cat"],
    ["sudo -i", "sudo -i -u alice echo data"],
  ])("is not in the output of %s", async (_, command) => {
    const { code, stdout, stderr } = await lab.run(command);
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: "data\n", stderr: "" });
  });

  test("is not in what ssh, sftp and scp hand on", async () => {
    expect(await lab.ssh("alice", "echo data")).toMatchObject({ code: 0, stdout: "data\n" });
    expect((await lab.sftp("alice", "pwd")).code).toBe(0);
  });

  test("is seen at a terminal", async () => {
    const shell = lab.start("su - alice", { tty: true });
    await shell.expect(new RegExp(told));
    shell.write("exit\n");
    await shell.exited;
    // The command's output goes elsewhere, but somebody is there to read.
    const piped = lab.start("sudo -i -u alice echo data | cat >/run/notice-out", { tty: true });
    await piped.exited;
    expect(await lab.output("cat /run/notice-out; rm /run/notice-out")).toBe("data");
    if (via === "shim") expect(piped.stdout).toContain(told);
    const login = lab.sshStart("alice", null, { tty: true });
    await login.expect(new RegExp(told));
    login.write("exit\n");
    await login.exited;
  });
});
