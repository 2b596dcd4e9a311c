/* SPDX-License-Identifier: Apache-2.0 */
/* pg_store — the store in PostgreSQL, which several servers may share.
 *
 * No threads: each port drives its part of the pool from its own loop. One more
 * connection listens for what other servers change. */
#pragma once

#include "store/backend.h"

/* store_open() for the database of DATABASE_URL. */
MUSTCHECK int pg_store_open(const struct config *config,
	const struct clock *clock, struct store **ret_store,
	struct errmsg *reterr);
