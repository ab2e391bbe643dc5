/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The clock, UTF-8, and names as those of files.
 */

#define _GNU_SOURCE

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "shim.h"

int64_t
now_ms(void)
{
	struct timespec	t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The length of the UTF-8 character at s, where n bytes are left, and its code: 0 if it is none. */
size_t
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
size_t
character(const unsigned char *s, size_t n)
{
	uint32_t	code;
	size_t		length = decode(s, n, &code);

	return code < 0x20 || (code >= 0x7f && code < 0xa0) ? 0 : length;
}

/* What a group's name, or a user's, becomes as that of a file, as src/escaped_name.ts has it: nothing where that is too long. */
void
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
