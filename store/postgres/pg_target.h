/* SPDX-License-Identifier: Apache-2.0 */
/* pg_target — where a connection goes: DATABASE_URL taken apart.
 *
 * A URL may name several hosts, and a name may have several addresses. Each
 * attempt goes to one address of one host; that way a host that swallows
 * packets costs one attempt's time and not all of it, and names are looked up
 * by us and not by libpq, which would block.
 *
 * Threads: any may read. Never logged: it holds a password. */
#pragma once

#include <libpq-fe.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/slice.h"

/* Longer lists are of no use to anybody. */
#define PG_HOSTS_MAX   8
#define PG_HOST_BYTES  256 /* RFC 1035: 253 */
#define PG_PARTS_MAX   80  /* libpq 15 has 43 parameters */
#define PG_ADDRESS_MAX 64  /* a numeric address with its zone */

struct pg_host {
	char name[PG_HOST_BYTES];     /* "" for libpq's default */
	char address[PG_ADDRESS_MAX]; /* numeric; "" when to be found out */
	char port[8];		      /* "" for libpq's default */
	bool lookup;		      /* the name has to be looked up */
};

struct pg_target {
	PQconninfoOption *options; /* own; as given */
	struct pg_host hosts[PG_HOSTS_MAX];
	size_t n_hosts; /* at least 1 */
};

/* Parses `url`, the value of the variable `name`. Parameters that libpq does
 * not know are ignored with a warning: data-sync's driver has some of its own.
 * Returns: 0; ERR_INVALID, ERR_NOMEM with a sentence that holds nothing of the
 * URL. */
MUSTCHECK int pg_target_init(struct pg_target *t, const char *name,
	const char *url, struct errmsg *reterr);
void pg_target_release(struct pg_target *t);

/* The parameters of one attempt, for PQconnectStartParams(); `address` is ""
 * for none. */
struct pg_parts {
	const char *keywords[PG_PARTS_MAX]; /* borrow(target, address) */
	const char *values[PG_PARTS_MAX];
};
void pg_target_parts(const struct pg_target *t, const struct pg_host *host,
	const char *address, struct pg_parts *ret_parts);
