/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pam_authnft.so: PAM in, PAM out.
 *
 * Decides the two cases that must never depend on the helper (uid 0, and users outside the group), hands every
 * other session to the helper in a process of its own, and believes nothing but the helper's reply. Where there
 * is no reply, the session is refused and the process is moved to a cgroup that has no network, because a PAM
 * stack with "optional" goes on after a refusal.
 *
 * The program that calls us may have any number of threads, any signal set-up and any descriptor closed. It gets
 * all of it back as it was: no static data, no handler, no descriptor and no child stays behind.
 */

#define _GNU_SOURCE

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include <security/pam_ext.h>

#include "shim.h"

/* The cgroup of this process in the unified hierarchy, or NULL. The caller frees it. */
static char *
own_cgroup(void)
{
	FILE	*file CLEANUP(close_file) = fopen("/proc/self/cgroup", "re");
	char	*line CLEANUP(free_text) = NULL, *path = NULL;
	size_t	 size = 0;

	if (file == NULL)
		return NULL;
	while (path == NULL && getline(&line, &size, file) != -1)
		if (strncmp(line, "0::", 3) == 0) {
			line[strcspn(line, "\n")] = '\0';
			path = strdup(line + 3);
		}
	return path;
}

/* When this process was started, in ticks since the host was, or 0: proc_pid_stat(5), field 22. */
static uint64_t
own_start(void)
{
	char	 line[STAT_MAX], *at;
	ssize_t	 length;
	int	 fd CLEANUP(shut) = -1;

	if ((fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC)) == -1)
		return 0;
	length = read(fd, line, sizeof(line) - 1);
	line[length > 0 ? length : 0] = '\0';
	/* The second field is the program's name in parentheses, which may hold anything. */
	at = strrchr(line, ')');
	for (int field = 2; at != NULL && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at == NULL ? 0 : strtoull(at, NULL, 10);
}

/*
 * Below authnft.slice, what has no element in the ruleset's map has no network. This makes it so when nobody else
 * did, for the PAM stack that goes on all the same. systemd keeps the cgroup, and has the kernel deny it every address,
 * whatever becomes of the ruleset; where it is missing, one that we make is closed by the ruleset alone.
 */
static void
take_network(pam_handle_t *pamh)
{
	static const char	refused[] = CGROUP_ROOT OUR_SLICE REFUSED;
	static const char	procs[] = CGROUP_ROOT OUR_SLICE REFUSED "/cgroup.procs";
	int			fd CLEANUP(shut) = -1;

	if ((mkdir(refused, 0755) == -1 && errno != EEXIST) || (fd = open(procs, O_WRONLY | O_CLOEXEC)) == -1 ||
	    write(fd, "0", 1) != 1)
		pam_syslog(pamh, LOG_CRIT, "cannot move the refused session to %s, where it has no network: %s; if the "
		    "PAM line says \"optional\", the session goes on unfiltered: make it \"required\"", refused,
		    strerror(errno));
}

static int
refuse(pam_handle_t *pamh, int flags, const char *sentence)
{
	if (((unsigned int)flags & PAM_SILENT) == 0)
		pam_error(pamh, "%s", sentence);
	/* Not PAM_SESSION_ERR: sudo runs the command all the same after that one. */
	return PAM_PERM_DENIED;
}

static void
free_session(struct session *session)
{
	free(session->origin);
	free(session->place);
	free(session->name);
	free(session);
}

static int
is_in_slice(const char *cgroup)
{
	return cgroup != NULL && strncmp(cgroup, OUR_SLICE, sizeof(OUR_SLICE) - 1) == 0;
}

/* Whether this is the very process that opened the session, and no child of its. */
static int
is_opener(const struct session *session)
{
	return session->pid == getpid() && session->started != 0 && session->started == own_start();
}

/*
 * A service that opens one session after the other in its own process is not to stay in the scope of one that is over, or was
 * refused. The helper says where the process belongs: it knows what else it has open. Only the process that opened the
 * session goes, and only from below the slice. Children stay, and so does one that somebody else has moved in the meantime.
 *
 * was is its cgroup before the helper was asked, which moves a process whose scope it kills.
 */
static void
put_back(pam_handle_t *pamh, const struct session *session, const char *was, const char *to)
{
	char	 procs[PATH_MAX], *now CLEANUP(free_text) = NULL;
	int	 fd CLEANUP(shut) = -1, length;

	if (to == NULL || to[0] != '/' || strstr(to, "/..") != NULL || !is_in_slice(was) || strcmp(was, to) == 0 ||
	    !is_opener(session))
		return;
	now = own_cgroup();
	length = snprintf(procs, sizeof(procs), CGROUP_ROOT "%s/cgroup.procs", to);
	/* A login is taken from the scope that pam_systemd has made for it, and nobody else was in there: it is gone. */
	if (now != NULL && (strcmp(now, was) == 0 || strcmp(now, OUR_SLICE REFUSED) == 0) &&
	    length > 0 && (size_t)length < sizeof(procs) &&
	    ((fd = open(procs, O_WRONLY | O_CLOEXEC)) == -1 || write(fd, "0", 1) == -1) &&
	    strncmp(to, "/user.slice/", sizeof("/user.slice/") - 1) != 0)
		pam_syslog(pamh, LOG_WARNING, "process %ld cannot go back to %s, where it was before its session: %s; it "
		    "stays without network", (long)session->pid, to, strerror(errno));
}

/* Where the process was, if nobody says better, and it is still where the session has put it. */
static const char *
origin_of(const struct session *session, const char *was)
{
	return was != NULL && session->place != NULL && strcmp(was, session->place) == 0 ? session->origin : NULL;
}

/* The end of a session that was refused. Without a record of it, it is what it was: a process that was moved. */
static void
leave_refused(pam_handle_t *pamh, const struct session *session)
{
	struct request	 request;
	struct reply	 reply = { .back = "" };
	char		*was CLEANUP(free_text) = NULL;
	int		 answered = 0, own;

	if (!is_opener(session))
		return;
	own = take_process();
	was = own_cgroup();
	if (is_in_slice(was) && session->name != NULL && strcmp(was, OUR_SLICE REFUSED) != 0) {
		char	why[WHY_MAX];
		int64_t	began;

		make_request(&request, pamh, "close", session->name, session->uid, session->gid, session->unit, 0, NULL);
		answered = ask(&request, &reply, &began, why);
	}
	put_back(pamh, session, was, answered ? reply.back : origin_of(session, was));
	give_process(own);
}

/*
 * The handle ends. An application that was refused says so here, by the status that it ended with: then there is no session,
 * and the process goes back. One that was not told, because the PAM line says "optional", goes on without network.
 */
static void
forget(pam_handle_t *pamh, void *data, int status)
{
	struct session	*session = data;

	if (session->refused && (status & PAM_DATA_REPLACE) == 0 && (status & ~PAM_DATA_SILENT) != PAM_SUCCESS)
		leave_refused(pamh, session);
	free_session(session);
}

/*
 * What close needs, and the end of a session that was refused. Without it close looks everything up again, so a failure
 * costs nothing but a line. before is the cgroup of the process when it asked.
 */
static void
remember(pam_handle_t *pamh, const struct person *who, int refused, const char *unit, const char *before)
{
	struct session	*session;

	if ((session = calloc(1, sizeof(*session))) != NULL) {
		session->refused = refused;
		session->pid = getpid();
		session->started = own_start();
		session->place = own_cgroup();
		session->origin = before == NULL ? NULL : strdup(before);
		snprintf(session->unit, sizeof(session->unit), "%s", unit);
		if (who != NULL) {
			session->uid = who->pw.pw_uid;
			session->gid = who->pw.pw_gid;
			session->name = strdup(who->pw.pw_name);
		}
		if ((who == NULL || session->name != NULL) && pam_set_data(pamh, DATA, session, forget) == PAM_SUCCESS)
			return;
		free_session(session);
	}
	pam_syslog(pamh, LOG_WARNING, "cannot remember session %s for its end: out of memory", unit);
}

static void
set_variable(pam_handle_t *pamh, const char *name, const char *value)
{
	char	variable[sizeof("AUTHNFT_CORRELATION=") + REPLY_VALUE_MAX];

	snprintf(variable, sizeof(variable), "%s=%s", name, value);
	if (pam_putenv(pamh, variable) != PAM_SUCCESS)
		pam_syslog(pamh, LOG_WARNING, "cannot set %s in the session's environment", name);
}

/* The user manager's own PAM session: it is covered by its slice, and is no session to us. */
static int
is_user_manager(const pam_handle_t *pamh)
{
	return strcmp(item_of(pamh, PAM_SERVICE), "systemd-user") == 0;
}

static int
is_device(int fd)
{
	struct stat	st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode);
}

/*
 * Tells the user what is no error. su and sudo write that to standard output, and a script that calls them would take it for
 * the command's: what they call an error goes to standard error. sshd has its own way to the user, and none to read there.
 */
static void
notify(pam_handle_t *pamh, const char *say)
{
	if (is_device(STDOUT_FILENO))
		pam_info(pamh, "%s", say);
	else if (isatty(STDERR_FILENO))
		pam_error(pamh, "%s", say);
}

static int
open_for_member(pam_handle_t *pamh, int flags, const struct person *who, int argc, const char **argv)
{
	struct request	request;
	struct reply	reply;
	char		why[WHY_MAX], *before CLEANUP(free_text) = NULL, *after CLEANUP(free_text) = NULL;
	int64_t		start;
	int		answered, stays, own = take_process();

	before = own_cgroup();
	make_request(&request, pamh, "open", who->pw.pw_name, who->pw.pw_uid, who->pw.pw_gid, "", argc, argv);
	answered = ask(&request, &reply, &start, why);
	if (answered && reply.result == RESULT_OK && (reply.session[0] == '\0' || reply.correlation[0] == '\0')) {
		answered = 0;
		snprintf(why, WHY_MAX, "its reply names no session");
	}
	if (answered && has_argument(argc, argv, "debug"))
		pam_syslog(pamh, LOG_DEBUG, "open: the helper replied \"%s\" after %lld ms",
		    reply.result == RESULT_OK ? "ok" : "refused", (long long)(now_ms() - start));

	if (answered && reply.result == RESULT_OK) {
		remember(pamh, who, 0, reply.session, before);
		give_process(own);
		set_variable(pamh, "AUTHNFT_SESSION", reply.session);
		set_variable(pamh, "AUTHNFT_CORRELATION", reply.correlation);
		if (reply.say[0] != '\0' && ((unsigned int)flags & PAM_SILENT) == 0)
			notify(pamh, reply.say);
		return PAM_SUCCESS;
	}
	/*
	 * The helper leaves a refused process in a new place below the slice, where it has no network. The place where
	 * it was before is no such thing: with su it may be the scope of another session that lives.
	 */
	after = own_cgroup();
	if (!answered) {
		pam_syslog(pamh, LOG_ERR, "session of %s refused: no answer from " HELPER ": %s; "
		    "run \"authnft doctor\"", who->pw.pw_name, why);
		snprintf(reply.say, sizeof(reply.say), "Your session was refused: the session firewall (authnft) did not "
		    "answer. Ask the administrator to run \"authnft doctor\".");
	}
	stays = answered && reply.session[0] != '\0';	/* in another session that it has */
	if (!stays && (!answered || before == NULL || after == NULL || strcmp(before, after) == 0 || !is_in_slice(after)))
		take_network(pamh);
	remember(pamh, who, 1, stays ? reply.session : "", before);
	give_process(own);
	return refuse(pamh, flags, reply.say[0] != '\0' ? reply.say : "Your session was refused by the session "
	    "firewall (authnft). Ask the administrator what its log says.");
}

static void __attribute__((format(printf, 3, 4)))
log_line(void *pamh, int level, const char *format, ...)
{
	va_list	arguments;

	va_start(arguments, format);
	pam_vsyslog(pamh, level, format, arguments);
	va_end(arguments);
}

__attribute__((visibility("default"))) int
pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	const struct log  log = { .line = log_line, .to = pamh };
	const struct whom user = { .word = item_of(pamh, PAM_USER), .process = getpid() };
	struct person	 who CLEANUP(free_person) = { .lookup = { NULL, 0 } };
	enum answer	 answer;
	char		*before CLEANUP(free_text) = NULL;
	int		 result = PAM_SUCCESS;

	if (is_user_manager(pamh))
		return PAM_SUCCESS;
	answer = look_up(&log, &user, &who);
	if ((answer == ANSWER_NO || answer == ANSWER_NO_GROUP) && is_doubtful(&log, &user, &who.pw))
		answer = ANSWER_UNKNOWN;
	switch (answer) {
	case ANSWER_NO:
		break;
	case ANSWER_NO_GROUP:
		pam_syslog(pamh, LOG_WARNING, "there is no group " GROUP ", so nobody's sessions are filtered: "
		    "run \"authnft install\"");
		break;
	case ANSWER_MEMBER:
		result = open_for_member(pamh, flags, &who, argc, argv);
		break;
	case ANSWER_UNKNOWN:
		before = own_cgroup();
		take_network(pamh);
		remember(pamh, NULL, 1, "", before);
		result = refuse(pamh, flags, "Your session was refused: the user database does not say whether you are "
		    "in the group " GROUP ". Ask the administrator to see that it answers.");
		break;
	}
	return result;
}

/*
 * What is not done here is done when systemd sees the scope end. A helper that was killed halfway has perhaps taken the rules
 * away and not said so in the record: it is started once more, and passes over what is done. Returns whether
 * it answered.
 */
static int
close_for_member(pam_handle_t *pamh, const struct request *request, struct reply *reply)
{
	char	why[WHY_MAX];
	int	answered;
	int64_t	start;

	if (!(answered = ask(request, reply, &start, why)) && now_ms() - start < AGAIN_MS)
		answered = ask(request, reply, &start, why);
	if (!answered)
		/* "authnft doctor" counts both of these sentences: src/system/host/killed_helpers.ts. */
		pam_syslog(pamh, LOG_WARNING, "end of session: no answer from " HELPER ": %s; the session's rules go "
		    "when its scope ends", why);
	return answered;
}

/* Always succeeds. */
__attribute__((visibility("default"))) int
pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	const struct log	 log = { .line = log_line, .to = pamh };
	const struct whom	 user = { .word = item_of(pamh, PAM_USER), .process = getpid() };
	const void		*data = NULL;
	const struct session	*session;
	struct person		 who CLEANUP(free_person) = { .lookup = { NULL, 0 } };
	struct request		 request;
	struct reply		 reply = { .back = "" };
	char			*was CLEANUP(free_text) = NULL;
	int			 member = 1, answered = 0, own;

	(void)flags;
	if (is_user_manager(pamh))
		return PAM_SUCCESS;
	session = pam_get_data(pamh, DATA, &data) == PAM_SUCCESS ? data : NULL;
	/* systemd has a process close the sessions of a unit with PAMName= that has the user's rights by then. */
	if (geteuid() != 0) {
		pam_syslog(pamh, LOG_INFO, "end of session: whoever closes it is not root any more, so that it is closed "
		    "when its unit has ended, if that has PAMName=, and else when its scope ends");
		return PAM_SUCCESS;
	}
	own = take_process();
	was = own_cgroup();
	if (session != NULL && session->name != NULL)
		make_request(&request, pamh, "close", session->name, session->uid, session->gid, session->unit, argc,
		    argv);
	else if (look_up(&log, &user, &who) == ANSWER_MEMBER)
		make_request(&request, pamh, "close", who.pw.pw_name, who.pw.pw_uid, who.pw.pw_gid, "", argc, argv);
	else
		member = 0;
	if (member)
		answered = close_for_member(pamh, &request, &reply);
	if (session != NULL) {
		/* A refused one that the helper had no hand in has no record. */
		int	known = answered && was != NULL && strcmp(was, OUR_SLICE REFUSED) != 0;

		put_back(pamh, session, was, known ? reply.back : origin_of(session, was));
	}
	give_process(own);
	return PAM_SUCCESS;
}
