/* SPDX-License-Identifier: Apache-2.0 */
/* sqlite_bind — our bytes and numbers into a statement and out of a row. */
#pragma once

#include <assert.h>
#include <sqlite3.h>

#include "base/slice.h"

/* What is bound is not copied: it stays where it is until the reset. */

/* All sizes are bounded, so that binding cannot fail. It must not: an unbound
 * NULL matches no row, and a lock would read as free. */
static inline void sqlite_bound(int code)
{
	assert(code == SQLITE_OK);
	(void)code;
}

static inline void sqlite_bind_text(sqlite3_stmt *s, int at, struct slice text)
{
	/* A NULL pointer would bind NULL, and empty text is not NULL. */
	sqlite_bound(sqlite3_bind_text64(s, at,
		text.len ? (const char *)text.ptr : "", text.len, SQLITE_STATIC,
		SQLITE_UTF8));
}

static inline void sqlite_bind_blob(sqlite3_stmt *s, int at, struct slice bytes)
{
	sqlite_bound(sqlite3_bind_blob64(s, at,
		bytes.len ? bytes.ptr : (void *)"", bytes.len, SQLITE_STATIC));
}

static inline void sqlite_bind_integer(sqlite3_stmt *s, int at, int64_t value)
{
	sqlite_bound(sqlite3_bind_int64(s, at, value));
}

/* The column's bytes, valid until the next step. By way of the value, which
 * costs half as much as two calls for the column; it is safe because nobody
 * else uses the connection. */
static inline struct slice sqlite_column(sqlite3_stmt *s, int at)
{
	sqlite3_value *value = sqlite3_column_value(s, at);
	const void *bytes = sqlite3_value_blob(value);

	return slice_of(bytes ? bytes : "", (size_t)sqlite3_value_bytes(value));
}
