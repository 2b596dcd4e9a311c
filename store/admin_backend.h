/* SPDX-License-Identifier: Apache-2.0 */
/* admin_backend — what a back-end gives to store_admin.c. Only for back-ends.
 */
#pragma once

#include "store/store_admin.h"

/* Each function as its namesake in store_admin.h. */
struct store_admin_backend {
	int (*totals)(struct store_admin *admin,
		struct store_totals *ret_totals, struct errmsg *reterr);
	int (*biggest)(struct store_admin *admin, size_t max,
		struct store_usage *ret_users, size_t *ret_n,
		struct errmsg *reterr);
	int (*user)(struct store_admin *admin, const struct user_id *user,
		struct store_usage *ret_usage, struct errmsg *reterr);
	int (*visit)(struct store_admin *admin,
		const struct store_visitor *visitor, struct errmsg *reterr);
	int (*copy)(struct store_admin *admin, const char *path,
		void (*on_progress)(void *ctx, uint64_t done, uint64_t all),
		void *ctx, struct errmsg *reterr);
	int (*purge)(struct store_admin *admin, const struct user_id *user,
		struct store_usage *ret_usage, struct errmsg *reterr);
	int (*fill)(struct store_admin *admin, const struct store_fill *fill,
		struct errmsg *reterr);
	int (*count_users)(struct store_admin *admin, uint64_t *ret_users,
		struct errmsg *reterr);
	void (*close)(struct store_admin *admin);
};

/* A back-end's begins with this. */
struct store_admin {
	const struct store_admin_backend *backend; /* ref; static */
};

/* Why a fill or a visit is refused; each returns its ERR_*. */
int admin_fill_differs(
	const struct user_id *user, uint64_t revision, struct errmsg *reterr);
int admin_fill_ahead(const struct user_id *user, struct errmsg *reterr);
int admin_fill_more(const struct user_id *user, struct errmsg *reterr);
int admin_no_user(struct errmsg *reterr);
int admin_not_current(struct errmsg *reterr);

/* A user's id as the database has it. Returns: 0, ERR_CORRUPT. */
MUSTCHECK int admin_user_parse(
	struct slice text, struct user_id *ret_user, struct errmsg *reterr);
