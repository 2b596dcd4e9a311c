/* SPDX-License-Identifier: Apache-2.0 */
/* store — where records and locks are kept: the contract of every back-end.
 *
 * Operations are asynchronous. The submitter embeds a struct store_op, fills
 * in the arguments and submits it at its port; `done` runs exactly once, on
 * the thread of the loop the port was attached to, never inside submit. From
 * submit until done the operation and all it points at belong to the store:
 * nothing of it may be changed, moved or freed.
 *
 * Promises: STORE_OK of a write means committed and flushed to stable
 * storage. Revisions are dense and unique per user, and if revision r can be
 * seen by a list, so can all below r (unless replaced by a later one). Nothing
 * of one user is ever given to another.
 *
 * Does not: know HTTP, gRPC or protobuf. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/metrics.h"
#include "base/slice.h"
#include "base/user_id.h"
#include "config/config.h"
#include "loop/loop.h"

struct store;
struct store_port;

enum store_outcome {
	STORE_OK,
	STORE_CONFLICT,	 /* the record exists at another revision */
	STORE_LOCK_HELD, /* another instance holds the lock */
	STORE_BUSY,	 /* queue full: shed, nothing was done */
	STORE_FULL,	 /* no space: nothing was done */
	/* The user has as many records, or as much data, as it may have; or it
	 * would be a new one, where none may be made: nothing was done. */
	STORE_TOO_MANY_RECORDS,
	STORE_TOO_MUCH_DATA,
	STORE_NO_NEW_USER,
	STORE_EXPIRED,	   /* nobody waits any more: nothing was done */
	STORE_UNAVAILABLE, /* store cannot be used now: nothing was done */
	STORE_UNKNOWN,	   /* commit was sent, its answer is lost for good */
	STORE_FAILED,	   /* a fault of ours or the database's: nothing done */
};

/* Static name for logs: "ok", "conflict", … */
const char *store_outcome_name(enum store_outcome outcome);

struct store_record {
	struct slice id;
	struct slice schema_version;
	struct slice data;
	uint64_t revision;
};

/* Creates or replaces. An id that exists needs `record.revision` equal to its
 * current one, else STORE_CONFLICT; an id that does not exist is created
 * whatever revision is given.
 *
 * A user above a limit may still replace what is there by what is no larger.
 * One who writes several records at once near a limit may be refused some that
 * would fit, as if those refused before them had been stored. */
struct store_set_record {
	struct store_record record; /* borrow(until done) */
	struct slice client_id;	    /* borrow(until done); goes to listeners */
	bool has_client_id;
	bool no_new_user;     /* not if the store does not know the user yet */
	uint64_t max_records; /* of the user, this one included; 0: any */
	uint64_t max_bytes;   /* of their data; 0: any */
	/* Result, with STORE_OK. 1: the user was new. */
	uint64_t new_revision;
};

/* Current versions of records above `since`, ascending, while they fit. */
struct store_list_changes {
	uint64_t since;
	/* Whose revision r has an 'x' here, at r - since - 1, is passed over as
	 * if it were not there. borrow(until done); empty: none */
	struct slice leave_out;
	uint32_t max_records;
	/* Appends one record to the page. Runs on a thread of the store's
	 * choice, touches nothing but the page; `record` is borrowed for the
	 * call. Returns: 0, ERR_LIMIT (page is as before: does not fit),
	 * ERR_NOMEM. The first record always fits in page.cap. */
	int (*encode)(struct buf *page, const struct store_record *record);
	struct buf page;  /* submitter's: initialised before, released after */
	size_t max_bytes; /* page ends before the record that would pass this;
			   * one record is always given */
	uint32_t n_records;	/* result */
	uint64_t last_revision; /* result: of the last record given, or since */
	bool truncated;		/* result: there are more */
};

/* Held per user, name and instance. Shared unless exclusive. */
struct store_set_lock {
	struct slice name;	  /* borrow(until done) */
	struct slice instance_id; /* borrow(until done); canonical text */
	bool acquire;		  /* false: release, also what is not held */
	bool exclusive;
	uint32_t ttl_seconds; /* held at least so long, at most 1 s longer, by
			       * the store's clock */
};

struct store_get_lock {
	struct slice name; /* borrow(until done) */
	bool locked;	   /* result */
};

enum store_kind {
	STORE_SET_RECORD,
	STORE_LIST_CHANGES,
	STORE_SET_LOCK,
	STORE_GET_LOCK,
};

struct store_op {
	enum store_kind kind;
	struct user_id user;
	/* On loop_now_ns()'s clock; 0 for none. One that is still queued at
	 * its deadline may end as STORE_EXPIRED, not executed. */
	int64_t deadline_ns;
	/* The submitter may set it at any time: nobody waits for the result.
	 * A read that is still queued then may end as STORE_EXPIRED. */
	atomic_bool abandoned;
	void (*done)(struct store_op *op);
	union {
		struct store_set_record set_record;
		struct store_list_changes list_changes;
		struct store_set_lock set_lock;
		struct store_get_lock get_lock;
	};
	enum store_outcome outcome; /* result */

	/* The store's, from submit until done. */
	struct message message;
	struct store_port *port;
	struct store_op *next; /* in a queue */
	int64_t queued_ns; /* since when it waits, on loop_now_ns()'s clock */
	uint32_t attempts; /* that failed through no fault of its own */
};

/* Longer client ids travel as "no id": a wake too many is safe, an unbounded
 * queue is not. Ours are UUIDs; as base64 this fits a PostgreSQL NOTIFY. */
#define STORE_CLIENT_ID_MAX 4096

/* A committed change, or a doubt. */
struct store_notice {
	struct user_id user;
	uint64_t revision; /* 0: nudge, "look again" */
	bool has_client_id;
	struct slice client_id; /* borrow(until on_notice returns) */
};

/* Called on the port's loop. For every write committed through any port (and,
 * where several servers share a database, by any server) exactly one notice
 * reaches every port, before `done` of that write; or on_lost. */
struct store_listener {
	void (*on_notice)(void *ctx, const struct store_notice *notice);
	void (*on_lost)(void *ctx); /* notices may be missing, of any user */
	/* Calls `each` for every user whose notices somebody waits for: a store
	 * that is not told of other servers' writes looks after those. NULL:
	 * nobody waits. */
	void (*users)(void *ctx,
		void (*each)(void *arg, const struct user_id *user), void *arg);
	void *ctx;
};

/* Opens the back-end that the configuration names, migrates it and checks
 * that it is as durable as promised. May block: call it before any loop runs.
 * Returns: 0, or ERR_* with a sentence for the operator in *reterr. */
MUSTCHECK int store_open(const struct config *config, const struct clock *clock,
	struct store **ret_store, struct errmsg *reterr);

/* Finishes what was submitted and closes. Ports end with it, detached or not:
 * what a port still waits for arrives with its loop's next turn. No other
 * thread uses the store any more. May block. NULL inside is fine. */
void store_close(struct store **store);

/* Connects a loop. `listener` is copied. Before the loop runs, or on its
 * thread. Returns: 0, ERR_NOMEM, ERR_SYS, ERR_LIMIT (more than
 * STORE_PORTS_MAX). */
#define STORE_PORTS_MAX 256 /* one per shard; more cores than we plan for */
MUSTCHECK int store_attach(struct store *store, struct loop *loop,
	const struct store_listener *listener, struct store_port **ret_port);

/* No operation of this port is in flight. On the port's loop or when that runs
 * no more. The loop outlives the store: its threads may still be about to wake
 * it. One more turn of it after store_close() frees what was on its way. */
void store_detach(struct store_port **port);

/* On the port's loop. Never fails: refusals come through `done`. */
void store_submit(struct store_port *port, struct store_op *op);

/* On the port's loop. Gives every port a notice of revision 0 for this user. */
void store_nudge(struct store_port *port, const struct user_id *user);

/* Any thread: deletes locks that have expired, some time soon. */
void store_sweep_locks(struct store *store);

/* Any thread: whether operations can be expected to succeed now. */
bool store_usable(const struct store *store);

/* Any thread: adds what the store's own threads have counted, and tells how it
 * is now. What its ports count is in their loops' metrics. Never waits, not
 * even for a disk or a server that does not answer. */
void store_metrics(const struct store *store, struct metrics_sum *sum);

/* Waits until they can, at most `wait_ms`: for the start, when the loops of all
 * ports run on their threads and nobody has been promised anything yet. */
void store_wait_usable(struct store *store, int wait_ms);
