/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The entry: what has to happen before the runtime starts, done by code that no environment can reach.
 *
 * Freestanding: no C library, no interpreter, no locale, no variable that is obeyed. It is started as root by
 * the PAM shim, by pam_exec or by systemd, inherits whatever the caller had (environment, ids, limits, signals,
 * descriptors, terminal), replaces all of it, gives up what the program has no use for, and executes the Bun
 * program. It knows nothing of PAM beyond which variables pam_exec sets, and nothing of policy.
 *
 * The program has no pointer in its static data: a static-pie without relocations needs nobody to apply them
 * (native/build.sh checks that there are none).
 */

#include <stddef.h>
#include <stdint.h>

#include <asm/unistd.h>
#include <linux/capability.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/prctl.h>
#include <linux/poll.h>
#include <linux/resource.h>
#include <linux/sched.h>
#include <linux/time.h>
#include <linux/un.h>

/* The paths can be replaced at compile time, for the tests only. */
#ifndef PROGRAM
#define PROGRAM		"/usr/lib/authnft/authnft"
#endif
#ifndef LOG_SOCKET
#define LOG_SOCKET	"/dev/log"
#endif
#ifndef INIT_PROCS
#define INIT_PROCS	"/sys/fs/cgroup/init.scope/cgroup.procs"
#endif

#ifndef INIT_SOCKET
#define INIT_SOCKET	"/run/systemd/private"	/* process 1 itself listens there, and only root can connect */
#endif
#ifndef PROC_SELF
#define PROC_SELF	"/proc/self/maps"
#endif
#ifndef SLICE
#define SLICE		"/sys/fs/cgroup/authnft.slice"
#endif
#ifndef STATE
#define STATE		"/run/authnft"
#endif
#define REFUSED		SLICE "/run-authnft-refused.mount"
#define TURNS_FILE	STATE "/lock/turns"

#if defined(__x86_64__)
#define INTERPRETER	"/lib64/ld-linux-x86-64.so.2"
#else
#define INTERPRETER	"/lib/ld-linux-aarch64.so.1"
#endif

#define ALARM_S		12	/* seconds; the shim gives up after 10, pam_exec never does */
#define KILL_S		1	/* seconds more, for one that is stopped, which no alarm ends, and again for it to be gone */
#define TURNS		8	/* programs at a time: more of them only take the processor from each other */
#ifndef TURN_S
#define TURN_S		60	/* for a turn among many logins; half of what sshd gives one */
#endif
#define TURN_POLL_MS	10	/* between two looks for a turn: a program takes some 50 */
#define IN_TURN		"in-turn"	/* the module's word: wait for a turn, and tell by a sign before the reply that it is so */
#define WAITS		"w"
#define BEGINS		"."
#define SINCE		"since="	/* and for the program: when it began, in milliseconds of CLOCK_BOOTTIME */
#define TRACED_S	60	/* the same for what is traced: if its supervisor is stopped or dies, it waits, and may hold the lock */
#define ITEM_MAX	4096	/* bytes of one PAM item: more than the program takes, so that it is the one to refuse */
#define VALUE_MAX	256	/* bytes of a value of the user's; a correlation token has 64, a serial 11 */
#define ARGS_MAX	64	/* words on a PAM line; there are six arguments to give */
#define MESSAGE_MAX	256	/* bytes of one line to the log */
#define ITEMS		6	/* variables that pam_exec sets itself */
#define LINK_MAX	64	/* bytes of what /proc says of a namespace: "cgroup:[4026531835]" */

#define FOR_PAM_EXEC	"pam_exec="	/* and what it does: open or close */
/*
 * Before the verb: the program lets a supervisor decide about each system call, in place of its filter. For
 * "authnft --trace", which is root's; from a PAM line it is an argument that there is not, and the session is refused.
 * Without a supervisor the program waits at its first call and does nothing.
 */
#define TRACED		"traced"

/* What the program is told of a PAM process that is elsewhere, after its verb: src/subjects/session/elsewhere.ts. */
#define ELSEWHERE	"elsewhere="

/*
 * The descriptor on which the program has the process that asks. What it does to that process takes seconds at worst, and a
 * number may be somebody else's by then: src/system/kernel/asker.ts.
 */
#define ASKER		3

#define EXIT_FAILURE	1
#define EXIT_USAGE	2
#define EXIT_CUT_OFF	3	/* the program's, for pam_exec: refused, and the process is where it has no network */
#define EXIT_NO_PROGRAM	127

#define MIB		(1024UL * 1024UL)
#define INFINITE	RLIM64_INFINITY

/* The kernel's names for what the C library's headers would otherwise define. */
#define SIGNALS		64
#define SIG_DEFAULT	0UL
#define SIG_IGNORE	1UL
#define SIG_SETMASK	2
#define SIGKILL		9
#define SIGCHLD		17
#define SIGSYS		31
#define WNOHANG		1
#define SEEK_SET	0
#define STDOUT		1
#define CLOCK_BOOTTIME	7
#define AF_UNIX		1
#define SOCK_STREAM	1
#define SOCK_DGRAM	2
#define SOL_SOCKET	1
#define SO_PEERCRED	17
#define SO_PEERPIDFD	77	/* since Linux 6.5 */
#define SOCK_FLAGS	(O_NONBLOCK | O_CLOEXEC)
#define IOPRIO_PROCESS	1
#define AT_NULL		0UL
#define AT_RANDOM	25UL
#define LOG_AUTHPRIV_ERR "<83>"	/* facility 10, severity 3 */

/* What Landlock can take away: linux/landlock.h, of which many a system has an old one. */
#define FS_EXECUTE	(1ULL << 0)
#define FS_WRITE	(1ULL << 1)
#define FS_READ		(1ULL << 2)
#define FS_LIST		(1ULL << 3)
#define FS_REMOVE_DIR	(1ULL << 4)
#define FS_REMOVE_FILE	(1ULL << 5)
#define FS_MAKE_DIR	(1ULL << 7)
#define FS_MAKE_FILE	(1ULL << 8)
#define FS_TRUNCATE	(1ULL << 14)
#define FS_ALL(abi)	((abi) >= 5 ? 0xffffULL : (abi) >= 3 ? 0x7fffULL : (abi) >= 2 ? 0x3fffULL : 0x1fffULL)
#define NET_TCP		3ULL	/* bind and connect */
#define SCOPE_ALL	3ULL	/* abstract Unix sockets and signals */

struct landlock_rules {
	uint64_t	fs, net, scope;
};

struct landlock_path {
	uint64_t	rights;
	int32_t		fd;
} __attribute__((packed));

struct kernel_sigaction {
	unsigned long	handler;
	unsigned long	flags;
	unsigned long	restorer;
	uint64_t	mask;
};

struct peer {
	int32_t		pid;
	uint32_t	uid, gid;
};

/* Where the PAM process is, as far as it can be told. */
enum place {
	PLACE_HOST,
	PLACE_NETWORK,		/* in another network namespace than process 1 */
	PLACE_USERS,		/* in another user namespace */
	PLACE_PROCESSES		/* in another PID namespace: its number is somebody else's for systemd */
};

enum mode {
	MODE_USAGE,
	MODE_REQUEST,	/* "session": a request on stdin, an answer on stdout */
	MODE_PAM_EXEC,	/* PAM items in the environment; of what it is asked the program makes a request */
	MODE_NAMES,	/* a verb that asks the name service, and then comes back with another */
	MODE_SEAL,	/* the verb that loads the seal into the kernel; no login's, and with nobody's input */
	MODE_VERB	/* any other, for systemd's units and administrators; arguments handed on unchanged */
};

/*
 * The compiler calls the first three by itself. They are written so that it does not turn
 * their loops into calls of themselves (build.sh: -fno-builtin, no loop idioms).
 */
void		*memcpy(void *restrict, const void *restrict, size_t);
void		*memmove(void *, const void *, size_t);
void		*memset(void *, int, size_t);
_Noreturn void	 __stack_chk_fail(void);
_Noreturn void	 entry(uintptr_t *);

extern uintptr_t __stack_chk_guard;
uintptr_t	 __stack_chk_guard;

/* What the Bun program is given from pam_exec's part of the environment, and from the user's. */
static char	 items[ITEMS][sizeof("AUTHNFT_") + ITEM_MAX];
static char	 correlation[sizeof("AUTHNFT_PAM_ENV_CORRELATION=") + VALUE_MAX];
static char	 claims[sizeof("AUTHNFT_PAM_ENV_CLAIMS=") + VALUE_MAX];

/* ---- the kernel ---- */

#if defined(__x86_64__)

__asm__(
    ".text\n"
    ".globl _start\n"
    ".type _start, @function\n"
    "_start:\n"
    "	endbr64\n"
    "	xor	%ebp, %ebp\n"
    "	mov	%rsp, %rdi\n"
    "	and	$-16, %rsp\n"
    "	call	entry\n"
    "	hlt\n"
    ".size _start, . - _start\n");

static long
call(long number, long a, long b, long c, long d, long e)
{
	register long	 r10 __asm__("r10") = d;
	register long	 r8 __asm__("r8") = e;
	long		 result;

	__asm__ volatile("syscall"
	    : "=a"(result)
	    : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
	    : "rcx", "r11", "memory");
	return result;
}

#elif defined(__aarch64__)

__asm__(
    ".text\n"
    ".globl _start\n"
    ".type _start, %function\n"
    "_start:\n"
    "	hint	#34\n"		/* bti c */
    "	mov	x29, #0\n"
    "	mov	x30, #0\n"
    "	mov	x0, sp\n"
    "	bl	entry\n"
    "	brk	#1\n"
    ".size _start, . - _start\n");

static long
call(long number, long a, long b, long c, long d, long e)
{
	register long	 x8 __asm__("x8") = number;
	register long	 x0 __asm__("x0") = a;
	register long	 x1 __asm__("x1") = b;
	register long	 x2 __asm__("x2") = c;
	register long	 x3 __asm__("x3") = d;
	register long	 x4 __asm__("x4") = e;

	__asm__ volatile("svc #0"
	    : "+r"(x0)
	    : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4)
	    : "memory");
	return x0;
}

#else
#error "no system call here for this architecture"
#endif

static long
address(const void *p)
{
	return (long)(uintptr_t)p;
}

static _Noreturn void
leave(int status)
{
	for (;;)
		call(__NR_exit_group, status, 0, 0, 0, 0);
}

_Noreturn void
__stack_chk_fail(void)
{
	leave(EXIT_NO_PROGRAM);
}

/* ---- text ---- */

void *
memcpy(void *restrict to, const void *restrict from, size_t length)
{
	unsigned char		*t = to;
	const unsigned char	*f = from;

	while (length-- > 0)
		*t++ = *f++;
	return to;
}

void *
memmove(void *to, const void *from, size_t length)
{
	unsigned char		*t = to;
	const unsigned char	*f = from;

	if ((uintptr_t)to <= (uintptr_t)from)
		while (length-- > 0)
			*t++ = *f++;
	else
		while (length-- > 0)
			t[length] = f[length];
	return to;
}

void *
memset(void *to, int byte, size_t length)
{
	unsigned char	*t = to;

	while (length-- > 0)
		*t++ = (unsigned char)byte;
	return to;
}

static size_t
length_of(const char *s)
{
	size_t	n = 0;

	while (s[n] != '\0')
		n++;
	return n;
}

static int
equal(const char *a, const char *b)
{
	while (*a != '\0' && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

/* What follows prefix in s, or NULL. */
static const char *
after(const char *s, const char *prefix)
{
	while (*prefix != '\0')
		if (*s++ != *prefix++)
			return NULL;
	return s;
}

/* Appends as much of s as fits before size, always terminated. Returns 0 if something was cut. */
static int
append(char *to, size_t size, const char *s)
{
	size_t	used = length_of(to);

	while (*s != '\0' && used + 1 < size)
		to[used++] = *s++;
	to[used] = '\0';
	return *s == '\0';
}

static void
append_number(char *to, size_t size, unsigned long value)
{
	char	 digits[21];	/* 2^64 has 20 */
	size_t	 i = sizeof(digits) - 1;

	digits[i] = '\0';
	do {
		digits[--i] = (char)('0' + value % 10);
		value /= 10;
	} while (value > 0);
	append(to, size, &digits[i]);
}

static void
say(const char *what)
{
	char	line[MESSAGE_MAX];

	line[0] = '\0';
	append(line, sizeof(line), "authnft: ");
	append(line, sizeof(line) - 1, what);
	append(line, sizeof(line), "\n");
	call(__NR_write, 2, address(line), (long)length_of(line), 0, 0);
}

/* Says it, and logs it: under PAM nobody sees stderr. Neither may stop us, so no result is read. */
static void
complain(const char *what)
{
	struct sockaddr_un	 log = { .sun_family = AF_UNIX, .sun_path = LOG_SOCKET };
	char			 line[MESSAGE_MAX];
	long			 fd;

	say(what);
	line[0] = '\0';
	append(line, sizeof(line), LOG_AUTHPRIV_ERR "pam_authnft: ");
	append(line, sizeof(line), what);
	fd = call(__NR_socket, AF_UNIX, SOCK_DGRAM | SOCK_FLAGS, 0, 0, 0);
	if (fd < 0)
		return;
	if (call(__NR_connect, fd, address(&log), sizeof(log), 0, 0) == 0)
		call(__NR_write, fd, address(line), (long)length_of(line), 0, 0);
	call(__NR_close, fd, 0, 0, 0, 0);
}

static _Noreturn void
refuse(const char *what)
{
	complain(what);
	leave(EXIT_FAILURE);
}

/* ---- who starts us, and with what ---- */

/* Which of pam_exec's variables this is, in the order in which it sets them, or -1. */
static int
item_number(const char *variable)
{
	if (after(variable, "PAM_SERVICE=") != NULL)
		return 0;
	if (after(variable, "PAM_USER=") != NULL)
		return 1;
	if (after(variable, "PAM_TTY=") != NULL)
		return 2;
	if (after(variable, "PAM_RHOST=") != NULL)
		return 3;
	if (after(variable, "PAM_RUSER=") != NULL)
		return 4;
	if (after(variable, "PAM_TYPE=") != NULL)
		return 5;
	return -1;
}

/*
 * pam_exec puts the PAM environment first, which the user may have written, and its own variables after it:
 * PAM_SERVICE the first of them, PAM_TYPE the last of all. Returns where its own begin, or count if they are not
 * there. What stands before is the user's, whatever it is called.
 */
static size_t
own_items(char *const *environment, size_t count)
{
	size_t	start = count;

	if (count == 0 || after(environment[count - 1], "PAM_TYPE=") == NULL)
		return count;
	for (size_t i = 0; i < count; i++)
		if (after(environment[i], "PAM_SERVICE=") != NULL)
			start = i;
	return start;
}

/* Whether the PAM line, or the program for it, says that nothing is to be given up. For debugging only. */
static int
unconfined(int argc, char *const *argv)
{
	for (int i = 1; i < argc; i++)
		if (equal(argv[i], "AUTHNFT_NO_SANDBOX=1"))
			return 1;
	return 0;
}

static enum mode
mode_of(int argc, char *const *argv, int from_pam_exec)
{
	const char	*verb = argc >= 2 ? argv[1] : "";

	if (equal(verb, "session")) {
		/* The program's own words: for whom the answer is, and what the shim has from its PAM line. */
		for (int i = 2; i < argc; i++)
			if (!equal(argv[i], FOR_PAM_EXEC "open") && !equal(argv[i], FOR_PAM_EXEC "close") &&
			    after(argv[i], ELSEWHERE) == NULL && after(argv[i], SINCE) == NULL && !equal(argv[i], IN_TURN) &&
			    !equal(argv[i], "AUTHNFT_NO_SANDBOX=1"))
				return from_pam_exec ? MODE_PAM_EXEC : MODE_USAGE;
		return MODE_REQUEST;
	}
	/* The doctor's: what a login would have, and nothing is asked. */
	if (equal(verb, "try-login") && argc == 2 && !from_pam_exec)
		return MODE_REQUEST;
	if (equal(verb, "cover") || (equal(verb, "sources") && !from_pam_exec))
		return MODE_NAMES;
	if (equal(verb, "seal"))
		return MODE_SEAL;
	if (equal(verb, "end") || equal(verb, "restore") || equal(verb, "release") || equal(verb, "cover-users") ||
	    equal(verb, "reload-sessions") || equal(verb, "sweep") || (equal(verb, "try") && !from_pam_exec))
		return MODE_VERB;
	return from_pam_exec ? MODE_PAM_EXEC : MODE_USAGE;
}

/* Whether the program has come back, for pam_exec. What only the first run can see and do, that one has. */
static int
is_second_run(int argc, char *const *argv)
{
	for (int i = 2; i < argc; i++)
		if (after(argv[i], FOR_PAM_EXEC) != NULL)
			return 1;
	return 0;
}

static const char *
word_of(enum place place)
{
	if (place == PLACE_PROCESSES)
		return ELSEWHERE "processes";
	return place == PLACE_USERS ? ELSEWHERE "users" : ELSEWHERE "network";
}

/* The value of the first variable of that name before end, cut to what to holds, or nothing. */
static int
take_untrusted(char *to, size_t size, const char *prefix, char *const *environment, size_t end,
    const char *name)
{
	for (size_t i = 0; i < end; i++) {
		const char	*value = after(environment[i], name);

		if (value != NULL && *value == '=') {
			append(to, size, prefix);
			append(to, size, value + 1);
			return 1;
		}
	}
	return 0;
}

/*
 * Renames pam_exec's own variables and the two of the user's that the program may look at into names that
 * nobody outside can set. Returns how many strings were added to out, which has room for all of them.
 */
static size_t
translate(const char **out, int argc, char *const *argv, char *const *environment, size_t own, size_t count)
{
	const char	*name, *claims_env = NULL;
	size_t		 added = 0;
	int		 last = -1;

	for (size_t i = own; i < count; i++) {
		int	item = item_number(environment[i]);

		if (item == -1)
			continue;
		if (item <= last)
			refuse("The PAM items in the environment are not in pam_exec's order: nothing is done.");
		last = item;
		append(items[item], sizeof(items[item]), "AUTHNFT_");
		if (!append(items[item], sizeof(items[item]), environment[i]))
			refuse("A PAM item is longer than 4096 bytes: nothing is done.");
		out[added++] = items[item];
	}

	if (take_untrusted(correlation, sizeof(correlation), "AUTHNFT_PAM_ENV_CORRELATION=", environment, own,
	    "AUTHNFT_CORRELATION"))
		out[added++] = correlation;
	for (int i = 1; i < argc; i++)
		if ((name = after(argv[i], "claims_env=")) != NULL)
			claims_env = name;
	if (claims_env != NULL && *claims_env != '\0' &&
	    take_untrusted(claims, sizeof(claims), "AUTHNFT_PAM_ENV_CLAIMS=", environment, own, claims_env))
		out[added++] = claims;
	return added;
}

/* ---- what is inherited, replaced ---- */

/* A missing 0, 1 or 2 would be taken by the next file that anyone opens, and written to as stderr. */
static void
open_standard_descriptors(void)
{
	for (long fd = 0; fd <= 2; fd++)
		if (call(__NR_fcntl, fd, F_GETFD, 0, 0, 0) == -EBADF &&
		    call(__NR_openat, AT_FDCWD, address("/dev/null"), O_RDWR, 0, 0) != fd)
			leave(EXIT_FAILURE);
}

static void
become_root(void)
{
	/*
	 * Without seteuid, pam_exec leaves us the ids of whoever called su or sudo. In our second run the capability
	 * for groups is gone, and so are the groups.
	 */
	if (call(__NR_geteuid, 0, 0, 0, 0, 0) != 0 ||
	    (call(__NR_setgroups, 0, 0, 0, 0, 0) != 0 && call(__NR_getgroups, 0, 0, 0, 0, 0) != 0) ||
	    call(__NR_setresgid, 0, 0, 0, 0, 0) != 0 ||
	    call(__NR_setresuid, 0, 0, 0, 0, 0) != 0)
		refuse("This program must run as root: under pam_exec, give the option seteuid "
		    "(pam_exec.so seteuid quiet /usr/libexec/authnft).");
}

/* Ends this process after so many seconds; of 0, whatever alarm there was is taken away. */
static void
set_alarm(long seconds)
{
	struct __kernel_old_itimerval	timer = { .it_value = { .tv_sec = seconds } };

	call(__NR_setitimer, ITIMER_REAL, address(&timer), 0, 0, 0);
}

/* Away from the caller's terminal first, so that nothing typed there arrives once signals act again. */
static void
clean_signals(enum mode mode, int traced)
{
	struct kernel_sigaction	 action = { .handler = SIG_IGNORE };
	uint64_t		 none = 0;

	/* EPERM if systemd made us a session leader already. */
	call(__NR_setsid, 0, 0, 0, 0, 0);
	/* For pam_exec it is the child that has an alarm. */
	set_alarm(mode == MODE_REQUEST ? ALARM_S : traced ? TRACED_S : 0);
	/* Ignoring a signal drops one that is pending. KILL and STOP cannot be set, and need not be. */
	for (long s = 1; s <= SIGNALS; s++)
		call(__NR_rt_sigaction, s, address(&action), 0, sizeof(action.mask), 0);
	action.handler = SIG_DEFAULT;
	for (long s = 1; s <= SIGNALS; s++)
		call(__NR_rt_sigaction, s, address(&action), 0, sizeof(action.mask), 0);
	if (call(__NR_rt_sigprocmask, SIG_SETMASK, address(&none), 0, sizeof(none), 0) != 0)
		refuse("Cannot empty the signal mask: nothing is done.");
}

/* Soft and hard. A hard limit can be raised with CAP_SYS_RESOURCE only; without it, as much as there is. */
static void
limit(long resource, uint64_t soft, uint64_t hard)
{
	struct rlimit64	wanted = { soft, hard }, there = { 0, 0 };

	if (call(__NR_prlimit64, 0, resource, address(&wanted), 0, 0) == 0)
		return;
	if (call(__NR_prlimit64, 0, resource, 0, address(&there), 0) != 0)
		return;
	if (wanted.rlim_max > there.rlim_max)
		wanted.rlim_max = there.rlim_max;
	if (wanted.rlim_cur > wanted.rlim_max)
		wanted.rlim_cur = wanted.rlim_max;
	call(__NR_prlimit64, 0, resource, address(&wanted), 0, 0);
}

static void
clean_limits(void)
{
	limit(RLIMIT_CORE, 0, 0);			/* a dump would hold the policy and the claims */
	limit(RLIMIT_NOFILE, 1024, 4096);		/* the program opens a few dozen */
	limit(RLIMIT_FSIZE, 64 * MIB, 64 * MIB);	/* it writes records of a kilobyte */
	limit(RLIMIT_CPU, 20, 25);			/* seconds; an open needs hundredths of one */
	limit(RLIMIT_STACK, 8 * MIB, 8 * MIB);		/* the kernel's own default */
	limit(RLIMIT_MEMLOCK, 8 * MIB, 8 * MIB);	/* the kernel's own default */
	limit(RLIMIT_MSGQUEUE, 819200, 819200);		/* the kernel's own default */
	limit(RLIMIT_NICE, 0, 0);
	limit(RLIMIT_RTPRIO, 0, 0);
	limit(RLIMIT_DATA, 1024 * MIB, 1024 * MIB);	/* it uses 50; the runtime reserves five times this if it can */
	/* Nor is the rest of the address space worth a limit; and root's processes are not counted: seccomp allows none. */
	limit(RLIMIT_AS, INFINITE, INFINITE);
	limit(RLIMIT_RSS, INFINITE, INFINITE);
	limit(RLIMIT_NPROC, INFINITE, INFINITE);
	limit(RLIMIT_LOCKS, INFINITE, INFINITE);
	limit(RLIMIT_SIGPENDING, INFINITE, INFINITE);
	limit(RLIMIT_RTTIME, INFINITE, INFINITE);
}

/* The caller's nice value, scheduling class and disk priority. All best effort: being slow is no reason to refuse. */
static void
clean_priority(void)
{
	int	no_priority = 0;

	call(__NR_sched_setscheduler, 0, 0 /* SCHED_OTHER */, address(&no_priority), 0, 0);
	call(__NR_setpriority, 0 /* PRIO_PROCESS */, 0, 0, 0, 0);
	call(__NR_ioprio_set, IOPRIO_PROCESS, 0, 0, 0, 0);
}

/* What /proc says of a process's namespace, or nothing. */
static void
read_namespace(char to[static LINK_MAX], const char *process, const char *name)
{
	char	path[LINK_MAX];
	long	length;

	path[0] = '\0';
	append(path, sizeof(path), "/proc/");
	append(path, sizeof(path), process);
	append(path, sizeof(path), "/ns/");
	append(path, sizeof(path), name);
	length = call(__NR_readlinkat, AT_FDCWD, address(path), address(to), LINK_MAX - 1, 0);
	to[length > 0 ? length : 0] = '\0';
}

/* Enters a namespace of process 1's. Returns whether this process was in another one, as far as /proc tells. */
static int
enter_namespace(long process_1, const char *name, long kind)
{
	char	here[LINK_MAX], there[LINK_MAX];

	read_namespace(here, "self", name);
	read_namespace(there, "1", name);
	if (here[0] != '\0' && equal(here, there))
		return 0;
	if (call(__NR_setns, process_1, kind, 0, 0, 0) != 0)
		return here[0] != '\0' && there[0] != '\0';
	read_namespace(there, "self", name);
	return !equal(here, there);
}

/*
 * Whether this is a user namespace below the host's: with every right in it, one may not even look at process 1. Where the
 * kernel has said that it is the first of all, it is something else that forbids it.
 */
static int
is_below_users(void)
{
	struct __user_cap_header_struct	header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct	sets[2];
	char				here[LINK_MAX], there[LINK_MAX], map[LINK_MAX];
	long				fd, length;

	read_namespace(here, "self", "user");
	read_namespace(there, "1", "user");
	if (here[0] == '\0' || there[0] != '\0')
		return !equal(here, there);
	if (call(__NR_capget, address(&header), address(sets), 0, 0, 0) != 0 ||
	    (sets[0].effective >> CAP_SYS_PTRACE & 1) == 0 ||
	    (fd = call(__NR_openat, AT_FDCWD, address("/proc/self/uid_map"), O_RDONLY | O_CLOEXEC, 0, 0)) < 0)
		return 0;
	length = call(__NR_read, fd, address(map), LINK_MAX - 1, 0, 0);
	call(__NR_close, fd, 0, 0, 0, 0);
	map[length > 0 ? length : 0] = '\0';
	return !equal(map, "         0          0 4294967295\n");
}

/*
 * Enters the namespaces of process 1 that what we do depends on, as far as this process may: the cgroups and the ruleset are
 * the host's, wherever a PAM module or a service has put the process that asks. Who is process 1 the kernel tells by the
 * socket that it listens at: a process in another PID namespace sees a number 1 of its own, and may see no /proc but its own.
 * Where there is no such socket, nothing is known and nothing is entered.
 */
static enum place
enter_host(void)
{
	struct sockaddr_un	init = { .sun_family = AF_UNIX, .sun_path = INIT_SOCKET };
	struct peer		peer = { .pid = 0 };
	uint32_t		length = sizeof(peer);
	int32_t			pidfd = -1;
	enum place		place = PLACE_HOST;
	long			fd, process_1 = -1;

	if ((fd = call(__NR_socket, AF_UNIX, SOCK_STREAM | SOCK_FLAGS, 0, 0, 0)) < 0)
		return PLACE_HOST;
	if (call(__NR_connect, fd, address(&init), sizeof(init), 0, 0) != 0 ||
	    call(__NR_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, address(&peer), address(&length)) != 0) {
		call(__NR_close, fd, 0, 0, 0, 0);
		return PLACE_HOST;
	}
	length = sizeof(pidfd);
	if (call(__NR_getsockopt, fd, SOL_SOCKET, SO_PEERPIDFD, address(&pidfd), address(&length)) == 0)
		process_1 = pidfd;
	else if (peer.pid == 1)
		process_1 = call(__NR_pidfd_open, 1, 0, 0, 0, 0);
	call(__NR_close, fd, 0, 0, 0, 0);

	/* The mounts first: with them come a /proc and a /sys/fs/cgroup that are the host's. */
	enter_namespace(process_1, "mnt", CLONE_NEWNS);
	enter_namespace(process_1, "cgroup", CLONE_NEWCGROUP);
	if (enter_namespace(process_1, "net", CLONE_NEWNET))
		place = PLACE_NETWORK;
	if (peer.pid != 1)
		place = PLACE_PROCESSES;
	else if (is_below_users())
		place = PLACE_USERS;
	call(__NR_close, process_1, 0, 0, 0, 0);
	return place;
}

/*
 * Under pam_exec we are born in the cgroup of the PAM process. At close that is a session's scope, whose
 * memory and task limits may be exhausted. Best effort: the shim starts us there already.
 */
static void
leave_cgroup(void)
{
	long	fd = call(__NR_openat, AT_FDCWD, address(INIT_PROCS), O_WRONLY | O_CLOEXEC, 0, 0);

	if (fd < 0)
		return;
	call(__NR_write, fd, address("0"), 1, 0, 0);
	call(__NR_close, fd, 0, 0, 0, 0);
}

static int
is_process(long fd)
{
	return call(__NR_pidfd_send_signal, fd, 0, 0, 0, 0) != -EBADF;
}

/* Our parent, which is the process that asks as long as it lives: an orphan has another one. Best effort. */
static void
hold_asker(void)
{
	long	parent = call(__NR_getppid, 0, 0, 0, 0, 0), fd = call(__NR_pidfd_open, parent, 0, 0, 0, 0);

	if (fd < 0)
		return;
	if (fd != ASKER || call(__NR_getppid, 0, 0, 0, 0, 0) != parent || call(__NR_fcntl, fd, F_SETFD, 0, 0, 0) != 0)
		call(__NR_close, fd, 0, 0, 0, 0);
}

static enum place
clean(enum mode mode, int traced, int again)
{
	enum place	place = PLACE_HOST;
	int		from_first = again && is_process(ASKER);

	clean_signals(mode, traced);
	become_root();
	if (mode == MODE_PAM_EXEC || (mode == MODE_REQUEST && !again))
		place = enter_host();
	if (mode == MODE_PAM_EXEC)
		leave_cgroup();
	clean_limits();
	clean_priority();
	call(__NR_umask, 077, 0, 0, 0, 0);
	if (call(__NR_chdir, address("/"), 0, 0, 0, 0) != 0 ||
	    call(__NR_close_range, ASKER + from_first, (long)~0U, 0, 0, 0) != 0 ||
	    call(__NR_prctl, PR_SET_PDEATHSIG, 0, 0, 0, 0) != 0 ||
	    call(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		refuse("Cannot leave behind what was inherited (Linux 5.13 or later is needed): nothing is done.");
	if (mode == MODE_PAM_EXEC || (mode == MODE_REQUEST && !again))
		hold_asker();
	return place;
}

/* ---- what is given up ---- */

/*
 * The capabilities that are kept. As long as the name service is to be asked, and the PAM process for its connections,
 * one more; our second run takes that away.
 */
static uint64_t
kept_capabilities(enum mode mode)
{
	uint64_t	kept = 1ULL << CAP_NET_ADMIN |	/* the ruleset, and to end sockets */
	    1ULL << CAP_AUDIT_WRITE;			/* the audit record of a refusal */

	if (mode == MODE_PAM_EXEC)
		kept |= 1ULL << CAP_SYS_PTRACE;		/* /proc/PID/fd of the PAM process */
	if (mode == MODE_SEAL)
		kept |= 1ULL << CAP_BPF |
		    1ULL << CAP_SYS_ADMIN;		/* in its stead where a container's manager does not know it */
	return kept;
}

/* For good: nothing that is executed later can have more than there is now, for it gets no new privileges. */
static int
drop_capabilities(uint64_t kept)
{
	struct __user_cap_header_struct	header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct	sets[2];

	call(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	/* Up to the first that this kernel does not know. Where it is not ours to drop, the sets below do it. */
	for (long capability = 0; capability < 64; capability++)
		if ((kept >> capability & 1) == 0 &&
		    call(__NR_prctl, PR_CAPBSET_DROP, capability, 0, 0, 0) == -EINVAL)
			break;
	if (call(__NR_capget, address(&header), address(sets), 0, 0, 0) != 0)
		return 0;
	for (int i = 0; i < 2; i++) {
		sets[i].permitted &= (uint32_t)(kept >> (32 * i));
		sets[i].effective = sets[i].permitted;
		sets[i].inheritable = 0;
	}
	return call(__NR_capset, address(&header), address(sets), 0, 0, 0) == 0;
}

/* Of what is there. What is not cannot be used, so it need not be allowed. */
static void
allow(long rules, const char *path, uint64_t rights)
{
	struct landlock_path	rule = { .rights = rights };
	long			fd = call(__NR_openat, AT_FDCWD, address(path), O_PATH | O_CLOEXEC, 0, 0);

	if (fd < 0)
		return;
	rule.fd = (int32_t)fd;
	if (call(__NR_landlock_add_rule, rules, 1 /* path beneath */, address(&rule), 0, 0) != 0)
		refuse("Cannot allow the program the files that it needs (Landlock): nothing is done.");
	call(__NR_close, fd, 0, 0, 0, 0);
}

/*
 * The files that the program may use from now on, by Landlock: landlock(7). Without it (older kernels, not among the
 * security modules that run, or denied by a container) seccomp and the capabilities are what there is; "authnft doctor"
 * says so.
 */
static void
restrict_files(void)
{
	struct landlock_rules	all = { 0, 0, 0 };
	const uint64_t		file = FS_READ, tree = FS_READ | FS_LIST;
	uint64_t		change = FS_WRITE;
	long			abi, rules;

	abi = call(__NR_landlock_create_ruleset, 0, 0, 1 /* version */, 0, 0);
	/* To ask for the version takes no right: where that is forbidden, a container's or a unit's filter denies the call. */
	if (abi == -ENOSYS || abi == -EOPNOTSUPP || abi == -EPERM || abi == -EACCES)
		return;
	all.fs = FS_ALL(abi);
	all.net = abi >= 4 ? NET_TCP : 0;
	all.scope = abi >= 6 ? SCOPE_ALL : 0;
	if (abi >= 3)
		change |= FS_TRUNCATE;
	rules = call(__NR_landlock_create_ruleset, address(&all), abi >= 6 ? 24 : abi >= 4 ? 16 : 8, 0, 0, 0);
	if (abi < 1 || rules < 0)
		refuse("Cannot restrict the program to the files that it needs (Landlock): nothing is done.");

	/* to start: itself, the dynamic linker, libraries */
	allow(rules, PROGRAM, file | FS_EXECUTE);
	allow(rules, INTERPRETER, file | FS_EXECUTE);
	allow(rules, "/usr/lib", tree);
	allow(rules, "/usr/lib64", tree);
	allow(rules, "/lib", tree);		/* where they are not links to those above */
	allow(rules, "/lib64", tree);
	allow(rules, "/etc/ld.so.cache", file);
	/* policies, and the names that may stand in them */
	allow(rules, "/etc/authnft", tree);
	allow(rules, "/etc/nsswitch.conf", file);
	allow(rules, "/etc/passwd", file);
	allow(rules, "/etc/group", file);
	allow(rules, "/etc/services", file);
	allow(rules, "/etc/protocols", file);
	allow(rules, "/etc/iproute2", tree);
	allow(rules, "/usr/share/iproute2", tree);
	allow(rules, "/etc/localtime", file);
	allow(rules, "/usr/share/zoneinfo", tree);
	/* who is there: processes, cgroups; and the processors, for the runtime */
	allow(rules, "/proc", tree);
	allow(rules, "/sys/fs/cgroup", tree);
	allow(rules, "/sys/devices/system/cpu", tree);
	allow(rules, "/dev/null", file | change);
	/* what it changes: our state, who is in our slice, and whether what is left of a login session lives on */
	allow(rules, STATE, tree | change | FS_MAKE_FILE | FS_MAKE_DIR | FS_REMOVE_FILE | FS_REMOVE_DIR);
	allow(rules, SLICE, tree | change | FS_MAKE_DIR | FS_REMOVE_DIR);
	allow(rules, "/sys/fs/cgroup/user.slice", tree | change);

	if (call(__NR_landlock_restrict_self, rules, 0, 0, 0, 0) != 0)
		refuse("Cannot restrict the program to the files that it needs (Landlock): nothing is done.");
	call(__NR_close, rules, 0, 0, 0, 0);
}

/* Here, where there is one thread: from within the runtime the calling thread alone would be confined. */
static void
confine(enum mode mode)
{
	if (!drop_capabilities(kept_capabilities(mode)))
		refuse("Cannot give up capabilities: nothing is done.");
	/* The name service's modules read what they like, and talk to whom they like. */
	if (mode == MODE_REQUEST || mode == MODE_VERB || mode == MODE_SEAL)
		restrict_files();
}

/* ---- the process that asks ---- */

/*
 * Puts our parent where the module would put it: systemd's cgroup, or where that is missing one of that name, closed by the
 * ruleset alone. The kernel takes the number for one of our own PID namespace, which is where we have it from. Nobody's but a
 * living PAM process: an orphan has another parent than at first, on the host process 1.
 */
static void
take_network(long parent, enum place place)
{
	char	pid[24];
	long	fd;

	if (parent < 1 || (parent == 1 && place != PLACE_PROCESSES) || call(__NR_getppid, 0, 0, 0, 0, 0) != parent)
		return;
	call(__NR_mkdirat, AT_FDCWD, address(REFUSED), 0755, 0, 0);
	pid[0] = '\0';
	append_number(pid, sizeof(pid), (unsigned long)parent);
	fd = call(__NR_openat, AT_FDCWD, address(REFUSED "/cgroup.procs"), O_WRONLY | O_CLOEXEC, 0, 0);
	if (fd < 0 || call(__NR_write, fd, address(pid), (long)length_of(pid), 0, 0) < 0)
		complain("Cannot move the refused session to " REFUSED ", where it has no network: if the PAM line says "
		    "\"optional\", it goes on unfiltered: make it \"required\".");
	call(__NR_close, fd, 0, 0, 0, 0);
}

/* Whether pam_exec's own variables say that a session opens, and not root's. */
static int
opens_for_another(char *const *environment, size_t own, size_t count)
{
	for (size_t i = own; i < count; i++)
		if (equal(environment[i], "PAM_USER=root"))
			return 0;
	return equal(environment[count - 1], "PAM_TYPE=open_session");
}

/* Waits until the process has ended, so many seconds at most. Returns whether it has. */
static int
has_ended(int32_t pidfd, long seconds)
{
	struct pollfd			ends = { .fd = pidfd, .events = POLLIN };
	struct __kernel_timespec	patience = { .tv_sec = seconds };

	return call(__NR_ppoll, address(&ends), 1, address(&patience), 0, 0) > 0;
}

/* Takes a free turn. Returns whether there was one. */
static int
has_turn(long fd)
{
	for (int turn = 0; turn < TURNS; turn++) {
		struct flock	lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = turn, .l_len = 1 };

		if (call(__NR_fcntl, fd, F_OFD_SETLK, address(&lock), 0, 0) == 0)
			return 1;
	}
	return 0;
}

/*
 * Waits for a turn: where a hundred jobs begin in the same second, the programs' time limits are to be about their own work,
 * not about each other's. A turn is a byte of a file, locked by this process, which is root's: who logs in could stop their
 * own for as long as they like. It ends with the last descriptor. Never a reason to refuse: where there is no such file, and
 * when the wait is over, it goes on without.
 *
 * to is a descriptor to tell that it waits and that it has waited, or -1; waited whether it had to. Returns a descriptor to hold.
 */
static long
take_turn(int to, int flags, int *waited)
{
	long	fd;

	*waited = 0;
	fd = call(__NR_openat, AT_FDCWD, address(TURNS_FILE), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | flags, 0600, 0);
	if (fd < 0 || has_turn(fd))
		return fd;
	*waited = 1;
	call(__NR_write, to, address(WAITS), 1, 0, 0);
	for (int looks = 0; looks < TURN_S * 1000 / TURN_POLL_MS && !has_turn(fd); looks++) {
		struct __kernel_timespec	pause = { .tv_nsec = TURN_POLL_MS * 1000000L };	/* the kernel counts it down */

		call(__NR_ppoll, 0, 0, address(&pause), 0, 0);
	}
	call(__NR_write, to, address(BEGINS), 1, 0, 0);
	return fd;
}

/* When it is, for the program: it counts its time from here. */
static void
append_now(char *to, size_t size)
{
	struct __kernel_timespec	now = { 0, 0 };

	call(__NR_clock_gettime, CLOCK_BOOTTIME, address(&now), 0, 0, 0);
	append_number(to, size, (unsigned long)now.tv_sec * 1000 + (unsigned long)now.tv_nsec / 1000000);
}

/*
 * Waits for the child that becomes the program, and does for pam_exec what the module does for itself: whatever becomes of
 * the program, one that does not say that it has seen to the process leaves a process without network.
 */
static _Noreturn void
attend(long child, int32_t pidfd, long parent, int opens, enum place place)
{
	static const char	sorry[] = "Your session was refused: the session firewall (authnft) did not answer. Ask "
	    "the administrator to run \"authnft doctor\".\n";
	char			why[MESSAGE_MAX];
	uint64_t		all = ~0ULL;
	int			status = 0, reaped;

	call(__NR_rt_sigprocmask, SIG_SETMASK, address(&all), 0, sizeof(all), 0);
	drop_capabilities(0);
	if (!has_ended(pidfd, ALARM_S + KILL_S)) {
		call(__NR_pidfd_send_signal, pidfd, SIGKILL, 0, 0, 0);
		has_ended(pidfd, KILL_S);
	}
	reaped = call(__NR_wait4, child, address(&status), WNOHANG, 0, 0) == child;
	if (reaped && (status & 0x7f) == 0) {
		status = status >> 8 & 0xff;
		if (status == 0)
			leave(0);
		if (status == EXIT_CUT_OFF)
			leave(EXIT_FAILURE);
		if (opens)
			take_network(parent, place);
		leave(status);
	}
	why[0] = '\0';
	/* "authnft doctor" counts it: src/system/host/killed_helpers.ts. */
	if (reaped && (status & 0x7f) == SIGSYS)
		append(why, sizeof(why), "The helper was killed by a filter of system calls (SIGSYS), its own or the service's");
	else {
		append(why, sizeof(why), reaped ? "The helper was killed by signal " :
		    "The helper does not end, not even by signal ");
		append_number(why, sizeof(why), reaped ? (unsigned long)status & 0x7f : SIGKILL);
	}
	append(why, sizeof(why), opens ? ": the session is refused; run \"authnft doctor\"." :
	    ": the session's rules go when its scope ends.");
	complain(why);
	if (opens) {
		take_network(parent, place);
		call(__NR_write, 1, address(sorry), sizeof(sorry) - 1, 0, 0);
	}
	leave(EXIT_FAILURE);
}

/* Goes on as a child, with this process waiting for it. The program's parent is the entry, then, and pam_exec's process ours. */
static void
go_on_attended(int opens, enum place place)
{
	int32_t	pidfd = -1;
	int	waited;
	long	parent = call(__NR_getppid, 0, 0, 0, 0, 0), turn = take_turn(-1, O_CLOEXEC, &waited), child;

	child = call(__NR_clone, CLONE_PIDFD | SIGCHLD, 0, address(&pidfd), 0, 0);
	if (child > 0)
		attend(child, pidfd, parent, opens, place);
	if (child < 0) {
		if (opens)
			take_network(parent, place);
		refuse("Cannot fork, so nobody would stand behind the program: nothing is done.");
	}
	call(__NR_close, pidfd, 0, 0, 0, 0);
	call(__NR_close, turn, 0, 0, 0, 0);
	call(__NR_setsid, 0, 0, 0, 0, 0);
	set_alarm(ALARM_S);
}

/* ---- the program ---- */

/* The runtime ends by a crash of its own where it cannot read of itself there. */
static void
need_proc(void)
{
	long	fd = call(__NR_openat, AT_FDCWD, address(PROC_SELF), O_RDONLY | O_CLOEXEC, 0, 0);

	if (fd < 0)
		refuse("There is no /proc here: nothing is done. Mount it: \"mount -t proc proc /proc\", or see what "
		    "hides it from this service.");
	call(__NR_close, fd, 0, 0, 0, 0);
}

static _Noreturn void
execute(const char *const *arguments, const char *const *environment)
{
	char	why[MESSAGE_MAX];
	long	error;

	error = -call(__NR_execve, address(PROGRAM), address(arguments), address(environment), 0, 0);
	why[0] = '\0';
	append(why, sizeof(why), "Cannot execute " PROGRAM " (error ");
	append_number(why, sizeof(why), (unsigned long)error);
	append(why, sizeof(why), "): run \"authnft install\" again, and see that no mount there is noexec.");
	complain(why);
	leave(EXIT_NO_PROGRAM);
}

static _Noreturn __attribute__((noinline)) void
run(int argc, char **argv, char **environment)
{
	const char	*arguments[ARGS_MAX + 5];		/* four words of ours, NULL */
	const char	*variables[5 + ITEMS + 2 + 1];		/* ours, PAM's, the user's, NULL */
	size_t		 count = 0, own, a = 0, v = 0;
	char		 since[LINK_MAX] = "";
	enum place	 place;
	enum mode	 mode;
	int		 traced, waited;

	open_standard_descriptors();
	while (environment[count] != NULL)
		count++;
	own = own_items(environment, count);
	traced = own == count && argc >= 2 && equal(argv[1], TRACED);
	mode = mode_of(argc - traced, argv + traced, own < count);
	if (mode == MODE_USAGE) {
		say("This program is run by pam_authnft, pam_exec or systemd, not by hand: "
		    "the administrator's command is /usr/sbin/authnft. See pam_authnft(8).");
		leave(EXIT_USAGE);
	}
	/* systemd has a process close the sessions of a unit with PAMName= that has the user's rights by then. */
	if (mode == MODE_PAM_EXEC && equal(environment[count - 1], "PAM_TYPE=close_session") &&
	    call(__NR_geteuid, 0, 0, 0, 0, 0) != 0) {
		complain("Whoever closes the session is not root any more: it is closed when its unit has ended, if that "
		    "has PAMName=, and else when its scope ends.");
		leave(0);
	}
	place = clean(mode, traced, is_second_run(argc, argv));
	if (mode == MODE_PAM_EXEC)
		go_on_attended(opens_for_another(environment, own, count), place);
	else if (mode == MODE_REQUEST && argc > 2 && equal(argv[2], IN_TURN)) {
		set_alarm(0);
		take_turn(STDOUT, 0, &waited);	/* held as long as the program runs */
		set_alarm(ALARM_S);
		/* Whoever did not wait counts from when it was started, as the module does. */
		if (waited) {
			append(since, sizeof(since), SINCE);
			append_now(since, sizeof(since));
		}
	}
	/* The module has its own way to the same, but may see other cgroups than the host's. */
	if (mode != MODE_PAM_EXEC && place == PLACE_PROCESSES)
		take_network(call(__NR_getppid, 0, 0, 0, 0, 0), place);

	variables[v++] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
	variables[v++] = "LANG=C";
	variables[v++] = "TMPDIR=/run/authnft";		/* root's: the runtime loads what it finds there */
	variables[v++] = "BUN_JSC_useJIT=0";		/* no page both writable and executable */
	if (mode == MODE_VERB)
		variables[v++] = "AUTHNFT_CONFINED=1";	/* it need not come here once more for that */
	if (mode == MODE_PAM_EXEC)
		v += translate(&variables[v], argc, argv, environment, own, count);
	variables[v] = NULL;

	if (argc - 1 > ARGS_MAX)
		refuse("There are more than 64 arguments: nothing is done.");
	arguments[a++] = "authnft";
	if (mode == MODE_PAM_EXEC)
		arguments[a++] = "pam";
	/* Before what is of the PAM line, or behind what is of the shim. */
	if (mode == MODE_PAM_EXEC && place != PLACE_HOST)
		arguments[a++] = word_of(place);
	for (int i = 1; i < argc; i++)
		arguments[a++] = argv[i];
	if (mode != MODE_PAM_EXEC && place != PLACE_HOST)
		arguments[a++] = word_of(place);
	if (since[0] != '\0')
		arguments[a++] = since;
	arguments[a] = NULL;
	need_proc();
	if (!unconfined(argc, argv))
		confine(mode);
	execute(arguments, variables);
}

/*
 * The kernel's stack: argc, argv, NULL, environment, NULL, auxiliary vector. The canary's random bytes come
 * from there, so this function can have none.
 */
__attribute__((used, no_stack_protector)) _Noreturn void
entry(uintptr_t *stack)
{
	int		 argc = (int)stack[0];
	char		**argv = (char **)&stack[1];
	char		**environment = argv + argc + 1;
	char		**end = environment;
	uintptr_t	*auxiliary;

	while (*end != NULL)
		end++;
	for (auxiliary = (uintptr_t *)(end + 1); auxiliary[0] != AT_NULL; auxiliary += 2)
		if (auxiliary[0] == AT_RANDOM)
			__stack_chk_guard = *(const uintptr_t *)auxiliary[1] & ~(uintptr_t)0xff;
#if defined(__aarch64__)
	/* Reached through the thread register, which nothing else here uses: a symbol would need a relocation. */
	__asm__ volatile("msr tpidr_el0, %0" : : "r"(&__stack_chk_guard));
#endif
	run(argc, argv, environment);
}
