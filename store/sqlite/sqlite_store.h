/* SPDX-License-Identifier: Apache-2.0 */
/* sqlite_store — the back-end on a SQLite file in a directory of its own:
 * SQLITE_DIR_PATH/db.sqlite, one process at a time. */
#pragma once

#include "base/attr.h"
#include "store/store.h"

/* As store_open(). */
MUSTCHECK int sqlite_store_open(const struct config *config,
	const struct clock *clock, struct store **ret_store,
	struct errmsg *reterr);
