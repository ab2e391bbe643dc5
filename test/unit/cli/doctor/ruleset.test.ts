// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import { fail, ok } from "../../../../src/cli/doctor/finding.ts";
import { judgeEndpoints, lookPatiently } from "../../../../src/cli/doctor/ruleset.ts";

test("an MPTCP endpoint with a port is warned of, others are not", () => {
  const plain = "10.0.0.1 id 1 signal dev eth0 \n2001:db8::1 id 2 subflow \n";
  expect(judgeEndpoints(plain).level).toBe("ok");
  expect(judgeEndpoints("").level).toBe("ok");
  expect(
    judgeEndpoints(`${plain}10.0.0.2 port 5000 id 3 signal \n2001:db8::2 port 81 id 4 signal \n`),
  ).toEqual({
    level: "warn",
    what: "MPTCP endpoints with a port: 10.0.0.2 port 5000, 2001:db8::2 port 81.",
    why: expect.any(String),
    mend: expect.stringMatching(/^ip mptcp endpoint delete id 3\nip mptcp endpoint delete id 4\n/),
  });
});

test("what a login leaves half done for a moment is no failure, and what stays is", async () => {
  const astray = fail({ what: "x", why: "y", mend: "z" });
  const looks = [[astray], [astray], [ok("well")], [astray]];
  expect(await lookPatiently(() => looks.shift() ?? [], 0)).toEqual([ok("well")]);
  let looked = 0;
  const stays = () => {
    looked++;
    return [astray];
  };
  expect(await lookPatiently(stays, 0)).toEqual([astray]);
  expect(looked).toBe(4);
});
