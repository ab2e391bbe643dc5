// SPDX-License-Identifier: GPL-2.0-or-later

// The fragments that are shipped to begin with: each is loaded, and what it says is shown with packets.

import { afterEach, beforeAll, describe, expect, test } from "bun:test";
import { examples } from "../../src/cli/example.ts";
import { type Running, waitFor } from "../lab/lab.ts";
import { literals } from "../man_pages.ts";
import { type Agent, installAgent, logIn, logInAndLeave, outside } from "./agent.ts";
import { lab, nothingLeft } from "./harness.ts";

/** Where in the lab the addresses lie that the examples name, which are those for documentation. */
const ADDRESSES: readonly [RegExp, string][] = [
  // World's first host.
  [/\b192\.0\.2\.\d+/g, "10.88.0.2"],
  [/\b2001:db8:1::10\b/g, "fd88::2"],
  // Its second.
  [/\b198\.51\.100\.0\/24/g, "10.88.0.3/32"],
  [/\b2001:db8:2::\/64/g, "fd88::3/128"],
];

/** In place of the kernel's log, which only the host of all containers has; each packet by itself. */
const LOG = "group 7 queue-threshold 1";

const WORLD = ["10.88.0.2", "10.88.0.3", "fd88::2", "fd88::3"];

/** What listens on all of them, besides 7001 to 7004. */
const SERVICES = ["tcp 53", "udp 53", "tcp 80", "tcp 443", "udp 443", "tcp 5432", "udp 9000"];

/** How long a packet that shall not arrive is waited for, in seconds; others get five. */
const SILENCE = 0.7;

/** An example as the command prints it, with the lab's addresses and some words changed that would take too long to show. */
async function exampleFor(name: string, changes: Readonly<Record<string, string>> = {}): Promise<string> {
  let text = await lab.output(["authnft", "example", name]);
  for (const [from, to] of Object.entries(changes)) {
    if (!text.includes(from)) throw new Error(`The example ${name} says nothing of ${from}.`);
    text = text.replaceAll(from, to);
  }
  for (const [documented, real] of ADDRESSES) text = text.replaceAll(documented, real);
  expect(text).not.toMatch(/192\.0\.2|198\.51\.100|203\.0\.113|2001:db8/);
  return `${text}\n`;
}

/** Logs alice in under an example. */
async function under(name: string, changes: Readonly<Record<string, string>> = {}): Promise<Agent> {
  await lab.fragment("alice", await exampleFor(name, changes));
  return await logIn("alice");
}

/** Has a agent ask "tcp|udp ADDRESS PORT [BYTES]", all at once: "ok", "refused", whatever the error, or "timeout". */
async function ask(agent: Agent, questions: readonly string[], patience = 5): Promise<string[]> {
  const answers = await agent.tell(
    "ask_all",
    questions.map((question) => {
      const [kind, address, port, size = "6"] = question.split(" ");
      return [kind, address, Number(port), patience, Number(size)];
    }),
  );
  return (answers as string[]).map((answer) =>
    ["ok", "timeout"].includes(answer) ? answer : /^E/.test(answer) ? "refused" : answer,
  );
}

/** Expects what passes, what is refused by an answer, and what is met by silence. */
async function expectOf(
  agent: Agent,
  { ok = [], refused = [], silent = [] }: { ok?: string[]; refused?: string[]; silent?: string[] },
): Promise<void> {
  const lists = { ok, refused, timeout: silent };
  for (const [answer, questions] of Object.entries(lists)) {
    const answers =
      questions.length === 0 ? [] : await ask(agent, questions, silent === questions ? SILENCE : 5);
    expect(questions.map((question, i) => `${question}: ${answers[i]}`)).toEqual(
      questions.map((question) => `${question}: ${answer}`),
    );
  }
}

/** The same of several addresses. */
function at(addresses: readonly string[], ...services: string[]): string[] {
  return addresses.flatMap((address) => services.map((service) => service.replace(" ", ` ${address} `)));
}

const FIRST = ["10.88.0.2", "fd88::2"];
const SECOND = ["10.88.0.3", "fd88::3"];
/** The guest, as the client's network sees it. */
const HERE = ["10.77.0.1", "fd77::1"];

/** The part of an example that it asks to put into the host's own rules. */
function hostPart(text: string): string {
  return [...text.matchAll(/^# {5}(.*)$/gm)].map(([, line]) => line).join("\n");
}

/** Does something while the host has those rules. */
async function withHostRules(text: string, work: () => Promise<void>): Promise<void> {
  const rules = hostPart(text);
  const table = /^table (.*) \{$/m.exec(rules)?.[1];
  await lab.output(["nft", "-f", "-"], { input: `${rules}\n` });
  try {
    await work();
  } finally {
    await lab.output(`nft delete table ${table}`);
  }
}

describe(`examples (${lab.release})`, () => {
  /** The destinations' network, the clients' network, and root in the guest itself. */
  let world: Agent;
  let client: Agent;
  let root: Agent;

  beforeAll(async () => {
    await lab.reset();
    await lab.pam("sshd", { through: "shim" });
    await installAgent();
    [world, client, root] = await Promise.all([
      outside({ netns: "world" }),
      outside({ netns: "client" }),
      outside(),
    ]);
    for (const address of WORLD)
      for (const service of SERVICES) {
        const [kind, port] = service.split(" ");
        expect(await world.tell("serve", kind, Number(port), address)).toBe("listening");
      }
    // Without a session, all of that answers: the control for everything below that does not.
    await expectOf(root, { ok: at(WORLD, ...SERVICES, "tcp 7001", "udp 7001") });
  });

  afterEach(async () => {
    await lab.run(
      "systemctl kill --signal=KILL 'authnft-*.scope'; rm -f /etc/authnft/groups/* /etc/authnft/users/*",
    );
    await nothingLeft();
  });

  /** Has a session listen, and tells how the clients' network and the destinations' network see that. */
  async function expectInbound(
    alice: Agent,
    { open, closed, from = HERE }: { open: number[]; closed: number[]; from?: string[] },
  ): Promise<void> {
    for (const port of [...open, ...closed]) expect(await alice.tell("serve", "tcp", port)).toBe("listening");
    await expectOf(client, {
      ok: open.flatMap((port) => at(from, `tcp ${port}`)),
      silent: [
        ...closed.flatMap((port) => at(HERE, `tcp ${port}`)),
        ...open.flatMap((port) =>
          at(
            HERE.filter((address) => !from.includes(address)),
            `tcp ${port}`,
          ),
        ),
      ],
    });
  }

  const cases: Readonly<Record<string, () => Promise<void>>> = {
    async accounting() {
      const alice = await under("accounting");
      await expectOf(alice, { ok: ["udp 10.88.0.2 7001", "tcp fd88::3 443"] });
      await expectOf(root, { ok: ["udp 10.88.0.3 7002"] });
      const sets = await lab.output("nft list sets table inet authnft");
      // One datagram of six bytes, and twenty-eight of headers.
      expect(sets).toMatch(/10\.88\.0\.2 \. udp \. 7001 counter packets 1 bytes 34 /);
      expect(sets).toMatch(/fd88::3 \. tcp \. 443 counter packets \d+ bytes \d+ /);
      expect(sets).not.toContain("7002");
      await alice.end();
    },

    async allowlist() {
      const alice = await under("allowlist");
      await expectOf(alice, {
        ok: [...at(SECOND, "tcp 80", "tcp 443"), "udp 10.88.0.2 53", "tcp 10.88.0.2 53"],
        refused: [...at(FIRST, "tcp 443", "tcp 7001"), ...at(SECOND, "udp 53", "tcp 7001"), "udp fd88::2 53"],
      });
      await expectInbound(alice, { open: [], closed: [8080] });
      await alice.end();
    },

    async anywhere() {
      await lab.fragment("alice", await exampleFor("anywhere"));
      const { agents, session, logOut } = await logInAndLeave("alice", ["left"]);
      const alice = agents[0] as Agent;
      await expectOf(alice, { ok: at(WORLD, ...SERVICES) });
      await expectInbound(alice, { open: [8080], closed: [] });
      expect(await lab.ruleset()).toMatch(/^\s*counter packets [1-9]\d* bytes \d+ goto session_alice/m);
      await logOut();
      expect(await session.exited).toBe(0);
      // Which of the two is first, the client's end or the host's close, is anybody's guess.
      await waitFor(async () => (await lab.sessions())[0]?.state === "lingering");
      await expectOf(alice, { refused: at(WORLD, "tcp 443", "udp 53") });
      // What it listened with was closed as well.
      await expectOf(client, { refused: at(HERE, "tcp 8080") });
    },

    async bastion() {
      const alice = await under("bastion");
      await expectOf(alice, {
        ok: at(FIRST, "tcp 5432"),
        refused: [...at(SECOND, "tcp 5432"), ...at(FIRST, "tcp 443", "udp 53")],
      });
      const lock = await lab.output("systemctl show --property=IPAddressAllow 'authnft-alice-*.scope'");
      expect(lock.replace("IPAddressAllow=", "").split(" ").sort()).toEqual(["10.88.0.2/32", "fd88::2/128"]);
      await alice.end();
      const forward = ["15432:10.88.0.2:5432", "15433:10.88.0.3:5432"].flatMap((way) => ["-L", way]);
      await using tunnel = lab.sshStart("alice", null, { args: ["-N", ...forward] });
      await waitFor(async () => (await ask(client, ["tcp 127.0.0.1 15432"]))[0] === "ok");
      expect(await ask(client, ["tcp 127.0.0.1 15433"])).not.toEqual(["ok"]);
      await tunnel.kill();
    },

    async "break-glass"() {
      const short = { "timeout 4h": "timeout 3s", "level warn flags skuid": LOG };
      expect(await root.tell("watch_log", "log", 7)).toBe("watching");
      const alice = await under("break-glass", short);
      await expectOf(alice, { ok: at(WORLD, "tcp 443") });
      for (const _ of WORLD) expect(await root.tell("logged", "log")).toBe("break glass: ");
      expect(await alice.tell("connect", "c", "10.88.0.2", 5432)).toBe("connected");
      await waitFor(async () => (await ask(alice, ["udp 10.88.0.2 53"]))[0] === "refused");
      await expectOf(alice, { refused: at(WORLD, "tcp 443", "udp 53") });
      await alice.tell("send", "c", "after the time");
      expect(await alice.tell("receive", "c", SILENCE)).not.toBe("after the time");
      await root.tell("close", "log");
      await alice.end();
      // Somebody who came by no network is not let in.
      await lab.pam("lab", { through: "shim" });
      expect((await lab.run("pamtester lab alice open_session")).code).not.toBe(0);
      expect((await lab.run("pamtester -I rhost=10.77.0.2 lab alice open_session close_session")).code).toBe(
        0,
      );
    },

    async "business-hours"() {
      const now = new Date(Date.now());
      const today = now.toLocaleDateString("en", { weekday: "long", timeZone: "UTC" });
      const other = new Date(now.getTime() + 3 * 86_400_000).toLocaleDateString("en", {
        weekday: "long",
        timeZone: "UTC",
      });
      const days = "Monday, Tuesday, Wednesday, Thursday, Friday";
      const hours = '"08:00"-"18:00"';
      const allDay = '"00:00"-"23:59:59"';
      const elsewhen = now.getUTCHours() < 12 ? '"14:00"-"16:00"' : '"02:00"-"04:00"';
      for (const [day, time, answer] of [
        [today, allDay, "ok"],
        [today, elsewhen, "refused"],
        [other, allDay, "refused"],
      ] as const) {
        const alice = await under("business-hours", { [days]: day, [hours]: time });
        await expectOf(alice, { [answer]: at(WORLD, "tcp 443", "udp 53") });
        await alice.end();
      }
      // Where the clock shows something else, that counts: hours around what it shows there, nine hours away from UTC's.
      const zone = await lab.output("readlink /etc/localtime");
      await lab.output("ln -sf /usr/share/zoneinfo/Asia/Tokyo /etc/localtime");
      try {
        // Where it is 9 o'clock there, it is midnight in UTC, by which nft and the kernel count: not across that.
        const there = (now.getUTCHours() + 9) % 24;
        const [begin, end] = there < 9 ? [0, 8] : [9, 23];
        const [first, last] = [Math.max(begin, there - 1), Math.min(end, there + 2)].map((hour) =>
          String(hour).padStart(2, "0"),
        );
        const alice = await under("business-hours", {
          [days]: `${days}, Saturday, Sunday`,
          [hours]: `"${first}:00"-"${last}:59:59"`,
        });
        await expectOf(alice, { ok: at(WORLD, "tcp 443", "udp 53") });
        await alice.end();
      } finally {
        await lab.output(`ln -sf '${zone}' /etc/localtime`);
      }
    },

    async "client-only"() {
      await lab.fragment("alice", await exampleFor("client-only"));
      for (const [to, here, there] of [
        ["v4", "10.77.0.1", "10.88.0.1"],
        ["v6", "fd77::1", "fd88::1"],
      ] as const) {
        const alice = await logIn("alice", { to });
        await expectInbound(alice, { open: [8080], closed: [], from: [here] });
        await Promise.all([
          expectOf(world, { silent: at([there], "tcp 8080") }),
          expectOf(root, { silent: ["tcp 127.0.0.1 8080", "tcp ::1 8080"] }),
          expectOf(alice, { ok: at(WORLD, "tcp 443", "udp 53") }),
        ]);
        await alice.end();
      }
    },

    async "group-base"() {
      await lab.output("groupadd -f developers; gpasswd -a alice developers");
      await lab.write("/etc/authnft/groups/developers", await exampleFor("group-base"));
      const alice = await logIn("alice");
      await expectOf(alice, {
        ok: at(WORLD, "tcp 443", "udp 53"),
        refused: at(WORLD, "tcp 5432", "udp 9000"),
      });
      await expectInbound(alice, { open: [], closed: [8080] });
      await alice.end();
    },

    async "group-extra"() {
      await lab.write("/etc/authnft/groups/developers", await exampleFor("group-base"));
      const alice = await under("group-extra");
      await expectOf(alice, {
        ok: [...at(WORLD, "tcp 443", "udp 53"), "tcp 10.88.0.2 5432"],
        refused: ["tcp 10.88.0.3 5432", ...at(WORLD, "udp 9000")],
      });
      await alice.end();
    },

    async "host-firewall"() {
      const text = await exampleFor("host-firewall");
      await lab.fragment("alice", text);
      await withHostRules(text, async () => {
        const alice = await logIn("alice");
        await expectOf(alice, { ok: at(WORLD, "tcp 443"), silent: at(FIRST, "tcp 80") });
        await expectOf(root, { silent: at(FIRST, "tcp 443") });
        await expectInbound(alice, { open: [8080], closed: [8081] });
        await alice.end();
      });
    },

    async logging() {
      const alice = await under("logging", { "level info flags skuid": LOG, "level info": LOG });
      expect(await root.tell("watch_log", "log", 7)).toBe("watching");
      await expectOf(root, { ok: ["tcp 10.88.0.2 443"] });
      expect(await root.tell("logged", "log", SILENCE)).toBe("timeout");
      // Once for a connection, not for each packet.
      await expectOf(alice, { ok: ["tcp 10.88.0.2 443"] });
      expect(await root.tell("logged", "log")).toBe("session out: ");
      expect(await root.tell("logged", "log", SILENCE)).toBe("timeout");
      await expectInbound(alice, { open: [8080], closed: [] });
      for (const _ of HERE) expect(await root.tell("logged", "log")).toBe("session in: ");
      await root.tell("close", "log");
      await alice.end();
    },

    async masquerade() {
      const text = await exampleFor("masquerade");
      await lab.fragment("alice", text);
      await withHostRules(text, async () => {
        const alice = await logIn("alice");
        // World knows no way back to the clients' network: it can only answer to what was masqueraded.
        const told = async (agent: Agent, name: string, address: string) => {
          await agent.tell("bind", name, "10.77.0.1", 0);
          await agent.tell("send", name, "who am I?", address, 7001);
          return String(await agent.tell("receive", name, SILENCE)).trim();
        };
        expect(await told(alice, "marked", "10.88.0.3")).toBe("hello 10.88.0.1");
        expect(await told(alice, "other", "10.88.0.2")).toBe("timeout");
        expect(await told(root, "root", "10.88.0.3")).toBe("timeout");
        await alice.end();
      });
    },

    async mosh() {
      await lab.fragment("alice", await exampleFor("mosh"));
      const environment = { LANG: "C.UTF-8", TERM: "xterm" };
      const call = async () => {
        const { stdout, stderr } = await lab.ssh("alice", "mosh-server new -l LANG=C.UTF-8 -i 10.77.0.1");
        const [, port, key = ""] = /^MOSH CONNECT (\d+) (\S+)/m.exec(stdout) ?? [];
        expect({ port, stderr }).toEqual({
          port: expect.stringMatching(/^60\d\d\d$/),
          stderr: expect.anything(),
        });
        await waitFor(async () => (await lab.sessions())[0]?.state === "lingering");
        return lab.start(`stty rows 24 columns 80; mosh-client 10.77.0.1 ${port}`, {
          netns: "client",
          tty: true,
          env: { ...environment, MOSH_KEY: key },
        });
      };
      const end = async (client: Running) => {
        await client.kill();
        await lab.output("pkill -x -u alice mosh-server; true");
        await nothingLeft();
      };
      const cutOff = await call();
      await cutOff.expect(/Nothing received from server|Last contact|Connecting/, { timeoutMs: 10_000 });
      cutOff.write("echo $((40 + 2)) >/tmp/mosh-arrived\n");
      await Bun.sleep(2000);
      expect((await lab.run("test -e /tmp/mosh-arrived")).code).toBe(1);
      await end(cutOff);
      await lab.pam("sshd", { through: "shim", args: ["lingering=keep"] });
      try {
        const client = await call();
        client.write("echo $((40 + 2)) >/tmp/mosh-arrived; probe tcp 10.88.0.2 7001 >>/tmp/mosh-arrived\n");
        await waitFor(async () => (await lab.run("cat /tmp/mosh-arrived")).stdout === "42\nrefused\n");
        await end(client);
      } finally {
        await lab.pam("sshd", { through: "shim" });
        await lab.output("rm -f /tmp/mosh-arrived");
      }
    },

    async "own-loopback"() {
      const text = await exampleFor("own-loopback");
      // Of a number that is alice's but for a bit that is the seal's.
      await lab.output(`
        useradd --create-home --password '*' --groups authnft --shell /bin/bash --uid $(($(id -u alice) + 0x10000000)) double
        cp -r ~alice/.ssh ~double && chown -R double: ~double`);
      for (const user of ["alice", "m0", "double"]) await lab.fragment(user, text);
      const [alice, again, other, dave, double] = await Promise.all([
        logIn("alice"),
        logIn("alice"),
        logIn("m0"),
        logIn("dave"),
        logIn("double"),
      ]);
      const ours = at(["127.0.0.1", "::1"], "tcp 8888", "udp 8889");
      for (const address of ["127.0.0.1", "::1"])
        for (const [kind, port] of [
          ["tcp", 8888],
          ["udp", 8889],
        ])
          expect(await alice.tell("serve", kind, port, address)).toBe("listening");
      await expectOf(alice, { ok: ours });
      await expectOf(again, { ok: ours });
      for (const stranger of [other, dave, root]) await expectOf(stranger, { silent: ours });
      await expectOf(double, { refused: ours });
      // Also by the host's other addresses, and what is forwarded by ssh; not from outside.
      expect(await alice.tell("serve", "tcp", 8890)).toBe("listening");
      await expectOf(again, { ok: at(HERE, "tcp 8890") });
      await expectOf(dave, { silent: at(HERE, "tcp 8890") });
      await expectOf(client, { silent: at(HERE, "tcp 8890") });
      const forward = lab.sshStart("alice", "echo here; cat", { args: ["-L", "8891:127.0.0.1:8888"] });
      await forward.expect(/^here$/m);
      await expectOf(client, { ok: ["tcp 127.0.0.1 8891"] });
      forward.end();
      await forward.exited;
      // Where other bits are the table's, and where there is no seal that takes them off.
      await lab.output("/usr/local/lib/lab/unseal");
      await expectOf(again, { ok: ours });
      for (const stranger of [other, dave]) await expectOf(stranger, { silent: ours });
      await expectOf(double, { refused: ours });
      await lab.output("systemctl restart authnft-seal.service; authnft restore");
      await expectOf(again, { ok: ours, refused: ["tcp 10.88.0.2 7001"] });
      for (const agent of [alice, again, other, dave, double]) await agent.end();
    },

    async "no-network"() {
      const alice = await under("no-network");
      await expectOf(alice, {
        refused: [...at(WORLD, "tcp 443", "udp 53"), ...at(["127.0.0.1", "::1"], "tcp 22", "udp 53")],
      });
      await expectOf(root, { ok: ["tcp 127.0.0.1 22", "tcp ::1 22"] });
      await expectInbound(alice, { open: [], closed: [8080] });
      await alice.end();
    },

    async "port-restricted"() {
      await lab.fragment("alice", await exampleFor("port-restricted"));
      for (const [to, here, there] of [
        ["v4", "10.77.0.1", "10.88.0.1"],
        ["v6", "fd77::1", "fd88::1"],
      ] as const) {
        const alice = await logIn("alice", { to });
        await expectInbound(alice, { open: [8080, 8443], closed: [8081], from: [here] });
        await Promise.all([
          expectOf(world, { silent: at([there], "tcp 8080") }),
          expectOf(alice, { ok: at(WORLD, "tcp 443", "udp 53") }),
        ]);
        await alice.end();
      }
    },

    async quota() {
      const alice = await under("quota", { "500 mbytes": "20 kbytes" });
      const much = Array<string>(10).fill("udp 10.88.0.2 9000 1000");
      await expectOf(alice, { ok: much });
      expect(await ask(alice, [...much, ...much])).toContain("refused");
      await expectOf(alice, { refused: [...much, "tcp 10.88.0.3 443", "tcp fd88::3 443"] });
      // Another session has its own.
      const other = await logIn("alice");
      await expectOf(other, { ok: much });
      expect(await lab.output("nft list quotas table inet authnft")).toMatch(
        /quota session_alice_\d+_sent \{\s*over 20 kbytes used \d+/,
      );
      await other.end();
      await alice.end();
    },

    async "rate-limit"() {
      const alice = await under("rate-limit");
      expect(await alice.tell("connect", "c", "10.88.0.2", 443)).toBe("connected");
      for (const question of ["udp 10.88.0.3 7001", "tcp fd88::2 7001"]) {
        // Twenty at once are good again after two seconds.
        if (question.startsWith("tcp")) await Bun.sleep(2000);
        const answers = await ask(alice, Array<string>(50).fill(question));
        const passed = answers.filter((answer) => answer === "ok").length;
        expect(answers.filter((answer) => answer === "refused")).toHaveLength(50 - passed);
        expect(passed).toBeGreaterThanOrEqual(15);
        expect(passed).toBeLessThan(40);
        // An open connection goes on meanwhile.
        await alice.tell("send", "c", "still here");
        expect(await alice.tell("receive", "c")).toBe("still here");
      }
      const other = await logIn("alice");
      await expectOf(other, { ok: Array<string>(15).fill("udp 10.88.0.3 7001") });
      await other.end();
      await alice.end();
    },

    async "time-limited"() {
      const alice = await under("time-limited", { "timeout 1h": "timeout 2s" });
      expect(await alice.tell("connect", "c", "10.88.0.2", 5432)).toBe("connected");
      await alice.tell("send", "c", "in time");
      expect(await alice.tell("receive", "c")).toBe("in time");
      await waitFor(async () => (await ask(alice, ["tcp 10.88.0.2 5432"]))[0] === "refused");
      await alice.tell("send", "c", "too late");
      expect(await alice.tell("receive", "c", SILENCE)).not.toBe("too late");
      await expectOf(alice, { ok: ["tcp 10.88.0.2 443", "tcp 10.88.0.3 5432"] });
      await alice.end();
    },

    async "web-only"() {
      const alice = await under("web-only");
      await expectOf(alice, {
        ok: at(WORLD, "tcp 80", "tcp 443", "udp 443", "tcp 53", "udp 53"),
        refused: [...at(WORLD, "tcp 5432", "udp 9000"), ...at(["127.0.0.1", "::1"], "tcp 22")],
      });
      await expectInbound(alice, { open: [], closed: [8080] });
      await alice.end();
    },
  };

  test("every example has a case here, and the command lists them with a line each", async () => {
    const names = examples().map(({ name }) => name);
    expect(Object.keys(cases).sort()).toEqual(names);
    const lines = (await lab.output(["authnft", "example"])).split("\n");
    expect(lines.map((line) => /^(\S+) {2,}\S.{20,}[^.]\.$/.exec(line)?.[1])).toEqual(names);
  });

  test("every example, as it is printed, has no mistake, warns of what it is known for, and lets its user in", async () => {
    const names = examples().map(({ name }) => name);
    await lab.pam("lab", { through: "shim" });
    await lab.output(
      `groupadd -f developers; authnft example group-base >/etc/authnft/groups/developers
      for name in ${names.join(" ")} nothing; do useradd --no-create-home --groups authnft $name; done
      for name in ${names.join(" ")}; do authnft example $name >/etc/authnft/users/$name; done`,
    );
    try {
      const { code, stdout } = await lab.run("authnft check --json");
      const report = JSON.parse(stdout) as {
        checked: string;
        files: string[];
        errors: unknown[];
        warnings: { file: string; message: string }[];
      };
      expect({ code, checked: report.checked, errors: report.errors }).toEqual({
        code: 0,
        checked: "nftables",
        errors: [],
      });
      const fileOf = (name: string): string => `/etc/authnft/users/${name}`;
      expect(report.files).toEqual(expect.arrayContaining(names.map(fileOf)));
      // Some leave one direction or both open on purpose.
      const [out, into] = ["may connect to everything", "may connect to what the session offers"];
      const known: Readonly<Record<string, readonly string[]>> = {
        accounting: [out, into],
        anywhere: [out, into],
        "client-only": [out],
        "host-firewall": [out, into],
        logging: [out, into],
        masquerade: [out, into],
        "port-restricted": [out],
        quota: [out, into],
        "rate-limit": [out, into],
        "time-limited": [out, into],
      };
      const told = report.warnings.map(
        ({ file, message }) => `${file}: ${/may connect to .*/.exec(message)}`,
      );
      expect(told).toEqual(
        Object.entries(known).flatMap(([name, all]) => all.map((one) => `${fileOf(name)}: ${one}`)),
      );
      const logins = [...names, "nothing"].map(
        (name) =>
          `(pamtester -I rhost=10.77.0.2 lab ${name} open_session close_session >/dev/null 2>&1 && echo ${name}) &`,
      );
      const came = await lab.output(`${logins.join("\n")}\nwait`);
      // All but the one who has no fragment.
      expect(came.split("\n").sort()).toEqual(names);
    } finally {
      await lab.output(`for name in ${names.join(" ")} nothing; do userdel $name; done`);
    }
  });

  test("nftables takes every fragment of authnft-fragment(5)", async () => {
    await lab.write("/etc/authnft/groups/developers", await exampleFor("group-base"));
    const alice = await under("anywhere");
    const fragments = literals("man/authnft-fragment.5").filter(
      ({ section }) => section !== "WHAT IS REFUSED",
    );
    for (const { text } of fragments) {
      await lab.fragment("alice", text);
      expect(await lab.run("authnft reload alice")).toMatchObject({ code: 0, stderr: "" });
      const [, rule = ""] = /^add rule inet authnft \S+ .*?(dport \d+|daddr [\d.]+)/m.exec(text) ?? [];
      expect(await lab.ruleset()).toContain(rule);
    }
    await alice.end();
  });

  test.each(Object.keys(cases))("%s does what it says", async (name) => {
    await cases[name]?.();
  });
});
