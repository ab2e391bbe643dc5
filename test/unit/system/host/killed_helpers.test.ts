// SPDX-License-Identifier: GPL-2.0-or-later
import { expect, test } from "bun:test";
import { callsThatKilled } from "../../../../src/system/host/killed_helpers.ts";

// "sysinfo" is 99 on x86-64 and 179 on arm64, "getpgrp" 111 and not there: getpgid is 155.
const [ARCHITECTURE, SYSINFO, OTHER, NAMED] =
  process.arch === "x64" ? ["c000003e", 99, 111, "getpgrp"] : ["c00000b7", 179, 155, "getpgid"];

/** A record as the kernel words it (audit_seccomp in kernel/auditsc.c). */
function record(call: number, changed: Readonly<Record<string, string>> = {}): string {
  const { uid = "0", comm = '"authnft"', exe = '"/usr/lib/authnft/authnft"', sig = "31", arch } = changed;
  return `auid=4294967295 uid=${uid} gid=0 ses=4294967295 pid=23960 comm=${comm} exe=${exe} sig=${sig} arch=${arch ?? ARCHITECTURE} syscall=${call} compat=0 ip=0x7f12088fc0f7 code=0x80000000`;
}

test.each([
  ["the kernel's log", "audit: type=1326 audit(1796102575.751:36572): "],
  ["what dmesg says", "[26202.468368] audit: type=1326 audit(1796102575.751:36572): "],
  ["the journal's audit records", "SECCOMP "],
  ["auditd's", "type=SECCOMP msg=audit(1796102575.751:36572): "],
])("the calls that were fatal are named from %s, each once", (_, head) => {
  const lines = [record(SYSINFO), record(OTHER, { comm: "48656C7065722030" }), record(SYSINFO)];
  expect(callsThatKilled(lines.map((line) => head + line).join("\n"))).toEqual(["sysinfo", NAMED]);
  // With a security module there is a label between.
  const labelled = record(SYSINFO).replace(" pid=", " subj=unconfined pid=");
  expect(callsThatKilled(`${head}${labelled}\x1dARCH=x86_64 SYSCALL=sysinfo`)).toEqual(["sysinfo"]);
  for (const others of [
    { uid: "1000" },
    { exe: '"/usr/bin/authnft"' },
    { exe: '"/home/bob/usr/lib/authnft/authnft"' },
    { sig: "0" },
  ])
    expect(callsThatKilled(head + record(SYSINFO, others))).toEqual([]);
  expect(callsThatKilled(head + record(SYSINFO, { arch: "40000003" }))).toEqual([
    `${SYSINFO} of another architecture`,
  ]);
});
