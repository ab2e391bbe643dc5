/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The reply of a helper: whatever the bytes, no reply or one that is safe to hand on. */

#include <assert.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "../../../native/shim.h"

int	LLVMFuzzerInitialize(int *, char ***);
int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	assert(setlocale(LC_ALL, "C.UTF-8") != NULL);
	return 0;
}

/* A value as libc reads it: text of whole characters, none of which acts on a terminal. */
static void
check_text(const char *value)
{
	wchar_t	 text[REPLY_VALUE_MAX + 1];
	size_t	 length;

	assert(strnlen(value, REPLY_VALUE_MAX + 1) <= REPLY_VALUE_MAX);
	length = mbstowcs(text, value, LENGTH(text));
	assert(length != (size_t)-1 && length < LENGTH(text));
	for (size_t i = 0; i < length; i++)
		assert(text[i] >= 0x20 && !(text[i] >= 0x7f && text[i] < 0xa0));
}

/* A value that goes into the session's environment, or names a unit or cgroup. */
static void
check_word(const char *value, const char *others)
{
	check_text(value);
	for (; *value != '\0'; value++)
		assert((*value >= 'a' && *value <= 'z') || (*value >= 'A' && *value <= 'Z') ||
		    (*value >= '0' && *value <= '9') || strchr(others, *value) != NULL);
}

/* In a block of exactly their size, so that a read past the end is seen. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reply	 reply;
	char		*bytes = malloc(size == 0 ? 1 : size);

	if (bytes == NULL)
		return 0;
	memcpy(bytes, data, size);
	if (parse_reply(bytes, size, &reply)) {
		assert(size <= REPLY_MAX);
		assert(size > strlen("authnft 1\nend\n"));
		assert(memcmp(bytes, "authnft 1\n", strlen("authnft 1\n")) == 0);
		assert(memcmp(bytes + size - strlen("\nend\n"), "\nend\n", strlen("\nend\n")) == 0);
		assert(memchr(bytes, '\0', size) == NULL);
		assert(reply.result == RESULT_OK || reply.result == RESULT_REFUSED);
		check_word(reply.session, ":-_.\\@");
		check_word(reply.correlation, ":-_.");
		check_word(reply.back, ":-_.\\@/");
		check_text(reply.say);
	}
	free(bytes);
	return 0;
}
