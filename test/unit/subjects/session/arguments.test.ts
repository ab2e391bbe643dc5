// SPDX-License-Identifier: GPL-2.0-or-later
import { describe, expect, test } from "bun:test";
import { Refusal } from "../../../../src/refusal.ts";
import { type Arguments, parseArguments } from "../../../../src/subjects/session/arguments.ts";

const DEFAULTS: Arguments = {
  rhostPolicy: "lax",
  claimsEnv: undefined,
  lingering: "quarantine",
  scope: "own",
  debug: false,
  noSandbox: false,
};

test.each<[string[], Partial<Arguments>]>([
  [[], {}],
  [["rhost_policy=lax"], {}],
  [["rhost_policy=strict"], { rhostPolicy: "strict" }],
  [["rhost_policy=kernel"], { rhostPolicy: "kernel" }],
  [["claims_env=SESSION_CLAIMS"], { claimsEnv: "SESSION_CLAIMS" }],
  [["claims_env=_x9"], { claimsEnv: "_x9" }],
  [[`claims_env=${"x".repeat(64)}`], { claimsEnv: "x".repeat(64) }],
  [["lingering=quarantine"], {}],
  [["lingering=keep"], { lingering: "keep" }],
  [["lingering=kill"], { lingering: "kill" }],
  [["scope=own"], {}],
  [["scope=session"], { scope: "session" }],
  [["scope=session", "scope=own"], {}],
  [["debug"], { debug: true }],
  [["AUTHNFT_NO_SANDBOX=1"], { noSandbox: true }],
  [
    ["debug", "rhost_policy=kernel", "claims_env=C", "lingering=quarantine"],
    { debug: true, rhostPolicy: "kernel", claimsEnv: "C" },
  ],
])("%j", (words, expected) => {
  expect(parseArguments(words)).toEqual({ ...DEFAULTS, ...expected });
});

function refusalOf(...words: string[]): Refusal {
  try {
    parseArguments(words);
  } catch (error) {
    if (error instanceof Refusal) return error;
  }
  throw new Error(`not refused: ${words}`);
}

describe("a typing error refuses and is quoted", () => {
  test.each([
    "",
    " ",
    "Debug",
    "debug=1",
    "debug=",
    "rhost_policy",
    "rhost_policy=",
    "rhost_policy=Strict",
    "rhost_policy=strict ",
    "rhost_policy==strict",
    "rhost-policy=strict",
    "rhost_policy=none",
    "claims_env",
    "claims_env=",
    "claims_env=9x",
    "claims_env=A B",
    "claims_env=A=B",
    "claims_env=A\n",
    `claims_env=${"x".repeat(65)}`,
    "claims_env=É",
    "lingering",
    "lingering=never",
    "scope=none",
    "AUTHNFT_NO_SANDBOX",
    "AUTHNFT_NO_SANDBOX=0",
    "AUTHNFT_NO_SANDBOX=1 ",
    "authnft_no_sandbox=1",
    "nosandbox",
    "--debug",
    "seteuid",
    "constructor",
    "__proto__=x",
  ])("%j", (word) => {
    const refusal = refusalOf(word);
    expect(refusal.reason).toBe("argument");
    expect(refusal.message).toContain("of the PAM line: it is unknown or its value is");
    expect(refusal.message).toContain(JSON.stringify(word.slice(0, 80)).slice(0, 10));
  });

  test("and the right ones beside it do not help", () => {
    expect(refusalOf("rhost_policy=strict", "debug", "strict").message).toContain('"strict"');
  });

  test("a long one is quoted in part", () => {
    expect(refusalOf("x".repeat(5000)).message.length).toBeLessThan(250);
  });
});
