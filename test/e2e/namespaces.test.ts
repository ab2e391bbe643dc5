// SPDX-License-Identifier: GPL-2.0-or-later

// PAM processes that are in other namespaces than the host's: their numbers are other processes' there, their network is not
// the one with the rules, their files may show other cgroups. Each is served from the host's namespaces, or refused; the
// process has no network then, and nobody else's is touched.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { AS_PROCESS, lab, nothingLeft, ONLY_FIRST, onThisRelease, type Via } from "./harness.ts";

const PLACE = "/usr/local/lib/lab-namespaces";

/** What a session's processes can reach, and where they are, as the host sees it. */
const LOOK = `#!/bin/bash
probe tcp 10.88.0.2 7001 --timeout 1
probe tcp 10.88.0.3 7001 --timeout 1
exit 0
`;
const SEEN = `session optional pam_exec.so seteuid quiet type=open_session log=${PLACE}/seen ${PLACE}/look`;

async function seen(): Promise<string> {
  const text = await lab.output(`cat ${PLACE}/seen; rm -f ${PLACE}/seen`);
  return text
    .split("\n")
    .filter((line) => /^(ok|refused|unreachable|eperm|timeout)$/.test(line))
    .join(" ");
}

/** No answer from either of two addresses, of which the fragment allows one. */
const CLOSED = /^(refused|unreachable|eperm|timeout) (refused|unreachable|eperm|timeout)$/;

/** Someone else's process, and where it is. */
async function bystander(): Promise<{ pid: string; place: () => Promise<string> }> {
  const pid = await lab.output("systemctl show --property=MainPID --value lab-bystander.service");
  return { pid, place: async () => (await lab.output(`sed -n s/^0:://p /proc/${pid}/cgroup`)).trim() };
}

async function refusals(since: string): Promise<string[]> {
  const entries = await lab.journal({ since });
  return entries.flatMap((entry) =>
    entry["AUTHNFT_EVENT"] === "refuse" ? [`${entry["AUTHNFT_REASON"]}: ${entry.MESSAGE}`] : [],
  );
}

beforeAll(async () => {
  await lab.reset();
  await lab.install();
  await lab.output(`mkdir -p ${PLACE}`);
  await lab.write(`${PLACE}/as-process.py`, AS_PROCESS);
  await lab.write(`${PLACE}/look`, LOOK, { mode: "0755" });
  await lab.fragment("alice", ONLY_FIRST);
  await lab.output(
    "systemd-run --quiet --unit=lab-bystander.service --uid=dave --property=ExecStartPre=/bin/true sleep 3600",
  );
});

afterAll(async () => {
  await lab.run(`systemctl stop lab-bystander.service; rm -rf ${PLACE}`);
});

onThisRelease("A PAM process in another PID namespace", () => {
  const vias: readonly Via[] = ["shim", "exec"];
  const ways = [
    {
      what: "with the host's /proc, and the number of somebody else's process",
      command: (pid: string, line: string) =>
        `unshare --pid --fork python3 ${PLACE}/as-process.py ${pid} ${line}`,
    },
    {
      what: "with a /proc of its own, and the number of somebody else's process",
      command: (pid: string, line: string) =>
        `unshare --pid --fork --mount-proc python3 ${PLACE}/as-process.py ${pid} ${line}`,
    },
    {
      what: "as the first process there",
      command: (_: string, line: string) => `unshare --pid --fork ${line}`,
    },
    {
      what: "with mounts and cgroups of its own besides",
      command: (pid: string, line: string) =>
        `unshare --pid --cgroup --mount-proc --fork sh -c 'mount --bind / /mnt; exec python3 ${PLACE}/as-process.py ${pid} ${line}'`,
    },
  ];
  for (const through of vias)
    for (const { what, command } of ways)
      test(`${what}, is refused, without network, and that one's is left alone (${through})`, async () => {
        const other = await bystander();
        const before = await other.place();
        expect(before).toContain("lab-bystander.service");
        for (const control of ["required", "optional"]) {
          await lab.pam("lab", { through, control, after: [SEEN] });
          const since = await lab.cursor();
          const { code } = await lab.run(command(other.pid, "pamtester lab alice open_session"));
          expect(code === 0).toBe(control === "optional");
          expect(await seen()).toMatch(CLOSED);
          expect(await other.place()).toBe(before);
          const told = await refusals(since);
          expect(told).toEqual([
            expect.stringMatching(
              /^namespace: .*in another PID namespace than the host's.*; start the service in the host's own/,
            ),
          ]);
        }
        await nothingLeft();
      });

  for (const through of vias)
    test(`is not in the way of root and of users outside the group (${through})`, async () => {
      await lab.pam("lab", { through, after: [SEEN] });
      for (const user of ["root", "dave"]) {
        await lab.output(`unshare --pid --fork pamtester lab ${user} open_session close_session`);
        expect(await seen()).toBe("ok ok");
      }
    });
});

onThisRelease("A PAM process in another network namespace", () => {
  for (const through of ["shim", "exec"] as const) {
    describe(through, () => {
      test("is refused with the reason, and no table is loaded there", async () => {
        for (const control of ["required", "optional"]) {
          await lab.pam("lab", { through, control });
          const since = await lab.cursor();
          const { code, stdout } = await lab.run(
            `unshare --net sh -c 'pamtester lab alice open_session; code=$?; nft list tables; exit $code'`,
          );
          expect(code === 0).toBe(control === "optional");
          expect(stdout).not.toContain("table inet authnft");
          expect(await refusals(since)).toEqual([
            expect.stringMatching(
              /^namespace: .*in another network namespace than the host's.*; start the service in the host's own/,
            ),
          ]);
        }
        await nothingLeft();
      });

      test("that went there after its session was opened closes it on the host, and the user's slice with it", async () => {
        await lab.pam("lab", { through, after: ["session required pam_exec.so quiet /bin/true"] });
        const covered = "systemd-run --quiet --slice=user-1000.slice --uid=alice";
        await lab.output(`${covered} --unit=lab-covered.service sleep 60`);
        const { code, stdout } = await lab.run([
          "python3",
          "-c",
          `
import ctypes, os, time
pam = ctypes.CDLL("libpam.so.0")
libc = ctypes.CDLL(None)
class Conversation(ctypes.Structure):
    _fields_ = [("conv", ctypes.c_void_p), ("data", ctypes.c_void_p)]
handle = ctypes.c_void_p()
assert pam.pam_start(b"lab", b"alice", ctypes.byref(Conversation()), ctypes.byref(handle)) == 0
assert pam.pam_open_session(handle, 0x8000) == 0
print(open("/proc/self/cgroup").read(), flush=True)
def covered():
    os.system("${covered} --wait --pipe probe tcp 10.88.0.2 7001 --timeout 1")
covered()
assert libc.unshare(0x40000000) == 0
assert pam.pam_close_session(handle, 0x8000) == 0
covered()
os.system("nft list tables; cat /run/authnft/sessions/authnft-alice-*.json")
`,
        ]);
        await lab.output("systemctl stop lab-covered.service");
        expect(code).toBe(0);
        expect(stdout).toMatch(
          /authnft\.slice\/authnft-alice-\d+\.scope\n+ok\n(refused|unreachable|eperm|timeout)\n/,
        );
        expect(stdout).not.toContain("table inet authnft");
        expect(stdout).not.toContain('"state":"open"');
        await nothingLeft();
      });
    });
  }
});

onThisRelease("A PAM process with mounts and cgroups of its own", () => {
  for (const through of ["shim", "exec"] as const)
    test(`is served from the host's (${through})`, async () => {
      await lab.pam("lab", { through, after: [SEEN] });
      const hide =
        "mount -t tmpfs none /sys/fs/cgroup; mount -t tmpfs none /run/dbus; mount -t tmpfs none /etc/authnft";
      await lab.output(
        `unshare --mount --cgroup sh -c '${hide}; exec pamtester lab alice open_session close_session'`,
      );
      expect(await seen()).toBe("ok refused");
      await nothingLeft();
    });
});

onThisRelease("A PAM process in another user namespace", () => {
  for (const through of ["shim", "exec"] as const)
    test(`is refused with the reason (${through})`, async () => {
      for (const control of ["required", "optional"]) {
        await lab.pam("lab", { through, control, after: [SEEN] });
        const since = await lab.cursor();
        const { code } = await lab.run("unshare --user --map-root-user pamtester lab alice open_session");
        expect(code === 0).toBe(control === "optional");
        expect(await seen()).toMatch(CLOSED);
        expect(await refusals(since)).toEqual([
          expect.stringMatching(/^namespace: .*in another user namespace than the host's/),
        ]);
      }
      await nothingLeft();
    });
});
