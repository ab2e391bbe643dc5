/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A source for nsswitch.conf, "second": answers from DIRECTORY/second-passwd and DIRECTORY/second-group. Where these are
 * missing it is one that is down, and where there is DIRECTORY/second-hangs one that hangs.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <grp.h>
#include <nss.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum nss_status	_nss_second_getpwnam_r(const char *, struct passwd *, char *, size_t, int *);
enum nss_status	_nss_second_getpwuid_r(uid_t, struct passwd *, char *, size_t, int *);
enum nss_status	_nss_second_getgrnam_r(const char *, struct group *, char *, size_t, int *);
enum nss_status	_nss_second_getgrgid_r(gid_t, struct group *, char *, size_t, int *);
enum nss_status	_nss_second_initgroups_dyn(const char *, gid_t, long *, long *, gid_t **, long, int *);

static FILE *
answer(const char *file, int *error)
{
	FILE	*opened;

	while (access(DIRECTORY "/second-hangs", F_OK) == 0)
		sleep(1);
	opened = fopen(file, "re");
	*error = opened == NULL ? errno : 0;
	return opened;
}

/* Of ERANGE, which is all that these fail by here, the caller comes back with more room. */
static enum nss_status
status_of(int result, int *error)
{
	*error = result == ERANGE ? ERANGE : ENOENT;
	return result == 0 ? NSS_STATUS_SUCCESS : result == ERANGE ? NSS_STATUS_TRYAGAIN : NSS_STATUS_NOTFOUND;
}

static enum nss_status
find_person(const char *name, uid_t uid, struct passwd *pw, char *bytes, size_t size, int *error)
{
	FILE		*file = answer(DIRECTORY "/second-passwd", error);
	struct passwd	*found;
	int		 result;

	if (file == NULL)
		return NSS_STATUS_UNAVAIL;
	do
		result = fgetpwent_r(file, pw, bytes, size, &found);
	while (result == 0 && (name == NULL ? pw->pw_uid != uid : strcmp(pw->pw_name, name) != 0));
	fclose(file);
	return status_of(result, error);
}

static enum nss_status
find_group(const char *name, gid_t gid, struct group *gr, char *bytes, size_t size, int *error)
{
	FILE		*file = answer(DIRECTORY "/second-group", error);
	struct group	*found;
	int		 result;

	if (file == NULL)
		return NSS_STATUS_UNAVAIL;
	do
		result = fgetgrent_r(file, gr, bytes, size, &found);
	while (result == 0 && (name == NULL ? gr->gr_gid != gid : strcmp(gr->gr_name, name) != 0));
	fclose(file);
	return status_of(result, error);
}

enum nss_status
_nss_second_getpwnam_r(const char *name, struct passwd *pw, char *bytes, size_t size, int *error)
{
	return find_person(name, 0, pw, bytes, size, error);
}

enum nss_status
_nss_second_getpwuid_r(uid_t uid, struct passwd *pw, char *bytes, size_t size, int *error)
{
	return find_person(NULL, uid, pw, bytes, size, error);
}

enum nss_status
_nss_second_getgrnam_r(const char *name, struct group *gr, char *bytes, size_t size, int *error)
{
	return find_group(name, 0, gr, bytes, size, error);
}

enum nss_status
_nss_second_getgrgid_r(gid_t gid, struct group *gr, char *bytes, size_t size, int *error)
{
	return find_group(NULL, gid, gr, bytes, size, error);
}

enum nss_status
_nss_second_initgroups_dyn(const char *user, gid_t primary, long *start, long *size, gid_t **list, long limit, int *error)
{
	FILE		*file = answer(DIRECTORY "/second-group", error);
	struct group	*gr;
	gid_t		*larger;

	if (file == NULL)
		return NSS_STATUS_UNAVAIL;
	while ((gr = fgetgrent(file)) != NULL)
		for (char **member = gr->gr_mem; *member != NULL; member++) {
			if (strcmp(*member, user) != 0 || gr->gr_gid == primary || (limit > 0 && *start >= limit))
				continue;
			if (*start == *size) {
				if ((larger = realloc(*list, 2 * (size_t)*size * sizeof(**list))) == NULL)
					break;
				*list = larger;
				*size *= 2;
			}
			(*list)[(*start)++] = gr->gr_gid;
		}
	fclose(file);
	return NSS_STATUS_SUCCESS;
}
