/* SPDX-License-Identifier: Apache-2.0 */
/* sqlite_admin — an operator's view of SQLITE_DIR_PATH/db.sqlite. */
#pragma once

#include "store/store_admin.h"

/* As store_admin_look() and store_admin_open(). */
MUSTCHECK int sqlite_admin_look(const struct config *config,
	struct store_condition *ret_condition, struct errmsg *reterr);
MUSTCHECK int sqlite_admin_open(const struct config *config,
	enum store_admin_use use, struct store_admin **ret_admin,
	struct errmsg *reterr);
