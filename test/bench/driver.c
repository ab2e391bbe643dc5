/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Opens and closes PAM sessions and prints how long that took, for the benchmarks. Each session gets a process of its
 * own, as with sshd, and begins when nothing of the one before is left.
 *
 *   driver sessions TURNS SECONDS RHOST SERVICE:USER ...
 *       a line each: SERVICE:USER, microseconds of start, open and close, and what close returned
 *   driver pamtester TURNS SECONDS RHOST SERVICE:USER ...
 *       a line each: SERVICE:USER, microseconds of a whole run of pamtester
 *   driver hold RHOST SERVICE:USER
 *       opens, prints its cgroup, and closes at the end of standard input
 *
 * The kinds take turns, and each turn begins with another one: whatever disturbs the machine disturbs all alike. On a
 * busy machine there are fewer turns: none begins after that many seconds.
 */

#define _GNU_SOURCE

#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <security/pam_appl.h>

#define SESSION_MS	30	/* between open and close: what open left to systemd and the kernel is done by then */
#define SETTLE_MS	10	/* for systemd to forget a scope before the next session begins */
#define STARTING_MS	250	/* within this time of a scope's end systemd has started its clean-up, if there is one */
#define ENDING_MS	5000	/* within this time everything is gone, or something is wrong */
#define LEAST_TURNS	3	/* however busy the machine is */

static _Noreturn void
fail(const char *what)
{
	perror(what);
	exit(1);
}

static double
now_us(void)
{
	struct timespec	t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void
sleep_ms(long ms)
{
	struct timespec	t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

/* Whoever is refused is to see why. */
static int
converse(int count, const struct pam_message **messages, struct pam_response **responses, void *data)
{
	(void)data;
	for (int i = 0; i < count; i++)
		fprintf(stderr, "%s\n", messages[i]->msg);
	*responses = calloc((size_t)count, sizeof(**responses));
	return *responses == NULL ? PAM_BUF_ERR : PAM_SUCCESS;
}

static pam_handle_t *
begin(const char *service, const char *user, const char *rhost)
{
	struct pam_conv	 conv = { .conv = converse };
	pam_handle_t	*pamh = NULL;

	if (pam_start(service, user, &conv, &pamh) != PAM_SUCCESS || pam_set_item(pamh, PAM_RHOST, rhost) != PAM_SUCCESS) {
		fprintf(stderr, "cannot start PAM for service %s\n", service);
		exit(1);
	}
	return pamh;
}

static void
succeed(pam_handle_t *pamh, const char *act, int result)
{
	if (result == PAM_SUCCESS)
		return;
	fprintf(stderr, "cannot %s a session: %s\n", act, pam_strerror(pamh, result));
	exit(1);
}

/* In the process whose session it is. */
static void
one_session(const char *kind, const char *service, const char *user, const char *rhost)
{
	pam_handle_t	*pamh;
	double		 start, open, opened, close, closed;
	int		 result;

	start = now_us();
	pamh = begin(service, user, rhost);
	open = now_us();
	result = pam_open_session(pamh, 0);
	opened = now_us();
	succeed(pamh, "open", result);
	sleep_ms(SESSION_MS);
	close = now_us();
	result = pam_close_session(pamh, 0);
	closed = now_us();
	pam_end(pamh, PAM_SUCCESS);
	printf("%s %.1f %.1f %.1f %d\n", kind, open - start, opened - open, closed - close, result);
	fflush(stdout);
	_exit(0);
}

static _Noreturn void
one_pamtester(const char *service, const char *user, const char *rhost)
{
	char	item[128];
	int	null = open("/dev/null", O_WRONLY);

	snprintf(item, sizeof(item), "rhost=%s", rhost);
	dup2(null, STDOUT_FILENO);
	execlp("pamtester", "pamtester", "-I", item, service, user, "open_session", "close_session", (char *)NULL);
	_exit(127);
}

/* Waits for a path to be there or not to be there; returns whether it came so. */
static int
await(const char *path, int there, long ms)
{
	struct stat	st;

	for (; (stat(path, &st) == 0) != there; ms--) {
		if (ms <= 0)
			return 0;
		sleep_ms(1);
	}
	return 1;
}

/*
 * Waits until the session's scope is gone, and what systemd starts then has ended. Returns whether systemd started
 * anything: a session that is not ours leaves nothing to wait for.
 */
static int
await_end(const char *user, pid_t pid)
{
	char	scope[256], cleanup[256];
	int	started;

	snprintf(scope, sizeof(scope), "/sys/fs/cgroup/authnft.slice/authnft-%s-%d.scope", user, pid);
	snprintf(cleanup, sizeof(cleanup), "/sys/fs/cgroup/system.slice/authnft-end@authnft-%s-%d.scope.service", user, pid);
	if (!await(scope, 0, ENDING_MS))
		fprintf(stderr, "%s does not go away\n", scope);
	started = await(cleanup, 1, STARTING_MS);
	if (started && !await(cleanup, 0, ENDING_MS))
		fprintf(stderr, "%s does not end\n", cleanup);
	sleep_ms(SETTLE_MS);
	return started;
}

/* Returns whether there was an end to wait for. */
static int
run(int pamtester, const char *kind, const char *rhost, int wait_for_end)
{
	char	 service[64], user[64];
	double	 start;
	int	 status;
	pid_t	 pid;

	if (sscanf(kind, "%63[^:]:%63s", service, user) != 2) {
		fprintf(stderr, "%s is not SERVICE:USER\n", kind);
		exit(2);
	}
	start = now_us();
	if ((pid = fork()) == -1)
		fail("fork");
	if (pid == 0) {
		if (pamtester)
			one_pamtester(service, user, rhost);
		one_session(kind, service, user, rhost);
	}
	if (waitpid(pid, &status, 0) == -1)
		fail("waitpid");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		fprintf(stderr, "%s: the session's process ended with status %d\n", kind, status);
		exit(1);
	}
	if (pamtester)
		printf("%s %.1f\n", kind, now_us() - start);
	return wait_for_end && await_end(user, pid);
}

static void
hold(const char *rhost, const char *kind)
{
	char		 service[64], user[64], line[4096];
	pam_handle_t	*pamh;
	FILE		*file;

	if (sscanf(kind, "%63[^:]:%63s", service, user) != 2)
		exit(2);
	pamh = begin(service, user, rhost);
	succeed(pamh, "open", pam_open_session(pamh, 0));
	if ((file = fopen("/proc/self/cgroup", "re")) == NULL)
		fail("/proc/self/cgroup");
	while (fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, "0::", 3) == 0)
			fputs(line + 3, stdout);
	fclose(file);
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin) != NULL)
		;
	succeed(pamh, "close", pam_close_session(pamh, 0));
	pam_end(pamh, PAM_SUCCESS);
}

int
main(int argc, char **argv)
{
	int	pamtester = argc > 1 && strcmp(argv[1], "pamtester") == 0, kinds = argc - 5, turns, *ends;
	double	end;

	if (argc == 4 && strcmp(argv[1], "hold") == 0) {
		hold(argv[2], argv[3]);
		return 0;
	}
	if (argc < 6 || (!pamtester && strcmp(argv[1], "sessions") != 0)) {
		fprintf(stderr, "usage: driver sessions|pamtester TURNS SECONDS RHOST SERVICE:USER ...\n"
		    "       driver hold RHOST SERVICE:USER\n");
		return 2;
	}
	turns = atoi(argv[2]);
	end = now_us() + atof(argv[3]) * 1e6;
	/* Where the first session of a kind left nothing to wait for, the others will not either. */
	if ((ends = calloc((size_t)kinds, sizeof(*ends))) == NULL)
		fail("calloc");
	for (int k = 0; k < kinds; k++)
		ends[k] = 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 0; i < turns && (i < LEAST_TURNS || now_us() < end); i++)
		for (int k = 0; k < kinds; k++) {
			int	which = (i + k) % kinds;

			ends[which] = run(pamtester, argv[5 + which], argv[4], ends[which]);
		}
	free(ends);
	return 0;
}
