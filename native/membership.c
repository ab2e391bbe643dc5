/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who is a member: by uid, by every source that the name service has. "Cannot know" is never "no".
 */

#define _GNU_SOURCE

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "shim.h"

int
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
local_person(const struct whom *whom, struct person *who)
{
	FILE	*file CLEANUP(close_file) = fopen(PASSWD_FILE, "re");
	int	 found;

	if (file == NULL)
		return 0;
	do
		found = next_person(file, who);
	while (found && (whom->by_number ? who->pw.pw_uid != whom->uid : strcmp(who->pw.pw_name, whom->word) != 0));
	return found;
}

static int
local_group(struct groups *groups)
{
	struct lookup	*lookup = &groups->lookups[groups->count];
	struct group	*gr = &groups->gr[groups->count];
	FILE		*file CLEANUP(close_file) = grow(lookup) ? fopen(GROUP_FILE, "re") : NULL;
	int		 found;

	if (file == NULL)
		return 0;
	do
		found = next_group(file, gr, lookup);
	while (found && strcmp(gr->gr_name, GROUP) != 0);
	groups->count += found != 0;
	return found;
}

/* The kernel knows no names: whoever has a member's uid is a member, whatever they are called here. */
static int
local_name_belongs(uid_t uid, const struct groups *groups)
{
	struct person	 who CLEANUP(free_person) = { .lookup = { NULL, 0 } };
	FILE		*file CLEANUP(close_file) = grow(&who.lookup) ? fopen(PASSWD_FILE, "re") : NULL;
	int		 found = 0;

	while (file != NULL && !found && next_person(file, &who))
		found = who.pw.pw_uid == uid && belongs(&who.pw, groups);
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
nss_number(uid_t uid, struct person *who, int *found)
{
	struct passwd	*entry = NULL;
	int		 error;

	do
		error = getpwuid_r(uid, &who->pw, who->lookup.bytes, who->lookup.size, &entry);
	while (error == EINTR || (error == ERANGE && grow(&who->lookup)));
	*found = error == 0 && entry != NULL;
	return error;
}

int
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
int
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

int
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
unknown(const struct log *log, const char *what, const char *name, int error)
{
	log->line(log->to, LOG_ERR, "cannot look up %s \"%.*s\": %s; not knowing is not \"no\": see that the sources in "
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
	struct lookup	 lookup CLEANUP(free_lookup) = { NULL, 0 };
	struct group	 gr, *entry = NULL;
	FILE		*file CLEANUP(close_file) = grow(&lookup) ? fopen(GROUP_FILE, "re") : NULL;
	int		 error = 0, found = 0;

	/* Numbers that the local file has a name for need no asking, which is most of them, or all. */
	while (file != NULL && next_group(file, &gr, &lookup))
		for (int i = 0; i < count; i++)
			if (list[i] == gr.gr_gid)
				list[i--] = list[--count];
	while (count > 0 && error == 0 && !found && now_ms() < deadline) {
		count--;
		do
			error = getgrgid_r(list[count], &gr, lookup.bytes, lookup.size, &entry);
		while (error == EINTR || (error == ERANGE && grow(&lookup)));
		found = error == 0 && entry != NULL && strcmp(gr.gr_name, GROUP) == 0;
	}
	return found;
}

/* Whether an entry is another name of the uid, and a member. */
static int
is_other_member(const struct passwd *other, const struct passwd *pw, const struct groups *groups, int64_t deadline)
{
	gid_t	*list CLEANUP(free_list) = NULL;
	int	 count;

	if (other->pw_uid != pw->pw_uid || strcmp(other->pw_name, pw->pw_name) == 0)
		return 0;
	if (belongs(other, groups))
		return 1;
	if (now_ms() >= deadline || nss_groups(other->pw_name, other->pw_gid, &list, &count) != 0)
		return 0;
	return is_any_listed(groups, list, count);
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

static void
free_names(const char ***names)
{
	free(*names);
}

/*
 * Whether another name of the uid is a member's. The local file is read to its end; what NSS knows is one name for the
 * uid, and the uids of members, of whom there may be thousands: those whom the local file does not know are asked for.
 */
static int
other_name_belongs(const struct passwd *pw, const struct groups *groups, int64_t deadline)
{
	struct person	  other CLEANUP(free_person) = { .lookup = { NULL, 0 } };
	size_t		  count, asked = 0;
	const char	**names CLEANUP(free_names) = members_of(groups, &count);
	char		 *local CLEANUP(free_text) = calloc(count + 1, 1);
	FILE		 *file CLEANUP(close_file) = grow(&other.lookup) ? fopen(PASSWD_FILE, "re") : NULL;
	int		  error = file == NULL || local == NULL ? ENOMEM : 0, found = 0;

	while (error == 0 && !found && next_person(file, &other)) {
		const char	 *name = other.pw.pw_name;
		const char	**at = count == 0 ? NULL : bsearch(&name, names, count, sizeof(*names), compare_names);

		if (at != NULL)
			local[at - names] = 1;
		found = is_other_member(&other.pw, pw, groups, deadline);
	}
	if (error == 0 && !found && now_ms() < deadline) {
		error = nss_number(pw->pw_uid, &other, &found);
		found = found && is_other_member(&other.pw, pw, groups, deadline);
	}
	for (size_t i = 0; i < count && error == 0 && !found && asked < OTHERS_MAX && now_ms() < deadline; i++) {
		if (local[i])
			continue;
		asked++;
		error = nss_person(names[i], &other, &found);
		found = found && other.pw.pw_uid == pw->pw_uid;
	}
	return found;
}

/* Whether a process has the group, as far as can be told. */
static int
process_is_in(pid_t pid, gid_t gid)
{
	char	 path[64], *line CLEANUP(free_text) = NULL, *at, *end;
	size_t	 size = 0;
	FILE	*file CLEANUP(close_file) = NULL;
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
	return found;
}

static pid_t
parent_of(pid_t pid)
{
	char	 path[64], *line CLEANUP(free_text) = NULL;
	size_t	 size = 0;
	FILE	*file CLEANUP(close_file) = NULL;

	if (pid == getpid())
		return getppid();
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if ((file = fopen(path, "re")) == NULL)
		return 0;
	while (getline(&line, &size, file) != -1)
		if (strncmp(line, "PPid:", 5) == 0)
			return (pid_t)strtol(line + 5, NULL, 10);
	return 0;
}

/* Of this process without /proc, which a service may hide. */
static int
has_group(pid_t pid, gid_t gid)
{
	gid_t	*list CLEANUP(free_list) = NULL;
	int	 count;

	if (pid != getpid())
		return process_is_in(pid, gid);
	count = getgroups(0, NULL);
	if (count <= 0 || (list = calloc((size_t)count, sizeof(*list))) == NULL)
		return 0;
	return is_listed(gid, list, getgroups(count, list));
}

/*
 * Whether a PAM module has put the process into a group of ours, as pam_group does for the session to come. What the
 * parent has as well is inherited: a program that others call has their groups, and they may be members.
 */
static int
pam_gave_group(pid_t process, const struct groups *groups)
{
	int	found = 0;

	for (size_t i = 0; i < groups->count && process != 0 && !found; i++)
		found = has_group(process, groups->gr[i].gr_gid) &&
		    !process_is_in(parent_of(process), groups->gr[i].gr_gid);
	return found;
}

static enum answer
ask_databases(const struct log *log, const struct whom *whom, struct person *who, struct groups *groups, int64_t deadline)
{
	gid_t		*list CLEANUP(free_list) = NULL;
	const char	*user = whom->word;
	const int	 is_root = whom->by_number ? whom->uid == 0 : strcmp(user, "root") == 0;
	int		 error, found, count, local, known;

	if (*user == '\0')
		return unknown(log, "user", user, EINVAL);
	if (!grow(&who->lookup))
		return unknown(log, "user", user, ENOMEM);

	local = local_person(whom, who);
	if (local && who->pw.pw_uid == 0)
		return ANSWER_NO;
	known = local && local_group(groups);
	if (known && (belongs(&who->pw, groups) || local_name_belongs(who->pw.pw_uid, groups)))
		return ANSWER_MEMBER;

	/* What the files do not say, NSS is asked, and must have room to answer. */
	if (!is_root && (error = lacks_room()) != 0)
		return unknown(log, "user", user, error);
	if (!local) {
		error = whom->by_number ? nss_number(whom->uid, who, &found) : nss_person(user, who, &found);
		/* What the search has left there is somebody else's. */
		if (!found)
			who->pw = (struct passwd){ .pw_uid = whom->uid };
		if (!found && (error == 0 || is_root))
			return ANSWER_NO;
		if (error != 0)
			return unknown(log, "user", user, error);
		if (who->pw.pw_uid == 0)
			return ANSWER_NO;
		known = local_group(groups);
		if (known && (belongs(&who->pw, groups) || local_name_belongs(who->pw.pw_uid, groups)))
			return ANSWER_MEMBER;
	}
	if ((error = nss_our_group(groups, &found)) != 0)
		return unknown(log, "group", GROUP, error);
	if (!known && !found)
		return ANSWER_NO_GROUP;
	if (found && belongs(&who->pw, groups))
		return ANSWER_MEMBER;
	if ((error = nss_groups(who->pw.pw_name, who->pw.pw_gid, &list, &count)) != 0)
		return unknown(log, "groups of", who->pw.pw_name, error);
	found = is_any_listed(groups, list, count) || (known && hidden_group_is_listed(list, count, deadline));
	return found || other_name_belongs(&who->pw, groups, deadline) || pam_gave_group(whom->process, groups) ? ANSWER_MEMBER :
	    ANSWER_NO;
}

/* The caller frees who->lookup.bytes, whatever the answer is. */
enum answer
look_up(const struct log *log, const struct whom *whom, struct person *who)
{
	struct groups	groups CLEANUP(free_groups) = { .count = 0 };
	enum answer	answer;
	int64_t		start = now_ms(), took;
	struct rlimit	was[LENGTH(limits)];
	int		lifted = lacks_room() != 0;

	*who = (struct person){ .lookup = { NULL, 0 } };
	if (lifted)
		lift_limits(was);
	answer = ask_databases(log, whom, who, &groups, start + OTHERS_MS);
	if (lifted)
		put_limits_back(was);
	if ((took = now_ms() - start) > SLOW_MS)
		log->line(log->to, LOG_WARNING, "looking up the user and their groups took %lld ms: see that the sources "
		    "in /etc/nsswitch.conf answer", (long long)took);
	return answer;
}

/* Whether something says that a user was to be filtered: a fragment of their own, or sessions that they have had. */
static int
has_trace(const struct passwd *pw)
{
	char		path[PATH_MAX], name[FILE_NAME_MAX + 1];
	struct stat	st;

	if (pw->pw_uid == 0)
		return 0;
	escape_name(name, pw->pw_name == NULL ? "" : pw->pw_name);
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
int
is_doubtful(const struct log *log, const struct whom *whom, const struct passwd *pw)
{
	struct request	request = { .verb = "sources", .length = 0 };
	struct reply	reply;
	const char	*name = pw->pw_name == NULL ? whom->word : pw->pw_name;
	char		why[WHY_MAX];
	int64_t		began;

	if (!has_trace(pw))
		return 0;
	if (ask(&request, &reply, &began, why)) {
		if (reply.result == RESULT_OK)
			return 0;
		snprintf(why, sizeof(why), "%.*s", WHY_MAX - 1, reply.say);
	}
	log->line(log->to, LOG_ERR, "whether %s is a member cannot be told, for not all sources of users and groups answer: %s; "
	    "mend it, or if %s is none any more, remove the fragment of that name and run \"authnft reload\"", name, why, name);
	return 1;
}
