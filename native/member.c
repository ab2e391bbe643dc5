/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * authnft-member: says whether a user is a member, as the module decides it and from the same source (membership.c).
 *
 * It depends on the C library alone. Not linked statically: the name service's sources are libraries that only the host's own
 * C library can load. So what loads libraries for it has to be out of the users' reach: whatever hands on an environment that
 * a user has written runs it through the entry.
 */

#define _GNU_SOURCE

#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shim.h"

#ifndef PATIENCE_S
#define PATIENCE_S	10	/* for the name service; systemd gives a user's service manager 90 to start */
#endif

#define UID_LAST	4294967294UL	/* the number after it stands for none */

/* Whoever asks takes any other status, of a shell that finds no program or of a crash, for the last. */
#define EXIT_MEMBER	0
#define EXIT_OUTSIDER	1
#define EXIT_UNKNOWN	2

static const char	help[] =
    "Usage: authnft-member [--name] [--process=PID] [--] NAME-OR-UID\n"
    "\n"
    "Says by its exit status whether a user's sessions are filtered, as pam_authnft.so\n"
    "decides it:\n"
    "  0  the user is a member of the group authnft\n"
    "  1  the user is none, or root\n"
    "  2  that cannot be known: never take it for \"no\"\n"
    "Only root is ever told 1.\n"
    "\n"
    "  --name         digits are a user's name, too, and no uid\n"
    "  --process=PID  counts the groups that PAM has given to this process\n"
    "  --help         prints this text\n";

static void __attribute__((format(printf, 3, 4)))
print_line(void *unused, int level, const char *format, ...)
{
	va_list	arguments;

	(void)unused;
	(void)level;
	fputs("authnft-member: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputs("\n", stderr);
}

/* The name service may hang, and must not take whoever waits for us with it. */
static _Noreturn void
give_up(int number)
{
	static const char	line[] = "authnft-member: the name service does not answer; see nsswitch.conf(5)\n";
	ssize_t			written = write(STDERR_FILENO, line, sizeof(line) - 1);

	(void)number;
	(void)written;
	_exit(EXIT_UNKNOWN);
}

static int
set_alarm(void)
{
	struct sigaction action = { .sa_handler = give_up };
	sigset_t	 alarm_only;

	sigemptyset(&alarm_only);
	sigaddset(&alarm_only, SIGALRM);
	if (sigaction(SIGALRM, &action, NULL) == -1 || sigprocmask(SIG_UNBLOCK, &alarm_only, NULL) == -1)
		return 0;
	alarm(PATIENCE_S);
	return 1;
}

/* A number of decimal digits and nothing else, up to the last. */
static int
read_number(const char *s, unsigned long last, unsigned long *number)
{
	if (*s == '\0' || strlen(s) > 10 || strspn(s, "0123456789") != strlen(s))
		return 0;
	*number = strtoul(s, NULL, 10);
	return *number <= last;
}

static int
read_arguments(int argc, char **argv, struct whom *whom)
{
	const char	*process = "--process=";
	unsigned long	 number;
	int		 i, named = 0;

	for (i = 1; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "--") == 0) {
			i++;
			break;
		}
		if (strcmp(argv[i], "--name") == 0)
			named = 1;
		else if (strncmp(argv[i], process, strlen(process)) == 0 &&
		    read_number(argv[i] + strlen(process), INT_MAX, &number))
			whom->process = (pid_t)number;
		else
			return 0;
	}
	if (i != argc - 1)
		return 0;
	whom->word = argv[i];
	if (named || argv[i][0] == '\0' || strspn(argv[i], "0123456789") != strlen(argv[i]))
		return 1;
	whom->by_number = 1;
	if (!read_number(argv[i], UID_LAST, &number))
		return 0;
	whom->uid = (uid_t)number;
	return 1;
}

static int
decide(const struct whom *whom)
{
	const struct log	log = { .line = print_line, .to = NULL };
	struct person		who CLEANUP(free_person) = { .lookup = { NULL, 0 } };
	enum answer		answer = look_up(&log, whom, &who);

	if (answer == ANSWER_MEMBER)
		return EXIT_MEMBER;
	if (answer == ANSWER_UNKNOWN)
		return EXIT_UNKNOWN;
	if (geteuid() != 0) {
		print_line(NULL, 0, "only root sees whether something says that %s is to be filtered", whom->word);
		return EXIT_UNKNOWN;
	}
	/* The helper has a time limit of its own. */
	alarm(0);
	return is_doubtful(&log, whom, &who.pw) ? EXIT_UNKNOWN : EXIT_OUTSIDER;
}

int
main(int argc, char **argv)
{
	struct whom	whom = { .word = NULL };

	if (argc == 2 && strcmp(argv[1], "--help") == 0)
		return fputs(help, stdout) == EOF ? EXIT_UNKNOWN : 0;
	if (!read_arguments(argc, argv, &whom)) {
		print_line(NULL, 0, "give it one name or uid; \"authnft-member --help\" says more");
		return EXIT_UNKNOWN;
	}
	if (whom.by_number && whom.uid == 0)
		return EXIT_OUTSIDER;
	if (!set_alarm()) {
		print_line(NULL, 0, "cannot set an alarm");
		return EXIT_UNKNOWN;
	}
	return decide(&whom);
}
