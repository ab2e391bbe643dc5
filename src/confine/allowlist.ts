// SPDX-License-Identifier: GPL-2.0-or-later

import type { Rule } from "./rule.ts";

// sys/socket.h, errno.h
const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const AF_NETLINK = 16;
const EAFNOSUPPORT = 97;

/**
 * The system calls that a session's open, close and end need. Everything else kills the helper.
 *
 * By what needs them: the runtime's memory and threads, its event loop, files, and sockets (D-Bus, netlink, journal).
 */
export const ALLOWED: readonly string[] = [
  // memory and threads of the runtime, its garbage collector and its compiler included
  "brk",
  "clone",
  "exit",
  "exit_group",
  "futex",
  "get_mempolicy",
  "getcpu",
  "madvise",
  "membarrier",
  "mmap",
  "mprotect",
  "mremap",
  "munmap",
  "prctl",
  "prlimit64",
  "restart_syscall",
  "rseq",
  "rt_sigaction",
  "rt_sigprocmask",
  "rt_sigreturn",
  "sched_getaffinity",
  "sched_yield",
  "set_robust_list",
  "sigaltstack",
  "tgkill",
  // time and chance
  "clock_gettime",
  "clock_nanosleep",
  "getrandom",
  "gettimeofday",
  "nanosleep",
  // the event loop
  "epoll_create1",
  "epoll_ctl",
  "epoll_pwait",
  "epoll_pwait2",
  "epoll_wait",
  "eventfd2",
  "poll",
  "pselect6", // libnftables waits for the kernel with select()
  "ppoll",
  "timerfd_create",
  "timerfd_settime",
  // who we are
  "getegid",
  "geteuid",
  "getgid",
  "getpid",
  "getppid",
  "getrusage",
  "sysinfo",
  "gettid",
  "getuid",
  "uname",
  // files
  "access",
  "close",
  "dup",
  "dup3",
  "faccessat",
  "faccessat2",
  "fchmod",
  "fcntl",
  "flock",
  "fstat",
  "ftruncate",
  "getcwd",
  "getdents64",
  "ioctl",
  "lseek",
  "lstat",
  "memfd_create", // to learn which line of a transaction was refused
  "mkdir",
  "mkdirat",
  "newfstatat",
  "open",
  "openat",
  "pipe2",
  "pread64",
  "pwrite64",
  "read",
  "readlink",
  "readlinkat",
  "readv",
  "rename",
  "renameat",
  "renameat2",
  "rmdir",
  "stat",
  "statfs",
  "statx",
  "umask",
  "unlink",
  "unlinkat",
  "write",
  "writev",
  // sockets: the system bus, netlink, the journal
  "bind",
  "connect",
  "getpeername",
  "getsockname",
  "getsockopt",
  "recv",
  "recvfrom",
  "recvmsg",
  "send",
  "sendmsg",
  "sendto",
  "setsockopt",
  "shutdown",
  // the claims key
  "keyctl",
];

/** Calls that answer "not implemented": their callers fall back on one that is allowed above. */
export const ABSENT: readonly string[] = ["clone3", "io_uring_setup", "close_range"];

export const RULES: readonly Rule[] = [
  ...ALLOWED.map((call): Rule => ({ call, when: [] })),
  ...ABSENT.map((call): Rule => ({ call, when: [], errno: 38 })),
  ...[AF_UNIX, AF_NETLINK].map(
    (value): Rule => ({ call: "socket", when: [{ argument: 0, value }], named: String(value) }),
  ),
  ...[AF_INET, AF_INET6].map(
    (value): Rule => ({
      call: "socket",
      when: [{ argument: 0, value }],
      named: String(value),
      errno: EAFNOSUPPORT,
    }),
  ),
];
