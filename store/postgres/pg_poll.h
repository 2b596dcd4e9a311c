/* SPDX-License-Identifier: Apache-2.0 */
/* pg_poll — finds other instances' changes where they cannot be heard of: the
 * counters of the users that somebody listens for are read once in a while, and
 * one that has moved is a notice to look.
 *
 * Owns: the last known counter of each such user; nothing while nobody listens.
 * Threads: the port's. */
#pragma once

#include <libpq-fe.h>

#include "base/map.h"
#include "store/postgres/pg_params.h"
#include "store/store.h"

struct pg_poll {
	const struct store_listener *listener; /* ref; who listens, who hears */
	struct map known;		       /* of struct known, own each */
	struct user_id *users;		       /* own; of this round */
	size_t n_users, size, next; /* next: the first that is not asked for */
	uint64_t round;
};

void pg_poll_init(struct pg_poll *p, const struct store_listener *listener);
void pg_poll_release(struct pg_poll *p);

/* Begins a round, unless one is under way. */
void pg_poll_begin(struct pg_poll *p);

/* The parameters of PG_SQL_POLL for the round's next users. Returns whether
 * there are any. */
bool pg_poll_next(struct pg_poll *p, struct pg_params *params);

/* Takes what that statement gave, tells of what has moved. */
void pg_poll_take(struct pg_poll *p, const PGresult *result);

/* A notice that came otherwise: its change need not be told again. */
void pg_poll_note(struct pg_poll *p, const struct store_notice *notice);
