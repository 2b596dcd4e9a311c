/* SPDX-License-Identifier: Apache-2.0 */
/* sqlite_schema — brings the database file to the schema we work on.
 *
 * The tables are data-sync's, and so is the record of their version
 * (golang-migrate's schema_migrations), so that either server can open the
 * file. What we add is recorded in a table of our own. */
#pragma once

#include <sqlite3.h>

#include "base/attr.h"
#include "base/err.h"
#include "store/store_admin.h"

/* Whether the file is one we may work on; changes nothing, so that a refused
 * file stays as it was. Returns: 0; ERR_* with a sentence (a migration that
 * broke off half-way, a version from the future, not a database). */
MUSTCHECK int sqlite_schema_check(sqlite3 *db, struct errmsg *reterr);

/* As sqlite_schema_check(), and says how far the schema is. */
MUSTCHECK int sqlite_schema_look(
	sqlite3 *db, enum store_schema *ret_schema, struct errmsg *reterr);

/* Creates, completes or leaves alone. Each step is one transaction.
 * Returns: 0; ERR_* with a sentence (as sqlite_schema_check(), no space). */
MUSTCHECK int sqlite_schema_migrate(sqlite3 *db, struct errmsg *reterr);
