// SPDX-License-Identifier: GPL-2.0-or-later

// Units with PAMName=, as kiosks, run0 and machinectl have: one process opens the session, and another one closes it, which
// is not root any more.

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { waitFor } from "../lab/lab.ts";
import { lab, nothingLeft, ONLY_FIRST, viaBoth } from "./harness.ts";

const DIRECTORY = "/usr/local/lib/lab-units";

/** Leaves a process behind that writes each second what it can reach, and ends when it is told to. */
const MAIN = `#!/bin/bash
setsid ${DIRECTORY}/left >/dev/null 2>&1 </dev/null &
until [ -e ${DIRECTORY}/done ]; do sleep 0.1; done
rm ${DIRECTORY}/done
`;
const LEFT = `#!/bin/bash
for second in {1..60}; do
  echo "$(probe tcp 10.88.0.2 7001 --timeout 1) $(probe tcp 10.88.0.3 7001 --timeout 1)" > ${DIRECTORY}/seen/$$
  sleep 0.2
done
`;

/** What the process that was left behind reaches by now, of which the fragment allows the first; nothing once it is gone. */
async function reach(): Promise<string> {
  return (await lab.run(`rm -f ${DIRECTORY}/seen/*; sleep 2.5; cat ${DIRECTORY}/seen/*`)).stdout.trim();
}

const AFTER = {
  quarantine: /^(refused|unreachable|eperm|timeout) (refused|unreachable|eperm|timeout)$/,
  keep: /^ok refused$/,
  kill: /^$/,
};

viaBoth("The sessions of a unit with PAMName=", (through) => {
  beforeAll(async () => {
    await lab.reset();
    await lab.output(`mkdir -p ${DIRECTORY}/seen; chmod 777 ${DIRECTORY} ${DIRECTORY}/seen`);
    await lab.write(`${DIRECTORY}/main`, MAIN, { mode: "0755" });
    await lab.write(`${DIRECTORY}/left`, LEFT, { mode: "0755" });
    await lab.fragment("alice", ONLY_FIRST);
  });
  afterAll(async () => {
    await lab.run(`rm -rf ${DIRECTORY} /run/systemd/system/lab-kiosk.service; systemctl daemon-reload`);
  });

  async function start(more = ""): Promise<void> {
    await lab.write(
      "/run/systemd/system/lab-kiosk.service",
      `[Service]\nUser=alice\nPAMName=lab\nExecStart=${DIRECTORY}/main\n${more}\n`,
    );
    await lab.output(
      `rm -f ${DIRECTORY}/done ${DIRECTORY}/seen/*; systemctl daemon-reload; systemctl start lab-kiosk.service`,
    );
    await waitFor(async () => (await lab.run(`cat ${DIRECTORY}/seen/*`)).stdout === "ok refused\n");
  }

  async function end(): Promise<void> {
    await lab.run("systemctl stop lab-kiosk.service 'authnft-alice-*.scope'");
    await waitFor(async () => (await lab.run("systemctl is-active 'authnft-close@*'")).code !== 0);
    await nothingLeft();
  }

  afterEach(end);

  for (const lingering of ["quarantine", "keep", "kill"] as const)
    test(`lingering=${lingering} holds when the main process ends, or the unit is stopped`, async () => {
      await lab.pam("lab", { through, args: [`lingering=${lingering}`] });
      const ways = [`touch ${DIRECTORY}/done`, "systemctl stop lab-kiosk.service"];
      for (const how of lingering === "quarantine" ? ways : ways.slice(0, 1)) {
        const since = await lab.cursor();
        await start();
        await lab.output(how);
        await waitFor(async () =>
          (await lab.journal({ since })).some(
            (entry) => entry["AUTHNFT_EVENT"] === "close" && entry["AUTHNFT_HOW"] === "pam",
          ),
        );
        expect(await reach()).toMatch(AFTER[lingering]);
        const said = (await lab.journal({ since, match: {} })).map((entry) => entry.MESSAGE ?? "");
        expect(said.filter((line) => /run as root|no answer from/.test(line))).toEqual([]);
        expect(said.filter((line) => line.includes("is not root any more"))).toHaveLength(1);
        await end();
      }
    });

  test("a unit that is started again, by itself or by hand, has a session with rules, and the one before has none", async () => {
    await lab.pam("lab", { through });
    for (const how of [`touch ${DIRECTORY}/done`, "systemctl restart lab-kiosk.service"]) {
      await start("Restart=always");
      const first = await lab.output("systemctl show --property=MainPID --value lab-kiosk.service");
      await lab.output(how);
      await waitFor(async () => {
        const records = await lab.sessions();
        const states = records.map(
          ({ pid, state }) => `${pid === Number(first) ? "first" : "second"} ${state}`,
        );
        return states.toSorted().join() === "first lingering,second open";
      });
      const reached = (await reach()).split("\n");
      expect(reached.map((line) => (AFTER.quarantine.test(line) ? "nothing" : line)).toSorted()).toEqual([
        "nothing",
        "ok refused",
      ]);
      await end();
    }
  });
});
