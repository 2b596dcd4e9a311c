/* SPDX-License-Identifier: Apache-2.0 */
/* pg_batch — operations that go to PostgreSQL together: what is sent for them,
 * and what becomes of them when the results come.
 *
 * Writes of one batch are one transaction: all of them are committed or none.
 * Reads of one batch stand alone, each with a sync of its own.
 * Threads: the loop's. */
#pragma once

#include <libpq-fe.h>

#include "store/postgres/pg_conn.h"
#include "store/store.h"

enum pg_batch_kind {
	PG_BATCH_NONE,
	PG_BATCH_RECORDS, /* SetRecord */
	PG_BATCH_LOCKS,	  /* SetLock */
	PG_BATCH_READS,	  /* ListChanges, GetLock */
	PG_BATCH_CHORES,  /* no operations: sweeps, nudges, polls */
};

/* What is to be done about an error of PostgreSQL's. */
enum pg_verdict {
	PG_FINE,
	PG_RETRY,      /* it gave up for reasons of its own: try again */
	PG_RETRY_SOON, /* it cannot now: try again on another connection */
	PG_REFUSED,    /* nothing was done, and would not be the next time */
};

struct pg_batch {
	enum pg_batch_kind kind;
	struct store_op *ops[PG_GROUP_MAX]; /* the store's, while they wait */
	size_t n;

	bool committed;	  /* all of a batch of writes */
	bool sweep_locks; /* a lock was seen that should have ended */
	enum pg_verdict verdict;
	enum store_outcome refusal; /* with PG_REFUSED and PG_RETRY */
};

/* A batch of one kind without operations. */
void pg_batch_begin(struct pg_batch *b, enum pg_batch_kind kind);

/* Sends the batch, which is not empty. `token` and `seq` are those of the
 * receipt for writes; `local` sends the settings with each transaction.
 * `params` is scratch. */
void pg_batch_send(struct pg_batch *b, struct pg_conn *c, const char *token,
	int64_t seq, bool local, struct pg_params *params);

/* Takes the next result. Returns the read that it is the answer to, with its
 * outcome and the batch's verdict on it, which is no more the batch's; NULL for
 * a batch of writes, whose outcomes hold when it is committed. */
struct store_op *pg_batch_take(struct pg_batch *b, const PGresult *result);

/* Sets the outcomes of a batch of writes that is committed, from the array in
 * its receipt. Returns: 0, ERR_CORRUPT (not the array that was asked for). */
MUSTCHECK int pg_batch_settle(
	struct pg_batch *b, const PGresult *result, int row, int column);

/* Bytes before the first element of an array of one dimension, in the binary
 * format; an empty one has fewer. */
#define PG_ARRAY_HEADER 20

/* The big-endian integer in a field; 0 for NULL or another size. */
int64_t pg_int8(const PGresult *result, int row, int column);
