/* SPDX-License-Identifier: Apache-2.0 */
/* pg_slot — a place in a port's pool: a connection, what it is at work on, and
 * the receipt of what it wrote last.
 *
 * Each slot numbers its groups of writes, and each group writes a receipt with
 * its number and its results into tallyd_receipts, in the same transaction.
 * When the answer to a COMMIT is lost, the next connection of the slot writes
 * an empty receipt of that number itself. Either it cannot, since the group's
 * own is there, and with it the answers; or it can, and then the lost group,
 * should it still be on its way inside the server, can no longer be committed
 * and may be sent again. Nothing is guessed, and it works through poolers.
 *
 *   away → greeting → settling → idle ⇄ busy     (lost: away, from any)
 *
 * Threads: the port's. */
#pragma once

#include "store/postgres/pg_batch.h"

#define PG_TOKEN_BYTES 48

enum pg_slot_state {
	PG_SLOT_AWAY,	  /* no connection */
	PG_SLOT_GREETING, /* asking the server who it is */
	PG_SLOT_SETTLING, /* what was lost; sets the session up */
	PG_SLOT_IDLE,
	PG_SLOT_BUSY, /* with its batch */
};

struct pg_slot {
	/* Set before the start. on_idle: a batch may be sent; on_answer: an
	 * operation has its outcome, or is to be tried again (`verdict`); the
	 * batch no longer holds it. */
	void (*on_idle)(struct pg_slot *s);
	void (*on_answer)(struct pg_slot *s, struct store_op *op,
		enum pg_verdict verdict);
	/* The batch of writes is committed; before on_answer of each. */
	void (*on_committed)(struct pg_slot *s);
	/* A result of a batch of chores; NULL: the connection was lost before
	 * all of them had come. */
	void (*on_chore)(struct pg_slot *s, const PGresult *result);
	void *ctx;
	enum database_pooler pooler;

	struct pg_conn conn;
	enum pg_slot_state state;
	struct pg_batch batch; /* of writes: also while they are in doubt */
	char token[PG_TOKEN_BYTES];
	int64_t seq;		/* of the last group sent */
	bool pooled;		/* statements are not kept, settings neither */
	bool in_doubt;		/* the last group may have been committed */
	bool given_up;		/* its operations were told that nobody knows */
	enum {			/* what the receipt says of it */
		PG_SETTLED_NOT, /* it has not been read */
		PG_SETTLED_COMMITTED,
		PG_SETTLED_UNDONE,
		PG_SETTLED_UNKNOWN, /* there is no receipt */
	} settled;
	int64_t since_ns;		      /* in doubt; or busy */
	struct user_id doubted[PG_GROUP_MAX]; /* whose writes were given up */
	size_t n_doubted;
};

/* Begins to connect. */
void pg_slot_start(
	struct pg_slot *s, struct loop *loop, const struct pg_target *target);
/* Closes. What the batch holds is not answered. */
void pg_slot_stop(struct pg_slot *s);

/* Sends the slot's batch, which the caller has filled; the slot is idle.
 * `params` is scratch. */
void pg_slot_send(struct pg_slot *s, struct pg_params *params);

/* The slot is idle: what the caller has sent on s->conn without operations, and
 * ended with a sync, keeps it busy. */
void pg_slot_busy_with_chores(struct pg_slot *s);

/* Once in a while: ends the wait of those whose writes have been in doubt for
 * too long. */
void pg_slot_look_after(struct pg_slot *s);

/* Whether the slot can be expected to answer. */
bool pg_slot_sound(const struct pg_slot *s);
