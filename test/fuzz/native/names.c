/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names as those of files: whatever the name, the file is one of the directory's own, and no other name has the same. */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "../../../native/shim.h"

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static int
is_plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c != '\0' && strchr("_.-", c) != NULL);
}

/* The number of a hexadecimal digit, as it is written. */
static int
digit(char c)
{
	static const char	digits[] = "0123456789abcdef";
	const char		*place = strchr(digits, c);

	assert(c != '\0' && place != NULL);
	return (int)(place - digits);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	 file[FILE_NAME_MAX + 1];
	char	*name = malloc(size + 1), *again = malloc(size + 1);
	size_t	 length = 0;

	assert(name != NULL && again != NULL);
	memcpy(name, data, size);
	name[size] = '\0';
	escape_name(file, name);
	assert(strnlen(file, sizeof(file)) <= FILE_NAME_MAX);
	/* Each byte takes four at most. */
	assert(file[0] != '\0' || *name == '\0' || strlen(name) * 4 > FILE_NAME_MAX);
	if (file[0] != '\0') {
		assert(file[0] != '.' && file[0] != '-');
		for (const char *s = file; *s != '\0'; s++) {
			assert(length < size);
			if (*s != '\\') {
				assert(is_plain(*s));
				again[length++] = *s;
				continue;
			}
			assert(s[1] == 'x');
			again[length] = (char)(digit(s[2]) << 4 | digit(s[3]));
			length++;
			s += 3;
		}
		again[length] = '\0';
		assert(strcmp(again, name) == 0);
	}
	free(again);
	free(name);
	return 0;
}
