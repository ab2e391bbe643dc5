/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The request: one JSON object on the helper's standard input, made of what PAM and the kernel say.
 */

#define _GNU_SOURCE

#include <sys/socket.h>
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shim.h"

/* A PAM item, or "" if it is not set. */
const char *
item_of(const pam_handle_t *pamh, int type)
{
	const void	*item = NULL;

	if (pam_get_item(pamh, type, &item) != PAM_SUCCESS || item == NULL)
		return "";
	return item;
}

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

int
has_argument(int argc, const char **argv, const char *argument)
{
	for (int i = 0; i < argc; i++)
		if (strcmp(argv[i], argument) == 0)
			return 1;
	return 0;
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

static void
close_directory(DIR **directory)
{
	if (*directory != NULL)
		closedir(*directory);
}

/* Adds the names of the fragments in the directory that are of groups of the user. Returns an errno. */
static int
add_names(struct request *r, DIR *directory, const char *name, gid_t gid)
{
	struct lookup	 lookup CLEANUP(free_lookup) = { NULL, 0 };
	const char	*comma = "";
	struct group	 gr;
	gid_t		*list CLEANUP(free_list) = NULL;
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
	DIR		*directory CLEANUP(close_directory) = opendir(GROUP_FRAGMENTS);
	int		 error = directory == NULL && errno != ENOENT ? errno : 0;

	add_text(r, ",\"groups\":[");
	if (directory != NULL)
		error = add_names(r, directory, name, gid);
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

void
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
