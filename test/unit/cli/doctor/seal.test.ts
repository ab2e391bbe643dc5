// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import { tablesThatUse } from "../../../../src/cli/doctor/seal.ts";
import { STAMP_BITS } from "../../../../src/ruleset/seal.ts";

const rule = (text: string) => `table inet host {
\tchain output {
\t\t${text}
\t}
}
table ip other {
\tchain x {
\t\tip saddr 192.0.2.1 counter packets 536870912 bytes 0 accept
\t}
}
`;

test.each([
  ["meta mark set 0x20000000"],
  ["ip daddr 192.0.2.1 meta mark & 0x10000000 != 0x00000000 accept"],
  ["meta mark set ct mark | 0x30000000 accept"],
  ["ct mark set meta mark and 0xffff0000"],
])("a table that uses one of the bits is named: %s", (text) => {
  expect(tablesThatUse(STAMP_BITS, rule(text))).toEqual(["table inet host"]);
});

test.each([
  ["meta mark set 0x00100000"],
  ["meta mark set meta mark & 0xcfffffff"],
  ["meta mark 0x0000ca6c accept"],
  ["ip saddr 32.0.0.0 counter packets 1 bytes 0x20000000 accept"],
])("one that does not is not: %s", (text) => {
  expect(tablesThatUse(STAMP_BITS, rule(text))).toEqual([]);
});

test("other bits are looked for where an administrator has moved them", () => {
  expect(tablesThatUse({ in: 1, out: 0x0010_0000 }, rule("meta mark set 0x00100000"))).toEqual([
    "table inet host",
  ]);
});
