// SPDX-License-Identifier: GPL-2.0-or-later

// What a user can put around a login: variables, a working directory, descriptors, limits, signals. None of it runs as
// root, and none of it changes what becomes of the session.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitFor } from "../lab/lab.ts";
import { lab, nothingLeft, ONLY_FIRST, onThisRelease, viaBoth } from "./harness.ts";

const ENTRY = "/usr/libexec/authnft";
const PROGRAM = "/usr/lib/authnft/authnft";

/** Where the guest keeps what these tests bring: no noexec mount. */
const PLACE = "/srv/environment";
/** Whatever hostile code runs leaves a file here; its owner is who ran it. */
const MARKS = `${PLACE}/marks`;
const LIBRARY = `${PLACE}/libraries/mark.so`;
const SCRIPT = `${PLACE}/mark.js`;
const SHELL_SCRIPT = `${PLACE}/mark.sh`;

const FILTERED = "/usr/local/bin/probe tcp 10.88.0.2 7001; /usr/local/bin/probe tcp 10.88.0.3 7001";

/**
 * Variables that a user may set, in groups of which one login carries all. A group holds none that would keep another
 * from being delivered.
 */
const HOSTILE: readonly Record<string, string>[] = [
  {
    LD_PRELOAD: LIBRARY,
    LD_BIND_NOW: "1",
    GLIBC_TUNABLES: "glibc.malloc.check=3:glibc.malloc.tcache_count=0:glibc.rtld.nns=1",
    MALLOC_CHECK_: "3",
    MALLOC_PERTURB_: "165",
    MALLOC_ARENA_MAX: "1",
    MALLOC_TRACE: `${MARKS}/malloc-trace`,
  },
  {
    LD_AUDIT: LIBRARY,
    LD_LIBRARY_PATH: `${PLACE}/libraries`,
    LD_ORIGIN_PATH: `${PLACE}/libraries`,
    LD_PROFILE: "libc.so.6",
    LD_PROFILE_OUTPUT: MARKS,
    GCONV_PATH: `${PLACE}/libraries`,
    LOCPATH: `${PLACE}/libraries`,
    NLSPATH: `${PLACE}/libraries/%N`,
    LANG: "xx_XX.MARK",
    LC_ALL: "xx_XX.MARK",
    LANGUAGE: "xx",
    RES_OPTIONS: "debug",
    HOSTALIASES: "/etc/shadow",
    TZ: ":/etc/shadow",
  },
  {
    BUN_BE_BUN: "1",
    BUN_INSTALL: PLACE,
    BUN_TMPDIR: MARKS,
    BUN_RUNTIME_TRANSPILER_CACHE_PATH: MARKS,
    BUN_CONFIG_REGISTRY: "http://10.88.0.2:7001/",
    BUN_CONFIG_VERBOSE_FETCH: "curl",
    BUN_JSC_useJIT: "1",
    BUN_JSC_dumpOptions: "2",
    JSC_dumpOptions: "2",
    JSC_useJIT: "1",
    JSC_logGC: "2",
  },
  {
    BUN_OPTIONS: `--preload=${SCRIPT}`,
    NODE_OPTIONS: `--require ${SCRIPT}`,
    NODE_PATH: `${PLACE}/node_modules`,
    NODE_ENV: "development",
    NODE_CHANNEL_FD: "1",
    NODE_EXTRA_CA_CERTS: "/etc/shadow",
    NODE_V8_COVERAGE: MARKS,
    NODE_DEBUG: "*",
    DEBUG: "*",
    FORCE_COLOR: "3",
  },
  {
    BUN_INSPECT: `ws+unix://${MARKS}/inspect`,
    BUN_INSPECT_PRELOAD: SCRIPT,
    BUN_INSPECT_CONNECT_TO: MARKS,
    BUN_INSPECT_NOTIFY: `unix://${MARKS}/notify`,
    UV_THREADPOOL_SIZE: "0",
    BASH_ENV: SHELL_SCRIPT,
    ENV: SHELL_SCRIPT,
  },
  {
    PATH: `${PLACE}/bin`,
    HOME: PLACE,
    TMPDIR: MARKS,
    TMP: MARKS,
    TEMP: MARKS,
    XDG_CONFIG_HOME: PLACE,
    XDG_CACHE_HOME: MARKS,
    XDG_DATA_HOME: PLACE,
    XDG_RUNTIME_DIR: MARKS,
    SHELL: SHELL_SCRIPT,
    USER: "root",
    LOGNAME: "root",
  },
  {
    PAM_USER: "root",
    PAM_TYPE: "close_session",
    PAM_RHOST: "192.0.2.66",
    PAM_SERVICE: "systemd-user",
    PAM_TTY: "/dev/tty66",
    PAM_RUSER: "root",
  },
  {
    AUTHNFT_PAM_USER: "bob",
    AUTHNFT_PAM_TYPE: "close_session",
    AUTHNFT_PAM_RHOST: "192.0.2.66",
    AUTHNFT_PAM_SERVICE: "systemd-user",
    AUTHNFT_PAM_TTY: "/dev/tty66",
    AUTHNFT_PAM_RUSER: "root",
    AUTHNFT_PAM_ENV_CORRELATION: "forged",
    AUTHNFT_PAM_ENV_CLAIMS: "1",
    AUTHNFT_NO_SANDBOX: "1",
    CLAIMS: "1",
  },
  {
    // What it holds is allowed to be the user's; what of it is kept is up to the contract.
    AUTHNFT_CORRELATION: "chosen by; the/user-1",
    // The scope of another session, which lives. Its name is filled in below.
    AUTHNFT_SESSION: "BOB",
  },
  {
    DBUS_SYSTEM_BUS_ADDRESS: `unix:path=${MARKS}/bus`,
    DBUS_SESSION_BUS_ADDRESS: `unix:path=${MARKS}/bus`,
    DBUS_STARTER_ADDRESS: `unix:path=${MARKS}/bus`,
    NOTIFY_SOCKET: `${MARKS}/notify`,
    LISTEN_FDS: "1",
    LISTEN_PID: "1",
    LISTEN_FDNAMES: "mark",
    WATCHDOG_USEC: "1",
    JOURNAL_STREAM: "1:1",
    INVOCATION_ID: "0",
    SYSTEMD_LOG_TARGET: "console",
  },
];

/** The library, built here: it needs nothing of the C library that is not in the oldest guest's. */
async function buildLibrary(): Promise<Uint8Array> {
  const directory = await mkdtemp(join(tmpdir(), "authnft-environment-"));
  try {
    const output = join(directory, "mark.so");
    const source = join(import.meta.dir, "fixtures/environment/mark.c");
    const options = ["-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", `-DMARKS="${MARKS}"`];
    const gcc = await Bun.$`gcc ${options} -o ${output} ${source}`.quiet().nothrow();
    expect(gcc.stderr.toString()).toBe("");
    return await Bun.file(output).bytes();
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** Lays out everything that must not be run, with a way for all of it to tell if it was. */
async function lay(): Promise<void> {
  await lab.reset();
  await lab.output(`rm -rf ${PLACE}; mkdir -p ${PLACE}/bin; mkdir -m 1777 ${MARKS}`);
  const library = await buildLibrary();
  const mark = `require("node:fs").writeFileSync("${MARKS}/script-" + process.getuid(), "");\n`;
  await lab.write(LIBRARY, library, { mode: "0755" });
  await lab.write(SCRIPT, mark);
  await lab.write(SHELL_SCRIPT, `: >${MARKS}/shell-$EUID\n`, { mode: "0755" });
  await lab.write(`${PLACE}/.bunfig.toml`, `preload = ["${SCRIPT}"]\n`);
  await lab.write(
    `${PLACE}/libraries/gconv-modules`,
    "module MARK// INTERNAL mark 1\nmodule INTERNAL MARK// mark 1\n",
  );
  await lab.output(`
    set -e
    cd ${PLACE}/libraries
    for name in libnftables.so.1 libseccomp.so.2 libsystemd.so.0 libdl.so.2 libpthread.so.0; do ln -s mark.so $name; done
    cd ${PLACE}/bin
    printf '#!/bin/sh\\n: >${MARKS}/command-$(/usr/bin/id -u)\\n' >mark && chmod 0755 mark
    for name in logger systemctl nft sh bash getent; do ln -s mark $name; done
    for name in koffi dbus-next usocket x11 valibot commander; do
      mkdir -p ${PLACE}/node_modules/$name && cp ${SCRIPT} ${PLACE}/node_modules/$name/index.js
    done`);
}

/** The files that hostile code left, as "name owner". */
async function marks(): Promise<string[]> {
  const found = await lab.output(`find ${MARKS} -mindepth 1 -printf '%f %u\\n' | sort`);
  return found === "" ? [] : found.split("\n");
}

async function clearMarks(): Promise<void> {
  await lab.output(`find ${MARKS} -mindepth 1 -delete`);
}

/** A line of pam_env(8)'s user file for each variable. */
async function pamEnvironment(user: string, variables: Record<string, string>): Promise<void> {
  const lines = Object.entries(variables).map(([name, value]) => `${name} DEFAULT="${value}"\n`);
  await lab.write(`/home/${user}/.pam_environment`, lines.join(""), { owner: `${user}:`, mode: "0644" });
}

/** The words that probes printed. */
function words(text: string): string {
  return (text.match(/^(ok|refused|unreachable|eperm|timeout)$/gm) ?? []).join(" ");
}

const READ_USERS_FILE = "session required pam_env.so user_readenv=1";

const members = HOSTILE.map((_, n) => `m${n}`);

onThisRelease("What must not be run", () => {
  beforeAll(lay);

  test("would run as root if the program were started without the entry, and does not with it", async () => {
    const dangers: [Record<string, string>, string[], string][] = [
      [{ LD_PRELOAD: LIBRARY }, ["--version"], "library-0000000000 root"],
      [{ LD_AUDIT: LIBRARY }, ["--version"], "library-0000000000 root"],
      [{ LD_LIBRARY_PATH: `${PLACE}/libraries` }, ["restore"], "library-0000000000 root"],
      [{ BUN_OPTIONS: `--preload=${SCRIPT}` }, ["--version"], "script-0 root"],
      [{ BUN_INSPECT: `ws+unix://${MARKS}/inspect` }, ["--version"], "inspect root"],
      [{ BUN_BE_BUN: "1" }, [SCRIPT], "script-0 root"],
    ];
    for (const [env, args, mark] of dangers) {
      await lab.run([PROGRAM, ...args], { env });
      expect(await marks(), `${Object.keys(env)} without the entry`).toContain(mark);
      await clearMarks();
    }
    const everything = Object.assign({}, ...HOSTILE);
    await lab.output([ENTRY, "restore"], { env: everything });
    expect(await marks()).toEqual([]);
  });
});

viaBoth("A user's variables", (via) => {
  beforeAll(async () => {
    await lay();
    await lab.pam("sshd", { through: via, at: "end", before: [READ_USERS_FILE] });
    await lab.pam("lab", { through: via });
    for (const user of ["alice", "bob", ...members]) await lab.fragment(user, ONLY_FIRST);
  });

  test("in ~/.pam_environment run nothing as root, and change neither who, nor from where, nor the end", async () => {
    const since = await lab.cursor();
    const bob = lab.sshStart("bob", `echo $$; read -r; ${FILTERED}`);
    await bob.expect(/\d+/);
    const [victim] = await lab.sessions();
    const unit = victim?.scope_unit ?? "";
    expect(unit).toStartWith("authnft-bob-");

    // The shell's own words and whole paths only: the variables are in force for it too.
    const command = `
      while read -r line; do case $line in 0::*) unit=\${line##*/} ;; esac; done </proc/self/cgroup
      while read -r line; do echo "$line"; done </run/authnft/sessions/$unit.json
      ${FILTERED}`;
    const logins = HOSTILE.map(async (variables, n) => {
      const named = Object.entries(variables).map(([name, value]) => [name, value === "BOB" ? unit : value]);
      await pamEnvironment(`m${n}`, Object.fromEntries(named));
      return await lab.ssh(`m${n}`, command);
    });
    const uid = Number(await lab.output(["id", "-u", "m0"]));
    for (const [n, { code, stdout, stderr }] of (await Promise.all(logins)).entries()) {
      const what = `${Object.keys(HOSTILE[n] ?? {})}: ${stderr}`;
      expect(words(stdout), what).toBe("ok refused");
      expect(code, what).toBe(1);
      const record = JSON.parse(stdout.slice(stdout.indexOf("{"), stdout.indexOf("}") + 1));
      expect(record, what).toMatchObject({
        user: `m${n}`,
        uid: uid + n,
        remote_ip: "10.77.0.2",
        service: "sshd",
        fragment: `/etc/authnft/users/m${n}`,
        claims_tag: "",
        state: "open",
      });
      expect(record.correlation, what).toMatch(
        HOSTILE[n]?.["AUTHNFT_CORRELATION"] === undefined
          ? /^authnft-\d+-\d+-[0-9a-f]{8}$/
          : /^chosenbytheuser-1$/,
      );
    }

    // The other session was not touched by who claimed it.
    bob.write("\n");
    await bob.exited;
    expect(words(bob.stdout)).toBe("ok refused");
    await nothingLeft();

    // Each was opened once, closed by its own login, and has ended.
    const events = (await lab.journal({ since })).filter((entry) => entry["AUTHNFT_EVENT"]);
    for (const user of ["bob", ...members]) {
      const own = events.filter((entry) => entry["AUTHNFT_USER"] === user);
      const story = own.map((entry) =>
        [entry["AUTHNFT_EVENT"], entry["AUTHNFT_HOW"]].filter(Boolean).join(" "),
      );
      expect(story).toEqual(["open", "close pam", "end"]);
      expect(new Set(own.map((entry) => entry["AUTHNFT_SCOPE_UNIT"])).size).toBe(1);
    }

    // The variables were delivered and acted: as the user, in the user's own session.
    const found = await marks();
    expect(found).toContain(`library-000000${uid} m0`);
    expect(found).toContain(`library-000000${uid + 1} m1`);
    expect(found.filter((mark) => mark.endsWith(" root"))).toEqual([]);
  });

  // The shim hands none of them on, so there a few may come together; pam_exec makes them the environment of the entry.
  const size = via === "shim" ? 4 : 1;
  test(`${size} at a time in the PAM environment do nothing, from open to close`, async () => {
    const since = await lab.cursor();
    const variables = HOSTILE.flatMap((group) =>
      Object.entries(group).map(([name, value]) => `${name}=${value}`),
    );
    const sets = variables.flatMap((_, n) => (n % size === 0 ? variables.slice(n, n + size).join("\n") : []));
    await clearMarks();
    const script = `
      for set; do
        mapfile -t each <<<"$set"
        pamtester "\${each[@]/#/-E}" lab alice open_session close_session || echo "$set"
      done`;
    const failed = await lab.run(["bash", "-c", script, "each", ...sets], { timeoutMs: 60_000 });
    expect(failed.stdout.match(/^[A-Z].*=.*$/gm)).toBeNull();
    await nothingLeft();
    expect(await marks()).toEqual([]);

    const events = (await lab.journal({ since })).filter((entry) => entry["AUTHNFT_EVENT"]);
    const told = events.map((entry) =>
      [
        entry["AUTHNFT_EVENT"],
        entry["AUTHNFT_HOW"] ?? "",
        entry["AUTHNFT_USER"],
        entry["AUTHNFT_REMOTE_IP"],
      ].join(","),
    );
    const count = (what: string): number => told.filter((event) => event === what).length;
    expect([count("open,,alice,"), count("close,pam,alice,"), count("end,,alice,")]).toEqual(
      Array(3).fill(sets.length),
    );
    expect(told.length).toBe(3 * sets.length);
  });

  test("cannot lend a session the user's own claims, but another key that root owns and lets itself read", async () => {
    await lab.pam("sshd", {
      through: via,
      at: "end",
      before: [READ_USERS_FILE],
      args: ["claims_env=CLAIMS"],
    });
    const since = await lab.cursor();
    const serial = await lab.output("keyctl add user lab-claims role=admin @u", { user: "alice" });
    await pamEnvironment("alice", { CLAIMS: serial });
    const { code, stdout } = await lab.ssh("alice", FILTERED);
    expect(code).toBe(254);
    expect(stdout).toContain("authnft: no session for alice");
    const [refusal] = (await lab.journal({ since })).filter((entry) => entry["AUTHNFT_EVENT"] === "refuse");
    expect(refusal?.["AUTHNFT_REASON"]).toBe("claims");
    // The limit: the module does not know who set the variable.
    const other = await lab.output(
      `key=$(keyctl add user lab-other-${lab.release}-${process.pid} not-for-alice @u); keyctl setperm $key 0x3f3f0000; keyctl timeout $key 60; echo $key`,
    );
    await pamEnvironment("alice", { CLAIMS: other });
    const { stdout: seen } = await lab.ssh("alice", "cat /run/authnft/sessions/*.json");
    expect(JSON.parse(seen)).toMatchObject({ user: "alice", claims_tag: "not-for-alice" });
    expect(await lab.output("authnft doctor || true")).toMatch(
      /sshd: .* comes after pam_env\.so with user_readenv=1/,
    );
    // Without the variable the same line opens the session.
    await pamEnvironment("alice", {});
    expect(words((await lab.ssh("alice", FILTERED)).stdout)).toBe("ok refused");
    await nothingLeft();
  });
});

viaBoth("What surrounds su", (via) => {
  beforeAll(async () => {
    await lay();
    await lab.pam("su", { through: via });
    await lab.fragment("alice", ONLY_FIRST);
    await lab.output(`mkdir -m 1777 ${PLACE}/out`);
  });

  test("is a directory full of things that a runtime would run: none of it runs as root", async () => {
    const evil = "/home/dave/evil";
    const mark = await lab.output(["cat", SCRIPT]);
    const paths = { "dbus-next": ["./mark.js"], koffi: ["./mark.js"], usocket: ["./mark.js"] };
    const files: Record<string, string> = {
      "mark.js": mark,
      "bunfig.toml": 'preload = ["./mark.js"]\n[run]\npreload = ["./mark.js"]\n',
      ".env": `BUN_OPTIONS=--preload=${SCRIPT}\nNODE_OPTIONS=--require ${SCRIPT}\nLD_PRELOAD=${LIBRARY}\nAUTHNFT_NO_SANDBOX=1\n`,
      "package.json": JSON.stringify({ name: "authnft", main: "./mark.js", imports: { "#*": "./mark.js" } }),
      "tsconfig.json": JSON.stringify({ compilerOptions: { baseUrl: ".", paths } }),
    };
    files[".env.local"] = files[".env.production"] = files[".env"] as string;
    for (const [name, text] of Object.entries(files)) await lab.write(`${evil}/${name}`, text);
    await lab.output(`cp -r ${PLACE}/node_modules ${PLACE}/libraries/lib* ${evil}; chown -R dave: ${evil}`);

    // Started as bun in that directory, the program does run it.
    await lab.run(`cd ${evil} && BUN_BE_BUN=1 ${PROGRAM} -e 'require("usocket")'`);
    expect(await marks()).toContain("script-0 root");
    await clearMarks();

    const { stdout } = await lab.run(`cd ${evil} && su alice -c '${FILTERED}; pwd'`, {
      user: "dave",
      input: "alice-password\n",
    });
    expect(words(stdout)).toBe("ok refused");
    expect(stdout).toContain(evil);
    expect(await marks()).toEqual([]);
    await nothingLeft();
  });

  test("may have closed its standard descriptors, or opened hundreds of others", async () => {
    const command = (name: string): string =>
      `su alice -c '(${FILTERED}; grep ^0: /proc/self/cgroup) >${PLACE}/out/${name}'`;
    const ways: Record<string, string> = {
      "no-input": `${command("no-input")} <&-`,
      "no-output": `${command("no-output")} >&-`,
      "no-errors": `${command("no-errors")} 2>&-`,
      nothing: `${command("nothing")} <&- >&- 2>&-`,
      hundreds: `for ((fd = 3; fd < 1000; fd++)); do eval "exec $fd</etc/shadow"; done; ${command("hundreds")}`,
    };
    await Promise.all(Object.values(ways).map((way) => lab.run(way)));
    for (const name of Object.keys(ways)) {
      const out = await lab.output(`cat ${PLACE}/out/${name}`);
      expect(words(out), name).toBe("ok refused");
      expect(out, name).toMatch(/0::\/authnft\.slice\/authnft-alice-\d+(-\d+)?\.scope/);
    }
    await nothingLeft();

    // Before su comes to us, something else has taken the lowest descriptors; with nothing else in the stack they are free.
    const since = await lab.cursor();
    await lab.pam("lab", { through: via });
    await lab.output("pamtester lab alice open_session close_session <&- >&- 2>&-");
    await nothingLeft();
    const events = (await lab.journal({ since })).map((entry) => entry["AUTHNFT_EVENT"]);
    expect(events.filter(Boolean)).toEqual(["open", "close", "end"]);
  });

  test("is not what the helper sees: ids, limits, priority, signals, descriptors and variables are ours", async () => {
    // The bus stops between pam_systemd and us, so the helper waits for it, and can be looked at.
    const stop = `${PLACE}/stop`;
    await lab.write(stop, "#!/bin/sh\nkill -STOP $(pidof dbus-daemon)\n", { mode: "0755" });
    // In this order: a shell that pam_exec ran after pam_env would load the user's library, as root.
    const before = [`session optional pam_exec.so seteuid quiet type=open_session ${stop}`, READ_USERS_FILE];
    await lab.pam("su", { through: via, before });
    await pamEnvironment("alice", { AUTHNFT_NO_SANDBOX: "1", LD_PRELOAD: LIBRARY, SECRET: "of the user" });
    const caller = `
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, set(range(1, 65)) - {signal.SIGCHLD})
for number in range(1, 32):
    if number not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)
for _ in range(200):
    os.set_inheritable(os.open("/etc/passwd", os.O_RDONLY), True)
os.umask(0)
os.chdir("/home/dave")
os.execv("/usr/bin/su", ["su", "alice", "-c", "${FILTERED}"])
`;
    // Only with CAP_SYS_RESOURCE, the 24th capability, is a hard limit raised again; a guest may lack it.
    const capabilities = BigInt(`0x${await lab.output("sed -n 's/^CapEff:\\s*//p' /proc/self/status")}`);
    const hard = (value: string): string => ((capabilities >> 24n) & 1n ? value : "");
    const limits = ["nofile=300", "cpu=60", "stack=4194304"].map(
      (soft) => `--${soft}:${hard(soft.replace(/.*=/, ""))}`,
    );
    const command = ["prlimit", ...limits, "nice", "-n", "19", "python3", "-c", caller];
    await using su = lab.start(command, { user: "dave" });
    su.write("alice-password\n");
    su.end();
    try {
      const pid = await waitFor(
        // For pam_exec the one that the program has become once the name service has answered.
        async () =>
          (
            await lab.run([
              "pgrep",
              "-xf",
              via === "shim" ? "authnft session in-turn" : "authnft session pam_exec=open",
            ])
          ).stdout.trim() || undefined,
      );
      await waitFor(async () => /socket/.test(await lab.output(`ls -l /proc/${pid}/fd`)));
      const inside = async (what: string): Promise<string> => await lab.output(`cd /proc/${pid} && ${what}`);

      const status = Object.fromEntries(
        (await inside("cat status")).split("\n").map((line) => line.split(/:\s*/, 2) as [string, string]),
      );
      expect(status).toMatchObject({
        Uid: "0\t0\t0\t0",
        Gid: "0\t0\t0\t0",
        Umask: "0077",
        SigPnd: "0000000000000000",
        ShdPnd: "0000000000000000",
        SigBlk: "0000000000000000",
        NoNewPrivs: "1",
        Seccomp: "2",
        CapPrm: "0000000020001000",
        CapEff: "0000000020001000",
      });
      expect(status["Groups"]?.trim()).toBe("");
      // The runtime itself ignores a broken pipe and a file that grows too long.
      const ignored = BigInt(`0x${status["SigIgn"]}`);
      expect(ignored & ~((1n << 12n) | (1n << 24n))).toBe(0n);

      const limit = async (name: string): Promise<string> =>
        (await inside(`grep '^Max ${name} ' limits`)).slice(26).trim().split(/\s+/).slice(0, 2).join(" ");
      // The runtime has raised this one from 1024, as far as it may.
      expect(await limit("open files")).toBe("4096 4096");
      expect(await limit("core file size")).toBe("0 0");
      expect(await limit("cpu time")).toBe("20 25");
      expect(await limit("file size")).toBe("67108864 67108864");
      expect(await limit("stack size")).toBe("8388608 8388608");
      expect(await limit("nice priority")).toBe("0 0");

      // Fields 6, 7, 19 and 41 of proc(5): session, terminal, nice value, scheduling policy; of every thread.
      for (const thread of (await inside("cat task/*/stat")).split("\n")) {
        const fields = thread.slice(thread.lastIndexOf(")") + 2).split(" ");
        expect([fields[3], fields[4], fields[16], fields[38]]).toEqual([pid, "0", "0", "0"]);
      }
      const descriptors = (await inside("find fd -type l -printf '%f %l\\n'")).split("\n");
      expect(descriptors.length).toBeLessThan(30);
      expect(descriptors.filter((line) => /passwd|shadow|dev\/pts|home/.test(line))).toEqual([]);
      const standard = via === "shim" ? ["pipe", "pipe", "/dev/null"] : ["memfd:request", "pipe", "pipe"];
      for (const [fd, kind] of standard.entries())
        expect(descriptors.find((line) => line.startsWith(`${fd} `))).toContain(kind);
      expect(await inside("readlink cwd")).toBe("/");
      expect(await inside("grep ^0: cgroup")).toBe("0::/init.scope");

      const environment = (await inside("tr '\\0' '\\n' <environ")).split("\n").sort();
      const ours = [
        "BUN_JSC_useJIT=0",
        "LANG=C",
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        "TMPDIR=/run/authnft",
      ];
      expect(environment).toEqual(ours);
    } finally {
      await lab.output("kill -CONT $(pidof dbus-daemon)");
    }
    await su.exited;
    expect(words(su.stdout)).toBe("ok refused");
    expect((await marks()).filter((mark) => mark.endsWith(" root"))).toEqual([]);
    await nothingLeft();
  });
});

onThisRelease("pam_exec without seteuid", () => {
  beforeAll(async () => {
    await lay();
    await lab.fragment("alice", ONLY_FIRST);
    for (const service of ["su", "sudo", "lab"]) {
      await lab.pam(service, { through: "exec" });
      await lab.output(`sed -i 's/pam_exec.so seteuid /pam_exec.so /' /etc/pam.d/${service}`);
    }
  });

  test("filters all the same where the program that asks has root's rights: su and sudo", async () => {
    const su = await lab.run(["su", "alice", "-c", FILTERED], { user: "dave", input: "alice-password\n" });
    expect(words(su.stdout)).toBe("ok refused");
    const sudo = await lab.run(["sudo", "-u", "alice", "bash", "-c", FILTERED], { user: "dave" });
    expect(words(sudo.stdout)).toBe("ok refused");
    await nothingLeft();
  });

  test("refuses where it has not, and says in the log what is missing", async () => {
    const since = await lab.cursor();
    const asDave = await lab.run(["pamtester", "lab", "alice", "open_session"], { user: "dave" });
    expect(asDave.code).not.toBe(0);
    expect(asDave.stdout + asDave.stderr).toContain("give the option seteuid");
    const said = await lab.journal({ since, match: { SYSLOG_IDENTIFIER: "pam_authnft" } });
    expect(said.map(({ MESSAGE }) => MESSAGE)).toEqual([
      expect.stringMatching(/^This program must run as root: under pam_exec, give the option seteuid/),
    ]);
    expect(await lab.sessions()).toEqual([]);
    // Root's own, with the same line, is opened.
    await lab.output(["pamtester", "lab", "alice", "open_session", "close_session"]);
    await nothingLeft();
  });
});

afterAll(async () => {
  await lab.reset();
  await lab.output(`rm -rf ${PLACE}`);
});
