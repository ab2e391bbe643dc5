/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The helper's process: one at a time for a PAM process, started, waited for, and reaped, whatever it does.
 */

#define _GNU_SOURCE

#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <linux/sched.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "shim.h"

void
shut(int *fd)
{
	if (*fd != -1)
		close(*fd);
	*fd = -1;
}

/*
 * Has the threads of a service open and close one after the other: what moves the process for one must not be in the way of
 * another. Only root can open the file that is locked, and it is gone with the process. Returns a descriptor or -1.
 */
int
take_process(void)
{
	const struct timespec	pause = { .tv_nsec = POLL_MS * 1000000L };
	int64_t			until = now_ms() + TURN_MS;
	int			fd = open("/proc/self/auxv", O_RDONLY | O_CLOEXEC);

	while (fd != -1 && flock(fd, LOCK_EX | LOCK_NB) == -1 && now_ms() < until)
		nanosleep(&pause, NULL);
	return fd;
}

void
give_process(int fd)
{
	if (fd != -1)
		flock(fd, LOCK_UN);
	shut(&fd);
}

/* The child puts its own 0, 1 and 2 where the caller may have none: nothing that it needs may be there before. */
static int
above_standard(int fd)
{
	int	higher, error;

	if (fd == -1 || fd > STDERR_FILENO)
		return fd;
	higher = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	error = errno;
	close(fd);
	errno = error;
	return higher;
}

static void
shut_pipe(int (*ends)[2])
{
	shut(&(*ends)[0]);
	shut(&(*ends)[1]);
}

static int
open_pipe(int ends[2])
{
	if (pipe2(ends, O_CLOEXEC) == -1)
		return 0;
	ends[0] = above_standard(ends[0]);
	ends[1] = above_standard(ends[1]);
	return ends[0] != -1 && ends[1] != -1;
}

/* The child: between fork and exec, so nothing but system calls. All signals are still blocked. */
static _Noreturn void
become_helper(const char *verb, int request, int reply, int null, int unconfined)
{
	char		 word[sizeof("session")] = "";
	char		*argv[] = { (char []){ "authnft" }, word, (char []){ IN_TURN }, NULL, NULL };
	char		 flag[] = UNCONFINED;
	char		*environment[] = { NULL };	/* the helper makes its own */
	struct sigaction action = { .sa_handler = SIG_IGN };
	sigset_t	 none;

	memcpy(word, verb, strnlen(verb, sizeof(word) - 1));
	if (unconfined)
		argv[3] = flag;

	/* Away from the terminal, then drop what was typed there until now: Ctrl-C at su is not for us. */
	setsid();
	for (int s = 1; s < NSIG; s++)
		sigaction(s, &action, NULL);
	action.sa_handler = SIG_DFL;
	for (int s = 1; s < NSIG; s++)
		sigaction(s, &action, NULL);

	if (dup2(request, STDIN_FILENO) == -1 || dup2(reply, STDOUT_FILENO) == -1 || dup2(null, STDERR_FILENO) == -1 ||
	    syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0) == -1 || chdir("/") == -1)
		_exit(CHILD_FAILED);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(HELPER, argv, environment);
	_exit(errno == ENOENT ? CHILD_MISSING : CHILD_FAILED);
}

/*
 * Starts the helper in systemd's own cgroup: at close the caller sits in a scope whose memory and tasks may be
 * used up, and the helper must not be charged to it. Until it executes, the child is of a kind that the caller's
 * handling of SIGCHLD does not see (execve ends that). Older rules about system calls know only fork.
 * Returns the pid or -1, and a descriptor for the process.
 */
static pid_t
start_helper(const char *verb, int request, int reply, int null, int unconfined, int *pidfd)
{
	struct clone_args args = { .flags = CLONE_PIDFD | CLONE_CLEAR_SIGHAND, .pidfd = (uintptr_t)pidfd };
	long		 pid = -1;
	int		 cgroup CLEANUP(shut) = -1, error;

	cgroup = open(CGROUP_ROOT "/init.scope", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (cgroup != -1) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (unsigned int)cgroup;
		pid = syscall(SYS_clone3, &args, sizeof(args));
		args.flags &= ~(uint64_t)CLONE_INTO_CGROUP;
		args.cgroup = 0;
	}
	if (pid == -1)
		pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid == -1) {
		*pidfd = -1;
		pid = fork();
	}
	if (pid == 0)
		become_helper(verb, request, reply, null, unconfined);
	error = errno;

	/* The child cannot have ended and been forgotten unless the caller ignores SIGCHLD; then this finds nobody. */
	if (pid > 0 && *pidfd == -1 && (*pidfd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0)) == -1) {
		error = errno;
		if (error != ESRCH) {
			kill((pid_t)pid, SIGKILL);
			waitpid((pid_t)pid, NULL, 0);
		}
		pid = -1;
	}
	errno = error;
	return (pid_t)pid;
}

/* Waits until fd is readable, or until then. */
static int
wait_until(int fd, int64_t then)
{
	struct pollfd	p = { .fd = fd, .events = POLLIN };
	int		n;

	do {
		int64_t	left = then - now_ms();

		n = poll(&p, 1, left > 0 ? (int)left : 0);
	} while (n == -1 && errno == EINTR);
	return n > 0;
}

/*
 * Takes the signs from the front that the entry gives before it becomes the helper: it is not to be one of too many at a time,
 * and the time limit is the helper's own. Returns the number of bytes that are left.
 */
static size_t
take_signs(char *bytes, size_t length, int64_t *began, int64_t *deadline)
{
	size_t	n = 0;

	for (; n < length && (bytes[n] == WAITS || bytes[n] == BEGINS); n++) {
		*began = now_ms();
		*deadline = *began + (bytes[n] == WAITS ? TURN_MS : DEADLINE_MS);
	}
	memmove(bytes, bytes + n, length - n);
	return length - n;
}

/*
 * Reads until the helper has closed its end or is gone. Returns the number of bytes, size if there are too many,
 * or -1 if the time is over first.
 */
static ssize_t
collect(int fd, int pidfd, int64_t *began, int64_t *deadline, char *bytes, size_t size)
{
	struct pollfd	p[2] = { { .fd = fd, .events = POLLIN }, { .fd = pidfd, .events = POLLIN } };
	size_t		length = 0;

	for (;;) {
		int64_t	left = *deadline - now_ms();
		ssize_t	n = -1;

		if (left <= 0)
			return -1;
		if (poll(p, LENGTH(p), (int)left) <= 0)
			continue;
		while (length < size && (n = read(fd, bytes + length, size - length)) > 0)
			length += (size_t)n;
		length = take_signs(bytes, length, began, deadline);
		/* The look at pidfd came before the read: what a helper that is gone has written is all here. */
		if (length == size || n == 0 || p[1].revents != 0)
			return (ssize_t)length;
	}
}

/*
 * Sees the child off: gives it until then to end by itself, and kills it after that. Its status is good for a word
 * in the log at most: a caller that ignores or reaps SIGCHLD may have taken it.
 */
static void
reap(int pidfd, int64_t then, siginfo_t *status)
{
	int	ended;

	if (!(ended = wait_until(pidfd, then))) {
		syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
		wait_until(pidfd, now_ms() + REAP_MS);
	}
	if (waitid(P_PIDFD, (id_t)pidfd, status, WEXITED | WNOHANG | __WALL) == -1 || !ended)
		status->si_code = 0;
}

static void
explain(char why[static WHY_MAX], const siginfo_t *status, size_t length)
{
	if (length > REPLY_MAX)
		snprintf(why, WHY_MAX, "its reply is longer than %d bytes", REPLY_MAX);
	else if (length > 0)
		snprintf(why, WHY_MAX, "it wrote %zu bytes that are no reply of this version", length);
	else if ((status->si_code == CLD_KILLED || status->si_code == CLD_DUMPED) && status->si_status == SIGSYS)
		snprintf(why, WHY_MAX, "it was killed by a filter of system calls (SIGSYS), its own or the service's");
	else if (status->si_code == CLD_KILLED || status->si_code == CLD_DUMPED)
		snprintf(why, WHY_MAX, "it was killed by signal %d", status->si_status);
	else if (status->si_code == CLD_EXITED && status->si_status == CHILD_MISSING)
		snprintf(why, WHY_MAX, "it, or the program that it starts, is not there");
	else if (status->si_code == CLD_EXITED && status->si_status == CHILD_FAILED)
		snprintf(why, WHY_MAX, "it cannot be executed from here; see noexec mounts and NoExecPaths=");
	else if (status->si_code == CLD_EXITED)
		snprintf(why, WHY_MAX, "it ended with status %d", status->si_status);
	else
		snprintf(why, WHY_MAX, "it ended without a word");
}

/*
 * Starts the helper with the request, and returns whether it replied. If not, why says what happened. began is when the helper
 * could begin, which may be long after it was started.
 */
int
ask(const struct request *request, struct reply *reply, int64_t *began, char why[static WHY_MAX])
{
	char		 bytes[REPLY_MAX + 1];	/* one more, to see a reply that is too long */
	int		 in[2] CLEANUP(shut_pipe) = { -1, -1 }, out[2] CLEANUP(shut_pipe) = { -1, -1 };
	int		 null CLEANUP(shut) = -1, pidfd CLEANUP(shut) = -1, answered = 0;
	int64_t		 deadline = now_ms() + DEADLINE_MS;
	sigset_t	 all, before;
	siginfo_t	 status = { .si_code = 0 };
	ssize_t		 length;

	*began = now_ms();
	if (request->overrun) {
		snprintf(why, WHY_MAX, "what it must be told is longer than %d bytes", REQUEST_MAX);
		return 0;
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);

	/* The request is in the pipe before there is anybody to read it: writing it can neither block nor fail late. */
	if (!open_pipe(in) || !open_pipe(out) ||
	    (null = above_standard(open("/dev/null", O_RDWR | O_CLOEXEC))) == -1 ||
	    fcntl(in[1], F_SETFL, O_NONBLOCK) == -1 || fcntl(out[0], F_SETFL, O_NONBLOCK) == -1 ||
	    write(in[1], request->bytes, request->length) != (ssize_t)request->length)
		snprintf(why, WHY_MAX, "its pipes cannot be made: %s", strerror(errno));
	else if (start_helper(request->verb, in[0], out[1], null, request->unconfined, &pidfd) == -1)
		snprintf(why, WHY_MAX, "it cannot be started: %s", strerror(errno));
	else {
		shut(&in[0]);
		shut(&in[1]);
		shut(&out[1]);
		length = collect(out[0], pidfd, began, &deadline, bytes, sizeof(bytes));
		answered = length >= 0 && parse_reply(bytes, (size_t)length, reply);
		shut(&out[0]);
		/* Without a reply there is nothing to wait for, but the status of a child that said nothing at all. */
		reap(pidfd, answered ? deadline : now_ms() + (length == 0 ? REAP_MS : 0), &status);
		if (length < 0)
			snprintf(why, WHY_MAX, "it did not answer within %d ms", DEADLINE_MS);
		else if (!answered)
			explain(why, &status, (size_t)length);
	}

	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return answered;
}
