// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { Refusal } from "../../../../src/refusal.ts";
import {
  decodeRequest,
  parseRequest,
  REQUEST_LIMIT,
  type Request,
} from "../../../../src/subjects/session/request.ts";

const REQUEST: Request = {
  v: 1,
  type: "open",
  user: "alice",
  uid: 1000,
  gid: 1000,
  service: "sshd",
  rhost: "192.0.2.7",
  tty: "ssh",
  ruser: "",
  pid: 4711,
  args: ["rhost_policy=kernel", "debug"],
  env: { AUTHNFT_CORRELATION: "a:b" },
  session: "",
  groups: ["staff", "x_1.2-3"],
  sockets: [12345],
};

function messageOf(text: string): string {
  try {
    parseRequest(text);
  } catch (error) {
    expect(error).toBeInstanceOf(Refusal);
    expect((error as Refusal).reason).toBe("request");
    return (error as Refusal).message;
  }
  throw new Error(`not refused: ${text.slice(0, 200)}`);
}

const changed = (key: string, value: unknown): string => JSON.stringify({ ...REQUEST, [key]: value });

test("what the shim sends is read as it is", () => {
  expect(parseRequest(JSON.stringify(REQUEST))).toEqual(REQUEST);
  const close: Request = {
    ...REQUEST,
    type: "close",
    session: "authnft-alice-4711.scope",
    args: [],
    env: {},
  };
  expect(parseRequest(` ${JSON.stringify(close)}\n`)).toEqual(close);
});

test("bytes that are no ASCII come as the shim escapes them", () => {
  const text = JSON.stringify(REQUEST).replace("alice", "\\u00e9\\u0000\\u001b");
  expect(parseRequest(text).user).toBe("é\0\x1b");
});

test.each<[string, unknown]>([
  ["uid", 1],
  ["uid", 0xffff_fffe],
  ["gid", 0],
  ["gid", 0xffff_fffe],
  ["pid", 1],
  ["pid", 4194304],
  ["user", ""],
  ["user", "x".repeat(2048)],
  ["args", []],
  ["env", {}],
  ["groups", []],
  ["groups", ["g".repeat(255), "DOM\\x5cdomain\\x20users"]],
  ["sockets", [0, 2 ** 53 - 1]],
])("the bounds of %s", (key, value) => {
  expect<unknown>(parseRequest(changed(key, value))[key as keyof Request]).toEqual(value);
});

describe("another version", () => {
  test.each([0, 2, -1, 1.5, 1e9])("%j is named, and what to do", (version) => {
    expect(messageOf(changed("v", version))).toBe(
      `Cannot read the request of the PAM module: it is of version ${version}, this program reads 1; run "authnft install" so that both are of one release.`,
    );
  });

  test("is named whatever else it brings", () => {
    expect(messageOf('{"v":2,"kind":"open"}')).toContain("it is of version 2");
    expect(messageOf('{"later":true,"v":2}')).toContain("it is of version 2");
  });

  test("is a number, else it is none", () => {
    for (const version of [null, "1", true, [], {}]) {
      expect(messageOf(changed("v", version))).toContain("v: expected 1");
    }
  });
});

describe("not a request", () => {
  test.each<[string, string]>([
    ["it is empty", ""],
    ["it is not JSON", " "],
    ["it is not JSON", "\0"],
    ["it is not JSON", "{"],
    ["it is not JSON", JSON.stringify(REQUEST).slice(0, -1)],
    ["it is not JSON", `${JSON.stringify(REQUEST)}{}`],
    ["it is not JSON", `${JSON.stringify(REQUEST)}\0`],
    ["it is not JSON", "{'v':1}"],
    ["it is not JSON", "\ufffd\ufffd"],
    ["it is not JSON", "[".repeat(REQUEST_LIMIT)],
    ["the whole", "null"],
    ["the whole", "1"],
    ["the whole", '"open"'],
    ["the whole", "true"],
    ["v: expected", "[]"],
    ["v: expected", "{}"],
    ["v: expected", '{"__proto__":{"v":1}}'],
    ["Cannot read the request", `${"[".repeat(4000)}${"]".repeat(4000)}`],
  ])("%s", (part, text) => {
    expect(messageOf(text)).toContain(part);
  });

  test("a byte too long", () => {
    const text = JSON.stringify(REQUEST);
    const full = text + " ".repeat(REQUEST_LIMIT - text.length);
    expect(parseRequest(full)).toEqual(REQUEST);
    expect(messageOf(`${full} `)).toContain("it is longer than 8192 bytes");
  });

  test.each(Object.keys(REQUEST).filter((key) => key !== "groups" && key !== "sockets"))(
    "%s is missing",
    (key) => {
      const { [key as keyof Request]: _, ...rest } = REQUEST;
      expect(messageOf(JSON.stringify(rest))).toContain(`${key}: expected`);
    },
  );

  test.each<[string, unknown]>([
    ["type", "reopen"],
    ["type", "open_session"],
    ["type", null],
    ["user", null],
    ["user", 5],
    ["user", ["alice"]],
    ["user", "x".repeat(2049)],
    ["uid", 0], // root never gets here: the shim lets it pass
    ["uid", -1],
    ["uid", 0xffff_ffff],
    ["uid", 1000.5],
    ["uid", "1000"],
    ["uid", null],
    ["gid", -1],
    ["gid", 0x1_0000_0000],
    ["service", null],
    ["rhost", { toString: "x" }],
    ["tty", 1],
    ["ruser", false],
    ["pid", 0],
    ["pid", 4194305],
    ["pid", -4711],
    ["pid", 47.11],
    ["pid", "4711"],
    ["groups", null],
    ["groups", "staff"],
    ["groups", [""]],
    ["groups", ["../users/bob"]],
    ["groups", ["-x"]],
    ["groups", ["g".repeat(256)]],
    ["groups", ["domain users"]],
    ["groups", ["a\\x2db"]],
    ["sockets", null],
    ["sockets", [-1]],
    ["sockets", ["1"]],
    ["args", null],
    ["args", "debug"],
    ["args", [1]],
    ["args", [null]],
    ["args", [["debug"]]],
    ["args", ["x".repeat(2049)]],
    ["env", null],
    ["env", "AUTHNFT_CORRELATION=x"],
    ["env", { AUTHNFT_CORRELATION: 5 }],
    ["env", { AUTHNFT_CORRELATION: null }],
    ["env", { X: "x".repeat(2049) }],
    ["session", null],
    ["session", undefined],
  ])("a bad %s", (key, value) => {
    const message = messageOf(changed(key, value));
    expect(message).toStartWith(`Cannot read the request of the PAM module: ${key}`);
    expect(message).toEndWith('run "authnft install" so that module and program are of one release.');
  });

  test("a number that is none", () => {
    expect(messageOf(JSON.stringify(REQUEST).replace("4711", "1e999"))).toContain("pid: expected");
    expect(messageOf(JSON.stringify(REQUEST).replace("1000", "-0"))).toContain("uid: expected");
  });

  test("a member that the shim does not send", () => {
    expect(messageOf(changed("password", "hunter2"))).toContain("password: expected never");
    expect(messageOf(changed("password", "hunter2"))).not.toContain("hunter2");
  });
});

test("of one member twice the last counts, as everywhere in JSON, and is checked", () => {
  expect(messageOf(JSON.stringify(REQUEST).replace('"uid":1000', '"uid":1000,"uid":0'))).toContain(
    "uid: expected",
  );
});

test("no name of a variable reaches the prototype", () => {
  const text = JSON.stringify(REQUEST).replace('"env":{', '"env":{"__proto__":"x","constructor":"y",');
  const { env } = parseRequest(text);
  expect(Object.getPrototypeOf(env)).toBe(Object.prototype);
  expect(typeof env["toString"]).not.toBe("string");
});

test("a message is one line", () => {
  const message = messageOf(changed("a\nb\x1b[31m", 1));
  expect(message).not.toMatch(/[\p{Cc}]/u);
});

test("bytes are read up to the limit, and as UTF-8 alone", () => {
  expect(decodeRequest(Buffer.alloc(REQUEST_LIMIT, "x"))).toHaveLength(REQUEST_LIMIT);
  expect(() => decodeRequest(Buffer.alloc(REQUEST_LIMIT + 1, "x"))).toThrow("longer than 8192 bytes");
  expect(() => decodeRequest(Uint8Array.of(0x22, 0xff, 0x22))).toThrow("not UTF-8");
});

test("a list of variables is none, not even an empty one", () => {
  expect(messageOf(changed("env", []))).toContain("env: ");
  expect(messageOf(changed("env", ["x"]))).toContain("env: ");
});
