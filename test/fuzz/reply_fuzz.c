/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The reply's parser under libFuzzer: whatever the bytes, no reply or one that is safe to hand on. See reply.sh. */

#include "../../native/text.c"
#include "../../native/reply.c"

#include <assert.h>

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
check_value(const char *value, const char *others)
{
	size_t	length = strnlen(value, REPLY_VALUE_MAX + 1);

	assert(length <= REPLY_VALUE_MAX);
	assert(is_printable(value, length));
	assert(others == NULL || length == 0 || is_word(value, length, others));
}

/* The same bytes twice: in a block of exactly their size, so that a read past the end is seen. */
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
		check_value(reply.session, ":-_.\\@");
		check_value(reply.correlation, ":-_.");
		check_value(reply.say, NULL);
	}
	free(bytes);
	return 0;
}
