/* SPDX-License-Identifier: Apache-2.0 */
/* pg_listen — hears what other instances have changed: one connection that
 * LISTENs, whose notices go to every port.
 *
 * A notice is "TOKEN USER REVISION:CLIENT,…": the token of the slot that wrote
 * it, the user in hexadecimal, then each change's revision and its client id in
 * base64, "-" for none. Revision 0 says "look". Our own were told already.
 *
 * What is missed while the connection is away nobody tells us afterwards, so
 * each time that it listens anew every listener is told to look. That it
 * listens is known when it hears what the pool says: the two may be connected
 * to different servers, after a failover or by a slip in DATABASE_DIRECT_URL.
 * Where LISTEN is not to be had (behind a pooler that hands each transaction to
 * another connection; CockroachDB), it says so in the log, and the ports poll.
 *
 * Threads: one loop's; pg_listen_works() any. */
#pragma once

#include <stdatomic.h>

#include "store/ports.h"
#include "store/postgres/pg_slot.h"

/* In the place of a user: the pool says it to its own process alone. */
#define PG_PING "?"

struct pg_listen {
	/* Set before the start: LISTEN was done, and the pool should say
	 * something; or that was heard. On the loop. */
	void (*on_change)(void *ctx);
	void *ctx;

	struct pg_conn conn;
	struct ports *ports;  /* ref */
	const char *instance; /* ref; how our tokens begin */
	enum database_pooler pooler;
	bool direct; /* what it connects to is said to be no pooler */
	bool pooled;
	bool listening; /* LISTEN was sent */
	bool refused;
	bool stands; /* LISTEN was done */
	char channel[64];
	int64_t pinged_ns; /* when the pool last said something to us */
	bool pinged;	   /* it was not heard yet */
	/* Since when nothing is heard, on the loops' clock; 0: it listens. */
	_Atomic int64_t away_ns;
};

/* `l` is zeroed but for ports, instance, pooler and direct. */
void pg_listen_start(
	struct pg_listen *l, struct loop *loop, const struct pg_target *target);
void pg_listen_stop(struct pg_listen *l);

/* Once in a while. Returns whether the pool should say something to us now, of
 * which pg_listen_pinged() tells. */
bool pg_listen_look_after(struct pg_listen *l);
void pg_listen_pinged(struct pg_listen *l);

/* Whether it is known that notices are heard, or that they never will be: what
 * the start waits for. */
bool pg_listen_decided(const struct pg_listen *l);

/* Whether notices of others are heard now. Any thread. */
bool pg_listen_hears(const struct pg_listen *l);

/* False when notices of others have to be looked for: LISTEN is not to be had,
 * or has been away for PG_DEAF_MS. */
bool pg_listen_works(const struct pg_listen *l, int64_t now_ns);
