/* SPDX-License-Identifier: Apache-2.0 */
/* pg_admin — an operator's view of the database of DATABASE_URL, or of
 * DATABASE_DIRECT_URL where there is one. */
#pragma once

#include "store/store_admin.h"

/* As store_admin_look() and store_admin_open(). */
MUSTCHECK int pg_admin_look(const struct config *config,
	struct store_condition *ret_condition, struct errmsg *reterr);
MUSTCHECK int pg_admin_open(const struct config *config,
	enum store_admin_use use, struct store_admin **ret_admin,
	struct errmsg *reterr);
