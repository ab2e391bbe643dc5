// SPDX-License-Identifier: GPL-2.0-or-later

import { describe, expect, test } from "bun:test";
import { layout } from "../../../src/cli/layout.ts";
import { ENTRY, MEMBER } from "../../../src/paths.ts";
import { dataFiles, readData } from "../../../src/system/host/shipped.ts";

const MODULES = "/usr/lib/x86_64-linux-gnu/security";
const names = dataFiles();

function text(name: string): string {
  return Buffer.from(readData(name)).toString();
}

describe("layout", () => {
  test("puts every piece where the contract says", () => {
    const paths = layout(MODULES, names).map(({ path }) => path);
    const promised = [
      "/usr/libexec/authnft",
      "/usr/lib/authnft/authnft",
      "/usr/lib/authnft/authnft-member",
      "/usr/lib/authnft/koffi.node",
      "/usr/sbin/authnft",
      `${MODULES}/pam_authnft.so`,
      "/usr/lib/systemd/system/authnft.slice",
      "/usr/lib/systemd/system/run-authnft-refused.mount",
      "/usr/lib/systemd/system/authnft.service",
      "/usr/lib/systemd/system/authnft-end@.service",
      "/usr/lib/systemd/system/authnft-session@.service",
      "/usr/lib/systemd/system/authnft-close@.service",
      "/usr/lib/systemd/system/user@.service.d/zz-authnft.conf",
      "/usr/lib/systemd/system/user-runtime-dir@.service.d/zz-authnft.conf",
      "/usr/lib/systemd/system/nftables.service.d/zz-authnft.conf",
      "/usr/lib/tmpfiles.d/authnft.conf",
      "/usr/lib/sysusers.d/authnft.conf",
    ];
    expect(promised.filter((path) => !paths.includes(path))).toEqual([]);
  });

  test("has a place for every file below data/, and none twice", () => {
    const items = layout(MODULES, names);
    expect(items.flatMap((item) => (item.kind === "data" ? [item.name] : []))).toEqual(names);
    expect(new Set(items.map(({ path }) => path)).size).toBe(items.length);
  });

  test("puts man pages into their sections", () => {
    const [page] = layout(MODULES, ["man/pam_authnft.8"]).filter(({ kind }) => kind === "data");
    expect(page?.path).toBe("/usr/share/man/man8/pam_authnft.8");
  });

  test("lays out what is executed before what executes it", () => {
    const paths = layout(MODULES, names).map(({ path }) => path);
    const order = [
      "/usr/lib/authnft/koffi.node",
      "/usr/lib/authnft/authnft",
      MEMBER,
      ENTRY,
      `${MODULES}/pam_authnft.so`,
    ];
    const at = order.map((path) => paths.indexOf(path));
    expect(at).toEqual(at.toSorted((a, b) => a - b));
  });

  test("nothing but the executables can be executed, and nothing be written by others", () => {
    for (const item of layout(MODULES, names)) {
      if (item.kind === "link") continue;
      const executed = [ENTRY, MEMBER, "/usr/lib/authnft/authnft"].includes(item.path);
      expect(item.mode).toBe(executed ? 0o755 : 0o644);
    }
  });
});

describe("data/", () => {
  test("units run the entry, never the executable itself", () => {
    const commands = names
      .filter((name) => /\.(service|conf)$/.test(name))
      .flatMap((name) => [...text(name).matchAll(/^Exec\w+=(.+)/gm)].map((match) => match[1] ?? ""));
    expect(commands.length).toBeGreaterThan(0);
    expect(commands.filter((command) => command.includes("/usr/lib/authnft/authnft"))).toEqual([]);
    // Beside it stand nft, which is faster, the question that must be answered without us, and a file that goes.
    const others = commands.filter((command) => !command.replace(/^-/, "").startsWith(`${ENTRY} `));
    const known = [
      "-/usr/sbin/nft -f /run/authnft/ruleset.nft",
      "-/usr/sbin/nft -f /run/authnft/sessions.nft",
      "-+/bin/rm -f /run/authnft/policy/cover_%i.slice",
    ];
    const asked = others.filter((command) => !known.includes(command));
    expect(asked).toEqual(Array(2).fill(expect.stringMatching(/^\+\/bin\/sh -c '.*' sh %i$/)));
    // The same question in both places.
    expect(new Set(asked).size).toBe(1);
    expect(asked[0]).toContain('exec /bin/sh /usr/lib/authnft/close-slice "$$1"; ');
    expect(text("close-slice")).toContain(`\n${MEMBER} "$uid"\n`);
    expect(text("close-slice")).toContain(` ${ENTRY} cover "$uid" && exit 0\n`);
  });

  test("records are never aged", () => {
    const lines = text("tmpfiles.conf")
      .split("\n")
      .filter((line) => /^[a-z]/.test(line));
    expect(lines.map((line) => line.split(/\s+/))).toEqual([
      ["d", "/run/authnft", "0755", "root", "root", "-"],
      ["d", "/run/authnft/sessions", "0755", "root", "root", "-"],
      ["d", "/run/authnft/lock", "0700", "root", "root", "-"],
      ["d", "/run/authnft/policy", "0700", "root", "root", "-"],
      ["d", "/run/authnft/names", "0700", "root", "root", "-"],
    ]);
  });

  test("the slice and the clean-up wait for nothing", () => {
    for (const name of [
      "authnft.slice",
      "run-authnft-refused.mount",
      "authnft.service",
      "authnft-end@.service",
    ]) {
      expect(text(name)).toMatch(/^DefaultDependencies=no$/m);
    }
  });
});
