/* SPDX-License-Identifier: Apache-2.0 */
/* pg_session — one connection that blocks: for the start, and for an operator's
 * commands, when no loop waits for it.
 *
 * Threads: one. Sentences hold libpq's words: they name hosts and users, which
 * the operator knows, and no password. */
#pragma once

#include <libpq-fe.h>

#include "base/attr.h"
#include "base/err.h"
#include "store/postgres/pg_params.h"
#include "store/postgres/pg_target.h"

/* What a field is cut to by pg_session_ask(). */
#define PG_ANSWER_BYTES 64

/* Connects to the first host that will have us. `name` is what the connection
 * is called in pg_stat_activity; NULL: what the URL says, or "tallyd".
 * Returns: 0; ERR_NOMEM, ERR_IO with a sentence. */
MUSTCHECK int pg_session_open(const struct pg_target *target, const char *name,
	PGconn **ret_pg, struct errmsg *reterr);

/* Ends it, and a transaction without its COMMIT. NULL inside is fine. */
void pg_session_close(PGconn **pg);

/* Runs statements whose rows nobody wants; `what` says what it means when they
 * fail. Returns: 0; ERR_IO with a sentence. */
MUSTCHECK int pg_session_run(
	PGconn *pg, const char *sql, const char *what, struct errmsg *reterr);

/* Begins a transaction of this kind ("READ COMMITTED", …) for a command: it may
 * take as long as it takes, and its commit is flushed. What it sets ends with
 * it, since a pooler may give the connection to others. Returns as
 * pg_session_run(). */
MUSTCHECK int pg_session_begin(
	PGconn *pg, const char *kind, struct errmsg *reterr);

/* The first field of the first row as text; "" for no row or NULL.
 * Returns: 0; ERR_IO with a sentence. */
MUSTCHECK int pg_session_ask(PGconn *pg, const char *sql,
	char out[PG_ANSWER_BYTES], struct errmsg *reterr);

/* Runs one statement; all that goes there and comes back is binary. `params`
 * may be NULL; the result is the caller's.
 * Returns: 0; ERR_NOMEM, ERR_IO with a sentence. */
MUSTCHECK int pg_session_query(PGconn *pg, const char *sql,
	const struct pg_params *params, const char *what, PGresult **ret_result,
	struct errmsg *reterr);

/* For CLEANUP. */
void pg_session_clear(PGresult **result);

/* A field of such a result: bytes or text, and a bigint (0 for NULL). */
struct slice pg_session_bytes(const PGresult *result, int row, int column);
int64_t pg_session_int8(const PGresult *result, int row, int column);
