// SPDX-License-Identifier: GPL-2.0-or-later
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  closeSync,
  copyFileSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  hasContent,
  linkTarget,
  placeDirectory,
  placeFile,
  placeLink,
} from "../../../../src/system/host/placement.ts";

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "authnft-placement-"));
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

const bytes = Buffer.from("text");

describe("placeFile", () => {
  test("makes the directories above, whatever the umask, and sets the mode", () => {
    const umask = process.umask(0o077);
    try {
      const path = join(directory, "a/b/file");
      expect(placeFile(path, bytes, 0o755)).toBe("written");
      expect(readFileSync(path, "utf8")).toBe("text");
      expect(statSync(path).mode & 0o7777).toBe(0o755);
      expect(statSync(join(directory, "a")).mode & 0o7777).toBe(0o755);
    } finally {
      process.umask(umask);
    }
  });

  test("leaves alone what is as it should be, and mends content and mode", () => {
    const path = join(directory, "file");
    placeFile(path, bytes, 0o644);
    const before = statSync(path).ino;
    expect(placeFile(path, bytes, 0o644)).toBe("unchanged");
    expect(statSync(path).ino).toBe(before);
    chmodSync(path, 0o666);
    expect(placeFile(path, bytes, 0o644)).toBe("written");
    writeFileSync(path, "tex");
    expect(placeFile(path, bytes, 0o644)).toBe("written");
    expect(readFileSync(path, "utf8")).toBe("text");
    expect(readdirSync(directory)).toEqual(["file"]);
  });

  test("replaces a program that is running", async () => {
    const path = join(directory, "program");
    copyFileSync("/bin/sleep", path);
    const running = Bun.spawn([path, "60"]);
    try {
      expect(placeFile(path, { copyOf: "/bin/true" }, 0o755)).toBe("written");
      expect(hasContent(path, { copyOf: "/bin/true" })).toBe(true);
      expect(running.exitCode).toBeNull();
    } finally {
      running.kill();
      await running.exited;
    }
  });

  test("replaces a symbolic link instead of writing through it", () => {
    const elsewhere = join(directory, "elsewhere");
    writeFileSync(elsewhere, "precious");
    symlinkSync(elsewhere, join(directory, "file"));
    placeFile(join(directory, "file"), bytes, 0o644);
    expect(readFileSync(elsewhere, "utf8")).toBe("precious");
    expect(lstatSync(join(directory, "file")).isFile()).toBe(true);
  });

  test("is not misled by what an interrupted run left", () => {
    writeFileSync(join(directory, "file.new"), "half");
    placeFile(join(directory, "file"), bytes, 0o644);
    expect(readdirSync(directory)).toEqual(["file"]);
  });

  test("a reader of the old file keeps it", () => {
    const path = join(directory, "file");
    placeFile(path, bytes, 0o644);
    const fd = openSync(path, "r");
    placeFile(path, Buffer.from("other"), 0o644);
    expect(fstatSync(fd).size).toBe(4);
    closeSync(fd);
  });

  test("says what it could not place", () => {
    mkdirSync(join(directory, "file/in/the/way"), { recursive: true });
    expect(() => placeFile(join(directory, "file"), bytes, 0o644)).toThrow(
      /^Cannot put .*\/file in its place: /,
    );
    expect(readdirSync(directory)).toEqual(["file"]);
  });
});

test("placeLink replaces another link and a file", () => {
  const path = join(directory, "link");
  expect(placeLink(path, "../target")).toBe("written");
  expect(placeLink(path, "../target")).toBe("unchanged");
  rmSync(path);
  writeFileSync(path, "");
  expect(placeLink(path, "../target")).toBe("written");
  expect(linkTarget(path)).toBe("../target");
});

test("placeDirectory mends a mode, or keeps it where told to", () => {
  const path = join(directory, "own");
  expect(placeDirectory(path, 0o700, false)).toBe("written");
  chmodSync(path, 0o750);
  expect(placeDirectory(path, 0o700, true)).toBe("unchanged");
  expect(placeDirectory(path, 0o700, false)).toBe("written");
  expect(statSync(path).mode & 0o7777).toBe(0o700);
});

test("hasContent compares files larger than its buffer to the last byte", () => {
  const [one, two] = [join(directory, "one"), join(directory, "two")];
  const large = Buffer.alloc((2 << 20) + 5, "x");
  writeFileSync(one, large);
  writeFileSync(two, large);
  expect(hasContent(one, { copyOf: two })).toBe(true);
  expect(hasContent(one, large)).toBe(true);
  large[large.length - 1] = 0;
  writeFileSync(two, large);
  expect(hasContent(one, { copyOf: two })).toBe(false);
  expect(hasContent(one, large)).toBe(false);
});
