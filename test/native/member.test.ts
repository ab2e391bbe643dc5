// SPDX-License-Identifier: GPL-2.0-or-later

// Who is a member: authnft-member by itself, and that the module, it and the program decide alike. They are asked in a mount
// namespace that has users, groups and sources of its own. Needs what native.test.ts needs.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "./harness.ts";

setDefaultTimeout(60_000);

const here = import.meta.dir;
const native = join(here, "..", "..", "native");
let directory = "";
const at = (name: string) => join(directory, name);

/** Seconds that the name service has in this build. */
const PATIENCE_S = 2;

/** The status of authnft-member. */
const ANSWERS = ["yes", "no", "unknown"];
type Answer = "yes" | "no" | "unknown";

beforeAll(async () => {
  directory = mkdtempSync("/tmp/authnft-member-");
  chmodSync(directory, 0o755);
  for (const name of ["users", "names", "pam.d", "cg"]) mkdirSync(at(name));
  const define = (name: string, value: string) => `-D${name}="${value}"`;
  const flags = [
    define("HELPER", at("helper")),
    define("USER_FRAGMENTS", at("users")),
    define("NAMES", at("names")),
    define("GROUP_FRAGMENTS", at("groups")),
    define("CGROUP_ROOT", at("cg")),
    `-DPATIENCE_S=${PATIENCE_S}`,
  ];
  const must = async (command: string[], env: Record<string, string> = {}) => {
    const { exitCode, stderr } = await run(command, { env });
    expect(exitCode, stderr).toBe(0);
  };
  await must([join(native, "build.sh"), directory, "gcc", "shim", "member"], { CPPFLAGS: flags.join(" ") });
  const gcc = ["gcc", "-O1", "-Wall", "-Wextra", "-Werror"];
  await must([...gcc, "-rdynamic", join(here, "host.c"), "-lpam", "-o", at("host")]);
  await must([
    ...gcc,
    "-fPIC",
    "-shared",
    define("DIRECTORY", directory),
    join(here, "second_source.c"),
    "-o",
    at("libnss_second.so.2"),
  ]);
  writeFileSync(at("pam.d/other"), "session required pam_deny.so\n");
  writeFileSync(at("pam.d/sshd"), `session required ${at("pam_authnft.so")}\n`);
  writeFileSync(at("nsswitch.conf"), "passwd: files second\ngroup: files second\n");
  helper("authnft 1\nresult=ok\nend\n");
});

afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

/** What stands for the helper: takes every session, and says that of the sources; `null` is none. */
function helper(ofSources: string | null): void {
  rmSync(at("helper"), { force: true });
  if (ofSources === null) return;
  const session = "authnft 1\\nresult=ok\\nsession=a.scope\\ncorrelation=b\\nend\\n";
  writeFileSync(at("sources"), ofSources);
  writeFileSync(
    at("helper"),
    `#!/bin/sh\necho "$1" >>${at("asked")}\n[ "$1" = session ] && printf '${session}' || cat ${at("sources")}\n`,
    { mode: 0o755 },
  );
}

/** What the helper has been asked for since the last time. */
function asked(): string {
  const words = existsSync(at("asked")) ? readFileSync(at("asked"), "utf8").trim() : "";
  rmSync(at("asked"), { force: true });
  return words;
}

type Hosts = {
  readonly passwd: string;
  readonly group: string;
  /** What the second source knows; `null` where it is down. */
  readonly second?: { readonly passwd: string; readonly group: string } | null;
};

const ROOT = "root:x:0:0::/:/bin/sh\n";
const line = (name: string, uid: number, gid = uid) => `${name}:x:${uid}:${gid}::/:/bin/sh\n`;
const SMALL: Hosts = {
  passwd: `${ROOT}${line("toor", 0)}${line("alice", 1000)}${line("bob", 1001)}`,
  group: "root:x:0:\nauthnft:x:900:toor,alice\nusers:x:100:bob\n",
};

function put({ passwd, group, second = { passwd: "", group: "" } }: Hosts): void {
  writeFileSync(at("passwd"), passwd);
  writeFileSync(at("group"), group);
  for (const name of ["passwd", "group"] as const) {
    rmSync(at(`second-${name}`), { force: true });
    if (second !== null) writeFileSync(at(`second-${name}`), second[name]);
  }
}

/** Runs a command where the host's users, groups and sources are those of the test. */
async function inside(...command: string[]) {
  const mounts = ["passwd", "group", "nsswitch.conf"].map((name) => `mount --bind ${at(name)} /etc/${name}`);
  return await run(["unshare", "--mount", "sh", "-ec", `${mounts.join("\n")}\nexec "$@"`, "sh", ...command], {
    env: { LD_LIBRARY_PATH: directory },
  });
}

const member = async (...words: string[]) => await inside(at("authnft-member"), ...words);

/** A user by name, or by number as "uid:1000". */
async function programSays(user: string): Promise<string | undefined> {
  const words = user.startsWith("uid:") ? [user.slice(4)] : ["--name", "--", user];
  return ANSWERS[(await member(...words)).exitCode];
}

async function moduleSays(user: string): Promise<Answer> {
  asked();
  const real = ["person", "group", "list", "uid", "gid"].map((database) => `nss:${database}=real`);
  const { stdout } = await inside(at("host"), at("pam.d"), "sshd", user, ...real, "open");
  if (asked() === "session") return "yes";
  return /^open 0 /m.test(stdout) ? "no" : "unknown";
}

async function helperSays(users: readonly string[]): Promise<string[]> {
  const { stdout, stderr } = await inside(process.execPath, join(here, "helpers_answer.ts"), ...users);
  expect(stderr).toBe("");
  return stdout.trim().split("\n");
}

describe("the module, authnft-member and the helper decide alike", () => {
  const TABLE: Record<string, { hosts: Hosts; users: Record<string, Answer> }> = {
    "a local group": {
      hosts: SMALL,
      users: {
        ...{ alice: "yes", bob: "no", root: "no", toor: "no", "nobody-knows": "no" },
        ...{ "uid:1000": "yes", "uid:1001": "no", "uid:0": "no", "uid:4242": "no" },
      },
    },
    "a primary group": {
      hosts: { ...SMALL, passwd: `${SMALL.passwd}${line("carol", 1002, 900)}` },
      users: { carol: "yes", bob: "no", "uid:1002": "yes" },
    },
    "several names of one uid": {
      hosts: { ...SMALL, passwd: `${line("first", 1000)}${SMALL.passwd}${line("last", 1000)}` },
      users: { first: "yes", alice: "yes", last: "yes", bob: "no", "uid:1000": "yes" },
    },
    "one of several names has the group for primary group": {
      hosts: {
        passwd: `${ROOT}${line("first", 1000)}${line("last", 1000, 900)}${line("bob", 1001)}`,
        group: "authnft:x:900:\n",
      },
      users: { first: "yes", last: "yes", bob: "no", "uid:1000": "yes" },
    },
    "names that are numbers": {
      hosts: {
        passwd: `${ROOT}${line("1001", 1000)}${line("bob", 1001)}${line("0", 1002)}`,
        group: "authnft:x:900:1001,0\n",
      },
      users: { "1001": "yes", "0": "yes", bob: "no", "uid:1000": "yes", "uid:1001": "no", "uid:0": "no" },
    },
    "no group": {
      hosts: { ...SMALL, group: "users:x:100:alice\n" },
      users: { alice: "no", bob: "no", "uid:1000": "no" },
    },
    "a group of the second source": {
      hosts: {
        ...SMALL,
        group: "",
        second: { passwd: line("erin", 3000), group: "authnft:x:7000:bob,erin\n" },
      },
      users: { alice: "no", bob: "yes", erin: "yes", "uid:3000": "yes", "uid:1001": "yes" },
    },
    "a user of the second source, by its primary group": {
      hosts: {
        ...SMALL,
        group: "",
        second: { passwd: line("dan", 3000, 7000), group: "authnft:x:7000:\n" },
      },
      users: { dan: "yes", bob: "no", "uid:3000": "yes" },
    },
    "a local group that hides the second source's": {
      hosts: {
        ...SMALL,
        second: { passwd: line("erin", 3000), group: "authnft:x:7000:bob,erin\nothers:x:7001:fay\n" },
      },
      users: { alice: "yes", bob: "yes", erin: "yes", "uid:1001": "yes", "uid:3000": "yes" },
    },
    "another group of the second source makes nobody a member": {
      hosts: { ...SMALL, second: { passwd: "", group: "others:x:7000:bob\n" } },
      users: { bob: "no", "uid:1001": "no" },
    },
    "a second name that only the second source knows": {
      hosts: {
        passwd: `${ROOT}${line("near", 3001)}${line("bob", 1001)}`,
        group: "authnft:x:900:far\n",
        second: { passwd: line("far", 3001), group: "" },
      },
      users: { near: "yes", far: "yes", bob: "no", "uid:3001": "yes" },
    },
    "one name of two uids": {
      hosts: {
        passwd: `${ROOT}${line("bob", 1001)}`,
        group: "authnft:x:900:\n",
        second: { passwd: line("bob", 3002, 900), group: "" },
      },
      users: { bob: "no", "uid:1001": "no", "uid:3002": "yes" },
    },
    "a second source that is down": {
      hosts: { ...SMALL, second: null },
      users: { alice: "yes", bob: "no", root: "no", dan: "unknown", "uid:1000": "yes", "uid:0": "no" },
    },
    "a second source that is down, and no local group": {
      hosts: { ...SMALL, group: "users:x:100:alice\n", second: null },
      users: { alice: "unknown", bob: "unknown", root: "no", "uid:1000": "unknown", "uid:3000": "unknown" },
    },
  };

  test.each(Object.entries(TABLE))("%s", async (_, { hosts, users }) => {
    put(hosts);
    const names = Object.keys(users);
    const byHelper = await helperSays(names);
    const found: Record<string, string> = {};
    for (const [i, user] of names.entries()) {
      const answers = { program: await programSays(user), helper: byHelper[i] };
      const all = user.startsWith("uid:") ? answers : { ...answers, module: await moduleSays(user) };
      const words = new Set(Object.values(all));
      found[user] = words.size === 1 ? (answers.program ?? "") : JSON.stringify(all);
    }
    expect(found).toEqual(users);
  });
});

describe("authnft-member", () => {
  test("says nothing where it knows, to root", async () => {
    put(SMALL);
    for (const [user, exitCode] of [
      ["alice", 0],
      ["bob", 1],
      ["1000", 0],
      ["1001", 1],
    ] as const)
      expect(await member(user)).toEqual({ exitCode, stdout: "", stderr: "" });
  });

  test("tells others only of members: nobody else sees whether somebody was to be filtered", async () => {
    put(SMALL);
    const other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    expect((await inside(...other, at("authnft-member"), "alice")).exitCode).toBe(0);
    const { exitCode, stderr } = await inside(...other, at("authnft-member"), "bob");
    expect({ exitCode, stderr }).toEqual({ exitCode: 2, stderr: expect.stringContaining("only root") });
  });

  test("explains itself, and takes nothing that it does not understand for a 'no'", async () => {
    put(SMALL);
    expect(await member("--help")).toEqual({
      exitCode: 0,
      stdout: expect.stringContaining("2  that cannot be known"),
      stderr: "",
    });
    for (const words of [
      [],
      [""],
      ["bob", "bob"],
      ["--nonsense", "bob"],
      ["--process=", "bob"],
      ["--process=x", "bob"],
      ["4294967295"],
      ["99999999999"],
      ["--name", ""],
    ]) {
      const { exitCode, stderr } = await member(...words);
      expect(exitCode, words.join(" ")).toBe(2);
      expect(stderr, words.join(" ")).toStartWith("authnft-member: ");
    }
  });

  test("with a source that hangs it ends in time, and does not know; of local members and root it does", async () => {
    put(SMALL);
    writeFileSync(at("second-hangs"), "");
    try {
      for (const user of ["bob", "1001", "dan"]) {
        const start = performance.now();
        const { exitCode, stderr } = await member(user);
        expect(exitCode).toBe(2);
        expect(stderr).toContain("the name service does not answer");
        expect(performance.now() - start).toBeLessThan((PATIENCE_S + 5) * 1000);
      }
      // A caller who blocks or ignores the alarm does not change that.
      const blocked = 'trap "" ALRM; exec "$@"';
      expect((await inside("sh", "-c", blocked, "sh", at("authnft-member"), "bob")).exitCode).toBe(2);
      for (const [user, status] of [
        ["alice", 0],
        ["1000", 0],
        ["root", 1],
        ["0", 1],
      ] as const)
        expect((await member(user)).exitCode, user).toBe(status);
    } finally {
      rmSync(at("second-hangs"));
    }
  });

  test("a 'no' about somebody who was to be filtered needs all sources to be heard", async () => {
    put({ ...SMALL, passwd: `${SMALL.passwd}${line("eve", 1005)}` });
    writeFileSync(at("users/bob"), "");
    writeFileSync(at("names/4242"), "");
    asked();
    try {
      for (const [reply, status] of [
        ["authnft 1\nresult=ok\nend\n", 1],
        ["authnft 1\nresult=refused\nsay=second, which is down\nend\n", 2],
        ["nonsense", 2],
        [null, 2],
      ] as const) {
        helper(reply);
        for (const user of ["bob", "1001", "4242"]) {
          expect((await member(user)).exitCode, `${user}: ${reply}`).toBe(status);
          expect(asked()).toBe(reply === null ? "" : "sources");
        }
        for (const user of ["eve", "1005"]) expect((await member(user)).exitCode).toBe(1);
        expect(asked()).toBe("");
      }
    } finally {
      helper("authnft 1\nresult=ok\nend\n");
      rmSync(at("users/bob"));
      rmSync(at("names/4242"));
    }
  });

  test("a group that PAM gave a process counts, one that it inherited does not", async () => {
    put(SMALL);
    const start = (script: string) =>
      Bun.spawn(["setpriv", "--groups", "900", "sh", "-c", script], { stdout: "pipe", stdin: "pipe" });
    const given = start("echo $$; cat");
    const inherited = start("sh -c 'echo $$; cat'; :");
    try {
      const pidOf = async (child: typeof given) =>
        new TextDecoder().decode((await child.stdout.getReader().read()).value).trim();
      expect((await member(`--process=${await pidOf(given)}`, "bob")).exitCode).toBe(0);
      expect((await member(`--process=${await pidOf(inherited)}`, "bob")).exitCode).toBe(1);
      expect((await member("--process=2147483647", "bob")).exitCode).toBe(1);
    } finally {
      for (const child of [given, inherited]) {
        child.stdin.end();
        await child.exited;
      }
    }
  });

  test("low limits make nobody a member, and nobody none", async () => {
    put({ ...SMALL, group: "", second: { passwd: "", group: "authnft:x:7000:alice\n" } });
    for (const [user, status] of [
      ["alice", 0],
      ["bob", 1],
    ] as const)
      expect((await inside("prlimit", "--nofile=5:", at("authnft-member"), user)).exitCode).toBe(status);
  });
});
