/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of pam_authnft.so share, and authnft-member, which is made of some of them. Only pam_shim.c has functions
 * that PAM sees, and only request.c others that ask PAM.
 */

#ifndef AUTHNFT_SHIM_H
#define AUTHNFT_SHIM_H

#include <sys/types.h>

#include <grp.h>
#include <pwd.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <security/pam_modules.h>

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

/* A variable whose content goes with its scope, whatever way that is left: as systemd writes it. */
#define CLEANUP(release) __attribute__((cleanup(release)))

static inline void
free_text(char **text)
{
	free(*text);
}

static inline void
free_list(gid_t **list)
{
	free(*list);
}

static inline void
close_file(FILE **file)
{
	if (*file != NULL)
		fclose(*file);
}

/* Memory that a look-up fills. */
struct lookup {
	char	*bytes;
	size_t	 size;
};

static inline void
free_lookup(struct lookup *lookup)
{
	free(lookup->bytes);
}

/* An entry of the user database. What pw points to lives in the look-up. */
struct person {
	struct lookup	 lookup;
	struct passwd	 pw;
};

static inline void
free_person(struct person *who)
{
	free_lookup(&who->lookup);
}

/* The groups of our name: the local one, and the one of NSS, which may be another. */
struct groups {
	struct lookup	 lookups[2];
	struct group	 gr[2];
	size_t		 count;
};

static inline void
free_groups(struct groups *groups)
{
	for (size_t i = 0; i < LENGTH(groups->lookups); i++)
		free_lookup(&groups->lookups[i]);
}

enum answer {
	ANSWER_NO,
	ANSWER_NO_GROUP,	/* so nobody is a member */
	ANSWER_MEMBER,
	ANSWER_UNKNOWN		/* somebody who should know did not say: never a "no" */
};

/* Of whom it is asked. */
struct whom {
	const char	*word;		/* the name, or how the number is written */
	int		 by_number;	/* then it is this uid, whatever names it has */
	uid_t		 uid;
	pid_t		 process;	/* whose groups count, where PAM has given them; 0 is none */
};

/* Where what goes wrong is told: in a line, at one of syslog's levels. */
struct log {
	void	(*line)(void *, int, const char *, ...) __attribute__((format(printf, 3, 4)));
	void	*to;
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

/* text.c */
int64_t now_ms(void);
size_t decode(const unsigned char *s, size_t n, uint32_t *code);
size_t character(const unsigned char *s, size_t n);
void escape_name(char to[static FILE_NAME_MAX + 1], const char *name);

/* membership.c */
int grow(struct lookup *lookup);
int nss_group(const char *name, struct group *gr, struct lookup *lookup, int *found);
int nss_groups(const char *name, gid_t gid, gid_t **list, int *count);
int is_listed(gid_t gid, const gid_t *list, int count);
enum answer look_up(const struct log *log, const struct whom *whom, struct person *who);
int is_doubtful(const struct log *log, const struct whom *whom, const struct passwd *pw);

/* request.c */
const char *item_of(const pam_handle_t *pamh, int type);
int has_argument(int argc, const char **argv, const char *argument);
void make_request(struct request *r, pam_handle_t *pamh, const char *type, const char *name, uid_t uid, gid_t gid,
    const char *unit, int argc, const char **argv);

/* reply.c */
int parse_reply(const char *bytes, size_t length, struct reply *reply);

/* helper.c */
void shut(int *fd);
int take_process(void);
void give_process(int fd);
int ask(const struct request *request, struct reply *reply, int64_t *began, char why[static WHY_MAX]);

#endif
