// SPDX-License-Identifier: GPL-2.0-or-later

// What nobody removed, made by taking away those who would: the sweep finds it, and nothing else.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { waitFor } from "../lab/lab.ts";
import { lab, nothingLeft, ONLY_FIRST, onThisRelease } from "./harness.ts";

type Swept = { removed: { kind: string; name: string }[]; stays: { kind: string; name: string }[] };

async function sweep(...words: readonly string[]): Promise<Swept> {
  return JSON.parse(await lab.output(["authnft", "sweep", "--json", ...words])) as Swept;
}

const names = (left: Swept["removed"], kind: string) =>
  left.flatMap((one) => (one.kind === kind ? [one.name] : [])).sort();

/** Has systemd start no clean-up, as where it fails each time. */
const NO_CLEAN_UP = `
mkdir -p /run/systemd/system/authnft-end@.service.d /run/systemd/system/authnft-session@.service.d
printf '[Service]\\nExecStart=\\nExecStart=/bin/true\\n' >/run/systemd/system/authnft-end@.service.d/lab.conf
printf '[Service]\\nExecStop=\\nExecStop=/bin/true\\n' >/run/systemd/system/authnft-session@.service.d/lab.conf
systemctl daemon-reload`;
const CLEAN_UP = `
rm -r /run/systemd/system/authnft-end@.service.d /run/systemd/system/authnft-session@.service.d
systemctl daemon-reload`;

const TRIES = "echo up; while read -r; do probe tcp 10.88.0.2 7001; probe tcp 10.88.0.3 7001; done";

/** Logs in, kills whatever is in the session's scope, and waits until that is gone. */
async function perish(user: string): Promise<string> {
  await using session = lab.sshStart(user, "cat /proc/self/cgroup; cat");
  const [, scope = ""] = await session.expect(/\/([^/\s]+\.scope)$/m);
  await lab.output(["systemctl", "kill", "--signal=KILL", scope]);
  await session.exited;
  await waitFor(async () => (await lab.run(["systemctl", "is-active", scope])).code !== 0);
  return scope;
}

onThisRelease("What nobody removed", () => {
  beforeAll(async () => {
    await lab.reset();
    for (const user of ["alice", "bob", "carol", "m0"]) await lab.fragment(user, ONLY_FIRST);
  });

  afterAll(async () => {
    await lab.run(CLEAN_UP);
    await lab.run("authnft sweep");
  });

  test("is not what a clean-up leaves that fails once, with scope=session neither", async () => {
    await lab.pam("sshd", { through: "shim", args: ["scope=session"] });
    await lab.output(NO_CLEAN_UP.replaceAll("/bin/true", "/bin/false"));
    await perish("m0");
    expect(await lab.sessions()).toHaveLength(1);
    await lab.output("rm -r /run/systemd/system/authnft-end@.service.d; systemctl daemon-reload");
    await nothingLeft();
    await lab.output("rm -r /run/systemd/system/authnft-session@.service.d; systemctl daemon-reload");
  });

  test("is found, told and removed, whoever else is logged in", async () => {
    await lab.pam("sshd", { through: "shim" });
    await using bob = lab.sshStart("bob", TRIES);
    await bob.expect(/up\n/);
    // Neither the session's rules nor those of what its user runs besides are nobody's, though its record is lost.
    await using carol = lab.sshStart("carol", TRIES);
    await carol.expect(/up\n/);
    await lab.output("rm /run/authnft/sessions/authnft-carol-*.json");
    const chains = async () => (await lab.ruleset()).match(/chain \S+_in/g)?.sort();
    const before = await chains();

    await lab.output(NO_CLEAN_UP);
    const scopes = [await perish("alice")];
    await lab.pam("sshd", { through: "shim", args: ["scope=session"] });
    scopes.push(await perish("m0"));
    await lab.output(`
      cd /run/authnft
      nft -f - <<END
        add chain inet authnft session_nobody_7_in
        add chain inet authnft session_nobody_7_out
        add set inet authnft session_nobody_7_addresses { type ipv4_addr; elements = { 192.0.2.1 }; }
        add counter inet authnft session_nobody_7_count
        add rule inet authnft session_nobody_7_in ip saddr @session_nobody_7_addresses counter name session_nobody_7_count goto session_nobody_7_out
END
      touch lock/authnft-carol-4194304.scope lock/authnft-dave-4194304.scope
      touch sessions/authnft-carol-4194304.scope.json.4194305.tmp policy/cover_1.nft.1.tmp
      echo "covered_slices user.slice/user-4242.slice 4242" >>slices`);
    await using held = lab.start(
      "flock /run/authnft/lock/authnft-dave-4194304.scope -c 'echo held; read -r'",
    );
    await held.expect(/held/);

    const shown = await sweep("--dry-run");
    expect(shown.removed).toEqual([]);
    const expected = {
      session: scopes.sort(),
      lock: ["authnft-carol-4194304.scope", "authnft-dave-4194304.scope"],
      file: ["/run/authnft/sessions/authnft-carol-4194304.scope.json.4194305.tmp"],
      rules: [
        "chain session_nobody_7_in",
        "chain session_nobody_7_out",
        "counter session_nobody_7_count",
        "set session_nobody_7_addresses",
      ],
    };
    const found = (left: Swept["removed"]) =>
      Object.fromEntries(Object.keys(expected).map((kind) => [kind, names(left, kind)]));
    expect(found(shown.stays)).toEqual(expected);
    await lab.output("ls /run/authnft/sessions/*.tmp && nft list chain inet authnft session_nobody_7_in");

    const since = await lab.cursor();
    const { code, stdout } = await lab.run(["authnft", "sweep", "--json"]);
    const swept = JSON.parse(stdout) as Swept;
    // A lock that is held is somebody's.
    expect({ code, stays: swept.stays }).toEqual({
      code: 1,
      stays: [{ kind: "lock", name: "authnft-dave-4194304.scope" }],
    });
    expect(found(swept.removed)).toEqual({ ...expected, lock: ["authnft-carol-4194304.scope"] });
    const told = (await lab.journal({ since })).filter(({ MESSAGE }) => MESSAGE?.startsWith("Swept away"));
    expect(told).toHaveLength(swept.removed.length);

    // What lives stays, a file that somebody is writing with it; and it is judged as before.
    await lab.output("rm /run/authnft/policy/cover_1.nft.1.tmp");
    await held.kill();
    expect(await sweep()).toEqual({
      removed: [{ kind: "lock", name: "authnft-dave-4194304.scope" }],
      stays: [],
    });
    expect(await chains()).toEqual(before);
    // Of slices that are gone nothing is kept once the kernel holds none of their cgroups, though bob is in.
    await waitFor(
      async () => !(await lab.output("authnft sweep >&2; cat /run/authnft/slices")).includes("4242"),
    );
    await lab.output(CLEAN_UP);
    for (const session of [bob, carol]) {
      session.write("\n");
      await session.expect(/^ok\nrefused\n/m);
      session.end();
      await session.exited;
    }
    await nothingLeft();
    expect(await lab.output("authnft sweep")).toBe("Nothing is left of what is gone.");
  });

  test("goes with a restore, too, and with the timer", async () => {
    await lab.pam("sshd", { through: "shim" });
    for (const act of ["authnft restore", "systemctl start authnft-sweep.service"]) {
      await lab.output(NO_CLEAN_UP);
      await perish("alice");
      expect(await lab.sessions()).toHaveLength(1);
      await lab.output(CLEAN_UP);
      await lab.output(act);
      await nothingLeft();
    }
    expect(
      await lab.output("systemctl is-enabled authnft-sweep.timer; systemctl is-active authnft-sweep.timer"),
    ).toBe("enabled\nactive");
  });
});
