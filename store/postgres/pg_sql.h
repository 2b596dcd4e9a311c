/* SPDX-License-Identifier: Apache-2.0 */
/* pg_sql — every statement that the PostgreSQL store sends while it serves.
 *
 * A write is one transaction and one round trip: BEGIN, the locks in a fixed
 * order, the change, COMMIT. READ COMMITTED gives the change a snapshot taken
 * after the locks, so it sees all that was committed before them; who holds a
 * user's counter is the only one to write that user's records, so revisions are
 * dense, and they become visible in their order. */
#pragma once

#include <stddef.h>

struct pg_statement {
	const char *name; /* what it is kept prepared as; NULL: it is not */
	const char *sql;
};

enum pg_sql {
	PG_SQL_BEGIN,
	PG_SQL_COMMIT,
	PG_SQL_ROLLBACK,
	/* $1 users, $2 whether each may be made. */
	PG_SQL_LOCK_COUNTERS,
	/* $1 token, $2 number of the group, $3 users, $4 ids, $5 data,
	 * $6 expected revisions, $7 schema versions, $8 client ids in base64,
	 * "-" for none, $9 records and $10 bytes that the user may have: one
	 * row with an array of new revisions, 0 for those in conflict, PG_… for
	 * those refused. */
	PG_SQL_SET_RECORDS,
	/* $1 users, $2 names. */
	PG_SQL_LOCK_LOCKS,
	PG_SQL_CLAMP_LOCKS,
	/* $1 token, $2 number of the group, $3 users, $4 names, $5 instances,
	 * $6 acquire, $7 exclusive, $8 seconds: one row with an array of 1, or
	 * 0 for those that another instance prevents. */
	PG_SQL_SET_LOCKS,
	/* $1 user, $2 since, $3 records at most, $4 bytes at most,
	 * $5 the revisions to leave out, as struct store_list_changes. */
	PG_SQL_LIST,
	/* $1 user, $2 name: for how many seconds it is held, or NULL. */
	PG_SQL_GET_LOCK,
	/* $1 payload. */
	PG_SQL_NOTIFY,
	/* $1 users: user and revision of each that has a counter. */
	PG_SQL_POLL,
	PG_SQL_SWEEP_LOCKS,
	PG_SQL_SWEEP_RECEIPTS,
	/* $1 token, $2 number: deletes receipts below it. */
	PG_SQL_DROP_RECEIPTS,

	/* Of a new connection. */
	PG_SQL_WHO,	 /* pid, channel, and whether commits are durable */
	PG_SQL_SETTINGS, /* for the session */
	PG_SQL_SETTINGS_LOCAL, /* for the transaction */
	PG_SQL_SETTINGS_NEW,   /* those that not every version has */
	/* $1 token, $2 number of a group whose answer was lost: keeps it from
	 * being committed from now on. */
	PG_SQL_FENCE,
	/* $1 token, $2 number: what came of that group; no results when it was
	 * fenced off. */
	PG_SQL_RECEIPT,
	PG_SQL_STATEMENTS,
};

/* In the place of a new revision. */
#define PG_TOO_MANY_RECORDS (-1)
#define PG_TOO_MUCH_DATA    (-2)
#define PG_NO_NEW_USER	    (-3)

extern const struct pg_statement pg_statements[PG_SQL_STATEMENTS];
