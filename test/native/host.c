/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A PAM application: loads the shim through the real libpam and prints what comes out of it.
 *
 *   host CONFDIR SERVICE USER [word …]
 *
 * Words act in their order:
 *
 *   rhost=X tty=X ruser=X service=X env:NAME=VALUE   PAM items and environment
 *   open open-silent close                           the calls
 *   cycles=N                                         N times open and close with this handle
 *   handles=N                                        N times a handle of its own, opened, closed and ended
 *   sigchld=ignore|handler|thread                    how this host treats its children
 *   closed=N                                         closes a descriptor
 *   turns=FILE:N                                     locks the first bytes of a file, as others who log in would
 *   sockets=N                                        opens so many internet sockets, and as many others; prints their inodes
 *   limit:nofile=N limit:spare=BYTES                 soft limit of descriptors, and of memory beyond what is in use
 *   storm=N                                          a process beside this one sends SIGINT and SIGTSTP to the group
 *   interrupt=MS                                     SIGINT to the group after so long
 *   clone3=N                                         the system call fails with this errno
 *   pidfd=server                                     a process outside valgrind makes the descriptors for processes
 *   nss:person=NAME:UID:GID | none | error:N | slow:MS    what the name service answers; "real" is this system's own
 *   nss:uid=NAME:UID:GID | none | real                    and when it is asked for a number
 *   nss:gid=NAME:GID | none | error:N | real
 *   nss:group=GID:MEMBER,… | none | error:N | real
 *   nss:list=GID,… | fail | real                          of whatever user; nss:list-of=NAME:GID,… of one
 *   groups=GID                                            puts this process into a group, as pam_group does
 *
 * Prints "log PRIORITY TEXT", "say STYLE TEXT", "open CODE MS", "close CODE MS", and at the end "env …", how often
 * the name service was asked, which signals arrived, and whether descriptors, children, signal mask or handlers are
 * other than before.
 */

#define _GNU_SOURCE

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <dirent.h>
#include <dlfcn.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include <security/pam_appl.h>

#define EXPORT	__attribute__((visibility("default")))

static FILE		*out;
static const char	*person = "none", *group = "none", *list = "", *list_of = "", *by_uid = "none", *by_gid = "none";
static int		 asked_person, asked_group, asked_list;
static int		 clone3_errno;
static int		 server = -1;
static pid_t		 server_pid, storm_pid;
static volatile sig_atomic_t interrupted, stopped, reaped;

/* ---- what the shim and libpam call, instead of libc's ---- */

static void
log_line(int priority, const char *format, va_list arguments)
{
	fprintf(out, "log %d ", LOG_PRI(priority));
	vfprintf(out, format, arguments);
	fprintf(out, "\n");
}

EXPORT void
syslog(int priority, const char *format, ...)
{
	va_list	arguments;

	va_start(arguments, format);
	log_line(priority, format, arguments);
	va_end(arguments);
}

EXPORT void
__syslog_chk(int priority, int flag, const char *format, ...)
{
	va_list	arguments;

	(void)flag;
	va_start(arguments, format);
	log_line(priority, format, arguments);
	va_end(arguments);
}

/* Puts strings into a caller's buffer, as the reentrant functions do. */
static char *
put(char **at, size_t *left, const char *s, size_t length)
{
	char	*here = *at;

	if (length + 1 > *left)
		return NULL;
	memcpy(here, s, length);
	here[length] = '\0';
	*at += length + 1;
	*left -= length + 1;
	return here;
}

EXPORT int
getpwnam_r(const char *name, struct passwd *pw, char *bytes, size_t size, struct passwd **found)
{
	size_t	name_length = strcspn(person, ":");
	char	*rest;

	asked_person++;
	*found = NULL;
	if (strcmp(person, "real") == 0) {
		int	(*real)(const char *, struct passwd *, char *, size_t, struct passwd **);

		*(void **)&real = dlsym(RTLD_NEXT, "getpwnam_r");
		return real(name, pw, bytes, size, found);
	}
	if (strcmp(person, "none") == 0)
		return 0;
	if (strncmp(person, "error:", 6) == 0)
		return atoi(person + 6);
	if (strncmp(person, "slow:", 5) == 0) {
		usleep((useconds_t)atoi(person + 5) * 1000);
		return 0;
	}
	memset(pw, 0, sizeof(*pw));
	if ((pw->pw_name = put(&bytes, &size, person, name_length)) == NULL)
		return ERANGE;
	pw->pw_uid = (uid_t)strtoul(person + name_length + 1, &rest, 10);
	pw->pw_gid = (gid_t)strtoul(rest + 1, NULL, 10);
	*found = pw;
	return 0;
}

EXPORT int
getpwuid_r(uid_t uid, struct passwd *pw, char *bytes, size_t size, struct passwd **found)
{
	size_t	name_length = strcspn(by_uid, ":");
	char	*rest;

	asked_person++;
	*found = NULL;
	if (strcmp(by_uid, "real") == 0) {
		int	(*real)(uid_t, struct passwd *, char *, size_t, struct passwd **);

		*(void **)&real = dlsym(RTLD_NEXT, "getpwuid_r");
		return real(uid, pw, bytes, size, found);
	}
	memset(pw, 0, sizeof(*pw));
	if (strcmp(by_uid, "none") == 0)
		return 0;
	if ((pw->pw_name = put(&bytes, &size, by_uid, name_length)) == NULL)
		return ERANGE;
	pw->pw_uid = (uid_t)strtoul(by_uid + name_length + 1, &rest, 10);
	pw->pw_gid = (gid_t)strtoul(rest + 1, NULL, 10);
	if (pw->pw_uid == uid)
		*found = pw;
	return 0;
}

EXPORT int
getgrgid_r(gid_t gid, struct group *gr, char *bytes, size_t size, struct group **found)
{
	size_t	name_length = strcspn(by_gid, ":");

	asked_group++;
	*found = NULL;
	if (strcmp(by_gid, "real") == 0) {
		int	(*real)(gid_t, struct group *, char *, size_t, struct group **);

		*(void **)&real = dlsym(RTLD_NEXT, "getgrgid_r");
		return real(gid, gr, bytes, size, found);
	}
	memset(gr, 0, sizeof(*gr));
	if (strcmp(by_gid, "none") == 0)
		return 0;
	if (strncmp(by_gid, "error:", 6) == 0)
		return atoi(by_gid + 6);
	if ((gr->gr_name = put(&bytes, &size, by_gid, name_length)) == NULL)
		return ERANGE;
	gr->gr_gid = (gid_t)strtoul(by_gid + name_length + 1, NULL, 10);
	if (gr->gr_gid == gid)
		*found = gr;
	return 0;
}

EXPORT int
getgrnam_r(const char *name, struct group *gr, char *bytes, size_t size, struct group **found)
{
	static const size_t	slot = sizeof(char *);
	char			*rest, **members;
	size_t			 count = 0, most;

	asked_group++;
	*found = NULL;
	if (strcmp(group, "real") == 0) {
		int	(*real)(const char *, struct group *, char *, size_t, struct group **);

		*(void **)&real = dlsym(RTLD_NEXT, "getgrnam_r");
		return real(name, gr, bytes, size, found);
	}
	if (strcmp(group, "none") == 0)
		return 0;
	if (strncmp(group, "error:", 6) == 0)
		return atoi(group + 6);
	memset(gr, 0, sizeof(*gr));
	gr->gr_gid = (gid_t)strtoul(group, &rest, 10);
	most = strlen(rest) + 1;
	while ((uintptr_t)bytes % slot != 0 && size > 0) {
		bytes++;
		size--;
	}
	if (most * slot > size)
		return ERANGE;
	members = (char **)(void *)bytes;
	bytes += most * slot;
	size -= most * slot;
	while (*rest != '\0') {
		size_t	length = strcspn(++rest, ",");

		if (length > 0 && (members[count++] = put(&bytes, &size, rest, length)) == NULL)
			return ERANGE;
		rest += length;
	}
	members[count] = NULL;
	gr->gr_mem = members;
	if ((gr->gr_name = put(&bytes, &size, name, strlen(name))) == NULL)
		return ERANGE;
	*found = gr;
	return 0;
}

EXPORT int
getgrouplist(const char *user, gid_t primary, gid_t *groups, int *count)
{
	int		 size = *count, n = 0;
	const char	*at = list;
	size_t		 length = strcspn(list_of, ":");

	asked_list++;
	if (strcmp(list, "real") == 0) {
		int	(*real)(const char *, gid_t, gid_t *, int *);

		*(void **)&real = dlsym(RTLD_NEXT, "getgrouplist");
		return real(user, primary, groups, count);
	}
	if (strcmp(list, "fail") == 0)
		return -1;
	if (*list_of != '\0' && strlen(user) == length && strncmp(user, list_of, length) == 0)
		at = list_of + length + 1;
	if (n < size)
		groups[n] = primary;
	n++;
	while (*at != '\0') {
		if (n < size)
			groups[n] = (gid_t)strtoul(at, NULL, 10);
		n++;
		at += strcspn(at, ",");
		at += *at == ',';
	}
	*count = n;
	return n <= size ? n : -1;
}

/* valgrind up to 3.19 knows no descriptor for a process; a process beside it makes them, and hands them over. */
struct question {
	long	number;
	long	argument;
};

static long
ask_server(long number, long argument)
{
	char		 control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct question	 question = { number, argument };
	struct iovec	 part = { &question, sizeof(question) };
	struct msghdr	 message = { .msg_iov = &part, .msg_iovlen = 1 };
	struct cmsghdr	*header;
	int		 fd = -1;

	if (number == SYS_pidfd_send_signal) {
		message.msg_control = control;
		message.msg_controllen = sizeof(control);
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		fd = (int)argument;
		memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	}
	if (sendmsg(server, &message, 0) == -1)
		return -1;
	message.msg_control = control;
	message.msg_controllen = sizeof(control);
	if (recvmsg(server, &message, MSG_CMSG_CLOEXEC) <= 0)
		return -1;
	if (question.argument < 0) {
		errno = (int)-question.argument;
		return -1;
	}
	if ((header = CMSG_FIRSTHDR(&message)) == NULL)
		return 0;
	memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	return fd;
}

static int
serve(int socket)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		char		 control[CMSG_SPACE(sizeof(int))] = { 0 };
		struct question	 question;
		struct iovec	 part = { &question, sizeof(question) };
		struct msghdr	 message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
		    .msg_controllen = sizeof(control) };
		struct cmsghdr	*header;
		long		 result;
		int		 fd = -1;

		if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) <= 0)
			return 0;
		header = CMSG_FIRSTHDR(&message);
		if (header != NULL)
			memcpy(&fd, CMSG_DATA(header), sizeof(fd));
		if (question.number == SYS_pidfd_open)
			result = syscall(SYS_pidfd_open, (pid_t)question.argument, 0);
		else
			result = syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
		if (fd != -1)
			close(fd);
		fd = question.number == SYS_pidfd_open ? (int)result : -1;
		question.argument = result == -1 ? -errno : 0;
		message.msg_control = NULL;
		message.msg_controllen = 0;
		if (fd != -1) {
			memset(control, 0, sizeof(control));
			message.msg_control = control;
			message.msg_controllen = sizeof(control);
			header = CMSG_FIRSTHDR(&message);
			header->cmsg_level = SOL_SOCKET;
			header->cmsg_type = SCM_RIGHTS;
			header->cmsg_len = CMSG_LEN(sizeof(int));
			memcpy(CMSG_DATA(header), &fd, sizeof(fd));
		}
		if (sendmsg(socket, &message, 0) == -1)
			return 1;
		if (fd != -1)
			close(fd);
	}
}

EXPORT long
syscall(long number, ...)
{
	static long	(*real)(long, ...);
	long		 a[6];
	va_list		 arguments;

	va_start(arguments, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(arguments, long);
	va_end(arguments);
	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "syscall");
	if (number == SYS_clone3 && clone3_errno != 0) {
		errno = clone3_errno;
		return -1;
	}
	if (server != -1 && (number == SYS_pidfd_open || number == SYS_pidfd_send_signal))
		return ask_server(number, a[0]);
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- the host ---- */

static int
converse(int count, const struct pam_message **messages, struct pam_response **responses, void *data)
{
	(void)data;
	for (int i = 0; i < count; i++)
		fprintf(out, "say %d %s\n", messages[i]->msg_style, messages[i]->msg);
	*responses = calloc((size_t)count, sizeof(**responses));
	return *responses == NULL ? PAM_BUF_ERR : PAM_SUCCESS;
}

static const struct pam_conv	conversation = { converse, NULL };

static long
now_ms(void)
{
	struct timespec	t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int
count_descriptors(void)
{
	int	n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) != -1;
	return n;
}

/* Children that are none of this host's own, dead or alive. */
static int
count_children(void)
{
	int	n = 0;
	long	pid;
	FILE	*children = fopen("/proc/thread-self/children", "re");

	while (children != NULL && fscanf(children, "%ld", &pid) == 1)
		n += pid != server_pid && pid != storm_pid;
	if (children != NULL)
		fclose(children);
	return n;
}

static void
print_cgroup(void)
{
	char	line[4096];
	FILE	*file = fopen("/proc/self/cgroup", "re");

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, "0::", 3) == 0)
			fprintf(out, "cgroup %s", line + 3);
	if (file != NULL)
		fclose(file);
}

static void
note_signal(int number)
{
	if (number == SIGINT)
		interrupted++;
	else
		stopped++;
}

static void
reap_all(int number)
{
	(void)number;
	while (waitpid(-1, NULL, WNOHANG | __WALL) > 0)
		reaped++;
}

static void *
reap_forever(void *unused)
{
	(void)unused;
	for (;;) {
		if (waitpid(-1, NULL, __WALL) > 0)
			reaped++;
		else
			usleep(200);
	}
	return NULL;
}

static void
handle_children(const char *how)
{
	pthread_t	thread;

	if (strcmp(how, "ignore") == 0)
		signal(SIGCHLD, SIG_IGN);
	else if (strcmp(how, "handler") == 0)
		signal(SIGCHLD, reap_all);
	else if (strcmp(how, "thread") != 0 || pthread_create(&thread, NULL, reap_forever, NULL) != 0)
		errx(2, "sigchld=%s", how);
}

static void
watch_signals(void)
{
	signal(SIGINT, note_signal);
	signal(SIGTSTP, note_signal);
}

static void
limit_memory(long spare)
{
	struct rlimit	 limit;
	FILE		*file = fopen("/proc/self/statm", "re");
	long		 pages = 0;

	if (file == NULL || fscanf(file, "%ld", &pages) != 1)
		errx(2, "statm");
	fclose(file);
	getrlimit(RLIMIT_AS, &limit);
	limit.rlim_cur = (rlim_t)(pages * sysconf(_SC_PAGESIZE) + spare);
	setrlimit(RLIMIT_AS, &limit);
}

/* What a user at a terminal can do to the foreground process group, as fast as they like. */
static void
storm(int count)
{
	watch_signals();
	if ((storm_pid = fork()) != 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGINT, SIG_IGN);
	signal(SIGTSTP, SIG_IGN);
	for (int i = 0; i < count; i++) {
		kill(0, i % 2 == 0 ? SIGINT : SIGTSTP);
		usleep(50);
	}
	_exit(0);
}

static void
interrupt_after(int ms)
{
	watch_signals();
	if ((storm_pid = fork()) != 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGINT, SIG_IGN);
	usleep((useconds_t)ms * 1000);
	kill(0, SIGINT);
	_exit(0);
}

static void
start_server(const char *program)
{
	int	ends[2];
	char	number[16];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == -1)
		err(2, "socketpair");
	if ((server_pid = fork()) == 0) {
		snprintf(number, sizeof(number), "%d", ends[1]);
		close(ends[0]);
		execl(program, "host", "serve", number, NULL);
		_exit(1);
	}
	close(ends[1]);
	fcntl(ends[0], F_SETFD, FD_CLOEXEC);
	server = ends[0];
}

static const char *
value_of(const char *word, const char *name)
{
	size_t	n = strlen(name);

	return strncmp(word, name, n) == 0 ? word + n : NULL;
}

static void
call_open(pam_handle_t *pamh, int flags)
{
	long	start = now_ms();
	int	code = pam_open_session(pamh, flags);

	fprintf(out, "open %d %ld\n", code, now_ms() - start);
}

static void
call_close(pam_handle_t *pamh)
{
	long	start = now_ms();
	int	code = pam_close_session(pamh, 0);

	fprintf(out, "close %d %ld\n", code, now_ms() - start);
}

static void
cycle(pam_handle_t *pamh, int count)
{
	int	failures = 0;

	for (int i = 0; i < count; i++) {
		failures += pam_open_session(pamh, 0) != PAM_SUCCESS;
		failures += pam_close_session(pamh, 0) != PAM_SUCCESS;
	}
	fprintf(out, "cycles %d failures %d\n", count, failures);
}

static void
cycle_handles(const char *confdir, const char *service, const char *user, int count)
{
	int	failures = 0;

	for (int i = 0; i < count; i++) {
		pam_handle_t	*pamh = NULL;
		int		 code;

		if (pam_start_confdir(service, user, &conversation, confdir, &pamh) != PAM_SUCCESS)
			errx(2, "pam_start");
		failures += (code = pam_open_session(pamh, 0)) != PAM_SUCCESS;
		failures += pam_close_session(pamh, 0) != PAM_SUCCESS;
		failures += pam_end(pamh, code) != PAM_SUCCESS;
	}
	fprintf(out, "handles %d failures %d\n", count, failures);
}

static void
act(pam_handle_t *pamh, char **argv, const char *word)
{
	const char	*value;

	if ((value = value_of(word, "rhost=")) != NULL)
		pam_set_item(pamh, PAM_RHOST, value);
	else if ((value = value_of(word, "tty=")) != NULL)
		pam_set_item(pamh, PAM_TTY, value);
	else if ((value = value_of(word, "ruser=")) != NULL)
		pam_set_item(pamh, PAM_RUSER, value);
	else if ((value = value_of(word, "service=")) != NULL)
		pam_set_item(pamh, PAM_SERVICE, value);
	else if ((value = value_of(word, "env:")) != NULL)
		pam_putenv(pamh, value);
	else if (strcmp(word, "open") == 0)
		call_open(pamh, 0);
	else if (strcmp(word, "open-silent") == 0)
		call_open(pamh, PAM_SILENT);
	else if (strcmp(word, "close") == 0)
		call_close(pamh);
	else if ((value = value_of(word, "cycles=")) != NULL)
		cycle(pamh, atoi(value));
	else if ((value = value_of(word, "handles=")) != NULL)
		cycle_handles(argv[1], argv[2], argv[3], atoi(value));
	else if ((value = value_of(word, "limit:nofile=")) != NULL) {
		struct rlimit	limit;

		getrlimit(RLIMIT_NOFILE, &limit);
		limit.rlim_cur = (rlim_t)atoi(value);
		setrlimit(RLIMIT_NOFILE, &limit);
	} else if ((value = value_of(word, "limit:spare=")) != NULL)
		limit_memory(atol(value));
	else if ((value = value_of(word, "storm=")) != NULL)
		storm(atoi(value));
	else if ((value = value_of(word, "interrupt=")) != NULL)
		interrupt_after(atoi(value));
	else if ((value = value_of(word, "clone3=")) != NULL)
		clone3_errno = atoi(value);
	else if ((value = value_of(word, "nss:person=")) != NULL)
		person = value;
	else if ((value = value_of(word, "nss:group=")) != NULL)
		group = value;
	else if ((value = value_of(word, "nss:list=")) != NULL)
		list = value;
	else if ((value = value_of(word, "nss:list-of=")) != NULL)
		list_of = value;
	else if ((value = value_of(word, "nss:uid=")) != NULL)
		by_uid = value;
	else if ((value = value_of(word, "nss:gid=")) != NULL)
		by_gid = value;
	else if ((value = value_of(word, "groups=")) != NULL) {
		const gid_t	gid = (gid_t)atoi(value);

		if (setgroups(1, &gid) == -1)
			err(2, "setgroups");
	}
	else
		errx(2, "unknown word %s", word);
}

/* Left open to the end. Of each pair the second is for this host only. */
static void
open_sockets(int count)
{
	struct stat	status;
	int		fd;

	for (int i = 0; i < count; i++) {
		if ((fd = socket(i % 2 == 0 ? AF_INET : AF_INET6, SOCK_STREAM, 0)) == -1 || fstat(fd, &status) == -1 ||
		    socket(AF_UNIX, SOCK_STREAM, 0) == -1)
			err(2, "socket");
		fprintf(out, "%s%llu", i == 0 ? "sockets " : " ", (unsigned long long)status.st_ino);
	}
	fprintf(out, "\n");
}

/* Left open to the end, too. Another descriptor of the same process meets the lock as another process would. */
static void
lock_turns(const char *value)
{
	struct flock	lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	const char	*colon = strrchr(value, ':');
	char		 file[256];
	int		 fd;

	if (colon == NULL)
		errx(2, "turns");
	snprintf(file, sizeof(file), "%.*s", (int)(colon - value), value);
	lock.l_len = atoi(colon + 1);
	if ((fd = open(file, O_RDWR | O_CREAT, 0600)) == -1 || fcntl(fd, F_OFD_SETLK, &lock) == -1)
		err(2, "%s", file);
}

/* Words that set the host up, before anything is counted. */
static int
prepares(const char *program, const char *word)
{
	const char	*value;

	if ((value = value_of(word, "sigchld=")) != NULL)
		handle_children(value);
	else if ((value = value_of(word, "closed=")) != NULL)
		close(atoi(value));
	else if ((value = value_of(word, "sockets=")) != NULL)
		open_sockets(atoi(value));
	else if ((value = value_of(word, "turns=")) != NULL)
		lock_turns(value);
	else if (strcmp(word, "pidfd=server") == 0)
		start_server(program);
	else
		return 0;
	return 1;
}

int
main(int argc, char **argv)
{
	pam_handle_t	*pamh = NULL;
	sigset_t	 mask, mask_after;
	int		 descriptors, fd;
	char		**environment;

	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		return serve(atoi(argv[2]));
	if (argc < 4)
		errx(2, "usage: host CONFDIR SERVICE USER [word ...]");

	/* Above all that the shim opens, and not marked close-on-exec: a child that inherits it shows. */
	if ((fd = dup2(STDOUT_FILENO, 200)) == -1 || (out = fdopen(fd, "w")) == NULL)
		err(2, "standard output");
	setvbuf(out, NULL, _IOLBF, 0);
	setpgid(0, 0);
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	for (int i = 4; i < argc; i++)
		if (prepares(argv[0], argv[i]))
			argv[i] = NULL;

	if (pam_start_confdir(argv[2], argv[3], &conversation, argv[1], &pamh) != PAM_SUCCESS)
		errx(2, "pam_start");
	descriptors = count_descriptors();
	for (int i = 4; i < argc; i++)
		if (argv[i] != NULL)
			act(pamh, argv, argv[i]);

	pthread_sigmask(SIG_SETMASK, NULL, &mask_after);
	fprintf(out, "descriptors %+d\n", count_descriptors() - descriptors);
	fprintf(out, "children %d\n", count_children());
	fprintf(out, "mask %s\n", memcmp(&mask, &mask_after, sizeof(mask) / 16) == 0 ? "same" : "changed");
	fprintf(out, "asked person %d group %d list %d\n", asked_person, asked_group, asked_list);
	fprintf(out, "signals int %d tstp %d reaped %d\n", (int)interrupted, (int)stopped, (int)reaped);
	fprintf(out, "pid %d\n", getpid());
	print_cgroup();
	if ((environment = pam_getenvlist(pamh)) != NULL) {
		for (char **variable = environment; *variable != NULL; variable++) {
			fprintf(out, "env %s\n", *variable);
			free(*variable);
		}
		free(environment);
	}
	pam_end(pamh, PAM_SUCCESS);
	if (storm_pid > 0)
		kill(storm_pid, SIGKILL);
	if (server != -1)
		close(server);
	fclose(out);
	return 0;
}
