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

#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>

#include <linux/sched.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include <security/pam_modules.h>
#include <security/pam_ext.h>

/* These can be replaced at compile time, for the tests only. */
#ifndef HELPER
#define HELPER		"/usr/libexec/authnft"
#endif
#ifndef USER_FRAGMENTS
#define USER_FRAGMENTS	"/etc/authnft/users"
#endif
#ifndef NAMES
#define NAMES		"/run/authnft/names"	/* a file for each uid that has had a session */
#endif
#ifndef GROUP_FRAGMENTS
#define GROUP_FRAGMENTS	"/etc/authnft/groups"
#endif
#ifndef PASSWD_FILE
#define PASSWD_FILE	"/etc/passwd"
#endif
#ifndef GROUP_FILE
#define GROUP_FILE	"/etc/group"
#endif
#ifndef CGROUP_ROOT
#define CGROUP_ROOT	"/sys/fs/cgroup"
#endif
#ifndef TURN_MS
#define TURN_MS		65000	/* for a turn among many logins: entry.c waits 60 s, and then begins all the same */
#endif
#ifndef DEADLINE_MS
#define DEADLINE_MS	10000	/* a session opens in hundredths of a second; after this, a login looks dead */
#endif

#define GROUP		"authnft"
#define OUR_SLICE	"/authnft.slice/"
#define REFUSED		"run-authnft-refused.mount"
#define DATA		"authnft_session"
#define CORRELATION	"AUTHNFT_CORRELATION"
#define UNCONFINED	"AUTHNFT_NO_SANDBOX=1"

#define FILE_NAME_MAX	255	/* bytes of a file's name, on every file system */
#define FILES_MAX	1024	/* descriptors that are looked at: more than a program that logs people in has */
#define SOCKETS_MAX	64	/* internet sockets of the process that are told */
#define REQUEST_MAX	8192	/* bytes; fits the smallest pipe that root is given */
#define REPLY_MAX	4096	/* bytes */
#define STAT_MAX	1024	/* bytes of /proc/self/stat: 52 numbers and a name */
#define REPLY_VALUE_MAX	512	/* bytes of one value in the reply */
#define USER_VALUE_MAX	256	/* bytes of a variable that the user may have written; more would fill the request */
#define WHY_MAX		128	/* bytes of a reason for the log */
#define LOOKUP_MIN	4096	/* bytes for an entry of passwd or group at first */
#define LOOKUP_MAX	(16 * 1024 * 1024)	/* and at most: a group of a million members */
#define LIST_MIN	64	/* groups of a user at first */
#define LIST_MAX	65536	/* and at most: the kernel's NGROUPS_MAX */
#define SPARE_FILES	16	/* descriptors that must be free for a look-up: sockets and files of a few sources */
#define SPARE_MEMORY	(8 * 1024 * 1024)	/* and bytes: a source is a library to load, and a buffer to fill */
#define OTHERS_MAX	64	/* members of no local file whose uids are asked for; src/system/host/membership.ts has the same */
#define OTHERS_MS	250	/* a look-up that has taken so long asks for nothing that concerns others */
#define SLOW_MS		1000	/* a look-up that takes longer is worth a line in the log */
#define AGAIN_MS	1000	/* a helper that has taken longer is not asked again: somebody waits for the logout */
#define REAP_MS		1000	/* for a killed child to end; one that the kernel holds is not waited for longer */
#define IN_TURN		"in-turn"	/* has the entry wait for a turn, and tell by these signs before its reply */
#define WAITS		'w'
#define BEGINS		'.'
#define POLL_MS		10	/* between two looks for a lock: a helper takes some 50 */
#define CHILD_MISSING	127	/* the shells' exit status for a program that is not there, and the entry's */
#define CHILD_FAILED	126	/* and for one that cannot be executed */

#define LENGTH(array)	(sizeof(array) / sizeof((array)[0]))

/* Memory that a look-up fills. */
struct lookup {
	char	*bytes;
	size_t	 size;
};

/* An entry of the user database. What pw points to lives in the look-up. */
struct person {
	struct lookup	 lookup;
	struct passwd	 pw;
};

/* The groups of our name: the local one, and the one of NSS, which may be another. */
struct groups {
	struct lookup	 lookups[2];
	struct group	 gr[2];
	size_t		 count;
};

enum answer {
	ANSWER_NO,
	ANSWER_NO_GROUP,	/* so nobody is a member */
	ANSWER_MEMBER,
	ANSWER_UNKNOWN		/* somebody who should know did not say: never a "no" */
};

/* What open leaves for close in the PAM handle. Close may see neither group nor user database as open did. */
struct session {
	uid_t	 uid;
	gid_t	 gid;
	char	*name;		/* NULL where it is not known whose it is */
	char	 unit[REPLY_VALUE_MAX + 1];	/* of a refused one "", or how the helper calls it */
	int	 refused;
	pid_t	 pid;		/* the process, and when it was started: a child inherits the handle, and is another */
	uint64_t started;
	char	*origin;	/* the cgroup from which it was taken, and the one in which it is since */
	char	*place;
};

struct request {
	const char *verb;	/* what the helper is to do */
	char	 bytes[REQUEST_MAX];
	size_t	 length;
	int	 overrun;
	int	 unconfined;	/* for debugging: the helper is told outside the text, which it reads only once confined */
};

enum result {
	RESULT_NONE,
	RESULT_OK,
	RESULT_REFUSED
};

struct reply {
	enum result	 result;
	char		 session[REPLY_VALUE_MAX + 1];
	char		 correlation[REPLY_VALUE_MAX + 1];
	char		 say[REPLY_VALUE_MAX + 1];
	char		 back[REPLY_VALUE_MAX + 1];	/* the cgroup where the process belongs after the close */
};

static int64_t
now_ms(void)
{
	struct timespec	t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* A PAM item, or "" if it is not set. */
static const char *
item_of(const pam_handle_t *pamh, int type)
{
	const void	*item = NULL;

	if (pam_get_item(pamh, type, &item) != PAM_SUCCESS || item == NULL)
		return "";
	return item;
}

/* ---- who it is ---- */

static int
grow(struct lookup *lookup)
{
	size_t	 size = lookup->size == 0 ? LOOKUP_MIN : lookup->size * 2;
	char	*bytes;

	if (size > LOOKUP_MAX || (bytes = realloc(lookup->bytes, size)) == NULL)
		return 0;
	lookup->bytes = bytes;
	lookup->size = size;
	return 1;
}

static int
belongs(const struct passwd *pw, const struct groups *groups)
{
	for (size_t i = 0; i < groups->count; i++) {
		if (pw->pw_gid == groups->gr[i].gr_gid)
			return 1;
		for (char **member = groups->gr[i].gr_mem; *member != NULL; member++)
			if (strcmp(*member, pw->pw_name) == 0)
				return 1;
	}
	return 0;
}

static int
next_person(FILE *file, struct person *who)
{
	struct passwd	*found;
	int		 error;

	do
		error = fgetpwent_r(file, &who->pw, who->lookup.bytes, who->lookup.size, &found);
	while (error == ERANGE && grow(&who->lookup));
	return error == 0;
}

static int
next_group(FILE *file, struct group *gr, struct lookup *lookup)
{
	struct group	*found;
	int		 error;

	do
		error = fgetgrent_r(file, gr, lookup->bytes, lookup->size, &found);
	while (error == ERANGE && grow(lookup));
	return error == 0;
}

/*
 * The local files are only ever a short cut to a "yes": what they do not say, or cannot say, NSS is asked. All of these
 * return whether they found it.
 */
static int
local_person(const char *user, struct person *who)
{
	FILE	*file;
	int	 found;

	if ((file = fopen(PASSWD_FILE, "re")) == NULL)
		return 0;
	do
		found = next_person(file, who);
	while (found && strcmp(who->pw.pw_name, user) != 0);
	fclose(file);
	return found;
}

static int
local_group(struct groups *groups)
{
	struct lookup	*lookup = &groups->lookups[groups->count];
	struct group	*gr = &groups->gr[groups->count];
	FILE		*file;
	int		 found;

	if (!grow(lookup) || (file = fopen(GROUP_FILE, "re")) == NULL)
		return 0;
	do
		found = next_group(file, gr, lookup);
	while (found && strcmp(gr->gr_name, GROUP) != 0);
	fclose(file);
	groups->count += found != 0;
	return found;
}

/* The kernel knows no names: whoever has a member's uid is a member, whatever they are called here. */
static int
local_name_belongs(uid_t uid, const struct groups *groups)
{
	struct person	 who = { .lookup = { NULL, 0 } };
	FILE		*file = grow(&who.lookup) ? fopen(PASSWD_FILE, "re") : NULL;
	int		 found = 0;

	while (file != NULL && !found && next_person(file, &who))
		found = who.pw.pw_uid == uid && belongs(&who.pw, groups);
	if (file != NULL)
		fclose(file);
	free(who.lookup.bytes);
	return found;
}

/*
 * A source that finds no descriptor or no memory says "no such user", and getgrouplist has no way to say more. Whoever
 * calls su can lower its limits and leave descriptors open, and must not get a "no" out of that. Returns an errno.
 */
static int
lacks_room(void)
{
	int	spare[SPARE_FILES], n, error = 0;
	void	*memory;

	for (n = 0; n < SPARE_FILES; n++)
		if ((spare[n] = open("/", O_PATH | O_CLOEXEC)) == -1) {
			error = errno;
			break;
		}
	while (n > 0)
		close(spare[--n]);
	memory = mmap(NULL, SPARE_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return errno;
	munmap(memory, SPARE_MEMORY);
	return error;
}

/* The limits that a look-up may need lifted, and to what: as many descriptors as no kernel refuses, and all memory. */
static const struct {
	__rlimit_resource_t	resource;
	rlim_t			need;
} limits[] = { { RLIMIT_NOFILE, 65536 }, { RLIMIT_AS, RLIM_INFINITY }, { RLIMIT_DATA, RLIM_INFINITY } };

/*
 * A host's or a caller's limit must keep nobody out who is no member. So where there is no room the limits are lifted while the
 * question is asked. Where they cannot be, there is no answer, as ever.
 */
static void
lift_limits(struct rlimit *was)
{
	struct rlimit	more;

	for (size_t i = 0; i < LENGTH(limits); i++) {
		if (getrlimit(limits[i].resource, &was[i]) == -1)
			was[i] = (struct rlimit){ RLIM_INFINITY, RLIM_INFINITY };
		if (was[i].rlim_cur >= limits[i].need)
			continue;
		more.rlim_cur = limits[i].need;
		more.rlim_max = was[i].rlim_max > more.rlim_cur ? was[i].rlim_max : more.rlim_cur;
		if (setrlimit(limits[i].resource, &more) == 0)
			continue;
		more.rlim_cur = more.rlim_max = was[i].rlim_max;
		setrlimit(limits[i].resource, &more);
	}
}

static void
put_limits_back(const struct rlimit *was)
{
	for (size_t i = 0; i < LENGTH(limits); i++)
		if (was[i].rlim_cur < limits[i].need)
			setrlimit(limits[i].resource, &was[i]);
}

/* NSS. They return an errno, and in found whether there is such an entry. */
static int
nss_person(const char *user, struct person *who, int *found)
{
	struct passwd	*entry = NULL;
	int		 error;

	do
		error = getpwnam_r(user, &who->pw, who->lookup.bytes, who->lookup.size, &entry);
	while (error == EINTR || (error == ERANGE && grow(&who->lookup)));
	*found = error == 0 && entry != NULL;
	return error;
}

static int
nss_group(const char *name, struct group *gr, struct lookup *lookup, int *found)
{
	struct group	*entry = NULL;
	int		 error;

	do
		error = getgrnam_r(name, gr, lookup->bytes, lookup->size, &entry);
	while (error == EINTR || (error == ERANGE && grow(lookup)));
	*found = error == 0 && entry != NULL;
	return error;
}

static int
nss_our_group(struct groups *groups, int *found)
{
	int	error;

	*found = 0;
	if (!grow(&groups->lookups[groups->count]))
		return ENOMEM;
	error = nss_group(GROUP, &groups->gr[groups->count], &groups->lookups[groups->count], found);
	groups->count += *found != 0;
	return error;
}

/* The numbers of a user's groups, for the caller to free. Returns an errno. */
static int
nss_groups(const char *name, gid_t gid, gid_t **list, int *count)
{
	gid_t	*larger;
	int	 error = ERANGE;

	*list = NULL;
	for (int size = LIST_MIN; size <= LIST_MAX; size *= 2) {
		if ((larger = realloc(*list, (size_t)size * sizeof(**list))) == NULL) {
			error = ENOMEM;
			break;
		}
		*list = larger;
		*count = size;
		if (getgrouplist(name, gid, *list, count) != -1)
			return 0;
	}
	free(*list);
	*list = NULL;
	return error;
}

static int
is_listed(gid_t gid, const gid_t *list, int count)
{
	for (int i = 0; i < count; i++)
		if (list[i] == gid)
			return 1;
	return 0;
}

static int
is_any_listed(const struct groups *groups, const gid_t *list, int count)
{
	for (size_t i = 0; i < groups->count; i++)
		if (is_listed(groups->gr[i].gr_gid, list, count))
			return 1;
	return 0;
}

static enum answer
unknown(pam_handle_t *pamh, const char *what, const char *name, int error)
{
	pam_syslog(pamh, LOG_ERR, "cannot look up %s \"%.*s\": %s; not knowing is not \"no\": see that the sources in "
	    "/etc/nsswitch.conf answer", what, USER_VALUE_MAX, name, strerror(error));
	return ANSWER_UNKNOWN;
}

/*
 * What follows is asked only about users whose own name is no member's, and of sources that may be slow or down: it finds
 * a "yes" and nothing else. Nobody is kept out because something about others is not to be had.
 */

/* Whether one of the user's groups has our name and another number: a local group hides a directory's. The list is used up. */
static int
hidden_group_is_listed(gid_t *list, int count, int64_t deadline)
{
	struct lookup	 lookup = { NULL, 0 };
	struct group	 gr, *entry = NULL;
	FILE		*file = grow(&lookup) ? fopen(GROUP_FILE, "re") : NULL;
	int		 error = 0, found = 0;

	/* Numbers that the local file has a name for need no asking, which is most of them, or all. */
	while (file != NULL && next_group(file, &gr, &lookup))
		for (int i = 0; i < count; i++)
			if (list[i] == gr.gr_gid)
				list[i--] = list[--count];
	if (file != NULL)
		fclose(file);
	while (count > 0 && error == 0 && !found && now_ms() < deadline) {
		count--;
		do
			error = getgrgid_r(list[count], &gr, lookup.bytes, lookup.size, &entry);
		while (error == EINTR || (error == ERANGE && grow(&lookup)));
		found = error == 0 && entry != NULL && strcmp(gr.gr_name, GROUP) == 0;
	}
	free(lookup.bytes);
	return found;
}

/* Whether an entry is another name of the uid, and a member. */
static int
is_other_member(const struct passwd *other, const struct passwd *pw, const struct groups *groups, int64_t deadline)
{
	gid_t	*list;
	int	 count, listed;

	if (other->pw_uid != pw->pw_uid || strcmp(other->pw_name, pw->pw_name) == 0)
		return 0;
	if (belongs(other, groups))
		return 1;
	if (now_ms() >= deadline || nss_groups(other->pw_name, other->pw_gid, &list, &count) != 0)
		return 0;
	listed = is_any_listed(groups, list, count);
	free(list);
	return listed;
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The members' names in order, each once, for the caller to free. */
static const char **
members_of(const struct groups *groups, size_t *count)
{
	const char	**names;
	size_t		  all = 0;

	*count = 0;
	for (size_t i = 0; i < groups->count; i++)
		for (char **member = groups->gr[i].gr_mem; *member != NULL; member++)
			all++;
	if (all == 0 || (names = calloc(all, sizeof(*names))) == NULL)
		return NULL;
	all = 0;
	for (size_t i = 0; i < groups->count; i++)
		for (char **member = groups->gr[i].gr_mem; *member != NULL; member++)
			names[all++] = *member;
	qsort(names, all, sizeof(*names), compare_names);
	for (size_t i = 0; i < all; i++)
		if (*count == 0 || strcmp(names[*count - 1], names[i]) != 0)
			names[(*count)++] = names[i];
	return names;
}

/*
 * Whether another name of the uid is a member's. The local file is read to its end; what NSS knows is one name for the
 * uid, and the uids of members, of whom there may be thousands: those whom the local file does not know are asked for.
 */
static int
other_name_belongs(const struct passwd *pw, const struct groups *groups, int64_t deadline)
{
	struct person	  other = { .lookup = { NULL, 0 } };
	struct passwd	 *entry = NULL;
	size_t		  count, asked = 0;
	const char	**names = members_of(groups, &count);
	char		 *local = calloc(count + 1, 1);
	FILE		 *file = grow(&other.lookup) ? fopen(PASSWD_FILE, "re") : NULL;
	int		  error = file == NULL || local == NULL ? ENOMEM : 0, found = 0;

	while (error == 0 && !found && next_person(file, &other)) {
		const char	 *name = other.pw.pw_name;
		const char	**at = count == 0 ? NULL : bsearch(&name, names, count, sizeof(*names), compare_names);

		if (at != NULL)
			local[at - names] = 1;
		found = is_other_member(&other.pw, pw, groups, deadline);
	}
	if (file != NULL)
		fclose(file);
	if (error == 0 && !found && now_ms() < deadline) {
		do
			error = getpwuid_r(pw->pw_uid, &other.pw, other.lookup.bytes, other.lookup.size, &entry);
		while (error == EINTR || (error == ERANGE && grow(&other.lookup)));
		found = error == 0 && entry != NULL && is_other_member(&other.pw, pw, groups, deadline);
	}
	for (size_t i = 0; i < count && error == 0 && !found && asked < OTHERS_MAX && now_ms() < deadline; i++) {
		if (local[i])
			continue;
		asked++;
		error = nss_person(names[i], &other, &found);
		found = found && other.pw.pw_uid == pw->pw_uid;
	}
	free(other.lookup.bytes);
	free(local);
	free(names);
	return found;
}

/* Whether a process has the group, as far as can be told. */
static int
process_is_in(pid_t pid, gid_t gid)
{
	char	 path[64], *line = NULL, *at, *end;
	size_t	 size = 0;
	FILE	*file;
	int	 found = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if ((file = fopen(path, "re")) == NULL)
		return 0;
	while (getline(&line, &size, file) != -1) {
		if (strncmp(line, "Groups:", 7) != 0)
			continue;
		for (at = line + 7; !found; at = end) {
			found = strtoul(at, &end, 10) == gid && end != at;
			if (end == at)
				break;
		}
	}
	free(line);
	fclose(file);
	return found;
}

/*
 * Whether a PAM module has put this process into a group of ours, as pam_group does for the session to come. What the
 * parent has as well is inherited: a program that others call has their groups, and they may be members.
 */
static int
pam_gave_group(const struct groups *groups)
{
	gid_t	*list;
	int	 count = getgroups(0, NULL), found = 0;

	if (count <= 0 || (list = calloc((size_t)count, sizeof(*list))) == NULL)
		return 0;
	count = getgroups(count, list);
	for (size_t i = 0; i < groups->count && !found; i++)
		found = is_listed(groups->gr[i].gr_gid, list, count) && !process_is_in(getppid(), groups->gr[i].gr_gid);
	free(list);
	return found;
}

static enum answer
ask_databases(pam_handle_t *pamh, const char *user, struct person *who, struct groups *groups, int64_t deadline)
{
	gid_t	*list;
	int	 error, found, count, local, known;

	if (*user == '\0')
		return unknown(pamh, "user", user, EINVAL);
	if (!grow(&who->lookup))
		return unknown(pamh, "user", user, ENOMEM);

	local = local_person(user, who);
	if (local && who->pw.pw_uid == 0)
		return ANSWER_NO;
	known = local && local_group(groups);
	if (known && (belongs(&who->pw, groups) || local_name_belongs(who->pw.pw_uid, groups)))
		return ANSWER_MEMBER;

	/* What the files do not say, NSS is asked, and must have room to answer. */
	if (strcmp(user, "root") != 0 && (error = lacks_room()) != 0)
		return unknown(pamh, "user", user, error);
	if (!local) {
		error = nss_person(user, who, &found);
		if (!found && (error == 0 || strcmp(user, "root") == 0))
			return ANSWER_NO;
		if (error != 0)
			return unknown(pamh, "user", user, error);
		if (who->pw.pw_uid == 0)
			return ANSWER_NO;
		known = local_group(groups);
		if (known && (belongs(&who->pw, groups) || local_name_belongs(who->pw.pw_uid, groups)))
			return ANSWER_MEMBER;
	}
	if ((error = nss_our_group(groups, &found)) != 0)
		return unknown(pamh, "group", GROUP, error);
	if (!known && !found)
		return ANSWER_NO_GROUP;
	if (found && belongs(&who->pw, groups))
		return ANSWER_MEMBER;
	if ((error = nss_groups(who->pw.pw_name, who->pw.pw_gid, &list, &count)) != 0)
		return unknown(pamh, "groups of", who->pw.pw_name, error);
	found = is_any_listed(groups, list, count) || (known && hidden_group_is_listed(list, count, deadline));
	free(list);
	return found || other_name_belongs(&who->pw, groups, deadline) || pam_gave_group(groups) ? ANSWER_MEMBER :
	    ANSWER_NO;
}

/* The caller frees who->lookup.bytes, whatever the answer is. */
static enum answer
look_up(pam_handle_t *pamh, const char *user, struct person *who)
{
	struct groups	groups = { .count = 0 };
	enum answer	answer;
	int64_t		start = now_ms(), took;
	struct rlimit	was[LENGTH(limits)];
	int		lifted = lacks_room() != 0;

	*who = (struct person){ .lookup = { NULL, 0 } };
	if (lifted)
		lift_limits(was);
	answer = ask_databases(pamh, user, who, &groups, start + OTHERS_MS);
	if (lifted)
		put_limits_back(was);
	for (size_t i = 0; i < LENGTH(groups.lookups); i++)
		free(groups.lookups[i].bytes);
	if ((took = now_ms() - start) > SLOW_MS)
		pam_syslog(pamh, LOG_WARNING, "looking up the user and their groups took %lld ms: see that the sources "
		    "in /etc/nsswitch.conf answer", (long long)took);
	return answer;
}

/* ---- text ---- */

/* The length of the UTF-8 character at s, where n bytes are left, and its code: 0 if it is none. */
static size_t
decode(const unsigned char *s, size_t n, uint32_t *code)
{
	uint32_t	least;
	size_t		length;

	*code = s[0];
	if (s[0] < 0x80)
		return 1;
	if ((s[0] & 0xe0) == 0xc0) {
		length = 2;
		*code = s[0] & 0x1f;
		least = 0x80;
	} else if ((s[0] & 0xf0) == 0xe0) {
		length = 3;
		*code = s[0] & 0x0f;
		least = 0x800;
	} else if ((s[0] & 0xf8) == 0xf0) {
		length = 4;
		*code = s[0] & 0x07;
		least = 0x10000;
	} else
		return 0;
	if (length > n)
		return 0;
	for (size_t i = 1; i < length; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		*code = *code << 6 | (s[i] & 0x3f);
	}
	if (*code < least || *code > 0x10ffff || (*code >= 0xd800 && *code <= 0xdfff))
		return 0;
	return length;
}

/* The same, of a character that a terminal would not act on. */
static size_t
character(const unsigned char *s, size_t n)
{
	uint32_t	code;
	size_t		length = decode(s, n, &code);

	return code < 0x20 || (code >= 0x7f && code < 0xa0) ? 0 : length;
}

/* ---- the request ---- */

static void
add(struct request *r, const char *s, size_t length)
{
	if (length > sizeof(r->bytes) - r->length) {
		r->overrun = 1;
		return;
	}
	memcpy(r->bytes + r->length, s, length);
	r->length += length;
}

static void
add_text(struct request *r, const char *s)
{
	add(r, s, strlen(s));
}

static void
add_number(struct request *r, long long value)
{
	char	digits[24];

	snprintf(digits, sizeof(digits), "%lld", value);
	add_text(r, digits);
}

/*
 * A JSON string. A byte that belongs to no character becomes one half of a surrogate pair, which stands for nothing else, so
 * that the helper knows what is no text.
 */
static void
add_string(struct request *r, const char *s, size_t most)
{
	size_t	left = strnlen(s, most), length;
	char	escape[8];

	add_text(r, "\"");
	for (; left > 0; s += length, left -= length) {
		unsigned char	c = (unsigned char)s[0];
		uint32_t	code;

		length = decode((const unsigned char *)s, left, &code);
		if (length == 0 || c < 0x20 || c == 0x7f) {
			snprintf(escape, sizeof(escape), "\\u%04x", length == 0 ? 0xdc00u + c : c);
			add_text(r, escape);
			length = 1;
			continue;
		}
		if (c == '"' || c == '\\')
			add_text(r, "\\");
		add(r, s, length);
	}
	add_text(r, "\"");
}

/* ,"key":"value" */
static void
add_member(struct request *r, const char *key, const char *value)
{
	add_text(r, ",");
	add_string(r, key, SIZE_MAX);
	add_text(r, ":");
	add_string(r, value, SIZE_MAX);
}

/* The variables that the helper may look at, as far as they are set: the PAM environment may be the user's work. */
static void
add_environment(struct request *r, pam_handle_t *pamh, int argc, const char **argv)
{
	const char	*names[2] = { CORRELATION, NULL };
	int		 first = 1;

	for (int i = 0; i < argc; i++)
		if (strncmp(argv[i], "claims_env=", strlen("claims_env=")) == 0)
			names[1] = argv[i] + strlen("claims_env=");
	if (names[1] != NULL && strcmp(names[1], CORRELATION) == 0)
		names[1] = NULL;

	add_text(r, ",\"env\":{");
	for (size_t i = 0; i < LENGTH(names); i++) {
		const char	*value = names[i] == NULL ? NULL : pam_getenv(pamh, names[i]);

		if (value == NULL)
			continue;
		if (!first)
			add_text(r, ",");
		first = 0;
		add_string(r, names[i], SIZE_MAX);
		add_text(r, ":");
		add_string(r, value, USER_VALUE_MAX);
	}
	add_text(r, "}");
}

static int
has_argument(int argc, const char **argv, const char *argument)
{
	for (int i = 0; i < argc; i++)
		if (strcmp(argv[i], argument) == 0)
			return 1;
	return 0;
}

/* What a group's name, or a user's, becomes as that of a file, as src/escaped_name.ts has it: nothing where that is too long. */
static void
escape_name(char to[static FILE_NAME_MAX + 1], const char *name)
{
	static const char	plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
	const int		is_plain = strspn(name, plain) == strlen(name) && *name != '.' && *name != '-';
	size_t			length = 0;

	for (const char *s = name; *s != '\0'; s++) {
		const int	stays = is_plain || (strchr(plain, *s) != NULL && *s != '-' && (*s != '.' || s != name));

		if (length + (stays ? 1 : 4) > FILE_NAME_MAX) {
			length = 0;
			break;
		}
		if (stays)
			to[length++] = *s;
		else
			length += (size_t)snprintf(to + length, 5, "\\x%02x", (unsigned char)*s);
	}
	to[length] = '\0';
}

/* The name of the group whose fragment a file is, or nothing: what an editor leaves there is none. */
static void
group_of_file(char to[static FILE_NAME_MAX + 1], const char *file)
{
	static const char	digits[] = "0123456789abcdef";
	char			again[FILE_NAME_MAX + 1];
	size_t			length = 0, left, n;
	uint32_t		code;

	for (const char *s = file, *high, *low; *s != '\0' && length < FILE_NAME_MAX; s++) {
		if (s[0] == '\\' && s[1] == 'x' && s[2] != '\0' && (high = strchr(digits, s[2])) != NULL &&
		    s[3] != '\0' && (low = strchr(digits, s[3])) != NULL) {
			to[length++] = (char)((high - digits) << 4 | (low - digits));
			s += 3;
		} else
			to[length++] = *s;
	}
	to[length] = '\0';
	for (const char *s = to; (left = strlen(s)) > 0; s += n)
		if ((n = decode((const unsigned char *)s, left, &code)) == 0) {
			to[0] = '\0';
			return;
		}
	escape_name(again, to);
	if (strcmp(again, file) != 0)
		to[0] = '\0';
}

/* Adds the names of the fragments in the directory that are of groups of the user. Returns an errno. */
static int
add_names(struct request *r, DIR *directory, const char *name, gid_t gid)
{
	struct lookup	 lookup = { NULL, 0 };
	const char	*comma = "";
	struct group	 gr;
	gid_t		*list = NULL;
	int		 error = grow(&lookup) ? 0 : ENOMEM, count = 0, found;

	while (error == 0) {
		const struct dirent	*entry;
		char			 group[FILE_NAME_MAX + 1];

		errno = 0;
		if ((entry = readdir(directory)) == NULL) {
			error = errno;
			break;
		}
		group_of_file(group, entry->d_name);
		if (group[0] == '\0' ||
		    (list == NULL && (error = nss_groups(name, gid, &list, &count)) != 0))
			continue;
		if ((error = nss_group(group, &gr, &lookup, &found)) == 0 && found &&
		    is_listed(gr.gr_gid, list, count)) {
			add_text(r, comma);
			add_string(r, entry->d_name, SIZE_MAX);
			comma = ",";
		}
	}
	free(list);
	free(lookup.bytes);
	return error;
}

/*
 * The groups of the user that there are fragments for: the helper has no name service to ask. Where the databases do not
 * answer they are left out, and who has no fragment of their own is refused.
 */
static void
add_groups(struct request *r, const char *name, gid_t gid)
{
	const size_t	 before = r->length;
	DIR		*directory = opendir(GROUP_FRAGMENTS);
	int		 error = directory == NULL && errno != ENOENT ? errno : 0;

	add_text(r, ",\"groups\":[");
	if (directory != NULL) {
		error = add_names(r, directory, name, gid);
		closedir(directory);
	}
	if (error != 0) {
		r->length = before;
		return;
	}
	add_text(r, "]");
}

/*
 * The inodes of the internet sockets of this process, for the helper to ask the kernel about: of a process with more
 * rights than its own it could not find them out.
 */
static void
add_sockets(struct request *r)
{
	struct stat	 status;
	const char	*comma = "";
	socklen_t	 length;
	int		 family, told = 0;

	add_text(r, ",\"sockets\":[");
	for (int fd = 0; fd < FILES_MAX && told < SOCKETS_MAX; fd++) {
		length = sizeof(family);
		if (fstat(fd, &status) == -1 || !S_ISSOCK(status.st_mode) ||
		    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length) == -1 ||
		    (family != AF_INET && family != AF_INET6))
			continue;
		add_text(r, comma);
		add_number(r, (long long)status.st_ino);
		comma = ",";
		told++;
	}
	add_text(r, "]");
}

static void
make_request(struct request *r, pam_handle_t *pamh, const char *type, const char *name, uid_t uid, gid_t gid,
    const char *unit, int argc, const char **argv)
{
	r->verb = "session";
	r->length = 0;
	r->overrun = 0;
	r->unconfined = has_argument(argc, argv, UNCONFINED);
	add_text(r, "{\"v\":1");
	add_member(r, "type", type);
	add_member(r, "user", name);
	add_text(r, ",\"uid\":");
	add_number(r, uid);
	add_text(r, ",\"gid\":");
	add_number(r, gid);
	add_member(r, "service", item_of(pamh, PAM_SERVICE));
	add_member(r, "rhost", item_of(pamh, PAM_RHOST));
	add_member(r, "tty", item_of(pamh, PAM_TTY));
	add_member(r, "ruser", item_of(pamh, PAM_RUSER));
	add_text(r, ",\"pid\":");
	add_number(r, getpid());
	add_text(r, ",\"args\":[");
	for (int i = 0; i < argc; i++) {
		if (i > 0)
			add_text(r, ",");
		add_string(r, argv[i], SIZE_MAX);
	}
	add_text(r, "]");
	add_environment(r, pamh, argc, argv);
	add_member(r, "session", unit);
	if (strcmp(type, "open") == 0) {
		add_groups(r, name, gid);
		if (has_argument(argc, argv, "rhost_policy=kernel"))
			add_sockets(r);
	}
	add_text(r, "}");
}

/* ---- the reply ---- */

static int
is_printable(const char *s, size_t length)
{
	size_t	n;

	for (; length > 0; s += n, length -= n)
		if ((n = character((const unsigned char *)s, length)) == 0)
			return 0;
	return 1;
}

/* A non-empty word of ASCII letters and digits, and of the given others. */
static int
is_word(const char *s, size_t length, const char *others)
{
	for (size_t i = 0; i < length; i++)
		if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') || (s[i] >= '0' && s[i] <= '9') ||
		    (s[i] != '\0' && strchr(others, s[i]) != NULL)))
			return 0;
	return length > 0;
}

/* Keeps a value that may stand once. */
static int
keep(char to[static REPLY_VALUE_MAX + 1], const char *value, size_t length)
{
	if (to[0] != '\0' || length == 0)
		return 0;
	memcpy(to, value, length);
	to[length] = '\0';
	return 1;
}

static int
is_text(const char *s, size_t length, const char *text)
{
	return length == strlen(text) && memcmp(s, text, length) == 0;
}

/* One "key=value". Keys that we do not know are a newer helper's, and no business of ours. */
static int
parse_line(const char *line, size_t length, struct reply *reply)
{
	const char	*value;
	size_t		 key_length, value_length;

	if ((value = memchr(line, '=', length)) == NULL)
		return 0;
	key_length = (size_t)(value - line);
	value++;
	value_length = length - key_length - 1;
	if (!is_word(line, key_length, "_-") || value_length > REPLY_VALUE_MAX || !is_printable(value, value_length))
		return 0;

	if (is_text(line, key_length, "result")) {
		if (reply->result != RESULT_NONE)
			return 0;
		if (is_text(value, value_length, "ok"))
			reply->result = RESULT_OK;
		else if (is_text(value, value_length, "refused"))
			reply->result = RESULT_REFUSED;
		return reply->result != RESULT_NONE;
	}
	/* These two become variables of the session: only what a unit's name or a token may hold. */
	if (is_text(line, key_length, "session"))
		return is_word(value, value_length, ":-_.\\@") && keep(reply->session, value, value_length);
	if (is_text(line, key_length, "correlation"))
		return is_word(value, value_length, ":-_.") && keep(reply->correlation, value, value_length);
	if (is_text(line, key_length, "back"))
		return is_word(value, value_length, ":-_.\\@/") && keep(reply->back, value, value_length);
	if (is_text(line, key_length, "say"))
		return keep(reply->say, value, value_length);
	return 1;
}

/* Whether these bytes are a whole reply: its first line, a result, and "end" as the last thing of all. */
static int
parse_reply(const char *bytes, size_t length, struct reply *reply)
{
	const char	*line = bytes;
	size_t		 left = length;

	*reply = (struct reply){ .result = RESULT_NONE };
	if (length > REPLY_MAX)
		return 0;
	for (int number = 1; left > 0; number++) {
		const char	*newline = memchr(line, '\n', left);
		size_t		 line_length;

		if (newline == NULL)
			return 0;
		line_length = (size_t)(newline - line);
		left -= line_length + 1;
		if (number == 1) {
			if (!is_text(line, line_length, "authnft 1"))
				return 0;
		} else if (is_text(line, line_length, "end"))
			return left == 0 && reply->result != RESULT_NONE;
		else if (!parse_line(line, line_length, reply))
			return 0;
		line = newline + 1;
	}
	return 0;
}

/* ---- one at a time ---- */

static void
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
static int
take_process(void)
{
	const struct timespec	pause = { .tv_nsec = POLL_MS * 1000000L };
	int64_t			until = now_ms() + TURN_MS;
	int			fd = open("/proc/self/auxv", O_RDONLY | O_CLOEXEC);

	while (fd != -1 && flock(fd, LOCK_EX | LOCK_NB) == -1 && now_ms() < until)
		nanosleep(&pause, NULL);
	return fd;
}

static void
give_process(int fd)
{
	if (fd != -1)
		flock(fd, LOCK_UN);
	shut(&fd);
}

/* ---- the helper ---- */

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
	int		 cgroup, error;

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
	shut(&cgroup);

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
static int
ask(const struct request *request, struct reply *reply, int64_t *began, char why[static WHY_MAX])
{
	char		 bytes[REPLY_MAX + 1];	/* one more, to see a reply that is too long */
	int		 in[2] = { -1, -1 }, out[2] = { -1, -1 }, null = -1, pidfd = -1, answered = 0;
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

	shut(&in[0]);
	shut(&in[1]);
	shut(&out[0]);
	shut(&out[1]);
	shut(&null);
	shut(&pidfd);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return answered;
}

/* ---- refusing ---- */

/* The cgroup of this process in the unified hierarchy, or NULL. The caller frees it. */
static char *
own_cgroup(void)
{
	FILE	*file;
	char	*line = NULL, *path = NULL;
	size_t	 size = 0;

	if ((file = fopen("/proc/self/cgroup", "re")) == NULL)
		return NULL;
	while (path == NULL && getline(&line, &size, file) != -1)
		if (strncmp(line, "0::", 3) == 0) {
			line[strcspn(line, "\n")] = '\0';
			path = strdup(line + 3);
		}
	free(line);
	fclose(file);
	return path;
}

/* When this process was started, in ticks since the host was, or 0: proc_pid_stat(5), field 22. */
static uint64_t
own_start(void)
{
	char	 line[STAT_MAX], *at;
	ssize_t	 length;
	int	 fd;

	if ((fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC)) == -1)
		return 0;
	length = read(fd, line, sizeof(line) - 1);
	shut(&fd);
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
	int			fd = -1;

	if ((mkdir(refused, 0755) == -1 && errno != EEXIST) || (fd = open(procs, O_WRONLY | O_CLOEXEC)) == -1 ||
	    write(fd, "0", 1) != 1)
		pam_syslog(pamh, LOG_CRIT, "cannot move the refused session to %s, where it has no network: %s; if the "
		    "PAM line says \"optional\", the session goes on unfiltered: make it \"required\"", refused,
		    strerror(errno));
	shut(&fd);
}

static int
refuse(pam_handle_t *pamh, int flags, const char *sentence)
{
	if (((unsigned int)flags & PAM_SILENT) == 0)
		pam_error(pamh, "%s", sentence);
	/* Not PAM_SESSION_ERR: sudo runs the command all the same after that one. */
	return PAM_PERM_DENIED;
}

/* ---- the two functions that PAM calls ---- */

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
	char	 procs[PATH_MAX], *now;
	int	 fd = -1, length;

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
	shut(&fd);
	free(now);
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
	char		*was;
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
	free(was);
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
	char		why[WHY_MAX], *before, *after;
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
		free(before);
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
	free(before);
	free(after);
	return refuse(pamh, flags, reply.say[0] != '\0' ? reply.say : "Your session was refused by the session "
	    "firewall (authnft). Ask the administrator what its log says.");
}

/* ---- a "no" that may be none ---- */

/* Whether something says that a user was to be filtered: a fragment of their own, or sessions that they have had. */
static int
has_trace(const struct passwd *pw)
{
	char		path[PATH_MAX], name[FILE_NAME_MAX + 1];
	struct stat	st;

	if (pw->pw_name == NULL || pw->pw_uid == 0)
		return 0;
	escape_name(name, pw->pw_name);
	snprintf(path, sizeof(path), USER_FRAGMENTS "/%s", name);
	if (name[0] != '\0' && lstat(path, &st) == 0)
		return 1;
	snprintf(path, sizeof(path), NAMES "/%lu", (unsigned long)pw->pw_uid);
	return lstat(path, &st) == 0;
}

/*
 * The name service passes over a source that is down without a word, and what it would have said of the group is missing from
 * the answer. Whoever was to be filtered is let go as no member only if all sources answer, which the helper asks each by
 * itself: here that would change the name service of the whole process. For everybody else it costs two looks at files.
 */
static int
is_doubtful(pam_handle_t *pamh, const struct passwd *pw)
{
	struct request	request = { .verb = "sources", .length = 0 };
	struct reply	reply;
	char		why[WHY_MAX];
	int64_t		began;

	if (!has_trace(pw))
		return 0;
	if (ask(&request, &reply, &began, why)) {
		if (reply.result == RESULT_OK)
			return 0;
		snprintf(why, sizeof(why), "%.*s", WHY_MAX - 1, reply.say);
	}
	pam_syslog(pamh, LOG_ERR, "whether %s is a member cannot be told, for not all sources of users and groups answer: %s; "
	    "mend it, or if %s is none any more, remove the fragment of that name and run \"authnft reload\"", pw->pw_name, why,
	    pw->pw_name);
	return 1;
}

__attribute__((visibility("default"))) int
pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	const char	*user = item_of(pamh, PAM_USER);
	struct person	 who;
	enum answer	 answer;
	char		*before;
	int		 result = PAM_SUCCESS;

	if (is_user_manager(pamh))
		return PAM_SUCCESS;
	answer = look_up(pamh, user, &who);
	if ((answer == ANSWER_NO || answer == ANSWER_NO_GROUP) && is_doubtful(pamh, &who.pw))
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
		free(before);
		result = refuse(pamh, flags, "Your session was refused: the user database does not say whether you are "
		    "in the group " GROUP ". Ask the administrator to see that it answers.");
		break;
	}
	free(who.lookup.bytes);
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
	const void		*data = NULL;
	const struct session	*session;
	struct person		 who = { .lookup = { NULL, 0 } };
	struct request		 request;
	struct reply		 reply = { .back = "" };
	char			*was;
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
	else if (look_up(pamh, item_of(pamh, PAM_USER), &who) == ANSWER_MEMBER)
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
	free(was);
	free(who.lookup.bytes);
	return PAM_SUCCESS;
}
