/* SPDX-License-Identifier: Apache-2.0 */
/* pg_fill — records of another store into this one. */
#pragma once

#include <libpq-fe.h>

#include "store/postgres/pg_params.h"
#include "store/store_admin.h"

/* As store_admin_fill(); `params` are used for it. A batch is four round trips:
 * its users' counters made and locked, in one order; its records compared and
 * put; users and counts compared and counters set; COMMIT. */
MUSTCHECK int pg_fill(PGconn *pg, struct pg_params *params,
	const struct store_fill *fill, struct errmsg *reterr);
