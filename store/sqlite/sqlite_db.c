/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sqlite/sqlite_db.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

/* Page caches, in KiB. One writer touches the inner pages of every index;
 * readers mostly share the kernel's cache. */
#define WRITE_CACHE_KIB 65536
#define READ_CACHE_KIB	8192

/* After a checkpoint the journal file is cut back to this: 64 MiB, what it
 * grows to between two of them. */
#define JOURNAL_KEEP_BYTES (64 * 1024 * 1024)

#define SYNCHRONOUS_FULL   2 /* as the pragma reads */

static int fault(sqlite3 *db, struct errmsg *reterr)
{
	return errmsg_set(reterr, ERR_IO, "database: %s",
		db ? sqlite3_errmsg(db) : "out of memory");
}

int sqlite_db_exec(sqlite3 *db, const char *sql, struct errmsg *reterr)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return fault(db, reterr);
	return 0;
}

int sqlite_db_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret_stmt,
	struct errmsg *reterr)
{
	if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret_stmt,
		    NULL) != SQLITE_OK)
		return fault(db, reterr);
	return 0;
}

int sqlite_db_integer(sqlite3 *db, const char *sql, int64_t fallback,
	int64_t *ret_value, struct errmsg *reterr)
{
	sqlite3_stmt *stmt;
	int code;

	if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
		return fault(db, reterr);
	code = sqlite3_step(stmt);
	if (code == SQLITE_ROW)
		*ret_value = sqlite3_column_int64(stmt, 0);
	else if (code == SQLITE_DONE)
		*ret_value = fallback;
	(void)sqlite3_finalize(stmt); /* repeats the step's code */
	return code == SQLITE_ROW || code == SQLITE_DONE ? 0
							 : fault(db, reterr);
}

static int set(
	sqlite3 *db, const char *pragma, int value, struct errmsg *reterr)
{
	char sql[64];

	(void)snprintf(sql, sizeof(sql), "PRAGMA %s=%d", pragma, value);
	return sqlite_db_exec(db, sql, reterr);
}

/* Sets the journal mode and hears what it has become. */
static int set_journal(sqlite3 *db, struct errmsg *reterr)
{
	const char *mode = NULL;
	sqlite3_stmt *stmt;
	bool wal;

	if (sqlite3_prepare_v2(db, "PRAGMA journal_mode=WAL", -1, &stmt,
		    NULL) != SQLITE_OK)
		return fault(db, reterr);
	if (sqlite3_step(stmt) == SQLITE_ROW)
		mode = (const char *)sqlite3_column_text(stmt, 0);
	wal = mode && !strcmp(mode, "wal");
	if (sqlite3_finalize(stmt) != SQLITE_OK)
		return fault(db, reterr);
	return wal ? 0
		   : errmsg_set(reterr, ERR_UNSUPPORTED,
			     "database: journal_mode=WAL cannot be had here");
}

int sqlite_db_set_up_writer(sqlite3 *db, struct errmsg *reterr)
{
	int64_t synchronous = 0;
	int r = set_journal(db, reterr);

	if (r == 0)
		r = set(db, "synchronous", SYNCHRONOUS_FULL, reterr);
	if (r == 0)
		r = sqlite_db_integer(
			db, "PRAGMA synchronous", 0, &synchronous, reterr);
	if (r == 0 && synchronous != SYNCHRONOUS_FULL)
		r = errmsg_set(reterr, ERR_UNSUPPORTED,
			"database: synchronous=FULL cannot be had here");
	if (r == 0)
		r = set(db, "journal_size_limit", JOURNAL_KEEP_BYTES, reterr);
	if (r == 0)
		r = set(db, "cache_size", -WRITE_CACHE_KIB, reterr);
	/* The writer checkpoints between its batches. */
	if (r == 0)
		r = set(db, "wal_autocheckpoint", 0, reterr);
	return r;
}

static int set_up_reader(sqlite3 *db, struct errmsg *reterr)
{
	int r = set(db, "query_only", 1, reterr);

	return r == 0 ? set(db, "cache_size", -READ_CACHE_KIB, reterr) : r;
}

int sqlite_db_open(const char *path, enum sqlite_mode mode, sqlite3 **ret_db,
	struct errmsg *reterr)
{
	static const int flags[] = {
		[SQLITE_MODE_WRITE] =
			SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
		[SQLITE_MODE_READ] = SQLITE_OPEN_READONLY,
		[SQLITE_MODE_LOOK] = SQLITE_OPEN_READONLY | SQLITE_OPEN_URI,
	};
	CLEANUP(sqlite_db_close)
	sqlite3 *db = NULL;
	int r = 0;

	if (sqlite3_open_v2(path, &db,
		    flags[mode] | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
		    NULL) != SQLITE_OK)
		return fault(db, reterr);
	(void)sqlite3_busy_timeout(db, SQLITE_BUSY_MS); /* cannot fail */
	if (mode != SQLITE_MODE_WRITE)
		r = set_up_reader(db, reterr);
	if (r < 0)
		return r;
	*ret_db = TAKE_PTR(db);
	return 0;
}

void sqlite_db_close(sqlite3 **db)
{
	(void)sqlite3_close(*db); /* nothing is left open on it */
	*db = NULL;
}

enum store_outcome sqlite_outcome(int code)
{
	switch (code & 0xff) {
	case SQLITE_FULL: return STORE_FULL;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_IOERR:
	case SQLITE_READONLY:
	case SQLITE_CANTOPEN:
	case SQLITE_NOMEM: return STORE_UNAVAILABLE;
	default: return STORE_FAILED;
	}
}

bool sqlite_is_damage(int code)
{
	return (code & 0xff) == SQLITE_CORRUPT ||
	       (code & 0xff) == SQLITE_NOTADB;
}

void sqlite_stop_if_not_flushed(int code)
{
	if (code != SQLITE_IOERR_FSYNC && code != SQLITE_IOERR_DIR_FSYNC)
		return;
	log_error(NULL, "store.flush_failed", F_I64("sqlite_code", code));
	log_stop();
	abort();
}
