// SPDX-License-Identifier: GPL-2.0-or-later

// Every way in: ssh in all its forms, su, sudo, a console; from every kind of address; for members and for others.

import { afterEach, beforeAll, expect, test } from "bun:test";
import { passwordOf, type Running, waitFor } from "../lab/lab.ts";
import { lab, nothingLeft, ONLY_FIRST, type Via, viaBoth } from "./harness.ts";

/** The opposite of ONLY_FIRST. */
const ONLY_SECOND = `
add rule inet authnft egress ip daddr 10.88.0.3 accept
add rule inet authnft egress ip daddr 10.88.0.0/24 reject
`;

/** Says in which cgroup it runs, and which of world's addresses it reaches. */
const LOOK = `#!/bin/sh
echo "in $(sed -n s/^0:://p /proc/self/cgroup)"
echo "first $(probe tcp 10.88.0.2 7001)"
echo "second $(probe tcp 10.88.0.3 7001)"
`;

interface View {
  cgroup: string;
  first: string;
  second: string;
}

/** What `look` said in some output, each time it was run. */
function looks(output: string): View[] {
  const said = /^in (.*?)\r*\nfirst (.*?)\r*\nsecond (.*?)\r*$/gm;
  return [...output.matchAll(said)].map(([, cgroup = "", first = "", second = ""]) => ({
    cgroup,
    first,
    second,
  }));
}

const inScopeOf = (user: string) =>
  expect.stringMatching(new RegExp(`^/authnft\\.slice/authnft-${user}-\\d+\\.scope$`));
/** What `look` says under ONLY_FIRST. */
const filtered = (user: string): View => ({ cgroup: inScopeOf(user), first: "ok", second: "refused" });
const unfiltered: View = { cgroup: expect.stringMatching(/^\/user\.slice\//), first: "ok", second: "ok" };

/** Puts the hook into every service that these tests log in by. */
async function hookEverything(via: Via): Promise<void> {
  for (const service of ["sshd", "su", "sudo", "login", "lab"]) await lab.pam(service, { through: via });
}

/** Logs in by ssh for as long as the object lives. */
async function stay(user: string, options: Parameters<typeof lab.sshStart>[2] = {}): Promise<Running> {
  const session = lab.sshStart(user, "echo here; cat", options);
  await session.expect(/^here$/m);
  return session;
}

/** What the journal says of sessions since then: "open alice", "close alice", … in order. */
async function eventsSince(cursor: string): Promise<string[]> {
  const entries = await lab.journal({ since: cursor });
  return entries.filter((e) => e["AUTHNFT_EVENT"]).map((e) => `${e["AUTHNFT_EVENT"]} ${e["AUTHNFT_USER"]}`);
}

/** The elements of a set or map of our table, as nft prints them. */
function elementsOf(ruleset: string, set: string): string {
  const body = new RegExp(`\n\t(?:set|map) ${set} \\{\n(.*?)\n\t\\}`, "s").exec(ruleset)?.[1];
  if (body === undefined) throw new Error(`There is no set ${set} in: ${ruleset}`);
  return /elements = \{ (.*) \}$/s.exec(body)?.[1] ?? "";
}

/**
 * A line for a PAM stack, before ours: it stops the system bus, so that an open takes until `goOn`. Standing after
 * pam_systemd, it stops nobody but us.
 */
const HOLD =
  "session optional pam_exec.so type=open_session seteuid quiet /usr/bin/pkill -STOP -u messagebus dbus-daemon";
const goOn = () => lab.output("pkill -CONT -u messagebus dbus-daemon");

/** The helper that an open is waiting for, and that somebody holds. */
async function heldHelper(caller: Running): Promise<number> {
  const found = async () => Number((await lab.run("pgrep -f '^authnft (session|pam)'")).stdout.trim());
  return await waitFor(async () => (await found()) || undefined).catch(() => {
    throw new Error(`There is no helper at work for ${caller.report()}`);
  });
}

async function parentOf(pid: number): Promise<number> {
  return Number(await lab.output(`sed -n 's/^PPid:.//p' /proc/${pid}/status`));
}

const cgroupOf = (pid: number) => lab.output(`sed -n s/^0:://p /proc/${pid}/cgroup`);

/** A shell of dave's on a terminal, outside of any session of ours. */
async function terminal(): Promise<Running> {
  const shell = lab.start(["bash", "--norc", "-i"], { user: "dave", tty: true });
  await shell.expect(/\$ $/);
  return shell;
}

/** Types a command that becomes alice and looks around, and returns when the shell has taken it. */
async function become(shell: Running, program: "su" | "sudo"): Promise<void> {
  shell.write(program === "su" ? "su - alice -c look\n" : "echo now; sudo -u alice look\n");
  await shell.expect(program === "su" ? /Password: / : /^now\r$/m);
  if (program === "su") shell.write(`${passwordOf("alice")}\n`);
}

viaBoth("logins", (via) => {
  const setUp = async () => {
    await lab.reset();
    await lab.write("/usr/local/bin/look", LOOK, { mode: "0755" });
    await hookEverything(via);
    // Nobody shall wait for a wrong password.
    await lab.output("sed -i 's/pam_unix.so/& nodelay/' /etc/pam.d/common-auth");
    await lab.fragment("alice", ONLY_FIRST);
  };
  beforeAll(setUp);
  // What a failed test leaves must not fail the next.
  afterEach(async () => {
    const scopes = "systemctl list-units --plain --no-legend 'authnft-*.scope'";
    if ((await lab.output(`find /run/authnft/sessions /run/authnft/lock -type f; ${scopes}`)) !== "")
      await setUp();
  });

  test("a member's command over ssh reaches what the member's fragment allows, and nothing else", async () => {
    const probes = `for kind in tcp udp; do
      for address in 10.88.0.2 10.88.0.3 fd88::2 fd88::3; do
        echo $kind $address $(probe $kind $address 7001)
      done
    done`;
    const [member, other] = await Promise.all([lab.ssh("alice", probes), lab.ssh("dave", probes)]);
    expect(member.stdout.trim().split("\n")).toEqual([
      "tcp 10.88.0.2 ok",
      "tcp 10.88.0.3 refused",
      "tcp fd88::2 ok",
      "tcp fd88::3 refused",
      "udp 10.88.0.2 ok",
      "udp 10.88.0.3 eperm",
      "udp fd88::2 ok",
      "udp fd88::3 eperm",
    ]);
    expect(other.stdout.match(/ ok$/gm)).toHaveLength(8);
    expect([member.code, other.code]).toEqual([0, 0]);
    await nothingLeft();
  });

  test("an interactive shell on a terminal is filtered until it exits", async () => {
    const shell = lab.sshStart("alice", null, { tty: true });
    await shell.expect(/\$ $/);
    shell.write("tty; look\n");
    await shell.expect(/^\/dev\/pts\/\d+\r$/m);
    await shell.expect(/^second [^\n]*\n/m);
    expect(looks(shell.stdout)).toEqual([filtered("alice")]);
    shell.write("exit\n");
    expect(await shell.exited).toBe(0);
    await nothingLeft();
  });

  test("sftp and scp bring files, and what serves them is filtered", async () => {
    // The servers of both are started by the user's shell, which reads this file first.
    await lab.fragment("m0", ONLY_FIRST);
    await lab.write("/home/m0/.bashrc", "look >>/home/m0/seen 2>&1\n", { owner: "m0:m0" });
    await lab.write("/root/given", "x".repeat(100_000));

    const sftp = await lab.sftp("m0", "put /root/given by-sftp\nget by-sftp /root/returned\n");
    expect(sftp.code).toBe(0);
    const copies = await lab.run("scp /root/given m0@v4:by-scp && scp -O m0@v4:by-scp /root/returned-too", {
      netns: "client",
    });
    expect(copies.code).toBe(0);
    const sums = await lab.output(
      "cd /root; sha256sum given returned returned-too /home/m0/by-s* | cut -c-64 | uniq -c",
    );
    expect(sums).toMatch(/^ *5 [0-9a-f]{64}$/);

    const seen = looks(await lab.output("cat /home/m0/seen"));
    expect(seen).toEqual([filtered("m0"), filtered("m0"), filtered("m0")]);
    expect(new Set(seen.map(({ cgroup }) => cgroup)).size).toBe(3);
    await nothingLeft();
  });

  test("a password opens the same session as a key, and a wrong one opens none", async () => {
    const cursor = await lab.cursor();
    const wrong = await lab.ssh("alice", "look", { password: "wrong" });
    expect(wrong.code).toBe(255);
    expect(await eventsSince(cursor)).toEqual([]);
    const right = await lab.ssh("alice", "look", { password: passwordOf("alice") });
    expect(looks(right.stdout)).toEqual([filtered("alice")]);
    expect(right.code).toBe(0);
    await nothingLeft();
    expect(await eventsSince(cursor)).toEqual(["open alice", "close alice", "end alice"]);
  });

  test("ssh -N has a session with rules for as long as it lives, and none after it is killed", async () => {
    const client = lab.sshStart("alice", null, { args: ["-N"] });
    const [record] = await waitFor(async () => {
      const sessions = await lab.sessions();
      return sessions.length > 0 && sessions;
    });
    expect(record).toMatchObject({ user: "alice", state: "open", remote_ip: "10.77.0.2" });
    const ruleset = await lab.ruleset();
    expect(elementsOf(ruleset, "session_map_cg")).toContain(`"${record?.cg_path}"`);
    expect(ruleset).toContain(`chain session_alice_${record?.pid}_out {`);
    await client.kill();
    await nothingLeft();
  });

  test("ports forwarded by -L, -D and -R are judged by the member's policy", async () => {
    // What comes in has a rule of its own: the other way round than what goes out.
    const inbound = `
      add rule inet authnft filter tcp dport 9001 ip saddr 10.88.0.3 accept
      add rule inet authnft filter tcp dport 9001 reject with tcp reset`;
    await lab.fragment("m1", `${ONLY_FIRST}${inbound}\n`);
    await using _listener = lab.start("probe listen tcp 9002 --seconds 60", { netns: "client" });

    /** What passes through the forwarded ports of a user. */
    const passes = async (user: string): Promise<string[]> => {
      const listens = async () => (await lab.run("ss -Hltn sport = :9001")).stdout !== "";
      await waitFor(async () => !(await listens()), { what: "the far end of the last one closed" });
      const forwards = ["-L", "8001:10.88.0.2:7001", "-L", "8002:10.88.0.3:7001", "-D", "1080"];
      await using _client = lab.sshStart(user, null, {
        args: ["-N", ...forwards, "-R", "*:9001:127.0.0.1:9002"],
      });
      await waitFor(listens, { what: "the listener at the far end" });
      const greeted = (network: "client" | "world", from: string) =>
        lab.output(`timeout 5 socat -u ${from},readbytes=5 - 2>&1 | grep -q hello && echo yes || echo no`, {
          netns: network,
        });
      return await Promise.all([
        greeted("client", "TCP:127.0.0.1:8001"),
        greeted("client", "TCP:127.0.0.1:8002"),
        greeted("client", "SOCKS4:127.0.0.1:10.88.0.2:7001,socksport=1080"),
        greeted("client", "SOCKS4:127.0.0.1:10.88.0.3:7001,socksport=1080"),
        greeted("world", "TCP:10.88.0.1:9001,bind=10.88.0.2"),
        greeted("world", "TCP:10.88.0.1:9001,bind=10.88.0.3"),
      ]);
    };
    expect(await passes("dave")).toEqual(["yes", "yes", "yes", "yes", "yes", "yes"]);
    expect(await passes("m1")).toEqual(["yes", "no", "yes", "no", "no", "yes"]);
    await nothingLeft();
  });

  test("the client's address is canonical and in its set, however the client comes", async () => {
    const ways = [
      { to: "v4", address: "10.77.0.2", set: "session_map_ipv4" },
      { to: "mapped", address: "10.77.0.2", set: "session_map_ipv4" },
      { to: "v6", address: "fd77::2", set: "session_map_ipv6" },
      { to: "link-local", address: "fe80::2", set: "session_map_ipv6" },
    ];
    for (const policy of ["lax", "strict", "kernel"]) {
      const cursor = await lab.cursor();
      await lab.pam("sshd", { through: via, args: [`rhost_policy=${policy}`] });
      const found = await Promise.all(
        ways.map(async ({ to }) => {
          await using session = lab.sshStart("alice", "sed -n s/^0:://p /proc/self/cgroup; cat", { to });
          const [, path] = await session.expect(/^\/(.*)$/m);
          const record = (await lab.sessions()).find((candidate) => candidate.cg_path === path);
          const ruleset = await lab.ruleset();
          const sets = ["session_map_ipv4", "session_map_ipv6"].filter((set) =>
            elementsOf(ruleset, set).includes(`"${path}" . ${record?.remote_ip} comment`),
          );
          return { to, address: record?.remote_ip, set: sets.join(" and ") };
        }),
      );
      expect(found).toEqual(ways as typeof found);
      await nothingLeft();
      // Under "kernel" a difference is worth a warning; these are none.
      expect((await lab.journal({ since: cursor })).filter((entry) => entry["PRIORITY"] === "4")).toEqual([]);
    }
    await hookEverything(via);
  });

  test("a client's name instead of an address: lax does without, strict refuses, kernel takes the peer", async () => {
    // sshd on this port is started for each connection, and so reads its configuration anew.
    const to = "mapped";
    await lab.write("/etc/ssh/sshd_config.d/names.conf", "UseDNS yes\n");
    await lab.output("cp /etc/hosts /root/hosts; echo '10.77.0.2 client.example' >>/etc/hosts");
    try {
      await lab.pam("sshd", { through: via, args: ["rhost_policy=lax"] });
      const lax = await stay("alice", { to });
      expect(await lab.sessions()).toMatchObject([{ user: "alice", state: "open", remote_ip: "" }]);
      const ruleset = await lab.ruleset();
      expect(elementsOf(ruleset, "session_map_cg")).toContain("authnft-alice-");
      expect(elementsOf(ruleset, "session_map_ipv4")).toBe("");
      lax.end();
      expect(await lax.exited).toBe(0);
      expect(looks((await lab.ssh("alice", "look", { to })).stdout)).toEqual([filtered("alice")]);
      await nothingLeft();

      await lab.pam("sshd", { through: via, args: ["rhost_policy=strict"] });
      const cursor = await lab.cursor();
      const strict = await lab.ssh("alice", "look", { to });
      expect(strict.code).toBe(254);
      expect(looks(strict.stdout)).toEqual([]);
      await nothingLeft();
      const [refusal] = await lab.journal({ since: cursor });
      expect(refusal).toMatchObject({ AUTHNFT_EVENT: "refuse", AUTHNFT_REASON: "address" });
      expect(refusal?.["MESSAGE"]).toContain('"client.example"');

      await lab.pam("sshd", { through: via, args: ["rhost_policy=kernel"] });
      const later = await lab.cursor();
      const kernel = await stay("alice", { to });
      expect(await lab.sessions()).toMatchObject([{ user: "alice", state: "open", remote_ip: "10.77.0.2" }]);
      expect(elementsOf(await lab.ruleset(), "session_map_ipv4")).toContain(" . 10.77.0.2 comment");
      kernel.end();
      expect(await kernel.exited).toBe(0);
      await nothingLeft();
      const warnings = (await lab.journal({ since: later })).filter((entry) => entry["PRIORITY"] === "4");
      expect(warnings.map((entry) => entry["MESSAGE"])).toEqual([
        expect.stringMatching(/alice.*"client\.example".*10\.77\.0\.2/),
      ]);
    } finally {
      await lab.output("mv /root/hosts /etc/hosts; rm /etc/ssh/sshd_config.d/names.conf");
      await hookEverything(via);
    }
  });

  test("an address in PAM_RHOST that is not the connection's: kernel believes the connection and says so, lax PAM_RHOST", async () => {
    // Started for each connection and with its socket, as inetd would start a login service.
    const login = "pamtester -I rhost=192.0.2.7 lab alice open_session close_session";
    await using _server = lab.start(`socat TCP-LISTEN:9100,fork,reuseaddr EXEC:'${login}',nofork`);
    await waitFor(async () => (await lab.run("ss -Hltn sport = :9100")).stdout !== "");
    const logIn = async (policy: string): Promise<{ addresses: string[]; warnings: string[] }> => {
      await lab.pam("lab", { through: via, args: [`rhost_policy=${policy}`] });
      const cursor = await lab.cursor();
      const said = await lab.run("socat -u -T 5 TCP:10.77.0.1:9100 -", { netns: "client" });
      expect(said.stdout).toContain("successfully opened a session");
      await nothingLeft();
      const entries = await lab.journal({ since: cursor });
      return {
        addresses: entries
          .filter((e) => e["AUTHNFT_EVENT"] === "open")
          .map((e) => e["AUTHNFT_REMOTE_IP"] ?? ""),
        warnings: entries.filter((e) => e["PRIORITY"] === "4").map((e) => e["MESSAGE"] ?? ""),
      };
    };
    expect(await logIn("lax")).toEqual({ addresses: ["192.0.2.7"], warnings: [] });
    expect(await logIn("kernel")).toEqual({
      addresses: ["10.77.0.2"],
      warnings: [expect.stringMatching(/alice.*192\.0\.2\.7.*10\.77\.0\.2/)],
    });
  });

  test("a console login has no address, and is filtered by its cgroup all the same", async () => {
    await lab.fragment(
      "m2",
      `${ONLY_FIRST}add rule inet authnft filter ip saddr $user_ip tcp dport 9001 accept\n`,
    );
    const cursor = await lab.cursor();
    const console = lab.start(["login", "-f", "m2"], { tty: true });
    await console.expect(/\$ $/);
    console.write("look\n");
    await console.expect(/^second [^\n]*\n/m);
    expect(looks(console.stdout)).toEqual([filtered("m2")]);
    const [record] = await lab.sessions();
    expect(record).toMatchObject({ user: "m2", service: "login", remote_ip: "", state: "open" });
    expect(record?.tty).toMatch(/pts\/\d+$/);
    const ruleset = await lab.ruleset();
    expect(elementsOf(ruleset, "session_map_cg")).toContain(`"${record?.cg_path}"`);
    expect(elementsOf(ruleset, "session_map_ipv4") + elementsOf(ruleset, "session_map_ipv6")).toBe("");
    console.write("exit\n");
    await nothingLeft();
    const notes = (await lab.journal({ since: cursor })).filter((entry) => entry["PRIORITY"] === "5");
    expect(notes.map((entry) => entry["MESSAGE"])).toEqual([
      expect.stringMatching(/^\/etc\/authnft\/users\/m2:6:\d+: the rule is left out/),
    ]);
  });

  test("a member by primary group is filtered; root and users outside the group leave no trace", async () => {
    await lab.fragment("carol", ONLY_FIRST);
    expect(looks((await lab.ssh("carol", "look")).stdout)).toEqual([filtered("carol")]);
    await nothingLeft();

    const cursor = await lab.cursor();
    const before = await lab.ruleset();
    for (const user of ["dave", "root"]) {
      const session = await stay(user);
      expect(await lab.sessions()).toEqual([]);
      expect(await lab.ruleset()).toBe(before);
      expect(await lab.output("systemctl list-units --plain --no-legend 'authnft-*.scope'")).toBe("");
      session.end();
      expect(await session.exited).toBe(0);
      expect(looks((await lab.ssh(user, "look")).stdout)).toEqual([unfiltered]);
    }
    const lines = await lab.journal({ since: cursor, match: {} });
    // systemd may have a last word on the end of carol's.
    const ours = lines
      .map((entry) => entry["MESSAGE"] ?? "")
      .filter((text) => /authnft(?!-carol-|-end@)/.test(text));
    expect(ours).toEqual([]);
    expect(lines.filter((entry) => /^Accepted publickey/.test(entry["MESSAGE"] ?? ""))).toHaveLength(4);
  });

  test("without the group nobody is a member: everybody passes, and the module warns each time", async () => {
    await lab.output("groupmod --new-name elsewhere authnft");
    try {
      const cursor = await lab.cursor();
      expect(looks((await lab.ssh("alice", "look")).stdout)).toEqual([unfiltered]);
      const lines = await lab.journal({ since: cursor, match: { PRIORITY: "4" } });
      expect(
        lines.map((entry) => entry["MESSAGE"]).filter((text) => /group.* authnft/.test(text ?? "")),
        // Under pam_exec nothing of ours runs: the guard lines let everybody pass.
      ).toEqual(via === "shim" ? [expect.stringContaining("authnft install")] : []);
      expect(await eventsSince(cursor)).toEqual([]);
    } finally {
      await lab.output("groupmod --new-name authnft elsewhere");
    }
    expect(looks((await lab.ssh("alice", "look")).stdout)).toEqual([filtered("alice")]);
    await nothingLeft();
  });

  test("sudo works inside a session, stays filtered as root, and closes nothing but its own", async () => {
    await lab.fragment("bob", ONLY_SECOND);
    const cursor = await lab.cursor();
    const script =
      "sudo -n id -u; sudo -n look; sudo -n -u dave look; sudo -n -u alice look; sudo -n -u bob look; look";
    const { code, stdout } = await lab.ssh("alice", script);
    expect(code).toBe(0);
    expect(stdout).toStartWith("0\n");
    const seen = looks(stdout);
    // Two become a member, the first of them herself as it is, and have a session of that member's for that time.
    expect(seen).toEqual([
      ...Array(3).fill(filtered("alice")),
      { cgroup: inScopeOf("bob"), first: "refused", second: "ok" },
      filtered("alice"),
    ]);
    const [root, dave, again, , last] = seen.map(({ cgroup }) => cgroup);
    expect([root, dave]).toEqual([last, last]);
    expect(again).not.toBe(last);
    await nothingLeft();
    expect(await eventsSince(cursor)).toHaveLength(9);
  });

  test("su to another member brings that member's policy, and the way back the first one's", async () => {
    await lab.fragment("bob", ONLY_SECOND);
    for (const [su, service] of [
      ["su -", "su-l"],
      ["su", "su"],
    ]) {
      const cursor = await lab.cursor();
      const inside = "look; cat /run/authnft/sessions/*bob*";
      const { stdout } = await lab.ssh(
        "alice",
        `look; echo ${passwordOf("bob")} | ${su} bob -c '${inside}'; look`,
      );
      const seen = looks(stdout);
      expect(seen).toEqual([
        filtered("alice"),
        { cgroup: inScopeOf("bob"), first: "refused", second: "ok" },
        filtered("alice"),
      ]);
      expect(seen[0]).toEqual(seen[2] as View);
      const record = JSON.parse(/^\{.*\}$/m.exec(stdout)?.[0] ?? "");
      expect(record).toMatchObject({ user: "bob", service, state: "open", remote_ip: "" });
      await nothingLeft();
      // The end of bob's and the close of alice's may come in either order.
      const events = await eventsSince(cursor);
      expect(events.slice(0, 3)).toEqual(["open alice", "open bob", "close bob"]);
      expect(events.slice(3).sort()).toEqual(["close alice", "end alice", "end bob"]);
    }
  });

  test("su to somebody outside the group, or to root by su or sudo -i, is a session of that account's, without rules, and the way back the member's", async () => {
    const others = ["dave", "root"].map((user) => `echo ${passwordOf(user)} | su - ${user} -c look`);
    const { stdout } = await lab.ssh("alice", ["look", ...others, "sudo -n -i look", "look"].join("; "));
    const [before, dave, root, again, after] = looks(stdout);
    expect(before).toEqual(filtered("alice"));
    expect(dave).toEqual(unfiltered);
    for (const view of [root, again])
      expect(view).toEqual({
        ...unfiltered,
        cgroup: expect.stringMatching(/^\/user\.slice\/user-0\.slice\//),
      });
    expect(after).toEqual(before as View);
    await nothingLeft();
  });

  test("su, sudo and a caller that cleans nothing, with everything lowered, open a session, and the helper is spared it all", async () => {
    // Soft limits: out of lowered hard ones only CAP_SYS_RESOURCE helps, which root of a container may not have.
    const lowered = `
      for limit in n:20 f:0 v:300000 t:9 s:256 l:0 i:0; do ulimit -S -\${limit%:*} \${limit#*:}; done
      umask 777; cd /tmp; trap "" HUP INT QUIT TERM TSTP USR1 ALRM
      exec nice -n 19`;
    for (const service of ["su", "sudo"]) await lab.pam(service, { through: via, before: [HOLD] });
    // Some releases' pam_limits would put the limits back before it is our turn.
    await lab.output("sed -i /pam_limits/d /etc/pam.d/su /etc/pam.d/sudo");
    try {
      const seeing = "sh -c 'look; nice; umask; stat -c %a:%U /run/authnft/sessions/*'";
      for (const command of [`su - alice -c "${seeing}"`, `sudo -u alice ${seeing}`]) {
        await using caller = lab.start(`${lowered} ${command}`, { user: "dave" });
        caller.write(`${passwordOf("alice")}\n`);
        const helper = await heldHelper(caller);
        const shown = await lab.output(`cd /proc/${helper}
          cat status limits; echo cgroup $(sed -n s/^0:://p cgroup); echo cwd $(readlink cwd)
          echo stat $(sed 's/.*) //' stat); tr '\\0' '\\n' <environ | sed 's/^/environ /'`);
        await goOn();

        expect(shown).toMatch(/^Uid:\t0\t0\t0\t0$/m);
        expect(shown).toMatch(/^Gid:\t0\t0\t0\t0$/m);
        expect(shown).toMatch(/^Groups:\t *$/m);
        expect(shown).toMatch(/^Umask:\t0077$/m);
        expect(shown).toMatch(/^SigBlk:\t0+$/m);
        expect(shown).toMatch(/^NoNewPrivs:\t1$/m);
        // The runtime itself ignores SIGPIPE and SIGXFSZ; HUP, INT, QUIT, USR1, ALRM, TERM and TSTP must act.
        const ignored = BigInt(`0x${/^SigIgn:\t(\w+)$/m.exec(shown)?.[1]}`);
        expect([1, 2, 3, 10, 14, 15, 20].filter((signal) => (ignored >> BigInt(signal - 1)) & 1n)).toEqual(
          [],
        );
        const soft = (limit: string) => new RegExp(`^${limit} +(\\S+)`, "m").exec(shown)?.[1];
        expect(Number(soft("Max open files"))).toBeGreaterThanOrEqual(1024);
        expect(soft("Max file size")).toBe(String(64 << 20));
        expect(soft("Max address space")).toBe("unlimited");
        expect(soft("Max cpu time")).toBe("20");
        expect(soft("Max stack size")).toBe(String(8 << 20));
        expect(soft("Max locked memory")).not.toBe("0");
        expect(shown).toMatch(/^cgroup \/init\.scope$/m);
        expect(shown).toMatch(/^cwd \/$/m);
        // After the name: state, parent, process group, session, terminal; the nice value is the 17th.
        const stat = /^stat (.*)$/m.exec(shown)?.[1]?.split(" ") ?? [];
        expect([stat[3], stat[4], stat[16]]).toEqual([String(helper), "0", "0"]);
        const names = [...shown.matchAll(/^environ (\w+)=/gm)].map(([, name = ""]) => name);
        expect(
          names.filter((name) => !/^(PATH|LANG|TMPDIR|BUN_JSC_useJIT|AUTHNFT_PAM_\w+)$/.test(name)),
        ).toEqual([]);

        // The session is the caller's work: still as nice as dave wanted it.
        expect(await caller.exited).toBe(0);
        expect(looks(caller.stdout)).toEqual([filtered("alice")]);
        expect(caller.lines.slice(3)).toEqual(["19", "0777", "644:root"]);
        await nothingLeft();
      }
    } finally {
      await goOn();
      await hookEverything(via);
    }
    // su and sudo lift the limits of theirs that trouble them; this one passes on what it gets.
    const cursor = await lab.cursor();
    const bare = await lab.run(`${lowered} pamtester lab alice open_session close_session`);
    expect(bare.stdout).toContain("successfully opened a session");
    await nothingLeft();
    expect(await eventsSince(cursor)).toEqual(["open alice", "close alice", "end alice"]);
  });

  test("su and sudo do not run the command of a refused member", async () => {
    // m9 has no fragment.
    const commands = [`echo ${passwordOf("m9")} | su - m9 -c look`, "sudo -u m9 look"];
    for (const command of commands) {
      const refused = await lab.run(command, { user: "dave" });
      expect({ command, ...refused }).toMatchObject({ command, code: 1 });
      expect({ command, looks: looks(refused.stdout) }).toEqual({ command, looks: [] });
    }
    await nothingLeft();
    for (const command of commands) {
      const allowed = await lab.run(command.replaceAll("m9", "alice"), { user: "dave" });
      expect({ command, looks: looks(allowed.stdout) }).toEqual({ command, looks: [filtered("alice")] });
    }
    await nothingLeft();
  });

  test("Ctrl-Z during the open only makes it wait", async () => {
    for (const service of ["su", "sudo"]) await lab.pam(service, { through: via, before: [HOLD] });
    try {
      for (const program of ["su", "sudo"] as const) {
        await using shell = await terminal();
        await become(shell, program);
        await heldHelper(shell);
        shell.write("\x1a");
        await goOn();
        await shell.expect(/Stopped/);
        expect(looks(shell.stdout)).toEqual([]);
        // The helper does not stop with its caller.
        await waitFor(async () => (await lab.sessions()).some(({ state }) => state === "open"));
        await shell.expect(/\$ $/);
        shell.write("fg\n");
        await shell.expect(/^second [^\n]*\n/m);
        await shell.expect(/\$ $/);
        expect(looks(shell.stdout)).toEqual([filtered("alice")]);
        await nothingLeft();
      }
    } finally {
      await goOn();
      await hookEverything(via);
    }
  });

  test("Ctrl-C during the open, at any time, leaves a whole session or none", async () => {
    const cursor = await lab.cursor();
    /** Whatever came of it: nothing was run, or all that ran was filtered, and nothing is left. */
    const wholeOrNone = async (shell: Running) => {
      await shell.expect(/\$ $/);
      await nothingLeft();
      const said = [...shell.stdout.matchAll(/^(?:in|first|second) (.*?)\r*$/gm)].map(([line]) =>
        line.trim(),
      );
      const wrong = /^(first refused|second ok|in (?!\/authnft\.slice\/authnft-alice-))/;
      expect(said.filter((line) => wrong.test(line))).toEqual([]);
    };
    for (const service of ["su", "sudo"]) await lab.pam(service, { through: via, before: [HOLD] });
    try {
      for (const program of ["su", "sudo"] as const) {
        await using shell = await terminal();
        await become(shell, program);
        await heldHelper(shell);
        shell.write("\x03");
        await goOn();
        await wholeOrNone(shell);
      }
    } finally {
      await goOn();
      await hookEverything(via);
    }
    // An open takes some 50 ms, and as much passes before it.
    for (const delay of [10, 30, 50, 70, 90]) {
      for (const program of ["su", "sudo"] as const) {
        await using shell = await terminal();
        await become(shell, program);
        await Bun.sleep(delay);
        shell.write("\x03");
        await wholeOrNone(shell);
      }
    }
    const events = await eventsSince(cursor);
    const count = (kind: string) => events.filter((event) => event === `${kind} alice`).length;
    expect(count("open")).toBeGreaterThan(0);
    expect([count("close"), count("end")]).toEqual([count("open"), count("open")]);
    expect(await cgroupOf(1)).toBe("/init.scope");
    // What the program says when it does not know what happened to it.
    const crashes = (await lab.journal({ since: cursor })).map((entry) => entry["MESSAGE"] ?? "");
    expect(crashes.filter((text) => text.startsWith("authnft: "))).toEqual([]);
    expect(looks((await lab.ssh("root", "look")).stdout)).toEqual([unfiltered]);
    expect(looks((await lab.ssh("alice", "look")).stdout)).toEqual([filtered("alice")]);
    await nothingLeft();
  });

  test("a PAM process that dies during its open, and that nobody buries, leaves nothing behind", async () => {
    await lab.pam("su", { through: via, before: [HOLD] });
    const su = `echo ${passwordOf("alice")} | su - alice -c look`;
    // The outer shell stands between the one that is stopped here and the lab, which would stop with it.
    let shell: number | undefined;
    await using outer = lab.start(`sh -c '${su}; :'; :`, { user: "dave" });
    try {
      const helper = await heldHelper(outer);
      // Under pam_exec the entry stands between.
      const caller = await parentOf(via === "exec" ? await parentOf(helper) : helper);
      shell = await parentOf(caller);
      await lab.output(["kill", "-STOP", String(shell)]);
      await lab.output(["kill", "-KILL", String(caller)]);
      await waitFor(async () => (await lab.output(`cat /proc/${caller}/stat`)).includes(") Z "));
      await goOn();
      await waitFor(async () => (await lab.run(["test", "-e", `/proc/${helper}/exe`])).code !== 0);
      await nothingLeft();
    } finally {
      await goOn();
      if (shell !== undefined) await lab.output(["kill", "-CONT", String(shell)]);
      await hookEverything(via);
    }
  });

  test("seen from outside, an open session is all that the contract says, and its end is told once", async () => {
    const cursor = await lab.cursor();
    const session = lab.sshStart("alice", "look; env | grep ^AUTHNFT_ | sort; echo here; cat");
    await session.expect(/^here$/m);
    const records = await lab.sessions();
    expect(records).toHaveLength(1);
    const [record] = records;
    if (record === undefined) throw new Error("There is no record.");
    const { pid, scope_unit: unit, cg_path: path, correlation } = record;

    // A copy: matching against patterns writes them into the object.
    expect({ ...record }).toMatchObject({
      v: 2,
      user: "alice",
      uid: Number(await lab.output("id -u alice")),
      scope_unit: `authnft-alice-${pid}.scope`,
      cg_path: `authnft.slice/authnft-alice-${pid}.scope`,
      cg_id: Number(await lab.output(`stat -c %i /sys/fs/cgroup/${path}`)),
      remote_ip: "10.77.0.2",
      fragment: "/etc/authnft/users/alice",
      claims_tag: "",
      correlation: expect.stringMatching(new RegExp(`^authnft-\\d{10}-${pid}-[0-9a-f]{8}$`)),
      service: "sshd",
      tty: "ssh",
      pid: expect.any(Number),
      opened_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/),
      state: "open",
      lingering: "quarantine",
      generation: 0,
      sequence: 1,
    });
    expect(Math.abs(Date.now() - Date.parse(record.opened_at))).toBeLessThan(10_000);
    expect(await lab.output("cd /run/authnft/sessions; stat -c '%n %a %U:%G' *")).toBe(
      `${unit}.json 644 root:root`,
    );
    expect(await lab.output(`tr '\\0' ' ' </proc/${pid}/cmdline`)).toMatch(
      /^sshd(-session)?: alice \[priv\]/,
    );

    // The session's processes: the one that called PAM, and what it started since.
    const inside = (await lab.output(`cat /sys/fs/cgroup/${path}/cgroup.procs`)).split("\n").map(Number);
    expect(inside).toContain(pid);
    expect(looks(session.stdout)).toEqual([{ ...filtered("alice"), cgroup: `/${path}` }]);
    const variables = session.lines.filter((line) => line.startsWith("AUTHNFT_"));
    // pam_exec has no way to set variables.
    expect(variables).toEqual(
      via === "shim" ? [`AUTHNFT_CORRELATION=${correlation}`, `AUTHNFT_SESSION=${unit}`] : [],
    );

    const status = await lab.output(["systemctl", "status", "--no-pager", unit]);
    expect(status).toContain("Active: active (running)");
    expect(status).toContain(`CGroup: /authnft.slice/${unit}`);
    const properties = await lab.output(["systemctl", "show", "-p", "Slice,OnSuccess,OnFailure", unit]);
    const end = `authnft-end@${unit}.service`;
    expect(properties.split("\n").sort()).toEqual([
      `OnFailure=${end}`,
      `OnSuccess=${end}`,
      "Slice=authnft.slice",
    ]);

    const ruleset = await lab.ruleset();
    const comment = `comment "alice (PID:${pid})"`;
    // What the user runs outside of the session is under the same policy, in chains of its own.
    const slice = "user.slice/user-1000.slice";
    const cover = 'comment "alice (UID:1000)"';
    expect(elementsOf(ruleset, "session_map_cg").split(/,\s+/).sort()).toEqual([
      `"${path}" ${comment}`,
      `"${slice}" ${cover}`,
    ]);
    expect(elementsOf(ruleset, "session_map_ipv4").split(/,\s+/).sort()).toEqual([
      `"${path}" . 10.77.0.2 ${comment}`,
      `"${slice}" . 10.77.0.2 ${cover}`,
    ]);
    expect(elementsOf(ruleset, "session_map_ipv6")).toBe("");
    for (const direction of ["in", "out"]) {
      const elements = elementsOf(ruleset, `session_${direction}`).split(/,\s+/).sort();
      expect(elements.map((element) => element.replace(/packets \d+ bytes \d+/, "…"))).toEqual([
        `"${path}" counter … comment "alice (PID:${pid})" : jump session_alice_${pid}_${direction}`,
        `"${slice}" counter … ${cover} : jump cover_1000_${direction}`,
      ]);
      expect(ruleset).toContain(`chain session_alice_${pid}_${direction} {`);
    }
    expect(ruleset).toMatch(/chain filter \{\s*type filter hook input priority filter - 1; policy accept;/);
    expect(ruleset).toMatch(/chain egress \{\s*type filter hook output priority filter - 1; policy accept;/);

    session.end();
    expect(await session.exited).toBe(0);
    await nothingLeft();

    const entries = await lab.journal({ since: cursor });
    expect(entries.map((entry) => entry["AUTHNFT_EVENT"])).toEqual(["open", "close", "end"]);
    const boot = (await lab.output("cat /proc/sys/kernel/random/boot_id")).replaceAll("-", "");
    for (const entry of entries) {
      expect(entry).toMatchObject({
        AUTHNFT_USER: "alice",
        AUTHNFT_CG_PATH: path,
        AUTHNFT_CG_ID: String(record.cg_id),
        AUTHNFT_REMOTE_IP: "10.77.0.2",
        AUTHNFT_FRAGMENT: "/etc/authnft/users/alice",
        AUTHNFT_CLAIMS_TAG: "",
        AUTHNFT_SCOPE_UNIT: unit,
        AUTHNFT_CORRELATION: correlation,
        _BOOT_ID: boot,
      });
    }
    const [, closed, ended] = entries;
    expect(closed).toMatchObject({ AUTHNFT_HOW: "pam" });
    expect(Number(ended?.["AUTHNFT_DURATION_SEC"])).toBeGreaterThan(0.1);
    // Two connections were tried.
    expect(Number(ended?.["AUTHNFT_PACKETS"])).toBeGreaterThan(2);
    // Part of the interface: consumers select by them.
    expect(entries.map((entry) => entry["MESSAGE_ID"])).toEqual([
      "9930e8a9f61c4e01a64c7d44b98bb72d",
      "511925b3701b4b558683dea8eef2c521",
      "8e3314e2019447d59bbdceff3cf692f0",
    ]);
  });

  // The last, for a guest whose first process was taken is good for nothing more.
  test("a PAM process that dies while its helper starts takes nobody else into its session", async () => {
    await using _session = await stay("dave");
    const manager = Number(await lab.output("pgrep -o -u dave -x systemd"));

    // An orphan is adopted by the nearest subreaper, such as dave's service manager, or else by the first process of all.
    const asService = "systemd-run --user --machine dave@ --pipe --wait --quiet su - alice -c look";
    for (const [command, options, adopter, home] of [
      [asService, {}, manager, /^\/user\.slice\/user-\d+\.slice\/user@\d+\.service\//],
      ["su - alice -c look", { user: "dave" }, 1, /^\/init\.scope$/],
    ] as const) {
      await using login = lab.start(command, options);
      await waitFor(() => login.stderr.includes("Password: "), { what: "a question for the password" });
      const caller = Number(await lab.output("pgrep -x su"));
      // Stops the helper at its first instruction.
      const stop = "-P /usr/libexec/authnft -e trace=execve -e inject=execve:signal=STOP";
      await using _tracer = lab.start(`strace -f -qq -o /dev/null ${stop} -p ${caller}`);
      await waitFor(
        async () => (await lab.run(`grep -q '^TracerPid:.[1-9]' /proc/${caller}/status`)).code === 0,
      );
      login.write(`${passwordOf("alice")}\n`);
      const stopped = async () => (await lab.run(`pgrep --parent ${caller} --runstates T,t authnft`)).stdout;
      const helper = Number(
        await waitFor(async () => (await stopped()).trim() || undefined, { what: "the helper" }),
      );

      await lab.output(["kill", "-KILL", String(caller)]);
      await waitFor(async () => (await parentOf(helper)) === adopter, { what: "the helper adopted" });
      await lab.output(["kill", "-CONT", String(helper)]);
      await waitFor(async () => (await lab.run(["test", "-e", `/proc/${helper}/exe`])).code !== 0);
      expect(await cgroupOf(adopter)).toMatch(home);
      expect(looks(login.stdout)).toEqual([]);
      await nothingLeft();
    }
  });
});
