/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Starts a program the way a hostile or careless caller would:
 *
 *   launch [word …] -- program [argument …]
 *
 * It starts with an empty environment; words act in their order:
 *
 *   env:NAME=VALUE    one more string in the environment, duplicates kept
 *   uid=R,E gid=R,E   real and effective id         groups=N        one supplementary group
 *   nice=N            nice value                    batch           SCHED_BATCH
 *   disk=N            disk priority                 limit:N=VALUE   soft limit of resource N
 *   umask=OCTAL                                     directory=PATH
 *   block=N ignore=N  a signal                      pending=N       blocks a signal and sends it
 *   descriptors=N     opens so many, to be inherited closed=N       closes one
 *   dies-with=N       signal at the parent's death  leader          a session of its own
 *   log=PATH          a log socket there: each datagram is printed as "log: …" when the program has ended
 *
 * Ends with the program's status, or 128 and the signal's number.
 */

#define _GNU_SOURCE

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <err.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VARIABLES_MAX	256

static char	*variables[VARIABLES_MAX + 1];
static size_t	 variable_count;
static int	 log_socket = -1;

static const char *
value_of(const char *word, const char *name)
{
	size_t	n = strlen(name);

	return strncmp(word, name, n) == 0 ? word + n : NULL;
}

static void
open_log(const char *path)
{
	struct sockaddr_un	address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	log_socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (log_socket == -1 || bind(log_socket, (struct sockaddr *)&address, sizeof(address)) == -1)
		err(90, "%s", path);
	chmod(path, 0666);
}

static void
send_to_self(int number)
{
	sigset_t	one;

	sigemptyset(&one);
	sigaddset(&one, number);
	sigprocmask(SIG_BLOCK, &one, NULL);
	raise(number);
}

static void
block(int number)
{
	sigset_t	one;

	sigemptyset(&one);
	sigaddset(&one, number);
	sigprocmask(SIG_BLOCK, &one, NULL);
}

/* What must be done in the process that becomes the program. */
static void
act(char *word)
{
	struct sched_param	param = { .sched_priority = 0 };
	const char		*value;
	char			*rest;
	long			 number;
	gid_t			 group;
	int			 failed = 0;

	if ((value = value_of(word, "env:")) != NULL) {
		if (variable_count < VARIABLES_MAX)
			variables[variable_count++] = word + strlen("env:");
	} else if ((value = value_of(word, "uid=")) != NULL) {
		number = strtol(value, &rest, 10);
		failed = setresuid((uid_t)number, (uid_t)strtol(rest + 1, NULL, 10), (uid_t)-1);
	} else if ((value = value_of(word, "gid=")) != NULL) {
		number = strtol(value, &rest, 10);
		failed = setresgid((gid_t)number, (gid_t)strtol(rest + 1, NULL, 10), (gid_t)-1);
	} else if ((value = value_of(word, "groups=")) != NULL) {
		group = (gid_t)atoi(value);
		failed = setgroups(1, &group);
	} else if ((value = value_of(word, "nice=")) != NULL)
		failed = setpriority(PRIO_PROCESS, 0, atoi(value));
	else if (strcmp(word, "batch") == 0)
		failed = sched_setscheduler(0, SCHED_BATCH, &param);
	else if ((value = value_of(word, "disk=")) != NULL)
		failed = (int)syscall(SYS_ioprio_set, 1, 0, atoi(value));
	else if ((value = value_of(word, "limit:")) != NULL) {
		struct rlimit	limit;

		number = strtol(value, &rest, 10);
		getrlimit((__rlimit_resource_t)number, &limit);
		limit.rlim_cur = (rlim_t)strtol(rest + 1, NULL, 10);
		failed = setrlimit((__rlimit_resource_t)number, &limit);
	} else if ((value = value_of(word, "umask=")) != NULL)
		umask((mode_t)strtol(value, NULL, 8));
	else if ((value = value_of(word, "directory=")) != NULL)
		failed = chdir(value);
	else if ((value = value_of(word, "block=")) != NULL)
		block(atoi(value));
	else if ((value = value_of(word, "ignore=")) != NULL)
		failed = signal(atoi(value), SIG_IGN) == SIG_ERR;
	else if ((value = value_of(word, "pending=")) != NULL)
		send_to_self(atoi(value));
	else if ((value = value_of(word, "descriptors=")) != NULL) {
		for (int i = atoi(value); i > 0; i--)
			failed |= open("/dev/null", O_RDONLY) == -1;
	} else if ((value = value_of(word, "closed=")) != NULL)
		failed = close(atoi(value));
	else if ((value = value_of(word, "dies-with=")) != NULL)
		failed = prctl(PR_SET_PDEATHSIG, atoi(value));
	else if (strcmp(word, "leader") == 0)
		failed = setsid() == -1;
	else if (value_of(word, "log=") == NULL)
		errx(90, "unknown word %s", word);
	if (failed)
		err(90, "%s", word);
}

int
main(int argc, char **argv)
{
	int	first = 1, status;
	char	line[1024];
	ssize_t	n;
	pid_t	pid;

	while (first < argc && strcmp(argv[first], "--") != 0) {
		if (value_of(argv[first], "log=") != NULL)
			open_log(argv[first] + strlen("log="));
		first++;
	}
	if (first + 1 >= argc)
		errx(90, "usage: launch [word ...] -- program [argument ...]");

	if ((pid = fork()) == 0) {
		for (int i = 1; i < first; i++)
			act(argv[i]);
		execve(argv[first + 1], &argv[first + 1], variables);
		err(91, "%s", argv[first + 1]);
	}
	if (pid == -1 || waitpid(pid, &status, 0) == -1)
		err(90, "fork");
	while (log_socket != -1 && (n = recv(log_socket, line, sizeof(line), MSG_DONTWAIT)) >= 0)
		printf("log: %.*s\n", (int)n, line);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
