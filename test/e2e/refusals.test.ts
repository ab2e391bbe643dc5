// SPDX-License-Identifier: GPL-2.0-or-later

// What cannot be used is refused: said once and clearly, and nothing is left but a process without network.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { escapeName } from "../../src/escaped_name.ts";
import { type JournalEntry, type Result, type Running, type SessionRecord, waitFor } from "../lab/lab.ts";
import { lab, nothingLeft, ONLY_FIRST, onThisRelease, viaBoth } from "./harness.ts";

/** Where the guest finds what these tests bring: no noexec mount, and not cleared between the steps of a test. */
const PLACE = "/srv/refusals";

/** What fragments here include. */
const SHARED = "/etc/authnft/shared";

/** The names of the journal's fields that come with every event. */
const EVENT_FIELDS = [
  "USER",
  "CG_PATH",
  "CG_ID",
  "REMOTE_IP",
  "FRAGMENT",
  "CLAIMS_TAG",
  "SCOPE_UNIT",
  "CORRELATION",
];

const REFUSE_MESSAGE_ID = "b43bebd99b744eaf8448078ffc57d28f";

/** Starts from the pristine guest, with the programs that show what network a process has. */
async function reset(): Promise<void> {
  await lab.reset();
  await lab.output(["rm", "-rf", PLACE, SHARED]);
  for (const name of ["cut-off", "knock"]) {
    const source = await Bun.file(join(import.meta.dir, "fixtures/refusals", name)).text();
    await lab.write(`${PLACE}/${name}`, source, { mode: "0755" });
  }
  // A home for accounts made here: root's own, so that sshd believes its keys whoever logs in.
  await lab.output(
    `mkdir -p ${PLACE}/home/.ssh && cp /root/.ssh/authorized_keys ${PLACE}/home/.ssh && chmod 0644 ${PLACE}/home/.ssh/*`,
  );
}

/** Our events after a cursor, those of one user only if one is given. */
async function events(since: string, user?: string): Promise<JournalEntry[]> {
  const ours = await lab.journal({ since });
  return ours.filter(
    (entry) => entry["AUTHNFT_EVENT"] && (user === undefined || entry["AUTHNFT_USER"] === user),
  );
}

/** Does something with each item, some of them at a time: the machine has few processors. */
async function inParallel<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let index = next++; index < items.length; index = next++)
      results[index] = await work(items[index] as T);
  };
  await Promise.all(Array.from({ length: 6 }, worker));
  return results;
}

let tokens = 0;

type Tested = Result & { token: string };

/** Opens and closes a session by pamtester. Its events carry the token, for it is the correlation that was handed down. */
async function pamtester(
  user: string,
  {
    service = "lab",
    rhost,
    env = {},
    operations = ["open_session", "close_session"],
  }: { service?: string; rhost?: string; env?: Record<string, string>; operations?: string[] } = {},
): Promise<Tested> {
  const token = `refusals-${++tokens}.`;
  const variables = Object.entries({ AUTHNFT_CORRELATION: token, ...env });
  const argv = ["pamtester", ...variables.flatMap(([name, value]) => ["-E", `${name}=${value}`])];
  if (rhost !== undefined) argv.push("-I", `rhost=${rhost}`);
  return { ...(await lab.run([...argv, "--", service, user, ...operations])), token };
}

/** A line of PAM that writes down, while the session is being opened, what network its process has. */
const LOOK = `session optional pam_exec.so seteuid type=open_session log=${PLACE}/seen /usr/bin/python3 ${PLACE}/cut-off`;

/** And one that writes down our table. */
const LIST = `session optional pam_exec.so seteuid type=open_session log=${PLACE}/listed /usr/sbin/nft list table inet authnft`;

/** Words of "out" lines: what became of TCP and UDP to the world's IPv4 and IPv6 addresses. */
function reached(output: string): string[] {
  return [...output.matchAll(/^out \S+ \S+ (\S+) (\d+)$/gm)].map(([, word, ms]) =>
    Number(ms) < 500 ? `${word}` : `${word}, late`,
  );
}

/**
 * All four are refused, and at once, but for IPv6 where systemd's lock on addresses stands besides: there a connect takes
 * the error when it tries again, after a second.
 */
const CUT_OFF = [
  expect.stringMatching(/^(refused|unreachable)$/),
  "eperm",
  expect.stringMatching(/^(refused|unreachable(, late)?)$/),
  "eperm",
];
const CONNECTED = ["ok", "ok", "ok", "ok"];

function cgroupIn(output: string): string {
  return /^cgroup (.*)$/m.exec(output)?.[1] ?? "";
}

function fragmentOf(user: string): string {
  return `/etc/authnft/users/${user}`;
}

// ---- fragments

type BadFragment = {
  /** The account's name is made of it. */
  readonly slug: string;
  readonly what: string;
  /** Makes it, by bash: $f is the fragment, $u the user, $good a fragment that is good. */
  readonly make: string;
  readonly reason: "missing" | "perms" | "content" | "nft-syntax";
  /** What the line in the journal must say: which file, what is wrong, what to do. FRAGMENT stands for the path. */
  readonly says: readonly string[];
};

const badFragments: readonly BadFragment[] = [
  { slug: "missing", what: "that is missing", make: ":", reason: "missing", says: ["FRAGMENT", "write one"] },
  {
    slug: "owner",
    what: "that belongs to somebody else",
    make: 'cp $good $f; chown "$u" $f',
    reason: "perms",
    says: ["FRAGMENT", "chown root:root FRAGMENT"],
  },
  {
    slug: "group",
    what: "that its group may write to",
    make: "cp $good $f; chmod 0664 $f",
    reason: "perms",
    says: ["FRAGMENT", "group", "chmod go-w FRAGMENT"],
  },
  {
    slug: "world",
    what: "that everyone may write to",
    make: "cp $good $f; chmod 0646 $f",
    reason: "perms",
    says: ["FRAGMENT", "everyone", "chmod go-w FRAGMENT"],
  },
  {
    slug: "symlink",
    what: "that is a symbolic link to a good one",
    make: "ln -s $good $f",
    reason: "perms",
    says: ["FRAGMENT", "symbolic link", "put the fragment's text there"],
  },
  {
    slug: "fifo",
    what: "that is a FIFO",
    make: "mkfifo -m 0644 $f",
    reason: "perms",
    says: ["FRAGMENT", "not a regular file", "put the fragment's text there"],
  },
  {
    slug: "directory",
    what: "that is a directory",
    make: "mkdir $f",
    reason: "perms",
    says: ["FRAGMENT", "not a regular file", "put the fragment's text there"],
  },
  {
    slug: "empty",
    what: "that is empty",
    make: ": >$f",
    reason: "content",
    says: ["FRAGMENT", "no rule", "write "],
  },
  {
    slug: "comments",
    what: "that holds comments only",
    make: "printf '# add rule inet authnft egress accept\\n\\n' >$f",
    reason: "content",
    says: ["FRAGMENT", "no rule", "write "],
  },
  {
    slug: "huge",
    what: "that is larger than 1 MiB",
    make: "{ cat $good; yes '# and so on' | head -c 1048576; } >$f",
    reason: "content",
    says: ["FRAGMENT", "bytes", "make it shorter"],
  },
  {
    slug: "nul",
    what: "that holds a NUL byte",
    make: "{ cat $good; printf '# \\0\\n'; } >$f",
    reason: "content",
    says: ["FRAGMENT", "NUL", "write nftables commands"],
  },
  {
    slug: "binary",
    what: "that is no UTF-8 text",
    make: "{ cat $good; printf '# \\377\\376\\n'; } >$f",
    reason: "content",
    says: ["FRAGMENT", "UTF-8", "write nftables commands"],
  },
  {
    slug: "syntax",
    what: "whose fault only nftables' parser finds",
    make: "printf 'add rule inet authnft egress \\\\\\n tcp dport 22 accept\\n\\nadd rule inet authnft egress tcp dport 70000 accept\\n' >$f",
    reason: "nft-syntax",
    says: ["FRAGMENT:4", "nft(8)"],
  },
  {
    slug: "kernel",
    what: "whose fault only the kernel finds",
    // Where a packet leaves, its input interface cannot be looked up.
    make: "printf '# none\\nadd rule inet authnft egress fib saddr oif missing drop\\n' >$f",
    reason: "nft-syntax",
    says: ["FRAGMENT:2", "nft(8)"],
  },
  {
    slug: "flush",
    what: "that would flush the ruleset",
    make: "{ cat $good; echo 'flush ruleset'; } >$f",
    reason: "content",
    says: ["FRAGMENT:6", "flush ruleset", "only "],
  },
  {
    slug: "smuggled",
    what: "that has a second command behind a rule",
    make: "echo 'add rule inet authnft egress accept; delete table inet authnft' >$f",
    reason: "content",
    says: ["FRAGMENT:1", "delete table", "only "],
  },
  {
    slug: "table",
    what: "that writes to another table",
    make: "echo 'add rule inet other filter drop' >$f",
    reason: "content",
    says: ["FRAGMENT:1", "inet other", "only "],
  },
  {
    slug: "chain",
    what: "that writes to a chain of ours",
    make: "echo 'add rule inet authnft members_in accept' >$f",
    reason: "content",
    says: ["FRAGMENT:1", "members_in", "filter"],
  },
  {
    slug: "jump",
    what: "that jumps into a chain of ours",
    make: "echo 'add rule inet authnft egress jump members_out' >$f",
    reason: "content",
    says: ["FRAGMENT:1", "jump"],
  },
  {
    slug: "inc-missing",
    what: "that includes a missing file",
    make: `echo 'include "${SHARED}/none"' >$f; cat $good >>$f`,
    reason: "missing",
    says: [`${SHARED}/none`, "write one"],
  },
  {
    slug: "inc-owner",
    what: "that includes a file of somebody else's",
    make: `cp $good ${SHARED}/owned; chown "$u" ${SHARED}/owned; echo 'include "${SHARED}/owned"' >$f`,
    reason: "perms",
    says: [`${SHARED}/owned`, `chown root:root ${SHARED}/owned`],
  },
  {
    slug: "inc-symlink",
    what: "that includes a symbolic link",
    make: `ln -s $good ${SHARED}/link; echo 'include "${SHARED}/link"' >$f`,
    reason: "perms",
    says: [`${SHARED}/link`, "symbolic link"],
  },
  {
    slug: "inc-dir",
    what: "that includes a file in a directory that its group may write to",
    make: `mkdir -m 0775 ${SHARED}/open; cp $good ${SHARED}/open/file; echo 'include "${SHARED}/open/file"' >$f`,
    reason: "perms",
    says: [`${SHARED}/open/file`, "group", `chmod go-w ${SHARED}/open`],
  },
  {
    slug: "inc-outside",
    what: "that includes a file outside /etc/authnft",
    make: "echo 'include \"/srv/refusals/good\"' >$f",
    reason: "content",
    says: ["FRAGMENT:1", "/srv/refusals/good", "below /etc/authnft"],
  },
  {
    slug: "inc-dots",
    what: "that includes its way out of /etc/authnft",
    make: "echo 'include \"/etc/authnft/../../srv/refusals/good\"' >$f",
    reason: "content",
    says: ["FRAGMENT:1", '".."'],
  },
  {
    slug: "inc-cycle",
    what: "that includes itself by way of another",
    make: `echo "include \\"$f\\"" >${SHARED}/circle; echo 'include "${SHARED}/circle"' >$f`,
    reason: "content",
    says: [`${SHARED}/circle:1`, "break the circle"],
  },
  {
    slug: "inc-flush",
    what: "that includes a file with a forbidden command",
    make: `printf '# none\\nflush ruleset\\n' >${SHARED}/flush; echo 'include "${SHARED}/flush"' >$f`,
    reason: "content",
    says: [`${SHARED}/flush:2`, "flush ruleset"],
  },
];

/** What became of one bad fragment, step by step. */
type Outcome = {
  readonly user: string;
  /** Under "required": the login, and how long it took. */
  readonly required: Result & { ms: number };
  /** Under "optional": what the session saw from inside, its record, what its scope is denied, and where it was reached from outside. */
  readonly optional: Result & { record: SessionRecord | undefined; denied: string; inbound: string[] };
  /** After the fragment was mended. */
  readonly mended: Result;
};

viaBoth("A fragment that cannot be used", (via) => {
  const outcomes = new Map<string, Outcome>();
  let bystanders: { user: string; inside: Result; inbound: string[] }[] = [];
  let told: { required: JournalEntry[]; optional: JournalEntry[]; mended: JournalEntry[] };
  let audits: string[] = [];
  let rest: unknown;

  // All of them at once, a user each, for the sake of time: first under "required", then under "optional", then mended.
  beforeAll(async () => {
    await reset();
    // Another guest's audit records may be seen here too: the names differ between releases.
    const users = new Map(badFragments.map(({ slug }) => [slug, `${lab.release[0]}-${slug}`]));
    const user = (slug: string): string => users.get(slug) as string;
    await lab.write(`${PLACE}/good`, ONLY_FIRST);
    // A service manager for each of these accounts takes longer than all the rest of a login, and nothing here needs one.
    await lab.write(
      "/run/systemd/system/user@.service.d/refusals.conf",
      "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=\nExecStart=/bin/true\n",
    );
    await lab.output("systemctl daemon-reload");
    await lab.output(
      [
        `set -e; mkdir -m 0755 ${SHARED}; good=${PLACE}/good; umask 022`,
        ...badFragments.map(
          ({ slug, make }) =>
            `u=${user(slug)} f=${fragmentOf(user(slug))}; useradd -M -d ${PLACE}/home -s /bin/bash -G authnft $u; ${make}`,
        ),
      ].join("\n"),
    );

    await using audit = await lab.audit();
    let since = await lab.cursor();
    await lab.pam("sshd", { through: via });
    const required = await inParallel(badFragments, async ({ slug }) => {
      const start = performance.now();
      return { ...(await lab.ssh(user(slug), "echo shell")), ms: performance.now() - start };
    });
    told = { required: await events(since), optional: [], mended: [] };

    since = await lab.cursor();
    await lab.pam("sshd", { through: via, control: "optional" });
    const everybody = [...users.values(), "dave", "root"];
    const port = (name: string): number => 9100 + everybody.indexOf(name);
    const inside = await inParallel(everybody, async (name) => {
      const running = lab.sshStart(name, `python3 ${PLACE}/cut-off ${port(name)}`);
      // Where there is no session, its own test says so.
      await running.expect(/^listening$/m).catch(() => undefined);
      return running;
    });
    const records = await lab.sessions();
    const show = records.map(
      ({ scope_unit }) => `systemctl show --property=IPAddressDeny --value ${scope_unit}`,
    );
    const denied = (await lab.output(show.join("\n"))).split("\n");
    const knocks = await lab.output(
      ["python3", `${PLACE}/knock`, ...everybody.map((name) => String(port(name)))],
      {
        netns: "client",
      },
    );
    const inbound = (name: string): string[] =>
      knocks.split("\n").flatMap((line) => (line.startsWith(`${port(name)} `) ? [line.slice(5)] : []));
    const optional = await Promise.all(inside.map(logOut));
    told.optional = await events(since);

    since = await lab.cursor();
    await lab.pam("sshd", { through: via });
    await lab.output(
      [...users.values()]
        .map((name) => `rm -rf ${fragmentOf(name)}; cp ${PLACE}/good ${fragmentOf(name)}`)
        .join("\n"),
    );
    const mended = await inParallel(
      [...users.values()],
      async (name) => await lab.ssh(name, "probe tcp 10.88.0.2 7001; probe tcp 10.88.0.3 7001"),
    );
    rest = await nothingLeft().catch((error) => error);
    told.mended = await events(since);
    audits = audit.records.filter(({ type }) => type === 1109).map(({ text }) => text);

    for (const [index, { slug }] of badFragments.entries()) {
      const name = user(slug);
      const got = { required: required[index], optional: optional[index], mended: mended[index] };
      if (!got.required || !got.optional || !got.mended) throw new Error(`There is no outcome for ${slug}.`);
      const at = records.findIndex((candidate) => candidate.user === name);
      outcomes.set(slug, {
        user: name,
        required: got.required,
        optional: { ...got.optional, record: records[at], denied: denied[at] ?? "", inbound: inbound(name) },
        mended: got.mended,
      });
    }
    bystanders = optional.slice(badFragments.length).map((result, index) => {
      const name = everybody[badFragments.length + index] as string;
      return { user: name, inside: result, inbound: inbound(name) };
    });
  });

  for (const { slug, what, reason, says } of badFragments) {
    test(`${what}: the session is refused, without network, until it is mended`, () => {
      const { user, required, optional, mended } = outcomes.get(slug) as Outcome;
      const path = fragmentOf(user);

      // Under "required" there is no shell.
      expect(required).toMatchObject({ code: 254, stderr: "" });
      expect(required.stdout).not.toContain("shell");

      // One event, in one line that names the file and says what to do.
      const refusals = told.required.filter((entry) => entry["AUTHNFT_USER"] === user);
      expect(refusals).toHaveLength(1);
      const [refusal] = refusals as [JournalEntry];
      expect(refusal).toMatchObject({
        AUTHNFT_EVENT: "refuse",
        AUTHNFT_REASON: reason,
        AUTHNFT_FRAGMENT: path,
        AUTHNFT_REMOTE_IP: "10.77.0.2",
        MESSAGE_ID: REFUSE_MESSAGE_ID,
        PRIORITY: "4",
      });
      for (const words of says) expect(refusal["MESSAGE"]).toContain(words.replace("FRAGMENT", path));
      expect(refusal["MESSAGE"]).toStartWith(`Session of ${user} from 10.77.0.2 is refused: `);
      expect(refusal["MESSAGE"]).toMatch(/^\P{C}{1,500}$/u);

      // The user is told whom to ask for what, and a reference by which it is found again.
      expect(required.stdout).toStartWith(`authnft: no session for ${user}. Ask the administrator to `);
      expect(required.stdout).toContain(path);
      expect(required.stdout).toContain(refusal["AUTHNFT_CORRELATION"] as string);
      expect(required.stdout.trim().split("\n")).toHaveLength(1);

      // Under "optional" there is a shell, and it has no network.
      expect(optional.code).toBe(0);
      expect(reached(optional.stdout)).toEqual(CUT_OFF);
      expect(optional.inbound).toEqual([]);
      expect(optional.stdout).not.toContain("heard");
      expect(optional.record).toMatchObject({ user, state: "refused", fragment: path });
      expect(cgroupIn(optional.stdout)).toBe(`/${optional.record?.cg_path}`);
      // Also where the scope had been started before the fault was found.
      expect(optional.denied.split(" ").sort()).toEqual(["0.0.0.0/0", "::/0"]);
      const again = told.optional.filter((entry) => entry["AUTHNFT_USER"] === user);
      expect(again.map((entry) => [entry["AUTHNFT_EVENT"], entry["AUTHNFT_REASON"]])).toEqual([
        ["refuse", reason],
      ]);

      // The audit trail has a record of each.
      const fields = `op=authnft-fragment-reject reason=${reason} user="${user}" fragment="${path}"`;
      expect(audits.filter((text) => text.includes(`user="${user}"`))).toHaveLength(2);
      expect(audits.filter((text) => text.includes(fields))).toHaveLength(2);

      expect(mended.stdout).toBe("ok\nrefused\n");
      const later = told.mended.filter((entry) => entry["AUTHNFT_USER"] === user);
      expect(later.map((entry) => entry["AUTHNFT_EVENT"])).toEqual(["open", "close", "end"]);
    });
  }

  test("does not hold up the login, affects neither root nor others, and leaves nothing", () => {
    // A FIFO that is waited for would take the helper's 10 s.
    const slowest = Math.max(...[...outcomes.values()].map(({ required }) => required.ms));
    expect(slowest).toBeLessThan(8000);
    expect(bystanders.map(({ user }) => user)).toEqual(["dave", "root"]);
    for (const { user, inside, inbound } of bystanders) {
      expect(reached(inside.stdout)).toEqual(CONNECTED);
      expect(inbound.toSorted()).toEqual(["tcp v4", "tcp v6", "udp v4", "udp v6"]);
      expect(cgroupIn(inside.stdout)).not.toContain("authnft");
      expect([...told.required, ...told.optional].filter((entry) => entry["AUTHNFT_USER"] === user)).toEqual(
        [],
      );
    }
    expect(rest).toBeUndefined();
  });
});

/** Ends the input of what runs in a session, and waits for the logout. */
async function logOut(running: Running): Promise<Result> {
  running.end();
  const code = await running.exited;
  return { code, stdout: running.stdout, stderr: running.stderr };
}

viaBoth("The directories above fragments", (via) => {
  beforeAll(async () => {
    await reset();
    await lab.pam("sshd", { through: via });
  });
  // What `lab.reset` does not put back.
  afterAll(async () => {
    await lab.output(
      "[ ! -L /etc/authnft/users ] || { rm /etc/authnft/users; mkdir -m 0755 /etc/authnft/users; }",
    );
    await lab.output(
      "chown root:root /etc/authnft /etc/authnft/users; chmod 0755 /etc/authnft /etc/authnft/users",
    );
  });

  test("must be root's alone: while they are not, members are refused, and nobody else", async () => {
    await lab.fragment("alice", ONLY_FIRST);
    const cases = [
      {
        spoil: "chmod 0775 /etc/authnft/users",
        mend: "chmod 0755 /etc/authnft/users",
        says: "chmod go-w /etc/authnft/users",
      },
      { spoil: "chmod 0777 /etc/authnft", mend: "chmod 0755 /etc/authnft", says: 'chmod go-w /etc/authnft"' },
      {
        spoil: "chown dave /etc/authnft/users",
        mend: "chown root /etc/authnft/users",
        says: "chown root:root /etc/authnft/users",
      },
      {
        spoil: `mv /etc/authnft/users ${PLACE}/users && ln -s ${PLACE}/users /etc/authnft/users`,
        mend: `rm /etc/authnft/users && mv ${PLACE}/users /etc/authnft/users`,
        says: "/etc/authnft/users is no directory",
      },
    ];
    for (const { spoil, mend, says } of cases) {
      await lab.output(spoil);
      const since = await lab.cursor();
      const [alice, dave, root] = await Promise.all(
        ["alice", "dave", "root"].map((user) => lab.ssh(user, "echo shell")),
      );
      await lab.output(mend);
      expect([alice?.code, dave?.stdout, root?.stdout]).toEqual([254, "shell\n", "shell\n"]);
      const [refusal, ...more] = await events(since);
      expect(more).toEqual([]);
      expect(refusal).toMatchObject({
        AUTHNFT_EVENT: "refuse",
        AUTHNFT_REASON: "perms",
        AUTHNFT_USER: "alice",
      });
      expect(refusal?.["MESSAGE"]).toContain(fragmentOf("alice"));
      expect(refusal?.["MESSAGE"]).toContain(says);
      expect((await lab.ssh("alice", "probe tcp 10.88.0.2 7001")).stdout).toBe("ok\n");
      await nothingLeft();
    }
  });
});

viaBoth("A fragment that includes good files", (via) => {
  beforeAll(async () => {
    await reset();
    await lab.pam("sshd", { through: via });
  });

  test("is composed of them in order, and of its own rules", async () => {
    const rule = (address: string, verdict: string): string =>
      `add rule inet authnft egress ip daddr ${address} ${verdict}\n`;
    await lab.write(`${SHARED}/first`, rule("10.88.0.2", "tcp dport 7001 accept"));
    await lab.write(`${SHARED}/more/last`, rule("10.88.0.3", "accept"));
    await lab.write(
      `${SHARED}/both`,
      `include "${SHARED}/first"\n${rule("10.88.0.2", "reject")}include "${SHARED}/more/last"`,
    );
    // The same file twice is no cycle.
    const includes = `include "${SHARED}/first"\ninclude "${SHARED}/both"\n`;
    await lab.fragment("alice", `${includes}${rule("10.88.0.0/24", "reject")}`);
    await lab.fragment("bob", `${rule("10.88.0.0/24", "reject")}${includes}`);
    const probes =
      "probe tcp 10.88.0.2 7001; probe tcp 10.88.0.2 7002; probe tcp 10.88.0.3 7002; probe tcp 10.88.0.1 7001";
    const [alice, bob] = await Promise.all([lab.ssh("alice", probes), lab.ssh("bob", probes)]);
    expect(alice.stdout).toBe("ok\nrefused\nok\nrefused\n");
    // Before them, bob's own rule has refused it all.
    expect(bob.stdout).toBe("refused\n".repeat(4));
    await nothingLeft();
  });
});

// ---- the PAM line

viaBoth("An argument of the PAM line that is wrong", (via) => {
  beforeAll(async () => {
    await reset();
    await lab.fragment("alice", ONLY_FIRST);
  });

  test("refuses the session and is named", async () => {
    const words = [
      "rhost-policy=lax",
      "rhost_policy=paranoid",
      "rhost_policy=",
      "rhost_policy",
      "RHOST_POLICY=strict",
      "lingering=forget",
      "scope=",
      "claims_env=",
      "claims_env=A-B",
      "debug=1",
      "AUTHNFT_NO_SANDBOX=yes",
      "end",
      "session",
      "traced",
      "--help",
    ];
    const since = await lab.cursor();
    const results: (Tested & { word: string })[] = [];
    for (const word of words) {
      await lab.pam("lab", { through: via, args: ["debug", word] });
      results.push({ word, ...(await pamtester("alice", { rhost: "10.77.0.2" })) });
    }
    const all = await events(since);
    for (const { word, code, stdout, stderr, token } of results) {
      const told = all.filter((entry) => entry["AUTHNFT_CORRELATION"] === token);
      expect([word, code]).toEqual([word, 1]);
      expect(
        told.map((entry) => [entry["AUTHNFT_EVENT"], entry["AUTHNFT_REASON"], entry["AUTHNFT_USER"]]),
      ).toEqual([["refuse", "argument", "alice"]]);
      expect(told[0]?.["MESSAGE_ID"]).toBe(REFUSE_MESSAGE_ID);
      expect(told[0]?.["MESSAGE"]).toContain(`the argument "${word}" of the PAM line`);
      expect(told[0]?.["MESSAGE"]).toContain("pam_authnft(8)");
      expect(`${stdout}${stderr}`).toContain(
        "Ask the administrator to mend the authnft line in the PAM configuration",
      );
    }
    expect(all).toHaveLength(words.length);
    // The control: every argument that is right, at once.
    await lab.pam("lab", {
      through: via,
      args: ["rhost_policy=strict", "claims_env=A_B", "lingering=quarantine", "scope=own", "debug"],
    });
    expect((await pamtester("alice", { rhost: "10.77.0.2" })).code).toBe(0);
    await nothingLeft();
  });

  test("leaves a member without network under optional, and root and others alone", async () => {
    await lab.pam("sshd", { through: via, control: "optional", args: ["rhost_policy=lax,strict"] });
    const since = await lab.cursor();
    const [alice, dave, root] = await Promise.all(
      ["alice", "dave", "root"].map((user) => lab.ssh(user, `python3 ${PLACE}/cut-off`)),
    );
    expect(reached(alice?.stdout ?? "")).toEqual(CUT_OFF);
    expect(reached(dave?.stdout ?? "")).toEqual(CONNECTED);
    expect(reached(root?.stdout ?? "")).toEqual(CONNECTED);
    expect((await events(since)).map((entry) => entry["AUTHNFT_USER"])).toEqual(["alice"]);

    await lab.pam("sshd", { through: via, args: ["rhost_policy=lax,strict"] });
    const codes = await Promise.all(
      ["alice", "dave", "root"].map(async (user) => (await lab.ssh(user, "true")).code),
    );
    expect(codes).toEqual([254, 0, 0]);
    await nothingLeft();
  });
});

// ---- requests

/** Stands for the id of the process that runs the helper, which is not known before. */
const CALLER = "@CALLER@";

/** As many blanks as make up for the length of that id. */
const FILL = "@FILL@";

function request(changes: Record<string, unknown> = {}): string {
  const whole = {
    v: 1,
    type: "open",
    user: "alice",
    uid: 1000,
    gid: 1000,
    service: "lab",
    rhost: "",
    tty: "",
    ruser: "",
    pid: CALLER,
    args: [],
    env: {},
    session: "",
    ...changes,
  };
  return JSON.stringify(whole).replace(`"${CALLER}"`, CALLER);
}

/** The request with blanks behind it, so many bytes long. */
function sized(bytes: number, changes?: Record<string, unknown>): string {
  const text = request(changes) + FILL;
  return text + " ".repeat(bytes - Buffer.byteLength(text));
}

/** The request with one text put in place of another. */
function edited(from: string, to: string | Uint8Array, changes?: Record<string, unknown>): Buffer {
  const [before, after] = request(changes).split(from) as [string, string];
  if (after === undefined) throw new Error(`There is no ${from} in a request.`);
  return Buffer.concat([before, to, after].map((part) => Buffer.from(part)));
}

const hostileRequests: Record<string, string | Uint8Array> = {
  nothing: "",
  blanks: " \n\t ",
  "no JSON": "open alice",
  null: "null",
  "a number": "1",
  "a string": '"open"',
  "a list": `[${request()}]`,
  "an empty object": "{}",
  truncated: request().slice(0, -1),
  "two of them": request() + request(),
  "something behind it": `${request()}x`,
  "version 2": request({ v: 2 }),
  "version 0": request({ v: 0 }),
  "a version that is text": request({ v: "1" }),
  "an unknown type": request({ type: "reopen" }),
  "an extra key": request({ force: true }),
  "a missing key": request({ session: undefined }),
  "a missing version": request({ v: undefined }),
  "uid 0": request({ uid: 0 }),
  "uid -1": request({ uid: -1 }),
  "uid 2^32-1": request({ uid: 4294967295 }),
  "uid 1000.5": request({ uid: 1000.5 }),
  "a uid that is text": request({ uid: "1000" }),
  "a user that is a number": request({ user: 1000 }),
  "a user that is a list": request({ user: ["alice"] }),
  "arguments that are text": request({ args: "debug" }),
  "an argument that is a number": request({ args: [1] }),
  "an environment that is a list": request({ env: [] }),
  "a variable that is an object": request({ env: { AUTHNFT_CORRELATION: {} } }),
  "an item of 2049 bytes": request({ tty: "x".repeat(2049) }),
  "8193 bytes": sized(8193),
  "a megabyte": request({ tty: "x".repeat(1 << 20) }),
  "8193 bytes and fewer characters": sized(8300, { tty: "ä".repeat(200) }),
  "NULs around it": `\0${request()}\0`,
  "a NUL in it": edited('"lab"', '"la\0b"'),
  "a line end in a string": edited('"lab"', '"la\nb"'),
  "bytes that are no UTF-8": edited('"lab"', Uint8Array.of(0x22, 0xff, 0xfe, 0x22)),
  "a byte order mark": `\uFEFF${request()}`,
  "deep nesting": `${"[".repeat(4000)}${"]".repeat(4000)}`,
  "deep nesting of objects": edited('"env":{}', `"env":${'{"a":'.repeat(1300)}1${"}".repeat(1300)}`),
  "a key twice, the second time wrong": edited('"uid":1000', '"uid":1000,"uid":0'),
  "the key __proto__": edited('"uid":1000', '"uid":1000,"__proto__":{"uid":1001}'),
  "the key __proto__ in place of another": edited('"session":""', '"__proto__":{"session":""}'),
  "the key constructor": request({ constructor: {} }),
  "process id 0": request({ pid: 0 }),
  "process id 1": request({ pid: 1 }),
  "process id -1": request({ pid: -1 }),
  "a process id that is text": request({ pid: "@CALLER@ " }),
  "the id of another process": request({ pid: 2147483647 }),
};

onThisRelease("A request that the shim would not send", () => {
  let cursor: string;
  beforeAll(async () => {
    await reset();
    await lab.fragment("alice", ONLY_FIRST);
    cursor = await lab.cursor();
  });

  type Answer = { reply: string; status: number; told: JournalEntry[]; cgroup: string };

  /** Runs the entry with each of these on its standard input, as the child of a bash of its own. */
  async function ask(requests: Record<string, string | Uint8Array>): Promise<Record<string, Answer>> {
    const names = Object.keys(requests);
    const script = [
      `mkdir -p ${PLACE}/in && cd ${PLACE}/in && rm -f *`,
      ...names.map(
        (name, index) => `base64 -d <<<"${Buffer.from(requests[name] ?? "").toString("base64")}" >${index}`,
      ),
      `one() { pid=$$; LC_ALL=C sed "s/${CALLER}/$pid/; s/${FILL}/$(printf '%*s' $((14 - \${#pid})))/" $1 >$1.in`,
      "/usr/libexec/authnft session <$1.in >$1.out 2>$1.err & helper=$!",
      'wait $helper; echo "$1 $? $helper $(sed -n s/^0:://p /proc/$$/cgroup) $(base64 -w0 $1.out)"; }',
      "export -f one",
      `seq 0 ${names.length - 1} | xargs -P 4 -I '{}' bash -c 'one {}'`,
    ];
    const lines = (await lab.output("bash", { input: script.join("\n") })).split("\n");
    const told = await lab.journal({ since: cursor });
    return Object.fromEntries(
      lines.map((line) => {
        const [index, status, helper, cgroup, reply] = line.split(" ");
        return [
          names[Number(index)],
          {
            reply: Buffer.from(reply ?? "", "base64").toString(),
            status: Number(status),
            told: told.filter((entry) => entry["_PID"] === helper),
            cgroup: cgroup ?? "",
          },
        ];
      }),
    );
  }

  let answers: Record<string, Answer>;
  beforeAll(async () => {
    answers = await ask(hostileRequests);
  });

  for (const name of Object.keys(hostileRequests)) {
    test(`(${name}) gets one clear line in the journal and a well-formed reply, and does nothing`, () => {
      const { reply, status, told, cgroup } = answers[name] as Answer;
      expect(reply).toMatch(/^authnft 1\nresult=refused\nsay=authnft: no session[\x20-\x7e]{10,490}\nend\n$/);
      expect(status).toBe(1);
      expect(told.map((entry) => [entry["AUTHNFT_EVENT"], entry["AUTHNFT_REASON"]])).toEqual([
        ["refuse", "request"],
      ]);
      expect(told[0]?.["MESSAGE"]).toMatch(/^[\x20-\x7e]{20,400}$/);
      expect(told[0]?.["MESSAGE"]).toMatch(
        /(Cannot read the request of the PAM module: .*; run "authnft install"|Cannot open a session for process)/,
      );
      expect(cgroup).toStartWith("/system.slice/");
    });
  }

  test("is told with all the fields that an event has", () => {
    for (const { told } of Object.values(answers)) {
      const [event] = told;
      expect(event).toMatchObject({ MESSAGE_ID: REFUSE_MESSAGE_ID });
      for (const field of EVENT_FIELDS) expect(event).toHaveProperty(`AUTHNFT_${field}`);
    }
  });

  test("leaves nothing, and one that the shim does send opens a session", async () => {
    await nothingLeft();
    const good = await ask({
      small: request({ rhost: "10.77.0.2", user: "alice" }),
      "8192 bytes": sized(8192),
      "the key twice, the second time right": edited('"uid":1000', '"uid":0,"uid":1000'),
    });
    for (const { reply, told, cgroup } of Object.values(good)) {
      const unit = cgroup.replace("/authnft.slice/", "");
      expect(unit).toMatch(/^authnft-alice-\d+\.scope$/);
      expect(reply).toMatch(
        new RegExp(`^authnft 1\\nresult=ok\\nsession=${unit}\\ncorrelation=authnft-\\S+\\nend\\n$`),
      );
      expect(told.map((entry) => entry["AUTHNFT_EVENT"])).toEqual(["open"]);
    }
    await nothingLeft();
  });

  test("may come from a process that is gone: then it is refused, too", async () => {
    const since = await lab.cursor();
    const script = `
      cd ${PLACE}; mkfifo late
      bash -c 'echo $$ >caller; /usr/libexec/authnft session <late >late.out 2>&1 & sleep 0.2'
      sed "s/${CALLER}/$(cat caller)/" <<<'${request()}' >late
      until grep -qx end late.out; do sleep 0.02; done
      cat late.out`;
    expect(await lab.output(script)).toMatch(/^authnft 1\nresult=refused\nsay=.*\nend$/);
    const told = await events(since);
    expect(told.map((entry) => [entry["AUTHNFT_EVENT"], entry["AUTHNFT_REASON"]])).toEqual([
      ["refuse", "request"],
    ]);
    await nothingLeft();
  });

  test("to close a session of somebody else closes nothing", async () => {
    await lab.pam("sshd", { through: "shim" });
    await using session = lab.sshStart(
      "alice",
      "echo in; while read -r line; do probe tcp 10.88.0.2 7001; done",
    );
    await session.expect(/^in$/m);
    const [record] = await lab.sessions();
    const close = { type: "close", session: record?.scope_unit };
    const { own, theirs } = await ask({
      own: request(close),
      theirs: request({ ...close, pid: record?.pid }),
    });
    for (const answer of [own, theirs]) {
      expect(answer?.reply).toBe("authnft 1\nresult=ok\nend\n");
      expect(answer?.told.map((entry) => entry["MESSAGE"])).toEqual([
        expect.stringMatching(
          /^Process \d+ of alice closes a session that it did not open; nothing to do\.$/,
        ),
      ]);
    }
    session.write("\n");
    await session.expect(/^ok$/m);
    expect(await lab.sessions()).toEqual([record as SessionRecord]);
    expect(await logOut(session)).toMatchObject({ code: 0 });
    await nothingLeft();
  });
});

// ---- the log

viaBoth("Without the journal", (via) => {
  beforeAll(async () => {
    await reset();
    await lab.fragment("alice", ONLY_FIRST);
    await lab.pam("lab", { through: via });
  });
  afterAll(async () => {
    await lab.output(`
      cd /run/systemd/journal; [ ! -e socket.away ] || mv socket.away socket
      ln -sfn /run/systemd/journal/dev-log /dev/log`);
  });

  test("the same content goes to syslog, and where there is no syslog either, sessions are opened all the same", async () => {
    await lab.output("mv /run/systemd/journal/socket /run/systemd/journal/socket.away; rm /dev/log");
    const silent = await pamtester("alice");
    expect(silent.code).toBe(0);
    expect(silent.stdout).toContain("successfully opened");

    await using syslog = lab.start([
      "python3",
      "-uc",
      `import os, socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("/dev/log")
os.chmod("/dev/log", 0o666)
print("ready")
while True: print(repr(s.recv(65536)))`,
    ]);
    await syslog.expect(/^ready$/m);
    const opened = await pamtester("alice", { rhost: "10.77.0.2" });
    const refused = await pamtester("bob", { rhost: "fd77::2" });
    await lab.run(["/usr/libexec/authnft", "session"], { input: "nonsense" });
    const isEnd = (line: string): boolean => line.includes('EVENT="end"') && line.includes(opened.token);
    const isNonsense = (line: string): boolean => line.includes("it is not JSON");
    await waitFor(() => syslog.lines.some(isEnd) && syslog.lines.some(isNonsense), {
      what: "the session's end and the refused request in syslog",
    });
    const lines = syslog.lines
      .filter((line) => line.includes("AUTHNFT_EVENT="))
      .map((line) => line.slice(2, -1));
    const one = (event: string, token: string): string => {
      const found = lines.filter((line) => line.includes(`AUTHNFT_EVENT="${event}"`) && line.includes(token));
      expect(found).toHaveLength(1);
      return found[0] as string;
    };

    expect([opened.code, refused.code]).toEqual([0, 1]);
    expect(one("open", opened.token)).toMatch(
      /^<86>pam_authnft\[\d+\]: Session of alice from 10\.77\.0\.2 is filtered by \S+users\/alice /,
    );
    one("close", opened.token);
    one("end", opened.token);
    const refusal = one("refuse", refused.token);
    expect(refusal).toMatch(
      /^<84>pam_authnft\[\d+\]: Session of bob from fd77::2 is refused: .*users\/bob: there is none, .*; write one/,
    );
    expect(refusal).toContain('AUTHNFT_REASON="missing"');
    for (const field of EVENT_FIELDS) expect(refusal).toContain(` AUTHNFT_${field}="`);
    expect(one("refuse", "it is not JSON")).toMatch(
      /^<84>pam_authnft\[\d+\]: Cannot read the request .*AUTHNFT_REASON="request"/,
    );
    await nothingLeft();
    expect(refusal).toContain(REFUSE_MESSAGE_ID);
  });
});

// ---- user names

/** Names that a host's name service can hold. PLACE/home is nobody's, so it may serve all of them. */
const names: Record<string, "refused" | "works" | "unknown"> = {
  [`a${"b".repeat(31)}`]: "works",
  ["x".repeat(256)]: "works",
  ["x".repeat(257)]: "refused",
  Alice: "works",
  "1000": "works",
  _alice: "works",
  "a.b": "works",
  "a-b": "works",
  a_b: "works",
  "alice-2": "works",
  al$ice: "works",
  "al@ice": "works",
  "al ice": "works",
  // The C library finds nobody of such a name, whatever the file holds; the shim reads the file itself.
  "-alice": "unknown",
  "--help": "unknown",
  ".alice": "works",
  "..": "refused",
  "al/ice": "refused",
  "../users/alice": "refused",
  älice: "works",
  'al"ice': "works",
  "al'ice;": "works",
  "al\\ice": "works",
  "%i": "works",
  "al*": "works",
};

/** To a terminal that shows the log, this is a command. */
const CONTROL = "al\u0007\u001b[31mice";

async function addMembers(accounts: readonly string[]): Promise<void> {
  const gid = (await lab.output("getent group authnft")).split(":")[2];
  // By primary group, and past useradd, which does not make all of them.
  const lines = accounts.map((name, index) => `${name}:*:${3000 + index}:${gid}::${PLACE}/home:/bin/bash\n`);
  await lab.output("cat >>/etc/passwd", { input: lines.join("") });
}

viaBoth("A user's name", (via) => {
  beforeAll(async () => {
    await reset();
    await addMembers([...Object.keys(names), CONTROL]);
    await lab.fragment("alice", ONLY_FIRST);
    for (const [name, outcome] of Object.entries(names)) {
      if (outcome !== "refused") await lab.fragment(name, ONLY_FIRST);
    }
  });

  test("that no database or no line of a log can hold is refused, every other works, however odd", async () => {
    await lab.pam("lab", { through: via });
    const since = await lab.cursor();
    const results = await inParallel(Object.keys(names), async (name) => ({
      name,
      ...(await pamtester(name)),
    }));
    await nothingLeft();
    const told = await events(since);
    for (const { name, code, stdout, stderr, token } of results) {
      const its = told.filter((entry) => entry["AUTHNFT_CORRELATION"] === token);
      const story = its.map((entry) => entry["AUTHNFT_EVENT"]);
      if (names[name] === "unknown" && via === "exec") {
        expect([name, code, story]).toEqual([name, 0, []]);
      } else if (names[name] !== "refused") {
        expect([name, code, story]).toEqual([name, 0, ["open", "close", "end"]]);
        const escaped = escapeName(name);
        expect(its[0]).toMatchObject({ AUTHNFT_USER: name, AUTHNFT_FRAGMENT: fragmentOf(escaped) });
        expect(its[0]?.["AUTHNFT_SCOPE_UNIT"]).toStartWith(`authnft-${escaped}-`);
      } else {
        expect([name, code, story]).toEqual([name, 1, ["refuse"]]);
        expect(its[0]).toMatchObject({ AUTHNFT_REASON: "user", MESSAGE_ID: REFUSE_MESSAGE_ID });
        expect(its[0]?.["MESSAGE"]).toMatch(/^\P{C}{1,500}$/u);
        expect(its[0]?.["MESSAGE"]).toContain("take the user out of group authnft");
        expect(`${stdout}${stderr}`).toContain(
          "Ask the administrator to give you a user name that authnft can use",
        );
      }
    }
  });

  test("is not written to the log or shown as it is where it holds control characters", async () => {
    await lab.pam("lab", { through: via });
    const since = await lab.cursor();
    const { code, stdout, stderr } = await pamtester(CONTROL);
    const told = await events(since);
    expect([code, told.map((entry) => entry["AUTHNFT_REASON"])]).toEqual([1, ["user"]]);
    expect(told[0]?.["MESSAGE"]).toMatch(/^\P{C}+$/u);
    expect(`${stdout}${stderr}`.replaceAll("\n", "")).toMatch(/^\P{C}+$/u);
    await nothingLeft();
  });

  test("that is refused leaves the process without network under optional", async () => {
    await lab.pam("lab", { through: via, control: "optional", after: [LOOK] });
    for (const name of ["al/ice", "../users/alice"]) {
      await lab.output(`: >${PLACE}/seen`);
      expect((await pamtester(name)).code).toBe(0);
      const seen = await lab.output(["cat", `${PLACE}/seen`]);
      expect(reached(seen)).toEqual(CUT_OFF);
      expect(cgroupIn(seen)).toBe("/authnft.slice/run-authnft-refused.mount");
    }
    // The control: somebody else has network there.
    await lab.output(`: >${PLACE}/seen`);
    expect((await pamtester("dave")).code).toBe(0);
    expect(reached(await lab.output(["cat", `${PLACE}/seen`]))).toEqual(CONNECTED);
    await nothingLeft();
  });

  test("that differs from another by a sign only has a session and rules of its own", async () => {
    await lab.pam("sshd", { through: via });
    const ports = { "a.b": 7001, "a-b": 7002, a_b: 7003 };
    for (const [name, port] of Object.entries(ports)) {
      await lab.fragment(
        name,
        `add rule inet authnft egress ip daddr 10.88.0.2 tcp dport ${port} accept\nadd rule inet authnft egress ip daddr 10.88.0.2 reject\n`,
      );
    }
    const probes = Object.values(ports).map((port) => `probe tcp 10.88.0.2 ${port}`);
    const sessions = await inParallel(Object.keys(ports), async (name) => {
      const session = lab.sshStart(name, `while read -r line; do ${probes.join("; ")}; echo done; done`);
      session.write("\n");
      await session.expect(/^done$/m);
      return session;
    });
    expect((await lab.sessions()).map(({ user }) => user).toSorted()).toEqual(Object.keys(ports).toSorted());
    const ruleset = await lab.ruleset();
    for (const name of Object.keys(ports)) {
      expect(
        ruleset.match(new RegExp(`chain session_${name.replace(".", "\\.")}_\\d+_out `, "g")),
      ).toHaveLength(1);
    }
    // The end of one does nothing to the others.
    const [first, second, third] = sessions as [Running, Running, Running];
    expect((await logOut(first)).stdout).toBe("ok\nrefused\nrefused\ndone\n");
    for (const session of [second, third]) {
      session.write("\n");
      await session.expect(/^done$/m);
    }
    expect((await logOut(second)).stdout).toBe("refused\nok\nrefused\ndone\n".repeat(2));
    expect((await logOut(third)).stdout).toBe("refused\nrefused\nok\ndone\n".repeat(2));
    await nothingLeft();
  });

  test("of uid 0 under another name is root's: nothing happens", async () => {
    await lab.pam("lab", { through: via });
    const gid = (await lab.output("getent group authnft")).split(":")[2];
    await lab.output("cat >>/etc/passwd", { input: `toor:*:0:${gid}::/root:/bin/bash\n` });
    const since = await lab.cursor();
    expect((await pamtester("toor")).code).toBe(0);
    expect(await lab.journal({ since })).toEqual([]);
    await nothingLeft();
  });
});

// ---- addresses

/** What PAM_RHOST may hold, and the address that it means; "" for none. */
const rhosts: Record<string, string> = {
  "10.77.0.2": "10.77.0.2",
  "0.0.0.0": "0.0.0.0",
  "fd77::2": "fd77::2",
  "FD77:0:0::02": "fd77::2",
  "2001:db8:0:0:1:0:0:1": "2001:db8::1:0:0:1",
  "::": "::",
  "fe80::2%guest0": "fe80::2",
  "::ffff:10.77.0.2": "10.77.0.2",
  "::FFFF:0a4d:0002": "10.77.0.2",
  "::ffff:10.77.0.2%guest0": "10.77.0.2",
  "": "",
  "host.example.org": "",
  "10.77.0.2:22": "",
  "[fd77::2]": "",
  "[fd77::2]:22": "",
  " 10.77.0.2": "",
  "10.77.0.2 ": "",
  "10.77.0.2\n": "",
  "010.77.0.2": "",
  "10.77.0.02": "",
  "0x0a.77.0.2": "",
  "10.77.0.256": "",
  "10.77.0.2/24": "",
  "10.77.0.2%guest0": "",
  "fe80::2%": "",
  "fe80::2%a%b": "",
  "fd77::2::3": "",
  "10.77.0.2 } ; flush ruleset": "",
  "１０.77.0.2": "",
  "10.77.0.2\u001b[2J": "",
  ["1.".repeat(400)]: "",
};

viaBoth("The address of the client", (via) => {
  beforeAll(async () => {
    await reset();
    for (const user of ["alice", "bob"]) await lab.fragment(user, "add rule inet authnft egress accept\n");
  });

  async function openEach(
    some: readonly string[],
  ): Promise<(Tested & { rhost: string; told: JournalEntry[] })[]> {
    const since = await lab.cursor();
    const results = await inParallel(some, async (rhost) => ({
      rhost,
      ...(await pamtester("alice", { rhost })),
    }));
    await nothingLeft();
    const told = await events(since);
    return results.map((result) => ({
      ...result,
      told: told.filter((entry) => entry["AUTHNFT_CORRELATION"] === result.token),
    }));
  }

  const none = Object.keys(rhosts).filter((rhost) => rhosts[rhost] === "");

  test("is taken from PAM_RHOST in its canonical form; without one, the session has none", async () => {
    await lab.pam("lab", { through: via });
    // One of each kind that is none: the next test has all of them.
    const some = ["", "host.example.org", "[fd77::2]:22", "10.77.0.2 } ; flush ruleset"];
    const addresses = Object.keys(rhosts).filter((rhost) => rhosts[rhost] !== "");
    for (const { rhost, code, told } of await openEach([...addresses, ...some])) {
      expect([
        rhost,
        code,
        told.map((entry) => [entry["AUTHNFT_EVENT"], entry["AUTHNFT_REMOTE_IP"]]),
      ]).toEqual([rhost, 0, ["open", "close", "end"].map((event) => [event, rhosts[rhost]])]);
    }
  });

  test("must be one under rhost_policy=strict", async () => {
    await lab.pam("lab", { through: via, args: ["rhost_policy=strict"] });
    const [first, ...refused] = await openEach(["10.77.0.2", ...none]);
    expect([first?.code, first?.told[0]?.["AUTHNFT_REMOTE_IP"]]).toEqual([0, "10.77.0.2"]);
    for (const { rhost, code, stdout, stderr, told } of refused) {
      expect([rhost, code, told.map((entry) => [entry["AUTHNFT_EVENT"], entry["AUTHNFT_REASON"]])]).toEqual([
        rhost,
        1,
        [["refuse", "address"]],
      ]);
      expect(told[0]?.["MESSAGE"]).toMatch(/^\P{C}{1,500}$/u);
      expect(told[0]?.["MESSAGE"]).toContain("rhost_policy=strict");
      expect(`${stdout}${stderr}`).toContain("why your client's address is not known to this host");
    }
  });

  test("is in the set of its family while the session lives", async () => {
    await lab.pam("lab", { through: via, after: [LIST] });
    const cases: [string, string | undefined, string][] = [
      ["fe80::2%guest0", "session_map_ipv6", "fe80::2"],
      ["::ffff:10.77.0.2", "session_map_ipv4", "10.77.0.2"],
      ["host.example.org", undefined, ""],
    ];
    for (const [rhost, set, address] of cases) {
      await lab.output(`: >${PLACE}/listed`);
      expect((await pamtester("alice", { rhost })).code).toBe(0);
      const listed = await lab.output(["cat", `${PLACE}/listed`]);
      const filled = [...listed.matchAll(/set (session_map_ipv[46]) {[^}]*elements = { ([^}]*)}/g)].map(
        ([, name, elements]) => [name, elements],
      );
      expect(filled).toEqual(
        set === undefined
          ? []
          : [[set, expect.stringMatching(new RegExp(`" \\. ${address} comment "alice \\(PID:\\d+\\)"`))]],
      );
      expect(listed).toMatch(/set session_map_cg {[^}]*elements = { [^}]*comment "alice /);
    }
    await nothingLeft();
  });

  test("may be missing, but not for a fragment that asks for one", async () => {
    await lab.fragment("bob", "# require address\nadd rule inet authnft egress accept\n");
    await lab.pam("lab", { through: via });
    const since = await lab.cursor();
    const without = await pamtester("bob", { rhost: "host.example.org" });
    const with_ = await pamtester("bob", { rhost: "10.77.0.2" });
    expect([without.code, with_.code]).toEqual([1, 0]);
    const [refusal] = await events(since, "bob");
    expect(refusal).toMatchObject({
      AUTHNFT_EVENT: "refuse",
      AUTHNFT_REASON: "content",
      AUTHNFT_FRAGMENT: fragmentOf("bob"),
    });
    expect(refusal?.["MESSAGE"]).toContain("# require address");
    await nothingLeft();
  });

  test("may be longer than anybody reads: then the session is refused, and without network under optional", async () => {
    await lab.pam("lab", { through: via, control: "optional", after: [LOOK] });
    await lab.output(`: >${PLACE}/seen`);
    const since = await lab.cursor();
    expect((await pamtester("alice", { rhost: "1.".repeat(1500), operations: ["open_session"] })).code).toBe(
      0,
    );
    const seen = await lab.output(["cat", `${PLACE}/seen`]);
    const told = await lab.journal({ since });
    expect(reached(seen)).toEqual(CUT_OFF);
    expect(told.map((entry) => entry["MESSAGE"])).toEqual([expect.stringMatching(/rhost|PAM item/)]);
    await nothingLeft();
  });
});

// ---- records

/** What may happen to a record while its session lives, by bash: $r is the record, $other somebody else's. */
const damages: Record<string, string> = {
  truncated: 'truncate -s 100 "$r"',
  emptied: ': >"$r"',
  "not ours": 'echo "{\\"user\\":\\"root\\"}" >"$r"',
  binary: 'head -c 300 /dev/zero | tr "\\0" "\\377" >"$r"',
  "of another version": 'sed -i "s/\\"v\\":2/\\"v\\":3/" "$r"',
  "of another session": 'cp "$other" "$r"',
  "a directory": 'rm "$r"; mkdir "$r"',
  removed: 'rm "$r"',
};

viaBoth("A record that is damaged while its session lives", (via) => {
  type Damaged = { user: string; loggedOut: Result; objects: number };
  const outcomes = new Map<string, Damaged>();
  let told: JournalEntry[] = [];
  let control = 0;
  let bystander = "";
  let leftRecords = "";
  let failedUnits = "";
  let rest: unknown;

  beforeAll(async () => {
    await reset();
    await lab.pam("sshd", { through: via });
    const users = Object.keys(damages).map((_, index) => `m${index}`);
    for (const user of [...users, "bob"]) await lab.fragment(user, ONLY_FIRST);
    const since = await lab.cursor();
    const bob = lab.sshStart(
      "bob",
      "echo in; while read -r line; do probe tcp 10.88.0.2 7001; probe tcp 10.88.0.3 7001; done",
    );
    // What goes on after the logout keeps the scope alive, so that it is the close that is seen, not the end.
    const sessions = await inParallel(users, async (user) => {
      const session = lab.sshStart(
        user,
        "setsid sleep 300 </dev/null >/dev/null 2>&1 & echo in; read -r line",
      );
      await session.expect(/^in$/m);
      return session;
    });
    await bob.expect(/^in$/m);
    for (const [index, damage] of Object.values(damages).entries()) {
      await lab.output(
        `cd /run/authnft/sessions; r=$(echo authnft-m${index}-*.json) other=$(echo authnft-bob-*.json); ${damage}`,
      );
    }
    const loggedOut = await inParallel(sessions, async (session) => {
      session.write("\n");
      const code = await session.exited;
      return { code, stdout: session.stdout, stderr: session.stderr };
    });
    // ssh is gone before sshd closes the session.
    const ofMembers = /chain session_m\d|comment "m\d/;
    await waitFor(async () => !ofMembers.test(await lab.ruleset()), { timeoutMs: 2000 }).catch(
      () => undefined,
    );
    const ruleset = await lab.ruleset();
    const objects = (user: string): number =>
      ruleset.split(new RegExp(`chain session_${user}_|comment "${user} \\(PID`)).length - 1;
    for (const [index, what] of Object.keys(damages).entries()) {
      const user = `m${index}`;
      outcomes.set(what, { user, loggedOut: loggedOut[index] as Result, objects: objects(user) });
    }
    control = objects("bob");
    bob.write("\n");
    await bob.expect(/refused\n/);

    await lab.output("systemctl kill --signal=KILL 'authnft-m*.scope'");
    await waitFor(
      async () => !(await lab.output("systemctl list-units --plain --no-legend 'authnft-m*.scope'")),
      {
        what: "the end of the scopes",
      },
    );
    await waitFor(
      async () =>
        !(await lab.output("systemctl list-units --plain --no-legend --state=activating 'authnft-end@*'")),
      {
        what: "the clean-up",
      },
    );
    bob.write("\n");
    await bob.expect(/refused\n/);
    bystander = (await logOut(bob)).stdout;
    rest = await nothingLeft().catch((error) => error);
    leftRecords = await lab.output("ls -A /run/authnft/sessions");
    failedUnits = await lab.output("systemctl list-units --failed --plain --no-legend");
    told = await events(since);
  });

  for (const what of Object.keys(damages)) {
    test(`(${what}) does not keep close from removing this session`, () => {
      const { loggedOut, objects } = outcomes.get(what) as Damaged;
      expect(loggedOut).toMatchObject({ code: 0, stdout: "in\n" });
      expect(objects).toBe(0);
    });
  }

  test("does nothing to another session", () => {
    // Three chains and an element in each of four sets.
    expect(control).toBe(7);
    expect(bystander).toBe("in\nok\nrefused\nok\nrefused\n");
  });

  test("does not keep the end from cleaning up the rest", () => {
    expect(rest).toBeUndefined();
    expect(leftRecords).toBe("");
    expect(failedUnits).toBe("");
  });

  test("does not take from the log that the session was closed and is over", () => {
    const stories = [...outcomes].map(([what, { user }]) => [
      what,
      told.filter((entry) => entry["AUTHNFT_USER"] === user).map((entry) => entry["AUTHNFT_EVENT"]),
    ]);
    expect(stories).toEqual([...outcomes.keys()].map((what) => [what, ["open", "close", "end"]]));
  });
});

// ---- correlation

viaBoth("A correlation token that was handed down", (via) => {
  beforeAll(async () => {
    await reset();
    await lab.fragment("alice", ONLY_FIRST);
  });

  test("is kept as far as it is harmless, joins the events, and reaches record and session", async () => {
    await lab.write(`${PLACE}/env`, 'AUTHNFT_CORRELATION=trace:42/$(id)"x_y.z-0\n');
    await lab.pam("sshd", {
      through: via,
      before: [`session required pam_env.so conffile=/dev/null envfile=${PLACE}/env user_readenv=0`],
    });
    const since = await lab.cursor();
    const kept = "trace:42idx_y.z-0";
    const { stdout } = await lab.ssh(
      "alice",
      "cat /run/authnft/sessions/authnft-alice-*.json; echo; echo $AUTHNFT_CORRELATION",
    );
    expect(JSON.parse(stdout.split("\n")[0] as string)).toMatchObject({ user: "alice", correlation: kept });
    // pam_exec cannot set a variable of the session's: there it is as it was handed down.
    if (via === "shim") expect(stdout.trim().split("\n").at(-1)).toBe(kept);
    await nothingLeft();
    const told = await events(since);
    expect(told.map((entry) => [entry["AUTHNFT_EVENT"], entry["AUTHNFT_CORRELATION"]])).toEqual(
      ["open", "close", "end"].map((event) => [event, kept]),
    );

    await lab.output(["rm", fragmentOf("alice")]);
    expect((await lab.ssh("alice", "true")).stdout).toContain(`the reference is ${kept}.`);
    expect((await events(since)).at(-1)).toMatchObject({
      AUTHNFT_EVENT: "refuse",
      AUTHNFT_CORRELATION: kept,
    });
    await lab.fragment("alice", ONLY_FIRST);
    await nothingLeft();
  });

  test("is cut to 64 characters, and replaced by one of our own where nothing is left of it", async () => {
    await lab.pam("lab", { through: via });
    const made = /^authnft-\d{10}-\d+-[0-9a-f]{8}$/;
    const cases: [string, RegExp][] = [
      ["x".repeat(65), /^x{64}$/],
      ["y".repeat(3000), /^y{64}$/],
      ["\u001b[31m\nAUTHNFT_EVENT=end", /^31mAUTHNFT_EVENTend$/],
      ["ünïcode", /^ncode$/],
      ["", made],
      ["$(){}", made],
    ];
    // A user each, so that their events can be told apart.
    await lab.output(
      `for n in $(seq 0 ${cases.length - 1}); do cp -p ${fragmentOf("alice")} ${fragmentOf("m")}$n; done`,
    );
    const since = await lab.cursor();
    const codes = await inParallel([...cases.entries()], async ([index, [handedDown]]) => {
      return (await pamtester(`m${index}`, { env: { AUTHNFT_CORRELATION: handedDown } })).code;
    });
    expect(codes).toEqual(cases.map(() => 0));
    await nothingLeft();
    const all = await events(since);
    for (const [index, [, expected]] of cases.entries()) {
      const told = all.filter((entry) => entry["AUTHNFT_USER"] === `m${index}`);
      expect(told.map((entry) => entry["AUTHNFT_EVENT"])).toEqual(["open", "close", "end"]);
      for (const entry of told) expect(entry["AUTHNFT_CORRELATION"]).toMatch(expected);
    }
  });
});

// ---- claims

viaBoth("Claims from an earlier module", (via) => {
  const CLAIMS = "LAB_CLAIMS";
  const AS_ALICE = "setpriv --reuid=alice --clear-groups keyctl session - bash -c";
  // Keyrings of users are the whole host's: another guest may be there, and what is left must not stay.
  const KEY = `lab-${lab.release}-${process.pid}`;

  beforeAll(async () => {
    await reset();
    await lab.fragment("alice", ONLY_FIRST);
  });

  test("make a tag that is in the elements' comments, the record and the events", async () => {
    // The module makes the key in the login's own session keyring, and hands its serial on by a PAM variable.
    await lab.write(
      `${PLACE}/module`,
      `#!/bin/sh\n[ "$PAM_TYPE" = open_session ] || exit 0\necho "${CLAIMS}=$(printf 'role=ops, id:7 "x"' | keyctl padd user lab-claims @s)" >${PLACE}/claims\n`,
      { mode: "0755" },
    );
    await lab.pam("sshd", {
      through: via,
      args: [`claims_env=${CLAIMS}`],
      before: [
        `session required pam_exec.so seteuid ${PLACE}/module`,
        `session required pam_env.so conffile=/dev/null envfile=${PLACE}/claims user_readenv=0`,
      ],
    });
    const tag = "role=ops,_id:7__x_";
    const since = await lab.cursor();
    await using session = lab.sshStart(
      "alice",
      "probe tcp 10.88.0.2 7001; probe tcp 10.88.0.3 7001; read -r line",
    );
    await session.expect(/ok\nrefused\n/);
    const [record] = await lab.sessions();
    expect(record).toMatchObject({ user: "alice", claims_tag: tag });
    const comments = (await lab.ruleset()).matchAll(/comment "(alice \(PID[^"]*)"/g);
    expect([...comments].map(([, text]) => text)).toEqual(
      Array(4).fill(`alice (PID:${record?.pid}) [${tag}]`),
    );
    await logOut(session);
    await nothingLeft();
    const told = await events(since);
    expect(told.map((entry) => [entry["AUTHNFT_EVENT"], entry["AUTHNFT_CLAIMS_TAG"]])).toEqual(
      ["open", "close", "end"].map((event) => [event, tag]),
    );
  });

  type Claimed = Result & { token: string };

  /** Opens a session for alice in a fresh session keyring, where `make` has put the serial into $serial. */
  async function withKey(make: string): Promise<Claimed> {
    const token = `refusals-${++tokens}.`;
    const script = `${make}\npamtester -E AUTHNFT_CORRELATION=${token} \${serial+-E "${CLAIMS}=$serial"} -- lab alice open_session close_session`;
    return { ...(await lab.run(["keyctl", "session", "-", "bash", "-c", script])), token };
  }

  async function hook(): Promise<void> {
    await lab.pam("lab", {
      through: via,
      args: [`claims_env=${CLAIMS}`],
      after: [LIST],
    });
  }

  test("are made fit for logs and comments, whatever they are", async () => {
    await hook();
    const inSession = (payload: string): string => `serial=$(${payload} | keyctl padd user lab @s)`;
    const cases: [what: string, make: string, tag: RegExp][] = [
      ["binary", inSession("printf 'a\\001\\377\\n\\033b\\\\\"]'"), /^a____b___$/],
      ["ended by a NUL", inSession("printf 'before\\0after'"), /^before$/],
      [
        "of 32 KiB less one, the kernel's most",
        inSession("head -c 32767 /dev/zero | tr '\\0' x"),
        /^x{192}$/,
      ],
      ["as long as a tag may be", inSession("head -c 192 /dev/zero | tr '\\0' y"), /^y{192}$/],
      // Not in a keyring of the login's, but root's to read.
      [
        "elsewhere",
        `keyctl link @u @s; serial=$(printf else | keyctl padd user ${KEY}-root @u); keyctl setperm $serial 0x3f3f0000; keyctl timeout $serial 60; keyctl unlink @u @s`,
        /^else$/,
      ],
      ["not there", "unset serial", /^$/],
    ];
    for (const [what, make, tag] of cases) {
      const since = await lab.cursor();
      await lab.output(`: >${PLACE}/listed`);
      const { code, token } = await withKey(make);
      expect([what, code]).toEqual([what, 0]);
      const listed = await lab.output(["cat", `${PLACE}/listed`]);
      const told = (await events(since)).filter((entry) => entry["AUTHNFT_CORRELATION"] === token);
      expect([what, told[0]?.["AUTHNFT_EVENT"]]).toEqual([what, "open"]);
      const whole = told[0]?.["AUTHNFT_CLAIMS_TAG"] ?? "none";
      expect(whole).toMatch(tag);
      const comments = [...listed.matchAll(/comment "(alice \(PID[^"]*)"/g)].map(([, text]) => text ?? "");
      expect(comments).toHaveLength(3);
      for (const text of comments) {
        expect(text.length).toBeLessThanOrEqual(127);
        const [, shown] = /^alice \(PID:\d+\)(?: \[([A-Za-z0-9_=,.:;/-]+)\])?$/.exec(text) as RegExpExecArray;
        expect(whole).toStartWith(shown ?? "");
        expect((shown ?? "").length).toBe(Math.min(whole.length, 127 - text.indexOf("[") - 2));
      }
    }
    await nothingLeft();
  });

  test("that are not there, not root's or not readable refuse the session, and it has no network under optional", async () => {
    await hook();
    const cases: [what: string, make: string, says: string][] = [
      ["no number", "serial=abc", "no key serial"],
      ["nothing", "serial=", "no key serial"],
      ["zero", "serial=0", "no key serial"],
      ["negative", "serial=-7", "no key serial"],
      ["a keyring by its special id", "serial=-3", "no key serial"],
      ["a number and more", "serial=$(keyctl add user lab x @s)x", "no key serial"],
      ["a number behind a blank", 'serial=" $(keyctl add user lab x @s)"', "no key serial"],
      ["a number of 33 bits", "serial=4294967297", "no key serial"],
      ["no such key", "serial=2147483646", "ENOKEY"],
      [
        "not root's",
        `serial=$(${AS_ALICE} 'keyctl link @u @s; s=$(keyctl add user ${KEY}-open x @u); keyctl setperm $s 0x3f3f3f3f; keyctl timeout $s 60; echo $s')`,
        "uid 1000",
      ],
      [
        "not root's to look at",
        `serial=$(${AS_ALICE} 's=$(keyctl add user ${KEY}-closed x @u); keyctl timeout $s 60; echo $s')`,
        "EACCES",
      ],
      ["unreadable", "serial=$(keyctl add user lab x @s); keyctl setperm $serial 0x35010000", "EACCES"],
      ["revoked", "serial=$(keyctl add user lab x @s); keyctl revoke $serial", "EKEYREVOKED"],
      ["empty up to the first NUL", "serial=$(printf '\\0x' | keyctl padd user lab @s)", "empty"],
      ["a keyring", "serial=$(keyctl newring lab @s)", 'type "keyring"'],
    ];
    const since = await lab.cursor();
    const results = await inParallel(cases, async ([what, make, says]) => ({
      what,
      says,
      ...(await withKey(make)),
    }));
    const all = await events(since);
    for (const { what, says, code, stdout, stderr, token } of results) {
      expect([what, code]).toEqual([what, 1]);
      expect(`${stdout}${stderr}`).toContain("to look at the claims that came with your login");
      const told = all.filter((entry) => entry["AUTHNFT_CORRELATION"] === token);
      expect(told.map((entry) => [what, entry["AUTHNFT_EVENT"], entry["AUTHNFT_REASON"]])).toEqual([
        [what, "refuse", "claims"],
      ]);
      const message = told[0]?.["MESSAGE"] ?? "";
      expect(message).toMatch(
        /^Session of alice is refused: Cannot (read|believe) the claims: [\x20-\x7e]+[;:] [\x20-\x7e]+\.$/,
      );
      expect([what, message]).toEqual([what, expect.stringContaining(says)]);
    }
    await nothingLeft();

    await lab.pam("lab", {
      through: via,
      control: "optional",
      args: [`claims_env=${CLAIMS}`],
      after: [LOOK],
    });
    await lab.output(`: >${PLACE}/seen`);
    const { code, token } = await withKey("serial=0");
    expect(code).toBe(0);
    const refusals = (await events(since)).filter((entry) => entry["AUTHNFT_CORRELATION"] === token);
    expect(refusals.map((entry) => entry["AUTHNFT_REASON"])).toEqual(["claims"]);
    expect(reached(await lab.output(["cat", `${PLACE}/seen`]))).toEqual(CUT_OFF);
    await nothingLeft();
  });
});

// ---- close

viaBoth("Close", (via) => {
  const PROBE = "while read -r line; do probe tcp 10.88.0.2 7001; probe tcp 10.88.0.3 7001; echo done; done";

  beforeAll(async () => {
    await reset();
    for (const user of ["alice", "bob"]) await lab.fragment(user, ONLY_FIRST);
    await lab.pam("sshd", { through: via });
    await lab.pam("lab", { through: via });
  });

  async function filtered(session: Running): Promise<void> {
    session.write("\n");
    expect((await session.expect(/([a-z\n]*)done\n/))[1]).toBe("ok\nrefused\n");
  }

  test("removes its own session only, however often and by whomever it is called", async () => {
    await using alice = lab.sshStart("alice", PROBE);
    await using bob = lab.sshStart("bob", PROBE);
    await Promise.all([filtered(alice), filtered(bob)]);
    const records = await lab.sessions();
    const ruleset = await lab.ruleset();
    const unitOf = (user: string): string => records.find((record) => record.user === user)?.scope_unit ?? "";
    const unchanged = async (): Promise<void> => {
      expect((await lab.sessions()).toSorted(byUnit)).toEqual(records.toSorted(byUnit));
      expect(withoutCounters(await lab.ruleset())).toBe(withoutCounters(ruleset));
    };

    // By a process that never opened one.
    let since = await lab.cursor();
    expect((await pamtester("alice", { operations: ["close_session"] })).code).toBe(0);
    expect((await lab.journal({ since })).map((entry) => entry["MESSAGE"])).toEqual([
      expect.stringMatching(/^Process \d+ of alice closes a session that it did not open; nothing to do\.$/),
    ]);
    await unchanged();

    // By one that did, with an environment that claims to be somebody else's.
    since = await lab.cursor();
    const hostile = {
      AUTHNFT_SESSION: unitOf("bob"),
      AUTHNFT_PAM_TYPE: "close_session",
      AUTHNFT_PAM_USER: "bob",
      PAM_TYPE: "open_session",
      PAM_USER: "bob",
      PAM_SERVICE: "other",
    };
    const opened = await pamtester("alice", { env: hostile });
    expect(opened.code).toBe(0);
    await waitFor(async () => (await events(since)).length >= 3, { what: "the end" });
    expect(
      (await events(since)).map((entry) => [
        entry["AUTHNFT_EVENT"],
        entry["AUTHNFT_USER"],
        entry["AUTHNFT_CORRELATION"],
      ]),
    ).toEqual(["open", "close", "end"].map((event) => [event, "alice", opened.token]));
    await unchanged();

    // And nothing but that, by one that opened none.
    since = await lab.cursor();
    expect((await pamtester("alice", { env: hostile, operations: ["close_session"] })).code).toBe(0);
    expect(await events(since)).toEqual([]);
    await unchanged();

    // Twice.
    since = await lab.cursor();
    const twice = await pamtester("alice", {
      operations: ["open_session", "close_session", "close_session"],
    });
    expect(twice.code).toBe(0);
    expect(twice.stdout.match(/successfully been closed/g)).toHaveLength(2);
    await waitFor(async () => (await events(since)).length >= 3, { what: "the end" });
    expect((await events(since)).map((entry) => entry["AUTHNFT_EVENT"])).toEqual(["open", "close", "end"]);
    await unchanged();

    await Promise.all([filtered(alice), filtered(bob)]);
    await Promise.all([logOut(alice), logOut(bob)]);
    await nothingLeft();
  });

  test("from inside a session, by su, leaves the session around it alone", async () => {
    await lab.pam("su", { through: via });
    const since = await lab.cursor();
    await using alice = lab.sshStart(
      "alice",
      'while read -r line; do eval "$line"; probe tcp 10.88.0.2 7001; probe tcp 10.88.0.3 7001; echo done; done',
    );
    await filtered(alice);
    const [outer] = await lab.sessions();
    const run = async (command: string): Promise<string> => {
      alice.write(`${command}\n`);
      return (await alice.expect(/([\s\S]*?)done\n/))[1] as string;
    };

    // A close without an open, for the same user and for another, by a process in this session's own scope.
    for (const user of ["alice", "bob"]) {
      expect(await run(`sudo pamtester lab ${user} close_session`)).toBe(
        "pamtester: session has successfully been closed.\nok\nrefused\n",
      );
    }
    // A nested session of the same user, and of another: closed at the end of su, with only its own rules removed.
    for (const user of ["alice", "bob"]) {
      const inner = "sed -n s/^0:://p /proc/self/cgroup; ls /run/authnft/sessions";
      const output = await run(`sudo su - ${user} -c "${inner}"`);
      expect(output).toMatch(
        new RegExp(
          `^/authnft\\.slice/authnft-${user}-\\d+\\.scope\\n(authnft-\\S+\\.json\\n){2}ok\\nrefused\\n$`,
        ),
      );
      expect(output.split("\n")[0]).not.toBe(`/${outer?.cg_path}`);
    }
    // A nested one that is refused, under optional: it has no network, this one has what it had.
    await lab.pam("su", { through: via, control: "optional" });
    await lab.output(["mv", fragmentOf("bob"), `${PLACE}/bob`]);
    const refused = await run(`sudo su - bob -c "python3 ${PLACE}/cut-off"`);
    await lab.output(["mv", `${PLACE}/bob`, fragmentOf("bob")]);
    expect(reached(refused)).toEqual(CUT_OFF);
    expect(refused).toEndWith("\nok\nrefused\n");

    await waitFor(async () => (await lab.sessions()).length === 1, { what: "the end of the refused one" });
    expect(await lab.sessions()).toEqual([outer as SessionRecord]);
    expect((await lab.ruleset()).split("chain session_alice_").length - 1).toBe(3);
    await logOut(alice);
    await nothingLeft();
    const stories = Map.groupBy(await events(since), (entry) => entry["AUTHNFT_CORRELATION"] as string);
    expect(
      [...stories.values()].map((story) =>
        story.map((entry) => `${entry["AUTHNFT_EVENT"]} ${entry["AUTHNFT_USER"]}`),
      ),
    ).toEqual([
      ["open alice", "close alice", "end alice"],
      ["open alice", "close alice", "end alice"],
      ["open bob", "close bob", "end bob"],
      ["refuse bob"],
    ]);
  });
});

function byUnit(a: SessionRecord, b: SessionRecord): number {
  return a.scope_unit.localeCompare(b.scope_unit);
}

function withoutCounters(ruleset: string): string {
  return ruleset.replace(/counter packets \d+ bytes \d+/g, "counter");
}
