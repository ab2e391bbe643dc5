// SPDX-License-Identifier: GPL-2.0-or-later

// Who is a member: the kernel knows uids and numbers of groups, administrators and PAM know names. Several names of one uid,
// a local group that hides another source's, groups that PAM gives, units that are named instead of numbered.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Running, waitFor } from "../lab/lab.ts";
import { lab, nothingLeft, ONLY_FIRST, onThisRelease } from "./harness.ts";

const REACH = 'echo "$(probe tcp 10.88.0.2 7001 --timeout 2) $(probe tcp 10.88.0.3 7001 --timeout 2)"';
const FREE = "ok ok";
const FILTERED = "ok refused";
const CLOSED = /^(refused|eperm|unreachable) (refused|eperm|unreachable)$/;

/** What a login reaches. */
const reach = async (user: string) => (await lab.ssh(user, REACH)).stdout.trim();

/** What the service manager of uid 1000 reaches, without a login. */
const manager = async () =>
  (
    await lab.run(
      `setpriv --reuid=1000 --regid=1000 --clear-groups env XDG_RUNTIME_DIR=/run/user/1000 systemd-run --user --wait --pipe --quiet sh -c '${REACH}'`,
    )
  ).stdout.trim();

const startManager = async () =>
  await waitFor(async () => (await lab.run("systemctl start user@1000.service")).code === 0);

const stopManager = async (uid = 1000) =>
  await lab.output(
    `systemctl stop user@${uid}.service user-runtime-dir@${uid}.service user-${uid}.slice; true`,
  );

async function stay(user: string): Promise<Running> {
  const session = lab.sshStart(user, "echo here; cat");
  await session.expect(/^here$/m);
  return session;
}

async function leave(session: Running): Promise<void> {
  session.end();
  await session.exited;
}

/** Gives uid 1000 a name before alice's in the local file, and one after it. */
const ALIASES = `
  sed -i 's/^alice:.*/first:x:1000:1000::\\/home\\/alice:\\/bin\\/bash\\n&\\nlast:x:1000:1000::\\/home\\/alice:\\/bin\\/bash/' /etc/passwd
  for name in first last; do echo "$name:*:19000:0:99999:7:::" >>/etc/shadow; done`;

/** Puts the accounts back. */
const asBefore = async () =>
  await lab.output(
    "cd /usr/local/lib/lab/pristine/etc && cp -a passwd shadow group gshadow /etc && cp -a nsswitch.conf /etc 2>/dev/null; true",
  );

/** A source of names that may be down or hang (test/native/second_source.c), and where the guest has it. */
const SECOND = "/usr/lib/libnss_second.so.2";
async function secondSource(): Promise<Uint8Array> {
  const directory = await mkdtemp(join(tmpdir(), "authnft-names-"));
  try {
    const source = join(import.meta.dir, "../native/second_source.c");
    await Bun.$`gcc -O1 -fPIC -shared ${'-DDIRECTORY="/var/lib/second"'} ${source} -o ${directory}/second.so`.quiet();
    return await Bun.file(join(directory, "second.so")).bytes();
  } finally {
    await rm(directory, { recursive: true });
  }
}

onThisRelease("who is a member", () => {
  let sources = "";
  beforeAll(async () => {
    await lab.reset();
    sources = await lab.output("cat /etc/nsswitch.conf");
  });
  afterAll(async () => {
    await lab.write("/etc/nsswitch.conf", `${sources}\n`);
    await lab.reset();
  });

  describe("a uid with several names", () => {
    beforeAll(async () => {
      await lab.reset();
      await lab.output(ALIASES);
      for (const user of ["alice", "first", "last"]) await lab.fragment(user, ONLY_FIRST);
    });
    afterEach(async () => {
      await stopManager();
      await nothingLeft();
    });
    afterAll(asBefore);

    test("is filtered under each of them, by the policy of the name that logs in", async () => {
      await lab.pam("sshd", { through: "shim" });
      for (const user of ["first", "alice", "last"]) expect(await reach(user), user).toBe(FILTERED);
      await lab.output("rm /etc/authnft/users/last");
      const refused = await lab.ssh("last", REACH);
      expect(refused).toMatchObject({ code: 254, stdout: expect.not.stringContaining("ok") });
      await lab.fragment("last", ONLY_FIRST);
      const session = await stay("first");
      expect((await lab.sessions()).map(({ user, uid }) => ({ user, uid }))).toEqual([
        { user: "first", uid: 1000 },
      ]);
      await leave(session);
    });

    test.each(["alice", "last"])(
      "has no network outside of sessions, whichever of them, %s, is the member",
      async (member) => {
        await lab.output(`gpasswd -d alice authnft; gpasswd -a ${member} authnft`);
        try {
          await startManager();
          expect(await manager()).toMatch(CLOSED);
          const session = await stay("last");
          expect(await manager()).toBe(FILTERED);
          await leave(session);
          await nothingLeft();
          expect(await manager()).toMatch(CLOSED);
        } finally {
          await lab.output("gpasswd -d last authnft; gpasswd -a alice authnft; true");
        }
      },
    );

    test.each([
      ["first", "last"],
      ["last", "first"],
    ])("the cover holds while a session of either name is open: %s leaves before %s", async (one, other) => {
      const [goes, stays] = [await stay(one), await stay(other)];
      expect(await manager()).toBe(FILTERED);
      await leave(goes);
      await waitFor(async () => (await lab.sessions()).length === 1);
      for (let i = 0; i < 3; i++) expect(await manager()).toBe(FILTERED);
      await leave(stays);
    });

    test("through pam_exec, whose guard goes by name, a login under another name is in the closed slice", async () => {
      await lab.pam("sshd", { through: "exec" });
      try {
        expect(await reach("alice")).toBe(FILTERED);
        await stopManager();
        expect(await reach("first")).toMatch(CLOSED);
        // Without the guard the program judges by itself.
        await stopManager();
        await lab.output("sed -i '/notingroup/d; s/success=2/success=1/' /etc/pam.d/sshd");
        for (const user of ["first", "alice", "last"]) expect(await reach(user), user).toBe(FILTERED);
        expect(await reach("dave")).toBe(FREE);
      } finally {
        await lab.pam("sshd", { through: "shim" });
      }
    });

    test("the doctor fails, says which, and what to do", async () => {
      const { stdout, code } = await lab.run("authnft doctor --json");
      expect(code).toBe(1);
      const { findings } = JSON.parse(stdout) as {
        findings: { check: string; level: string; what: string; mend?: string }[];
      };
      const found = findings.filter(({ check, level }) => check === "names" && level === "fail");
      expect(found).toEqual([
        expect.objectContaining({
          what: "The uid 1000 of a member has several names: alice, first, last.",
          mend: expect.stringContaining("usermod --uid"),
        }),
      ]);
    });
  });

  test("a service manager that is named, not numbered, is not started for a member, and for others it is", async () => {
    const { code } = await lab.run("systemctl start user@alice.service");
    expect(code).not.toBe(0);
    expect(await lab.output("journalctl --unit user-runtime-dir@alice.service --output cat")).toContain(
      "systemctl start user@1000.service",
    );
    for (const user of ["dave", "root"]) {
      await lab.output(`systemctl start user@${user}.service`);
      await lab.output(`systemctl stop user@${user}.service`);
    }
    await lab.output("systemctl reset-failed");
  });

  test("where the script is missing, root and users outside the group pass, and no member's manager starts", async () => {
    const dave = Number(await lab.output("id -u dave"));
    await stopManager();
    await stopManager(dave);
    await lab.output("mv /usr/lib/authnft/close-slice /usr/lib/authnft/away");
    try {
      for (const unit of ["user@0", `user@${dave}`]) await lab.output(`systemctl start ${unit}`);
      expect((await lab.run("systemctl start user@1000")).code).not.toBe(0);
    } finally {
      await lab.output("mv /usr/lib/authnft/away /usr/lib/authnft/close-slice; systemctl reset-failed");
      await stopManager(dave);
      await lab.output("systemctl stop user@0");
    }
  });

  describe("before a service manager starts the drop-ins", () => {
    const MEMBER = "/usr/lib/authnft/authnft-member";
    /** Whether the user's slice was closed when their manager was started, "refused" where it was not started. */
    const decision = async (uid: number): Promise<"closed" | "open" | "refused"> => {
      await stopManager(uid);
      await lab.output("systemctl reset-failed");
      const { code } = await lab.run(`systemctl start user@${uid}.service`);
      const closed = (await lab.output("nft list set inet authnft covered_slices")).includes(
        `user-${uid}.slice"`,
      );
      await stopManager(uid);
      return code !== 0 ? "refused" : closed ? "closed" : "open";
    };
    const ALICE = 1000;
    let dave = 0;
    beforeAll(async () => {
      await lab.reset();
      dave = Number(await lab.output("id -u dave"));
      await lab.output(`
        echo "erin:x:3100:$(getent group authnft | cut -d: -f3)::/:/bin/bash" >>/etc/passwd
        echo 'frank:x:3101:54321::/:/bin/bash' >>/etc/passwd
        for name in erin frank; do echo "$name:*:19000:0:99999:7:::"; done >>/etc/shadow`);
    });
    afterAll(async () => {
      await asBefore();
      await lab.output("systemctl reset-failed");
    });

    test("close the slice of a member by a local group and by the primary group, and of nobody else", async () => {
      expect(await decision(ALICE)).toBe("closed");
      expect(await decision(3100)).toBe("closed");
      for (const uid of [0, dave, 3101]) expect(await decision(uid), String(uid)).toBe("open");
    });

    test.each([
      ["authnft-member", [MEMBER]],
      ["the program", ["/usr/lib/authnft/authnft"]],
      ["the entry", ["/usr/libexec/authnft"]],
      ["authnft-member and the program", [MEMBER, "/usr/lib/authnft/authnft"]],
      ["authnft-member and the entry", [MEMBER, "/usr/libexec/authnft"]],
    ])("without %s decide the same", async (_, files) => {
      await lab.output(files.map((file) => `mv ${file} ${file}-away`).join("\n"));
      try {
        expect(await decision(ALICE)).toBe("closed");
        expect(await decision(3100)).toBe("closed");
        for (const uid of [0, dave, 3101]) expect(await decision(uid), String(uid)).toBe("open");
      } finally {
        await lab.output(files.map((file) => `mv ${file}-away ${file}`).join("\n"));
      }
    });

    test("close the slice of whoever was to be filtered while a source is silent, and in time that of whoever is not known to be none while one hangs", async () => {
      await lab.write(SECOND, await secondSource());
      await lab.output(
        `mkdir -p /var/lib/second; sed -i 's/^\\(passwd\\|group\\):.*/& second/' /etc/nsswitch.conf`,
      );
      try {
        // Down: it has no files.
        expect(await decision(dave)).toBe("open");
        await lab.fragment("dave", ONLY_FIRST);
        expect(await decision(dave)).toBe("closed");
        await lab.output("touch /var/lib/second/second-passwd /var/lib/second/second-group");
        expect(await decision(dave)).toBe("open");
        await lab.output("touch /var/lib/second/second-hangs");
        expect(await decision(0)).toBe("open");
        // Of a local member it is known, and of others it is not.
        expect(await lab.run(`timeout 5 ${MEMBER} ${ALICE}`)).toMatchObject({ code: 0 });
        expect(await lab.run(`timeout 30 ${MEMBER} ${dave}`)).toMatchObject({ code: 2 });
        const start = performance.now();
        // It is closed as long as the slice is there.
        const { stdout } = await lab.run(`systemd-run --quiet --wait --pipe --slice=user-${dave}.slice sh -c '
          sh /usr/lib/authnft/close-slice ${dave} && nft list set inet authnft covered_slices'`);
        expect(performance.now() - start).toBeLessThan(30_000);
        expect(stdout).toContain(`user-${dave}.slice`);
      } finally {
        await lab.output("rm -rf /var/lib/second /etc/authnft/users/dave");
        await lab.write("/etc/nsswitch.conf", `${sources}\n`);
        await lab.output(`rm -f ${SECOND}`);
        await lab.output("authnft restore");
      }
    }, 150_000);
  });

  test("a group that pam_group gives for the session counts, and one that a caller of su or sudo has does not", async () => {
    await lab.pam("sshd", { through: "shim", before: ["auth optional pam_group.so"] });
    await lab.fragment("dave", ONLY_FIRST);
    expect(await reach("dave")).toBe(FREE);
    await lab.output("echo 'sshd;*;dave;Al0000-2400;authnft' >>/etc/security/group.conf");
    try {
      expect((await lab.ssh("dave", "id -Gn")).stdout.split(/\s/)).toContain("authnft");
      expect(await reach("dave")).toBe(FILTERED);
    } finally {
      await lab.output("rm /etc/authnft/users/dave; sed -i '/^sshd;/d' /etc/security/group.conf");
    }
    // The slice has been a member's.
    await stopManager(Number(await lab.output("id -u dave")));
    for (const service of ["su", "sudo"]) await lab.pam(service, { through: "shim" });
    try {
      // A process that has the caller's groups, but no session of a member's.
      const as = "setpriv --reuid=1000 --regid=1000 --init-groups";
      expect(await lab.output(`${as} id -Gn`)).toContain("authnft");
      expect(await lab.output(`${as} sudo -u dave sh -c '${REACH}'`)).toBe(FREE);
      expect(await lab.output(`echo dave-password | ${as} su dave -c '${REACH}' 2>/dev/null`)).toBe(FREE);
    } finally {
      for (const service of ["su", "sudo"]) await lab.pam(service, null);
    }
    await nothingLeft();
  });

  describe("with a second source of users and groups", () => {
    beforeAll(async () => {
      await lab.reset();
      await lab.pam("sshd", { through: "shim" });
      await lab.output(`
        sed -i 's/^\\(passwd\\|group\\|shadow\\):.*/& extrausers/' /etc/nsswitch.conf
        mkdir -p /var/lib/extrausers && cd /var/lib/extrausers
        echo 'erin:x:3000:3000::/home/erin:/bin/bash' >passwd
        echo 'far:x:3001:3001::/home/near:/bin/bash' >>passwd
        echo 'bob:x:3002:3002::/:/bin/bash' >>passwd
        printf 'erin:x:3000:\\nfar:x:3001:\\nauthnft:x:5000:erin\\n' >group
        for name in erin far; do echo "$name:*:19000:0:99999:7:::"; done >shadow
        echo 'near:x:3001:3001::/home/near:/bin/bash' >>/etc/passwd
        echo 'near:*:19000:0:99999:7:::' >>/etc/shadow
        for name in erin near; do
          install -d -o $name -m 0700 /home/$name /home/$name/.ssh
          install -o $name -m 0600 /root/.ssh/id_ed25519.pub /home/$name/.ssh/authorized_keys
        done`);
      for (const user of ["erin", "near", "far"]) await lab.fragment(user, ONLY_FIRST);
    });
    afterEach(async () => {
      await nothingLeft();
    });
    afterAll(async () => {
      await asBefore();
      await lab.write("/etc/nsswitch.conf", `${sources}\n`);
      await lab.output("rm -r /var/lib/extrausers/* /home/erin /home/near; true");
    });

    test("a member of a group that a local one of the same name hides is filtered, and the slice closed", async () => {
      expect((await lab.ssh("erin", "id")).stdout).toContain("5000(authnft)");
      expect(await reach("erin")).toBe(FILTERED);
      await stopManager(3000);
      await lab.output("systemctl start user@3000.service");
      expect(await lab.output("nft list set inet authnft covered_slices")).toContain("user-3000.slice");
      await stopManager(3000);
      // Other groups that only the second source has make nobody a member.
      await lab.output("sed -i 's/^authnft:/others:/' /var/lib/extrausers/group");
      try {
        expect(await reach("erin")).toBe(FREE);
      } finally {
        await lab.output("sed -i 's/^others:/authnft:/' /var/lib/extrausers/group");
      }
    });

    test("a local name of a uid whose other name, of the second source, is a member", async () => {
      expect(await reach("near")).toBe(FREE);
      await stopManager(3001);
      await lab.output("sed -i 's/^authnft:.*/&,far/' /etc/group");
      expect(await reach("near")).toBe(FILTERED);
      await stopManager(3001);
      await lab.output("systemctl start user@3001.service");
      expect(await lab.output("nft list set inet authnft covered_slices")).toContain("user-3001.slice");
      await stopManager(3001);
    });

    test("the doctor names what hides and what is hidden", async () => {
      const { stdout } = await lab.run("authnft doctor --json");
      const { findings } = JSON.parse(stdout) as {
        findings: { check: string; level: string; what: string }[];
      };
      const of = findings
        .filter(({ check }) => check === "names")
        .map(({ level, what }) => `${level}: ${what}`);
      expect(of).toContain("fail: The uid 3001 of a member has several names: far, near.");
      expect(of).toContainEqual(expect.stringMatching(/^warn: .*: bob \(1001, and 3002 of extrausers\)\.$/));
      expect(of).toContainEqual(
        expect.stringMatching(/^warn: There are several groups authnft: \d+ of files, 5000 of extrausers/),
      );
    });

    test("a local user whom that source alone makes a member is refused while it is away, where something says so, and others are not asked about", async () => {
      const said = async () => {
        const { stdout } = await lab.run("authnft doctor --json");
        const { findings } = JSON.parse(stdout) as { findings: { check: string; what: string }[] };
        return findings.filter(({ check }) => check === "names").map(({ what }) => what);
      };
      const alone = "Local users whom another source alone makes members: dave (extrausers).";
      const away = "Sources that /etc/nsswitch.conf names, and that do not answer: extrausers.";
      await lab.fragment("dave", ONLY_FIRST);
      await lab.output(`useradd --create-home frank && install -d -o frank -m 0700 /home/frank/.ssh &&
        install -o frank -m 0600 /root/.ssh/id_ed25519.pub /home/frank/.ssh/authorized_keys`);
      await lab.output("sed -i 's/^authnft:.*/&,dave/' /var/lib/extrausers/group");
      try {
        expect(await reach("dave")).toBe(FILTERED);
        expect(await said()).toContain(alone);
        await stopManager(Number(await lab.output("id -u dave")));
        await lab.output("mv /var/lib/extrausers/group /var/lib/extrausers/away");
        const since = await lab.cursor();
        const refused = await lab.ssh("dave", "true");
        expect(refused).toMatchObject({
          code: 254,
          stdout: expect.stringContaining("the user database does not say"),
        });
        const told = (await lab.journal({ since, match: {} })).map(({ MESSAGE }) => MESSAGE);
        expect(told).toContainEqual(
          expect.stringMatching(
            /: whether dave is a member cannot be told, .*: extrausers, which .* does not answer; /,
          ),
        );
        // What the user's manager would start is closed like a member's.
        const uid = await lab.output("id -u dave");
        await stopManager(Number(uid));
        await lab.output(`systemctl start user@${uid}.service`);
        expect(await lab.output("nft list set inet authnft covered_slices")).toContain(`user-${uid}.slice`);
        await stopManager(Number(uid));
        // Nobody else depends on a source that is away, nor on the program.
        await lab.output("mv /usr/libexec/authnft /usr/libexec/authnft-away");
        try {
          expect(await reach("frank")).toBe(FREE);
          expect(await reach("root")).toBe(FREE);
        } finally {
          await lab.output("mv /usr/libexec/authnft-away /usr/libexec/authnft");
        }
        expect(await said()).toContain(away);
        await lab.output("usermod --append --groups authnft dave");
        expect(await reach("dave")).toBe(FILTERED);
        await lab.output("mv /var/lib/extrausers/away /var/lib/extrausers/group");
        expect((await said()).filter((what) => what === alone || what === away)).toEqual([]);
        // All sources having been heard, a "no" is one, whatever else is there of the user.
        await lab.output(
          "gpasswd --delete dave authnft; sed -i 's/,dave$//' /var/lib/extrausers/group; authnft reload dave",
        );
        expect(await reach("dave")).toBe(FREE);
      } finally {
        await lab.output(
          "cd /var/lib/extrausers; [ ! -e away ] || mv away group; sed -i 's/,dave$//' group; userdel -r frank; true",
        );
      }
    });
  });

  test("with five thousand members, others log in as quickly as before", async () => {
    await lab.reset();
    await lab.pam("sshd", { through: "shim" });
    await lab.fragment("alice", ONLY_FIRST);
    const timed = async (user: string) => {
      const took = await Promise.all(
        [1].map(async () => {
          const times: number[] = [];
          for (let i = 0; i < 5; i++) {
            const start = performance.now();
            expect(await reach(user)).toBe(user === "alice" ? FILTERED : FREE);
            times.push(performance.now() - start);
          }
          return times.toSorted((a, b) => a - b)[2] ?? 0;
        }),
      );
      return took[0] ?? 0;
    };
    const few = await timed("dave");
    for (const kind of ["local", "of no local file"]) {
      await lab.output(`
        cp /usr/local/lib/lab/pristine/etc/passwd /etc/passwd; cp /usr/local/lib/lab/pristine/etc/group /etc/group
        [ "${kind}" != local ] || seq 5000 | sed 's/.*/x&:x:10&:100::\\/:\\/bin\\/sh/' >>/etc/passwd
        sed -i "s/^authnft:.*/&,$(seq 5000 | sed 's/^/x/' | paste -sd,)/" /etc/group`);
      const many = await timed("dave");
      console.log(
        `dave, median of 5: ${Math.round(few)} ms; beside 5000 members, ${kind}: ${Math.round(many)} ms`,
      );
      expect(many).toBeLessThan(few + 500);
      expect(await reach("alice")).toBe(FILTERED);
    }
    await asBefore();
    await nothingLeft();
  }, 60_000);
});
