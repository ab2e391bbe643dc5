/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The request to the helper: whatever the application told PAM, it is one JSON object with just these values, or it is never
 * sent. The strings of the input, each ending with a zero byte, are what PAM answers here.
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../../native/shim.h"

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

enum { USER, SERVICE, RHOST, TTY, RUSER, TOKEN, CLAIMS, UNIT, ARGUMENT, STRINGS };

static char		*told[STRINGS];
static char		 handle;	/* only its address counts */

/* The library's, but for these two. */
int
pam_get_item(const pam_handle_t *pamh, int type, const void **item)
{
	(void)pamh;
	switch (type) {
	case PAM_SERVICE:	*item = told[SERVICE]; break;
	case PAM_RHOST:		*item = told[RHOST]; break;
	case PAM_TTY:		*item = told[TTY]; break;
	case PAM_RUSER:		*item = told[RUSER]; break;
	default:		return PAM_BAD_ITEM;
	}
	return PAM_SUCCESS;
}

const char *
pam_getenv(pam_handle_t *pamh, const char *name)
{
	(void)pamh;
	return strcmp(name, CORRELATION) == 0 ? told[TOKEN] : strcmp(name, "CLAIMS") == 0 ? told[CLAIMS] : NULL;
}

/* The request, as far as it is not read yet. */
struct rest {
	const char	*at;
	const char	*end;
};

static void
expect(struct rest *rest, const char *text)
{
	assert((size_t)(rest->end - rest->at) >= strlen(text));
	assert(memcmp(rest->at, text, strlen(text)) == 0);
	rest->at += strlen(text);
}

/* A JSON string that means this value, or so many bytes of it: a lone half of a pair stands for a byte that is no text. */
static void
expect_string(struct rest *rest, const char *value, size_t most)
{
	const size_t	 length = strnlen(value, most);

	expect(rest, "\"");
	for (size_t i = 0; i < length; i++) {
		unsigned char	c = (unsigned char)value[i];
		char		escape[8];

		assert(rest->at < rest->end);
		if (*rest->at != '\\') {
			assert(c >= 0x20 && c != 0x7f && c != '"');
			assert((unsigned char)*rest->at == c);
			rest->at++;
		} else if (rest->end - rest->at > 1 && rest->at[1] == 'u') {
			assert(c < 0x20 || c >= 0x7f);
			snprintf(escape, sizeof(escape), "\\u%04x", c < 0x80 ? c : 0xdc00u + c);
			expect(rest, escape);
		} else {
			assert(c == '"' || c == '\\');
			rest->at++;
			assert(rest->at < rest->end && (unsigned char)*rest->at == c);
			rest->at++;
		}
	}
	expect(rest, "\"");
}

static void
expect_member(struct rest *rest, const char *before, const char *value, size_t most)
{
	expect(rest, before);
	expect_string(rest, value, most);
}

static void
expect_number(struct rest *rest, const char *before, long value)
{
	char	digits[24];

	expect(rest, before);
	snprintf(digits, sizeof(digits), "%ld", value);
	expect(rest, digits);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char	*arguments[] = { "claims_env=CLAIMS", NULL };
	struct request	*request = malloc(sizeof(*request));
	struct rest	 rest;
	size_t		 whole = 0;

	assert(request != NULL);
	/* Blocks of their own size: a read past the end is seen. */
	for (int i = 0; i < STRINGS; i++) {
		const size_t	length = strnlen((const char *)data, size);

		told[i] = malloc(length + 1);
		assert(told[i] != NULL);
		memcpy(told[i], data, length);
		told[i][length] = '\0';
		whole += length;
		data += length + (length < size ? 1 : 0);
		size -= length + (length < size ? 1 : 0);
	}
	arguments[1] = told[ARGUMENT];
	if (strncmp(told[ARGUMENT], "claims_env=", strlen("claims_env=")) == 0)
		told[ARGUMENT][0] = 'x';
	make_request(request, (pam_handle_t *)&handle, "close", told[USER], 1000, 100, told[UNIT], LENGTH(arguments), arguments);
	assert(request->length <= REQUEST_MAX);
	assert(request->unconfined == (strcmp(told[ARGUMENT], UNCONFINED) == 0));
	/* A byte takes six at most. */
	assert(!request->overrun || whole * 6 > REQUEST_MAX - 512);
	if (!request->overrun) {
		rest = (struct rest){ request->bytes, request->bytes + request->length };
		expect_member(&rest, "{\"v\":1,\"type\":\"close\",\"user\":", told[USER], SIZE_MAX);
		expect_number(&rest, ",\"uid\":", 1000);
		expect_number(&rest, ",\"gid\":", 100);
		expect_member(&rest, ",\"service\":", told[SERVICE], SIZE_MAX);
		expect_member(&rest, ",\"rhost\":", told[RHOST], SIZE_MAX);
		expect_member(&rest, ",\"tty\":", told[TTY], SIZE_MAX);
		expect_member(&rest, ",\"ruser\":", told[RUSER], SIZE_MAX);
		expect_number(&rest, ",\"pid\":", getpid());
		expect_member(&rest, ",\"args\":[\"claims_env=CLAIMS\",", told[ARGUMENT], SIZE_MAX);
		expect_member(&rest, "],\"env\":{\"" CORRELATION "\":", told[TOKEN], USER_VALUE_MAX);
		expect_member(&rest, ",\"CLAIMS\":", told[CLAIMS], USER_VALUE_MAX);
		expect_member(&rest, "},\"session\":", told[UNIT], SIZE_MAX);
		expect(&rest, "}");
		assert(rest.at == rest.end);
	}
	for (int i = 0; i < STRINGS; i++)
		free(told[i]);
	free(request);
	return 0;
}
