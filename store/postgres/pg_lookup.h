/* SPDX-License-Identifier: Apache-2.0 */
/* pg_lookup — the addresses of a host's name, without blocking: c-ares on a
 * loop. It reads /etc/hosts and /etc/resolv.conf anew for each look-up.
 *
 * Embedded by who looks; zeroed before first use. Threads: the loop's. */
#pragma once

#include <ares.h>

#include "loop/loop.h"
#include "store/postgres/pg_target.h"

/* More addresses of one name are not tried. */
#define PG_ADDRESSES_MAX 16
/* c-ares asks name servers over UDP, and over TCP where the answer is long. */
#define PG_LOOKUP_SOCKETS_MAX 16

struct pg_lookup;

struct pg_lookup_socket {
	struct watch watch;
	struct pg_lookup *lookup; /* ref */
};

struct pg_lookup {
	/* Set before the start: the addresses are there, or there are none. */
	void (*on_done)(struct pg_lookup *l);
	char addresses[PG_ADDRESSES_MAX][PG_ADDRESS_MAX];
	size_t n_addresses;

	struct loop *loop;    /* ref */
	ares_channel channel; /* own; NULL when not looking */
	struct pg_lookup_socket sockets[PG_LOOKUP_SOCKETS_MAX];
	struct timer timer;
	bool answered; /* on_done is due */
};

/* Once per process, before any look-up. Returns: 0, ERR_SYS. */
MUSTCHECK int pg_lookup_set_up(void);

/* on_done is called later, if with no address at all. The caller limits the
 * time. Returns: 0, ERR_NOMEM. */
MUSTCHECK int pg_lookup_start(
	struct pg_lookup *l, struct loop *loop, const char *name);

/* No on_done any more. Harmless when not looking. */
void pg_lookup_stop(struct pg_lookup *l);
