/* SPDX-License-Identifier: Apache-2.0 */
/* pg_schema — data-sync's tables in PostgreSQL, and what tallyd adds.
 *
 * What data-sync wrote (schema_migrations at version 2) is opened in place and
 * stays usable for it. Ours: 64-bit revisions, one counter per user, an index
 * on (user_id, revision), receipts of writes, and our own version in
 * tallyd_schema. All steps are one transaction under an advisory lock, so that
 * of several instances that start at once one migrates and the others wait. A
 * database that is up to date is only read. */
#pragma once

#include <libpq-fe.h>

#include "base/attr.h"
#include "base/err.h"
#include "store/postgres/pg_target.h"
#include "store/store_admin.h"

/* Connects, checks that the database is as durable as promised, and migrates
 * it. Blocks. Returns: 0, or ERR_* with a sentence for the operator. */
MUSTCHECK int pg_schema_open(
	const struct pg_target *target, struct errmsg *reterr);

/* Checks the same of a connection's database, changes nothing, and says how far
 * the schema is. Blocks. Returns: 0, or ERR_* with a sentence. */
MUSTCHECK int pg_schema_look(
	PGconn *pg, enum store_schema *ret_schema, struct errmsg *reterr);
