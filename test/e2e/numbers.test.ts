// SPDX-License-Identifier: GPL-2.0-or-later

// The number of a PAM process is given to somebody else's while its session is being opened.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { waitFor } from "../lab/lab.ts";
import { AS_PROCESS, lab, nothingLeft, ONLY_FIRST, sweep, viaBoth } from "./harness.ts";

const SCRIPT = "/root/as-process.py";

/** No process of the guest has got so far. */
const NUMBER = 31_337;

viaBoth("A PAM process that ends while its session is opened", (through) => {
  beforeAll(async () => {
    await lab.reset();
    await lab.write(SCRIPT, AS_PROCESS);
    await lab.pam("lab", { through, args: ["debug"] });
  });
  afterAll(async () => {
    await lab.run(`systemctl stop lab-bystander.service; rm -f ${SCRIPT}`);
    await sweep();
  });

  for (const [what, fragment] of [
    ["opened", ONLY_FIRST],
    ["refused", "no rule\n"],
  ] as const)
    test(`leaves whoever has its number by then alone, where the session is ${what}`, async () => {
      await lab.fragment("alice", fragment);
      const lock = `/run/authnft/lock/authnft-alice-${NUMBER}.scope`;
      const since = await lab.cursor();
      // The helper waits for this before it has the process moved.
      await using holder = lab.start(`exec 9>${lock}; flock 9; echo held; read line`);
      await holder.expect(/held/);
      await using asker = lab.start(`exec python3 ${SCRIPT} ${NUMBER} pamtester lab alice open_session`);
      await waitFor(
        async () =>
          (await lab.journal({ since })).some(({ MESSAGE }) => /, read, | is refused: /.test(MESSAGE ?? "")),
        { what: "the helper before its scope" },
      );
      await lab.output(`kill -9 ${NUMBER}`);
      await asker.exited;
      await lab.output(
        `systemd-run --quiet --unit=lab-bystander.service python3 ${SCRIPT} ${NUMBER} sleep 60`,
      );
      const place = () => lab.output(`sed -n s/^0:://p /proc/${NUMBER}/cgroup`);
      await waitFor(async () => (await place()).includes("lab-bystander.service"));
      holder.write("\n");
      await waitFor(async () => (await lab.run("pgrep -x authnft")).code !== 0, { timeoutMs: 15_000 });
      expect((await place()).trim()).toBe("/system.slice/lab-bystander.service");
      await lab.run("systemctl stop lab-bystander.service");
      await sweep();
      await nothingLeft();
    });
});
