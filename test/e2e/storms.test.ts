// SPDX-License-Identifier: GPL-2.0-or-later

// Many logins at once, and many while the firewall and systemd are reloaded under them: each is whole or refused, and
// nothing of any is left. AUTHNFT_STORM=200 makes it that many at once, by hand, and prints counts.

import { beforeAll, expect, test } from "bun:test";
import { passwordOf, waitFor } from "../lab/lab.ts";
import { lab, nothingLeft, ONLY_FIRST, sweep, viaOne } from "./harness.ts";

/** An open, a close and the clean-up after it take some 150 ms of a processor. */
const SIZE = Number(Bun.env["AUTHNFT_STORM"] ?? 100);
/** Under trouble there are several such storms. */
const TROUBLED = Math.min(SIZE, 16);
/** Where very many end at once, some clean-ups are tried again. */
const SETTLING_MS = 5000 + SIZE * 200;
const PATIENCE_MS = 20_000 + SIZE * 1000;

/** Users of names that differ by a sign, by which units, chains and files are called; and others. */
const ALIKE = ["a.b", "a-b", "a_b"];
const USERS = ["alice", "bob", ...ALIKE, "m0", "m1", "m2", "m3"];

/** Logs users in and out through PAM, all at once, and tells how each of them fared. */
const STORM = `
users=($1); size=$2; rm -rf /run/storm; mkdir /run/storm
for ((n = 0; n < size; n++)); do
  user=\${users[n % \${#users[@]}]}
  pamtester lab $user open_session close_session >/run/storm/$n.out 2>&1 &
  pids[n]=$!
done
for ((n = 0; n < size; n++)); do wait \${pids[n]}; echo "\${users[n % \${#users[@]}]} $?"; done`;

type Outcome = { whole: number; refused: number };

/** What the sessions of the last storm could reach, a line each. */
async function reached(): Promise<string[]> {
  return (await lab.output("cat /run/storm/reached || true")).split("\n").filter(Boolean);
}

/** What the sessions' own processes saw: the listing is written by a line of the PAM stack, from inside each session. */
const PROBE = `#!/bin/sh
[ "$PAM_TYPE" = open_session ] || exit 0
echo "$PAM_USER $(probe tcp 10.88.0.2 7001) $(probe tcp 10.88.0.3 7001)" >>/run/storm/reached
`;

async function storm(users: readonly string[], size: number): Promise<Outcome> {
  const told = await lab.output(["bash", "-c", STORM, "storm", users.join(" "), String(size)], {
    timeoutMs: PATIENCE_MS,
  });
  const codes = told.split("\n").map((line) => line.split(" ")[1]);
  expect(codes).toHaveLength(size);
  const whole = codes.filter((code) => code === "0").length;
  return { whole, refused: size - whole };
}

/** By hand: how many came in, how many did not, and why. */
async function tell(what: string, outcome: Outcome, from: { began: number; since: string }): Promise<void> {
  if (Bun.env["AUTHNFT_STORM"] === undefined) return;
  const seconds = ((performance.now() - from.began) / 1000).toFixed(1);
  const reasons = (await lab.journal({ since: from.since })).flatMap(
    (entry) => entry["AUTHNFT_REASON"] ?? [],
  );
  const counts = [...new Set(reasons)].map(
    (reason) => `${reasons.filter((one) => one === reason).length} ${reason}`,
  );
  console.log(
    `${what}: ${outcome.whole} whole, ${outcome.refused} refused (${counts.join(", ") || "-"}), in ${seconds} s.`,
  );
}

viaOne("A storm of logins", (via) => {
  beforeAll(async () => {
    await lab.reset();
    await lab.output(
      `for user in ${ALIKE.join(" ")}; do useradd --badname --no-create-home --groups authnft $user; done`,
    );
    await lab.write("/usr/local/lib/storm-probe", PROBE, { mode: "0755" });
    await lab.pam("lab", {
      through: via,
      after: ["session required pam_exec.so seteuid quiet /usr/local/lib/storm-probe"],
    });
    await lab.pam("sshd", { through: via });
    for (const user of USERS) await lab.fragment(user, ONLY_FIRST);
  });

  test(
    "of a hundred at once, as of cron's jobs at the full hour: each is whole, and nothing is left",
    async () => {
      const from = { began: performance.now(), since: await lab.cursor() };
      const outcome = await storm(USERS, SIZE);
      await tell("at once", outcome, from);
      expect(outcome).toEqual({ whole: SIZE, refused: 0 });
      // Each was under its policy.
      const seen = await reached();
      expect(seen).toHaveLength(SIZE);
      expect(seen.filter((line) => !line.endsWith(" ok refused"))).toEqual([]);
      await sweep();
      await nothingLeft(SETTLING_MS);
    },
    PATIENCE_MS,
  );

  test(
    "while rules are reloaded, restored and flushed and systemd starts anew: each is whole or refused, root can log in, and nothing is left",
    async () => {
      const from = { began: performance.now(), since: await lab.cursor() };
      const trouble = [
        "authnft reload --all >/dev/null 2>&1",
        "authnft restore >/dev/null 2>&1",
        // Between the two everybody has the network of everybody: the gap that docs/security.md names.
        "nft flush ruleset && systemctl reload authnft.service; sleep 0.5",
        "systemctl daemon-reexec; sleep 2",
        `timeout ${5 + SIZE / 5} pamtester lab root open_session close_session >/dev/null`,
      ];
      const calm = lab.sshStart(
        "alice",
        "echo up; while read -r; do probe tcp 10.88.0.2 7001; probe tcp 10.88.0.3 7001; done",
      );
      await calm.expect(/up\n/);
      const loops = trouble.map((script) => lab.start(`while :; do ${script}; echo $?; done`));
      const outcome: Outcome = { whole: 0, refused: 0 };
      // Until each kind of trouble has been there from beginning to end at least once, and somebody came in all the same.
      do {
        const { whole, refused } = await storm(USERS, TROUBLED);
        outcome.whole += whole;
        outcome.refused += refused;
      } while (outcome.whole === 0 || loops.some((loop) => loop.lines.length === 0));
      await Promise.all(loops.map((loop) => loop.kill()));
      await tell("under trouble", outcome, from);
      expect(new Set(loops.at(-1)?.lines)).toEqual(new Set(["0"]));
      // What was interrupted with the last loop is done again.
      // systemd may not hear yet.
      const restart = "systemctl daemon-reload && systemctl restart authnft.service";
      await waitFor(async () => (await lab.run(restart)).code === 0, { timeoutMs: 20_000 });
      // Whoever was in before is in, and judged.
      calm.write("\n");
      await calm.expect(/^ok\nrefused\n/m);
      calm.end();
      await calm.exited;
      await sweep();
      await nothingLeft(SETTLING_MS);
      expect(await storm(["bob"], 1)).toEqual({ whole: 1, refused: 0 });
      await sweep();
      await nothingLeft(SETTLING_MS);
    },
    PATIENCE_MS,
  );

  test("of one's own that somebody stops keeps nobody else waiting", async () => {
    await lab.pam("su", { through: via });
    // Two dozen times su, stopped as soon as it has somebody work for it: whoever starts it may do so, for it keeps their uid.
    const stops = `for ((n = 0; n < 24; n++)); do
        (echo ${passwordOf("m3")} | su m3 -c true >/dev/null 2>&1) &
      done
      for ((end = SECONDS + 5; SECONDS < end; )); do
        for helper in $(pgrep -x authnft-entry; pgrep -x authnft); do
          kill -STOP $(ps -o ppid= -p $helper)
        done 2>/dev/null
      done
      pgrep -c --runstates T -x su; sleep 60`;
    await using dave = lab.start(["bash", "-c", stops], { user: "dave" });
    const [stopped = ""] = await dave.expect(/^\d+$/m, { timeoutMs: 30_000 });
    expect(Number(stopped)).toBeGreaterThan(0);
    // What works for them is root's, and was not stopped: it has ended, and its turn is another's.
    const held = 'grep -c ":$(stat -c %i /run/authnft/lock/turns) " /proc/locks || true';
    await waitFor(async () => (await lab.output(held)) === "0", { timeoutMs: 20_000 });
    expect(await storm(["bob"], 1)).toEqual({ whole: 1, refused: 0 });
    await lab.output("pkill -KILL -x su; true");
    await dave.kill();
    await lab.pam("su", null);
    await sweep();
    await nothingLeft(SETTLING_MS);
  }, 120_000);
});
