/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Prints how much memory the helper takes, for the benchmarks. Speaks to it as the shim does, but takes no reply at
 * first: with its work done the helper waits for room in the pipe, and can be looked at for as long as need be.
 *
 *   memory COUNT USER UID GID RHOST
 *
 * Opens COUNT sessions at once, looks at the COUNT helpers, lets them go, and does the same with close. A line for
 * each: "open" or "close", then kB: peak of the resident set (the median), and the sums of the proportional set and of
 * the private memory.
 */

#define _GNU_SOURCE

#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MOST		64	/* helpers at once */
#define PATIENCE_MS	10000	/* what the shim grants */

/* A process whose session it is. */
struct session {
	pid_t	pid;
	int	commands;	/* a byte each: go on to the next step */
	int	answers;	/* of the helper's process id, at each step */
	pid_t	helper;
};

static _Noreturn void
fail(const char *what)
{
	perror(what);
	exit(1);
}

static void
sleep_ms(long ms)
{
	struct timespec	t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

static void
make_pipe(int ends[2])
{
	if (pipe2(ends, O_CLOEXEC) == -1)
		fail("pipe");
}

/* Fills a pipe, so that the next who writes has to wait. */
static void
stuff(int fd)
{
	char	bytes[4096] = { 0 };

	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (write(fd, bytes, sizeof(bytes)) > 0 || write(fd, bytes, 1) > 0)
		;
	fcntl(fd, F_SETFL, 0);
}

static pid_t
start_helper(const char *type, char **who, int *reply)
{
	char	*argv[] = { (char []){ "authnft" }, (char []){ "session" }, NULL }, *environment[] = { NULL };
	int	 in[2], out[2];
	pid_t	 pid;

	make_pipe(in);
	make_pipe(out);
	dprintf(in[1], "{\"v\":1,\"type\":\"%s\",\"user\":\"%s\",\"uid\":%s,\"gid\":%s,\"service\":\"bench\",\"rhost\":\"%s\","
	    "\"tty\":\"\",\"ruser\":\"\",\"pid\":%d,\"args\":[],\"env\":{},\"session\":\"\"}",
	    type, who[0], who[1], who[2], who[3], getpid());
	stuff(out[1]);
	if ((pid = fork()) == -1)
		fail("fork");
	if (pid == 0) {
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		execve("/usr/libexec/authnft", argv, environment);
		_exit(127);
	}
	close(in[0]);
	close(in[1]);
	close(out[1]);
	*reply = out[0];
	return pid;
}

/* Waits until the helper waits for its reply to be taken. */
static void
await_reply(pid_t helper)
{
	char	path[64], line[128];
	long	number;
	int	fd;
	FILE	*file;

	snprintf(path, sizeof(path), "/proc/%d/syscall", helper);
	for (int ms = 0; ms < PATIENCE_MS; ms++) {
		if ((file = fopen(path, "re")) == NULL)
			fail(path);
		if (fgets(line, sizeof(line), file) != NULL && sscanf(line, "%ld %i", &number, &fd) == 2 &&
		    number == SYS_write && fd == STDOUT_FILENO) {
			fclose(file);
			return;
		}
		fclose(file);
		sleep_ms(1);
	}
	fprintf(stderr, "the helper does not reply\n");
	exit(1);
}

/* The session's own process: opens and closes on command. */
static _Noreturn void
live(char **who, int commands, int answers)
{
	static const char *const	types[] = { "open", "close" };
	char				bytes[4096], text[8192];
	int				reply, status;
	pid_t				helper;

	for (int i = 0; i < 2; i++) {
		size_t	length = 0;
		ssize_t	n;

		helper = start_helper(types[i], who, &reply);
		await_reply(helper);
		if (write(answers, &helper, sizeof(helper)) != sizeof(helper) || read(commands, bytes, 1) != 1)
			exit(1);
		/* The stuffing is all NUL. */
		while ((n = read(reply, bytes, sizeof(bytes))) > 0)
			for (ssize_t b = 0; b < n; b++)
				if (bytes[b] != '\0' && length < sizeof(text) - 1)
					text[length++] = bytes[b];
		text[length] = '\0';
		close(reply);
		waitpid(helper, &status, 0);
		if (strstr(text, "result=ok") == NULL) {
			fprintf(stderr, "no %s: the helper says: %s\n", types[i], text);
			exit(1);
		}
	}
	exit(0);
}

static struct session
new_session(char **who)
{
	struct session	session = { .helper = 0 };
	int		commands[2], answers[2];

	make_pipe(commands);
	make_pipe(answers);
	if ((session.pid = fork()) == -1)
		fail("fork");
	if (session.pid == 0)
		live(who, commands[0], answers[1]);
	close(commands[0]);
	close(answers[1]);
	session.commands = commands[1];
	session.answers = answers[0];
	return session;
}

/* A number of kB in a file of /proc. */
static long
read_field(pid_t pid, const char *name, const char *field)
{
	char	path[64], line[256];
	long	value = -1;
	FILE	*file;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	if ((file = fopen(path, "re")) == NULL)
		fail(path);
	while (fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, field, strlen(field)) == 0)
			value = atol(line + strlen(field));
	fclose(file);
	return value;
}

static int
compare(const void *a, const void *b)
{
	long	x = *(const long *)a, y = *(const long *)b;

	return (x > y) - (x < y);
}

int
main(int argc, char **argv)
{
	struct session	sessions[MOST];
	int		count = argc == 6 ? atoi(argv[1]) : 0, status, failed = 0;

	if (count < 1 || count > MOST) {
		fprintf(stderr, "usage: memory COUNT USER UID GID RHOST, with up to %d at once\n", MOST);
		return 2;
	}
	for (int i = 0; i < count; i++)
		sessions[i] = new_session(argv + 2);
	for (int step = 0; step < 2; step++) {
		long	peaks[MOST], pss = 0, private = 0;

		for (int i = 0; i < count; i++)
			if (read(sessions[i].answers, &sessions[i].helper, sizeof(pid_t)) != sizeof(pid_t))
				return 1;
		for (int i = 0; i < count; i++) {
			pid_t	helper = sessions[i].helper;

			peaks[i] = read_field(helper, "status", "VmHWM:");
			pss += read_field(helper, "smaps_rollup", "Pss:");
			private += read_field(helper, "smaps_rollup", "Private_Clean:") +
			    read_field(helper, "smaps_rollup", "Private_Dirty:");
		}
		qsort(peaks, (size_t)count, sizeof(peaks[0]), compare);
		printf("%s %ld %ld %ld\n", step == 0 ? "open" : "close", peaks[count / 2], pss, private);
		for (int i = 0; i < count; i++)
			if (write(sessions[i].commands, "", 1) != 1)
				return 1;
	}
	for (int i = 0; i < count; i++) {
		waitpid(sessions[i].pid, &status, 0);
		failed += status != 0;
	}
	return failed > 0;
}
