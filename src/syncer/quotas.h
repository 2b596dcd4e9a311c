/* SPDX-License-Identifier: Apache-2.0 */
/* quotas — what users and applications may ask of this process, all shards
 * together: requests a second, listeners, new users an hour. What a user may
 * have stored is the store's to watch.
 *
 * An application is its API key; where none are asked for all are one.
 * Threads: any. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/user_id.h"
#include "config/config.h"

/* Buckets kept: of users who asked within the last RATE_BURST_S, of API keys
 * that made a user within the last hour. A place has 16 bytes. */
#define QUOTA_USERS_MAX	   65536
#define QUOTA_API_KEYS_MAX 4096

struct quotas;

/* Of the MAX_… of the configuration. Returns: 0, ERR_NOMEM. */
MUSTCHECK int quotas_new(
	const struct config *config, struct quotas **ret_quotas);

/* Nobody listens any more. NULL inside is fine. */
void quotas_free(struct quotas **quotas);

/* Whether one more request may come: on a connection, whose bucket it is given
 * (NULL: nobody counts); of an application; of a user. */
MUSTCHECK bool quotas_take_of_connection(
	const struct quotas *q, int64_t *bucket, int64_t now_ns);
MUSTCHECK bool quotas_take_of_api_key(
	struct quotas *q, uint64_t api_key, int64_t now_ns);
MUSTCHECK bool quotas_take_of_user(
	struct quotas *q, const struct user_id *user, int64_t now_ns);

/* Whether an application may make one more user, who then counts; one that did
 * not come to be is given back. While writes are under way each counts as if it
 * made a user: so no more are made than may be, and near the limit new ones may
 * be refused a little early. */
MUSTCHECK bool quotas_take_new_user(
	struct quotas *q, uint64_t api_key, int64_t now_ns);
void quotas_give_back_new_user(struct quotas *q, uint64_t api_key);

/* One more listener of a user, until quotas_remove_listener().
 * Returns: 0, QUOTAS_FULL, ERR_NOMEM. */
#define QUOTAS_FULL 1
MUSTCHECK int quotas_add_listener(struct quotas *q, const struct user_id *user);
void quotas_remove_listener(struct quotas *q, const struct user_id *user);
