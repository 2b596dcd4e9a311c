/* SPDX-License-Identifier: Apache-2.0 */
/* pg_port — a loop's share of the PostgreSQL store: its queues, its part of the
 * pool, and which operation goes next on which connection.
 *
 * What is submitted in one turn is sent at its end. Writes go in groups, one
 * transaction each: while one is under way the next gathers, and only when that
 * takes long does it go on another connection. No two groups of a port hold the
 * same user, so one user's row that somebody else has locked stops nobody but
 * that user. One connection is always left to reads.
 *
 * Threads: the loop's, but where said. */
#pragma once

#include "store/ports.h"
#include "store/postgres/pg_chores.h"
#include "store/postgres/pg_listen.h"
#include "store/postgres/pg_slot.h"

/* What the ports of a store share. */
struct pg_shared {
	const struct clock *clock; /* ref */
	struct ports ports;
	struct pg_target target;
	struct pg_target direct;
	const struct pg_target *session; /* ref; of the two, for LISTEN */
	char instance[24];		 /* how this process's tokens begin */
	enum database_pooler pooler;
	size_t slots_per_port;
	pthread_mutex_t sound_lock; /* for who waits for the two below */
	pthread_cond_t sound_changed;
	atomic_size_t n_attached;
	atomic_size_t n_sound; /* of those that can be expected to answer */
	struct pg_listen listen;
};

struct pg_port;

/* As store_attach(). The first port is the one that listens and sweeps. */
MUSTCHECK int pg_port_attach(struct pg_shared *shared, struct store *store,
	struct loop *loop, const struct store_listener *listener,
	struct store_port **ret_port);

/* Closes its connections; the memory goes with the store's ports. */
void pg_port_detach(struct store_port *port);

void pg_port_submit(struct store_port *port, struct store_op *op);
void pg_port_nudge(struct store_port *port, const struct user_id *user);

/* Any thread: has the first port delete locks that have ended. */
void pg_port_sweep(struct store_port *first);

/* Operations submitted and not done. */
size_t pg_port_in_flight(const struct store_port *port);
