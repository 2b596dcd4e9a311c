/* SPDX-License-Identifier: Apache-2.0 */
/* pg_chores — what a port has to have done and nobody waits for: other
 * instances told to look, expired locks deleted, counters polled. They go
 * before operations, on a connection that is idle, all at once.
 *
 * Owns: the poll. Threads: the port's. */
#pragma once

#include "store/postgres/pg_listen.h"
#include "store/postgres/pg_poll.h"
#include "store/postgres/pg_slot.h"

struct pg_chores {
	bool ping;  /* set it to have ourselves hear something */
	bool sweep; /* set it to have locks and receipts deleted */
	struct user_id nudges[PG_NUDGES_MAX];
	size_t n_nudges;
	bool nudge_all;	  /* there were more */
	bool nudges_sent; /* and it is not known whether they arrived */
	struct pg_poll poll;
	int64_t polled_ns; /* when its last round began */
};

void pg_chores_init(struct pg_chores *c, const struct store_listener *listener);
void pg_chores_release(struct pg_chores *c);

/* Has other instances' listeners of this user look. */
void pg_chores_nudge(struct pg_chores *c, const struct user_id *user);

/* Begins a round of the poll if it is time to. Returns whether it did. */
bool pg_chores_poll(struct pg_chores *c, int64_t now_ns);

/* Whether there is anything to be sent. */
bool pg_chores_wait(const struct pg_chores *c);

/* Sends it on an idle slot, which is busy with it until its sync. */
void pg_chores_send(
	struct pg_chores *c, struct pg_slot *s, struct pg_params *params);

/* Takes a result of it; NULL when the connection was lost meanwhile. */
void pg_chores_take(struct pg_chores *c, const PGresult *result);
