/* SPDX-License-Identifier: Apache-2.0 */
/* store_admin — a store as an operator's command has it: all users, on a
 * connection of its own that blocks, beside the servers of the same store.
 *
 * Does not: tell listeners. Threads: one, and no loop waits for it. Sentences
 * are for the operator: they may name the database's host and a user's id,
 * never a password or what a record holds. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/user_id.h"
#include "config/config.h"
#include "store/store.h"

/* ---- whether it can be used ---- */

enum store_schema { STORE_SCHEMA_NONE, STORE_SCHEMA_OLD, STORE_SCHEMA_CURRENT };

struct store_condition {
	const char *backend; /* ref; static */
	enum store_schema schema;
	bool served; /* by some process, as far as can be seen */
	/* Bytes that its file system has left for us; -1: nobody can tell. */
	int64_t bytes_free;
};

/* Looks whether a start would find a database it can serve from: reachable,
 * durable, of no unknown version, open to our rights. Changes nothing, makes
 * nothing. Returns: 0; ERR_* with a sentence. */
MUSTCHECK int store_admin_look(const struct config *config,
	struct store_condition *ret_condition, struct errmsg *reterr);

/* ---- a connection ---- */

enum store_admin_use {
	/* One snapshot, from the first question to the close; servers write on
	 * meanwhile. While it lives SQLite's WAL cannot start anew, and
	 * PostgreSQL cannot clean up after updates. */
	STORE_ADMIN_READ,
	/* Changes what one user has. SQLite: no server may run, since that
	 * version of it must not have two processes that write. */
	STORE_ADMIN_CHANGE,
	/* Is filled. No server may run, as far as can be seen. Makes the
	 * database where there is none, and brings it up to date. */
	STORE_ADMIN_FILL,
};

struct store_admin;

/* Opens the store that the configuration names. Its schema must be up to date,
 * but for FILL. Returns: 0; ERR_BUSY (a server runs), ERR_* with a sentence. */
MUSTCHECK int store_admin_open(const struct config *config,
	enum store_admin_use use, struct store_admin **ret_admin,
	struct errmsg *reterr);

/* NULL inside is fine. */
void store_admin_close(struct store_admin **admin);

/* ---- READ ---- */

struct store_totals {
	uint64_t users; /* that have or had records */
	uint64_t records;
	uint64_t bytes;		 /* of the records' data */
	uint64_t locks;		 /* expired ones included */
	uint64_t database_bytes; /* that the tables and indexes take */
};

/* Reads the whole of the tables' keys. Returns: 0; ERR_* with a sentence. */
MUSTCHECK int store_admin_totals(struct store_admin *admin,
	struct store_totals *ret_totals, struct errmsg *reterr);

struct store_usage {
	char user[USER_ID_HEX + 1];
	uint64_t revision; /* the user's counter */
	uint64_t records;
	uint64_t bytes;
};

/* More are no overview but a list. */
#define STORE_BIGGEST_MAX 1000

/* The `max` users (at most STORE_BIGGEST_MAX) with most bytes, the biggest
 * first. Returns: 0; ERR_* with a sentence. */
MUSTCHECK int store_admin_biggest(struct store_admin *admin, size_t max,
	struct store_usage *ret_users, size_t *ret_n, struct errmsg *reterr);

/* What one user has. Returns: 0; ERR_INVALID (no such user), ERR_* with a
 * sentence. */
MUSTCHECK int store_admin_user(struct store_admin *admin,
	const struct user_id *user, struct store_usage *ret_usage,
	struct errmsg *reterr);

/* What is handed over is borrowed for the call. Each returns 0 to go on, or
 * ERR_* with a sentence, which ends the visit. */
struct store_visitor {
	/* The counter is not below any of the user's records. */
	int (*on_user)(void *ctx, const struct user_id *user, uint64_t counter,
		struct errmsg *reterr);
	/* Of the last user. */
	int (*on_record)(void *ctx, const struct store_record *record,
		struct errmsg *reterr);
	void *ctx;
};

/* Hands over all users in the order of their ids, each with its records in the
 * order of revisions (of equal ones, which data-sync may have left: of ids), a
 * few of them in memory at a time.
 * Returns: 0; ERR_CORRUPT (a user id that is none), ERR_* with a sentence. */
MUSTCHECK int store_admin_visit(struct store_admin *admin,
	const struct store_visitor *visitor, struct errmsg *reterr);

/* Writes a copy of the database to `path`, an empty file, and flushes it.
 * `on_progress` is called now and then with pages of the whole.
 * SQLite only. Returns: 0; ERR_UNSUPPORTED, ERR_* with a sentence. */
MUSTCHECK int store_admin_copy(struct store_admin *admin, const char *path,
	void (*on_progress)(void *ctx, uint64_t done, uint64_t all), void *ctx,
	struct errmsg *reterr);

/* ---- CHANGE ---- */

/* Deletes the user's records and locks, in one transaction. The counter stays:
 * what the user writes later must get revisions that no device has seen, or
 * devices would miss it. *ret_usage is what was deleted. On SQLite what is
 * deleted is overwritten in the file, too.
 * Returns: 0; ERR_INVALID (no such user); ERR_BUSY (deleted, but not yet
 * overwritten, as somebody reads the file), ERR_* with a sentence. */
MUSTCHECK int store_admin_purge(struct store_admin *admin,
	const struct user_id *user, struct store_usage *ret_usage,
	struct errmsg *reterr);

/* ---- FILL ---- */

struct store_fill_user {
	struct user_id user;
	uint64_t counter;   /* in the end */
	uint64_t filled;    /* up to which revision, with this batch */
	bool whole;	    /* with this batch all records have been given */
	uint64_t n_records; /* so many, if whole */
};

struct store_fill_record {
	size_t user; /* index of its user in the batch */
	struct store_record record;
};

/* What goes into one transaction. Users are in the order of their ids, each
 * with its records in the order of revisions; a user may go on in the next
 * batch, but not in the middle of records of one revision. */
#define STORE_FILL_RECORDS_MAX 1000
#define STORE_FILL_USERS_MAX   1000
/* A record more may begin below it. What PostgreSQL's parameters have room
 * for, with ids and lengths. */
#define STORE_FILL_BYTES_MAX (1024 * 1024)

struct store_fill {
	const struct store_fill_user *users; /* borrow(call) */
	size_t n_users;
	const struct store_fill_record *records; /* borrow(call) */
	size_t n_records;
};

/* Adds what is missing and compares what is there. A user's counter in the
 * store never runs ahead of what has been filled, so that after an end at any
 * time the store is sound, and the same fill goes on where it was.
 * Returns: 0, and all is committed and flushed; ERR_INVALID (the store has
 * something else: a record that differs, one more or less, a counter that is
 * higher), ERR_* with a sentence; then nothing of the batch is stored. */
MUSTCHECK int store_admin_fill(struct store_admin *admin,
	const struct store_fill *fill, struct errmsg *reterr);

/* How many users the store has. Returns: 0; ERR_* with a sentence. */
MUSTCHECK int store_admin_count_users(
	struct store_admin *admin, uint64_t *ret_users, struct errmsg *reterr);
