// SPDX-License-Identifier: GPL-2.0-or-later

// authnft check: what it says of policies before a login does.

import { afterEach, beforeAll, expect, test } from "bun:test";
import { lab, nothingLeft, ONLY_FIRST, onThisRelease } from "./harness.ts";

type Told = {
  file: string;
  line: number | null;
  column: number | null;
  message: string;
  advice: string | null;
  includedBy: string[];
};
type Report = {
  ok: boolean;
  checked: string;
  gaps: string[];
  users: { user: string; fragment: string | null; why: string | null; others: string[] }[];
  files: string[];
  errors: Told[];
  warnings: Told[];
};

async function check(args: string, options: { user?: string } = {}): Promise<{ code: number } & Report> {
  const { code, stdout, stderr } = await lab.run(`cd /tmp && authnft check --json ${args}`, options);
  if (stdout === "") throw new Error(stderr);
  return { code, ...(JSON.parse(stdout) as Report) };
}

const placed = (told: readonly Told[]): string[] =>
  told.map(({ file, line, column, message }) => `${file}:${line}:${column}: ${message}`);

const CLOSED = `${ONLY_FIRST}
add rule inet authnft egress reject
add rule inet authnft filter drop
`;

onThisRelease("check", () => {
  beforeAll(async () => {
    await lab.reset();
    await lab.pam("sshd", { through: "shim" });
  });
  afterEach(async () => {
    await lab.output(
      "find /etc/authnft -type f -delete; rm -rf /etc/authnft/lib /tmp/tree /tmp/new; nft destroy table inet filter || nft 'add table inet filter; delete table inet filter'",
    );
  });

  test("finds what a login would refuse, in every file at once, and changes nothing", async () => {
    await lab.fragment("alice", CLOSED);
    const before = await lab.output("nft -s list ruleset");
    const well = await check("");
    expect(well).toMatchObject({
      code: 0,
      ok: true,
      checked: "nftables",
      errors: [],
      warnings: [],
      gaps: [],
    });
    expect(well.files).toContain("/etc/authnft/users/alice");

    await lab.write(
      "/etc/authnft/lib/web",
      'add rule inet authnft egress meta l4proto tcp \\\n\ttcp dport { 443, http2 } counter accept comment "ä"\n',
    );
    await lab.write("/etc/authnft/lib/nobody", "add rule inet authnft egress jump theirs\nflush ruleset\n");
    await lab.fragment("bob", `include "/etc/authnft/lib/web"\n${CLOSED}`);
    await lab.fragment(
      "m0",
      'include "/etc/authnft/lib/web"\nadd rule inet authnft egress ip daddr $x drop\n',
    );
    await lab.fragment(
      "m1",
      `add rule inet authnft egress tcp dport 99999 drop
add rule inet authnft filter ip saddr $user_ip jump deep
add rule inet authnft filter ip6 saddr $user_ip th dport nothing drop
add chain inet authnft deep
add rule inet authnft deep fib saddr . oif oif eq 0 drop
${CLOSED}`,
    );
    await lab.fragment("m2", CLOSED, { mode: "0666" });
    await lab.write(
      "/etc/authnft/groups/dev",
      "add set inet authnft s { type nonsense; }\nadd rule inet authnft egress ip daddr @s accept\n",
    );
    await lab.write("/etc/authnft/default", "# nothing\n");
    const ill = await check("");
    expect(ill.code).toBe(1);
    const nft = "nftables does not take this: ";
    expect(placed(ill.errors)).toEqual([
      expect.stringMatching(/^\/etc\/authnft\/default:null:null: it holds no rule/),
      // However often nftables complains of the set, the rule that names it is not to blame.
      ...ill.errors
        .filter(({ file }) => file === "/etc/authnft/groups/dev")
        .map(({ column }) => expect.stringContaining(`/etc/authnft/groups/dev:1:${column}: ${nft}`)),
      expect.stringMatching(/^\/etc\/authnft\/lib\/nobody:2:1: only /),
      // At the word that nftables does not know, in the file and on the line where it stands.
      expect.stringMatching(new RegExp(`^/etc/authnft/lib/web:2:19: ${nft}.*service`, "i")),
      expect.stringMatching(/^\/etc\/authnft\/users\/m0:2:39: there is no variable "\$x"$/),
      expect.stringContaining(`/etc/authnft/users/m1:1:40: ${nft}`),
      // Only sessions with an IPv6 address have it.
      expect.stringContaining(`/etc/authnft/users/m1:3:58: ${nft}`),
      // The kernel's own complaint: such a chain is called where the look-up has no meaning.
      expect.stringContaining(`/etc/authnft/users/m1:5:28: ${nft}`),
      expect.stringMatching(/^\/etc\/authnft\/users\/m2:null:null: it is writable by everyone$/),
    ]);
    expect(ill.errors.some(({ file }) => file === "/etc/authnft/groups/dev")).toBe(true);
    expect(ill.errors.find(({ file }) => file.endsWith("web"))?.includedBy).toEqual([
      "/etc/authnft/users/bob:1:1",
    ]);
    const { stdout } = await lab.run("authnft check bob");
    expect(
      stdout.replace(/(nftables does not take this: ).*/, "$1…"),
    ).toBe(`bob: /etc/authnft/users/bob holds, for it is bob's own. Without it: /etc/authnft/default.

/etc/authnft/lib/web:2:19: error: nftables does not take this: …
    \ttcp dport { 443, http2 } counter accept comment "ä"
    \t                 ^
  included by /etc/authnft/users/bob:1:1
  help: see nft(8)

2 files, 1 error, 0 warnings.
`);
    expect(await lab.output("nft -s list ruleset")).toBe(before);
    // Each that is refused here is refused at login, and the one that is not, not.
    for (const user of ["bob", "m0", "m1", "m2", "m3"])
      expect({ user, code: (await lab.ssh(user, "true")).code }).toEqual({ user, code: 254 });
    expect((await lab.ssh("alice", "true")).code).toBe(0);
    await nothingLeft();
    const examined = await lab.run("authnft doctor --json");
    const failures = (
      JSON.parse(examined.stdout) as { findings: { level: string; what: string }[] }
    ).findings.filter(({ level }) => level === "fail");
    // Eight are told, and how many more there are.
    expect(ill.errors.length).toBe(10);
    expect(failures.map(({ what }) => what)).toHaveLength(9);
    expect(failures.map(({ what }) => what)).toContain("There are 2 more mistakes in fragments.");
    expect(failures.map(({ what }) => what)).toContain(
      '/etc/authnft/users/m0:2:39: there is no variable "$x".',
    );
    await lab.output(
      "rm -r /etc/authnft/lib /etc/authnft/groups/* /etc/authnft/default /etc/authnft/users/*",
    );
  });

  test("says which fragment holds for a user, why, and what would hold instead", async () => {
    await lab.output("groupadd -f dev; groupadd -f ops; gpasswd -a alice ops; gpasswd -a alice dev");
    await lab.write("/etc/authnft/groups/ops", CLOSED);
    await lab.write(
      "/etc/authnft/groups/dev",
      `add rule inet authnft egress meta skuid $user_name accept\n${CLOSED}`,
    );
    await lab.write("/etc/authnft/default", CLOSED);
    const report = await check("--user alice");
    expect(report).toMatchObject({
      code: 0,
      users: [
        {
          user: "alice",
          fragment: "/etc/authnft/groups/dev",
          why: "alice is in group dev, the first by name of dev, ops",
          others: ["/etc/authnft/groups/ops", "/etc/authnft/default"],
        },
      ],
      files: ["/etc/authnft/groups/dev"],
    });
    // By itself it is for nobody, and nftables still has to find the name.
    expect((await check("/etc/authnft/groups/dev")).code).toBe(0);
    expect((await lab.run("authnft check --user nonesuch")).code).toBe(2);
    await lab.output("rm /etc/authnft/groups/* /etc/authnft/default");
    // What a login would refuse is a mistake like any other.
    const none = await check("--user alice");
    expect({ code: none.code, ok: none.ok, users: none.users, files: none.files }).toEqual({
      code: 1,
      ok: false,
      users: [{ user: "alice", fragment: null, why: null, others: [] }],
      files: [],
    });
    expect(none.errors).toEqual([
      {
        file: "/etc/authnft/users/alice",
        line: null,
        column: null,
        message:
          "there is none, nor one in /etc/authnft/groups for a group of alice's, nor /etc/authnft/default",
        advice: "write one, or take the user out of group authnft",
        includedBy: [],
      },
    ]);
    expect((await lab.run("authnft check alice")).stdout).toStartWith(
      "alice: no fragment holds; a login is refused.\n\n/etc/authnft/users/alice: error: there is none, ",
    );
    expect((await lab.ssh("alice", "true")).code).toBe(254);
  });

  test("warns of what the host's firewall drops, and of grants to everybody", async () => {
    const text = `add rule inet authnft egress tcp dport 443 accept
add rule inet authnft egress tcp dport 80 meta mark set meta mark or 0x00100000 accept\n`;
    await lab.fragment("alice", text + CLOSED);
    expect(await check("alice")).toMatchObject({ code: 0, warnings: [] });
    await lab.output(
      "nft 'add table inet filter; add chain inet filter output { type filter hook output priority 0; policy drop; }; add rule inet filter output accept'",
    );
    const warned = await check("alice");
    expect(warned.code).toBe(0);
    expect(placed(warned.warnings)).toEqual([
      expect.stringContaining("/etc/authnft/users/alice:1:1: what is accepted here is dropped nevertheless"),
    ]);
    expect(warned.warnings[0]?.message).toContain("chain output of table inet filter");
    // By its last rule instead of its policy, and for what another chain accepts.
    await lab.output(
      "nft 'add chain inet filter output { policy accept; }; add rule inet filter output counter reject'",
    );
    await lab.fragment(
      "alice",
      `add chain inet authnft web\nadd rule inet authnft web tcp dport 443 accept\nadd rule inet authnft egress jump web\n${CLOSED}`,
    );
    expect(placed((await check("alice")).warnings)).toEqual([
      expect.stringContaining("/etc/authnft/users/alice:2:1: what is accepted here is dropped nevertheless"),
    ]);
    await lab.output("nft delete table inet filter");
    await lab.write("/etc/authnft/groups/no-such-group", CLOSED);
    expect((await check("/etc/authnft/groups")).warnings.map(({ message }) => message)).toEqual([
      expect.stringContaining('there is no group "no-such-group"'),
    ]);
    await lab.output("rm /etc/authnft/groups/no-such-group");
    await lab.fragment("alice", "add rule inet authnft egress accept\n");
    const { code, warnings } = await check("");
    expect({ code, warnings: warnings.length }).toEqual({ code: 0, warnings: 2 });
  });

  test("a file elsewhere is checked before it is put in place; a copy of the tree without root", async () => {
    await lab.fragment("alice", CLOSED);
    await lab.write("/tmp/new", `add rule inet authnft egress meta skuid $user_name accept\n${CLOSED}`, {
      mode: "0666",
    });
    const good = await check("--user bob /tmp/new");
    expect(good).toMatchObject({ code: 0, checked: "nftables", errors: [] });
    expect(good.warnings.map(({ message }) => message)).toEqual([
      expect.stringContaining("is not below /etc/authnft"),
      "it is writable by everyone",
    ]);
    await lab.write("/tmp/new", "add rule inet authnft egress tcp dport htttp accept\n");
    expect((await lab.run("authnft check /tmp/new")).code).toBe(1);

    await lab.output("mkdir -p /tmp/tree/etc && cp -r /etc/authnft /tmp/tree/etc && chown -R dave /tmp/tree");
    const copy = await check("--root /tmp/tree", { user: "dave" });
    expect(copy).toMatchObject({
      code: 0,
      checked: "syntax",
      files: ["/tmp/tree/etc/authnft/users/alice"],
      gaps: [
        "Owners and modes are not checked below /tmp/tree: a copy has its own.",
        "Only the syntax was checked: nftables can be asked only by root.",
        "Whether a firewall of the host drops what is accepted here was not looked at: /tmp/tree may be for another one.",
      ],
    });
    await lab.output("echo flush ruleset >>/tmp/tree/etc/authnft/users/alice");
    const bad = await lab.run("cd /tmp/tree && authnft check --root . etc/authnft/users/alice", {
      user: "dave",
    });
    expect(bad.code).toBe(1);
    expect(bad.stdout).toStartWith("./etc/authnft/users/alice:9:1: error: only ");
    expect((await lab.run("authnft check /tmp/none")).code).toBe(2);
  });

  test("never crashes and soon comes to an end, whatever stands in a file: it names line and limit", async () => {
    const rule = "add rule inet authnft egress";
    const hostile: Readonly<Record<string, readonly [text: string, line: number, says: string]>> = {
      // These once killed it, or were told without a place.
      matches: [`${rule}${" tcp dport 1".repeat(80_000)}`, 1, "more than 100,000 words"],
      counters: [`${CLOSED}${rule}${" counter".repeat(80_000)}`, 9, "the statement after 128"],
      parentheses: [`${CLOSED}${rule} tcp dport ${"(".repeat(60_000)}`, 9, "more than 16 deep"],
      operators: [`${rule} meta mark set meta mark${" or 1".repeat(63)}\n`, 1, "more than 15 operators"],
      addresses: [
        `${rule} ip daddr { ${"192.0.2.1, ".repeat(70_000)}} accept\n`,
        1,
        "more than 100,000 words",
      ],
      commands: [`${rule} counter\n`.repeat(1001), 1001, "after 1,000"],
      ways: [
        `${Array.from({ length: 40 }, (_, at) => `add chain inet authnft c${at}\n${`add rule inet authnft c${at} jump c${at + 1}\n`.repeat(at < 39 ? 2 : 0)}`).join("")}${rule} jump c0\n`,
        119,
        "more than 100,000 rules",
      ],
      mistakes: ["`\n".repeat(500_000), 100, "100 lines are wrong"],
    };
    for (const [name, [text]] of Object.entries(hostile)) await lab.write(`/tmp/new/${name}`, text);
    for (const [name, [, line, says]] of Object.entries(hostile)) {
      const start = performance.now();
      const { code, errors } = await check(`/tmp/new/${name}`);
      // A second or two, where nobody else wants the processors.
      expect(performance.now() - start, name).toBeLessThan(15_000);
      expect(code, name).toBe(1);
      expect(placed(errors).join("\n"), name).toMatch(
        new RegExp(`^/tmp/new/${name}:${line}:\\d+: .*${says}`, "m"),
      );
    }
  });

  test("outlives nftables, and names the line that it crashes of", async () => {
    // Of eight numbers of eight bytes, for which it has no room. A login is refused, for its helper does not outlive that.
    const dies = `${"add rule inet authnft egress counter\n".repeat(20)}add chain inet authnft c
add rule inet authnft c meta mark set \\
  jhash ct bytes${" . ct bytes".repeat(7)} mod 2
add rule inet authnft egress jump c
`;
    await lab.fragment("alice", `${CLOSED}${dies}`);
    await lab.fragment("bob", CLOSED);
    await lab.fragment("m0", `add rule inet authnft egress tcp dport 99999 drop\n${CLOSED}`);
    const start = performance.now();
    const { code, errors } = await check("");
    expect({ code, errors: placed(errors) }).toEqual({
      code: 1,
      errors: [
        expect.stringMatching(
          /^\/etc\/authnft\/users\/alice:30:1: nftables does not take this: nftables crashes on it/,
        ),
        expect.stringMatching(/^\/etc\/authnft\/users\/m0:1:40: nftables does not take this: /),
      ],
    });
    expect(performance.now() - start).toBeLessThan(15_000);
  });

  test("a thousand files take seconds, also when each has a mistake of its own", async () => {
    await lab.fragment("alice", CLOSED);
    await lab.output("for i in $(seq 999); do cp /etc/authnft/users/alice /etc/authnft/users/u$i; done");
    const timed = async (): Promise<{ errors: number; ms: number }> => {
      const start = performance.now();
      const { errors, files } = await check("");
      expect(files).toHaveLength(1000);
      return { errors: errors.length, ms: performance.now() - start };
    };
    const good = await timed();
    expect(good.errors).toBe(0);
    // Some two seconds, where nobody else wants the processors.
    expect(good.ms).toBeLessThan(15_000);
    await lab.output(
      "for i in $(seq 999); do echo 'add rule inet authnft filter tcp dport htttp drop' >>/etc/authnft/users/u$i; done",
    );
    const bad = await timed();
    expect(bad.errors).toBe(999);
    expect(bad.ms).toBeLessThan(30_000);
  });
});
