/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands where the helper, or the Bun program, would stand. Compiled with -DDIRECTORY="…", it writes what it was
 * given to DIRECTORY/seen and its standard input to DIRECTORY/request, and then does what DIRECTORY/plan says,
 * a word and a number in each line:
 *
 *   quick       first line only: neither seen nor request is written
 *   reply       copies DIRECTORY/reply to standard output
 *   close       closes standard output
 *   sleep MS    sleeps
 *   linger MS   leaves a process behind that holds standard output for that long
 *   kill N      sends itself a signal
 *   move        moves its parent to the cgroup that DIRECTORY/cgroup names
 *   next        has the next one do what DIRECTORY/next says
 *   exit N
 */

#define _GNU_SOURCE

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include <netinet/in.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char	**environ;

static void
copy(int from, int to)
{
	char	bytes[65536];
	ssize_t	n;

	while ((n = read(from, bytes, sizeof(bytes))) > 0)
		if (write(to, bytes, (size_t)n) != n)
			return;
}

static void
pause_ms(long ms)
{
	usleep((useconds_t)ms * 1000);
}

static void
write_status(FILE *seen)
{
	static const char *const wanted[] = { "SigPnd:", "ShdPnd:", "SigBlk:", "SigIgn:", "SigCgt:", "NoNewPrivs:",
	    "Uid:", "Gid:", "Groups:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:" };
	char	 line[4096];
	FILE	*status = fopen("/proc/self/status", "re");

	while (status != NULL && fgets(line, sizeof(line), status) != NULL)
		for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
			if (strncmp(line, wanted[i], strlen(wanted[i])) == 0)
				fprintf(seen, "%s", line);
	if (status != NULL)
		fclose(status);
}

static void
write_limits(FILE *seen)
{
	static const char *const names[] = { "cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile",
	    "memlock", "as", "locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime" };

	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct rlimit	limit;

		getrlimit((__rlimit_resource_t)i, &limit);
		fprintf(seen, "limit-%s: %ld %ld\n", names[i], (long)limit.rlim_cur, (long)limit.rlim_max);
	}
}

static void
write_descriptors(FILE *seen, FILE *plan)
{
	for (int fd = 0; fd < 4096; fd++) {
		char	path[64], target[4096];
		ssize_t	n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (fd == fileno(seen) || (plan != NULL && fd == fileno(plan)) ||
		    (n = readlink(path, target, sizeof(target) - 1)) == -1)
			continue;
		target[n] = '\0';
		fprintf(seen, "fd-%d: %s\n", fd, target);
	}
}

static void
attempted(FILE *seen, const char *what, int result)
{
	fprintf(seen, "try-%s: %s\n", what, result == -1 ? strerrorname_np(errno) : "done");
	if (result != -1)
		close(result);
}

/* What Landlock is about; each as root, so that nothing else stands in the way. */
static void
write_attempts(FILE *seen)
{
	struct sockaddr_in	nobody = { .sin_family = AF_INET, .sin_port = htons(1),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int			tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	fprintf(seen, "landlock: %ld\n", syscall(SYS_landlock_create_ruleset, NULL, 0, 1));
	attempted(seen, "read-shadow", open("/etc/shadow", O_RDONLY | O_CLOEXEC));
	attempted(seen, "read-passwd", open("/etc/passwd", O_RDONLY | O_CLOEXEC));
	attempted(seen, "list-root", open("/root", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	attempted(seen, "write-tmp", open("/tmp", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600));
	attempted(seen, "write-null", open("/dev/null", O_WRONLY | O_CLOEXEC));
	attempted(seen, "write-passwd", open("/etc/passwd", O_WRONLY | O_CLOEXEC));
	attempted(seen, "write-state", open(DIRECTORY "/state", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
	attempted(seen, "connect", connect(tcp, (struct sockaddr *)&nobody, sizeof(nobody)));
	close(tcp);
}

static void
write_seen(int argc, char **argv, FILE *plan)
{
	FILE			*seen = fopen(DIRECTORY "/seen", "we"), *cgroup;
	char			 line[4096];
	struct itimerval	 timer;
	mode_t			 mask;
	int			 signal_at_parents_death = -1;

	if (seen == NULL)
		exit(99);
	for (int i = 0; i < argc; i++)
		fprintf(seen, "arg: %s\n", argv[i]);
	for (char **variable = environ; *variable != NULL; variable++)
		fprintf(seen, "env: %s\n", *variable);
	write_status(seen);
	write_attempts(seen);
	write_limits(seen);
	write_descriptors(seen, plan);
	mask = umask(077);
	fprintf(seen, "umask: %03o\n", mask);
	fprintf(seen, "directory: %s\n", getcwd(line, sizeof(line)) == NULL ? "?" : line);
	fprintf(seen, "session-leader: %s\n", getsid(0) == getpid() ? "yes" : "no");
	fprintf(seen, "parent: %d\n", getppid());
	fprintf(seen, "nice: %d\n", getpriority(PRIO_PROCESS, 0));
	fprintf(seen, "scheduler: %d\n", sched_getscheduler(0));
	fprintf(seen, "disk-priority: %ld\n", syscall(SYS_ioprio_get, 1, 0));
	getitimer(ITIMER_REAL, &timer);
	fprintf(seen, "alarm: %ld\n", timer.it_value.tv_sec + (timer.it_value.tv_usec > 0));
	prctl(PR_GET_PDEATHSIG, &signal_at_parents_death);
	fprintf(seen, "signal-at-parents-death: %d\n", signal_at_parents_death);
	if ((cgroup = fopen("/proc/self/cgroup", "re")) != NULL) {
		while (fgets(line, sizeof(line), cgroup) != NULL)
			if (strncmp(line, "0::", 3) == 0)
				fprintf(seen, "cgroup: %s", line + 3);
		fclose(cgroup);
	}
	fclose(seen);
}

static void
move_parent(void)
{
	char	 path[4096];
	FILE	*file = fopen(DIRECTORY "/cgroup", "re");

	if (file == NULL || fgets(path, sizeof(path), file) == NULL)
		exit(98);
	fclose(file);
	mkdir(path, 0755);
	strncat(path, "/cgroup.procs", sizeof(path) - strlen(path) - 1);
	if ((file = fopen(path, "we")) == NULL || fprintf(file, "%d", getppid()) < 0 || fclose(file) != 0)
		exit(97);
}

static void
act(const char *word, long number)
{
	int	fd;

	if (strcmp(word, "reply") == 0) {
		if ((fd = open(DIRECTORY "/reply", O_RDONLY | O_CLOEXEC)) == -1)
			exit(96);
		copy(fd, STDOUT_FILENO);
		close(fd);
	} else if (strcmp(word, "close") == 0)
		close(STDOUT_FILENO);
	else if (strcmp(word, "sleep") == 0)
		pause_ms(number);
	else if (strcmp(word, "linger") == 0) {
		if (fork() == 0) {
			pause_ms(number);
			_exit(0);
		}
	} else if (strcmp(word, "kill") == 0)
		kill(getpid(), (int)number);
	else if (strcmp(word, "move") == 0)
		move_parent();
	else if (strcmp(word, "next") == 0) {
		if (rename(DIRECTORY "/next", DIRECTORY "/plan") == -1)
			exit(95);
	} else if (strcmp(word, "exit") == 0)
		exit((int)number);
}

int
main(int argc, char **argv)
{
	FILE	*plan = fopen(DIRECTORY "/plan", "re");
	char	 word[32];
	long	 number;
	int	 words, request, quick = 0;

	if (plan != NULL && fscanf(plan, "quick%n", &quick) == EOF)
		quick = 0;
	if (quick > 0)
		copy(STDIN_FILENO, -1);
	else {
		write_seen(argc, argv, plan);
		request = open(DIRECTORY "/request", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		copy(STDIN_FILENO, request);
		close(request);
	}
	for (number = 0; plan != NULL && (words = fscanf(plan, " %31[a-z] %ld", word, &number)) >= 1; number = 0)
		act(word, number);
	return 0;
}
