/* SPDX-License-Identifier: Apache-2.0 */
/* captured — what a test writes to standard error, as text. The log writes at
 * once unless log_start() was called. */
#pragma once

#include <check.h>
#include <stdio.h>
#include <unistd.h>

#define CAPTURED_MAX 16384

struct captured {
	FILE *file;
	int before;
	char text[CAPTURED_MAX];
};

static inline void captured_start(struct captured *c)
{
	c->file = tmpfile();
	ck_assert_ptr_nonnull(c->file);
	c->before = dup(STDERR_FILENO);
	ck_assert_int_ge(c->before, 0);
	ck_assert_int_eq(dup2(fileno(c->file), STDERR_FILENO), STDERR_FILENO);
}

/* Returns what was written, until the next start. */
static inline const char *captured_end(struct captured *c)
{
	size_t n;

	ck_assert_int_eq(dup2(c->before, STDERR_FILENO), STDERR_FILENO);
	close(c->before);
	rewind(c->file);
	n = fread(c->text, 1, sizeof(c->text) - 1, c->file);
	c->text[n] = '\0';
	(void)fclose(c->file);
	return c->text;
}
