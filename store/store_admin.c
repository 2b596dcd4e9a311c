/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store_admin.h"

#include <string.h>

#include "store/admin_backend.h"
#include "store/postgres/pg_admin.h"
#include "store/sqlite/sqlite_admin.h"

static bool on_postgres(const struct config *config)
{
	return config->database_url[0] != '\0';
}

int store_admin_look(const struct config *config,
	struct store_condition *ret_condition, struct errmsg *reterr)
{
	return on_postgres(config)
		       ? pg_admin_look(config, ret_condition, reterr)
		       : sqlite_admin_look(config, ret_condition, reterr);
}

int store_admin_open(const struct config *config, enum store_admin_use use,
	struct store_admin **ret_admin, struct errmsg *reterr)
{
	return on_postgres(config)
		       ? pg_admin_open(config, use, ret_admin, reterr)
		       : sqlite_admin_open(config, use, ret_admin, reterr);
}

void store_admin_close(struct store_admin **admin)
{
	if (*admin)
		(*admin)->backend->close(*admin);
	*admin = NULL;
}

int store_admin_totals(struct store_admin *admin,
	struct store_totals *ret_totals, struct errmsg *reterr)
{
	return admin->backend->totals(admin, ret_totals, reterr);
}

int store_admin_biggest(struct store_admin *admin, size_t max,
	struct store_usage *ret_users, size_t *ret_n, struct errmsg *reterr)
{
	return admin->backend->biggest(admin, max, ret_users, ret_n, reterr);
}

int store_admin_user(struct store_admin *admin, const struct user_id *user,
	struct store_usage *ret_usage, struct errmsg *reterr)
{
	return admin->backend->user(admin, user, ret_usage, reterr);
}

int store_admin_visit(struct store_admin *admin,
	const struct store_visitor *visitor, struct errmsg *reterr)
{
	return admin->backend->visit(admin, visitor, reterr);
}

int store_admin_copy(struct store_admin *admin, const char *path,
	void (*on_progress)(void *ctx, uint64_t done, uint64_t all), void *ctx,
	struct errmsg *reterr)
{
	return admin->backend->copy(admin, path, on_progress, ctx, reterr);
}

int store_admin_purge(struct store_admin *admin, const struct user_id *user,
	struct store_usage *ret_usage, struct errmsg *reterr)
{
	return admin->backend->purge(admin, user, ret_usage, reterr);
}

int store_admin_fill(struct store_admin *admin, const struct store_fill *fill,
	struct errmsg *reterr)
{
	return admin->backend->fill(admin, fill, reterr);
}

int store_admin_count_users(
	struct store_admin *admin, uint64_t *ret_users, struct errmsg *reterr)
{
	return admin->backend->count_users(admin, ret_users, reterr);
}

/* ---- sentences that both back-ends have ---- */

int admin_fill_differs(
	const struct user_id *user, uint64_t revision, struct errmsg *reterr)
{
	char hex[USER_ID_HEX + 1];

	user_id_hex(user, hex);
	return errmsg_set(reterr, ERR_INVALID,
		"user %s: the store has something else than the record of "
		"revision %llu",
		hex, (unsigned long long)revision);
}

int admin_fill_ahead(const struct user_id *user, struct errmsg *reterr)
{
	char hex[USER_ID_HEX + 1];

	user_id_hex(user, hex);
	return errmsg_set(reterr, ERR_INVALID,
		"user %s: the store has later changes", hex);
}

int admin_fill_more(const struct user_id *user, struct errmsg *reterr)
{
	char hex[USER_ID_HEX + 1];

	user_id_hex(user, hex);
	return errmsg_set(reterr, ERR_INVALID,
		"user %s: the store has other records, too", hex);
}

int admin_no_user(struct errmsg *reterr)
{
	return errmsg_set(reterr, ERR_INVALID, "there is no such user");
}

int admin_not_current(struct errmsg *reterr)
{
	return errmsg_set(reterr, ERR_UNSUPPORTED,
		"database: it is not up to date; run tallyd migrate first");
}

int admin_user_parse(
	struct slice text, struct user_id *ret_user, struct errmsg *reterr)
{
	struct user_id user;
	char hex[USER_ID_HEX + 1];

	if (text.len == USER_ID_HEX && hex_decode(text, user.bytes) == 0) {
		user_id_hex(&user, hex);
		if (!memcmp(hex, text.ptr, USER_ID_HEX)) {
			*ret_user = user;
			return 0;
		}
	}
	return errmsg_set(reterr, ERR_CORRUPT,
		"database: it has records of a user whose id is not 66 "
		"lower-case hexadecimal digits");
}
