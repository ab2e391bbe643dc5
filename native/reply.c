/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The reply: lines of "key=value" on the helper's standard output. Nothing else of it is believed.
 */

#define _GNU_SOURCE

#include <string.h>

#include "shim.h"

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
int
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
