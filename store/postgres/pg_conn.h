/* SPDX-License-Identifier: Apache-2.0 */
/* pg_conn — one connection to PostgreSQL that comes back when it is lost, on a
 * loop, with libpq in non-blocking pipeline mode.
 *
 *   waiting → looking up → connecting → open → (lost) waiting …
 *
 * Each attempt has a time limit, attempts back off with jitter, a server that
 * owes an answer for too long is given up, and an idle connection is tried with
 * an empty pipeline, which costs the server next to nothing.
 *
 * Owns: the PGconn, its watch and timer. Does not: know what is sent.
 * Threads: the loop's. */
#pragma once

#include <libpq-fe.h>

#include "store/postgres/pg_lookup.h"
#include "store/postgres/pg_params.h"
#include "store/postgres/pg_sql.h"
#include "store/postgres/pg_target.h"

enum pg_conn_state {
	PG_CONN_STOPPED,
	PG_CONN_WAITING,    /* for the next attempt */
	PG_CONN_LOOKING,    /* up the host's name */
	PG_CONN_CONNECTING, /* TCP, TLS, authentication */
	PG_CONN_OPEN,
};

struct pg_conn {
	/* Set before the start. Called from the loop only, never from inside
	 * the functions below; each may call those. */
	void (*on_open)(struct pg_conn *c);
	/* In the order of the statements sent. After a failed one those up to
	 * the next sync come as PGRES_PIPELINE_ABORTED. */
	void (*on_result)(struct pg_conn *c, const PGresult *result);
	void (*on_sync)(struct pg_conn *c); /* one of pg_conn_sync() */
	void (*on_notify)(struct pg_conn *c, const PGnotify *notify);
	/* It was open and is not: nothing of before will be answered. */
	void (*on_lost)(struct pg_conn *c);
	const char *role; /* for the log */

	struct loop *loop;		/* ref */
	const struct pg_target *target; /* ref */
	enum pg_conn_state state;
	PGconn *pg; /* own */
	struct watch watch;
	struct timer timer; /* of what the state waits for */
	struct pg_lookup lookup;
	size_t host, address; /* which the attempt goes to; the host that was
			       * open last comes first */
	uint32_t failures;    /* attempts in a row */
	const char *told;     /* the reason that was logged last, of those */
	bool prepared;	      /* statements are: set by the owner */

	/* When open. */
	uint32_t n_syncs;    /* whose end has not come */
	bool heartbeat;	     /* the first of them is ours */
	int64_t heard_ns;    /* when the server last gave a sign, or was last
			      * asked while idle */
	const char *failing; /* why it will be given up; NULL */
};

/* Begins to connect, with the next turn. */
void pg_conn_start(
	struct pg_conn *c, struct loop *loop, const struct pg_target *target);

/* The connection is of use, not only open: attempts after it is lost begin
 * without a wait again. */
void pg_conn_works(struct pg_conn *c);

/* Closes without a word to the owner. Twice is fine. */
void pg_conn_stop(struct pg_conn *c);

/* Gives the connection up, as soon as nothing of it runs: on_lost follows.
 * `reason` is static text. */
void pg_conn_fail(struct pg_conn *c, const char *reason);

/* Sends one statement; `params` NULL for none. A failure to send is a
 * connection that will be lost. */
void pg_conn_run(
	struct pg_conn *c, enum pg_sql sql, const struct pg_params *params);
/* SQL that was made at run time, with text parameters none. */
void pg_conn_run_text(struct pg_conn *c, const char *sql);
/* Prepares every statement that is kept prepared. */
void pg_conn_prepare_all(struct pg_conn *c);

/* Ends what belongs together and has it sent: on_sync follows. */
void pg_conn_sync(struct pg_conn *c);

/* What the server says of an error, for the log; never NULL. */
const char *pg_error_text(const PGresult *result);

/* For how long the server has owed an answer; 0 for none. */
int64_t pg_conn_silence_ns(const struct pg_conn *c);
