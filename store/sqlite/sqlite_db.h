/* SPDX-License-Identifier: Apache-2.0 */
/* sqlite_db — one connection to the database file, and what its result codes
 * mean. Threads: one per connection. */
#pragma once

#include <sqlite3.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/slice.h"
#include "store/store.h"

enum sqlite_mode {
	SQLITE_MODE_WRITE,
	SQLITE_MODE_READ,
	SQLITE_MODE_LOOK, /* as READ, by a URI instead of a path */
};

/* How long one waits for another process that holds the file, such as a
 * backup by hand. */
#define SQLITE_BUSY_MS 2000

/* Opens the file, made when missing (mode WRITE). READ: can change nothing.
 * Returns: 0; ERR_* with a sentence, which does not hold the path. */
MUSTCHECK int sqlite_db_open(const char *path, enum sqlite_mode mode,
	sqlite3 **ret_db, struct errmsg *reterr);

/* Makes journal and flushing as durable as promised, and reads back whether
 * they are. Apart from opening, since it changes the file.
 * Returns: 0; ERR_* with a sentence. */
MUSTCHECK int sqlite_db_set_up_writer(sqlite3 *db, struct errmsg *reterr);

/* NULL inside is fine. Every statement is finalised before. */
void sqlite_db_close(sqlite3 **db);

/* Runs statements that give no rows. Returns: 0; ERR_* with a sentence. */
MUSTCHECK int sqlite_db_exec(
	sqlite3 *db, const char *sql, struct errmsg *reterr);

/* The one integer a query gives; `fallback` when it gives no row.
 * Returns: 0; ERR_* with a sentence. */
MUSTCHECK int sqlite_db_integer(sqlite3 *db, const char *sql, int64_t fallback,
	int64_t *ret_value, struct errmsg *reterr);

/* A statement for the connection's life. Returns: 0; ERR_* with a sentence. */
MUSTCHECK int sqlite_db_prepare(sqlite3 *db, const char *sql,
	sqlite3_stmt **ret_stmt, struct errmsg *reterr);

/* What a failed step means for an operation. */
enum store_outcome sqlite_outcome(int code);

/* Whether the file is not what was written: no later try will mend it. */
bool sqlite_is_damage(int code);

/* Ends the process when `code` (extended) says that the kernel did not flush
 * what we wrote. After that nobody knows what is on disk: the kernel may have
 * dropped the pages and forgotten, so that a second try would succeed and lie.
 * The next start finds out by recovery. */
void sqlite_stop_if_not_flushed(int code);
