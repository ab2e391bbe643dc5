// SPDX-License-Identifier: GPL-2.0-or-later

// What somebody would try who runs code of their own in the helper, each by what the table in docs/security.md calls it.

import { constants, linkSync, mkdirSync, openSync, readFileSync, symlinkSync, writeSync } from "node:fs";
import { addressOf, call, Denied, exitChild, foreignCall, pipe } from "./kernel.ts";

export { Denied } from "./kernel.ts";

/** What there is to attack. */
export type Targets = {
  /** A process of root's. */
  readonly victim: number;
  /** A process in a session's cgroup, and in a user's slice. */
  readonly member: number;
  readonly user: number;
  /** Where the victim has something to read. */
  readonly address: string;
  /** Keys of a user's and of root's. */
  readonly userKey: number;
  readonly rootKey: number;
  /** The id of a login session, and a scope. */
  readonly loginSession: string;
  readonly scope: string;
  /** A word that no other attempt has. */
  readonly unique: string;
};

// asm-generic: fcntl.h, signal.h, socket.h, mman.h; linux: sched.h, prctl.h, keyctl.h
const SIGKILL = 9;
const SIGCHLD = 17;
const AF_UNIX = 1;
const AF_INET = 2;
const AF_PACKET = 17;
const AF_NETLINK = 16;
const AF_VSOCK = 40;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_RAW = 3;
const CLONE_NEWNET = 0x4000_0000;
const CLONE_NEWUSER = 0x1000_0000;
const PR_SET_SECCOMP = 22;
const PTRACE_ATTACH = 16;
const RW = 3;
const RX = 5;
const RWX = 7;
const MAP_SHARED = 1;
const MAP_PRIVATE_ANONYMOUS = 0x22;
const KEYCTL_SETPERM = 5;
const KEYCTL_READ = 11;
const MFD_CLOEXEC = 1;
const RLIMIT_NOFILE = 7;

/** struct sockaddr_in */
function inet(a: number, b: number, c: number, d: number, port: number): Uint8Array {
  return Uint8Array.of(AF_INET, 0, port >> 8, port & 255, a, b, c, d, ...Array(8).fill(0));
}

/** struct sockaddr_un; "@" in front stands for the abstract namespace. */
function unix(name: string): Uint8Array {
  return Buffer.concat([Uint8Array.of(AF_UNIX, 0), Buffer.from(name.replace(/^@/, "\0")), Uint8Array.of(0)]);
}

function create(path: string): void {
  openSync(path, "wx");
}

/** By one write(2): node:fs would ask for room before, and that is another system call. */
function write(path: string, text: string): void {
  writeSync(openSync(path, constants.O_WRONLY), text);
}

/** Whether it took effect, where the kernel says nothing about that. */
async function mustDie(pid: number): Promise<void> {
  for (let waited = 0; waited < 1000; waited += 10) {
    if (/^\d+ \(.*\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, "latin1"))) return;
    await Bun.sleep(10);
  }
  throw new Denied("no effect");
}

/** struct sock_fprog with one instruction: allow everything. */
function filterProgram(): Uint8Array {
  const program = Buffer.from("06000000 0000ff7f".replace(" ", ""), "hex");
  const fprog = Buffer.alloc(16);
  fprog.writeUInt16LE(1);
  fprog.writeBigUInt64LE(addressOf(program), 8);
  return fprog;
}

/** Asks somebody on the system bus. */
async function ask(
  what: { destination: string; path: string; interface: string; member: string },
  signature: string,
  body: readonly unknown[],
): Promise<void> {
  const { Bus } = await import("../../src/system/systemd/bus.ts");
  using bus = new Bus(performance.now() + 5000);
  await bus.call(what, { signature, body });
}

const SYSTEMD = {
  destination: "org.freedesktop.systemd1",
  path: "/org/freedesktop/systemd1",
  interface: "org.freedesktop.systemd1.Manager",
};

/** Each returns when it succeeded, and throws what it was answered. */
export const ATTEMPTS: Readonly<Record<string, (at: Targets) => void | Promise<void>>> = {
  // ---- programs and code
  "make a child process": () => {
    if (call("clone", SIGCHLD) === 0) exitChild();
  },
  "map memory that is writable and executable": () => {
    call("mmap", 0, 4096, RWX, MAP_PRIVATE_ANONYMOUS, -1, 0);
  },
  "make memory executable that it wrote before": () => {
    const page = call("mmap", 0, 4096, RW, MAP_PRIVATE_ANONYMOUS, -1, 0);
    call("mprotect", page, 4096, RX);
  },
  "map code from a file that it wrote": () => {
    const file = call("memfd_create", "code", MFD_CLOEXEC);
    writeSync(file, new Uint8Array(4096));
    call("mmap", 0, 4096, RX, MAP_SHARED, file, 0);
  },
  "write to its own code through /proc/self/mem": () => {
    openSync("/proc/self/mem", "r+");
  },
  "make a 32-bit system call": () => {
    if (foreignCall.code?.() !== process.pid) throw new Denied("ENOSYS");
  },
  "make an x32 system call": () => {
    call(0x4000_0000 | 39);
  },
  "install a seccomp filter of its own": () => {
    call("prctl", PR_SET_SECCOMP, 2, filterProgram());
  },

  // ---- files
  "read /etc/shadow": () => {
    readFileSync("/etc/shadow");
  },
  "read /etc/shadow through /proc/1/root": () => {
    readFileSync("/proc/1/root/etc/shadow");
  },
  "read a user's private file": () => {
    readFileSync("/srv/hostile-secret");
  },
  "create a file in /etc": ({ unique }) => create(`/etc/${unique}`),
  "write a fragment": ({ unique }) => create(`/etc/authnft/users/${unique}`),
  "create a file in /usr/lib/authnft": ({ unique }) => create(`/usr/lib/authnft/${unique}`),
  "create a file in /root/.ssh": ({ unique }) => create(`/root/.ssh/${unique}`),
  "create a unit in /run/systemd/system": ({ unique }) => create(`/run/systemd/system/${unique}.service`),
  "create a file in /tmp": ({ unique }) => create(`/tmp/${unique}`),
  "put a link to /etc/shadow into /run/authnft": ({ unique }) =>
    symlinkSync("/etc/shadow", `/run/authnft/${unique}.link`),
  "put a hard link to a file of /run elsewhere": ({ unique }) =>
    linkSync("/run/authnft/ruleset.nft", `/run/${unique}`),
  "change the mode of /etc/shadow": () => {
    call("chmod", "/etc/shadow", 0o640);
  },
  "give a file of /run/authnft to a user": () => {
    call("chown", "/run/authnft/sessions.nft", 0, 0);
  },
  "make a device node": ({ unique }) => {
    call("mknod", `/run/authnft/${unique}.dev`, 0o020600, (1 << 8) | 3);
  },
  "change a setting of the kernel below /proc/sys": () => {
    openSync("/proc/sys/net/ipv4/ip_forward", "r+");
  },
  "write in /run/authnft": ({ unique }) => create(`/run/authnft/${unique}`),

  // ---- sockets
  "connect by TCP": () => {
    call("connect", call("socket", AF_INET, SOCK_STREAM, 0), inet(127, 0, 0, 1, 22), 16);
  },
  "send a UDP datagram": () => {
    call("sendto", call("socket", AF_INET, SOCK_DGRAM, 0), "x", 1, 0, inet(127, 0, 0, 1, 9), 16);
  },
  "open a raw socket": () => {
    call("socket", AF_INET, SOCK_RAW, 1);
  },
  "open a packet socket": () => {
    call("socket", AF_PACKET, SOCK_RAW, 0x0300);
  },
  "open a socket to the hypervisor": () => {
    call("socket", AF_VSOCK, SOCK_STREAM, 0);
  },
  "connect to an abstract Unix socket": () => {
    const name = unix("@authnft-hostile").subarray(0, -1);
    call("connect", call("socket", AF_UNIX, SOCK_STREAM, 0), name, name.length);
  },
  "connect to a root-only Unix socket in the file system": () => {
    const name = unix("/run/authnft-hostile.sock");
    call("connect", call("socket", AF_UNIX, SOCK_STREAM, 0), name, name.length);
  },

  // ---- other processes
  "kill another process of root's": ({ victim }) => {
    call("kill", victim, SIGKILL);
  },
  "kill it by tgkill": ({ victim }) => {
    call("tgkill", victim, victim, SIGKILL);
  },
  "kill it by a pidfd": ({ victim }) => {
    call("pidfd_send_signal", call("pidfd_open", victim, 0), SIGKILL, 0, 0);
  },
  "have it killed by a signal of a pipe's (F_SETOWN)": async ({ victim }) => {
    const [from, into] = pipe();
    call("fcntl", from, 8 /* F_SETOWN */, victim);
    call("fcntl", from, 10 /* F_SETSIG */, SIGKILL);
    call("fcntl", from, 4 /* F_SETFL */, 0o20000 | 0o4000 /* O_ASYNC, O_NONBLOCK */);
    writeSync(into, "x");
    await mustDie(victim);
  },
  "lower its limits (prlimit64)": ({ victim }) => {
    call("prlimit64", victim, RLIMIT_NOFILE, BigUint64Array.of(64n, 64n), 0);
  },
  "trace it": ({ victim }) => {
    call("ptrace", PTRACE_ATTACH, victim, 0, 0);
  },
  "read its memory (process_vm_readv)": ({ victim, address }) => {
    const there = BigUint64Array.of(BigInt(`0x${address}`), 16n);
    const here = BigUint64Array.of(addressOf(new Uint8Array(16)), 16n);
    call("process_vm_readv", victim, here, 1, there, 1, 0);
  },
  "read the memory of the PAM process": () => {
    openSync(`/proc/${process.ppid}/mem`, "r");
  },
  "read the environment of the PAM process": () => {
    readFileSync(`/proc/${process.ppid}/environ`);
  },

  // ---- the kernel
  "load a kernel module": () => {
    call("init_module", new Uint8Array(16), 16, "");
  },
  "mount a file system": () => {
    call("mount", "none", "/mnt", "tmpfs", 0, 0);
    call("umount2", "/mnt", 0);
  },
  "make a process in a user namespace": () => {
    if (call("clone", CLONE_NEWUSER | SIGCHLD) === 0) exitChild();
  },
  "enter the namespaces of process 1": () => {
    call("setns", openSync("/proc/1/ns/uts", "r"), 0);
  },
  "set up an io_uring": () => {
    call("io_uring_setup", 1, new Uint8Array(120));
  },
  "make a BPF map": () => {
    call("bpf", 0, Uint32Array.of(2, 4, 4, 1, ...Array(28).fill(0)), 128);
  },
  "take the seal off a slice": () => {
    const attributes = Buffer.alloc(16); // BPF_OBJ_GET: the path
    const path = Buffer.from("/run/authnft/bpf/egress\0");
    attributes.writeBigUInt64LE(addressOf(path), 0);
    const program = call("bpf", 7, attributes, 16);
    const slice = openSync("/sys/fs/cgroup/authnft.slice", constants.O_RDONLY | constants.O_DIRECTORY);
    // BPF_PROG_DETACH and, for whom it is one of a control's, BPF_PROG_ATTACH with BPF_F_ALLOW_MULTI again
    call("bpf", 9, Uint32Array.of(slice, program, 1, 0), 16);
    call("bpf", 8, Uint32Array.of(slice, program, 1, 2), 16);
  },
  "open a performance counter": () => {
    call("perf_event_open", Uint32Array.of(1, 112, ...Array(26).fill(0)), 0, -1, -1, 0);
  },
  "read a user's key": ({ userKey }) => {
    call("keyctl", KEYCTL_READ, userKey, new Uint8Array(16), 16, 0);
  },
  "change a key of root's": ({ rootKey }) => {
    call("keyctl", KEYCTL_SETPERM, rootKey, 0x3f3f_0000);
  },
  "read a key of root's": ({ rootKey }) => {
    call("keyctl", KEYCTL_READ, rootKey, new Uint8Array(16), 16, 0);
  },

  // ---- the network's set-up
  "change another nftables table": async ({ unique }) => {
    const { runTransaction } = await import("../../src/system/ffi/nftables.ts");
    runTransaction([`add chain inet hostile ${unique}`]);
  },
  "change addresses and routes": () => {
    const message = Buffer.alloc(32);
    // struct nlmsghdr, struct ifaddrmsg, an attribute: 192.0.2.77/32 on the loopback
    message.writeUInt32LE(32);
    message.writeUInt16LE(20 /* RTM_NEWADDR */, 4);
    message.writeUInt16LE(0x505 /* request, acknowledge, create or replace */, 6);
    message.set([AF_INET, 32, 0, 0, 1, 0, 0, 0, 8, 0, 2, 0, 192, 0, 2, 77].slice(0, 16), 16);
    const socket = call("socket", AF_NETLINK, SOCK_RAW, 0);
    call("sendto", socket, message, 32, 0, Uint8Array.of(AF_NETLINK, ...Array(11).fill(0)), 12);
    const answer = Buffer.alloc(64);
    call("recvfrom", socket, answer, 64, 0, 0, 0);
    const error = -answer.readInt32LE(16);
    if (error !== 0) throw new Denied(`errno ${error}`);
  },

  // ---- cgroups
  "move a session's process out to the system": ({ member }) =>
    write("/sys/fs/cgroup/init.scope/cgroup.procs", String(member)),
  "move it into another session": ({ member, unique }) => {
    mkdirSync(`/sys/fs/cgroup/authnft.slice/${unique}`);
    write(`/sys/fs/cgroup/authnft.slice/${unique}/cgroup.procs`, String(member));
  },
  "move it into a user's slice": ({ member }) =>
    write("/sys/fs/cgroup/user.slice/hostile/cgroup.procs", String(member)),
  "move a user's process into a session": ({ user }) =>
    write("/sys/fs/cgroup/authnft.slice/hostile/cgroup.procs", String(user)),
  "kill all of a session (cgroup.kill)": ({ unique }) => {
    mkdirSync(`/sys/fs/cgroup/authnft.slice/${unique}`);
    write(`/sys/fs/cgroup/authnft.slice/${unique}/cgroup.kill`, "1");
  },

  // ---- asking others
  "have systemd run a program as root": async ({ unique }) => {
    const { default: dbus } = await import("dbus-next");
    const command = [["/usr/bin/true", ["true"], false]];
    const properties = [["ExecStart", new dbus.Variant("a(sasb)", command)]];
    const body = [`${unique}.service`, "fail", properties, []];
    await ask({ ...SYSTEMD, member: "StartTransientUnit" }, "ssa(sv)a(sa(sv))", body);
  },
  "have systemd signal another session's processes": ({ scope }) =>
    ask({ ...SYSTEMD, member: "KillUnit" }, "ssi", [scope, "all", 18]),
  "have logind signal a login session's processes": ({ loginSession }) =>
    ask(
      {
        destination: "org.freedesktop.login1",
        path: "/org/freedesktop/login1",
        interface: "org.freedesktop.login1.Manager",
        member: "KillSession",
      },
      "ssi",
      [loginSession, "all", 18],
    ),
  "write to the journal": async ({ unique }) => {
    const { sendDatagram } = await import("../../src/system/kernel/datagram.ts");
    sendDatagram("/run/systemd/journal/socket", Buffer.from(`MESSAGE=${unique}\n`), 1000);
  },

  // ---- what comes after these would be tried elsewhere
  "make a network namespace": () => {
    call("unshare", CLONE_NEWNET);
  },
  "execute a program": () => {
    const argv = BigUint64Array.of(
      addressOf(Buffer.from("echo\0")),
      addressOf(Buffer.from("succeeded\0")),
      0n,
    );
    call("execve", "/usr/bin/echo", argv, BigUint64Array.of(0n));
  },
};
