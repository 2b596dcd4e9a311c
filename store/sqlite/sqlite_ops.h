/* SPDX-License-Identifier: Apache-2.0 */
/* sqlite_ops — the four operations in SQL, on one connection's prepared
 * statements. No threads, no transactions: the caller has begun one for
 * writes. Time is told. */
#pragma once

#include <sqlite3.h>
#include <stdint.h>

#include "base/attr.h"
#include "store/store.h"

/* A lock that outlives now by more than this was taken under another clock. */
#define SQLITE_LOCK_HORIZON_S (LOCK_TTL_MAX_S + 1)

enum { SQLITE_STATEMENTS_MAX = 16 };

struct sqlite_ops {
	sqlite3 *db;				    /* ref */
	sqlite3_stmt *stmts[SQLITE_STATEMENTS_MAX]; /* own */
	/* The last failure's extended code, for who must tell them apart. */
	int error;
};

/* Prepares what a connection of this kind runs. Returns: 0; ERR_* with a
 * sentence. sqlite_ops_release() in any case. */
MUSTCHECK int sqlite_ops_init_write(
	struct sqlite_ops *o, sqlite3 *db, struct errmsg *reterr);
MUSTCHECK int sqlite_ops_init_read(
	struct sqlite_ops *o, sqlite3 *db, struct errmsg *reterr);
void sqlite_ops_release(struct sqlite_ops *o);

/* Each fills in the results and returns the outcome. A write that fails has
 * changed nothing, and the transaction around it goes on, unless all of it had
 * to be rolled back (sqlite3_get_autocommit() tells). */
enum store_outcome sqlite_set_record(struct sqlite_ops *o,
	const struct user_id *user, struct store_set_record *set);
enum store_outcome sqlite_set_lock(struct sqlite_ops *o,
	const struct user_id *user, const struct store_set_lock *set,
	int64_t now_ns);
enum store_outcome sqlite_list_changes(struct sqlite_ops *o,
	const struct user_id *user, struct store_list_changes *list);
/* *ret_sweep: a lock from another clock was seen, sqlite_sweep() should run. */
enum store_outcome sqlite_get_lock(struct sqlite_ops *o,
	const struct user_id *user, struct store_get_lock *get, int64_t now_ns,
	bool *ret_sweep);

/* Deletes expired locks and shortens those of another clock. */
enum store_outcome sqlite_sweep(struct sqlite_ops *o, int64_t now_ns);

/* Writes a page that says what it said before, to see whether that can be
 * done. SQLite's result code. */
MUSTCHECK int sqlite_touch(struct sqlite_ops *o);

/* What is read in between is read from one snapshot, which costs once. Without
 * a beginning the end is nothing. */
void sqlite_begin_read(struct sqlite_ops *o);
void sqlite_end_read(struct sqlite_ops *o);

/* BEGIN IMMEDIATE, COMMIT, ROLLBACK: SQLite's result code. */
MUSTCHECK int sqlite_begin(struct sqlite_ops *o);
MUSTCHECK int sqlite_commit(struct sqlite_ops *o);
void sqlite_rollback(struct sqlite_ops *o);
