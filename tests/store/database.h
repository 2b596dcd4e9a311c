/* SPDX-License-Identifier: Apache-2.0 */
/* database — a PostgreSQL database of a test's own, on the server that
 * TEST_DATABASE_URL names, with a clock that the test moves.
 *
 * The store asks for the time by clock_timestamp(). Here a function of that
 * name stands before PostgreSQL's on the search path and reads a table.
 * Threads: the test's. */
#pragma once

#include <libpq-fe.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* Makes it; `url` has room for what DATABASE_URL may be. One at a time. */
void database_make(char *url, size_t size);
void database_drop(void);
const char *database_name(void);

/* A connection of the test's to the database; to be closed. */
PGconn *database_connect(void);

/* Sets the clock, which goes in steps of DATABASE_TICK_NS and stands still in
 * between. */
#define DATABASE_TICK_NS 1000
void database_set_clock(int64_t wall_ns);

/* Runs SQL as somebody else would. */
__attribute__((format(printf, 1, 2))) void database_sql(
	const char *format, ...);
/* The first field of the first row: as it is read, in a buffer that lasts until
 * the next call; or as a number. */
const char *database_text(const char *sql);
int64_t database_integer(const char *sql);
