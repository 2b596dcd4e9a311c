/* SPDX-License-Identifier: Apache-2.0 */
/* sqlite_fill — records of another store into this one. */
#pragma once

#include <sqlite3.h>

#include "store/store_admin.h"

/* As store_admin_fill(). */
MUSTCHECK int sqlite_fill(
	sqlite3 *db, const struct store_fill *fill, struct errmsg *reterr);
