// SPDX-License-Identifier: GPL-2.0-or-later
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { layOut } from "../../../src/cli/install.ts";
import { type Item, layout } from "../../../src/cli/layout.ts";
import { takeAway } from "../../../src/cli/uninstall.ts";
import { dataFiles } from "../../../src/system/host/shipped.ts";

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "authnft-install-"));
});

afterEach(() => {
  rmSync(root, { recursive: true });
});

const items = layout("/usr/lib/security", dataFiles());
let release = "1";
const contentOf = (item: Item) => Buffer.from(`${item.path} of release ${release}`);

function install() {
  return layOut(items, { root, contentOf, live: false });
}

function files(): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length))
    .sort();
}

function put(path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
}

function run(...args: string[]) {
  const { exitCode, stdout, stderr } = Bun.spawnSync(
    [process.execPath, join(import.meta.dir, "../../../src/main.ts"), ...args],
    { env: {} },
  );
  return { exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}

describe("layOut", () => {
  test("lays out all items, and the policy's directories", () => {
    install();
    expect(files()).toEqual(items.map(({ path }) => path).sort());
    for (const item of items) {
      if (item.kind === "link") continue;
      expect(readFileSync(join(root, item.path), "utf8")).toBe(`${item.path} of release 1`);
      expect(statSync(join(root, item.path)).mode & 0o7777).toBe(item.mode);
    }
    expect(readlinkSync(join(root, "usr/sbin/authnft"))).toBe("../lib/authnft/authnft");
    expect(statSync(join(root, "usr/sbin/authnft")).ino).toBe(
      statSync(join(root, "usr/lib/authnft/authnft")).ino,
    );
    for (const path of ["etc/authnft/users", "etc/authnft/groups"]) {
      expect(statSync(join(root, path)).mode & 0o7777).toBe(0o755);
    }
  });

  test("leaves out what is only there while the system runs", () => {
    install();
    expect(existsSync(join(root, "run"))).toBe(false);
  });

  test("changes nothing the second time, and only what differs the third", () => {
    install();
    expect(install().filter(({ change }) => change === "written")).toEqual([]);
    writeFileSync(join(root, "usr/libexec/authnft"), "changed");
    expect(install().filter(({ change }) => change === "written")).toEqual([
      { path: "/usr/libexec/authnft", change: "written" },
    ]);
  });

  test("a newer release replaces every file and no policy", () => {
    install();
    put("/etc/authnft/users/alice", "policy");
    try {
      release = "2";
      expect(install().filter(({ change }) => change === "written").length).toBe(items.length - 1);
    } finally {
      release = "1";
    }
    expect(readFileSync(join(root, "etc/authnft/users/alice"), "utf8")).toBe("policy");
  });
});

describe("takeAway", () => {
  test("leaves nothing of what was laid out", () => {
    install();
    expect(takeAway(items, root)).toEqual([]);
    expect(files()).toEqual([]);
    for (const path of [
      "etc/authnft",
      "usr/lib/authnft",
      "usr/share/doc/authnft",
      "usr/lib/systemd/system/nftables.service.d",
    ]) {
      expect(existsSync(join(root, path))).toBe(false);
    }
  });

  test("leaves policies, and what is not ours, where it is", () => {
    const kept = ["/etc/authnft/users/alice", "/usr/lib/authnft/notes", "/usr/lib/security/pam_unix.so"];
    for (const path of kept) put(path, "kept");
    install();
    takeAway(items, root);
    expect(files()).toEqual(kept);
    expect(existsSync(join(root, "etc/authnft/groups"))).toBe(false);
  });

  test("leaves a command of the administrator's own with that name", () => {
    install();
    rmSync(join(root, "usr/sbin/authnft"));
    put("/usr/sbin/authnft", "own");
    takeAway(items, root);
    expect(files()).toEqual(["/usr/sbin/authnft"]);
  });

  test("goes on where something is in the way, and says what", () => {
    install();
    rmSync(join(root, "usr/libexec/authnft"));
    put("/usr/libexec/authnft/in/the/way", "");
    expect(takeAway(items, root)).toEqual([
      expect.stringMatching(/^Cannot remove .*\/usr\/libexec\/authnft: /),
    ]);
    expect(files()).toEqual(["/usr/libexec/authnft/in/the/way"]);
  });

  test("may be repeated, and run where nothing is", () => {
    takeAway(items, root);
    install();
    takeAway(items, root);
    takeAway(items, root);
    expect(files()).toEqual([]);
  });
});

describe("authnft uninstall --root", () => {
  test("refuses while PAM names the program, and says where", () => {
    install();
    put("/etc/pam.d/sshd", "# session required pam_authnft.so\nsession required pam_authnft.so\n");
    const { exitCode, stderr } = run("uninstall", "--root", root);
    expect(exitCode).toBe(1);
    expect(stderr).toContain("/etc/pam.d/sshd:2 names authnft");
    expect(stderr).toContain("--force");
    expect(existsSync(join(root, "usr/libexec/authnft"))).toBe(true);
  });

  test.each(["/usr/libexec/authnft debug", "/usr/sbin/authnft", "/lib/authnft/authnft"])(
    "refuses while pam_exec runs %s",
    (command) => {
      install();
      put("/etc/pam.d/login", `session required pam_exec.so seteuid ${command}\n`);
      expect(run("uninstall", "--root", root).exitCode).toBe(1);
    },
  );

  test("refuses while a session lives, and names it", () => {
    install();
    put("/run/authnft/sessions/authnft-alice-7.scope.json", "{}");
    const { exitCode, stderr } = run("uninstall", "--root", root);
    expect(exitCode).toBe(1);
    expect(stderr).toContain("Session authnft-alice-7.scope lives");
  });

  test("--force does it all the same, and changes no PAM file", () => {
    install();
    const line = "session required pam_authnft.so\n";
    put("/etc/pam.d/sshd", line);
    expect(run("uninstall", "--root", root, "--force").exitCode).toBe(0);
    expect(files()).toEqual(["/etc/pam.d/sshd"]);
    expect(readFileSync(join(root, "etc/pam.d/sshd"), "utf8")).toBe(line);
  });

  test("a comment that names the program is no objection", () => {
    install();
    put("/etc/pam.d/sshd", "# session required pam_authnft.so\n");
    const { exitCode, stdout } = run("uninstall", "--root", root);
    expect(stdout).toContain("authnft is uninstalled.");
    expect(exitCode).toBe(0);
    expect(files()).toEqual(["/etc/pam.d/sshd"]);
  });
});
