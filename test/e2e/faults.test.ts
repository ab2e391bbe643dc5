// SPDX-License-Identifier: GPL-2.0-or-later

// What a login meets on a host where something is broken: a member is refused, or left without network where the PAM
// line is optional; everybody else comes in; and with the fault mended all is as before.

import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type JournalEntry, type Result, type Running, waitFor } from "../lab/lab.ts";
import { hookLines, type PamHook } from "../lab/pam.ts";
import { lab, nothingLeft, ONLY_FIRST, onThisRelease, sweep, viaBoth } from "./harness.ts";

const ENTRY = "/usr/libexec/authnft";
const PROGRAM = "/usr/lib/authnft/authnft";
const ADDON = "/usr/lib/authnft/koffi.node";
/** Where the real entry is while something else has its name. */
const REAL = "/usr/libexec/authnft-real";

/** What a person can reach: TCP and UDP, IPv4 and IPv6, all of it allowed by ONLY_FIRST. */
const REACH =
  "probe tcp 10.88.0.2 7001; probe udp 10.88.0.2 7001; probe tcp fd88::2 7001; probe udp fd88::2 7001";
const EVERYTHING = "ok ok ok ok";

const FIRST = "probe tcp 10.88.0.2 7001";
/** What tells a filtered session from others: one destination allowed, one not. */
const FILTERED = `${FIRST}; probe tcp 10.88.0.3 7001`;

const MEMBERS = ["alice", "bob", "carol", ...Array.from({ length: 10 }, (_, n) => `m${n}`)];

/** A sentence that helps: it names what to ask the administrator for, or what the administrator has to do. */
const HELPFUL = /Ask the administrator to [a-z]|run "authnft (install|doctor)"/;

/** Puts several hooks into one stack, each for the users who are named with it. */
async function stack(hooks: readonly (PamHook & { for: string[] })[], before: string[] = []): Promise<void> {
  const blocks = hooks.map((hook) => {
    const lines = hookLines(hook);
    const others = `session [success=ignore default=${lines.length}] pam_succeed_if.so quiet user in ${hook.for.join(":")}`;
    return [others, ...lines];
  });
  const last = hooks.at(-1) as PamHook;
  const ofLast = hookLines(last).length;
  await lab.pam("sshd", { ...last, before: [...before, ...blocks.flat().slice(0, -ofLast)] });
}

/** The words that probes printed. */
function words({ stdout }: { stdout: string }): string {
  return stdout
    .split("\n")
    .filter((line) => /^(ok|refused|unreachable|eperm|timeout)$/.test(line))
    .join(" ");
}

function expectNoNetwork(result: Result): void {
  expect(words(result), `the session should go on, without network: ${result.stderr}`).toMatch(
    /^((refused|unreachable|eperm|timeout) ?){4}$/,
  );
}

/** Logs in as a member with a required line, and says how that ended: refused with a sentence, or filtered; never otherwise. */
async function whole(user: string): Promise<"refused" | "filtered"> {
  const result = await lab.ssh(user, FILTERED);
  if (result.code === 254) {
    expect(result.stdout + result.stderr).toMatch(HELPFUL);
    return "refused";
  }
  expect(words(result)).toBe("ok refused");
  return "filtered";
}

/** What is ours in the log, from warnings on: the helper's own lines, and those that the shim writes as the service that it is in. */
async function complaints(since: string): Promise<JournalEntry[]> {
  const entries = await lab.journal({ since, match: { _UID: "0" } });
  return entries.filter(
    ({ SYSLOG_IDENTIFIER: who = "", MESSAGE = "", PRIORITY }) =>
      Number(PRIORITY) <= 4 &&
      (who === "pam_authnft" || (/^sshd/.test(who) && MESSAGE.startsWith("pam_authnft("))),
  );
}

async function fragments(): Promise<void> {
  await lab.output(["bash", "-c", 'cd /etc/authnft/users && tee "$@" >/dev/null', "fragments", ...MEMBERS], {
    input: ONLY_FIRST,
  });
}

/** Breaks the guest, does something, and mends it whatever happened. */
async function broken<T>(
  { break: how, mend }: { break: string; mend: string },
  work: () => Promise<T>,
): Promise<T> {
  try {
    await lab.output(`set -e\n${how}`);
    return await work();
  } finally {
    await lab.run(mend);
  }
}

/**
 * Puts a script in the entry's place; the real one is then called REAL. Not in the program's: what is there may execute
 * nothing else, and least of all an interpreter.
 */
function instead(script: string): { break: string; mend: string } {
  return {
    break: `mv ${ENTRY} ${REAL}\ncat >${ENTRY} <<'END'\n#!/bin/bash\n${script}\nEND\nchmod 0755 ${ENTRY}`,
    mend: `[ ! -e ${REAL} ] || mv -f ${REAL} ${ENTRY}`,
  };
}

function away(path: string): { break: string; mend: string } {
  return { break: `mv ${path} ${path}.away`, mend: `mv ${path}.away ${path}` };
}

/** Puts back a library that is away. */
const BACK = 'for f in /usr/lib/*/lib*.away; do mv "$f" "$(dirname "$f")/$(basename "$f" .away)"; done';

const RESTART_LOGIND = "systemctl restart systemd-logind";
const BUS_POLICY = "/etc/dbus-1/system.d/zz-lab.conf";
/** Fills what the next write would need, again and again: whatever ends meanwhile gives room back. */
const FILLER = `
import os, time
fd = os.open("/run/filler", os.O_WRONLY | os.O_CREAT)
while True:
    try:
        os.write(fd, bytes(4096))
    except OSError:
        time.sleep(0.0005)
`;

type Fault = {
  /** Completes "With …". */
  what: string;
  break: string;
  mend: string;
  /** What the line in the log says: what is wrong, and what to do. */
  log: RegExp;
  /** The refusal's reason, where the helper comes to refuse. */
  reason?: string;
  /**
   * Under pam_exec nothing of ours runs, or what ran was replaced: no sentence, no line, and an optional line lets the
   * session through as it is. That is why the recommended line is required.
   */
  outOfReach?: true;
};

const FAULTS: readonly Fault[] = [
  {
    what: "the system bus stopped",
    break: "systemctl stop dbus.socket dbus.service 2>/dev/null",
    mend: `systemctl start dbus.socket dbus.service; ${RESTART_LOGIND}`,
    log: /Cannot start authnft-alice-\d+\.scope: the system bus cannot be reached: .*; see "systemctl status dbus /,
    reason: "systemd",
  },
  {
    what: "the system bus's directory gone",
    break: "mv /run/dbus /run/dbus.away",
    mend: "mv /run/dbus.away /run/dbus",
    log: /Cannot start authnft-alice-\d+\.scope: the system bus cannot be reached: .*; see "systemctl status dbus /,
    reason: "systemd",
  },
  {
    what: "a bus policy that denies root transient units",
    break: `cat >${BUS_POLICY} <<'END'
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><policy context="mandatory">
<deny send_destination="org.freedesktop.systemd1" send_interface="org.freedesktop.systemd1.Manager" send_member="StartTransientUnit"/>
</policy></busconfig>
END
systemctl reload dbus`,
    mend: `rm -f ${BUS_POLICY}; systemctl reload dbus`,
    log: /Cannot start authnft-alice-\d+\.scope: StartTransientUnit: .*; see "systemctl status dbus authnft\.slice"/,
    reason: "systemd",
  },
  {
    what: "authnft.slice masked",
    break: "systemctl mask --runtime authnft.slice 2>/dev/null",
    mend: "systemctl unmask --runtime authnft.slice",
    log: /Cannot start authnft-alice-\d+\.scope: .*masked.*; see "systemctl status dbus authnft\.slice"/,
    reason: "systemd",
  },
  {
    what: "authnft.slice masked and stopped",
    break: "systemctl mask --runtime authnft.slice 2>/dev/null; systemctl stop authnft.slice",
    mend: "systemctl unmask --runtime authnft.slice; nft flush ruleset; systemctl restart authnft.service",
    log: /Cannot start authnft-alice-\d+\.scope: .*masked.*; see "systemctl status dbus authnft\.slice"/,
    reason: "systemd",
  },
  {
    what: "a drop-in that makes every scope's job fail",
    break: `
      mkdir -p /run/systemd/system/authnft-.scope.d
      printf '[Unit]\\nRequires=lab-never.service\\nAfter=lab-never.service\\n' >/run/systemd/system/authnft-.scope.d/lab.conf
      printf '[Service]\\nType=oneshot\\nExecStart=/bin/false\\n' >/run/systemd/system/lab-never.service
      systemctl daemon-reload`,
    mend: "rm -r /run/systemd/system/authnft-.scope.d /run/systemd/system/lab-never.service; systemctl daemon-reload; systemctl reset-failed",
    log: /Cannot start authnft-alice-\d+\.scope: systemd did not start .*: its job ended as "dependency"; see "systemctl status /,
    reason: "systemd",
  },
  {
    what: "libnftables missing",
    ...away("$(readlink -f /usr/lib/*/libnftables.so.1)"),
    mend: BACK,
    log: /libnftables\.so\.1.*(install|doctor|package)/,
  },
  {
    what: "libseccomp missing",
    ...away("$(readlink -f /usr/lib/*/libseccomp.so.2)"),
    mend: BACK,
    log: /libseccomp\.so\.2.*(install|doctor|package)/,
  },
  {
    what: "somebody else's table of our name, and no fragment",
    // Nobody has a fragment: the first refusal puts our table in that one's place, and logins would work from then on.
    break: `
      rm /etc/authnft/users/*
      nft delete table inet authnft
      nft 'table inet authnft {
        map session_map_cg { type ipv4_addr : verdict; }
        set session_in { type inet_service; }
        chain members_in { type filter hook forward priority 0; }
      }'`,
    mend: "true",
    log: /Cannot read fragment \/etc\/authnft\/users\/alice: there is none, .*; write one/,
    reason: "missing",
  },
  {
    what: "the ruleset flushed by hand, and no fragment",
    break: "rm /etc/authnft/users/*; nft flush ruleset",
    mend: "true",
    log: /Cannot read fragment \/etc\/authnft\/users\/alice: there is none, .*; write one/,
    reason: "missing",
  },
  {
    what: "authnft.slice stopped by hand, and no fragment",
    break: "rm /etc/authnft/users/*; systemctl stop authnft.slice",
    mend: "nft flush ruleset; systemctl restart authnft.service",
    log: /Cannot read fragment \/etc\/authnft\/users\/alice: there is none, .*; write one/,
    reason: "missing",
  },
  {
    what: "/run full",
    break: `mount -o remount,size=1m /run\nsetsid python3 -c '${FILLER}' </dev/null >/dev/null 2>&1 & echo $! >/tmp/filler\nsleep 0.1; df --output=avail /run | grep -qx ' *0'`,
    mend: "kill -9 $(cat /tmp/filler); rm -f /run/filler; mount -o remount,size=1g /run",
    log: /Cannot (start|write the record of|lock) authnft-alice-\d+\.scope.*; (see "systemctl status|make room in \/run)/,
  },
  {
    what: "no room for a record",
    break: `
      mount -t tmpfs -o size=8k,mode=0755 lab /run/authnft
      mkdir -m 0755 /run/authnft/sessions && mkdir -m 0700 /run/authnft/lock
      head -c 1M /dev/zero >/run/authnft/filler 2>/dev/null || true`,
    // A logout may still have a file of it open.
    mend: "umount --lazy /run/authnft",
    log: /Cannot write the (record|rules) of (authnft-alice-\d+\.scope|policy_\w+) in \/run\/authnft: ENOSPC; make room in \/run/,
    reason: "record",
  },
  {
    what: "no inode left for a lock",
    break: `
      mount -t tmpfs -o nr_inodes=4,mode=0755 lab /run/authnft
      mkdir -m 0755 /run/authnft/sessions && mkdir -m 0700 /run/authnft/lock && touch /run/authnft/filler`,
    // A logout may still have a file of it open.
    mend: "umount --lazy /run/authnft",
    log: /Cannot lock authnft-alice-\d+\.scope in \/run\/authnft: ENOSPC; make room in \/run/,
    reason: "record",
  },
  {
    what: "the entry missing",
    ...away(ENTRY),
    log: /session of alice refused: no answer from \/usr\/libexec\/authnft: .*is not there; run "authnft doctor"/,
    outOfReach: true,
  },
  {
    what: "the entry not executable",
    break: `chmod 0644 ${ENTRY}`,
    mend: `chmod 0755 ${ENTRY}`,
    log: /session of alice refused: no answer from \/usr\/libexec\/authnft: .*; run "authnft doctor"/,
    outOfReach: true,
  },
  {
    what: "the program missing",
    ...away(PROGRAM),
    log: /Cannot execute \/usr\/lib\/authnft\/authnft \(error 2\): run "authnft install" again/,
  },
  {
    what: "the program not executable",
    break: `chmod 0644 ${PROGRAM}`,
    mend: `chmod 0755 ${PROGRAM}`,
    log: /Cannot execute \/usr\/lib\/authnft\/authnft \(error 13\): run "authnft install" again, and see that no mount there is noexec/,
  },
  {
    what: "a damaged addon",
    break: `cp ${ADDON} ${ADDON}.away; echo garbage >${ADDON}`,
    mend: `mv -f ${ADDON}.away ${ADDON}`,
    log: /Cannot load koffi's addon: \/usr\/lib\/authnft\/koffi\.node: .*(install|doctor|package)/,
  },
  {
    what: "the addon missing",
    break: `mv ${ADDON} ${ADDON}.away`,
    mend: `mv -f ${ADDON}.away ${ADDON}`,
    log: /Cannot load koffi's addon: there is no \/usr\/lib\/authnft\/koffi\.node; run "authnft install" again/,
  },
  {
    what: "a program that ends at once, without a word",
    break: `mv ${PROGRAM} ${PROGRAM}.away; cp /bin/false ${PROGRAM}`,
    mend: `mv -f ${PROGRAM}.away ${PROGRAM}`,
    log: /session of alice refused: no answer from \/usr\/libexec\/authnft: it ended with status 1; run "authnft doctor"/,
    outOfReach: true,
  },
  {
    what: "a helper that crashes",
    ...instead("kill -SEGV $$"),
    log: /session of alice refused: no answer from \/usr\/libexec\/authnft: it was killed by signal 11; run "authnft doctor"/,
    outOfReach: true,
  },
];

/** What stands in for the entry and answers nonsense, another to each user. */
const GARBAGE = `
case $(tr '\\0' ' ' </proc/$PPID/cmdline) in
*' m0 '*) ;;
*' m1 '*) printf 'authnft 1\\nresult=ok\\nend\\n' ;;
*' m2 '*) printf 'authnft 2\\nresult=ok\\nsession=authnft-m2-1.scope\\ncorrelation=x\\nend\\n' ;;
*' m3 '*) printf 'authnft 1\\nresult=ok\\nsession=authnft-m3-1.scope\\ncorrelation=x\\n' ;;
*' m4 '*) printf 'authnft 1\\nresult=ok\\nsession=authnft-m4-1.scope\\ncorrelation=x\\nend\\nmore\\n' ;;
*' m5 '*) head -c 1M /dev/zero ;;
*' m6 '*) head -c 3000 /dev/urandom ;;
*' m7 '*) printf 'authnft 1\\nresult=maybe\\nsession=authnft-m7-1.scope\\ncorrelation=x\\nend\\n' ;;
*' m8 '*) printf 'authnft 1\\nresult=ok\\nsession=../m8\\ncorrelation=x\\nend\\n' ;;
*' m9 '*) printf 'authnft 1\\nresult=ok\\nresult=ok\\nsession=authnft-m9-1.scope\\ncorrelation=x\\nend\\n' ;;
esac
exit STATUS`;

/** Has a script become an entry, with the environment in pam_exec's order, which a shell does not keep. */
const become = (entry: string): string =>
  `mapfile -d '' -t variables </proc/$$/environ; exec env -i "\${variables[@]}" ${entry} "$@"`;

/** Stands in for the entry: is killed after the milliseconds that /run/lab-kill/open or close has for the user. */
const KILLED = `
now=open; grep -q authnft.slice /proc/$PPID/cgroup && now=close
if [ -e /run/lab-kill/$now ]; then
  of=$(tr '\\0' ' ' </proc/$PPID/cmdline)
  while read -r user delay; do
    [[ $of = *" $user "* ]] || continue
    (sleep $((delay / 1000)).$(printf %03d $((delay % 1000))); kill -KILL $$) </dev/null >/dev/null 2>&1 &
  done </run/lab-kill/$now
fi
${become(REAL)}`;

/** An entry like the real one, with its alarm, whose program does nothing for ever. */
const HANGS = "/usr/libexec/authnft-hangs";
const NOTHING = "/usr/lib/authnft/hangs";

async function placeHanging(): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "authnft-faults-"));
  try {
    const source = join(directory, "hangs.c");
    await Bun.write(source, "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n");
    await Bun.$`gcc -static -o ${directory}/hangs ${source}`.quiet();
    const build = join(import.meta.dir, "../../native/build.sh");
    await Bun.$`${build} ${directory} gcc entry`
      .env({ ...Bun.env, CPPFLAGS: `-DPROGRAM="${NOTHING}"` })
      .quiet();
    await lab.write(NOTHING, await Bun.file(join(directory, "hangs")).bytes(), { mode: "0755" });
    await lab.write(HANGS, await Bun.file(join(directory, "authnft-entry")).bytes(), { mode: "0755" });
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** Stands in for the entry: becomes the one that hangs for some users, stops itself for carol. */
const HANGING = `
case $(tr '\\0' ' ' </proc/$PPID/cmdline) in
*' m2 '* | *' m3 '* | *' m4 '* | *' m5 '*) ${become(HANGS)} ;;
*' carol '*) kill -STOP $$ ;;
esac
${become(REAL)}`;

/** Drop-ins for the scopes of four users, whose start has to wait for a unit that takes longer than we have patience. */
const SLOW = "/run/systemd/system/authnft-m";
const SLOW_SCOPES = `
for user in 6 7 8 9; do
  mkdir ${SLOW}$user-.scope.d
  printf '[Unit]\\nRequires=lab-slow.service\\nAfter=lab-slow.service\\n' >${SLOW}$user-.scope.d/lab.conf
done
printf '[Service]\\nType=oneshot\\nExecStart=/bin/sleep 11\\n' >/run/systemd/system/lab-slow.service
systemctl daemon-reload`;

const LATER = `${REACH}; echo later; read -r; ${REACH}`;

/** Whether a session came up; otherwise its login has ended. */
async function isUp(session: Running): Promise<boolean> {
  return await session.expect(/up\n/).then(
    () => true,
    () => false,
  );
}

/** Waits until records, rules and scopes speak of the same sessions. */
async function consistent(): Promise<void> {
  const look = async (): Promise<string[]> => {
    const [records, ruleset, scopes] = await Promise.all([
      lab.sessions(),
      lab.ruleset(),
      lab.output("systemctl list-units --no-legend --plain 'authnft-*.scope' | cut -d' ' -f1"),
    ]);
    const stems = (text: string, pattern: RegExp): string =>
      [...new Set([...text.matchAll(pattern)].map((found) => found[1]))].sort().join(" ");
    return [
      stems(
        records.map((record) => `${record.state} ${record.scope_unit}`).join("\n"),
        /open authnft-(.*)\.scope/g,
      ),
      stems(scopes, /authnft-(.*)\.scope/g),
      stems(ruleset, /chain session_(.*)_in /g).replaceAll("_", "-"),
      stems(ruleset, /chain session_(.*)_out /g).replaceAll("_", "-"),
      stems(ruleset, /jump session_(.*)_in\b/g).replaceAll("_", "-"),
      stems(ruleset, /jump session_(.*)_out\b/g).replaceAll("_", "-"),
    ];
  };
  await waitFor(async () => new Set(await look()).size === 1, {
    timeoutMs: 1000,
    what: "records, rules and scopes that agree",
  }).catch(async (error) => {
    throw new Error(`${error.message} Records, scopes, chains and elements: ${JSON.stringify(await look())}`);
  });
}

/** Holds the logins of some users between pam_systemd and us, until `go`. */
async function waiting(
  users: readonly string[],
  work: (arrived: () => Promise<void>, go: () => Promise<void>) => Promise<void>,
): Promise<void> {
  const go = async (): Promise<void> => {
    await lab.output("rm -rf /run/lab-gate");
  };
  const arrived = async (): Promise<void> => {
    await waitFor(
      async () => (await lab.output("ls /run/lab-gate")).split("\n").length === 2 * users.length,
      {
        what: "every login at the gate",
      },
    );
  };
  try {
    await lab.output([
      "bash",
      "-c",
      'mkdir -p /run/lab-gate; cd /run/lab-gate; touch "$@"',
      "gate",
      ...users,
    ]);
    await work(arrived, go);
  } finally {
    await go();
  }
}

/** The line of the PAM stack that `waiting` needs, before ours. */
const GATE = "session optional pam_exec.so seteuid quiet /usr/local/lib/lab-gate";

async function placeGate(): Promise<void> {
  const script = `#!/bin/sh
cd /run/lab-gate 2>/dev/null && [ -e "$PAM_USER" ] && touch "$PAM_USER.here"
while [ "$PAM_TYPE" = open_session ] && [ -e "/run/lab-gate/$PAM_USER" ]; do sleep 0.02; done
`;
  await lab.write("/usr/local/lib/lab-gate", script, { mode: "0755" });
}

afterAll(async () => {
  await lab.reset();
  await lab.install();
});

viaBoth("On a broken host", (via) => {
  /** Whether a test ended early: what it left must not fail those after it. */
  let untidy = true;
  beforeEach(async () => {
    if (!untidy) return await fragments();
    await lab.reset();
    await lab.install();
    await fragments();
    // One stack for both: bob's line is optional, everybody else's required.
    await placeGate();
    await stack(
      [
        { for: ["bob"], through: via, control: "optional" },
        { for: [...MEMBERS.filter((user) => user !== "bob"), "dave", "root"], through: via },
      ],
      [GATE],
    );
  });

  for (const fault of FAULTS) {
    const { what, log, reason, outOfReach } = fault;
    // Nothing of ours runs then, and what says so is not ours; the network is taken by what stands around the session.
    const silent = outOfReach && via === "exec";
    test(`with ${what}, a member is refused or without network, others come in, and later logins work`, async () => {
      untidy = true;
      const since = await lab.cursor();
      await broken(fault, async () => {
        const [refused, tolerated, ...others] = await Promise.all([
          lab.ssh("alice", "true"),
          lab.ssh("bob", REACH),
          lab.ssh("dave", REACH),
          lab.ssh("root", FIRST),
        ]);
        expect(refused.code).toBe(254);
        if (!silent) expect(refused.stdout + refused.stderr).toMatch(HELPFUL);
        expectNoNetwork(tolerated);
        expect(others.map(words)).toEqual([EVERYTHING, "ok"]);
      });

      const ours = await complaints(since);
      if (!silent) expect(ours.map(({ MESSAGE }) => MESSAGE).join("\n")).toMatch(log);
      for (const { MESSAGE } of ours)
        expect(MESSAGE).not.toMatch(/\n|\/\$bunfs\/| {4}at |could not be cut off/);
      if (reason !== undefined) {
        const refusals = ours.filter((entry) => entry["AUTHNFT_EVENT"] === "refuse");
        expect(refusals.map((entry) => `${entry["AUTHNFT_USER"]} ${entry["AUTHNFT_REASON"]}`).sort()).toEqual(
          [`alice ${reason}`, `bob ${reason}`],
        );
      }

      await fragments();
      expect(await whole("alice")).toBe("filtered");
      await nothingLeft();
      untidy = false;
    });
  }

  test("with the ruleset flushed besides, the cgroup of the last resort is locked by itself", async () => {
    untidy = true;
    const cgroup = "/authnft.slice/run-authnft-refused.mount";
    const attempts = REACH.split("; ").map((probe) => `${probe} --timeout 1 &`);
    const ofBob = () => lab.ssh("bob", `sed -n s/^0:://p /proc/self/cgroup; ${attempts.join(" ")} wait`);
    // Under pam_exec it is the entry that moves the process, so there has to be one, and it has to notice.
    const faults = via === "shim" ? [away(ENTRY), instead("kill -SEGV $$")] : [away(PROGRAM)];
    for (const [n, fault] of faults.entries())
      await broken(fault, async () => {
        await lab.output("nft flush ruleset");
        const held = await ofBob();
        expect(held.stdout).toStartWith(`${cgroup}\n`);
        expectNoNetwork(held);
        expect(await lab.ruleset()).toBe("");
        if (n === 0 || via === "exec") return;
        // In a cgroup of that name that somebody merely makes the seal alone holds him.
        await waitFor(async () => (await lab.output(`cat /sys/fs/cgroup${cgroup}/cgroup.procs`)) === "");
        await lab.output("systemctl stop run-authnft-refused.mount; /usr/local/lib/lab/unseal");
        const unlocked = await ofBob();
        expect(unlocked.stdout).toStartWith(`${cgroup}\n`);
        expect(words(unlocked)).toBe(EVERYTHING);
        // The unit takes the cgroup as it finds it.
        await lab.output("systemctl start run-authnft-refused.mount");
      });
    expect(await whole("alice")).toBe("filtered");
    await nothingLeft();
    untidy = false;
  });

  test("a session that ends while the entry is missing ends all the same, and is cleaned up once it is back", async () => {
    untidy = true;
    const since = await lab.cursor();
    const session = lab.sshStart("alice", "echo up; read -r; exit 5");
    expect(await isUp(session)).toBe(true);
    const unit = (await lab.sessions())[0]?.scope_unit;
    await broken(away(ENTRY), async () => {
      session.write("\n");
      expect(await session.exited).toBe(5);
      await waitFor(async () =>
        (await lab.journal({ since, match: { SYSLOG_IDENTIFIER: "systemd" } })).some(({ MESSAGE = "" }) =>
          MESSAGE.startsWith(`authnft-end@${unit}.service: Failed with result`),
        ),
      );
    });
    expect((await lab.sessions()).map(({ scope_unit }) => scope_unit)).toEqual([unit ?? ""]);
    await nothingLeft();
    untidy = false;
  });

  const status = via === "shim" ? 0 : 3;
  test(`a helper that answers with status ${status} and garbage opens nothing for anybody`, async () => {
    untidy = true;
    const since = await lab.cursor();
    const users = Array.from({ length: 10 }, (_, n) => `m${n}`);
    await broken(instead(GARBAGE.replace("STATUS", String(status))), async () => {
      const results = await Promise.all(users.map((user) => lab.ssh(user, FIRST)));
      expect(results.map(({ code }) => code)).toEqual(users.map(() => 254));
      expect(results.map(words)).toEqual(users.map(() => ""));
      if (via === "shim") for (const { stdout } of results) expect(stdout).toMatch(HELPFUL);
    });
    const ours = (await complaints(since)).map(({ MESSAGE = "" }) => MESSAGE);
    if (via === "shim") {
      const named = ours.map(
        (line) => /session of (m\d) refused: no answer from .*; run "authnft doctor"/.exec(line)?.[1],
      );
      expect(named.sort()).toEqual(users);
    }
    expect(await whole("m0")).toBe("filtered");
    await nothingLeft();
    untidy = false;
  });

  test("a bus that is restarted between logins or in the middle of them does no lasting harm", async () => {
    untidy = true;
    await lab.output(`systemctl restart dbus; ${RESTART_LOGIND}`);
    expect(await whole("alice")).toBe("filtered");

    const users = ["m0", "m1", "m2", "m3", "m4"];
    await waiting(users, async (arrived, go) => {
      const logins = users.map(whole);
      await arrived();
      await Promise.all([go(), lab.output("systemctl restart dbus")]);
      await lab.output(RESTART_LOGIND);
      for (const outcome of await Promise.all(logins)) expect(outcome).toBeOneOf(["filtered", "refused"]);
    });
    await nothingLeft();
    expect(await whole("m0")).toBe("filtered");
    await nothingLeft();
    untidy = false;
  });

  test("a helper that is killed at any moment of an open leaves no half of a session", async () => {
    untidy = true;
    const outcomes: string[] = [];
    await broken(instead(KILLED), async () => {
      for (const start of [0, 7]) {
        // The last user's helper is not killed, the first one's before it does anything.
        const users = Array.from({ length: 10 }, (_, n) => `m${n}`);
        const delays = users.slice(0, -1).map((user, n) => `${user} ${start * n + n * n}`);
        await lab.write("/run/lab-kill/open", `${delays.join("\n")}\n`);
        const sessions = users.map((user) => lab.sshStart(user, `echo up; read -r; ${FILTERED}`));
        const ups = await Promise.all(sessions.map(isUp));
        await consistent();
        for (const [n, session] of sessions.entries()) {
          if (ups[n]) session.write("\n");
          const code = await session.exited;
          outcomes.push(ups[n] ? words(session) : String(code));
        }
        await sweep();
        await nothingLeft();
      }
    });
    expect([...new Set(outcomes)].sort()).toEqual(["254", "ok refused"]);
    untidy = false;
  });

  test("a helper that is killed at any moment of a close leaves nothing, and the journal says how it ended", async () => {
    untidy = true;
    const since = await lab.cursor();
    await broken(instead(KILLED), async () => {
      for (const start of [0, 5]) {
        await lab.output("rm -rf /run/lab-kill");
        const users = Array.from({ length: 10 }, (_, n) => `m${n}`);
        const sessions = users.map((user) => lab.sshStart(user, "echo up; read -r"));
        expect(await Promise.all(sessions.map(isUp))).toEqual(users.map(() => true));
        const delays = users.slice(0, -1).map((user, n) => `${user} ${start * n + n * n}`);
        await lab.write("/run/lab-kill/close", `${delays.join("\n")}\n`);
        for (const session of sessions) session.write("\n");
        await Promise.all(sessions.map(({ exited }) => exited));
        await nothingLeft();
      }
    });
    const events = (await lab.journal({ since })).filter((entry) => entry["AUTHNFT_EVENT"]);
    const units = [...new Set(events.map((entry) => entry["AUTHNFT_SCOPE_UNIT"]))];
    expect(units.length).toBe(20);
    for (const unit of units) {
      const story = events.filter((entry) => entry["AUTHNFT_SCOPE_UNIT"] === unit);
      const told = story.map((entry) =>
        [entry["AUTHNFT_EVENT"], entry["AUTHNFT_HOW"]].filter(Boolean).join(" "),
      );
      // One that is killed after it told and before it wrote that down is taken for one that never told.
      expect(told.join(", ")).toMatch(/^open, (close pam, )*(close pam|close lost), end$/);
    }
    const endings = events.map((entry) => entry["AUTHNFT_HOW"]).filter(Boolean);
    expect([...new Set(endings)].sort()).toEqual(["lost", "pam"]);
    untidy = false;
  });
});

onThisRelease("pam_exec with optional, where pam_systemd is not in the stack", () => {
  /** In the program's place: comes back as that does, and then dies by force, at once or in the second run. */
  const source = `
#include <signal.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv)
{
  char *session[] = { "${ENTRY}", "session", "pam_exec=open", NULL };
  if (argc > 1 && strcmp(argv[1], "pam") == 0 && FIRST == 0)
    execv(session[0], session);
  raise(SIGNAL);
  return 1;
}
`;
  const seen = "/root/lab-seen";
  const look = `session optional pam_exec.so seteuid quiet type=open_session log=${seen} /usr/local/lib/lab-look`;

  beforeAll(async () => {
    await lab.reset();
    await lab.install();
    await fragments();
    await lab.write(
      "/usr/local/lib/lab-look",
      `#!/bin/bash\n${REACH.replaceAll(";", " --timeout 1;")}\nexit 0\n`,
      {
        mode: "0755",
      },
    );
    await lab.pam("lab", { through: "exec", control: "optional", after: [look] });
  });
  afterAll(async () => {
    await lab.run(`rm -f ${seen} /usr/local/lib/lab-look`);
  });

  for (const first of [true, false])
    for (const signal of ["SIGKILL", "SIGSEGV", "SIGSTOP"])
      test(`a program that gets ${signal} in its ${first ? "first" : "second"} run leaves a member without network, with the ruleset flushed besides`, async () => {
        const directory = await mkdtemp(join(tmpdir(), "authnft-faults-"));
        try {
          await Bun.write(join(directory, "dies.c"), source);
          const defined = [`-DFIRST=${first ? 1 : 0}`, `-DSIGNAL=${signal}`];
          await Bun.$`gcc -static ${defined} -o ${directory}/dies ${directory}/dies.c`.quiet();
          const dies = await Bun.file(join(directory, "dies")).bytes();
          const since = await lab.cursor();
          await broken(away(PROGRAM), async () => {
            await lab.write(PROGRAM, dies, { mode: "0755" });
            await lab.output("nft flush ruleset");
            await lab.output(["pamtester", "lab", "alice", "open_session"]);
          });
          const stdout = await lab.output(`cat ${seen}; rm ${seen}`);
          expectNoNetwork({ code: 0, stdout, stderr: "" });
          expect((await complaints(since)).map(({ MESSAGE }) => MESSAGE)).toEqual([
            expect.stringMatching(
              /^The helper was killed by signal \d+: the session is refused; run "authnft doctor"/,
            ),
          ]);
        } finally {
          await rm(directory, { recursive: true });
        }
      });
});

onThisRelease("On a slow host", () => {
  const shim = { through: "shim" } as const;
  const exec = { through: "exec" } as const;

  beforeAll(async () => {
    await lab.reset();
    await lab.install();
    await fragments();
    await placeGate();
    await stack(
      [
        { for: ["alice", "carol", "m2", "m6"], ...shim },
        { for: ["bob", "m3", "m7"], ...shim, control: "optional" },
        { for: ["m0", "m4", "m8"], ...exec },
        { for: ["m1", "m5", "m9"], ...exec, control: "optional" },
      ],
      [GATE],
    );
  });

  test("a bus that pauses for three seconds delays logins, and they are filtered", async () => {
    const users = ["alice", "bob", "m0", "m1"];
    await waiting(users, async (arrived, go) => {
      const logins = users.map((user) => lab.ssh(user, FILTERED));
      await arrived();
      const start = performance.now();
      const stuck = lab.run("kill -STOP $(pidof dbus-daemon); sleep 3; kill -CONT $(pidof dbus-daemon)");
      await waitFor(async () => (await lab.output("ps -o stat= -C dbus-daemon")).startsWith("T"));
      await go();
      const results = await Promise.all(logins);
      expect(performance.now() - start).toBeGreaterThan(2900);
      await stuck;
      expect(results.map(words)).toEqual(users.map(() => "ok refused"));
    });
    await nothingLeft();
  });

  test("a helper that was long in coming refuses in time, before the module gives up", async () => {
    await lab.pam("lab", { through: "shim" });
    const since = await lab.cursor();
    const late = `sleep 9; ${become(REAL)}`;
    await broken(instead(late), async () => {
      const { code } = await lab.run(["pamtester", "lab", "alice", "open_session"]);
      expect(code).toBe(1);
    });
    const events = (await lab.journal({ since })).filter((entry) => entry["AUTHNFT_EVENT"] === "refuse");
    expect(events.map((entry) => entry["AUTHNFT_REASON"])).toEqual(["timeout"]);
    await sweep();
    await nothingLeft();
  });

  test("what hangs is given up after some ten seconds: a member is refused or without network, others come in", async () => {
    const since = await lab.cursor();
    // More than have a turn at the same time: where its file cannot be had, nobody waits for one.
    const slow = {
      break: `rm -f /run/authnft/lock/turns; mkdir /run/authnft/lock/turns; ${SLOW_SCOPES}`,
      mend: `rmdir /run/authnft/lock/turns; rm -r ${SLOW}* /run/systemd/system/lab-slow.service; systemctl daemon-reload`,
    };
    const { break: hang, mend } = instead(HANGING);
    const program = { break: hang, mend: `${mend}; rm -f ${HANGS} ${NOTHING}` };
    await placeHanging();
    const frozen = ["alice", "bob", "m0", "m1"];
    const timed = async (user: string, start = performance.now()): Promise<Result & { seconds: number }> => {
      const result = await lab.ssh(user, "true", { timeoutMs: 40_000 });
      return { ...result, seconds: (performance.now() - start) / 1000 };
    };
    await broken(slow, () =>
      broken(program, () =>
        waiting(frozen, async (arrived, go) => {
          // Each kind of trouble in the order in which nobody stands in the way of another.
          const bob = lab.sshStart("bob", REACH);
          const m1 = lab.sshStart("m1", REACH);
          const alice = lab.ssh("alice", "true", { timeoutMs: 40_000 });
          const m0 = lab.ssh("m0", "true", { timeoutMs: 40_000 });
          const hanging = [timed("m2"), timed("carol"), timed("m4")];
          const m3 = lab.sshStart("m3", REACH);
          const m5 = lab.sshStart("m5", REACH);
          const scopes = [timed("m6"), timed("m8")];
          const m7 = lab.sshStart("m7", LATER);
          const m9 = lab.sshStart("m9", LATER);
          await arrived();
          await waitFor(
            async () =>
              (await lab.output("systemctl list-jobs --no-legend | grep -c 'authnft-m.*scope' || true")) ===
              "4",
          );
          await waitFor(async () => (await lab.output("pgrep -xc hangs || true")) === "4");

          await lab.output("kill -STOP $(pidof dbus-daemon)");
          try {
            const start = performance.now();
            await go();
            // The two that the shim never bothers, and the two that the guards of pam_exec let pass.
            for (const through of ["shim", "exec"] as const) {
              await lab.pam("lab", { through });
              const came = performance.now();
              for (const user of ["dave", "root"])
                await lab.output(["pamtester", "lab", user, "open_session", "close_session"]);
              expect(performance.now() - came).toBeLessThan(3000);
            }
            for (const refused of [await alice, await m0]) {
              expect(refused.code).toBe(254);
              expect(refused.stdout).toMatch(HELPFUL);
            }
            for (const session of [bob, m1])
              expectNoNetwork({ code: await session.exited, stdout: session.stdout, stderr: session.stderr });
            expect(performance.now() - start).toBeWithin(7000, 20_000);
          } finally {
            await lab.output("kill -CONT $(pidof dbus-daemon)");
          }

          const [m2, carol, m4] = await Promise.all(hanging);
          const [m6, m8] = await Promise.all(scopes);
          for (const refused of [m2, carol, m4, m6, m8]) expect(refused?.code).toBe(254);
          for (const refused of [m2, carol, m6, m8]) expect(refused?.stdout).toMatch(HELPFUL);
          // The shim's own deadline, the alarm that the entry sets for pam_exec, and the helper's.
          for (const refused of [m2, carol]) expect(refused?.seconds).toBeWithin(9.9, 20);
          expect(m4?.seconds).toBeWithin(11.9, 20);
          for (const refused of [m6, m8]) expect(refused?.seconds).toBeWithin(7.9, 20);
          expectNoNetwork({ code: await m3.exited, stdout: m3.stdout, stderr: m3.stderr });
          // Nothing of ours is left to act when the alarm has killed what hung; but the user's slice was closed before.
          expectNoNetwork({ code: await m5.exited, stdout: m5.stdout, stderr: m5.stderr });

          // systemd starts these two scopes at last, with the PAM process inside. It is no session, and still has no network.
          for (const session of [m7, m9]) await session.expect(/later/, { timeoutMs: 20_000 });
          await waitFor(
            async () =>
              (await lab.output(
                "systemctl list-units --state=running --no-legend --plain 'authnft-m[79]-*.scope' | wc -l",
              )) === "2",
            { timeoutMs: 10_000 },
          );
          expect(await lab.sessions()).toEqual([]);
          for (const session of [m7, m9]) {
            session.write("\n");
            await session.exited;
            expect(words(session)).toMatch(/^((refused|unreachable|eperm|timeout) ?){8}$/);
          }
        }),
      ),
    );
    const ours = await complaints(since);
    // How long it took by the clock of whoever waited, which a busy machine does not stretch.
    const given = ours.flatMap(
      ({ MESSAGE = "" }) =>
        /session of (\w+) refused: .* did not answer within 10000 ms; run/.exec(MESSAGE)?.[1] ?? [],
    );
    expect(given.sort()).toEqual(["carol", "m2", "m3"]);
    const reasons = ours.flatMap((entry) =>
      entry["AUTHNFT_EVENT"] === "refuse" ? `${entry["AUTHNFT_USER"]} ${entry["AUTHNFT_REASON"]}` : [],
    );
    expect(reasons.sort()).toEqual(
      ["alice", "bob", "m0", "m1", "m6", "m7", "m8", "m9"].map((user) => `${user} timeout`),
    );
    await sweep();
    await nothingLeft();
    expect(await Promise.all(["alice", "m2", "m4", "m6"].map(whole))).toEqual(Array(4).fill("filtered"));
    await nothingLeft();
  });
});
