// SPDX-License-Identifier: GPL-2.0-or-later

// The calls that `authnft --trace` sees, and those that are known to occur though a trace need not see them. Any other call
// kills the helper. "authnft --trace --diff" compares.

import type { Condition, Rule } from "../system/kernel/seccomp_rule.ts";

// asm-generic/errno.h
const EACCES = 13;
const ENOSYS = 38;
const EAFNOSUPPORT = 97;

/** glibc's threads: CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS, PARENT_SETTID and CHILD_CLEARTID, and nothing else. */
const THREAD = 0x3d_0f00;

const PROT_EXEC = 4;
const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const AF_NETLINK = 16;
const SOL_SOCKET = 1;
const SOL_TCP = 6;
const SOL_NETLINK = 270;

// Why something is here that a trace need not show.
const SIGNAL = "The garbage collector stops threads by signals; so can a resource limit.";
const PRESSURE = "Seen under memory pressure and in garbage collection only.";
const BACK_OFF = "A thread waits like this for a lock that is held for long.";
const CLOCK = "Where the clock source is none that can be read without a system call.";
const NAMES = "Where a fragment names users, groups, services or interfaces.";
const HOSTS =
  "The C library asks for it before it says that there is no host of a name; libnftables has what is no address looked up.";
const CACHE = "Where nscd keeps what the name service says.";
const LIBRARY = "The dynamic linker, on its way to a library that the name service wants and does not get.";
const LARGE = "For large rulesets.";
const SORT =
  "qsort of older C libraries (glibc 2.36) asks how much memory there is; libnftables sorts intervals, of any table.";
const BUSY = "Where the other side is busy.";
const LOST = "Where the bus has closed the connection first.";
const TERMINAL = "Where an administrator's verb writes to a terminal.";
const ARM = "In place of a call that arm64 does not have.";

/** Calls whose arguments do not matter. */
function any(...calls: readonly string[]): Rule[] {
  return calls.map((call) => ({ call, when: [] }));
}

/** The same, of which a trace need not show any. */
function seldom(reason: string, ...calls: readonly string[]): Rule[] {
  return calls.map((call) => ({ call, when: [], reason }));
}

/** A call with certain values of an argument, by their names. */
function each(
  call: string,
  argument: number,
  values: Readonly<Record<string, number>>,
  more: { readonly reason?: string; readonly also?: readonly Condition[]; readonly mask?: number } = {},
): Rule[] {
  const { reason, also = [], mask } = more;
  return Object.entries(values).map(([named, value]) => ({
    call,
    when: [{ argument, value, ...(mask !== undefined && { mask }) }, ...also],
    named,
    ...(reason !== undefined && { reason }),
  }));
}

/** A socket option: level and name. */
function options(
  call: "getsockopt" | "setsockopt",
  level: number,
  values: Readonly<Record<string, number>>,
  reason?: string,
): Rule[] {
  return each(call, 2, values, {
    also: [{ argument: 1, value: level }],
    ...(reason !== undefined && { reason }),
  });
}

const FUTEX_COMMAND = 0x7f; // what is not FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME

/** The system calls that the helper may make once it is confined, on all machines. */
const LIST: readonly Rule[] = [
  // memory: never executable, so that what is written is never run
  ...any("brk", "munmap"),
  { call: "mmap", when: [{ argument: 2, value: 0, mask: PROT_EXEC }], named: "not executable" },
  {
    call: "mmap",
    when: [{ argument: 2, value: PROT_EXEC, mask: PROT_EXEC }],
    named: "executable",
    errno: EACCES,
    reason: "The name service goes on without a library that it cannot load.",
  },
  { call: "mprotect", when: [{ argument: 2, value: 0, mask: PROT_EXEC }], named: "not executable" },
  ...each("mremap", 3, { MREMAP_MAYMOVE: 1 }, { reason: LARGE }),
  ...seldom(SORT, "sysinfo"),
  ...each("madvise", 2, { MADV_DONTNEED: 4, MADV_DONTDUMP: 16, MADV_WIPEONFORK: 18, "-1": 0xffff_ffff }),
  ...each(
    "madvise",
    2,
    { MADV_FREE: 8, MADV_HUGEPAGE: 14, MADV_NOHUGEPAGE: 15, MADV_DODUMP: 17 },
    { reason: PRESSURE },
  ),
  ...each(
    "madvise",
    2,
    { MADV_GUARD_INSTALL: 102, MADV_GUARD_REMOVE: 103 },
    { reason: "Where glibc is 2.42 or later, for the stacks of threads." },
  ),

  // threads: the runtime's, of this process
  { call: "clone", when: [{ argument: 0, value: THREAD }], named: "a thread" },
  { call: "clone3", when: [], errno: ENOSYS, named: "in memory, where a filter cannot look" },
  ...any("rseq", "set_robust_list", "sched_yield", "sched_getaffinity"),
  ...seldom("A thread ends that had nothing to do for long.", "exit", "sigaltstack"),
  ...each("futex", 1, { FUTEX_WAIT: 0, FUTEX_WAKE: 1, FUTEX_WAIT_BITSET: 9 }, { mask: FUTEX_COMMAND }),
  ...each("prctl", 0, { PR_SET_NAME: 15 }),
  ...any("rt_sigaction", "rt_sigprocmask"),
  ...seldom(SIGNAL, "rt_sigreturn", "rt_sigsuspend", "restart_syscall"),
  { call: "tgkill", when: [{ argument: 0, value: "self" }], named: "itself", reason: SIGNAL },
  {
    call: "prlimit64",
    when: [
      { argument: 0, value: 0 },
      { argument: 2, value: 0, mask: Number.MAX_SAFE_INTEGER },
    ],
    named: "itself, to read",
    reason: "The garbage collector asks how large the stack may be.",
  },
  ...any("exit_group"),

  // time and chance
  ...seldom(CLOCK, "clock_gettime", "gettimeofday"),
  ...seldom(BACK_OFF, "clock_nanosleep", "nanosleep"),
  ...any("getrandom"),

  // the event loop
  ...any("epoll_ctl", "epoll_pwait2", "pselect6"),
  ...seldom("In place of epoll_pwait2, on kernels without it.", "epoll_pwait", "epoll_wait"),
  ...seldom(NAMES, "poll", "ppoll"),

  // who we are
  ...any("geteuid", "getuid", "getpid", "getppid", "gettid"),
  ...seldom(HOSTS, "uname"),

  // files: which ones is Landlock's to say
  ...any("close", "fchmod", "getdents64", "lseek", "newfstatat", "openat", "read", "statx", "write"),
  ...any("access", "mkdir", "rename", "rmdir", "unlinkat", "ftruncate"),
  ...seldom("What newfstatat is to newer libraries.", "fstat"),
  ...seldom("Newer dynamic linkers, to find where a library is.", "readlink"),
  ...seldom(ARM, "faccessat", "mkdirat", "readlinkat", "renameat").map(
    (rule): Rule => ({ ...rule, machine: "arm64" }),
  ),
  ...seldom(LIBRARY, "pread64"),
  ...seldom(CACHE, "readv"),
  ...each("flock", 1, { "LOCK_EX|LOCK_NB": 6 }),
  ...each("fcntl", 1, { F_SETFL: 4 }),
  ...each("ioctl", 1, { TCGETS: 0x5401 }, { reason: "libnftables, of a file that it reads." }),
  ...each("ioctl", 1, { TIOCGWINSZ: 0x5413, TCSETS: 0x5402 }, { reason: TERMINAL }),
  ...each("ioctl", 1, { SIOCGIFINDEX: 0x8933 }, { reason: HOSTS }),
  ...each(
    "memfd_create",
    1,
    { MFD_CLOEXEC: 1 },
    { reason: "To learn which line of a transaction was refused." },
  ),

  // sockets: to programs of this host and to the kernel. For an internet socket libnftables would ask a name server
  { call: "socket", when: [{ argument: 0, value: AF_UNIX }], named: "AF_UNIX" },
  ...each(
    "socket",
    2,
    {
      "AF_NETLINK, NETLINK_NETFILTER": 12,
      "AF_NETLINK, NETLINK_SOCK_DIAG": 4,
      "AF_NETLINK, NETLINK_AUDIT": 9,
    },
    { also: [{ argument: 0, value: AF_NETLINK }] },
  ),
  ...each(
    "socket",
    2,
    { "AF_NETLINK, NETLINK_ROUTE": 0 },
    { also: [{ argument: 0, value: AF_NETLINK }], reason: NAMES },
  ),
  ...[AF_INET, AF_INET6].map(
    (value): Rule => ({
      call: "socket",
      when: [{ argument: 0, value }],
      named: value === AF_INET ? "AF_INET" : "AF_INET6",
      errno: EAFNOSUPPORT,
      reason: NAMES,
    }),
  ),
  ...any("bind", "connect", "getsockname", "recvfrom", "recvmsg", "sendmsg", "sendto"),
  ...seldom(LOST, "shutdown"),
  ...options("setsockopt", SOL_SOCKET, { SO_RCVTIMEO: 20, SO_SNDTIMEO: 21, SO_SNDBUFFORCE: 32 }),
  ...options("setsockopt", SOL_SOCKET, { SO_SNDBUF: 7, SO_RCVBUF: 8, SO_RCVBUFFORCE: 33 }, LARGE),
  ...options("setsockopt", SOL_SOCKET, { SO_LINGER: 13 }, LOST),
  ...options("setsockopt", SOL_TCP, { TCP_NODELAY: 1, TCP_CORK: 3 }),
  ...options("setsockopt", SOL_NETLINK, { NETLINK_EXT_ACK: 11 }),
  ...options("getsockopt", SOL_SOCKET, { SO_SNDBUF: 7, SO_RCVBUF: 8 }),
  ...options("getsockopt", SOL_SOCKET, { SO_ERROR: 4 }, BUSY),

  // the seal: no program is loaded, no table made or changed, and nothing taken off a cgroup
  ...each("bpf", 0, { BPF_OBJ_GET: 7, BPF_OBJ_GET_INFO_BY_FD: 15, BPF_PROG_QUERY: 16 }),
  ...each("bpf", 0, { BPF_PROG_ATTACH: 8 }, { reason: "Where a slice is new; a trace makes none." }),

  // the claims key
  ...each("keyctl", 0, { KEYCTL_DESCRIBE: 6, KEYCTL_READ: 11 }),
];

/** The system calls that the helper may make once it is confined, on this machine. */
export const RULES: readonly Rule[] = LIST.filter(
  ({ machine }) => machine === undefined || machine === process.arch,
);
