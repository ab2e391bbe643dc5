// SPDX-License-Identifier: GPL-2.0-or-later
import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkOwner, openBelow, readPlain, replaceFile } from "../../../../src/system/host/files.ts";

const base = mkdtempSync(join(tmpdir(), "files-"));
const top = join(base, "authnft");
afterAll(() => rmSync(base, { recursive: true }));

beforeEach(() => {
  rmSync(top, { recursive: true, force: true });
  rmSync(join(base, "evil"), { recursive: true, force: true });
  mkdirSync(join(top, "users"), { recursive: true });
  mkdirSync(join(base, "evil/users"), { recursive: true });
  writeFileSync(join(top, "users/alice"), "good");
  writeFileSync(join(base, "evil/users/alice"), "evil");
  writeFileSync(join(base, "evil/alice"), "evil");
});

/** What is read of alice's file when something happens while a directory, or the file, is being checked. */
function readWhile(at?: string, happens?: () => void): { text: string; checked: string[] } {
  const checked: string[] = [];
  const fd = openBelow(join(top, "users/alice"), top, (opened) => {
    checked.push(opened.slice(base.length));
    if (opened === at) happens?.();
  });
  try {
    return { text: readFileSync(fd, "utf8"), checked };
  } finally {
    closeSync(fd);
  }
}

describe("what is read is what was checked", () => {
  const checked = ["/authnft", "/authnft/users", "/authnft/users/alice"];

  test("with every directory from the first on, and the file", () => {
    expect(readWhile()).toEqual({ text: "good", checked });
  });

  test.each(["a directory", "a link"])("also when %s takes a checked directory's place", (what) => {
    const users = join(top, "users");
    const swap = () => {
      renameSync(users, join(top, "gone"));
      if (what === "a link") symlinkSync(join(base, "evil"), users);
      else renameSync(join(base, "evil/users"), users);
    };
    expect(readWhile(users, swap)).toEqual({ text: "good", checked });
    // Whoever goes by the path is deceived.
    expect(Buffer.from(readPlain(join(users, "alice"), { sizeLimit: 10 })).toString()).toBe("evil");
  });

  test("also when the first directory is another one by then", () => {
    const swap = () => {
      renameSync(top, join(base, "gone"));
      renameSync(join(base, "evil"), top);
    };
    try {
      expect(readWhile(top, swap)).toEqual({ text: "good", checked });
    } finally {
      rmSync(join(base, "gone"), { recursive: true });
    }
  });

  test("also when another file takes the checked one's place", () => {
    const alice = join(top, "users/alice");
    expect(readWhile(alice, () => renameSync(join(base, "evil/alice"), alice)).text).toBe("good");
  });

  test("and what takes a place before it is opened is what is checked", () => {
    const swap = () => {
      renameSync(join(top, "users"), join(top, "gone"));
      symlinkSync(join(base, "evil"), join(top, "users"));
    };
    expect(() => readWhile(top, swap)).toThrow(
      `Cannot read fragment ${top}/users/alice: ${top}/users is no directory; make it one.`,
    );
  });
});

test.each<[string, () => void, string]>([
  ["no file", () => rmSync(join(top, "users/alice")), "there is none"],
  ["no directory", () => rmSync(join(top, "users"), { recursive: true }), "there is none"],
  ["no first directory", () => rmSync(top, { recursive: true }), "there is none"],
  [
    "a link",
    () => {
      renameSync(join(top, "users/alice"), join(top, "alice"));
      symlinkSync("../alice", join(top, "users/alice"));
    },
    "it is a symbolic link; put the fragment's text there, or use include.",
  ],
  [
    "a directory as the file",
    () => {
      rmSync(join(top, "users/alice"));
      mkdirSync(join(top, "users/alice"));
    },
    "it is not a regular file; put the fragment's text there.",
  ],
  [
    "a file as a directory",
    () => {
      rmSync(join(top, "users"), { recursive: true });
      writeFileSync(join(top, "users"), "");
    },
    `${top}/users is no directory; make it one.`,
  ],
])("%s is refused", (_, happens, message) => {
  happens();
  expect(() => readWhile()).toThrow(`Cannot read fragment ${top}/users/alice: ${message}`);
});

test("no descriptor is left open, whether it is read or refused", () => {
  const open = (): string[] =>
    [...Array(256).keys()].flatMap((fd) => {
      try {
        return [readlinkSync(`/proc/self/fd/${fd}`)].filter((path) => path.startsWith(base));
      } catch {
        return [];
      }
    });
  readWhile();
  for (const at of [top, join(top, "users"), join(top, "users/alice")]) {
    expect(() =>
      readWhile(at, () => {
        throw new Error("no");
      }),
    ).toThrow("no");
  }
  expect(open()).toEqual([]);
});

test.each<[number, number, string | undefined]>([
  [0, 0o100644, undefined],
  [0, 0o40755, undefined],
  [1000, 0o100644, "it belongs to uid 1000"],
  [0, 0o100664, "it is writable by its group"],
  [0, 0o100646, "it is writable by everyone"],
])("uid %d with mode %o", (uid, mode, message) => {
  const check = () => checkOwner("/f", "/f", { uid, mode });
  if (message === undefined) expect(check).not.toThrow();
  else expect(check).toThrow(`Cannot read fragment /f: ${message}; run "`);
});

test("a file that a killed process of this number has begun is in nobody's way", () => {
  const path = join(top, "record");
  writeFileSync(`${path}.${process.pid}.tmp`, "half");
  replaceFile(path, "whole");
  expect(readFileSync(path, "utf8")).toBe("whole");
  expect(readdirSync(top).sort()).toEqual(["record", "users"]);
});
